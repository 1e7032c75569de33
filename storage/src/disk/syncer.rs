//! Syncer: the thread that makes durable what the writer wrote, once a second, and tells the catalogue. It also looks whether
//! the disk is still there and how full it is.
//!
//! After a sync that failed the system may let go what it could not write, and the next one succeeds all the same. So of such
//! a file nothing is believed but what earlier syncs put on the disk: once the writer is done with it, it is cut back to that.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::egress::recorder::Gap;
use media_core::egress::recorder::index::GopEntry;
use media_core::path_name::PathName;
use tokio::sync::mpsc;

use super::stats::DiskStats;
use super::{Failure, Stream, count};
use crate::catalogue::{FileUpdate, Update};
use crate::clock::Clock;
use crate::durable::{remove_recording, sync_folder};
use crate::marker;
use crate::repair::{Known, MendError, Mended, mend};
use crate::root::Root;
use crate::segment_file::{Extent, FileFacts, SegmentFile};

/// From one round to the next. A power cut takes what was written since the last round began: this, and the round
/// itself.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What was written since the last round.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) files: HashMap<PathBuf, Grown>,
    /// Of those, closed ones whose torn end could not be cut off.
    pub(super) torn: HashSet<PathBuf>,
    pub(super) gaps: Vec<(PathName, Gap)>,
    /// Recordings whose thumbnails grew, and how long those are.
    pub(super) thumbnails: HashMap<PathBuf, u64>,
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

    /// Whether its first GOP is not complete: its name is new too.
    fn is_new(&self) -> bool {
        self.update.gops_before == 0
    }

    /// What its recorder is told, when no more than `synced` of it is on the disk.
    fn failure(&self, synced: Option<Extent>) -> Failure {
        let FileFacts { continuity, timescale, .. } = &self.update.facts;
        let end = |extent: Extent| continuity.start.plus_us(timescale.ticks_to_us(extent.duration_ticks));
        Failure { run: continuity.run, number: continuity.number, end: synced.map(end) }
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
    pub(super) standing: Standing,
}

/// How far the files have come that are open.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What is on the disk of each; none of a file that never got there.
    synced: HashMap<PathBuf, Extent>,
    /// Files whose sync failed, and what there is to be believed of each.
    broken: HashMap<PathBuf, Option<Extent>>,
    /// Of those, the ones that the writer is done with: they are cut back as soon as the disk takes it.
    left: Vec<Grown>,
}

