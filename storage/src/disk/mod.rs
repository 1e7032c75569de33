//! Disk: the threads that write one disk's recordings, and the queue to them.
//!
//! ```text
//!  StreamWriter::try_send ─► queue (bounded in bytes) ─► writer ─► write(2), one a part
//!                                                          │ progress
//!                                              syncer ◄────┘ once a second: fdatasync of each file that grew,
//!                                                │           fsync of the folders of new ones
//!                                                └─► catalogue's driver
//! ```
//!
//! Between two parts the writer adds the thumbnails that were made meanwhile (-> `thumbnails`).
//!
//! The syncer is a thread of its own, so that parts go on being written while the disk syncs: what `kill -9` takes is
//! never more than the part in the writer's hands and those in the queue, which is empty unless the disk is too slow.
//!
//! Order: file, then folder, then catalogue. When the catalogue does not answer, the syncer waits; parts are still
//! written.
//! Limits: [`QUEUE_BYTES_PER_STREAM_MAX`], [`QUEUE_BYTES_MAX`], [`QUEUE_JOBS_MAX`]: at each of them the whole batch is refused,
//! which the recorder makes a gap of. Live video does not notice.

mod stats;
mod syncer;
mod writer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use media_core::egress::recorder::{Command, RunId};
use media_core::path_name::PathName;
use media_core::time::WallTime;
use tokio::sync::mpsc;

pub use stats::{DiskSnapshot, StreamSnapshot};
use stats::{DiskStats, StreamStats};
use syncer::{Standing, Syncer};
use writer::Writer;

use crate::catalogue::Update;
use crate::clock::Clock;
use crate::record_path::RecordPath;
use crate::root::Root;
use crate::thumbnails::{Desk, ThumbnailMaker};

/// What may wait for the disk of one stream: 16 s at 4 Mbit/s.
const QUEUE_BYTES_PER_STREAM_MAX: u64 = 8 << 20;
/// What may wait for one disk in all.
const QUEUE_BYTES_MAX: u64 = 512 << 20;
/// Batches that may wait: 8 s of 250 streams with 4 parts a second.
const QUEUE_JOBS_MAX: usize = 8192;
/// Failures that wait for a stream's recorder; it reads them at once, and one is enough to know.
const FAILURES_MAX: usize = 4;

/// The queue is full: the disk is too slow. Nothing of the batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk's queue is full")]
pub struct Refused;

/// A file could not be written; what there is of it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its run.
    pub run: RunId,
    /// Its number in the run.
    pub number: u32,
    /// Where what it holds ends; `None` when it holds nothing.
    pub end: Option<WallTime>,
}

/// What writer, syncer and senders of one stream share.
#[derive(Debug)]
struct Stream {
    path: PathName,
    template: RecordPath,
    failures: mpsc::Sender<Failure>,
    /// The distance of its thumbnails; 0 for none.
    thumbnails_every_us: AtomicU64,
    stats: StreamStats,
}

impl Stream {
    fn thumbnails_every(&self) -> Option<Duration> {
        let every = Duration::from_micros(self.thumbnails_every_us.load(Ordering::Relaxed));
        (!every.is_zero()).then_some(every)
    }

    /// Tells the stream's recorder of a file that could not be written.
    fn tell(&self, failure: Failure) {
        if self.failures.try_send(failure).is_err() {
            tracing::debug!(path = %self.path, "recorder has not yet heard of earlier failures");
        }
    }
}

/// A batch of commands.
#[derive(Debug)]
struct Job {
    stream: Arc<Stream>,
    commands: Vec<Command>,
    bytes: u64,
}

/// Hands one stream's commands to the disk.
#[derive(Clone, Debug)]
pub struct StreamWriter {
    stream: Arc<Stream>,
    jobs: SyncSender<Job>,
    disk: Arc<DiskStats>,
}

