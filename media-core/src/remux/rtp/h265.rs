//! H.265 payload format: single NAL unit, AP, FU.
//!
//! Spec: RFC 7798 s4.4.1 to s4.4.3; no DONL (sprop-max-don-diff is 0).

use bytes::Bytes;

use super::nal::{Kind, NalCodec, Position};
use super::{ParameterSets, repeated};
use crate::track::H265Config;

const AP: u8 = 48;
const FU: u8 = 49;

/// The parameter sets to repeat: VPS, SPS, PPS, or none.
#[derive(Clone, Debug)]
pub(super) struct H265(Vec<Bytes>);

impl H265 {
    pub(super) fn new(config: &H265Config, parameter_sets: ParameterSets) -> Self {
        Self(repeated(&[&config.vps, &config.sps, &config.pps], parameter_sets))
    }
}

fn header(nal: &[u8]) -> [u8; 2] {
    nal.first_chunk().copied().unwrap_or_default()
}

fn nal_type(nal: &[u8]) -> u8 {
    (header(nal)[0] >> 1) & 0x3f
}

/// F bit and the layer's top bit around a payload type of our own.
fn with_type(header: [u8; 2], payload_type: u8) -> [u8; 2] {
    [header[0] & 0x81 | payload_type << 1, header[1]]
}

impl NalCodec for H265 {
    const HEADER_BYTES: usize = 2;

    fn kind(nal: &[u8]) -> Kind {
        // ITU-T H.265 table 7-1; 48 and above are RTP's.
        match nal_type(nal) {
            _ if nal.len() < 2 => Kind::Unsendable,
            48..=63 => Kind::Unsendable,
            0..=31 => Kind::Slice,
            set @ 32..=34 => Kind::ParameterSet(set),
            35 => Kind::Delimiter,
            _ => Kind::Other,
        }
    }

    fn aggregate_header(nals: &[&[u8]]) -> Vec<u8> {
        // RFC 7798 s4.4.2: F is set if any is, LayerId and TID are the lowest.
        let joined = |nal: &&[u8]| u16::from_be_bytes(header(nal));
        let forbidden = nals.iter().map(|nal| joined(nal) & 0x8000).max().unwrap_or(0);
        let layer = nals.iter().map(|nal| joined(nal) & 0x01f8).min().unwrap_or(0);
        let temporal = nals.iter().map(|nal| joined(nal) & 0x0007).min().unwrap_or(1);
        with_type((forbidden | layer | temporal).to_be_bytes(), AP).to_vec()
    }

    fn fragment_header(nal: &[u8], position: Position) -> Vec<u8> {
        let [first, second] = with_type(header(nal), FU);
        vec![first, second, position.start_end_bits() | nal_type(nal)]
    }

    fn parameter_sets(&self) -> Vec<&[u8]> {
        self.0.iter().map(AsRef::as_ref).collect()
    }
}
