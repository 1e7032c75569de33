//! Offer: what a stream's format can be sent as to a WHIP server, with payload types of ours.
//!
//! H.264 is offered in all profiles that browsers name, whatever the camera's: servers pick those that they know, and take what comes
//! (-> `track_map`, which is as lenient the other way). H.265 is offered as it is.

use std::sync::Arc;
use std::time::Duration;

use media_core::track::{CodecConfig, G711Law, H265Config, StreamFormat};
use str0m::RtcConfig;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Pt};
use str0m::rtp::{Extension, ExtensionMap};

/// Sender reports each second, so that pictures can be placed in time soon.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Checks of a live pair go out at least so often, as toward viewers (RFC 7675 s5.1).
const STUN_RTO_MAX: Duration = Duration::from_secs(2);

/// High, Main, Constrained Baseline and Baseline, with their payload types; the next ones are their retransmissions.
const H264_PROFILES: [(u8, &str); 4] = [(96, "64001f"), (98, "4d001f"), (100, "42e01f"), (102, "42001f")];

const H265_PT: u8 = 104;
const OPUS_PT: u8 = 111;
const PCMA_PT: u8 = 8;
const PCMU_PT: u8 = 0;

/// A payload type of ours.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) pt: u8,
    codec: Codec,
    rate: Frequency,
    channels: Option<u8>,
    fmtp: String,
}

impl Payload {
    /// The section that it belongs to.
    pub(super) fn kind(&self) -> MediaKind {
        if self.codec.is_video() { MediaKind::Video } else { MediaKind::Audio }
    }
}

/// What a format can be sent as: its first pictures, and its sound as it is before what it can be made into.
pub(super) fn payloads(format: &StreamFormat) -> Vec<Payload> {
    let mut payloads = format.video().map_or_else(Vec::new, |track| video(&track.codec));
    for payload in format.tracks.iter().filter_map(|track| audio(&track.codec)) {
        if !payloads.iter().any(|known: &Payload| known.pt == payload.pt) {
            payloads.push(payload);
        }
    }
    payloads
}

fn video(codec: &CodecConfig) -> Vec<Payload> {
    let payload = |pt, codec, fmtp| Payload { pt, codec, rate: Frequency::NINETY_KHZ, channels: None, fmtp };
    match codec {
        CodecConfig::H264(_) => H264_PROFILES
            .iter()
            .map(|(pt, profile)| {
                let fmtp =
                    format!("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile}");
                payload(*pt, Codec::H264, fmtp)
            })
            .collect(),
        CodecConfig::H265(H265Config { general_profile, level_idc, .. }) => {
            let (profile, tier) = (general_profile & 0x1f, general_profile >> 5 & 1);
            let fmtp = format!("level-id={level_idc};profile-id={profile};tier-flag={tier};tx-mode=SRST");
            vec![payload(H265_PT, Codec::H265, fmtp)]
        }
        CodecConfig::Aac(_) | CodecConfig::Opus { .. } | CodecConfig::G711 { .. } => Vec::new(),
    }
}

fn audio(codec: &CodecConfig) -> Option<Payload> {
    let payload = |pt, codec, rate| Payload { pt, codec, rate, channels: None, fmtp: String::new() };
    match codec {
        CodecConfig::Opus { .. } => Some(Payload {
            channels: Some(2),
            fmtp: "minptime=10;useinbandfec=1".to_owned(),
            ..payload(OPUS_PT, Codec::Opus, Frequency::FORTY_EIGHT_KHZ)
        }),
        // WebRTC knows G.711 at 8 kHz, one channel, only (RFC 7874 s3).
        CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 } => {
            Some(payload(PCMA_PT, Codec::PCMA, Frequency::EIGHT_KHZ))
        }
        CodecConfig::G711 { law: G711Law::Mu, sample_rate: 8000, channels: 1 } => {
            Some(payload(PCMU_PT, Codec::PCMU, Frequency::EIGHT_KHZ))
        }
        CodecConfig::G711 { .. } | CodecConfig::Aac(_) | CodecConfig::H264(_) | CodecConfig::H265(_) => None,
    }
}

/// A peer connection that can offer these.
pub(super) fn config(payloads: &[Payload]) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(4, Extension::RtpMid);
    extensions.set(5, Extension::AbsoluteCaptureTime);
    let mut config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_rtp_mode(true)
        // A server may take no RTX stream, which is known only when it answers (-> resend).
        .enable_raw_packets(true)
        .clear_codecs()
        .set_extension_map(extensions)
        .set_rtcp_report_interval_audio(REPORT_INTERVAL)
        .set_rtcp_report_interval_video(REPORT_INTERVAL);
    config.set_max_stun_rto(STUN_RTO_MAX);
    for payload in payloads {
        let pt = Pt::new_with_value(payload.pt);
        let rtx = payload.codec.is_video().then(|| Pt::new_with_value(payload.pt + 1));
        let format = FormatParams::parse_line(&payload.fmtp);
        let codecs = config.codec_config();
        codecs.add_config(pt, rtx, payload.codec, payload.rate, payload.channels, format);
    }
    for params in config.codec_config().iter_mut() {
        // We do not estimate bandwidth: a camera has one rate.
        params.set_fb_transport_cc(false);
        params.set_fb_remb(false);
    }
    config
}
