//! Subject: whose cost is measured: our server, a peer, a floor.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use gtvision_tests::workspace;

use crate::scenario::{Floor, Scenario};

/// The name of our own server in tables and JSON.
pub(crate) const OURS: &str = "gtvision";

/// A server that reads a MediaMTX configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its name in tables and JSON.
    pub(crate) name: String,
    /// Its program.
    pub(crate) program: PathBuf,
}

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (name, program) = text.split_once('=').context("expected NAME=PATH")?;
        ensure!(!name.is_empty() && name != OURS, "a peer may not be named {name:?}");
        Ok(Self { name: name.to_owned(), program: PathBuf::from(program) })
    }
}

/// One whose cost is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Ours, or a peer.
    Server(Peer),
    /// A mode of this program.
    Floor(Floor),
}

impl Subject {
    /// Its name in tables and JSON.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Server(peer) => &peer.name,
            Self::Floor(floor) => floor.name(),
        }
    }
}

/// In the order in which they run: ours, peers, floors.
///
/// # Errors
/// When ours is not built or a peer is not there.
pub(crate) fn of(scenario: &Scenario, peers: &[Peer]) -> anyhow::Result<Vec<Subject>> {
    let program = workspace::program("gtvision", "GTVISION_BIN")?;
    let mut subjects = vec![Subject::Server(Peer { name: OURS.to_owned(), program })];
    for peer in peers {
        ensure!(peer.program.is_file(), "no program at {}", peer.program.display());
        // It is started in a directory of its own.
        let program = std::fs::canonicalize(&peer.program)?;
        subjects.push(Subject::Server(Peer { program, ..peer.clone() }));
    }
    subjects.extend(scenario.floors.iter().copied().map(Subject::Floor));
    Ok(subjects)
}
