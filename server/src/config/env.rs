//! Environment: variables laid over the configuration file before it is understood.
//!
//! `MTX_` variables are MediaMTX's, `GTV_` ours; both reach every key, and where both name the
//! same key `GTV_` wins. The name is the key in upper case, nested with `_`:
//!
//! ```text
//!  MTX_HLSADDRESS=:9000                     hlsAddress: ":9000"
//!  MTX_WEBRTCADDITIONALHOSTS=a,b            webrtcAdditionalHosts: [a, b]
//!  MTX_WEBRTCICESERVERS2_0_URL=stun:x       webrtcICEServers2: [{url: "stun:x"}]
//!  MTX_PATHDEFAULTS_RTSPTRANSPORT=tcp       pathDefaults: {rtspTransport: tcp}
//!  GTV_S3_BUCKET=archive                    s3: {bucket: archive}
//!  MTX_PATHS_CAM1_SOURCE=rtsp://...         paths: {cam1: {source: "rtsp://..."}}
//! ```
//!
//! A path that the file has is found by its name in upper case with every other character as
//! `_` (`MTX_PATHS_CAM_1_SOURCE` for `cam_1`); any other name is taken in lower case, as
//! MediaMTX does.
//!
//! Limits: [`LIST_INDEX_MAX`]. Deviations: MediaMTX ignores variables that it does not know; here
//! they are named in a warning.

use super::fault::{FaultKind, Faults, Place};
use super::keys::{self, Key};
use super::tree::{Entry, Node, Value};

/// The highest index in `MTX_LIST_0`; a higher one is refused.
pub(crate) const LIST_INDEX_MAX: usize = 255;

/// Lists of plain texts, whose variable may hold all of them with commas between.
const COMMA_LISTS: &[&str] = &[
    "logDestinations",
    "apiAllowOrigins",
    "apiTrustedProxies",
    "metricsAllowOrigins",
    "metricsTrustedProxies",
    "hlsAllowOrigins",
    "hlsTrustedProxies",
    "webrtcAllowOrigins",
    "webrtcTrustedProxies",
    "webrtcIPsFromInterfacesList",
    "webrtcAdditionalHosts",
    "controlAllowedHosts",
    "rtspTransports",
    "rtspAuthMethods",
];

/// The keys of the list items that have any.
const ICE_SERVER_KEYS: [&str; 4] = ["url", "username", "password", "clientOnly"];
const USER_KEYS: [&str; 4] = ["user", "pass", "ips", "permissions"];

/// Lays the variables over `root` and returns the names of those that mean nothing.
///
/// Variables come in any order; they are applied sorted, `MTX_` before `GTV_`.
pub(crate) fn overlay(root: &mut Node, variables: &[(String, String)], faults: &mut Faults) -> Vec<String> {
    let mut known: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| {
            let mtx = name.strip_prefix("MTX_").map(|rest| (0, rest));
            let gtv = name.strip_prefix("GTV_").map(|rest| (1, rest));
            mtx.or(gtv).map(|(rank, rest)| (rank, rest, name, value))
        })
        .collect();
    known.sort();
    let mut ignored = Vec::new();
    for (_, rest, name, value) in known {
        let place = Place::Environment(name.clone());
        if rest == "CONFKEY" {
            let message = "encrypted configuration files are not supported; decrypt the file first";
            faults.add(&place, FaultKind::Conflict(message.to_owned()));
            continue;
        }
        match steps_of(root, rest) {
            Some(steps) => set(root, &steps, value, &place),
            None => ignored.push(name.clone()),
        }
    }
    ignored
}

/// One step from the root toward a value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Reads what a variable's name points at; `None` when it is no setting.
fn steps_of(root: &Node, rest: &str) -> Option<Vec<Step>> {
    if let Some(rest) = rest.strip_prefix("PATHDEFAULTS_") {
        return prefixed("pathDefaults", key_steps(keys::PATH, rest)?);
    }
    if let Some(rest) = rest.strip_prefix("PATHS_") {
        let (path, rest) = path_name(root, rest)?;
        let mut steps = vec![Step::Key("paths".to_owned()), Step::Key(path)];
        if !rest.is_empty() {
            steps.extend(key_steps(keys::PATH, rest)?);
        }
        return Some(steps);
    }
    if let Some(rest) = rest.strip_prefix("S3_") {
        return prefixed("s3", key_steps(keys::S3, rest)?);
    }
    key_steps(keys::GLOBAL, rest)
}

