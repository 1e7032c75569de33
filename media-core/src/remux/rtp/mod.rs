//! RTP packetizer: access units to RTP payloads, once per stream and shared by all viewers.
//!
//! ```text
//!  AccessUnit ─► Packetizer ─► RtpPayload, RtpPayload, ... ─► each viewer adds its header, encrypts, sends
//! ```
//!
//! Each payload is one `Arc<[u8]>`: a viewer copies it once, to where it is encrypted and sent from; a list of
//! slices would be put together again for each of them. str0m's `RtpWrite` takes it too. The RTSP side writes the same bytes.
//!
//! Belongs here: payload formats. Does not: RTP headers, sequence numbers and timestamps (-> egress),
//! taking packets apart (-> rtp::depacketize).
//!
//! Invariants: no payload is longer than the limit given; NAL units keep their bytes and order
//! (correctness: F4); the marker is on the last packet of a picture alone, a fragment never has
//! start and end both set, aggregates hold no aggregates (correctness: R2).
//! Limits: [`PAYLOAD_BYTES_MIN`], [`NAL_UNITS_MAX`]; input is bounded by `ACCESS_UNIT_BYTES_MAX`.
//! Spec: RFC 6184 (H.264, mode 1), RFC 7798 (H.265), RFC 7587 (Opus), RFC 3551 (G.711),
//! RFC 3640 (AAC-hbr).

mod audio;
mod h264;
mod h265;
mod nal;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

use self::nal::NalCodec;
use crate::access_unit::AccessUnit;
use crate::track::{CodecConfig, TrackInfo};

/// The smallest limit accepted for a payload, in bytes; less would be mostly headers, and no path that
/// carries video is so narrow.
pub const PAYLOAD_BYTES_MIN: usize = 64;

/// The most NAL units in an access unit; one with more is an error. H.264 level 6.2 allows 600 slices
/// for a 4K picture, cameras send fewer than 40.
pub const NAL_UNITS_MAX: usize = 1024;

/// What follows the RTP header of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpPayload {
    /// The payload, to be shared as it is.
    pub payload: Arc<[u8]>,
    /// The RTP marker bit: video and AAC, the last packet of the access unit; G.711 and Opus, never
    /// (RFC 3551 s4.1: it would mark the end of a silence, and we suppress none).
    pub marker: bool,
    /// Ticks to add to the access unit's RTP timestamp: 0 for all but the later packets of a G.711
    /// access unit that was split.
    pub offset_ticks: u32,
}

/// Why an access unit was not packetized. It is lost for all viewers, and counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketizeError {
    /// The payload limit is below [`PAYLOAD_BYTES_MIN`].
    #[error("payload limit of {bytes} bytes, at least {PAYLOAD_BYTES_MIN}")]
    PayloadLimit {
        /// The limit asked for.
        bytes: usize,
    },
    /// A length in front of a NAL unit goes past the end of the access unit.
    #[error("nal unit at byte {offset} is longer than its access unit")]
    Framing {
        /// Where the length stands.
        offset: usize,
    },
    /// More than [`NAL_UNITS_MAX`] NAL units.
    #[error("more than {NAL_UNITS_MAX} nal units in an access unit")]
    NalUnits,
    /// One Opus packet or AAC frame is longer than the payload format can carry.
    #[error("audio frame of {bytes} bytes, at most {bytes_max}")]
    FrameLength {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// What is done about parameter sets that a random access unit does not carry itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterSets {
    /// Nothing: the session description carries them (RTSP).
    AsSent,
    /// The track's are sent before it, after its access unit delimiter (WebRTC, where a browser learns
    /// them in band alone).
    BeforeRandomAccess,
}

/// Packetizes the access units of one track.
#[derive(Clone, Debug)]
pub struct Packetizer {
    format: Format,
    payload_bytes_max: usize,
}

#[derive(Clone, Debug)]
enum Format {
    H264(h264::H264),
    H265(h265::H265),
    Aac,
    Opus,
    G711 { channels: usize },
}

impl Packetizer {
    /// A packetizer for `track` whose payloads have at most `payload_bytes_max` bytes (without RTP
    /// header, extensions and SRTP tag).
    ///
    /// # Errors
    ///
    /// [`PacketizeError::PayloadLimit`].
    pub fn new(
        track: &TrackInfo,
        payload_bytes_max: usize,
        parameter_sets: ParameterSets,
    ) -> Result<Self, PacketizeError> {
        if payload_bytes_max < PAYLOAD_BYTES_MIN {
            return Err(PacketizeError::PayloadLimit { bytes: payload_bytes_max });
        }
        let format = match &track.codec {
            CodecConfig::H264(config) => Format::H264(h264::H264::new(config, parameter_sets)),
            CodecConfig::H265(config) => Format::H265(h265::H265::new(config, parameter_sets)),
            CodecConfig::Aac(_) => Format::Aac,
            CodecConfig::Opus { .. } => Format::Opus,
            CodecConfig::G711 { channels, .. } => Format::G711 { channels: usize::from((*channels).max(1)) },
        };
        Ok(Self { format, payload_bytes_max })
    }

    /// The payloads of one access unit, in order; none when it holds nothing that RTP can carry.
    ///
    /// # Errors
    ///
    /// The access unit is malformed ([`PacketizeError::Framing`]) or an audio frame too long.
    pub fn packetize(&self, unit: &AccessUnit) -> Result<Vec<RtpPayload>, PacketizeError> {
        let max = self.payload_bytes_max;
        match &self.format {
            Format::H264(codec) => codec.packetize(unit, max),
            Format::H265(codec) => codec.packetize(unit, max),
            Format::Aac => audio::aac(&unit.payload, max),
            Format::Opus => audio::opus(&unit.payload, max),
            Format::G711 { channels } => Ok(audio::g711(&unit.payload, *channels, max)),
        }
    }
}

/// The parameter sets to repeat, of those that a track has.
fn repeated(sets: &[&Bytes], parameter_sets: ParameterSets) -> Vec<Bytes> {
    match parameter_sets {
        ParameterSets::AsSent => Vec::new(),
        ParameterSets::BeforeRandomAccess => {
            sets.iter().filter(|set| !set.is_empty()).map(|set| Bytes::clone(set)).collect()
        }
    }
}

/// One payload from its parts: one allocation and one copy.
fn payload(parts: &[&[u8]]) -> RtpPayload {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    let mut at = 0;
    for part in parts {
        let end = at + part.len();
        if let Some(place) = Arc::get_mut(&mut bytes).and_then(|bytes| bytes.get_mut(at..end)) {
            place.copy_from_slice(part);
        }
        at = end;
    }
    RtpPayload { payload: bytes, marker: false, offset_ticks: 0 }
}
