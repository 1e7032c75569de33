//! Publish: a stream that somebody sends here instead of a camera that is asked; one publisher at a time.
//!
//! ```text
//!  ANNOUNCE, RECORD ─► PublishPoint::begin ─► Publication ─packets─► RtpReceiver ─► Ingest ─► Output ─► ring
//!  WHIP ─────────────►
//!  RTMP publish ─────► PublishPoint::claim ─►      └──── access units ────────────────┘
//!                           └─ the one before is ended first (overridePublisher)
//! ```
//!
//! The next publisher goes on where the last one ended (-> `intake`).
//!
//! Belongs here: who publishes. Does not: protocols (-> egress::rtsp, egress::rtmp).
//! Limits: [`HANDOVER_MAX`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::gate::{Action, CameraGrant};
use media_core::ingest::{SetupError, TrackSetup};
use media_core::rtsp::{MediaKind, SdpMedia};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::intake::{Intake, Machine, whole_unit};
use super::rtp_tracks::{Received, RtpTracks};
use super::session::track_setup;
use crate::config::resolved::Replacing;
use crate::events::Origin;
use crate::runtime::clock;
use crate::stream::{ReaderKind, Seat, SourceStatus, Stream};

/// How long a publisher has to leave for the next one; then that one is refused.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// Time between reports to the publisher, and to the metrics.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A path that is published to.
#[derive(Debug)]
pub(crate) struct PublishPoint {
    intake: Intake,
    is_replaceable: AtomicBool,
    /// Cancelled when the path is published to no more.
    closed: CancellationToken,
    /// Ends the publication under way.
    holder: Mutex<Option<CancellationToken>>,
}

/// Why somebody can't publish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    /// Somebody else does, and may not be replaced, or does not leave.
    #[error("somebody is already publishing to path '{path}'")]
    Taken {
        /// The path.
        path: String,
    },
    /// The path's configuration changed meanwhile.
    #[error("path '{path}' is published to no more")]
    Closed {
        /// The path.
        path: String,
    },
    /// None of the tracks can be carried.
    #[error("tracks can't be used: {0}")]
    Tracks(#[from] SetupError),
}

impl PublishPoint {
    /// A path that nobody publishes to yet.
    pub(crate) fn new(intake: &Intake, replacing: Replacing) -> Arc<Self> {
        let is_replaceable = AtomicBool::new(replacing == Replacing::Allowed);
        let (closed, holder) = (CancellationToken::new(), Mutex::default());
        Arc::new(Self { intake: intake.clone(), is_replaceable, closed, holder })
    }

    /// Says what happens when another publisher comes, from now on.
    pub(crate) fn allow(&self, replacing: Replacing) {
        self.is_replaceable.store(replacing == Replacing::Allowed, Ordering::Relaxed);
    }

    /// Keeps the path from being taken for unused until the seat is dropped.
    pub(crate) fn take_seat(&self) -> Seat {
        self.intake.stream().take_seat(ReaderKind::Publishing)
    }

    /// Ends what is published, and lets nobody publish from now on.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        if let Some(holder) = self.lock_holder().take() {
            holder.cancel();
        }
    }

    /// Begins a publication of these tracks by `origin`. `ended` is cancelled when another publisher takes over.
    ///
    /// # Errors
    /// [`PublishError`].
    pub(crate) async fn begin(
        self: &Arc<Self>,
        grant: &CameraGrant,
        medias: &[SdpMedia],
        origin: Origin,
        ended: &CancellationToken,
    ) -> Result<Publication, PublishError> {
        let setups: Vec<_> = medias.iter().map(track_setup).collect();
        // Nobody is ended for one who can't take his place.
        self.intake.admit(&setups).inspect_err(|error| tell_refused(self.intake.stream(), error))?;
        let mut publication = self.claim(grant, origin, ended).await?;
        publication.tracks =
            RtpTracks::new(medias.iter().map(|media| (media.payload_type, media.clock_rate)));
        for error in setups.iter().filter_map(|setup| setup.kind().err()) {
            warn!(path = %grant.path(), %error, "a published track is left out");
        }
        publication.start(&setups)?;
        Ok(publication)
    }

    /// The same before the tracks are known: [`Publication::start`] tells them.
    ///
    /// # Errors
    /// [`PublishError`].
    pub(crate) async fn claim(
        self: &Arc<Self>,
        grant: &CameraGrant,
        origin: Origin,
        ended: &CancellationToken,
    ) -> Result<Publication, PublishError> {
        let stream = self.intake.stream();
        debug_assert_eq!((grant.path(), grant.action()), (stream.name(), Action::Publish));
        let path = || stream.name().to_string();
        let machine = match (self.intake.try_take(), self.is_replaceable.load(Ordering::Relaxed)) {
            (Some(machine), _) => machine,
            (None, false) => return Err(PublishError::Taken { path: path() }),
            (None, true) => {
                if let Some(holder) = self.lock_holder().take() {
                    info!(path = %stream.name(), "publisher is replaced by another one");
                    holder.cancel();
                }
                let freed = tokio::time::timeout(HANDOVER_MAX, self.intake.take()).await;
                freed.map_err(|_| PublishError::Taken { path: path() })?
            }
        };
        *self.lock_holder() = Some(ended.clone());
        if self.closed.is_cancelled() {
            return Err(PublishError::Closed { path: path() });
        }
        stream.set_origin(origin);
        Ok(Publication {
            stream: Arc::clone(stream),
            machine,
            tracks: RtpTracks::default(),
            is_online: false,
            report_at: clock::now() + REPORT_INTERVAL,
        })
    }

    fn lock_holder(&self) -> std::sync::MutexGuard<'_, Option<CancellationToken>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a publisher can't be told over its protocol.
