//! Pool: the threads that decode, and the queue before them.
//!
//! Half of the cores, of low priority: when the machine is busy with live video, pictures wait. The queue of each purpose is bounded
//! in pictures and in bytes; what finds no room is refused at once and counted, since a picture that comes late is worth less than
//! an answer. Who stopped waiting costs nothing any more.
//!
//! Limits: [`THREADS_MAX`], [`QUEUE_PICTURES_MAX`], [`QUEUE_RECORDING_MAX`], [`QUEUE_BYTES_MAX`].

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use media_core::key_frame::KeyFrame;
use storage::ThumbnailPlace;
use tokio::sync::oneshot;

use super::jpeg::jpeg;
use super::{Jpeg, NotNow, PictureError, Wanted};
use crate::runtime::clock;
use crate::runtime::tasks::panic_message;

/// Threads at most: each may hold 200 MB while it decodes the largest picture.
const THREADS_MAX: usize = 4;
/// What is added to the threads' nice value: live video goes first.
const NICENESS: i32 = 10;
/// Pictures of one purpose that may wait: 2 s of one thread, at 1080p. More are refused.
const QUEUE_PICTURES_MAX: usize = 64;
/// Pictures of recordings that may wait, for which nobody does: they come of all cameras at the same moments, and have until the next
/// of those. More are refused.
const QUEUE_RECORDING_MAX: usize = 512;
/// Bytes of one purpose's pictures that may wait: they are kept beyond their ring. More are refused.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// What a picture is for; the first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The newest picture of a camera.
    Snapshot,
    /// A recorded picture: many are asked for at once.
    Thumbnail,
    /// A picture that is kept beside its recording: nobody waits for it.
    Recording,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Snapshot, Self::Thumbnail, Self::Recording];

    fn index(self) -> usize {
        self as usize
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Thumbnail => "thumbnail",
            Self::Recording => "recording",
        }
    }

    fn pictures_max(self) -> usize {
        match self {
            Self::Snapshot | Self::Thumbnail => QUEUE_PICTURES_MAX,
            Self::Recording => QUEUE_RECORDING_MAX,
        }
    }
}

/// The threads and their queue.
pub(crate) struct DecodePool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something was queued, or the pool stops.
    news: Condvar,
    counters: [Counters; Purpose::ALL.len()],
    busy_us: AtomicU64,
}

#[derive(Default)]
struct Queue {
    waiting: [VecDeque<Job>; Purpose::ALL.len()],
    bytes: [usize; Purpose::ALL.len()],
    is_stopped: bool,
}

struct Job {
    frame: KeyFrame,
    wanted: Wanted,
    purpose: Purpose,
    reply: Reply,
}

/// Where a picture goes.
enum Reply {
    /// To who waits for it.
    Asked(oneshot::Sender<Result<Jpeg, PictureError>>),
    /// Beside its recording.
    Kept(ThumbnailPlace),
}

impl Reply {
    fn is_awaited(&self) -> bool {
        match self {
            Self::Asked(sender) => !sender.is_closed(),
            Self::Kept(_) => true,
        }
    }

