//! Viewers: those who watch, and what they were seen to get.
//!
//! ```text
//!  Audience ─spawns─► llhls | whep | rtsp task ─► Seen (pictures in order, arrivals, bytes)
//!     └─ window: take() at its beginning and at its end
//! ```
//!
//! Belongs here: what all kinds share. Each kind speaks its protocol in a file of its own.
//! Limits: [`ARRIVALS_MAX`].

mod llhls;
mod rtsp;
mod whep;

pub(crate) use llhls::{Presentation, pictures};

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;

use crate::frames::{Counts, FrameIndex, Identity, Tracker};
use crate::scenario::Viewers;
use crate::server::Server;

/// Arrivals of one viewer that are kept for the delay; later ones of a window are counted only.
const ARRIVALS_MAX: usize = 20_000;
/// Before a viewer whose connection failed comes back.
const RETRY: Duration = Duration::from_millis(200);
/// Between the beginnings of two viewers: a crowd comes within seconds, not at once.
const RAMP: Duration = Duration::from_millis(10);

/// What a viewer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Low-latency HLS, part by part.
    Llhls,
    /// WebRTC by WHEP.
    Whep,
    /// RTSP over TCP.
    Rtsp,
}

/// The last byte of a picture, or of a part that ends with it, had arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// The picture's rank in the clip.
    pub(crate) frame: u32,
    /// Microseconds since 1970.
    pub(crate) at_unix_us: u64,
}

/// What one viewer got since the last look.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) counts: Counts,
    pub(crate) arrivals: Vec<Arrival>,
    /// Payload and what frames it in the protocol: HTTP bodies, datagrams, interleaved frames.
    pub(crate) bytes: u64,
    /// Connections that ended with an error.
    pub(crate) failures: u64,
}

#[derive(Debug, Default)]
struct State {
    tracker: Tracker,
    seen: Seen,
    last_picture: Option<Instant>,
    last_failure: Option<String>,
}

/// One viewer.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) kind: Kind,
    /// Number of its camera.
    pub(crate) camera: usize,
    index: Arc<FrameIndex>,
    begun: Instant,
    first_picture: OnceLock<Duration>,
    state: Mutex<State>,
}

impl Viewer {
    fn new(kind: Kind, camera: usize, index: Arc<FrameIndex>) -> Self {
        let (first_picture, state) = (OnceLock::new(), Mutex::default());
        Self { kind, camera, index, begun: Instant::now(), first_picture, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pictures that arrived together, in decode order; the last one's arrival is kept.
    fn pictures(&self, identities: &[Identity], at: SystemTime) {
        let mut state = self.lock();
        let state = &mut *state;
        let mut last = None;
        for identity in identities {
            last = state.tracker.see(&self.index, *identity).or(last);
        }
        let Some(position) = last else { return };
        self.first_picture.get_or_init(|| self.begun.elapsed());
        state.last_picture = Some(Instant::now());
        if let (Some(frame), true) = (self.index.rank(position), state.seen.arrivals.len() < ARRIVALS_MAX) {
            state.seen.arrivals.push(Arrival { frame, at_unix_us: unix_us(at) });
        }
    }

    fn bytes(&self, count: usize) {
        self.lock().seen.bytes += u64::try_from(count).unwrap_or(0);
    }

    fn failed(&self, error: &anyhow::Error) {
        let mut state = self.lock();
        state.seen.failures += 1;
        state.last_failure = Some(format!("{error:#}"));
    }

    /// From its beginning to its first whole picture.
    pub(crate) fn first_picture(&self) -> Option<Duration> {
        self.first_picture.get().copied()
    }

    /// How long ago the newest picture arrived.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        self.lock().last_picture.map(|at| at.elapsed())
    }

    /// What went wrong last.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.lock().last_failure.clone()
    }

    /// What it got since the last call.
    pub(crate) fn take(&self) -> Seen {
        let mut state = self.lock();
        let counts = state.tracker.take();
        Seen { counts, ..std::mem::take(&mut state.seen) }
    }
}

/// Microseconds since 1970.
pub(crate) fn unix_us(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(0)
}

/// All viewers of a round; they leave when this is dropped.
pub(crate) struct Audience {
    pub(crate) viewers: Vec<Arc<Viewer>>,
    _tasks: JoinSet<()>,
}

impl Audience {
    /// Lets all viewers of a scenario come in, one after the other.
    pub(crate) async fn enter(wanted: &Viewers, server: &Server, index: &Arc<FrameIndex>) -> Self {
        let mut audience = Self { viewers: Vec::new(), _tasks: JoinSet::new() };
        for camera in wanted.llhls.cameras() {
            audience.admit(Kind::Llhls, camera, server.hls(camera), index).await;
        }
        for camera in wanted.whep.cameras() {
            audience.admit(Kind::Whep, camera, server.whep(camera), index).await;
        }
        for camera in wanted.rtsp.cameras() {
            audience.admit(Kind::Rtsp, camera, server.rtsp(camera), index).await;
        }
        audience
    }

    async fn admit(&mut self, kind: Kind, camera: usize, url: String, index: &Arc<FrameIndex>) {
        let viewer = Arc::new(Viewer::new(kind, camera, Arc::clone(index)));
        self.viewers.push(Arc::clone(&viewer));
        self._tasks.spawn(stay(viewer, url));
        tokio::time::sleep(RAMP).await;
    }
}

/// Watches for ever; a viewer who is thrown out comes back, as people do.
async fn stay(viewer: Arc<Viewer>, url: String) {
    loop {
        let left = match viewer.kind {
            Kind::Llhls => llhls::watch(&viewer, &url).await,
            Kind::Whep => Box::pin(whep::watch(&viewer, &url)).await,
            Kind::Rtsp => rtsp::watch(&viewer, &url).await,
        };
        viewer.failed(&left.err().unwrap_or_else(|| anyhow::anyhow!("the stream ended")));
        tokio::time::sleep(RETRY).await;
    }
}
