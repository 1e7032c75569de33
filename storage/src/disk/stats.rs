//! Stats: what writer and syncer count.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::levels::Space;
use crate::root::{Condition, Root};
use crate::thumbnails::ThumbnailCounts;

/// Of one stream.
#[derive(Debug, Default)]
pub(super) struct StreamStats {
    pub(super) queued_bytes: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) write_errors: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// Counters of one stream since the start; `queued_bytes` is a gauge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSnapshot {
    /// Bytes that wait for the disk.
    pub queued_bytes: u64,
    /// Bytes of parts written.
    pub written_bytes: u64,
    /// Files that ended with a failed write, or could not be opened.
    pub write_errors: u64,
    /// Batches refused because the queue was full.
    pub refused: u64,
}

impl StreamStats {
    pub(super) fn snapshot(&self) -> StreamSnapshot {
        StreamSnapshot {
            queued_bytes: self.queued_bytes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            write_errors: self.write_errors.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

/// Of one disk.
#[derive(Debug, Default)]
pub(super) struct DiskStats {
    pub(super) queued_bytes: AtomicU64,
    pub(super) open_files: AtomicU64,
    syncs: AtomicU64,
    sync_us: AtomicU64,
    sync_us_max: AtomicU64,
    pub(super) sync_errors: AtomicU64,
    pub(super) thumbnails: Arc<ThumbnailCounts>,
}

/// Counters of one disk since the start; queue and open files are gauges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSnapshot {
    /// The folder of its recordings.
    pub root: PathBuf,
    /// Whether it is written.
    pub condition: Condition,
    /// Its file system; `None` when the system does not say.
    pub space: Option<Space>,
    /// Bytes that wait for it, of all streams.
    pub queued_bytes: u64,
    /// Files being written.
    pub open_files: u64,
    /// Rounds of syncing.
    pub syncs: u64,
    /// Time that all rounds took.
    pub sync_time: Duration,
    /// The longest round.
    pub sync_time_max: Duration,
    /// Files whose sync failed.
    pub sync_errors: u64,
    /// Thumbnails kept beside recordings.
    pub thumbnails: u64,
    /// Those left out: more were due than could be decoded, or the disk did not take them.
    pub thumbnails_skipped: u64,
}

impl DiskStats {
    /// Notes a round of syncing.
    pub(super) fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_us.fetch_add(us, Relaxed);
        self.sync_us_max.fetch_max(us, Relaxed);
    }

    pub(super) fn snapshot(&self, root: &Root) -> DiskSnapshot {
        DiskSnapshot {
            root: root.folder.clone(),
            condition: root.condition(),
            space: root.last_look().space,
            queued_bytes: self.queued_bytes.load(Relaxed),
            open_files: self.open_files.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_time: Duration::from_micros(self.sync_us.load(Relaxed)),
            sync_time_max: Duration::from_micros(self.sync_us_max.load(Relaxed)),
            sync_errors: self.sync_errors.load(Relaxed),
            thumbnails: self.thumbnails.kept.load(Relaxed),
            thumbnails_skipped: self.thumbnails.skipped.load(Relaxed),
        }
    }
}
