//! Upload: closed files into the bucket, one after the other; what goes again from there or from disks (-> `leaving`).
//!
//! ```text
//!  queued ─key noted─► sending ─parts, each with its sum─► the bucket says how long it is ─► stored
//!    ▲                    │
//!    └─ stray upload aborted ─ failure, kill -9, restart
//! ```
//!
//! The queue is the catalogue's, so an outage of hours makes it longer and nothing else; files of a killed upload are sent
//! anew. Nothing here waits for a recorder, and no recorder for it.
//! A request that is tried again in vain (-> `bucket::tried`) stands for the bucket as a whole: that is asked again with
//! [`Backoff`], by one upload at a time until one succeeds, of the file that failed least. A file that can't be read is put
//! aside for [`ASIDE`].
//! Memory: a part for each upload (`PART_BYTES` times `uploads_max`). Spawns nothing: the driver runs it.

mod backoff;
mod health;
mod leaving;
mod pace;
mod parts;
mod sum;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use tokio::time::{Instant, sleep};

pub use health::BucketFigures;
pub(crate) use pace::Pace;

use self::backoff::Backoff;
use self::health::{Health, Work};
use self::parts::Parts;
use crate::bucket::{self, Bucket, BucketError, PartToSend, SentPart};
use crate::catalogue::{Catalogue, CatalogueError, QueuedFile, StoredObject};
use crate::clock::Clock;
use crate::deletion::Deleter;

/// How often the queue and the deleted files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file that its disk does not give is tried again after this.
const ASIDE: Duration = Duration::from_secs(60);
/// Files that failed and are remembered; with more, all are taken for new.
const FAILED_MAX: usize = 1000;
/// How old the length of the queue may be.
const COUNT_EVERY: Duration = Duration::from_secs(2);

/// One file is not uploaded.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("it can't be read: {0}")]
    Disk(#[from] io::Error),
    #[error("it has {len} bytes, the catalogue says {want}: run \"storage check\"")]
    Short { len: u64, want: u64 },
}

/// What others see of uploads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct UploadState {
    health: Arc<Health>,
    pace: Arc<Pace>,
}

impl UploadState {
    pub(crate) fn figures(&self) -> BucketFigures {
        self.health.figures(self.pace.sent_bytes())
    }
}

/// See the module's header. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Uploads {
    deleter: Deleter,
    bucket: Bucket,
    uploads_max: usize,
    /// Files whose copy is confirmed leave their disk after this.
    local_retention: Option<Duration>,
    clock: Clock,
    state: UploadState,
    /// Objects that are being sent: those whose file is deleted meanwhile wait for that.
    sending: Arc<Mutex<BTreeSet<i64>>>,
}

/// Which bucket, and how it is used.
#[derive(Debug)]
pub(crate) struct UploadsSetup {
    pub(crate) bucket: Bucket,
    pub(crate) uploads_max: usize,
    pub(crate) bytes_per_second_max: Option<u64>,
    pub(crate) local_retention: Option<Duration>,
}

