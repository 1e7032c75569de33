//! Stream: one camera feed as the rest of the server sees it: its ring, its state, its readers.
//!
//! ```text
//!  supervisor ─► Publisher::publish ─► Mutex<Ring> ─► Notify ─► Subscription::next (any number)
//!       ▲                   └────────► Remuxer ─► sinks: HLS window, recorder
//!       └──────────────── reader count (on demand) ◄───────── seats
//! ```
//!
//! The lock is a std mutex held for O(1) work. A stream lives as long as its path is configured,
//! across any number of reconnects: readers and sinks never notice more than a new format.
//!
//! Belongs here: sharing and waking. Does not: connecting (-> ingest), deciding what is kept
//! (-> media_core::ring).

mod remuxer;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use media_core::access_unit::AccessUnit;
use media_core::gate::CameraGrant;
use media_core::ingest::IngestCounters;
use media_core::key_frame::KeyFrame;
use media_core::path_name::PathName;
use media_core::ring::{Cursor, Entry, JoinAt, Read, Retention, Ring};
use media_core::time::WallTime;
use media_core::track::SharedFormat;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use self::remuxer::Remuxer;
pub(crate) use self::remuxer::{Attachment, Needs, Sink};
use crate::events::{Lasting, Origin, PathEvents, Reader};

/// Where a camera's source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceStatus {
    /// On demand, and nobody asks.
    Idle,
    /// Connecting or waiting for the first access unit.
    Connecting,
    /// Access units arrive.
    Online,
    /// Connected, but no access unit for the frozen time; about to reconnect.
    Frozen,
    /// Waiting before the next try.
    BackingOff,
    /// Too many failures in a row: waiting longer before one trial.
    OpenCircuit,
}

impl SourceStatus {
    /// The name in the API and in metric labels.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::Frozen => "frozen",
            Self::BackingOff => "backingOff",
            Self::OpenCircuit => "openCircuit",
        }
    }
}

/// A status with its reason and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceState {
    /// Where it stands.
    pub(crate) status: SourceStatus,
    /// Why, for a person; holds no secret. Empty when there is nothing to explain.
    pub(crate) reason: String,
    /// Since when.
    pub(crate) since: WallTime,
}

/// What kind of reader a subscription is (MediaMTX's `PathReaderType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderKind {
    /// The LL-HLS muxer; its viewers are the readers.
    HlsMuxer,
    /// One HLS viewer.
    HlsSession,
    /// One WebRTC viewer.
    WebRtcSession,
    /// One RTSP reader.
    RtspSession,
    /// One RTSP reader over TLS.
    RtspsSession,
    /// One RTMP reader.
    RtmpConn,
    /// One RTMP reader over TLS.
    RtmpsConn,
    /// Waits for an on-demand source to start; not shown as a reader.
    Waiting,
    /// Is about to publish; no reader either.
    Publishing,
    /// Has no seat: the server's own, who takes what is there.
    Following,
}

impl ReaderKind {
    /// Whether it is shown, and counts for `maxReaders`.
    fn is_reader(self) -> bool {
        !matches!(self, Self::HlsMuxer | Self::Waiting | Self::Publishing | Self::Following)
    }
}

/// A path has as many readers as it may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("maximum reader count reached: path '{path}' has {max} readers, which is its \"maxReaders\"")]
pub(crate) struct TooManyReaders {
    path: PathName,
    max: usize,
}

/// Counters of one stream since the server's start; all monotonic unless said otherwise.
#[derive(Debug, Default)]
pub(crate) struct StreamCounters {
    /// Bytes received from the camera (RTSP and RTP).
    pub(crate) inbound_bytes: AtomicU64,
    /// Bytes sent to WebRTC viewers, RTSP and RTMP readers; HLS is counted by its muxer.
    pub(crate) outbound_bytes: AtomicU64,
    /// Access units published.
    pub(crate) units: AtomicU64,
    /// Connections that ended and were made again.
    pub(crate) reconnects: AtomicU64,
    /// Times no access unit came for the frozen time.
    pub(crate) frozen: AtomicU64,
    /// Panics of this stream's own task.
    pub(crate) panics: AtomicU64,
}

/// One camera feed.
#[derive(Debug)]
pub(crate) struct Stream {
    name: PathName,
    ring: Mutex<Ring>,
    published: Notify,
    remuxer: Remuxer,
    format: watch::Sender<Option<SharedFormat>>,
    state: watch::Sender<SourceState>,
    readers: watch::Sender<Vec<ReaderKind>>,
    /// `usize::MAX` for no limit.
    readers_max: AtomicUsize,
    transcoded_wanted: AtomicU64,
    has_b_frames: AtomicBool,
    told: OnceLock<Arc<PathEvents>>,
    presence: Mutex<Presence>,
    /// What happened so far.
    pub(crate) counters: StreamCounters,
    /// Ingest's own counters as of the last unit; a gauge set by the supervisor.
    pub(crate) ingest: Mutex<IngestSnapshot>,
    /// Makes a task of this stream panic, in tests.
    #[cfg(test)]
    pub(crate) fuse: crate::runtime::fuse::Fuse,
}

