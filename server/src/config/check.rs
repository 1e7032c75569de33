//! Check: every key of the tree against the key tables, older names replaced by today's.
//!
//! ```text
//!  tree ─► older names renamed ─► unknown key: fault with the nearest known one
//!                              └► known, without effect, not at its default: one warning
//! ```
//!
//! Belongs here: keys. Does not: values (-> `resolve`), rules between settings (-> `rules`).

use std::collections::BTreeMap;
use std::fmt;

use super::fault::{FaultKind, Faults, Place};
use super::keys::{self, Area, Key, Support};
use super::schema;
use super::tree::{Entry, Node, Value};
use super::values;

/// The most paths named for one key in the warning; the rest are counted.
const PATHS_NAMED_MAX: usize = 3;

/// Known keys without effect, by why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NoEffect(BTreeMap<Area, BTreeMap<String, Vec<String>>>);

impl NoEffect {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that `key` does nothing; `owner` is the path, or empty for the whole server.
    pub(crate) fn add(&mut self, area: Area, key: &str, owner: &str) {
        let owners = self.0.entry(area).or_default().entry(key.to_owned()).or_default();
        if !owner.is_empty() {
            owners.push(owner.to_owned());
        }
    }
}

impl fmt::Display for NoEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("these settings have no effect: ")?;
        for (area_index, (area, keys)) in self.0.iter().enumerate() {
            if area_index > 0 {
                f.write_str("; ")?;
            }
            for (key_index, (key, owners)) in keys.iter().enumerate() {
                let comma = if key_index > 0 { ", " } else { "" };
                write!(f, "{comma}{key}{}", Owners(owners))?;
            }
            write!(f, " ({})", area.reason())?;
        }
        Ok(())
    }
}

/// ` of cam_1, cam_2 and 8 more`, or nothing.
struct Owners<'a>(&'a [String]);

impl fmt::Display for Owners<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        let (named, more) = self.0.split_at_checked(PATHS_NAMED_MAX).unwrap_or((self.0, &[]));
        write!(f, " of {}", named.join(", "))?;
        if more.is_empty() { Ok(()) } else { write!(f, " and {} more", more.len()) }
    }
}

/// What the key check found besides faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Known keys without effect.
    pub(crate) no_effect: NoEffect,
    /// Older names in use: the name, today's name, and where.
    pub(crate) renamed: Vec<(String, &'static str, Place)>,
}

/// Checks the whole tree and renames older keys in it.
pub(crate) fn check_keys(root: &mut Node, faults: &mut Faults) -> Findings {
    let mut findings = Findings::default();
    check_map(root, keys::GLOBAL, "", &mut findings, faults);
    let Value::Map(entries) = &mut root.value else { return findings };
    for Entry { key, node, .. } in entries {
        match key.as_str() {
            "pathDefaults" => check_map(node, keys::PATH, "pathDefaults", &mut findings, faults),
            "s3" => check_map(node, keys::S3, "s3", &mut findings, faults),
            "paths" => check_paths(node, &mut findings, faults),
            _ => {}
        }
    }
    findings
}

fn check_paths(paths: &mut Node, findings: &mut Findings, faults: &mut Faults) {
    match &mut paths.value {
        Value::Null => {}
        Value::Map(entries) => {
            for Entry { key, node, .. } in entries {
                check_map(node, keys::PATH, key, findings, faults);
            }
        }
        Value::Text(_) | Value::List(_) => {
            let kind = FaultKind::WrongShape {
                key: "paths".to_owned(),
                expected: "a map of path names to settings",
            };
            faults.add(&paths.place, kind);
        }
    }
}

fn check_map(
    map: &mut Node,
    table: &'static [Key],
    owner: &str,
    findings: &mut Findings,
    faults: &mut Faults,
) {
    if matches!(map.value, Value::Text(_) | Value::List(_)) {
        let key = if owner.is_empty() { "the configuration" } else { owner };
        let kind = FaultKind::WrongShape { key: key.to_owned(), expected: "a map of settings" };
        faults.add(&map.place, kind);
        return;
    }
    modernise(map, table, findings);
    for entry in map.entries() {
        match keys::find(table, &entry.key) {
            None => {
                let suggestion = keys::nearest(table, &entry.key);
                faults.add(&entry.place, FaultKind::UnknownKey { key: entry.key.clone(), suggestion });
            }
            Some(Support::Works | Support::RenamedTo(_) | Support::NegatedAs(_)) => {}
            Some(support) => {
                check_unread(entry, owner, faults);
                if let Support::Later { area, default } = support
                    && !is_default(&entry.node, default)
                {
                    findings.no_effect.add(area, &entry.key, owner);
                }
            }
        }
    }
}

/// A value that nothing reads must be one all the same: who turns on what comes later shall not meet it then.
fn check_unread(entry: &Entry, owner: &str, faults: &mut Faults) {
    let fields = if owner.is_empty() { schema::GLOBAL } else { schema::PATH };
    if let Err(expected) = schema::check_node(schema::kind_of(fields, &entry.key), &entry.node) {
        faults.add(&entry.node.place, FaultKind::BadSecret { key: entry.key.clone(), expected });
    }
}