fn tell_refused(stream: &Stream, error: &SetupError) {
    warn!(path = %stream.name(), %error, "publisher's tracks can't be used");
}

/// Whether a report is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is.
    Now,
    /// Not yet.
    Later,
}

/// A publication under way; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Publication {
    stream: Arc<Stream>,
    machine: OwnedMutexGuard<Machine>,
    tracks: RtpTracks,
    is_online: bool,
    report_at: Instant,
}

impl Publication {
    /// These are the tracks from now on; what comes is a connection of its own, with a discontinuity before it.
    ///
    /// # Errors
    /// [`PublishError::Tracks`].
    pub(crate) fn start(&mut self, setups: &[TrackSetup]) -> Result<(), PublishError> {
        self.machine.start(setups).inspect_err(|error| tell_refused(&self.stream, error))?;
        let Machine { ingest, output } = &mut *self.machine;
        // The jitter of the one before is nobody's.
        output.report(ingest, None);
        if !self.is_online {
            self.stream.set_state(SourceStatus::Connecting, "", clock::wall_now());
        }
        Ok(())
    }

    /// Takes a whole access unit of a track, stamped as RTP would.
    pub(crate) fn unit(&mut self, track: usize, rtp_timestamp: u32, payload: Bytes) {
        let bytes = u64::try_from(payload.len()).unwrap_or(0);
        self.stream.counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(error) = self.machine.ingest.handle_unit(track, &whole_unit(rtp_timestamp, payload)) {
            debug!(track, %error, "access unit can't be used");
        }
    }

    /// Takes parameter sets of a track.
    pub(crate) fn parameter_sets(&mut self, track: usize, nals: &[Bytes]) {
        self.machine.ingest.handle_parameter_sets(track, nals);
    }

    /// Counts what its protocol could not make sense of.
    pub(crate) fn count_malformed(&mut self) {
        self.machine.ingest.count_malformed();
    }

    /// Takes a packet of a track, by its index among the announced ones.
    pub(crate) fn packet(&mut self, track: usize, kind: MediaKind, packet: Bytes) {
        let bytes = u64::try_from(packet.len()).unwrap_or(0);
        self.stream.counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tracks.handle(&mut self.machine.ingest, (track, kind), packet);
    }

    /// Hands what is whole to the readers: after a batch of packets.
    pub(crate) fn publish(&mut self) {
        let Machine { ingest, output } = &mut *self.machine;
        if output.drain(ingest) > 0 && !self.is_online {
            self.is_online = true;
            info!(path = %self.stream.name(), "publisher online");
            self.stream.set_state(SourceStatus::Online, "", clock::wall_now());
        }
    }

    /// Whether readers have got something of it.
    pub(crate) fn is_online(&self) -> bool {
        self.is_online
    }

    /// Shows the counters to the metrics, where that is due; then the publisher is to be reported to as well.
    pub(crate) fn report(&mut self, now: Instant) -> Due {
        if now < self.report_at {
            return Due::Later;
        }
        self.report_at = now + REPORT_INTERVAL;
        let Machine { ingest, output } = &mut *self.machine;
        output.report(ingest, self.tracks.received().jitter_us);
        Due::Now
    }

    /// Receiver reports by track (RFC 3550 s6.2).
    pub(crate) fn receiver_reports(&mut self) -> Vec<(usize, Bytes)> {
        self.tracks.reports()
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Received {
        self.tracks.received()
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.stream.set_state(SourceStatus::Idle, "nobody publishes", clock::wall_now());
        self.machine.output.end();
    }
}
