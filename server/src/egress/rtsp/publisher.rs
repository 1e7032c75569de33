//! Publisher: one connection's announced tracks, and their packets on the way into the stream.
//!
//! Limits: [`INBOX_PACKETS`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use media_core::gate::CameraGrant;
use media_core::rtsp::server::{SetUpTrack, Target};
use media_core::rtsp::{MediaKind, SdpMedia, is_well_formed};
use tokio::sync::mpsc;
use tracing::debug;

use super::out::Out;
use super::stats::SessionRecord;
use crate::events::Origin;
use crate::ingest::publish::{Due, Publication, PublishPoint};
use crate::stream::Seat;

/// Datagrams that wait for a publisher's connection: half a second of 10 Mbit/s. Further ones are lost, and counted as
/// packets that never came.
const INBOX_PACKETS: usize = 512;

/// A packet that came over UDP: of which track, and what.
pub(super) type Datagram = (usize, MediaKind, Bytes);

/// What a client announced.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Where.
    pub(super) target: Target,
    /// The gate's leave.
    pub(super) grant: CameraGrant,
    point: Arc<PublishPoint>,
    medias: Vec<SdpMedia>,
    /// Set once it records.
    publication: Option<Publication>,
    /// A path that exists only while it is used goes on while the client makes up its mind.
    _seat: Seat,
    inbox: mpsc::Receiver<Datagram>,
    sender: mpsc::Sender<Datagram>,
}

impl Publisher {
    /// Nothing is set up yet.
    pub(super) fn new(
        target: Target,
        grant: CameraGrant,
        point: Arc<PublishPoint>,
        medias: Vec<SdpMedia>,
    ) -> Self {
        let (sender, inbox) = mpsc::channel(INBOX_PACKETS);
        let seat = point.take_seat();
        Self { target, grant, point, medias, publication: None, _seat: seat, inbox, sender }
    }

    /// The track that a SETUP's URL names, by what its own SDP calls it.
    pub(super) fn track(&self, url: &str) -> Option<usize> {
        let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
        let named = self.medias.iter().position(|media| trimmed(&media.control) == trimmed(url));
        named.or_else(|| (self.medias.len() == 1).then_some(0))
    }

    /// Where datagrams of a track are put.
    pub(super) fn sender(&self) -> mpsc::Sender<Datagram> {
        self.sender.clone()
    }

    /// Begins to publish.
    ///
    /// # Errors
    /// [`Refused`]; why is in the log.
    pub(super) async fn record(&mut self, record: &SessionRecord) -> Result<(), Refused> {
        let facts = &record.facts;
        let origin = Origin {
            kind: facts.encryption.session_type(),
            id: facts.id.to_string(),
            query: facts.query.clone(),
        };
        match self.point.begin(&self.grant, &self.medias, origin, &record.kick).await {
            Ok(publication) => {
                self.publication = Some(publication);
                Ok(())
            }
            Err(error) => {
                debug!(%error, path = %self.grant.path(), "publisher refused");
                Err(Refused)
            }
        }
    }

    /// Whether it records.
    pub(super) fn is_active(&self) -> bool {
        self.publication.is_some()
    }

    /// Takes a packet.
    pub(super) fn packet(&mut self, (track, kind, packet): Datagram, record: &SessionRecord) {
        let Some(publication) = &mut self.publication else { return };
        let counters = &record.counters;
        let bytes = u64::try_from(packet.len()).unwrap_or(0);
        counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        match kind {
            MediaKind::Rtp => counters.inbound_rtp_packets.fetch_add(1, Ordering::Relaxed),
            MediaKind::Rtcp if is_well_formed(&packet) => {
                counters.inbound_rtcp_packets.fetch_add(1, Ordering::Relaxed)
            }
            MediaKind::Rtcp => counters.inbound_rtcp_packets_in_error.fetch_add(1, Ordering::Relaxed),
        };
        publication.packet(track, kind, packet);
    }

    /// Takes the datagrams that wait; ready when there were any.
    pub(super) fn poll_datagrams(&mut self, cx: &mut Context<'_>, record: &SessionRecord) -> Poll<()> {
        let mut taken = Poll::Pending;
        while let Poll::Ready(Some(datagram)) = self.inbox.poll_recv(cx) {
            self.packet(datagram, record);
            taken = Poll::Ready(());
        }
        taken
    }

    /// Hands what is whole to the readers, and reports to the publisher when that is due.
    pub(super) fn publish(
        &mut self,
        tracks: &[SetUpTrack],
        record: &SessionRecord,
        out: &mut Out,
        now: Instant,
    ) {
        let Some(publication) = &mut self.publication else { return };
        publication.publish();
        if publication.report(now) == Due::Later {
            return;
        }
        let received = publication.received();
        let counters = &record.counters;
        counters.inbound_rtp_packets_lost.store(received.lost, Ordering::Relaxed);
        counters.inbound_rtp_packets_in_error.store(received.in_error, Ordering::Relaxed);
        counters.inbound_rtp_packets_jitter.store(received.jitter_ticks, Ordering::Relaxed);
        for (track, report) in publication.receiver_reports() {
            if let Some(set_up) = tracks.iter().find(|set_up| set_up.track == track) {
                counters.outbound_rtcp_packets.fetch_add(1, Ordering::Relaxed);
                out.push_report(set_up.transport, &report, now);
            }
        }
    }
}

/// It can't publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;
