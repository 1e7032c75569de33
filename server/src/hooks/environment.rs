//! Environment: the variables that a hook is told of, besides those of the server's own process.
//!
//! The server's own are inherited but for `MTX_...`: those are settings of ours, with passwords of cameras in them.

use std::process::Command;

/// Our own settings begin so, and what hooks are told.
const OURS: &str = "MTX_";

/// Variables of one hook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// A variable as a command's words see it.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let own = self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        own.or_else(|| std::env::var(name).ok().filter(|_| !name.starts_with(OURS)))
    }

    /// Gives it to a process.
    pub(super) fn apply(&self, command: &mut Command) {
        let of_server = std::env::vars_os().map(|(name, _)| name);
        for setting in of_server.filter(|name| name.to_string_lossy().starts_with(OURS)) {
            command.env_remove(setting);
        }
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// As in a URL's query, the way MediaMTX hands queries over: a blank is a plus.
pub(crate) fn query_escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
