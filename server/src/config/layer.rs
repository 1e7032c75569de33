//! Layer: what was set through the API, laid over the file and the environment.
//!
//! ```text
//!  file ◄─ environment ◄─ API        what is further right wins
//! ```
//!
//! It is kept in the database (-> `kept`), so that a restart and a new file change nothing of it. A path that is in the
//! file may be changed, replaced or taken away by it; where it says nothing, the file counts.
//!
//! Belongs here: settings, merged. Does not: whether the whole makes sense (-> `resolve`).

use std::collections::{BTreeMap, BTreeSet};

use control_api::{ApiError, ConfigChange, Settings};
use serde_json::Value as Json;

use super::fault::Place;
use super::keys::{self, Key, Support};
use super::schema::{self, Field, REDACTED};
use super::tree::{Entry, Node, Value};

/// Settings made through the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    pub(super) global: Settings,
    pub(super) path_defaults: Settings,
    pub(super) paths: BTreeMap<String, PathLayer>,
}

/// What it says of one path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PathLayer {
    pub(super) mode: Mode,
    pub(super) settings: Settings,
}

/// What becomes of the file's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It counts where the layer says nothing.
    Over,
    /// It does not count.
    Whole,
    /// It does not count, and there is no such path.
    Gone,
}

impl Mode {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Over, Self::Whole, Self::Gone];

    /// Its name in the database.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Over => "over",
            Self::Whole => "whole",
            Self::Gone => "gone",
        }
    }
}

impl Layer {
    /// Lays it over a tree.
    pub(crate) fn apply(&self, root: &mut Node) {
        put_all(root, &self.global, "");
        if !self.path_defaults.is_empty() {
            let of = "pathDefaults";
            edit(root, of, of, |defaults| put_all(defaults, &self.path_defaults, of));
        }
        for (name, layer) in &self.paths {
            edit(root, "paths", name, |paths| {
                if layer.mode != Mode::Over {
                    remove(paths, name);
                }
                if layer.mode != Mode::Gone {
                    edit(paths, name, name, |path| put_all(path, &layer.settings, name));
                }
            });
        }
    }

    /// The layer after a change, over `file_paths`, the entries of the file; `tree` is what is in force.
    ///
    /// # Errors
    /// [`ApiError`] when a setting is unknown or of another type, or the path is there, or is not.
    pub(crate) fn with(
        &self,
        change: ConfigChange,
        tree: &Node,
        file_paths: &BTreeSet<String>,
    ) -> Result<Self, ApiError> {
        let exists = |name: &str| tree.get("paths").is_some_and(|paths| paths.get(name).is_some());
        let path = |settings| checked(settings, keys::PATH, schema::PATH);
        let whole = |settings| path(settings).and_then(written_out);
        let part = |settings| path(settings).map(but_redacted);
        match &change {
            ConfigChange::AddPath(name, _) if exists(name) => return Err(ApiError::PathExists),
            ConfigChange::PatchPath(name, _) | ConfigChange::DeletePath(name) if !exists(name) => {
                return Err(ApiError::PathNotFound);
            }
            _ => {}
        }
        let mut layer = self.clone();
        match change {
            ConfigChange::Global(settings) => {
                let mut settings = checked(settings, keys::GLOBAL, schema::GLOBAL)?;
                if let Some(container) =
                    ["paths", "pathDefaults"].iter().find(|key| settings.contains_key(**key))
                {
                    return Err(invalid(format!("\"{container}\" has endpoints of its own")));
                }
                if settings.contains_key("database") {
                    return Err(invalid(
                        "\"database\" can't be set here: it is where this is kept".to_owned(),
                    ));
                }
                keep_secrets(&mut settings, tree)?;
                layer.global.extend(settings);
            }
            ConfigChange::PathDefaults(settings) => layer.path_defaults.extend(part(settings)?),
            ConfigChange::AddPath(name, settings) | ConfigChange::ReplacePath(name, settings) => {
                layer.paths.insert(name, PathLayer { mode: Mode::Whole, settings: whole(settings)? });
            }
            ConfigChange::PatchPath(name, settings) => {
                let new = || PathLayer { mode: Mode::Over, settings: Settings::new() };
                layer.paths.entry(name).or_insert_with(new).settings.extend(part(settings)?);
            }
            ConfigChange::DeletePath(name) if file_paths.contains(&name) => {
                layer.paths.insert(name, PathLayer { mode: Mode::Gone, settings: Settings::new() });
            }
            ConfigChange::DeletePath(name) => drop(layer.paths.remove(&name)),
        }
        Ok(layer)
    }

