//! Muxer: a stream's window, filled by its remuxer, as requests see it.
//!
//! Invariants: the window's lock is held for one batch or one look, never across an await; a muxer's numbers never go
//! back, also over its own restarts (correctness: H14).

use std::io::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use media_core::egress::hls::{
    Answer, Audience, Directives, MediaAnswer, MediaName, Prefix, Rendered, SequenceStart, Variant, Window,
    WindowConfig,
};
use media_core::gate::CameraGrant;
use media_core::path_name::PathName;
use media_core::remux::fmp4::{Event, SegmenterStats};
use media_core::time::WallTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::resolved::{HlsConfig, HlsVariant};
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::stream::{Attachment, Needs, ReaderKind, Seat, Sink, Stream};

/// Above this a window keeps no more than a playlist must list: 16 s of a 16 Mbit/s camera.
const WINDOW_BYTES_SOFT: usize = 32 << 20;
/// A viewer that asked for nothing for so long is gone: longer than any request is held and than what a playlist lists.
const AUDIENCE_MEMORY: Duration = Duration::from_secs(60);
/// Playlists are small and made several times a second: the cheapest level already takes nine tenths off.
const GZIP_LEVEL: Compression = Compression::new(1);

/// One stream's window and its counters.
pub(super) struct Muxer {
    pub(super) stream: Arc<Stream>,
    /// Cancelled when it is closed.
    pub(super) token: CancellationToken,
    /// Joined for their panics' count.
    panics: TaskSet,
    place: Mutex<Option<(Seat, Attachment)>>,
    config: HlsConfig,
    created: WallTime,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    last_request_us: AtomicI64,
    requests: AtomicU64,
    /// Body bytes handed to sockets.
    pub(super) sent_bytes: Arc<AtomicU64>,
    restarts: AtomicU64,
}

struct State {
    window: Window,
    prefix: Prefix,
    first: SequenceStart,
    stats: SegmenterStats,
    gzip: GzipCache,
}

/// The last playlists, compressed: each is compressed once, however many viewers ask (correctness: H15).
#[derive(Default)]
struct GzipCache {
    version: u64,
    full: Option<Bytes>,
    delta: Option<Bytes>,
}

/// What a muxer did so far.
#[derive(Clone, Debug)]
pub(crate) struct MuxerSnapshot {
    /// The path.
    pub(crate) path: PathName,
    /// When it was made.
    pub(crate) created: WallTime,
    /// When it was last asked for something.
    pub(crate) last_request: WallTime,
    /// Body bytes sent.
    pub(crate) sent_bytes: u64,
    /// Requests answered.
    pub(crate) requests: u64,
    /// Bytes in its window.
    pub(crate) window_bytes: usize,
    /// Times it was started again after a panic.
    pub(crate) restarts: u64,
    /// What the segmenter counted.
    pub(crate) segmenter: SegmenterStats,
}