fn prefixed(key: &str, steps: Vec<Step>) -> Option<Vec<Step>> {
    Some([vec![Step::Key(key.to_owned())], steps].concat())
}

/// Finds the path that the variable's name goes on with: the longest one of the file, or else
/// everything to the next `_` in lower case.
fn path_name<'a>(root: &Node, rest: &'a str) -> Option<(String, &'a str)> {
    let in_file = root
        .get("paths")
        .map(Node::entries)
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| Some((&entry.key, after_name(rest, &variable_name(&entry.key))?)))
        .max_by_key(|(name, _)| name.len());
    if let Some((name, after)) = in_file {
        return Some((name.clone(), after));
    }
    let (name, after) = rest.split_once('_').unwrap_or((rest, ""));
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), after))
}

fn variable_name(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// What follows `name` in a variable's name, if it begins with that name.
fn after_name<'a>(variable: &'a str, name: &str) -> Option<&'a str> {
    let after = variable.strip_prefix(name)?;
    if after.is_empty() { Some("") } else { after.strip_prefix('_') }
}

fn key_steps(table: &'static [Key], rest: &str) -> Option<Vec<Step>> {
    let (name, after) = table
        .iter()
        .filter_map(|key| Some((key.name, after_name(rest, &key.name.to_ascii_uppercase())?)))
        .max_by_key(|(name, _)| name.len())?;
    if matches!(name, "paths" | "pathDefaults" | "s3") {
        return None;
    }
    let mut steps = vec![Step::Key(name.to_owned())];
    if after.is_empty() {
        return Some(steps);
    }
    let (index, field) = after.split_once('_').unwrap_or((after, ""));
    let index: usize = index.parse().ok().filter(|index| *index <= LIST_INDEX_MAX)?;
    steps.push(Step::Index(index));
    if !field.is_empty() {
        let fields = if name == "authInternalUsers" { USER_KEYS } else { ICE_SERVER_KEYS };
        let field = fields.iter().find(|known| known.to_ascii_uppercase() == field)?;
        steps.push(Step::Key((*field).to_owned()));
    }
    Some(steps)
}

fn set(root: &mut Node, steps: &[Step], text: &str, place: &Place) {
    let is_list = matches!(steps.last(), Some(Step::Key(key)) if COMMA_LISTS.contains(&key.as_str()));
    let node = |value: Value| Node { value, place: place.clone() };
    let new = if is_list {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        node(Value::List(items.map(|item| node(Value::Text(item.to_owned()))).collect()))
    } else {
        node(Value::Text(text.to_owned()))
    };
    put(root, steps, new);
}

