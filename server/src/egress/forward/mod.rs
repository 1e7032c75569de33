//! Forward: sends a path's media to other servers (`forward`), each kept going by a task of its own.
//!
//! ```text
//!  Paths ─apply─► Forwards ─► task per destination: idle ─stream online─► session ─► forwarding
//!                                ▲                                           │
//!                                └── offline ◄── wait (runtime::retry) ◄─────┴─ error
//! ```
//!
//! A destination is no reader: it does not count for `maxReaders`, and a source on demand is not started for it.
//! A slow one is cut as a slow reader is, and connected anew: nobody else waits for it.
//!
//! Belongs here: when to try. Does not: the session (-> session, and what it names).
//! Limits: `config::forward::FORWARDS_MAX` a path; the queue is `writeQueueSize`.

pub(crate) mod line;
pub(crate) mod session;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::time::WallTime;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, info_span, warn};
use uuid::Uuid;

use self::session::{ForwardEnd, Forwarding};
use crate::config::forward::ForwardDest;
use crate::config::resolved::Config;
use crate::runtime::clock;
use crate::runtime::retry::{RetryConfig, RetryPolicy};
use crate::runtime::tasks::{Ended, TaskSet, catch_panic};
use crate::stream::{SourceStatus, Stream};

/// What sessions keep to, whatever their destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ForwardLimits {
    /// `writeQueueSize`: packets that may wait, or access units over RTMP.
    pub(crate) queue_packets: usize,
    /// `udpMaxPayloadSize`: the longest RTP packet.
    pub(crate) packet_bytes: usize,
    /// `readTimeout`: how long an answer may take.
    pub(crate) read_timeout: Duration,
    /// `writeTimeout`: how long nothing may be taken.
    pub(crate) write_timeout: Duration,
}

impl Default for ForwardLimits {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { queue_packets: 512, packet_bytes: 1452, read_timeout: ten, write_timeout: ten }
    }
}

impl ForwardLimits {
    /// Those of a configuration; where RTSP is off, its defaults.
    pub(crate) fn of(config: &Config) -> Self {
        let times = Self {
            read_timeout: config.timeouts.read,
            write_timeout: config.timeouts.write,
            ..Self::default()
        };
        config.rtsp.as_ref().map_or(times, |rtsp| Self {
            queue_packets: rtsp.write_queue_packets,
            packet_bytes: rtsp.packet_bytes_max,
            ..times
        })
    }
}

/// MediaMTX's `ForwardDestState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ForwardState {
    /// There is nothing to send, or it is about to connect.
    #[default]
    Idle,
    /// Media flows.
    Forwarding,
    /// The last try failed.
    Error,
}

impl ForwardState {
    /// The name in the API and in metric labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Forwarding => "forwarding",
            Self::Error => "error",
        }
    }
}

/// One destination, shared between its task and those who look at it.
#[derive(Debug)]
pub(crate) struct ForwardRecord {
    /// Public id.
    pub(crate) id: Uuid,
    /// Its place in the list, from 0.
    pub(crate) pos: usize,
    /// When it was configured.
    pub(crate) created: WallTime,
    /// Where to.
    pub(crate) dest: ForwardDest,
    /// Bytes written to its sockets; monotonic.
    pub(crate) outbound_bytes: AtomicU64,
    status: Mutex<(ForwardState, String)>,
}

impl ForwardRecord {
    fn new(pos: usize, dest: &ForwardDest) -> Arc<Self> {
        Arc::new(Self {
            id: Uuid::new_v4(),
            pos,
            created: clock::wall_now(),
            dest: dest.clone(),
            outbound_bytes: AtomicU64::new(0),
            status: Mutex::default(),
        })
    }

