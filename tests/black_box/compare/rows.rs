//! Rows: what is asked and what the reference says to it, from a file of data.
//!
//! ```text
//! ~ title                       ~: asked again until it is as expected
//! > METHOD listener /target     then header lines, then a body: JSON, "text" or @file beside the tests
//! < 200                         then headers, `$.field = value`, `metric NAME labels`; * stands for any text, - for nothing
//! & name = $.items[0].id        kept, and put where a later row says {name}; a header's name works too
//! ```
//!
//! Rows are blocks with an empty line between; lines that begin with # are comments.

use std::path::Path;

use anyhow::{Context as _, bail};
use gtvision_tests::workspace;

/// One thing that is asked.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// What it is about; names it in the list of differences.
    pub(super) title: String,
    /// Whether it is asked again until it is as expected.
    pub(super) is_awaited: bool,
    /// The method, of HTTP or RTSP.
    pub(super) method: String,
    /// `api`, `hls`, `webrtc`, `playback`, `metrics` or `rtsp`.
    pub(super) listener: String,
    /// Path and query.
    pub(super) target: String,
    /// Header fields of the request.
    pub(super) headers: Vec<(String, String)>,
    /// The request's body.
    pub(super) body: String,
    /// What is expected of what: a name as in the answer, and a pattern.
    pub(super) expected: Vec<(String, String)>,
    /// What is kept under which name.
    pub(super) kept: Vec<(String, String)>,
}

/// Reads a file of rows.
///
/// # Errors
/// Names the line that is none.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Row>> {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.to_owned() + "\n").collect();
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    blocks.map(|block| row(block).with_context(|| block.to_owned())).collect()
}

fn row(block: &str) -> anyhow::Result<Row> {
    let mut lines = block.lines();
    let title = lines.next().context("a title")?;
    let mut row = Row { is_awaited: title.starts_with("~ "), ..Row::default() };
    title.trim_start_matches("~ ").clone_into(&mut row.title);
    for line in lines {
        let (kind, rest) = line.split_once(' ').context("a line without its kind")?;
        match kind {
            ">" if row.method.is_empty() => {
                let mut words = rest.splitn(3, ' ').map(str::to_owned);
                let mut next = || words.next().context("METHOD listener /target");
                (row.method, row.listener, row.target) = (next()?, next()?, next()?);
            }
            ">" => request_line(&mut row, rest)?,
            "<" => row.expected.push(expected(rest)?),
            "&" => row.kept.push(pair(rest, " = ")?),
            _ => bail!("no line begins with {kind}"),
        }
    }
    Ok(row)
}

fn request_line(row: &mut Row, line: &str) -> anyhow::Result<()> {
    if let Some(file) = line.strip_prefix('@') {
        row.body = std::fs::read_to_string(beside(file)).with_context(|| file.to_owned())?;
    } else if line.starts_with('"') {
        row.body = serde_json::from_str(line)?;
    } else if line.starts_with('{') {
        line.clone_into(&mut row.body);
    } else {
        row.headers.push(pair(line, ": ")?);
    }
    Ok(())
}

fn expected(line: &str) -> anyhow::Result<(String, String)> {
    if line.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(("status".to_owned(), line.to_owned()));
    }
    if line.starts_with('$') {
        let (field, value) = pair(line, " = ")?;
        return Ok((format!("body {field}"), value));
    }
    if let Some(metric) = line.strip_prefix("metric ") {
        let (name, labels) = metric.split_once(' ').unwrap_or((metric, ""));
        return Ok((format!("metric {name}"), labels.to_owned()));
    }
    let (name, value) = pair(line, ": ")?;
    Ok((format!("header {name}"), value))
}

fn pair(line: &str, between: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = line.split_once(between).with_context(|| format!("no {between:?} in {line:?}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn beside(file: &str) -> std::path::PathBuf {
    workspace::root().join(Path::new("tests/black_box")).join(file)
}

/// Whether a text is as a pattern says, in which each * stands for any text.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = tail.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, text, is) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*b*c", "a-b-b-c", true),
        ("a*b", "a-b-", false),
        ("ab*b", "ab", false),
        ("*.x*", "$.x", true),
    ] {
        assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
    }
}