impl StreamWriter {
    /// Queues commands, all or none; never waits.
    ///
    /// # Errors
    /// [`Refused`] when there is no room.
    pub fn try_send(&self, commands: Vec<Command>) -> Result<(), Refused> {
        let bytes = commands.iter().map(command_bytes).sum();
        let queued = self.stream.stats.queued_bytes.load(Ordering::Relaxed);
        let in_all = self.disk.queued_bytes.load(Ordering::Relaxed);
        let has_room = |queued: u64, max| queued == 0 || queued + bytes <= max;
        if !has_room(queued, QUEUE_BYTES_PER_STREAM_MAX) || !has_room(in_all, QUEUE_BYTES_MAX) {
            return Err(self.refused());
        }
        self.stream.stats.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.disk.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let job = Job { stream: Arc::clone(&self.stream), commands, bytes };
        self.jobs.try_send(job).map_err(|error| {
            let (TrySendError::Full(job) | TrySendError::Disconnected(job)) = error;
            job.done(&self.disk);
            self.refused()
        })
    }

    /// Has a thumbnail kept at whole multiples of a distance from now on, or none.
    pub fn keep_thumbnails(&self, every: Option<Duration>) {
        let every_us = u64::try_from(every.unwrap_or_default().as_micros()).unwrap_or(u64::MAX);
        self.stream.thumbnails_every_us.store(every_us, Ordering::Relaxed);
    }

    /// Counters.
    pub fn snapshot(&self) -> StreamSnapshot {
        self.stream.stats.snapshot()
    }

    fn refused(&self) -> Refused {
        self.stream.stats.refused.fetch_add(1, Ordering::Relaxed);
        Refused
    }
}

impl Job {
    fn done(&self, disk: &DiskStats) {
        self.stream.stats.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        disk.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn command_bytes(command: &Command) -> u64 {
    match command {
        Command::Append(part) => u64::try_from(part.len_bytes).unwrap_or(u64::MAX),
        Command::Open(_) | Command::Close | Command::Gap(_) => 0,
    }
}

/// One disk: the threads that write below one folder.
#[derive(Debug)]
pub(crate) struct Disk {
    root: Arc<Root>,
    jobs: SyncSender<Job>,
    stats: Arc<DiskStats>,
    writer: JoinHandle<()>,
    syncer: JoinHandle<()>,
    stop_syncer: SyncSender<()>,
}

impl Disk {
    /// Starts the threads for the files below `root`.
    pub(crate) fn start(
        root: Arc<Root>,
        clock: Clock,
        updates: mpsc::Sender<Vec<Update>>,
        maker: Option<Arc<dyn ThumbnailMaker>>,
    ) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE_JOBS_MAX);
        let (stop_syncer, stopped) = sync_channel(1);
        let stats = Arc::new(DiskStats::default());
        let progress = Arc::default();
        let desk = Desk::new(maker, Arc::clone(&stats.thumbnails));
        let writer = Writer::new(Arc::clone(&root), Arc::clone(&progress), Arc::clone(&stats), desk);
        let syncer = Syncer {
            root: Arc::clone(&root),
            progress,
            stats: Arc::clone(&stats),
            clock,
            updates,
            standing: Standing::default(),
        };
        let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
        Ok(Self {
            root,
            jobs,
            stats,
            writer: spawn("disk-writer").spawn(move || writer.run(&queue))?,
            syncer: spawn("disk-syncer").spawn(move || syncer.run(&stopped))?,
            stop_syncer,
        })
    }

    /// A writer for one stream, and where its failures come.
    pub(crate) fn stream(
        &self,
        path: PathName,
        template: RecordPath,
    ) -> (StreamWriter, mpsc::Receiver<Failure>) {
        let (failures, receiver) = mpsc::channel(FAILURES_MAX);
        let thumbnails_every_us = AtomicU64::new(0);
        let stats = StreamStats::default();
        let stream = Arc::new(Stream { path, template, failures, thumbnails_every_us, stats });
        let writer = StreamWriter { stream, jobs: self.jobs.clone(), disk: Arc::clone(&self.stats) };
        (writer, receiver)
    }

    /// Counters.
    pub(crate) fn snapshot(&self) -> DiskSnapshot {
        self.stats.snapshot(&self.root)
    }

    /// Writes what is queued, closes all files, syncs, and ends the threads. All stream writers must be gone. Blocks.
    pub(crate) fn stop(self) {
        drop(self.jobs);
        if self.writer.join().is_err() {
            tracing::error!(root = %self.root.folder.display(), "disk writer panicked");
        }
        // The syncer ends when nobody can tell it anything any more.
        drop(self.stop_syncer);
        if self.syncer.join().is_err() {
            tracing::error!(root = %self.root.folder.display(), "disk syncer panicked");
        }
    }
}

/// Adds one.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
