//! Key frame: one picture with all that a decoder needs to show it.
//!
//! Made from the ring (live) and from recorded files; decoded by the server's decode pool and nobody else.
//!
//! Belongs here: what is handed to a decoder. Does not: decoding (-> server), which pictures are (-> egress).

use bytes::Bytes;

use crate::access_unit::AccessUnit;
use crate::codec::nal::length_prefixed;
use crate::codec::vui::Display;
use crate::codec::{h264, h265};
use crate::time::WallTime;
use crate::track::{CodecConfig, StreamFormat};

/// How a picture is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureCodec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
}

/// A picture at which decoding can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFrame {
    /// How it is coded.
    pub codec: PictureCodec,
    /// NAL units that a decoder needs first; the picture may bring newer ones.
    pub parameter_sets: Vec<Bytes>,
    /// Its NAL units, each behind its length in 4 bytes, as the camera sent them.
    pub payload: Bytes,
    /// When it was taken.
    pub wall: WallTime,
}

impl KeyFrame {
    /// A unit of a stream; `None` when it is sound or can't be decoded on its own.
    pub fn of(format: &StreamFormat, unit: &AccessUnit) -> Option<Self> {
        let track = format.track(unit.track).filter(|_| unit.is_random_access)?;
        let (codec, parameter_sets) = match &track.codec {
            CodecConfig::H264(config) => (PictureCodec::H264, vec![config.sps.clone(), config.pps.clone()]),
            CodecConfig::H265(config) => {
                let sets = vec![config.vps.clone(), config.sps.clone(), config.pps.clone()];
                (PictureCodec::H265, sets)
            }
            CodecConfig::Aac(_) | CodecConfig::Opus { .. } | CodecConfig::G711 { .. } => return None,
        };
        Some(Self { codec, parameter_sets, payload: unit.payload.clone(), wall: unit.wall })
    }

    /// What a decoder is to be given, in order: parameter sets and slices. The rest (SEI, delimiters) shows nothing.
    pub fn nal_units(&self) -> impl Iterator<Item = &[u8]> {
        let sets = self.parameter_sets.iter().map(|set| set.as_ref());
        sets.chain(length_prefixed(&self.payload)).filter(|nal| self.is_needed(nal))
    }

    fn is_needed(&self, nal: &[u8]) -> bool {
        let Some(header) = nal.first().copied() else { return false };
        match self.codec {
            PictureCodec::H264 => matches!(
                h264::nal_type(header),
                h264::NAL_SLICE | h264::NAL_IDR | h264::NAL_SPS | h264::NAL_PPS
            ),
            PictureCodec::H265 => {
                let kind = h265::nal_type(header);
                // Slices stand before the parameter sets.
                kind < h265::NAL_VPS || matches!(kind, h265::NAL_VPS | h265::NAL_SPS | h265::NAL_PPS)
            }
        }
    }

    /// How it is to be shown, as its newest parameter set says; the usual where that can't be read.
    pub fn display(&self) -> Display {
        let display = |nal: &[u8]| match self.codec {
            PictureCodec::H264 => h264::Sps::parse(nal).ok().map(|sps| sps.display),
            PictureCodec::H265 => h265::Sps::parse(nal).ok().map(|sps| sps.display),
        };
        self.nal_units().filter_map(display).last().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoder_is_given_sets_and_slices_only() {
        let nal = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        // Delimiter, SEI, a newer PPS, two slices.
        let payload =
            [nal(&[9, 0xf0]), nal(&[6, 5, 0, 0x80]), nal(&[0x68, 1]), nal(&[0x65, 2]), nal(&[0x65, 3])];
        let frame = KeyFrame {
            codec: PictureCodec::H264,
            parameter_sets: vec![Bytes::from_static(&[0x67, 7]), Bytes::from_static(&[0x68, 8])],
            payload: payload.concat().into(),
            wall: WallTime(0),
        };
        let given: Vec<&[u8]> = frame.nal_units().collect();
        assert_eq!(given, [&[0x67, 7][..], &[0x68, 8], &[0x68, 1], &[0x65, 2], &[0x65, 3]]);
        assert_eq!(frame.display(), Display::default());
    }
}
