//! SDP: a stream's tracks as DESCRIBE's answer states them.
//!
//! Spec: RFC 8866, RFC 2326 appendix C; format parameters: RFC 6184 s8.2.1 (H.264), RFC 7798 s7.2.1 (H.265), RFC 3640
//! s4.1 (AAC-hbr), RFC 7587 s7 (Opus), RFC 3551 (G.711).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::rtsp::server::track_control;
use crate::track::{CodecConfig, G711Law, StreamFormat, TrackInfo, TrackKind};

/// RTP payload type of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadType(pub u8);

/// The first dynamic payload type: video's (RFC 3551 s6); audio takes the next.
const VIDEO: PayloadType = PayloadType(96);
const AUDIO: PayloadType = PayloadType(97);

/// The payload type that a track's packets carry. Static where there is one (RFC 3551 table 4).
pub fn payload_type(track: &TrackInfo) -> PayloadType {
    match &track.codec {
        CodecConfig::G711 { law: G711Law::Mu, sample_rate: 8000, channels: 1 } => PayloadType(0),
        CodecConfig::G711 { law: G711Law::A, sample_rate: 8000, channels: 1 } => PayloadType(8),
        codec => match codec.kind() {
            TrackKind::Video => VIDEO,
            TrackKind::Audio => AUDIO,
        },
    }
}

/// The session description of all tracks that the camera sends, in the order of their ids. `name` is a path's: it holds
/// no character that would end a line.
pub fn describe(name: &str, format: &StreamFormat) -> String {
    let mut sdp = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns={name}\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
    );
    for (index, track) in format.source_tracks().enumerate() {
        let media = match track.codec.kind() {
            TrackKind::Video => "video",
            TrackKind::Audio => "audio",
        };
        let PayloadType(number) = payload_type(track);
        // Writing to a String can't fail.
        let _written = write!(sdp, "m={media} 0 RTP/AVP {number}\r\na=rtpmap:{number} {}\r\n", rtpmap(track));
        let parameters = fmtp(&track.codec);
        if !parameters.is_empty() {
            let _written = write!(sdp, "a=fmtp:{number} {parameters}\r\n");
        }
        let _written = write!(sdp, "a=control:{}\r\n", track_control(index));
    }
    sdp
}

/// Name, clock rate and channels.
fn rtpmap(track: &TrackInfo) -> String {
    let hz = track.timescale.hz();
    match &track.codec {
        CodecConfig::H264(_) => format!("H264/{hz}"),
        CodecConfig::H265(_) => format!("H265/{hz}"),
        CodecConfig::Aac(config) => format!("mpeg4-generic/{hz}/{}", config.channels),
        // RFC 7587 s7: always 2, whatever is sent.
        CodecConfig::Opus { .. } => format!("opus/{hz}/2"),
        CodecConfig::G711 { law, channels, .. } => {
            let name = match law {
                G711Law::A => "PCMA",
                G711Law::Mu => "PCMU",
            };
            if *channels == 1 { format!("{name}/{hz}") } else { format!("{name}/{hz}/{channels}") }
        }
    }
}

fn fmtp(codec: &CodecConfig) -> String {
    match codec {
        CodecConfig::H264(config) => {
            let mut text = String::from("packetization-mode=1");
            if !config.sps.is_empty() && !config.pps.is_empty() {
                let (sps, pps) = (STANDARD.encode(&config.sps), STANDARD.encode(&config.pps));
                let _written = write!(
                    text,
                    ";profile-level-id={:02X}{:02X}{:02X};sprop-parameter-sets={sps},{pps}",
                    config.profile_idc, config.constraint_flags, config.level_idc
                );
            }
            text
        }
        CodecConfig::H265(config) => {
            let sets = [("sprop-vps", &config.vps), ("sprop-sps", &config.sps), ("sprop-pps", &config.pps)];
            let known = sets.iter().filter(|(_, set)| !set.is_empty());
            known.map(|(name, set)| format!("{name}={}", STANDARD.encode(set))).collect::<Vec<_>>().join(";")
        }
        CodecConfig::Aac(config) => {
            let mut text = String::from(
                "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=",
            );
            for byte in &config.audio_specific_config {
                let _written = write!(text, "{byte:02X}");
            }
            text
        }
        CodecConfig::Opus { channels } => format!("sprop-stereo={}", u8::from(*channels > 1)),
        CodecConfig::G711 { .. } => String::new(),
    }
}
