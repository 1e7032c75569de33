//! H.264 payload format: single NAL unit, STAP-A, FU-A.
//!
//! Spec: RFC 6184 s5.3, s5.7.1, s5.8; packetization-mode 1.

use bytes::Bytes;

use super::nal::{Kind, NalCodec, Position};
use super::{ParameterSets, repeated};
use crate::track::H264Config;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The parameter sets to repeat: SPS, PPS, or none.
#[derive(Clone, Debug)]
pub(super) struct H264(Vec<Bytes>);

impl H264 {
    pub(super) fn new(config: &H264Config, parameter_sets: ParameterSets) -> Self {
        Self(repeated(&[&config.sps, &config.pps], parameter_sets))
    }
}

fn header(nal: &[u8]) -> u8 {
    nal.first().copied().unwrap_or(0)
}

impl NalCodec for H264 {
    const HEADER_BYTES: usize = 1;

    fn kind(nal: &[u8]) -> Kind {
        // ITU-T H.264 table 7-1; 24 and above are RTP's, 0 is nobody's.
        match header(nal) & 0x1f {
            0 | 24..=31 => Kind::Unsendable,
            1..=5 | 19..=21 => Kind::Slice,
            set @ (7 | 8) => Kind::ParameterSet(set),
            9 => Kind::Delimiter,
            _ => Kind::Other,
        }
    }

    fn aggregate_header(nals: &[&[u8]]) -> Vec<u8> {
        // RFC 6184 s5.7: F is set if any is, NRI is the highest.
        let forbidden = nals.iter().map(|nal| header(nal) & 0x80).max().unwrap_or(0);
        let nri = nals.iter().map(|nal| header(nal) & 0x60).max().unwrap_or(0);
        vec![forbidden | nri | STAP_A]
    }

    fn fragment_header(nal: &[u8], position: Position) -> Vec<u8> {
        vec![header(nal) & 0xe0 | FU_A, position.start_end_bits() | header(nal) & 0x1f]
    }

    fn parameter_sets(&self) -> Vec<&[u8]> {
        self.0.iter().map(AsRef::as_ref).collect()
    }
}
