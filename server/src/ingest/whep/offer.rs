//! Offer: what a WHEP source is asked for, and what its answer and its packets then say of its tracks.

use std::sync::Arc;

use bytes::Bytes;
use media_core::ingest::TrackSetup;
use str0m::RtcConfig;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, Pt};
use str0m::rtp::{Extension, ExtensionMap};

/// A payload type of ours.
pub(super) struct Offered {
    pub(super) pt: u8,
    rtx: Option<u8>,
    codec: Codec,
    encoding: &'static str,
    rate: Frequency,
    pub(super) clock_rate: u32,
    channels: Option<u8>,
    fmtp: &'static str,
}

const fn h264(pt: u8, fmtp: &'static str) -> Offered {
    video(pt, (Codec::H264, "H264"), fmtp)
}

const fn video(pt: u8, (codec, encoding): (Codec, &'static str), fmtp: &'static str) -> Offered {
    let (rtx, rate) = (Some(pt + 1), Frequency::NINETY_KHZ);
    Offered { pt, rtx, codec, encoding, rate, clock_rate: 90_000, channels: None, fmtp }
}

const fn g711(pt: u8, (codec, encoding): (Codec, &'static str)) -> Offered {
    let rate = Frequency::EIGHT_KHZ;
    Offered { pt, rtx: None, codec, encoding, rate, clock_rate: 8_000, channels: None, fmtp: "" }
}

/// What is taken, best first; profiles as browsers offer them.
static OFFERED: [Offered; 8] = [
    h264(96, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"),
    h264(98, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"),
    h264(100, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    h264(102, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
    video(104, (Codec::H265, "H265"), "level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST"),
    Offered {
        pt: 111,
        rtx: None,
        codec: Codec::Opus,
        encoding: "opus",
        rate: Frequency::FORTY_EIGHT_KHZ,
        clock_rate: 48_000,
        channels: Some(2),
        fmtp: "minptime=10;useinbandfec=1",
    },
    g711(8, (Codec::PCMA, "PCMA")),
    g711(0, (Codec::PCMU, "PCMU")),
];

impl Offered {
    fn is_video(&self) -> bool {
        self.codec.is_video()
    }

    /// The track, for ingest.
    pub(super) fn setup(&self) -> TrackSetup {
        TrackSetup {
            encoding: self.encoding.to_owned(),
            clock_rate: self.clock_rate,
            channels: self.channels,
            fmtp: Some(self.fmtp.to_owned()).filter(|fmtp| !fmtp.is_empty()),
            rtp_info_timestamp: None,
        }
    }
}

/// What the first packet of each kind is of.
pub(super) fn tracks_of(held: &[(u8, Bytes)]) -> Vec<&'static Offered> {
    let mut tracks: Vec<&Offered> = Vec::new();
    for (payload_type, _) in held {
        let Some(offered) = OFFERED.iter().find(|offered| offered.pt == *payload_type) else { continue };
        if !tracks.iter().any(|known| known.is_video() == offered.is_video()) {
            tracks.push(offered);
        }
    }
    tracks
}

/// Sections of an answer that are neither rejected nor idle.
pub(super) fn accepted_sections(answer: &str) -> usize {
    let sections = answer.split("\nm=").skip(1);
    let is_accepted = |section: &&str| {
        section.split_ascii_whitespace().nth(1) != Some("0")
            && !section.lines().any(|line| line.trim_end() == "a=inactive")
    };
    sections.filter(is_accepted).count().max(1)
}

/// A peer connection that can be offered for what is taken.
pub(super) fn config() -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(4, Extension::RtpMid);
    let mut config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_rtp_mode(true)
        .clear_codecs()
        .set_extension_map(extensions);
    for offered in &OFFERED {
        let pt = Pt::new_with_value(offered.pt);
        let rtx = offered.rtx.map(Pt::new_with_value);
        let format = FormatParams::parse_line(offered.fmtp);
        let codecs = config.codec_config();
        codecs.add_config(pt, rtx, offered.codec, offered.rate, offered.channels, format);
    }
    for params in config.codec_config().iter_mut() {
        // We do not estimate bandwidth: a camera has one rate.
        params.set_fb_transport_cc(false);
        params.set_fb_remb(false);
    }
    config
}

#[cfg(test)]
mod tests {
    use str0m::media::{Direction, MediaKind};

    use super::*;
    use crate::runtime::clock;

    #[test]
    fn an_offer_is_to_receive_what_is_taken_and_nothing_else() {
        let mut rtc = config().build(clock::now());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let (offer, _) = changes.apply().unwrap();
        let offer = offer.to_sdp_string();
        assert_eq!(offer.matches("a=recvonly").count(), 2, "{offer}");
        for offered in &OFFERED {
            let name = if offered.encoding == "opus" { "opus/48000/2" } else { offered.encoding };
            assert!(offer.contains(&format!("a=rtpmap:{} {name}", offered.pt)), "{offer}");
        }
        assert!(!offer.contains("VP8") && !offer.contains("transport-cc"), "{offer}");
    }

    #[test]
    fn tracks_are_what_comes_and_rejected_sections_are_not_waited_for() {
        let packet = |payload_type| (payload_type, Bytes::new());
        let encodings = |held: &[(u8, Bytes)]| -> Vec<&str> {
            tracks_of(held).iter().map(|offered| offered.encoding).collect()
        };
        assert_eq!(encodings(&[packet(97), packet(8), packet(98), packet(104), packet(0)]), ["PCMA", "H264"]);
        let answer =
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendonly\r\nm=audio 0 UDP/TLS/RTP/SAVPF 0\r\n";
        assert_eq!(accepted_sections(answer), 1);
        assert_eq!(accepted_sections(&answer.replace("audio 0", "audio 9")), 2);
        assert_eq!(
            accepted_sections(&answer.replace("audio 0", "audio 9").replace("sendonly", "inactive")),
            1
        );
    }
}