impl Uploads {
    pub(crate) fn new(deleter: Deleter, setup: UploadsSetup, clock: Clock) -> Self {
        let pace = Arc::new(Pace::new(setup.bytes_per_second_max));
        Self {
            deleter,
            bucket: setup.bucket,
            uploads_max: setup.uploads_max,
            local_retention: setup.local_retention,
            clock,
            state: UploadState { health: Arc::default(), pace },
            sending: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> UploadState {
        self.state.clone()
    }

    /// Works until it is dropped.
    pub(crate) async fn run(self) {
        tokio::join!(self.send_all(), self.delete_all(), self.leave_disks());
    }

    fn catalogue(&self) -> &Catalogue {
        &self.deleter.catalogue
    }

    fn seed(&self) -> u64 {
        u64::try_from((self.clock.wall)().unix_us()).unwrap_or(1)
    }

    async fn send_all(&self) {
        let backoff = Backoff::new(self.seed());
        let mut queue = Queue { backoff, resume: None, counted: None, failed: BTreeMap::new() };
        let mut running = FuturesUnordered::new();
        loop {
            match self.next_files(&mut queue, running.len()).await {
                Ok(files) => running.extend(files.into_iter().map(|file| self.send_one(file))),
                // Whoever writes the catalogue says so.
                Err(error) => tracing::debug!(%error, "queue of uploads can't be read"),
            }
            tokio::select! {
                Some((file, sent)) = running.next() => self.settle(&mut queue, &file, sent),
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Files whose upload may begin now.
    async fn next_files(&self, queue: &mut Queue, running: usize) -> Result<Vec<QueuedFile>, CatalogueError> {
        let now = Instant::now();
        if queue.counted.is_none_or(|counted| now - counted >= COUNT_EVERY) {
            queue.counted = Some(now);
            self.state.health.set_sums(self.catalogue().object_sums().await?);
        }
        if queue.resume.is_some_and(|resume| now < resume) {
            return Ok(Vec::new());
        }
        // While it fails, one upload finds out whether it still does.
        let wanted = if self.state.health.is_failing(Work::Send) { 1 } else { self.uploads_max };
        let free = wanted.saturating_sub(running);
        if free == 0 {
            return Ok(Vec::new());
        }
        let absent = self.deleter.roots.iter().filter(|root| !root.is_present());
        let absent: Vec<_> = absent.map(|root| root.folder.clone()).collect();
        let wanted = running + queue.failed.len() + free;
        let mut files = self.catalogue().files_to_send(wanted, &absent).await?;
        let mut sending = lock(&self.sending);
        files.retain(|file| !sending.contains(&file.object) && queue.admits(file, now));
        files.sort_by_key(|file| queue.failed.get(&file.object).map_or(0, |failed| failed.times));
        files.truncate(free);
        sending.extend(files.iter().map(|file| file.object));
        Ok(files)
    }

    async fn send_one(&self, file: QueuedFile) -> (QueuedFile, Result<(), UploadError>) {
        // Boxed: the SDK's requests are large, and several stand side by side.
        let sent = Box::pin(self.send(&file)).await;
        (file, sent)
    }

    fn settle(&self, queue: &mut Queue, file: &QueuedFile, sent: Result<(), UploadError>) {
        lock(&self.sending).remove(&file.object);
        match sent {
            Ok(()) => {
                queue.backoff.succeeded();
                queue.resume = None;
                queue.failed.remove(&file.object);
                self.state.health.works(Work::Send);
            }
            Err(UploadError::Bucket(error)) => {
                self.state.health.failed(Work::Send, &error);
                queue.resume = Some(Instant::now() + queue.backoff.failed());
                queue.note_failed(file, None);
            }
            Err(error) => {
                tracing::warn!(file = %file.name.display(), %error, "recording is not uploaded; it is tried again");
                queue.note_failed(file, Some(Instant::now() + ASIDE));
            }
        }
    }

    async fn send(&self, file: &QueuedFile) -> Result<(), UploadError> {
        if let Some((key, upload)) = &file.stray {
            self.abort(key, upload).await?;
        }
        let name = file.name.clone();
        let parts = blocking(move || Parts::open(&name)).await?;
        let len = parts.len_bytes();
        if len < file.bytes {
            return Err(UploadError::Short { len, want: file.bytes });
        }
        let key = key(self.bucket.prefix(), &file.path, file.start, file.object);
        if !self.catalogue().begin_object(file.object, &key).await? {
            return Ok(());
        }
        let sha256 = if parts.is_one() {
            self.send_whole(&key, parts).await?
        } else {
            self.send_parts(file.object, &key, parts).await?
        };
        let facts = self.tried(|| self.bucket.facts(&key)).await?;
        if facts.bytes != len {
            return Err(BucketError::Differs { key, got_bytes: facts.bytes, want_bytes: len }.into());
        }
        let stored = StoredObject { object: file.object, etag: facts.etag, sha256, bytes: len };
        if self.catalogue().note_stored(&stored, (self.clock.wall)()).await? {
            self.state.health.stored(len);
            tracing::debug!(file = %file.name.display(), key, bytes = len, "recording is in the bucket");
        }
        Ok(())
    }

    async fn send_whole(&self, key: &str, parts: Parts) -> Result<[u8; 32], UploadError> {
        let (parts, part) = next_part(parts).await?;
        if let Some(part) = part {
            self.tried(|| self.bucket.put(key, part.clone(), &self.state.pace)).await?;
        }
        Ok(parts.sha256())
    }

    async fn send_parts(&self, object: i64, key: &str, mut parts: Parts) -> Result<[u8; 32], UploadError> {
        let upload = self.tried(|| self.bucket.begin(key)).await?;
        self.catalogue().note_upload(object, &upload).await?;
        let target = (key, upload.as_str());
        let mut sent: Vec<SentPart> = Vec::new();
        loop {
            let (rest, part) = next_part(parts).await?;
            parts = rest;
            let Some(part) = part else { break };
            sent.push(self.tried(|| self.bucket.put_part(target, part.clone(), &self.state.pace)).await?);
        }
        let len = parts.len_bytes();
        if let Err(error) = self.tried(|| self.bucket.complete(target, &sent)).await {
            // An answer that got lost: the upload is complete, and the store knows none of that id any more.
            if !self.bucket.facts(key).await.is_ok_and(|facts| facts.bytes == len) {
                return Err(error.into());
            }
        }
        Ok(parts.sha256())
    }

    /// Drops the parts of an upload that came to nothing. A store that refuses does not hold up the file: stores differ in
    /// what they say of an upload that they don't know, and wrong credentials will be told of soon enough.
    async fn abort(&self, key: &str, upload: &str) -> Result<(), BucketError> {
        match self.tried(|| self.bucket.abort((key, upload))).await {
            Err(error) if error.is_lasting() => {
                tracing::warn!(key, upload, %error, "parts of an upload can't be dropped: the bucket may keep them");
                Ok(())
            }
            aborted => aborted,
        }
    }

    /// Makes a request, again when it fails for a reason that may pass, and counts the failures.
    async fn tried<T, F>(&self, request: impl Fn() -> F) -> Result<T, BucketError>
    where
        F: Future<Output = Result<T, BucketError>>,
    {
        bucket::tried(request, |_| self.state.health.count_failure()).await
    }
}

/// What the queue remembers between two looks.
struct Queue {
    backoff: Backoff,
    /// Nothing is sent before.
    resume: Option<Instant>,
    /// When the queue was counted last.
    counted: Option<Instant>,
    /// Objects that were tried in vain.
    failed: BTreeMap<i64, Failed>,
}

#[derive(Debug, Default)]
struct Failed {
    times: u32,
    /// Not tried before.
    until: Option<Instant>,
}

impl Queue {
    fn admits(&self, file: &QueuedFile, now: Instant) -> bool {
        let until = self.failed.get(&file.object).and_then(|failed| failed.until);
        until.is_none_or(|until| until <= now)
    }

    fn note_failed(&mut self, file: &QueuedFile, until: Option<Instant>) {
        if self.failed.len() >= FAILED_MAX {
            self.failed.clear();
        }
        let failed = self.failed.entry(file.object).or_default();
        failed.times = failed.times.saturating_add(1);
        failed.until = until;
    }
}

/// Never the same for two files: the number is the object's own.
fn key(prefix: &str, path: &PathName, start: WallTime, object: i64) -> String {
    let start = jiff::Timestamp::from_microsecond(start.unix_us()).unwrap_or_default();
    let start = start.strftime("%Y-%m-%d/%H-%M-%S-%6f");
    format!("{prefix}{path}/{start}_{object}.mp4")
}

async fn next_part(mut parts: Parts) -> io::Result<(Parts, Option<PartToSend>)> {
    blocking(move || {
        let part = parts.next()?;
        Ok((parts, part))
    })
    .await
}

/// Runs what may hang with a disk on a thread for such things.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_path_and_time_and_are_never_the_same() {
        let path = PathName::parse("city/cam_1").unwrap();
        let start = WallTime(1_795_635_005_123_456);
        assert_eq!(key("gtv/", &path, start, 7), "gtv/city/cam_1/2026-11-25/19-30-05-123456_7.mp4");
        assert_ne!(key("", &path, start, 7), key("", &path, start, 8));
    }
}
