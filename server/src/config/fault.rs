//! Fault: what is wrong with a configuration, and where, in words for the person who must fix it.
//!
//! Invariants: no fault shows a password; [`FaultKind::BadValue`] carries only values that the
//! key table does not mark as secret, and a printed source line is masked (-> `file`).

use std::fmt;

use super::values::Expected;

/// Where a value came from. Lines and columns are 1-based.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A position in the configuration file.
    File {
        /// Line, from 1.
        line: u64,
        /// Column in characters, from 1.
        column: u64,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A setting made through the API: of which path, or `pathDefaults`; empty for the whole server.
    Api {
        /// Whose.
        of: String,
    },
    /// The configuration as a whole.
    Whole,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) kind: FaultKind,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultKind {
    /// The file can't be read at all.
    #[error("{0}")]
    Unreadable(String),
    /// Not YAML, or beyond the parser's limits.
    #[error("{0}")]
    Syntax(String),
    /// A key that neither MediaMTX nor this server has.
    #[error("unknown key \"{key}\"{}", did_you_mean(*.suggestion))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// The nearest known key, if one is near.
        suggestion: Option<&'static str>,
    },
    /// A list where a text stands, and the like.
    #[error("\"{key}\" must be {expected}")]
    WrongShape {
        /// The key.
        key: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A value that does not parse or is out of range.
    #[error("\"{key}\": {got:?} is not {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The value as written.
        got: String,
        /// What should stand there.
        expected: Expected,
    },
    /// As `BadValue`, where the value may hold a secret.
    #[error("\"{key}\" is not {expected}")]
    BadSecret {
        /// The key.
        key: String,
        /// What should stand there.
        expected: Expected,
    },
    /// Two settings that exclude each other, or one that needs another.
    #[error("{0}")]
    Conflict(String),
    /// More of something than the named limit.
    #[error("{what}: {got}, the limit is {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// How many there may be.
        max: usize,
    },
}

fn did_you_mean(suggestion: Option<&'static str>) -> String {
    suggestion.map(|key| format!(", did you mean \"{key}\"?")).unwrap_or_default()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Environment(variable) => write!(f, "{variable}: {}", self.kind),
            Place::File { .. } | Place::Api { .. } | Place::Whole => write!(f, "{}", self.kind),
        }
    }
}

/// The most faults that are collected in one go; the rest are dropped, since fixing the first
/// ones is what comes next anyway.
pub(crate) const FAULTS_MAX: usize = 50;

/// Everything that is wrong with one configuration, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Notes one fault; nothing happens beyond [`FAULTS_MAX`].
    pub(crate) fn add(&mut self, place: &Place, kind: FaultKind) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault { place: place.clone(), kind });
        }
    }

    /// The faults in the order of their places.
    pub(crate) fn into_sorted(mut self) -> Vec<Fault> {
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        self.0
    }
}