/// Which encoding of a playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Muxer {
    /// A muxer with an empty window whose numbers begin at `first` or above.
    pub(super) fn new(
        config: &HlsConfig,
        stream: &Arc<Stream>,
        first: SequenceStart,
        tasks: &TaskSet,
    ) -> Arc<Self> {
        let now = clock::wall_now();
        Arc::new(Self {
            stream: Arc::clone(stream),
            token: tasks.token().child_token(),
            panics: tasks.clone(),
            place: Mutex::default(),
            config: config.clone(),
            created: now,
            state: Mutex::new(State::new(config, first, now)),
            version: watch::Sender::new(0),
            last_request_us: AtomicI64::new(now.unix_us()),
            requests: AtomicU64::new(0),
            sent_bytes: Arc::default(),
            restarts: AtomicU64::new(0),
        })
    }

    /// Notes a request.
    pub(super) fn touch(&self) {
        self.last_request_us.store(clock::wall_now().unix_us(), Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Since the last request; no time while one waits.
    pub(super) fn idle(&self, now: WallTime) -> Duration {
        if self.version.receiver_count() > 0 {
            return Duration::ZERO;
        }
        let us = now.us_since(WallTime(self.last_request_us.load(Ordering::Relaxed)));
        Duration::from_micros(u64::try_from(us).unwrap_or(0))
    }

    fn audience(&self, now: WallTime) -> Audience {
        let is_asked = self.requests.load(Ordering::Relaxed) > 0;
        if is_asked && self.idle(now) < AUDIENCE_MEMORY.max(self.config.muxer_close_after) {
            Audience::Present
        } else {
            Audience::None
        }
    }

    /// Changes each time the playlist does.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What a playlist request gets.
    pub(super) fn answer(&self, directives: &Directives, held: Duration) -> Answer {
        self.lock().window.answer(directives, held)
    }

    /// The playlist; `None` before it is ready.
    pub(super) fn playlist(&self, directives: &Directives, encoding: Encoding) -> Option<Bytes> {
        let mut state = self.lock();
        let rendered = state.window.rendered()?.clone();
        let is_delta = directives.skip && rendered.delta.is_some();
        let plain = rendered.delta.clone().filter(|_| is_delta).unwrap_or_else(|| rendered.full.clone());
        match encoding {
            Encoding::Identity => Some(plain),
            Encoding::Gzip => Some(state.gzip.get(&rendered, is_delta.then_some(Delta), &plain)),
        }
    }

    /// The multivariant playlist; `None` before the window is ready.
    pub(super) fn multivariant(&self, query: Option<&str>) -> Option<String> {
        self.lock().window.multivariant(query)
    }

    /// A file's bytes. The grant must be for this stream's path (correctness: S1).
    pub(super) fn media(
        &self,
        grant: &CameraGrant,
        prefix: &str,
        name: MediaName,
        held: Duration,
    ) -> MediaAnswer {
        let state = self.lock();
        if grant.path() != self.stream.name() || prefix != state.prefix.as_str() {
            return MediaAnswer::NotFound;
        }
        state.window.media(grant, name, held)
    }

    /// Where a muxer in its place must begin.
    pub(super) fn sequence_after(&self) -> SequenceStart {
        let state = self.lock();
        // A window that saw no part yet has no numbers of its own.
        if state.window.is_ready() { state.window.sequence_after() } else { state.first }
    }

    pub(super) fn snapshot(&self) -> MuxerSnapshot {
        let state = self.lock();
        MuxerSnapshot {
            path: self.stream.name().clone(),
            created: self.created,
            last_request: WallTime(self.last_request_us.load(Ordering::Relaxed)),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            window_bytes: state.window.bytes(),
            restarts: self.restarts.load(Ordering::Relaxed),
            segmenter: state.stats,
        }
    }

    /// Has the window filled from now on; keeps a source on demand running.
    pub(super) fn start(self: &Arc<Self>, grant: &CameraGrant) {
        let seat = self.stream.take_seat(ReaderKind::HlsMuxer);
        let sink: Arc<dyn Sink> = Arc::<Self>::clone(self);
        let attachment = self.stream.attach(grant, sink, self.config.segmenter());
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some((seat, attachment));
    }

    /// Nothing more goes into the window; who waits for it is told.
    pub(super) fn close(&self) {
        self.token.cancel();
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // After a panic under the lock the remuxer has the whole state replaced.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Muxer {
    fn take(&self, events: &[Event], stats: SegmenterStats) {
        let audience = self.audience(clock::wall_now());
        let mut state = self.lock();
        #[cfg(test)]
        self.stream.fuse.burn(crate::runtime::fuse::FuseAt::HlsWindow);
        state.window.note_audience(audience);
        events.iter().for_each(|event| state.window.apply(event.clone()));
        state.window.commit();
        state.stats = stats;
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }

    fn restart(&self, message: &str) {
        self.panics.count_panic();
        tracing::error!(message, path = %self.stream.name(), "HLS window panicked; its playlist starts again");
        let first = self.sequence_after();
        *self.lock() = State::new(&self.config, first, clock::wall_now());
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    fn needs(&self) -> Needs {
        Needs::History
    }
}

impl State {
    fn new(config: &HlsConfig, first: SequenceStart, now: WallTime) -> Self {
        let first = first.max(SequenceStart::at(now));
        // The time in microseconds: no two muxers of a path are made in the same one.
        let prefix = Prefix::from_number(u64::try_from(now.unix_us()).unwrap_or(0));
        let window = Window::new(WindowConfig {
            variant: match config.variant {
                HlsVariant::LowLatency => Variant::LowLatency,
                HlsVariant::Fmp4 => Variant::Fmp4,
            },
            segment_count: config.segment_count,
            bytes_soft: WINDOW_BYTES_SOFT,
            prefix: prefix.clone(),
            first_discontinuity: first.discontinuity,
        });
        Self { window, prefix, first, stats: SegmenterStats::default(), gzip: GzipCache::default() }
    }
}

/// Names the delta slot of the cache.
struct Delta;

impl GzipCache {
    fn get(&mut self, rendered: &Rendered, delta: Option<Delta>, plain: &Bytes) -> Bytes {
        if self.version != rendered.version {
            *self = Self { version: rendered.version, ..Self::default() };
        }
        let slot = if delta.is_some() { &mut self.delta } else { &mut self.full };
        slot.get_or_insert_with(|| gzip(plain)).clone()
    }
}

/// A body in the encoding that was asked for.
pub(super) fn encoded(plain: Bytes, encoding: Encoding) -> Bytes {
    match encoding {
        Encoding::Identity => plain,
        Encoding::Gzip => gzip(&plain),
    }
}

/// Compresses into memory, which can't fail; if it did, an empty body would be the visible fault.
fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), GZIP_LEVEL);
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.map(Bytes::from).unwrap_or_default()
}
