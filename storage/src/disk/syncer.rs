//! Syncer: the thread that makes durable what the writer wrote, once a second, and tells the catalogue. It also looks whether
//! the disk is still there and how full it is.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::egress::recorder::Gap;
use media_core::path_name::PathName;
use tokio::sync::mpsc;

use super::stats::DiskStats;
use super::{Failure, Stream, count};
use crate::catalogue::{FileUpdate, Update};
use crate::clock::Clock;
use crate::root::Root;
use crate::segment_file::SegmentFile;

/// From one round to the next. A power cut takes what was written since the last round began: this, and the round
/// itself.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What was written since the last round.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) files: HashMap<PathBuf, Grown>,
    pub(super) gaps: Vec<(PathName, Gap)>,
}

/// A file that grew.
#[derive(Debug)]
pub(super) struct Grown {
    file: Arc<File>,
    stream: Arc<Stream>,
    pub(super) update: FileUpdate,
}

impl Grown {
    /// With the GOPs that were complete before this round; the writer adds the one it just completed.
    pub(super) fn of(file: &SegmentFile, stream: &Arc<Stream>) -> Self {
        let update = FileUpdate {
            facts: file.facts.clone(),
            extent: file.extent,
            new_gops: Vec::new(),
            gops_before: file.gops_before_last_append(),
            closed: None,
            marker: None,
        };
        Self { file: Arc::clone(&file.file), stream: Arc::clone(stream), update }
    }

    fn failure(&self) -> Failure {
        let continuity = &self.update.facts.continuity;
        let us = self.update.facts.timescale.ticks_to_us(self.update.extent.duration_ticks);
        let end = Some(continuity.start.plus_us(us));
        Failure { run: continuity.run, number: continuity.number, end }
    }
}

/// The lock is held for a look-up and a push.
pub(super) fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Syncer {
    pub(super) root: Arc<Root>,
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) stats: Arc<DiskStats>,
    pub(super) clock: Clock,
    pub(super) updates: mpsc::Sender<Vec<Update>>,
}

impl Syncer {
    /// Works until it is told to stop, then once more.
    pub(super) fn run(self, stopped: &Receiver<()>) {
        let mut wait = SYNC_EVERY;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
            self.root.look();
            wait = SYNC_EVERY.saturating_sub(self.round());
        }
        self.round();
    }

    /// Syncs what grew and hands it to the catalogue; how long that took.
    fn round(&self) -> Duration {
        let began = (self.clock.monotonic)();
        let Progress { files, gaps } = std::mem::take(&mut *lock(&self.progress));
        if files.is_empty() && gaps.is_empty() {
            return Duration::ZERO;
        }
        let mut folders = BTreeSet::new();
        let mut synced = Vec::new();
        let mut updates: Vec<Update> = gaps.into_iter().map(|(path, gap)| Update::Gap(path, gap)).collect();
        for grown in files.into_values() {
            if let Err(error) = grown.file.sync_data() {
                self.sync_failed(&grown, &error);
                continue;
            }
            // The first GOP of a file: its name is new too.
            if grown.update.gops_before == 0 {
                folders.extend(self.folders_of(&grown));
            }
            synced.push(grown);
        }
        let sync =
            |folder: PathBuf| File::open(&folder).and_then(|open| open.sync_all()).err().zip(Some(folder));
        let unsynced: Vec<(io::Error, PathBuf)> = folders.into_iter().filter_map(sync).collect();
        for grown in synced {
            // Its name may be lost with the power: the catalogue does not learn it.
            let lost = unsynced.iter().find(|(_, folder)| {
                grown.update.gops_before == 0 && self.folders_of(&grown).any(|one| one == *folder)
            });
            match lost {
                Some((error, _)) => self.sync_failed(&grown, error),
                None => updates.push(Update::File(grown.update)),
            }
        }
        self.stats.synced((self.clock.monotonic)().saturating_duration_since(began));
        if self.updates.blocking_send(updates).is_err() {
            tracing::warn!("catalogue is gone; start-up repair will find what it was not told");
        }
        (self.clock.monotonic)().saturating_duration_since(began)
    }

    /// The file's folder and those above it, up to the root: any of them may be new.
    fn folders_of(&self, grown: &Grown) -> impl Iterator<Item = PathBuf> {
        let above = grown.update.facts.name.ancestors().skip(1);
        above.take_while(|folder| folder.starts_with(&self.root.folder)).map(Path::to_owned)
    }

    fn sync_failed(&self, grown: &Grown, error: &io::Error) {
        count(&self.stats.sync_errors);
        // The keeper tells of a disk that went away.
        if self.root.is_present() {
            tracing::error!(file = %grown.update.facts.name.display(), %error, "recording can't be synced");
        }
        // What the system could not write it may have let go: the recorder begins another file.
        grown.stream.tell(grown.failure());
    }
}
