//! Differences: what two servers answered differently, against the list of those that are known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, ensure};

use super::answer::Answer;
use super::rows::is_like;

const KNOWN: &str = include_str!("differences.txt");

/// Nothing was said of it.
const NOTHING: &str = "-";

/// Longer values are cut in a message.
const VALUE_CHARS_MAX: usize = 120;

/// One thing that two servers say differently.
#[derive(Debug)]
struct Difference<'a> {
    row: &'a str,
    what: &'a str,
    here: &'a str,
    there: &'a str,
}

/// An entry of the list: patterns, and why it is so.
#[derive(Debug)]
struct Known<'a> {
    patterns: [&'a str; 4],
    verdict: &'a str,
}

impl Known<'_> {
    fn is_of(&self, difference: &Difference<'_>) -> bool {
        let values = [difference.row, difference.what, difference.here, difference.there];
        self.patterns.iter().zip(values).all(|(pattern, value)| is_like(pattern, value))
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cut = |value: &str| value.chars().take(VALUE_CHARS_MAX).collect::<String>();
        write!(out, "{} | {} | {} | {}", self.row, self.what, cut(self.here), cut(self.there))
    }
}

/// Prints what is different, each with its verdict.
///
/// # Errors
/// Names those that are not known.
pub(super) fn check(here: &BTreeMap<String, Answer>, there: &BTreeMap<String, Answer>) -> anyhow::Result<()> {
    let known = known()?;
    let (mut lines, mut unknown) = (Vec::new(), Vec::new());
    for (row, ours) in here {
        let theirs = there.get(row).with_context(|| format!("{row} was not asked there"))?;
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for what in names {
            let value = |answer: &'_ Answer| answer.get(what).cloned().unwrap_or_else(|| NOTHING.to_owned());
            let (here, there) = (value(ours), value(theirs));
            let difference = Difference { row, what, here: &here, there: &there };
            match known.iter().find(|one| one.is_of(&difference)) {
                _ if here == there => {}
                Some(one) => lines.push(format!("{difference}\n    {}", one.verdict)),
                None => unknown.push(difference.to_string()),
            }
        }
    }
    println!("{}", lines.join("\n"));
    ensure!(unknown.is_empty(), "not in compare/differences.txt:\n{}", unknown.join("\n"));
    Ok(())
}

fn known() -> anyhow::Result<Vec<Known<'static>>> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.splitn(5, " | ").map(str::trim).collect();
            let [row, what, here, there, verdict] = fields[..] else { anyhow::bail!("five fields: {line}") };
            ensure!(!verdict.is_empty(), "a verdict: {line}");
            Ok(Known { patterns: [row, what, here, there], verdict })
        })
        .collect()
}

#[test]
fn a_difference_is_known_or_named() {
    known().unwrap();
    let answers = |status: &str, version: &str| {
        let answer = [("status", status), ("body $.version", version)];
        let answer = answer.map(|(name, value)| (name.to_owned(), value.to_owned()));
        BTreeMap::from([("info".to_owned(), Answer::from(answer))])
    };
    let here = answers("200", "\"0.1.0\"");
    check(&here, &answers("200", "\"v1.20.1\"")).unwrap();
    let said = check(&here, &answers("404", "\"v1.20.1\"")).unwrap_err().to_string();
    assert!(said.ends_with("info | status | 200 | 404"), "{said}");
}
