//! RTP tracks: packets as they come, put in order and handed to ingest; and what there is to say of their coming.

use bytes::Bytes;
use media_core::ingest::Ingest;
use media_core::rtp::RtpPacket;
use media_core::rtsp::{MediaKind, ReceivedRtp, RtpReceiver, parse_sender_report};
use tracing::debug;

use crate::runtime::clock;

/// Our SSRC in receiver reports; one per RTP session is enough for it to be unlike the sender's.
pub(super) const REPORTER_SSRC: u32 = 0x4754_5631;

/// What a sender's packets came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Packets that never came, since the start.
    pub(crate) lost: u64,
    /// Packets that could not be read, since the start.
    pub(crate) in_error: u64,
    /// Jitter in ticks of each track's own clock, the mean of all tracks: what MediaMTX tells.
    pub(crate) jitter_ticks: u32,
    /// Jitter in microseconds of the track that does worst; `None` without tracks.
    pub(crate) jitter_us: Option<u64>,
}

impl Received {
    /// What came of all tracks together.
    pub(super) fn of<'a>(receivers: impl Iterator<Item = &'a RtpReceiver>) -> Self {
        let (mut sum, mut tracks, mut ticks) = (Self::default(), 0_u64, 0_u64);
        for receiver in receivers {
            let (stats, jitter) = (receiver.stats(), receiver.jitter());
            sum.lost += stats.lost;
            sum.in_error += stats.malformed;
            sum.jitter_us = sum.jitter_us.max(Some(jitter.us()));
            ticks += u64::from(jitter.ticks());
            tracks += 1;
        }
        let mean = ticks.checked_div(tracks).unwrap_or(0);
        Self { jitter_ticks: u32::try_from(mean).unwrap_or(u32::MAX), ..sum }
    }
}

/// The tracks of one session, by the index that ingest knows them by.
#[derive(Debug, Default)]
pub(super) struct RtpTracks {
    receivers: Vec<RtpReceiver>,
    in_order: Vec<ReceivedRtp>,
}

impl RtpTracks {
    /// A track for each payload type and its clock's rate.
    pub(super) fn new(formats: impl IntoIterator<Item = (u8, u32)>) -> Self {
        let receivers = formats.into_iter().map(|(kind, clock_rate)| RtpReceiver::new(kind, clock_rate));
        let receivers = receivers.collect();
        Self { receivers, in_order: Vec::new() }
    }

    /// What has come of all.
    pub(super) fn received(&self) -> Received {
        Received::of(self.receivers.iter())
    }

    /// Receiver reports, by track.
    pub(super) fn reports(&mut self) -> Vec<(usize, Bytes)> {
        let receivers = self.receivers.iter_mut().enumerate();
        let reports = receivers.filter_map(|(track, it)| Some((track, it.report(REPORTER_SSRC)?.to_bytes())));
        reports.collect()
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
