//! Health: whether the bucket works, told once when it stops and once when it does again; and counters of what was done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use media_core::time::WallTime;

use crate::bucket::BucketError;
use crate::catalogue::ObjectSums;

/// What is done with the bucket. One may be allowed and the other not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Send,
    Confirm,
    Delete,
}

/// What the bucket does, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketFigures {
    /// It does not take files, confirm copies or delete objects, and is asked again and again.
    pub is_failing: bool,
    /// Files that wait for their upload, those under way too.
    pub queued_files: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// When the oldest one's media began; `None` when none waits.
    pub oldest_queued: Option<WallTime>,
    /// Files that are in the bucket.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that are on no disk any more.
    pub files_only_there: u64,
    /// Their bytes.
    pub bytes_only_there: u64,
    /// Files whose copy was confirmed since the start.
    pub stored_files: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Bytes sent since the start, those of tries that failed too.
    pub sent_bytes: u64,
    /// Requests that failed since the start.
    pub failures: u64,
    /// Objects deleted since the start.
    pub deleted_objects: u64,
}

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Health {
    in_vain: [AtomicBool; 3],
    failures: AtomicU64,
    stored_files: AtomicU64,
    stored_bytes: AtomicU64,
    deleted_objects: AtomicU64,
    sums: Mutex<ObjectSums>,
}

impl Health {
    /// A request failed; it may be tried again at once.
    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Trying again was in vain.
    pub(crate) fn failed(&self, work: Work, error: &BucketError) {
        if self.is_in_vain(work).swap(true, Ordering::Relaxed) {
            return;
        }
        match work {
            Work::Send => {
                tracing::error!(%error, "bucket takes no recordings: they wait on their disks until it does again");
            }
            Work::Confirm => {
                tracing::warn!(%error, "bucket confirms no copies: recordings stay on their disks until it does again");
            }
            Work::Delete => {
                tracing::error!(%error, "bucket keeps objects of deleted recordings until it works again");
            }
        }
    }

    /// The work was done as it should be.
    pub(crate) fn works(&self, work: Work) {
        if self.is_in_vain(work).swap(false, Ordering::Relaxed) {
            match work {
                Work::Send => tracing::info!("bucket takes recordings again"),
                Work::Confirm => tracing::info!("bucket confirms copies again"),
                Work::Delete => tracing::info!("bucket deletes objects again"),
            }
        }
    }

    fn is_in_vain(&self, work: Work) -> &AtomicBool {
        let [send, confirm, delete] = &self.in_vain;
        match work {
            Work::Send => send,
            Work::Confirm => confirm,
            Work::Delete => delete,
        }
    }

    pub(crate) fn is_failing(&self, work: Work) -> bool {
        self.is_in_vain(work).load(Ordering::Relaxed)
    }

    pub(crate) fn stored(&self, bytes: u64) {
        self.stored_files.fetch_add(1, Ordering::Relaxed);
        self.stored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn deleted(&self) {
        self.deleted_objects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_sums(&self, sums: ObjectSums) {
        *self.sums.lock().unwrap_or_else(PoisonError::into_inner) = sums;
    }

    pub(crate) fn figures(&self, sent_bytes: u64) -> BucketFigures {
        let ObjectSums { queue, both, bucket, oldest, .. } =
            *self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        BucketFigures {
            is_failing: self.in_vain.iter().any(|in_vain| in_vain.load(Ordering::Relaxed)),
            queued_files: queue.files,
            queued_bytes: queue.bytes,
            oldest_queued: oldest,
            files: both.files + bucket.files,
            bytes: both.bytes + bucket.bytes,
            files_only_there: bucket.files,
            bytes_only_there: bucket.bytes,
            stored_files: self.stored_files.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            sent_bytes,
            failures: self.failures.load(Ordering::Relaxed),
            deleted_objects: self.deleted_objects.load(Ordering::Relaxed),
        }
    }
}
