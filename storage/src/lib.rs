//! Storage: recordings on disk, their catalogue, retention and playback.
//!
//! ```text
//!  media_core::egress::recorder ─commands─► disk: writer ─► segment files
//!                                             └─ syncer ─► Driver ─► catalogue (SQLite) ─► Recordings: spans, clips
//!                                                            └─ retention
//!  start-up: repair of what was open
//! ```
//!
//! It spawns no task: the disks' threads are owned by [`Storage`] and joined by [`Storage::stop`]; the one task is the
//! [`Driver`], which the owner runs. It reads no clock: see [`Clock`].
//!
//! Belongs here: files and rows. Does not: when a file begins and ends (-> `media_core::egress::recorder`), HTTP
//! (-> server). Object stores, holds and quotas will stand beside `retention` and `playback`.
#![deny(clippy::indexing_slicing)]

mod catalogue;
mod clock;
mod continuity;
mod disk;
mod driver;
pub mod export;
mod marker;
mod playback;
mod record_path;
mod repair;
mod retention;
mod seal;
mod segment_file;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use media_core::egress::recorder::Gap;
use media_core::path_name::PathName;
use tokio::sync::mpsc;

pub use catalogue::CatalogueError;
pub use clock::Clock;
pub use disk::{DiskSnapshot, Failure, Refused, StreamSnapshot, StreamWriter};
pub use driver::Driver;
pub use media_core::remux::fmp4::progressive::TooMany;
pub use playback::{
    Clip, ClipFormat, ClipPlan, ClipReader, ClipRequest, GapRule, OpenGop, PlaybackError, Recordings, Span,
};
pub use record_path::{RecordPath, RecordPathError};
pub use repair::RepairReport;
pub use retention::AgeRule;

use catalogue::{Catalogue, Update};
use disk::Disk;

/// What is stored where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// The catalogue: `sqlite:FILE`.
    pub database: String,
    /// The folders that may hold recordings: those of all `recordPath`s.
    pub roots: Vec<PathBuf>,
    /// Which paths' recordings are deleted when.
    pub rules: Vec<AgeRule>,
}

/// A disk's threads can't be started.
#[derive(Debug, thiserror::Error)]
#[error("threads for {} can't be started: {error}", root.display())]
pub struct DiskError {
    root: PathBuf,
    error: std::io::Error,
}

/// The disks that are written to.
#[derive(Debug)]
pub struct Storage {
    catalogue: Catalogue,
    clock: Clock,
    updates: mpsc::Sender<Vec<Update>>,
    disks: BTreeMap<PathBuf, Disk>,
}

impl Storage {
    /// Opens the catalogue, repairs what was open and finishes what was being deleted. Nothing may be recorded yet.
    ///
    /// # Errors
    /// [`CatalogueError`] when the catalogue can't be used; without it nothing is recorded.
    pub async fn open(config: StorageConfig, clock: Clock) -> Result<(Self, Driver), CatalogueError> {
        let catalogue = Catalogue::open(&config.database).await?;
        let report = repair::repair(&catalogue, &config.roots).await?;
        if report != RepairReport::default() {
            tracing::info!(?report, "recordings repaired");
        }
        retention::finish(&catalogue).await?;
        let (sender, receiver) = mpsc::channel(driver::UPDATES_WAITING_MAX);
        let driver = Driver { catalogue: catalogue.clone(), updates: receiver, rules: config.rules, clock };
        Ok((Self { catalogue, clock, updates: sender, disks: BTreeMap::new() }, driver))
    }

    /// For those who read.
    pub fn recordings(&self) -> Recordings {
        Recordings { catalogue: self.catalogue.clone() }
    }

    /// The gap that an earlier recorder of a path left open, for the next one.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn left_gap(&self, path: &PathName) -> Result<Option<Gap>, CatalogueError> {
        self.catalogue.left_gap(path).await
    }

    /// A writer for one stream, and where its failures come; starts the disk's threads when it is the first there.
    ///
    /// # Errors
    /// [`DiskError`] when the system has no more threads.
    pub fn stream(
        &mut self,
        path: &PathName,
        template: RecordPath,
    ) -> Result<(StreamWriter, mpsc::Receiver<Failure>), DiskError> {
        let root = template.root().to_owned();
        let disk = match self.disks.entry(root) {
            Entry::Occupied(disk) => disk.into_mut(),
            Entry::Vacant(place) => {
                let root = place.key().clone();
                let disk = Disk::start(&root, self.clock, self.updates.clone());
                place.insert(disk.map_err(|error| DiskError { root, error })?)
            }
        };
        Ok(disk.stream(path.clone(), template))
    }

    /// Counters of all disks.
    pub fn disks(&self) -> Vec<DiskSnapshot> {
        self.disks.values().map(Disk::snapshot).collect()
    }

    /// Writes what is queued, closes and syncs all files, and ends the threads; the driver ends then. All stream writers
    /// must be gone. Blocks.
    pub fn stop(self) {
        drop(self.updates);
        self.disks.into_values().for_each(Disk::stop);
    }
}
