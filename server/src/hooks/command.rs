//! Command: the text of a `runOn...` setting as a program and its arguments, without a shell.
//!
//! ```text
//!  ffmpeg -i "my file.mp4" -f rtsp rtsp://localhost:$RTSP_PORT/$MTX_PATH
//!    └─ split at blanks, with a shell's quotes ─► each word: $NAME and ${NAME} by the hook's environment, then ours
//! ```
//!
//! Words are split before variables are put in: what a viewer wrote into a query stays one word, and is never an option of
//! its own or another program (correctness: S2).

use std::fmt;

use super::environment::Environment;

/// A program and its arguments, with variables in them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    words: Vec<String>,
}

/// A text that is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// A quote has no end.
    OpenQuote,
    /// The last character hides nothing.
    OpenEscape,
}

impl CommandLine {
    /// Splits a text into words; `None` when there is none.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, CommandError> {
        let words = split(text)?;
        Ok((!words.is_empty()).then_some(Self { words }))
    }

    /// The program as it is written; what follows it may hold passwords.
    pub(crate) fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Program and arguments, with variables put in.
    pub(super) fn words(&self, environment: &Environment) -> (String, Vec<String>) {
        let mut words = self.words.iter().map(|word| expand(word, |name| environment.value(name)));
        (words.next().unwrap_or_default(), words.collect())
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ...", self.program())
    }
}

/// Splits as a POSIX shell does, but for comments and all that a shell would expand.
fn split(text: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => quoted(&mut rest, word.get_or_insert_default())?,
            '"' => double_quoted(&mut rest, word.get_or_insert_default())?,
            '\\' => match rest.next() {
                // A line that goes on.
                Some('\n') => {}
                Some(hidden) => word.get_or_insert_default().push(hidden),
                None => return Err(CommandError::OpenEscape),
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), CommandError> {
    for next in rest.by_ref() {
        match next {
            '\'' => return Ok(()),
            other => word.push(other),
        }
    }
    Err(CommandError::OpenQuote)
}

fn double_quoted(rest: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), CommandError> {
    while let Some(next) = rest.next() {
        match next {
            '"' => return Ok(()),
            '\\' => match rest.next() {
                Some('\n') => {}
                Some(hidden @ ('$' | '`' | '"' | '\\')) => word.push(hidden),
                Some(other) => word.extend(['\\', other]),
                None => return Err(CommandError::OpenQuote),
            },
            other => word.push(other),
        }
    }
    Err(CommandError::OpenQuote)
}

/// Puts variables in their places, one that is not set as nothing; a `$` that no name follows stays.
fn expand(word: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(word.len());
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let in_braces = after.strip_prefix('{').and_then(|braced| braced.split_once('}'));
        let (name, behind) = in_braces.unwrap_or_else(|| {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            after.split_at_checked(end).unwrap_or((after, ""))
        });
        if name.is_empty() && in_braces.is_none() {
            expanded.push('$');
        }
        expanded.push_str(&value(name).unwrap_or_default());
        rest = behind;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_by_a_shell() {
        let check = |text: &str, words: &[&str]| assert_eq!(split(text).unwrap(), words, "{text}");
        check("", &[]);
        check(" \t\n", &[]);
        check("a  b\tc\nd", &["a", "b", "c", "d"]);
        check("a 'b c' \"d e\"f", &["a", "b c", "d ef"]);
        check("a '' \"\"", &["a", "", ""]);
        check("'a\\b' a\\ b \"a\\\"b\\n\"", &["a\\b", "a b", "a\"b\\n"]);
        check("a # b", &["a", "#", "b"]);
        check("a \\\n b", &["a", "b"]);
        assert_eq!(split("a 'b"), Err(CommandError::OpenQuote));
        assert_eq!(split("a \"b"), Err(CommandError::OpenQuote));
        assert_eq!(split("a \\"), Err(CommandError::OpenEscape));
    }

    // correctness: S2
    #[test]
    fn what_a_viewer_wrote_stays_one_word() {
        let mut environment = Environment::default();
        environment.set("MTX_PATH", "a");
        environment.set("MTX_QUERY", "x -y; rm 'z");
        let line =
            CommandLine::parse("run $MTX_PATH:${MTX_PATH}/$MTX_QUERY '$MTX_PATHS' $ 5$").unwrap().unwrap();
        let (program, arguments) = line.words(&environment);
        assert_eq!(program, "run");
        assert_eq!(arguments, ["a:a/x -y; rm 'z", "", "$", "5$"]);
    }

    #[test]
    fn arguments_are_not_shown() {
        let line = CommandLine::parse("curl -u me:hunter2 http://h/").unwrap().unwrap();
        assert_eq!(format!("{line:?}"), "curl ...");
        assert_eq!(CommandLine::parse("  "), Ok(None));
    }
}
