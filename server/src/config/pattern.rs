//! Pattern: an entry of `paths` that stands for many (`~^cam_(\d+)$`, `all_others`), and what it makes of a name.
//!
//! ```text
//!  '~^cam_(\d+)$': {source: 'rtsp://10.0.0.$G1/live', sourceOnDemand: yes}
//!        cam_7 ─► rtsp://10.0.0.7/live
//! ```
//!
//! `$G1`, `$G2` ... in `source` are the groups of the regular expression. Names are path names, whose characters can end
//! neither host nor credentials of a URL, but for the slash: in front of the URL's own path a group must not hold one, or
//! whoever asks for a path would choose the camera's host (correctness: S2).
//! Names are ASCII, and so are `\d`, `\w` and `(?i)` here, as in Go: the expression is held against bytes.
//! Limits: [`COMPILED_BYTES_MAX`].

use std::fmt;

use media_core::path_name::PathName;
use regex::bytes::{Match, Regex, RegexBuilder};

use super::redirect::Destination;
use super::resolved::{PathConfig, PathSource, RecordConfig};
use super::source_url::{Secret, SourceUrl, split_scheme};
use super::values::Expected;

/// What a regular expression may take compiled; a larger one is refused. Ours take a few kB.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Names of the pattern that takes whatever no other entry does.
const ALL: [&str; 3] = ["all_others", "all", "~^.*$"];

/// Whether an entry's name stands for many.
pub(crate) fn is_pattern(name: &str) -> bool {
    name.starts_with('~') || is_all(name)
}

/// Whether it is the one for all others.
pub(crate) fn is_all(name: &str) -> bool {
    ALL.contains(&name)
}

/// The regular expression of an entry.
///
/// # Errors
/// What is wrong with it, in a line.
pub(crate) fn compile(name: &str) -> Result<Regex, String> {
    let expression = if is_all(name) { "^.*$" } else { name.strip_prefix('~').unwrap_or(name) };
    let compiled = RegexBuilder::new(expression).unicode(false).size_limit(COMPILED_BYTES_MAX).build();
    compiled.map_err(|error| {
        // The library draws the expression over several lines and names the fault in the last.
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// One such entry.
#[derive(Clone)]
pub(crate) struct PathPattern {
    name: String,
    regex: Regex,
    /// As every instance has it, but for the address of its source.
    config: PathConfig,
    /// That address with `$G1` in it.
    template: Option<Secret>,
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        // The name is the expression.
        (&self.name, &self.config, &self.template) == (&other.name, &other.config, &other.template)
    }
}

impl Eq for PathPattern {}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PathPattern")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl PathPattern {
    /// An entry; `template` is the text of its source.
    pub(crate) fn new(name: &str, regex: Regex, config: PathConfig, template: &str) -> Self {
        let template = matches!(config.source, PathSource::Pulled(_)).then(|| Secret::new(template));
        Self { name: name.to_owned(), regex, config, template }
    }

    /// The entry's name in the configuration.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands among the others: by name, the one for all others last.
    pub(crate) fn order(&self) -> (bool, &str) {
        (is_all(&self.name), &self.name)
    }

    /// Whether it is published to.
    pub(crate) fn is_published_to(&self) -> bool {
        matches!(self.config.source, PathSource::Publisher(_))
    }

    /// Whether a reader has somebody publish to it.
    pub(crate) fn is_published_to_on_demand(&self) -> bool {
        self.config.hooks.on_demand.is_some()
    }

    /// Where RTSP readers of its instances are sent while nobody sends.
    pub(crate) fn fallback(&self) -> Option<&Destination> {
        self.config.fallback.as_ref()
    }

    /// What the groups of its expression match in a name.
    pub(crate) fn groups(&self, name: &PathName) -> Vec<String> {
        let groups = self.regex.captures(name.as_str().as_bytes());
        let matched = groups.iter().flat_map(|groups| groups.iter().skip(1));
        let text = |group: Match<'_>| String::from_utf8_lossy(group.as_bytes()).into_owned();
        matched.map(|group| group.map_or_else(String::new, text)).collect()
    }

    /// How its instances are recorded.
    pub(crate) fn record(&self) -> Option<&RecordConfig> {
        self.config.record.as_ref()
    }

    /// Whether they are.
    pub(crate) fn is_recorded(&self) -> bool {
        self.config.record.is_some()
    }

    /// Whether it stands for a name.
    pub(crate) fn takes(&self, name: &PathName) -> bool {
        self.regex.is_match(name.as_str().as_bytes())
    }

    /// The settings of a path of this name; `None` when the pattern is not for it.
    ///
    /// # Errors
    /// Why its source can't be made of the name.
    pub(crate) fn instance(&self, name: &PathName) -> Option<Result<PathConfig, Expected>> {
        let groups = self.regex.captures(name.as_str().as_bytes())?;
        let mut config = self.config.clone();
        if let (PathSource::Pulled(source), Some(template)) = (&config.source, &self.template) {
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            let group = |number: usize| groups.get(number).map_or("", |group| text(group.as_bytes()));
            let made = fill_in(template.expose(), group).and_then(|text| SourceUrl::parse(&text));
            match made {
                Ok(url) => config.source = PathSource::Pulled(source.clone().at(url)),
                Err(expected) => return Some(Err(expected)),
            }
        }
        Some(Ok(config))
    }
}

/// A source's text with something in place of its groups, to see whether it is a URL otherwise.
///
/// # Errors
/// When it names a group that the expression does not have.
pub(crate) fn sample(template: &str, regex: &Regex) -> Result<String, Expected> {
    if groups_of(template).any(|(_, _, number)| number == 0 || number >= regex.captures_len()) {
        return Err(Expected::Url("it names a group that the path's pattern does not have"));
    }
    fill_in(template, |_| "1")
}

/// Puts groups in their places.
fn fill_in<'a>(template: &str, group: impl Fn(usize) -> &'a str) -> Result<String, Expected> {
    let rest_at = split_scheme(template).map_or(0, |(scheme, _)| scheme.len() + "://".len());
    let path_at =
        template.get(rest_at..).and_then(|rest| rest.find('/')).map_or(template.len(), |at| rest_at + at);
    let (mut text, mut done) = (String::with_capacity(template.len()), 0);
    for (start, end, number) in groups_of(template) {
        let value = group(number);
        if start < path_at && value.contains('/') {
            return Err(Expected::Url("a group with a slash stands in its host"));
        }
        text.push_str(template.get(done..start).unwrap_or_default());
        text.push_str(value);
        done = end;
    }
    text.push_str(template.get(done..).unwrap_or_default());
    Ok(text)
}

