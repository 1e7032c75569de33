//! Shown: the tree in force as the API's JSON objects.

use control_api::Settings;

use super::schema::{self, GLOBAL, PATH};
use super::tree::{Entry, Node};

/// Settings of the whole server.
pub(crate) fn global(tree: &Node) -> Settings {
    schema::shown(GLOBAL, &[tree], &["paths", "pathDefaults"])
}

/// What paths have where they say nothing themselves.
pub(crate) fn path_defaults(tree: &Node) -> Settings {
    schema::shown(PATH, &defaults(tree), &["name"])
}

/// One entry of `paths`, with what it takes from the defaults.
pub(crate) fn path(tree: &Node, entry: &Entry) -> Settings {
    let maps: Vec<&Node> = std::iter::once(&entry.node).chain(defaults(tree)).collect();
    let mut settings = schema::shown(PATH, &maps, &["name"]);
    settings.insert("name".to_owned(), entry.key.clone().into());
    settings
}

fn defaults(tree: &Node) -> Vec<&Node> {
    tree.get("pathDefaults").into_iter().collect()
}