impl Syncer {
    /// Works until it is told to stop, then once more.
    pub(super) fn run(mut self, stopped: &Receiver<()>) {
        let mut wait = SYNC_EVERY;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
            self.root.look();
            wait = SYNC_EVERY.saturating_sub(self.round());
        }
        self.round();
    }

    /// Syncs what grew and hands it to the catalogue; how long that took.
    fn round(&mut self) -> Duration {
        let began = (self.clock.monotonic)();
        let Progress { mut files, torn, gaps, thumbnails } = std::mem::take(&mut *lock(&self.progress));
        if !self.root.is_present() {
            // Whatever a sync would say now: they are repaired when their disk is back.
            files.clear();
            self.standing = Standing::default();
        }
        let is_idle = files.is_empty() && gaps.is_empty() && thumbnails.is_empty();
        if is_idle && self.standing.left.is_empty() {
            return Duration::ZERO;
        }
        let mut folders = BTreeSet::new();
        let mut synced = Vec::new();
        let mut updates: Vec<Update> = gaps.into_iter().map(|(path, gap)| Update::Gap(path, gap)).collect();
        updates.extend(self.cut_back());
        // Markers first: the name of a file may come to the disk at any time, with another's in its folder. Once its bytes are
        // there too it must have a marker, since the catalogue has not heard of it.
        let unmarked = match files.values().any(Grown::is_new) {
            true => marker::folders(&self.root.folder).iter().find_map(|folder| sync_folder(folder).err()),
            false => None,
        };
        files.values().for_each(|grown| self.begin(grown));
        for grown in files.into_values() {
            if self.standing.broken.contains_key(&grown.update.facts.name) {
                self.leave(grown);
                continue;
            }
            if let Err(error) = grown.file.sync_data() {
                self.sync_failed(grown, &error);
                continue;
            }
            if torn.contains(&grown.update.facts.name) {
                let whole = Some(grown.update.extent);
                self.standing.broken.insert(grown.update.facts.name.clone(), whole);
                self.leave(grown);
                continue;
            }
            if grown.is_new() {
                folders.extend(self.folders_of(&grown));
            }
            synced.push(grown);
        }
        let sync = |folder: PathBuf| sync_folder(&folder).err().zip(Some(folder));
        let unsynced: Vec<(io::Error, PathBuf)> = folders.into_iter().filter_map(sync).collect();
        for grown in synced {
            // Its name may be lost with the power: the catalogue does not learn it.
            let its = |folder: &PathBuf| self.folders_of(&grown).any(|one| one == *folder);
            let unnamed = unsynced.iter().find(|(_, folder)| its(folder)).map(|(error, _)| error);
            match unmarked.as_ref().or(unnamed).filter(|_| grown.is_new()) {
                Some(error) => self.sync_failed(grown, error),
                None => updates.push(Update::File(self.noted(grown))),
            }
        }
        // Behind the files: of one that the catalogue does not know they are not noted.
        updates.extend(thumbnails.into_iter().map(|(name, bytes)| Update::Thumbnails { name, bytes }));
        self.stats.synced((self.clock.monotonic)().saturating_duration_since(began));
        if self.updates.blocking_send(updates).is_err() {
            tracing::warn!("catalogue is gone; start-up repair will find what it was not told");
        }
        (self.clock.monotonic)().saturating_duration_since(began)
    }

    /// Lets the system begin to write what a file grew by: what is under way for all of them together costs less, and ends sooner,
    /// than one file after the other. The sync that follows is what counts, so this answer does not. Only what is new is named, which
    /// is dirty: what is clean stays in memory for those who read it.
    fn begin(&self, grown: &Grown) {
        let from = self.standing.synced.get(&grown.update.facts.name).map_or(0, |extent| extent.bytes);
        let new = grown.update.extent.bytes.checked_sub(from).and_then(NonZeroU64::new);
        if new.is_some() {
            let _is_advice = rustix::fs::fadvise(&grown.file, from, new, rustix::fs::Advice::DontNeed);
        }
    }

    /// The file's folder and those above it, up to the root: any of them may be new.
    fn folders_of(&self, grown: &Grown) -> impl Iterator<Item = PathBuf> {
        let above = grown.update.facts.name.ancestors().skip(1);
        above.take_while(|folder| folder.starts_with(&self.root.folder)).map(Path::to_owned)
    }

    /// What is on the disk now, for the catalogue and for when a later sync fails.
    fn noted(&mut self, grown: Grown) -> FileUpdate {
        let name = &grown.update.facts.name;
        match grown.update.closed {
            Some(_) => self.standing.synced.remove(name),
            None => self.standing.synced.insert(name.clone(), grown.update.extent),
        };
        grown.update
    }

    fn sync_failed(&mut self, grown: Grown, error: &io::Error) {
        count(&self.stats.sync_errors);
        let name = grown.update.facts.name.clone();
        tracing::error!(file = %name.display(), %error, "recording can't be synced; a gap begins");
        let synced = self.standing.synced.remove(&name);
        // The recorder begins another file.
        grown.stream.tell(grown.failure(synced));
        self.standing.broken.insert(name, synced);
        self.leave(grown);
    }

    /// A broken file waits to be cut back once the writer is done with it.
    fn leave(&mut self, grown: Grown) {
        if grown.update.closed.is_some() {
            self.standing.left.push(grown);
        }
    }

    /// Cuts broken files back to what is on the disk; the disk may not take that yet.
    fn cut_back(&mut self) -> Vec<Update> {
        let mut updates = Vec::new();
        for grown in std::mem::take(&mut self.standing.left) {
            let name = grown.update.facts.name.clone();
            let synced = self.standing.broken.get(&name).copied().flatten();
            match cut_back(&grown, synced) {
                Ok(update) => {
                    self.standing.broken.remove(&name);
                    updates.extend(update.map(Update::File));
                }
                Err(error) => {
                    tracing::debug!(file = %name.display(), %error, "recording can't be cut back yet");
                    self.standing.left.push(grown);
                }
            }
        }
        updates
    }
}

/// Cuts a file back to what is on the disk and closes it again; one of which nothing is there goes.
fn cut_back(grown: &Grown, synced: Option<Extent>) -> Result<Option<FileUpdate>, MendError> {
    let update = &grown.update;
    let name = &update.facts.name;
    let Some(synced) = synced else {
        remove_recording(name)?;
        update.marker.as_deref().map_or(Ok(()), marker::remove)?;
        return Ok(None);
    };
    grown.file.set_len(synced.bytes)?;
    let mut end = update.facts.first_offset;
    let is_synced = |gop: &GopEntry| {
        end += gop.len_bytes;
        end <= synced.bytes
    };
    let gops = update.closed.iter().flatten().copied().take_while(is_synced).collect();
    Ok(match mend(name, Known { bytes: synced.bytes, gops })? {
        // What its thumbnails come to is noted already.
        Mended::Closed { update: mended, .. } => {
            Some(FileUpdate { marker: update.marker.clone(), ..*mended })
        }
        Mended::Empty { .. } => None,
    })
}