    /// `rtsp`, `rtsps`, `rtmp`, `rtmps`, `whip` or `whips`.
    pub(crate) fn protocol(&self) -> &'static str {
        self.dest.url.scheme().name()
    }

    /// Where it stands, and the last error, which holds no secret.
    pub(crate) fn status(&self) -> (ForwardState, String) {
        self.lock().clone()
    }

    /// Media flows from now on.
    pub(crate) fn begun(&self) {
        info!(dest = %self.dest, "forwarding");
        *self.lock() = (ForwardState::Forwarding, String::new());
    }

    /// What was written.
    pub(crate) fn count(&self, bytes: usize) {
        self.outbound_bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// A last error stays to be seen until media flows again.
    fn set(&self, state: ForwardState, error: Option<&str>) {
        let mut status = self.lock();
        status.0 = state;
        if let Some(error) = error {
            error.clone_into(&mut status.1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (ForwardState, String)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One destination's task.
#[derive(Debug)]
struct Running {
    record: Arc<ForwardRecord>,
    limits: ForwardLimits,
    token: CancellationToken,
}

/// All destinations of a path.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    running: Mutex<Vec<Running>>,
}

impl Forwards {
    /// Has a path's media sent to these from now on; those that were there already go on.
    pub(crate) fn apply(
        &self,
        tasks: &TaskSet,
        stream: &Arc<Stream>,
        dests: &[ForwardDest],
        limits: ForwardLimits,
    ) {
        let mut running = self.lock();
        let mut before = std::mem::take(&mut *running);
        for (pos, dest) in dests.iter().enumerate() {
            let is_it =
                |one: &Running| one.record.pos == pos && one.record.dest == *dest && one.limits == limits;
            let kept = before.iter().position(is_it).map(|at| before.swap_remove(at));
            running.push(kept.unwrap_or_else(|| start(tasks, stream, ForwardRecord::new(pos, dest), limits)));
        }
        before.iter().for_each(|one| one.token.cancel());
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        self.lock().drain(..).for_each(|one| one.token.cancel());
    }

    /// All, in the order of the configuration.
    pub(crate) fn records(&self) -> Vec<Arc<ForwardRecord>> {
        self.lock().iter().map(|one| Arc::clone(&one.record)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start(
    tasks: &TaskSet,
    stream: &Arc<Stream>,
    record: Arc<ForwardRecord>,
    limits: ForwardLimits,
) -> Running {
    let own = tasks.branch();
    let token = own.token().clone();
    let span = info_span!("forward", path = %stream.name(), dest = %record.dest);
    let task = Task { stream: Arc::clone(stream), record: Arc::clone(&record), limits, tasks: own.clone() };
    own.spawn(span, task.run(token.clone()));
    Running { record, limits, token }
}

struct Task {
    stream: Arc<Stream>,
    record: Arc<ForwardRecord>,
    limits: ForwardLimits,
    /// Joined for their panics' count.
    tasks: TaskSet,
}

impl Task {
    async fn run(self, token: CancellationToken) {
        self.keep_forwarding(&token).await;
        self.record.set(ForwardState::Idle, None);
    }

    async fn keep_forwarding(&self, token: &CancellationToken) {
        let seed = u64::try_from(self.record.id.as_u128() & u128::from(u64::MAX)).unwrap_or(1);
        // A server may be down for an hour; nobody watches that, so there is no circuit to open.
        let config = RetryConfig { breaker_failures: u32::MAX, ..RetryConfig::default() };
        let mut retry = RetryPolicy::new(config, seed);
        let mut states = self.stream.state_changes();
        loop {
            tokio::select! {
                online = states.wait_for(|state| state.status == SourceStatus::Online) => {
                    // An error means that the stream is gone.
                    if online.is_err() {
                        return;
                    }
                }
                () = token.cancelled() => return,
            }
            let forwarding =
                Forwarding { stream: &self.stream, record: &self.record, limits: self.limits, token };
            let error = match catch_panic(session::run(forwarding)).await {
                Ended::Done(Ok(ForwardEnd::Cancelled)) => return,
                Ended::Done(Ok(ForwardEnd::SourceGone)) => {
                    self.record.set(ForwardState::Idle, None);
                    continue;
                }
                Ended::Done(Err(error)) => error.to_string(),
                Ended::Panicked(message) => {
                    self.tasks.count_panic();
                    format!("internal error: {message}")
                }
            };
            if self.record.status().0 == ForwardState::Forwarding {
                retry.succeeded();
            }
            let wait = retry.failed().duration();
            self.announce(&error, retry.failures(), wait);
            self.record.set(ForwardState::Error, Some(&error));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = token.cancelled() => return,
            }
        }
    }

    /// Says what went wrong once: a server that is down for days is one line, not thousands.
    fn announce(&self, error: &str, failures: u32, wait: Duration) {
        let seconds = wait.as_secs_f32();
        if failures == 1 {
            warn!(error, "forwarding ended: next try in {seconds:.1} s");
        } else {
            debug!(failures, error, "forwarding still fails: next try in {seconds:.1} s");
        }
    }
}