/// Who sends the stream, as events tell it.
#[derive(Debug, Default)]
struct Presence {
    origin: Origin,
    /// Set while access units arrive.
    online: Option<Lasting>,
    /// The query of who watched first.
    query: String,
}

/// What ingest reports of a source for metrics: totals over all connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct IngestSnapshot {
    /// Packets and access units: lost, repaired, dropped.
    pub(crate) counters: IngestCounters,
    /// Audio frames that could not be transcoded.
    pub(crate) transcode_errors: u64,
    /// The camera's clock minus ours in microseconds, from sender reports.
    pub(crate) clock_offset_us: Option<i64>,
    /// Jitter of what comes as RTP, of the track that does worst; `None` until it was measured.
    pub(crate) jitter_us: Option<u64>,
}

impl Stream {
    /// A stream with nothing in it.
    pub(crate) fn new(name: PathName, retention: Retention, now: WallTime) -> Arc<Self> {
        let state = SourceState { status: SourceStatus::Idle, reason: String::new(), since: now };
        Arc::new(Self {
            name,
            ring: Mutex::new(Ring::new(retention)),
            published: Notify::new(),
            remuxer: Remuxer::default(),
            format: watch::Sender::new(None),
            state: watch::Sender::new(state),
            readers: watch::Sender::new(Vec::new()),
            readers_max: AtomicUsize::new(usize::MAX),
            transcoded_wanted: AtomicU64::new(0),
            has_b_frames: AtomicBool::new(false),
            told: OnceLock::new(),
            presence: Mutex::default(),
            counters: StreamCounters::default(),
            ingest: Mutex::default(),
            #[cfg(test)]
            fuse: crate::runtime::fuse::Fuse::default(),
        })
    }

    /// The path it is served at.
    pub(crate) fn name(&self) -> &PathName {
        &self.name
    }

    /// The newest format; `None` until the first access unit ever.
    pub(crate) fn format(&self) -> Option<SharedFormat> {
        self.format.borrow().clone()
    }

