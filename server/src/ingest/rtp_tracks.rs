//! RTP tracks: packets as they come, put in order and handed to ingest.

use bytes::Bytes;
use media_core::ingest::Ingest;
use media_core::rtp::RtpPacket;
use media_core::rtsp::{MediaKind, ReceivedRtp, RtpReceiver, parse_sender_report};
use tracing::debug;

use crate::runtime::clock;

/// The tracks of one session, by the index that ingest knows them by.
#[derive(Debug, Default)]
pub(super) struct RtpTracks {
    receivers: Vec<RtpReceiver>,
    in_order: Vec<ReceivedRtp>,
}

impl RtpTracks {
    /// A track for each payload type.
    pub(super) fn new(payload_types: impl IntoIterator<Item = u8>) -> Self {
        let receivers = payload_types.into_iter().map(RtpReceiver::new).collect();
        Self { receivers, in_order: Vec::new() }
    }

    /// What has come of each.
    pub(super) fn receivers(&self) -> &[RtpReceiver] {
        &self.receivers
    }

    /// Takes a packet that has come now.
    pub(super) fn handle(&mut self, ingest: &mut Ingest, (track, kind): (usize, MediaKind), packet: Bytes) {
        let (now, wall) = (clock::now(), clock::wall_now());
        let Some(receiver) = self.receivers.get_mut(track) else { return };
        if kind == MediaKind::Rtcp {
            if let Some(report) = parse_sender_report(&packet) {
                ingest.handle_sender_report(track, report.ntp, report.rtp_timestamp);
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
            if let Err(error) = ingest.handle_rtp(track, &packet) {
                debug!(track, %error, "packet can't be used");
            }
        }
    }
}