    /// Leaves out what it says of a path, or of the whole server (an empty name); whether there was something.
    pub(crate) fn leave_out(&mut self, of: &str) -> bool {
        match of {
            "" => !std::mem::take(&mut self.global).is_empty(),
            "pathDefaults" => !std::mem::take(&mut self.path_defaults).is_empty(),
            path => self.paths.remove(path).is_some(),
        }
    }
}

/// Settings under today's names, each of its type; those that are `null` say nothing.
fn checked(settings: Settings, keys: &'static [Key], fields: &[Field]) -> Result<Settings, ApiError> {
    let mut checked = Settings::new();
    for (name, value) in settings {
        let (name, value) = match keys::find(keys, &name) {
            None => {
                let like = keys::nearest(keys, &name).map(|like| format!(", did you mean \"{like}\"?"));
                return Err(invalid(format!("unknown key \"{name}\"{}", like.unwrap_or_default())));
            }
            Some(Support::RenamedTo(to)) => (to.to_owned(), value),
            Some(Support::NegatedAs(to)) => {
                (to.to_owned(), value.as_bool().map_or(value, |on| Json::Bool(!on)))
            }
            Some(_) => (name, value),
        };
        // The name of a path stands in its address; MediaMTX shows it among the settings.
        if value.is_null() || name == "name" {
            continue;
        }
        let must = |must: &str| invalid(format!("\"{name}\" must be {must}"));
        schema::check_json(schema::kind_of(fields, &name), &value).map_err(must)?;
        checked.insert(name, value);
    }
    Ok(checked)
}

fn invalid(why: String) -> ApiError {
    ApiError::InvalidConfiguration { why }
}

/// Who sends back what was shown means the secrets that are there.
fn keep_secrets(settings: &mut Settings, tree: &Node) -> Result<(), ApiError> {
    keep_secret(settings, tree, "authInternalUsers", ("user", "pass"))?;
    keep_secret(settings, tree, "webhooks", ("url", "secret"))?;
    keep_secret(settings, tree, "webrtcICEServers2", ("url", "password"))
}

/// The same for some settings of a path: those that stay as they are are not written.
fn but_redacted(mut settings: Settings) -> Settings {
    settings.retain(|_, value| value != REDACTED);
    settings
}

/// All settings of a path, of which none stays as it is.
fn written_out(settings: Settings) -> Result<Settings, ApiError> {
    match settings.iter().find(|(_, value)| *value == REDACTED) {
        Some((name, _)) => Err(not_shown(name)),
        None => Ok(settings),
    }
}

fn not_shown(name: &str) -> ApiError {
    invalid(format!("\"{name}\" must be written out: {REDACTED} stands for what is not shown"))
}

/// The secrets of a list, whose items are told apart by `name`.
fn keep_secret(
    settings: &mut Settings,
    tree: &Node,
    list: &str,
    (name, secret): (&str, &str),
) -> Result<(), ApiError> {
    let Some(Json::Array(items)) = settings.get_mut(list) else { return Ok(()) };
    let before = tree.get(list).map(Node::items).unwrap_or_default();
    for item in items {
        if item.get(secret).and_then(Json::as_str) == Some(REDACTED) {
            let named = item.get(name).and_then(Json::as_str).unwrap_or_default();
            let same =
                before.iter().find(|old| old.get(name).and_then(Node::text).unwrap_or_default() == named);
            // One without a secret would be open to anyone.
            let kept = same.and_then(|old| old.get(secret)?.text()).ok_or_else(|| not_shown(secret))?;
            item[secret] = Json::String(kept.to_owned());
        }
    }
    Ok(())
}