    /// Waits until a format is known; at once when it already is.
    pub(crate) async fn wait_for_format(&self) -> SharedFormat {
        let mut formats = self.format.subscribe();
        loop {
            if let Some(format) = formats.borrow_and_update().clone() {
                return format;
            }
            if formats.changed().await.is_err() {
                // The sender lives in `self`, which is borrowed: it can't be gone.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Where the source stands.
    pub(crate) fn state(&self) -> SourceState {
        self.state.borrow().clone()
    }

    /// Sets the state; the time moves only when status or reason change. To be called where the stream is published.
    pub(crate) fn set_state(&self, status: SourceStatus, reason: impl Into<String>, now: WallTime) {
        let reason = reason.into();
        let mut was_online = false;
        self.state.send_if_modified(|state| {
            was_online = state.status == SourceStatus::Online;
            let changed = state.status != status || state.reason != reason;
            if changed {
                *state = SourceState { status, reason, since: now };
            }
            changed
        });
        let is_online = status == SourceStatus::Online;
        if was_online && !is_online {
            self.remuxer.pause();
        }
        if was_online != is_online {
            let mut presence = self.lock_presence();
            let began = self.told.get().filter(|_| is_online).map(|events| events.online(&presence.origin));
            presence.online = began;
        }
    }

    /// Has `events` told of what happens here; once.
    pub(crate) fn tell(&self, events: &Arc<PathEvents>) {
        self.told.get_or_init(|| Arc::clone(events));
    }

    /// Where what happens here is told.
    pub(crate) fn events(&self) -> Option<&Arc<PathEvents>> {
        self.told.get()
    }

    /// Notes who sends it from now on; to be called before that one is online.
    pub(crate) fn set_origin(&self, origin: Origin) {
        self.lock_presence().origin = origin;
    }

    /// Notes the query of somebody who wants to watch, unless others do already.
    pub(crate) fn note_query(&self, query: &str) {
        if self.readers.borrow().iter().all(|kind| *kind == ReaderKind::Publishing) {
            query.clone_into(&mut self.lock_presence().query);
        }
    }

    /// The query of who wanted to watch first.
    pub(crate) fn query(&self) -> String {
        self.lock_presence().query.clone()
    }

    /// Follows where the source stands.
    pub(crate) fn state_changes(&self) -> watch::Receiver<SourceState> {
        self.state.subscribe()
    }

    fn lock_presence(&self) -> MutexGuard<'_, Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pictures are sent in another order than they are shown (learned from the stream itself).
    pub(crate) fn has_b_frames(&self) -> bool {
        self.has_b_frames.load(Ordering::Relaxed)
    }

    /// Follows the kinds of the current readers; for on-demand sources and the API.
    pub(crate) fn reader_changes(&self) -> watch::Receiver<Vec<ReaderKind>> {
        self.readers.subscribe()
    }

    /// Lets so many read it from now on (`maxReaders`); those who do already stay.
    pub(crate) fn limit_readers(&self, max: Option<usize>) {
        self.readers_max.store(max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Whether one more may read it.
    ///
    /// # Errors
    /// [`TooManyReaders`].
    pub(crate) fn has_room(&self) -> Result<(), TooManyReaders> {
        self.room_among(&self.readers.borrow())
    }

    fn room_among(&self, readers: &[ReaderKind]) -> Result<(), TooManyReaders> {
        let max = self.readers_max.load(Ordering::Relaxed);
        let is_full = readers.iter().filter(|kind| kind.is_reader()).count() >= max;
        if is_full { Err(TooManyReaders { path: self.name.clone(), max }) } else { Ok(()) }
    }

    /// Keeps an on-demand source running until the seat is dropped, without reading.
    pub(crate) fn take_seat(self: &Arc<Self>, kind: ReaderKind) -> Seat {
        Seat::new(self, kind)
    }

    /// The same for a reader, of whom there may be one too many.
    ///
    /// # Errors
    /// [`TooManyReaders`].
    pub(crate) fn take_readers_seat(self: &Arc<Self>, kind: ReaderKind) -> Result<Seat, TooManyReaders> {
        let mut taken = Ok(());
        // Looked at and taken in one: of two who come at once one gets the last seat.
        self.readers.send_if_modified(|readers| {
            taken = self.room_among(readers);
            if taken.is_ok() {
                readers.push(kind);
            }
            taken.is_ok()
        });
        taken.map(|()| Seat { stream: Arc::clone(self), kind })
    }

    /// Somebody asked for the transcoded audio track.
    pub(crate) fn is_transcoded_audio_wanted(&self) -> bool {
        self.transcoded_wanted.load(Ordering::Relaxed) > 0
    }

    /// Resolves at the next access unit; says nothing of those before it.
    pub(crate) fn published(&self) -> Notified<'_> {
        self.published.notified()
    }

    /// Payload bytes in the ring.
    pub(crate) fn ring_bytes(&self) -> usize {
        self.lock_ring().bytes()
    }

    /// The newest key frame that was published at or behind a place. The grant must be for this path.
    pub(crate) fn newest_key_frame(&self, grant: &CameraGrant, from_seq: u64) -> Option<KeyFrame> {
        debug_assert_eq!(grant.path(), self.name(), "a grant for another path");
        let ring = self.lock_ring();
        let seq = ring.cursor(JoinAt::NewestRandomAccess).seq();
        let entry = ring.get(seq).filter(|entry| entry.seq >= from_seq)?;
        KeyFrame::of(&entry.format, &entry.unit)
    }

    /// The place of the next unit.
    pub(crate) fn next_seq(&self) -> u64 {
        self.lock_ring().next_seq()
    }

    /// A reader of this stream's media. The grant must be for this path.
    ///
    /// # Errors
    /// [`TooManyReaders`].
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        grant: &CameraGrant,
        at: JoinAt,
        kind: ReaderKind,
    ) -> Result<Subscription, TooManyReaders> {
        debug_assert_eq!(grant.path(), self.name(), "a grant for another path");
        let seat = self.take_readers_seat(kind)?;
        let cursor = self.lock_ring().cursor(at);
        Ok(Subscription { seat, cursor, wants_transcoded: false, told: None })
    }

    /// The same for the server's own purposes: no reader, and nobody is kept for it.
    pub(crate) fn follow(self: &Arc<Self>, grant: &CameraGrant, at: JoinAt) -> Subscription {
        debug_assert_eq!(grant.path(), self.name(), "a grant for another path");
        let cursor = self.lock_ring().cursor(at);
        // A seat that was never taken.
        let seat = Seat { stream: Arc::clone(self), kind: ReaderKind::Following };
        Subscription { seat, cursor, wants_transcoded: false, told: None }
    }

    fn lock_ring(&self) -> MutexGuard<'_, Ring> {
        // A panic while pushing leaves at worst one unit missing; the ring's own invariants are
        // restored by its next push.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one writer of a stream, held by its supervisor.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: Arc<Stream>,
}

impl Publisher {
    /// Starts writing into `stream`.
    pub(crate) fn new(stream: &Arc<Stream>) -> Self {
        Self { stream: Arc::clone(stream) }
    }

    /// Publishes one access unit: wakes the readers and has it remuxed.
    pub(crate) fn publish(&self, format: &SharedFormat, unit: AccessUnit) {
        self.stream.counters.units.fetch_add(1, Ordering::Relaxed);
        let mut ring = self.stream.lock_ring();
        #[cfg(test)]
        self.stream.fuse.burn(crate::runtime::fuse::FuseAt::Publisher);
        let kept = ring.push(format, unit);
        drop(ring);
        self.stream.format.send_if_modified(|current| {
            let changed = current.as_ref().is_none_or(|current| !Arc::ptr_eq(current, format));
            if changed {
                *current = Some(Arc::clone(format));
            }
            changed
        });
        self.stream.published.notify_waiters();
        if let Some((seq, unit)) = kept {
            self.stream.remuxer.push(&self.stream, seq, format, &unit);
        }
    }

    /// Says whether the stream has B-frames.
    pub(crate) fn set_has_b_frames(&self, has: HasBFrames) {
        self.stream.has_b_frames.store(has == HasBFrames::Yes, Ordering::Relaxed);
    }
}

/// Whether pictures are reordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasBFrames {
    /// Decode order differs from presentation order.
    Yes,
    /// Pictures are shown in the order they are sent.
    No,
}

/// A reader's presence: what keeps an on-demand source running.
#[derive(Debug)]
pub(crate) struct Seat {
    stream: Arc<Stream>,
    kind: ReaderKind,
}

impl Seat {
    fn new(stream: &Arc<Stream>, kind: ReaderKind) -> Self {
        stream.readers.send_modify(|readers| readers.push(kind));
        Self { stream: Arc::clone(stream), kind }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stream.readers.send_modify(|readers| {
            if let Some(index) = readers.iter().position(|kind| *kind == self.kind) {
                readers.swap_remove(index);
            }
        });
    }
}

/// One reader's place in a stream. Dropping it gives the reader's seat back.
#[derive(Debug)]
pub(crate) struct Subscription {
    seat: Seat,
    cursor: Cursor,
    wants_transcoded: bool,
    /// Those who want to know are told that it reads.
    told: Option<Lasting>,
}

impl Subscription {
    /// The stream it reads.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.seat.stream
    }

    /// The next entry, or news of a lag, without waiting; [`Read::Empty`] when there is none.
    pub(crate) fn try_next(&mut self) -> Read {
        let ring = self.seat.stream.lock_ring();
        #[cfg(test)]
        self.seat.stream.fuse.burn(crate::runtime::fuse::FuseAt::Reader(self.seat.kind));
        ring.read(&mut self.cursor)
    }

    /// The next entry, or news of a lag; waits for the writer. Never [`Read::Empty`]. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Read {
        let stream = Arc::clone(&self.seat.stream);
        loop {
            let published = stream.published.notified();
            tokio::pin!(published);
            // Registered before the look, so that a unit pushed in between still wakes us.
            published.as_mut().enable();
            match self.try_next() {
                Read::Empty => published.await,
                read => return read,
            }
        }
    }