/// Puts `new` where `steps` lead, making what is missing on the way.
fn put(node: &mut Node, steps: &[Step], new: Node) {
    let place = new.place.clone();
    let missing = || Node { value: Value::Null, place: place.clone() };
    let Some((step, rest)) = steps.split_first() else {
        *node = new;
        return;
    };
    node.value = match (step, std::mem::replace(&mut node.value, Value::Null)) {
        (Step::Key(key), before) => {
            let mut entries = if let Value::Map(entries) = before { entries } else { Vec::new() };
            match entries.iter_mut().find(|entry| entry.key == *key) {
                Some(entry) => put(&mut entry.node, rest, new),
                None => {
                    let mut made = Entry { key: key.clone(), place: place.clone(), node: missing() };
                    put(&mut made.node, rest, new);
                    entries.push(made);
                }
            }
            Value::Map(entries)
        }
        (Step::Index(index), before) => {
            let mut items = if let Value::List(items) = before { items } else { Vec::new() };
            if items.len() <= *index {
                items.resize_with(index.saturating_add(1), missing);
            }
            if let Some(item) = items.get_mut(*index) {
                put(item, rest, new);
            }
            Value::List(items)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlaid(yaml: &str, variables: &[(&str, &str)]) -> (Node, Vec<String>) {
        let mut root = Node::parse(yaml).unwrap();
        let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut faults = Faults::default();
        let ignored = overlay(&mut root, &variables, &mut faults);
        assert_eq!(faults.into_sorted(), []);
        (root, ignored)
    }

    fn text_at<'a>(root: &'a Node, keys: &[&str]) -> Option<&'a str> {
        keys.iter().try_fold(root, |node, key| node.get(key)).and_then(Node::text)
    }

    #[test]
    fn variables_replace_and_add_settings() {
        let (root, ignored) = overlaid(
            "hlsAddress: :1\n",
            &[
                ("MTX_HLSADDRESS", ":9000"),
                ("MTX_API", "yes"),
                ("HOME", "/root"),
                ("GTV_CONTROLADDRESS", ":1"),
            ],
        );
        assert_eq!(text_at(&root, &["hlsAddress"]), Some(":9000"));
        assert_eq!(text_at(&root, &["api"]), Some("yes"));
        assert_eq!(text_at(&root, &["controlAddress"]), Some(":1"));
        assert_eq!(ignored, Vec::<String>::new());
    }

    #[test]
    fn our_prefix_wins() {
        let (root, _) = overlaid("", &[("GTV_LOGLEVEL", "debug"), ("MTX_LOGLEVEL", "error")]);
        assert_eq!(text_at(&root, &["logLevel"]), Some("debug"));
    }

    #[test]
    fn path_names_with_underscores_are_found_in_the_file() {
        let yaml = "paths:\n  cam:\n  cam_1:\n  city/north:\n";
        let (root, _) = overlaid(
            yaml,
            &[
                ("MTX_PATHS_CAM_1_SOURCE", "a"),
                ("MTX_PATHS_CAM_SOURCE", "b"),
                ("MTX_PATHS_CITY_NORTH_RTSPTRANSPORT", "tcp"),
                ("MTX_PATHS_NEW_SOURCEONDEMAND", "yes"),
                ("MTX_PATHDEFAULTS_SOURCEONDEMANDCLOSEAFTER", "20s"),
            ],
        );
        assert_eq!(text_at(&root, &["paths", "cam_1", "source"]), Some("a"));
        assert_eq!(text_at(&root, &["paths", "cam", "source"]), Some("b"));
        assert_eq!(text_at(&root, &["paths", "city/north", "rtspTransport"]), Some("tcp"));
        assert_eq!(text_at(&root, &["paths", "new", "sourceOnDemand"]), Some("yes"));
        assert_eq!(text_at(&root, &["pathDefaults", "sourceOnDemandCloseAfter"]), Some("20s"));
    }

    #[test]
    fn lists_take_commas_and_indexes() {
        let (root, _) = overlaid(
            "",
            &[
                ("MTX_WEBRTCADDITIONALHOSTS", "a, b"),
                ("MTX_WEBRTCICESERVERS2_1_URL", "stun:x"),
                ("MTX_HLSALLOWORIGINS_0", "https://a.b"),
            ],
        );
        let hosts: Vec<_> =
            root.get("webrtcAdditionalHosts").unwrap().items().iter().map(Node::text).collect();
        assert_eq!(hosts, [Some("a"), Some("b")]);
        let servers = root.get("webrtcICEServers2").unwrap().items();
        assert_eq!(servers.len(), 2);
        assert_eq!(servers[1].get("url").and_then(Node::text), Some("stun:x"));
        assert_eq!(root.get("hlsAllowOrigins").unwrap().items()[0].text(), Some("https://a.b"));
    }

    #[test]
    fn unknown_variables_are_returned() {
        let (root, ignored) =
            overlaid("", &[("MTX_NOPE", "1"), ("MTX_PATHS_A_NOPE", "1"), ("MTX_HLSALLOWORIGINS_99999", "1")]);
        assert_eq!(ignored, ["MTX_HLSALLOWORIGINS_99999", "MTX_NOPE", "MTX_PATHS_A_NOPE"]);
        assert_eq!(root.value, Value::Null);
    }
}