    fn send(self, made: Result<Jpeg, PictureError>) {
        match (self, made) {
            // Who went away meanwhile does not miss it.
            (Self::Asked(sender), made) => drop(sender.send(made)),
            (Self::Kept(place), Ok(jpeg)) => place.keep(jpeg.bytes),
            (Self::Kept(_), Err(error)) => tracing::debug!(%error, "no thumbnail is kept"),
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    made: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

/// What became of the pictures of one purpose since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PurposeFigures {
    /// Its name in metrics.
    pub(crate) purpose: &'static str,
    /// Pictures made.
    pub(crate) made: u64,
    /// Pictures that could not be made.
    pub(crate) failed: u64,
    /// Pictures refused because too many waited.
    pub(crate) refused: u64,
    /// Pictures that wait now.
    pub(crate) waiting: u64,
}

/// What the pool did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolFigures {
    /// By purpose.
    pub(crate) purposes: Vec<PurposeFigures>,
    /// Time that all threads spent on pictures.
    pub(crate) busy: Duration,
}

impl DecodePool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start() -> io::Result<Arc<Self>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads((cores / 2).clamp(1, THREADS_MAX))
    }

    fn with_threads(count: usize) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            news: Condvar::new(),
            counters: Default::default(),
            busy_us: AtomicU64::new(0),
        });
        let thread = |index| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("decode-{index}")).spawn(move || shared.work())
        };
        let threads = (0..count).map(thread).collect::<io::Result<_>>()?;
        Ok(Arc::new(Self { shared, threads: Mutex::new(threads) }))
    }

    /// A picture of a key frame.
    ///
    /// # Errors
    /// [`NotNow`] when it is not tried; within, [`PictureError`] when it can't be made.
    pub(crate) async fn jpeg(
        &self,
        frame: KeyFrame,
        wanted: Wanted,
        purpose: Purpose,
    ) -> Result<Result<Jpeg, PictureError>, NotNow> {
        let (reply, made) = oneshot::channel();
        self.shared.push(Job { frame, wanted, purpose, reply: Reply::Asked(reply) })?;
        made.await.map_err(|_| NotNow::Stopped)
    }

    /// A picture of a key frame for its place beside the recording; never waits.
    ///
    /// # Errors
    /// [`NotNow`] when it is not tried.
    pub(super) fn keep(&self, frame: KeyFrame, wanted: Wanted, place: ThumbnailPlace) -> Result<(), NotNow> {
        self.shared.push(Job { frame, wanted, purpose: Purpose::Recording, reply: Reply::Kept(place) })
    }

    /// What it did so far.
    pub(crate) fn figures(&self) -> PoolFigures {
        let queue = self.shared.lock();
        let of = |purpose: Purpose| {
            let counters = &self.shared.counters[purpose.index()];
            PurposeFigures {
                purpose: purpose.as_str(),
                made: counters.made.load(Relaxed),
                failed: counters.failed.load(Relaxed),
                refused: counters.refused.load(Relaxed),
                waiting: u64::try_from(queue.waiting[purpose.index()].len()).unwrap_or(0),
            }
        };
        PoolFigures {
            purposes: Purpose::ALL.map(of).to_vec(),
            busy: Duration::from_micros(self.shared.busy_us.load(Relaxed)),
        }
    }

    /// Ends the threads, each after the picture in its hands; whoever waits for one of the others is told. Blocks.
    pub(crate) fn stop(&self) {
        self.shared.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("decode thread panicked outside of its pictures");
            }
        }
    }
}

impl Drop for DecodePool {
    fn drop(&mut self) {
        // Without waiting: that is what `stop` is for.
        self.shared.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that may panic happens under it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut queue = self.lock();
        queue.is_stopped = true;
        // Their senders go, which is what those who wait are told by.
        queue.waiting.iter_mut().for_each(VecDeque::clear);
        self.news.notify_all();
    }

    fn push(&self, job: Job) -> Result<(), NotNow> {
        let mut queue = self.lock();
        let bytes = job.frame.payload.len();
        let index = job.purpose.index();
        if queue.is_stopped {
            return Err(NotNow::Stopped);
        }
        if queue.waiting[index].len() >= job.purpose.pictures_max()
            || queue.bytes[index] + bytes > QUEUE_BYTES_MAX
        {
            self.counters[index].refused.fetch_add(1, Relaxed);
            return Err(NotNow::Busy);
        }
        queue.bytes[index] += bytes;
        queue.waiting[index].push_back(job);
        self.news.notify_one();
        Ok(())
    }

    /// The next picture somebody still waits for; `None` when the pool stops.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_stopped {
                return None;
            }
            let job = queue.waiting.iter_mut().find_map(VecDeque::pop_front);
            match job {
                Some(job) => {
                    queue.bytes[job.purpose.index()] -= job.frame.payload.len();
                    if job.reply.is_awaited() {
                        return Some(job);
                    }
                }
                None => queue = self.news.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn work(&self) {
        // Of this thread only, as Linux sees it; where it can't be lowered, pictures compete as equals.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::debug!(%error, "priority of a decode thread can't be lowered");
        }
        while let Some(Job { frame, wanted, purpose, reply }) = self.next() {
            let began = clock::now();
            let made = std::panic::catch_unwind(AssertUnwindSafe(|| jpeg(&frame, wanted)));
            let made =
                made.unwrap_or_else(|payload| Err(PictureError::Panicked(panic_message(payload.as_ref()))));
            let took = clock::now().saturating_duration_since(began);
            self.busy_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(0), Relaxed);
            let counters = &self.counters[purpose.index()];
            let counter = if made.is_ok() { &counters.made } else { &counters.failed };
            counter.fetch_add(1, Relaxed);
            reply.send(made);
        }
    }
}