/// Where `$G1` and the like stand: from, to, and the group's number.
fn groups_of(template: &str) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    template.match_indices("$G").filter_map(|(start, _)| {
        let digits_at = start + "$G".len();
        let rest = template.get(digits_at..)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest.get(..digits)?.parse().ok()?;
        Some((start, digits_at + digits, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, groups: &[&str]) -> Option<String> {
        fill_in(template, |number| groups.get(number.wrapping_sub(1)).copied().unwrap_or("")).ok()
    }

    #[test]
    fn groups_take_their_places_whatever_their_number() {
        let groups = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(filled("rtsp://h/$G1-$G10/$G2", &groups).as_deref(), Some("rtsp://h/a-j/b"));
        assert_eq!(filled("rtsp://h/$G/$Gx", &groups).as_deref(), Some("rtsp://h/$G/$Gx"));
        assert_eq!(filled("rtsp://$G1.cams:554/x", &["a"]).as_deref(), Some("rtsp://a.cams:554/x"));
    }

    // correctness: S2
    #[test]
    fn whoever_asks_for_a_path_does_not_choose_the_cameras_host() {
        assert_eq!(filled("rtsp://u:p@$G1.cams/x", &["evil.example/"]), None);
        assert_eq!(filled("rtsp://cams/$G1", &["a/b"]).as_deref(), Some("rtsp://cams/a/b"));
    }

    #[test]
    fn classes_and_cases_are_those_of_go() {
        for (name, taken, refused) in [
            (r"~^site/cam_(\d+)$", "site/cam_12", "site/cam_x"),
            (r"~^\w+-[a-f]$", "cam_1-f", "cam-g"),
            ("~(?i)^LOBBY", "lobby/2", "hall"),
            (r"~^([^/]+)/\S+$", "a/b", "/b"),
        ] {
            let regex = compile(name).unwrap();
            assert!(regex.is_match(taken.as_bytes()) && !regex.is_match(refused.as_bytes()), "{name}");
        }
    }

    #[test]
    fn expressions_that_are_wrong_or_too_large_are_told_in_a_line() {
        for name in ["~^(a$", "~a{9999}{9999}"] {
            let error = compile(name).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
        }
        assert!(compile("all_others").unwrap().is_match(b"anything/at/all"));
    }
}
