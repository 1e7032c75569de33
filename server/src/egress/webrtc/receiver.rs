//! Receiver: a WHIP publisher's packets on their way into the stream, and the requests for key frames that they call for.
//!
//! str0m asks for what is missing (NACK) and gives packets as they come; they are put in order as those of RTSP are.
//! Tracks are aligned by their arrival: a browser sends what it has just made.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use media_core::egress::webrtc::track_map::{MappedTrack, TrackMap, WireCodec};
use media_core::rtsp::{MediaKind, SdpMedia};
use str0m::Rtc;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::rtp::RtpPacket;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::negotiate::mid_of;
use super::sender::Step;
use crate::ingest::publish::Publication;
use crate::ingest::rtp_tracks::Received;
use crate::stream::Seat;

/// Between two requests for a key frame, and after packets that are gone for good.
const KEY_FRAME_REQUESTS_EVERY: Duration = Duration::from_secs(1);

/// One publisher's media.
#[derive(Debug)]
pub(crate) struct MediaReceiver {
    publication: Publication,
    /// A path that exists only while it is used goes on as long.
    _seat: Seat,
    /// Cancelled when the publisher has to go.
    ended: CancellationToken,
    /// By track.
    payload_types: Vec<u8>,
    video: Option<Mid>,
    /// Packets lost when a key frame was last asked for.
    lost: u64,
    asked_at: Option<Instant>,
}

/// The tracks that a publisher's offer was matched to, as a session description would say them.
pub(super) fn medias(map: &TrackMap) -> Vec<SdpMedia> {
    let tracks = [(&map.video, "video"), (&map.audio, "audio")];
    let tracks = tracks.into_iter().filter_map(|(track, kind)| Some((track.as_ref()?, kind)));
    tracks.map(|(track, kind)| media(track, kind)).collect()
}

fn media(track: &MappedTrack, kind: &str) -> SdpMedia {
    let encoding_name = match track.codec {
        WireCodec::H264 => "H264",
        WireCodec::H265 => "H265",
        WireCodec::Opus => "OPUS",
        WireCodec::Pcma => "PCMA",
        WireCodec::Pcmu => "PCMU",
    };
    SdpMedia {
        media: kind.to_owned(),
        payload_type: track.payload.pt,
        encoding_name: encoding_name.to_owned(),
        clock_rate: track.payload.clock_hz,
        channels: track.payload.channels.unwrap_or(1),
        fmtp: track.payload.fmtp.clone(),
        control: String::new(),
        is_back_channel: false,
    }
}

/// A packet as RTP has it, without header extensions.
pub(crate) fn as_received(packet: &RtpPacket) -> Bytes {
    let header = &packet.header;
    let mut bytes = BytesMut::with_capacity(12 + packet.payload.len());
    bytes.put_u8(2 << 6);
    bytes.put_u8(u8::from(header.marker) << 7 | *header.payload_type);
    bytes.put_u16(header.sequence_number);
    bytes.put_u32(header.timestamp);
    bytes.put_u32(*header.ssrc);
    bytes.put_slice(&packet.payload);
    bytes.freeze()
}

impl MediaReceiver {
    /// Nothing came yet.
    pub(super) fn new(
        publication: Publication,
        seat: Seat,
        ended: CancellationToken,
        map: &TrackMap,
    ) -> Self {
        let payload_types = [&map.video, &map.audio].into_iter().flatten().map(|track| track.payload.pt);
        Self {
            publication,
            _seat: seat,
            ended,
            payload_types: payload_types.collect(),
            video: map.video.as_ref().map(mid_of),
            lost: 0,
            asked_at: None,
        }
    }

    /// Resolves when the publisher has to go. Cancel-safe.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes a packet.
    pub(super) fn packet(&mut self, packet: &RtpPacket) {
        let payload_type = *packet.header.payload_type;
        let Some(track) = self.payload_types.iter().position(|known| *known == payload_type) else { return };
        self.publication.packet(track, MediaKind::Rtp, as_received(packet));
    }

    /// What came so far.
    pub(super) fn received(&self) -> Received {
        self.publication.received()
    }

    /// Hands what is whole to the readers, and asks for a key frame until there is one, and after a loss.
    pub(super) fn step(&mut self, rtc: &mut Rtc, now: Instant) -> Step {
        self.publication.publish();
        // str0m reports to the publisher by itself.
        self.publication.report(now);
        let lost = self.publication.received().lost;
        if self.publication.is_online() && lost == self.lost {
            return Step::Idle;
        }
        let due = self.asked_at.map_or(now, |at| at + KEY_FRAME_REQUESTS_EVERY);
        let Some(mid) = self.video.filter(|_| rtc.is_connected()) else { return Step::Idle };
        if now < due {
            return Step::WaitUntil(due);
        }
        self.asked_at = Some(now);
        self.lost = lost;
        match rtc.direct_api().stream_rx_by_mid(mid, None) {
            Some(stream) => {
                debug!(lost, "key frame asked for");
                stream.request_keyframe(KeyframeRequestKind::Pli);
                Step::Wrote
            }
            // Nothing has come of it yet.
            None => Step::WaitUntil(now + KEY_FRAME_REQUESTS_EVERY),
        }
    }
}
