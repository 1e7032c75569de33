//! Publish: a stream that somebody sends here instead of a camera that is asked; one publisher at a time.
//!
//! ```text
//!  ANNOUNCE, RECORD ─► PublishPoint::begin ─► Publication ─packets─► RtpReceiver ─► Ingest ─► Output ─► ring
//!                           └─ the one before is ended first (overridePublisher)
//! ```
//!
//! The machine that repairs times lives as long as the path, so that the next publisher goes on where the last one ended,
//! with a discontinuity, and viewers stay.
//!
//! Belongs here: who publishes. Does not: protocols (-> egress::rtsp).
//! Limits: [`HANDOVER_MAX`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::gate::{Action, CameraGrant};
use media_core::ingest::{Ingest, SetupError};
use media_core::rtp::RtpPacket;
use media_core::rtsp::{MediaKind, ReceivedRtp, ReceiverReport, RtpReceiver, SdpMedia, parse_sender_report};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::output::Output;
use super::session::{REPORTER_SSRC, track_setup};
use crate::config::resolved::Replacing;
use crate::runtime::clock;
use crate::stream::{SourceStatus, Stream};

/// How long a publisher has to leave for the next one; then that one is refused.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// Time between reports to the publisher, and to the metrics.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// A path that is published to.
#[derive(Debug)]
pub(crate) struct PublishPoint {
    stream: Arc<Stream>,
    replacing: Replacing,
    machine: Arc<tokio::sync::Mutex<Machine>>,
    /// Ends the publication under way.
    holder: Mutex<Option<CancellationToken>>,
}

#[derive(Debug)]
struct Machine {
    ingest: Ingest,
    output: Output,
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
    /// None of the tracks can be carried.
    #[error("tracks can't be used: {0}")]
    Tracks(#[from] SetupError),
}

impl PublishPoint {
    /// A path that nobody publishes to yet.
    pub(crate) fn new(stream: &Arc<Stream>, replacing: Replacing) -> Arc<Self> {
        let machine = Machine { ingest: Ingest::new(clock::now()), output: Output::new(stream) };
        let machine = Arc::new(tokio::sync::Mutex::new(machine));
        Arc::new(Self { stream: Arc::clone(stream), replacing, machine, holder: Mutex::default() })
    }

    /// Begins a publication of these tracks. `ended` is cancelled when another publisher takes over.
    ///
    /// # Errors
    /// [`PublishError`].
    pub(crate) async fn begin(
        self: &Arc<Self>,
        grant: &CameraGrant,
        medias: &[SdpMedia],
        ended: &CancellationToken,
    ) -> Result<Publication, PublishError> {
        debug_assert_eq!((grant.path(), grant.action()), (self.stream.name(), Action::Publish));
        let taken = || PublishError::Taken { path: self.stream.name().to_string() };
        let machine = match (Arc::clone(&self.machine).try_lock_owned(), self.replacing) {
            (Ok(machine), _) => machine,
            (Err(_), Replacing::Refused) => return Err(taken()),
            (Err(_), Replacing::Allowed) => {
                if let Some(holder) = self.lock_holder().take() {
                    info!(path = %self.stream.name(), "publisher is replaced by another one");
                    holder.cancel();
                }
                let freed = tokio::time::timeout(HANDOVER_MAX, Arc::clone(&self.machine).lock_owned());
                freed.await.map_err(|_| taken())?
            }
        };
        *self.lock_holder() = Some(ended.clone());
        let mut publication = Publication {
            stream: Arc::clone(&self.stream),
            machine,
            receivers: medias.iter().map(|media| RtpReceiver::new(media.payload_type)).collect(),
            in_order: Vec::new(),
            is_online: false,
            report_at: clock::now() + REPORT_INTERVAL,
        };
        let setups: Vec<_> = medias.iter().map(track_setup).collect();
        publication.machine.ingest.start(&setups, clock::now())?;
        self.stream.set_state(SourceStatus::Connecting, "", clock::wall_now());
        Ok(publication)
    }

    fn lock_holder(&self) -> std::sync::MutexGuard<'_, Option<CancellationToken>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A publication under way; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Publication {
    stream: Arc<Stream>,
    machine: OwnedMutexGuard<Machine>,
    receivers: Vec<RtpReceiver>,
    in_order: Vec<ReceivedRtp>,
    is_online: bool,
    report_at: Instant,
}

/// What a publisher's packets came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Packets that never came, since the start.
    pub(crate) lost: u64,
    /// Packets that could not be read, since the start.
    pub(crate) in_error: u64,
}

impl Publication {
    /// Takes a packet of a track, by its index among the announced ones.
    pub(crate) fn packet(&mut self, track: usize, kind: MediaKind, packet: Bytes) {
        let (now, wall) = (clock::now(), clock::wall_now());
        let bytes = u64::try_from(packet.len()).unwrap_or(0);
        self.stream.counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        let Some(receiver) = self.receivers.get_mut(track) else { return };
        if kind == MediaKind::Rtcp {
            if let Some(report) = parse_sender_report(&packet) {
                self.machine.ingest.handle_sender_report(track, report.ntp, report.rtp_timestamp);
            }
            return;
        }
        receiver.handle(packet, now, &mut self.in_order);
        for rtp in self.in_order.drain(..) {
            let packet = RtpPacket {
                seq: rtp.seq,
                rtp_timestamp: rtp.rtp_timestamp,
                marker: rtp.marker,
                payload: rtp.payload,
                arrival: now,
                arrival_wall: wall,
                lost_before: rtp.lost_before,
            };
            if let Err(error) = self.machine.ingest.handle_rtp(track, &packet) {
                debug!(track, %error, "packet can't be used");
            }
        }
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

    /// Receiver reports by track, when they are due (RFC 3550 s6.2).
    pub(crate) fn reports(&mut self, now: Instant) -> Vec<(usize, Bytes)> {
        if now < self.report_at {
            return Vec::new();
        }
        self.report_at = now + REPORT_INTERVAL;
        let Machine { ingest, output } = &mut *self.machine;
        output.report(ingest);
        let receivers = self.receivers.iter().enumerate();
        let reports = receivers.filter_map(|(track, receiver)| {
            let report = ReceiverReport {
                reporter_ssrc: REPORTER_SSRC,
                ssrc: receiver.ssrc()?,
                lost: u32::try_from(receiver.stats().lost).unwrap_or(u32::MAX),
                highest_seq: receiver.highest_seq(),
                jitter: 0,
            };
            Some((track, report.to_bytes()))
        });
        reports.collect()
    }

    /// What came so far.
    pub(crate) fn received(&self) -> Received {
        self.receivers.iter().map(RtpReceiver::stats).fold(Received::default(), |sum, stats| Received {
            lost: sum.lost + stats.lost,
            in_error: sum.in_error + stats.malformed,
        })
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        self.stream.set_state(SourceStatus::Idle, "nobody publishes", clock::wall_now());
    }
}
