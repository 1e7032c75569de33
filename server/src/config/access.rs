//! Access: rules about who may watch, refused as long as nothing enforces them (correctness: S1).
//!
//! The gate's policy is for now MediaMTX's default: anyone reads; `api` and `metrics` answer to
//! loopback only. A file that asks for less than that must not start a server that is open:
//! it is a fault, unless `allowUnauthenticated: true` says that this is known.

use super::check::{canonical, is_default};
use super::fault::{Fault, FaultKind, Faults, Place};
use super::reader::Reader;
use super::tree::{Node, Value};
use super::{Warning, keys};

/// MediaMTX's default users.
pub(crate) const DEFAULT_USERS: &str = "[{user: any, pass: '', ips: [], permissions: [{action: publish, path: ''}, \
    {action: read, path: ''}, {action: playback, path: ''}]}, {user: any, pass: '', ips: [127.0.0.1, '::1'], \
    permissions: [{action: api}, {action: metrics}, {action: pprof}]}]";

/// Notes every access rule that is written and not enforced.
pub(crate) fn check(root: &Node, warnings: &mut Vec<Warning>, faults: &mut Faults) {
    let mut found = Vec::new();
    let set = |key: &str| root.get(key).filter(|node| !canonical(node).is_empty());
    if let Some(method) = set("authMethod").filter(|node| !is_default(node, "internal")) {
        found.push(("authMethod".to_owned(), method.place.clone()));
    }
    if let Some(url) = set("externalAuthenticationURL") {
        found.push(("externalAuthenticationURL".to_owned(), url.place.clone()));
    }
    if let Some(users) = root.get("authInternalUsers") {
        if !reading_is_open(users) {
            found.push(("authInternalUsers".to_owned(), users.place.clone()));
        } else if !is_default(users, DEFAULT_USERS) {
            warnings.push(Warning::UsersWithoutEffect);
        }
    }
    let path_maps = root.get("paths").map(Node::entries).unwrap_or_default().iter().map(|entry| &entry.node);
    for map in root.get("pathDefaults").into_iter().chain(path_maps) {
        for entry in map.entries() {
            let is_rule = keys::find(keys::PATH, &entry.key) == Some(keys::Support::Access);
            if is_rule && !matches!(canonical(&entry.node).as_str(), "" | "[]") {
                found.push((entry.key.clone(), entry.place.clone()));
            }
        }
    }
    report(root, found, warnings, faults);
}

fn report(root: &Node, found: Vec<(String, Place)>, warnings: &mut Vec<Warning>, faults: &mut Faults) {
    if Reader::new(root, None, faults).off("allowUnauthenticated") {
        warnings.extend(found.into_iter().map(|(key, _)| Warning::AccessRuleIgnored { key }));
        return;
    }
    for Fault { place, kind } in found.into_iter().map(|(key, place)| Fault { place, kind: refusal(&key) }) {
        faults.add(&place, kind);
    }
}

fn refusal(key: &str) -> FaultKind {
    FaultKind::Conflict(format!(
        "\"{key}\" restricts access, which is not implemented yet: anyone could watch every camera. \
         Remove it, or set \"allowUnauthenticated: true\" to start open all the same"
    ))
}

/// Whether some rule lets anyone, from anywhere, read every path.
fn reading_is_open(users: &Node) -> bool {
    let empty = |node: Option<&Node>| node.is_none_or(|node| matches!(canonical(node).as_str(), "" | "[]"));
    let reads_all = |permission: &Node| {
        permission.get("action").and_then(Node::text) == Some("read") && empty(permission.get("path"))
    };
    matches!(users.value, Value::Null)
        || users.items().iter().any(|user| {
            user.get("user").and_then(Node::text) == Some("any")
                && empty(user.get("ips"))
                && user.get("permissions").map(Node::items).unwrap_or_default().iter().any(reads_all)
        })
}