/// Changes the value of a key of a map, made if it is not there; `of` tells whose it is then.
fn edit(map: &mut Node, key: &str, of: &str, change: impl FnOnce(&mut Node)) {
    let place = Place::Api { of: of.to_owned() };
    let before = std::mem::replace(&mut map.value, Value::Null);
    let mut entries = if let Value::Map(entries) = before { entries } else { Vec::new() };
    match entries.iter_mut().find(|entry| entry.key == key) {
        Some(entry) => change(&mut entry.node),
        None => {
            let mut node = Node { value: Value::Null, place: place.clone() };
            change(&mut node);
            entries.push(Entry { key: key.to_owned(), place, node });
        }
    }
    map.value = Value::Map(entries);
}

fn remove(map: &mut Node, key: &str) {
    if let Value::Map(entries) = &mut map.value {
        entries.retain(|entry| entry.key != key);
    }
}

/// Puts settings into a map; their places tell whose they are.
fn put_all(map: &mut Node, settings: &Settings, of: &str) {
    let place = Place::Api { of: of.to_owned() };
    if matches!(map.value, Value::Null) {
        map.place = place.clone();
        map.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut map.value else { return };
    for (name, value) in settings {
        entries.retain(|entry| entry.key != *name);
        entries.push(Entry { key: name.clone(), place: place.clone(), node: node_of(value, &place) });
    }
}

fn node_of(json: &Json, place: &Place) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(on) => Value::Text(on.to_string()),
        Json::Number(number) => Value::Text(number.to_string()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(|item| node_of(item, place)).collect()),
        Json::Object(members) => Value::Map(
            members
                .iter()
                .map(|(key, member)| Entry {
                    key: key.clone(),
                    place: place.clone(),
                    node: node_of(member, place),
                })
                .collect(),
        ),
    };
    Node { value, place: place.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Json) -> Settings {
        value.as_object().cloned().unwrap_or_default()
    }

    fn paths_of(tree: &Node) -> BTreeSet<String> {
        tree.get("paths")
            .map(Node::entries)
            .unwrap_or_default()
            .iter()
            .map(|entry| entry.key.clone())
            .collect()
    }

    struct Desk {
        file: Node,
        layer: Layer,
    }

    impl Desk {
        fn tree(&self) -> Node {
            let mut tree = self.file.clone();
            self.layer.apply(&mut tree);
            tree
        }

        fn change(&mut self, change: ConfigChange) -> Result<(), ApiError> {
            self.layer = self.layer.with(change, &self.tree(), &paths_of(&self.file))?;
            Ok(())
        }

        fn text(&self, keys: &[&str]) -> Option<String> {
            let tree = self.tree();
            keys.iter().try_fold(&tree, |node, key| node.get(key)).and_then(Node::text).map(str::to_owned)
        }
    }

    fn desk() -> Desk {
        let file = "logLevel: info\npaths:\n  cam_1: {source: 'rtsp://a/', record: yes}\n  cam_2:\n";
        Desk { file: Node::parse(file).unwrap(), layer: Layer::default() }
    }

    #[test]
    fn paths_are_changed_replaced_added_and_taken_away_over_the_file() {
        let mut desk = desk();
        let name = || "cam_1".to_owned();
        desk.change(ConfigChange::PatchPath(name(), settings(json!({"record": false})))).unwrap();
        assert_eq!(desk.text(&["paths", "cam_1", "record"]).as_deref(), Some("false"));
        assert_eq!(desk.text(&["paths", "cam_1", "source"]).as_deref(), Some("rtsp://a/"));
        desk.change(ConfigChange::ReplacePath(name(), settings(json!({"maxReaders": 3})))).unwrap();
        assert_eq!(desk.text(&["paths", "cam_1", "source"]), None);
        assert_eq!(desk.text(&["paths", "cam_1", "maxReaders"]).as_deref(), Some("3"));
        desk.change(ConfigChange::DeletePath(name())).unwrap();
        assert!(desk.tree().get("paths").unwrap().get("cam_1").is_none());
        assert_eq!(desk.change(ConfigChange::DeletePath(name())), Err(ApiError::PathNotFound));
        desk.change(ConfigChange::AddPath(name(), Settings::new())).unwrap();
        assert!(desk.tree().get("paths").unwrap().get("cam_1").is_some());
        assert_eq!(desk.change(ConfigChange::AddPath(name(), Settings::new())), Err(ApiError::PathExists));
        desk.change(ConfigChange::Global(settings(json!({"logLevel": "debug", "hlsDisable": true}))))
            .unwrap();
        assert_eq!(desk.text(&["logLevel"]).as_deref(), Some("debug"));
        assert_eq!(desk.text(&["hls"]).as_deref(), Some("false"));
    }

    #[test]
    fn settings_that_are_unknown_or_of_another_type_are_refused_by_name() {
        let mut desk = desk();
        for (wrong, said) in [
            (json!({"recrd": true}), "unknown key \"recrd\", did you mean \"record\"?"),
            (json!({"record": "yes"}), "\"record\" must be true or false"),
            (json!({"maxReaders": 1.5}), "\"maxReaders\" must be a whole number"),
            (json!({"recordDeleteAfter": "soon"}), "\"recordDeleteAfter\" must be a duration"),
            (json!({"forward": ["x"]}), "\"forward\" must be a list of objects"),
        ] {
            let refused = desk.change(ConfigChange::PathDefaults(settings(wrong))).unwrap_err().to_string();
            assert!(refused.starts_with(said), "{refused}");
        }
        let paths = desk.change(ConfigChange::Global(settings(json!({"paths": {}})))).unwrap_err();
        assert!(paths.to_string().contains("endpoints of its own"));
    }

    // correctness: S5
    #[test]
    fn who_sends_back_what_was_shown_keeps_the_secrets() {
        let mut desk = desk();
        let file = "authInternalUsers: [{user: ana, pass: hunter2}]\nwebhooks: [{url: 'http://h/', secret: hunter2}]\n";
        desk.file = Node::parse(file).unwrap();
        let users = json!({"authInternalUsers": [{"user": "ana", "pass": REDACTED}]});
        desk.change(ConfigChange::Global(settings(users))).unwrap();
        assert_eq!(desk.layer.global["authInternalUsers"][0]["pass"], "hunter2");
        let unknown = json!({"authInternalUsers": [{"user": "x", "pass": REDACTED}]});
        let refused = desk.change(ConfigChange::Global(settings(unknown))).unwrap_err().to_string();
        assert!(refused.contains("must be written out"), "{refused}");
        let readers = || settings(json!({"readUser": "ana", "readPass": REDACTED}));
        desk.change(ConfigChange::PathDefaults(readers())).unwrap();
        assert_eq!(desk.layer.path_defaults.keys().collect::<Vec<_>>(), ["readUser"]);
        let refused =
            desk.change(ConfigChange::AddPath("new".to_owned(), readers())).unwrap_err().to_string();
        assert!(refused.contains("must be written out"), "{refused}");
        let webhooks = json!({"webhooks": [{"url": "http://h/", "events": [], "secret": REDACTED}]});
        desk.change(ConfigChange::Global(settings(webhooks))).unwrap();
        assert_eq!(desk.layer.global["webhooks"][0]["secret"], "hunter2");
    }
}