/// Gives entries with older names today's, unless that one is there as well and wins.
fn modernise(map: &mut Node, table: &'static [Key], findings: &mut Findings) {
    let Value::Map(entries) = &mut map.value else { return };
    let present: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    entries.retain_mut(|entry| {
        let to = match keys::find(table, &entry.key) {
            Some(Support::RenamedTo(to)) => to,
            Some(Support::NegatedAs(to)) => {
                negate(&mut entry.node);
                to
            }
            _ => return true,
        };
        findings.renamed.push((entry.key.clone(), to, entry.place.clone()));
        entry.key = to.to_owned();
        !present.iter().any(|key| key == to)
    });
}

fn negate(node: &mut Node) {
    if let Value::Text(text) = &mut node.value
        && let Ok(on) = values::boolean(text)
    {
        *text = (!on).to_string();
    }
}

/// Whether a value says the same as a default written in YAML.
pub(crate) fn is_default(node: &Node, default: &str) -> bool {
    Node::parse(default).is_ok_and(|default| canonical(node) == canonical(&default))
}

/// One spelling for values that mean the same: booleans, and nothing at all.
pub(crate) fn canonical(node: &Node) -> String {
    match &node.value {
        Value::Null => String::new(),
        Value::Text(text) => match text.as_str() {
            // Not `y`, `n`, `on`: as a text they would be values of their own.
            "yes" | "True" | "TRUE" => "true".to_owned(),
            "no" | "False" | "FALSE" => "false".to_owned(),
            other => other.to_owned(),
        },
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let mut entries: Vec<String> =
                entries.iter().map(|entry| format!("{}: {}", entry.key, canonical(&entry.node))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(yaml: &str) -> (Node, Findings, Vec<String>) {
        let mut root = Node::parse(yaml).unwrap();
        let mut faults = Faults::default();
        let findings = check_keys(&mut root, &mut faults);
        let faults = faults.into_sorted().iter().map(|fault| format!("{:?} {fault}", fault.place)).collect();
        (root, findings, faults)
    }

    #[test]
    fn unknown_keys_are_faults_with_place_and_suggestion() {
        let (_, _, faults) = checked("hlsAdress: :1\npaths:\n  a:\n    sorce: publisher\n    zzz: 1\n");
        assert_eq!(
            faults,
            [
                "File { line: 1, column: 1 } unknown key \"hlsAdress\", did you mean \"hlsAddress\"?",
                "File { line: 4, column: 5 } unknown key \"sorce\", did you mean \"source\"?",
                "File { line: 5, column: 5 } unknown key \"zzz\"",
            ]
        );
    }

    #[test]
    fn keys_without_effect_are_gathered_with_reasons() {
        let yaml = "srt: yes\nsrtAddress: :8890\nmoq: no\nudpReadBufferSize: 1024\npathDefaults:\n  rtspDemuxMpegts: no\n\
                    paths:\n  a: {rtspDemuxMpegts: yes}\n  b: {rtspDemuxMpegts: yes}\n  c: {rtspDemuxMpegts: yes}\n  \
                    d: {rtspDemuxMpegts: yes}\n";
        let (_, findings, faults) = checked(yaml);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            findings.no_effect.to_string(),
            "these settings have no effect: srt (SRT is not implemented yet); \
             rtspDemuxMpegts of a, b, c and 1 more (RTSP sources do not have this yet); \
             udpReadBufferSize (this server sizes its own buffers)"
        );
    }

    #[test]
    fn a_file_that_lists_every_default_gets_no_warning() {
        let line = |key: &Key| match key.support {
            Support::Later { default, .. } => Some(format!("{}: {default}\n", key.name)),
            _ => None,
        };
        let global: String = keys::GLOBAL.iter().filter_map(line).collect();
        let path: String = keys::PATH.iter().filter_map(line).map(|line| format!("  {line}")).collect();
        let (_, findings, faults) = checked(&format!("{global}pathDefaults:\n{path}"));
        assert_eq!(faults, Vec::<String>::new());
        assert!(findings.no_effect.is_empty(), "{}", findings.no_effect);
    }

    #[test]
    fn older_names_take_todays() {
        let (root, findings, faults) = checked("hlsDisable: yes\npaths:\n  a: {sourceProtocol: tcp}\n");
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(root.get("hls").unwrap().text(), Some("false"));
        assert_eq!(
            root.get("paths").unwrap().get("a").unwrap().get("rtspTransport").unwrap().text(),
            Some("tcp")
        );
        assert_eq!(findings.renamed.len(), 2);
    }

    #[test]
    fn wrong_shapes_are_faults() {
        assert_eq!(checked("- a\n").2.len(), 1);
        assert_eq!(checked("paths: [a]\n").2.len(), 1);
        assert_eq!(checked("paths: {a: b}\n").2.len(), 1);
    }
}