    /// Moves to another place in the ring, for example the newest random access point.
    pub(crate) fn rejoin(&mut self, at: JoinAt) {
        self.cursor = self.seat.stream.lock_ring().cursor(at);
    }

    /// Its place: the sequence number of the unit it reads next.
    pub(crate) fn seq(&self) -> u64 {
        self.cursor.seq()
    }

    /// The unit at a place, if the ring still has it.
    pub(crate) fn entry_at(&self, seq: u64) -> Option<Entry> {
        self.seat.stream.lock_ring().get(seq).cloned()
    }

    /// The sequence number of the newest random access point, or of the live edge when none is kept.
    pub(crate) fn newest_join_seq(&self) -> u64 {
        self.seat.stream.lock_ring().cursor(JoinAt::NewestRandomAccess).seq()
    }

    /// Tells that this reader reads, until the subscription is dropped; of who only follows nothing is told.
    pub(crate) fn tell(&mut self, reader: &Reader) {
        if !self.seat.kind.is_reader() {
            return;
        }
        self.told = self.seat.stream.told.get().map(|events| events.read(reader));
    }

    /// Asks for the transcoded audio track until this subscription is dropped.
    pub(crate) fn want_transcoded_audio(&mut self) {
        if !self.wants_transcoded {
            self.wants_transcoded = true;
            self.seat.stream.transcoded_wanted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.wants_transcoded {
            self.seat.stream.transcoded_wanted.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
