//! Records: parameter sets as FLV carries them, in the decoder configuration records of ISO/IEC 14496-15; and Opus' own head.
//!
//! Spec: ISO/IEC 14496-15 s5.3.3.1 (avcC), s8.3.3.1 (hvcC); RFC 7845 s5.1 (OpusHead).
//! Limits: `PARAMETER_SETS_MAX` NAL units a record, `PARAMETER_SET_BYTES_MAX` each; more are left out.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::codec::PARAMETER_SET_BYTES_MAX;
use crate::codec::h265::{NAL_PPS, NAL_SPS, NAL_VPS};
use crate::ingest::PARAMETER_SETS_MAX;
use crate::track::{H264Config, H265Config};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Parameter sets, and what SEI stands with them.
    pub nals: Vec<Bytes>,
    /// Bytes of the length in front of each NAL unit of the pictures: 1, 2 or 4.
    pub length_bytes: usize,
}

/// Reads an avcC; `None` when it makes no sense.
pub fn read_avc(record: &Bytes) -> Option<Record> {
    let mut reader = Reader { record, at: 4 };
    let length_bytes = length_bytes(reader.byte()?)?;
    let mut nals = Vec::new();
    let sps = reader.byte()? & 0x1f;
    reader.nals(sps.into(), &mut nals)?;
    let pps = reader.byte()?;
    reader.nals(pps.into(), &mut nals)?;
    Some(Record { nals, length_bytes })
}

/// Reads an hvcC; `None` when it makes no sense.
pub fn read_hevc(record: &Bytes) -> Option<Record> {
    let mut reader = Reader { record, at: 21 };
    let length_bytes = length_bytes(reader.byte()?)?;
    let mut nals = Vec::new();
    for _ in 0..reader.byte()? {
        reader.byte()?;
        let count = reader.word()?;
        reader.nals(count.into(), &mut nals)?;
    }
    Some(Record { nals, length_bytes })
}

fn length_bytes(byte: u8) -> Option<usize> {
    match byte & 3 {
        2 => None,
        minus_one => Some(usize::from(minus_one) + 1),
    }
}

struct Reader<'a> {
    record: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.record.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn nals(&mut self, count: usize, nals: &mut Vec<Bytes>) -> Option<()> {
        for _ in 0..count {
            let end = usize::from(self.word()?) + self.at;
            if end > self.record.len() {
                return None;
            }
            let nal = self.record.slice(self.at..end);
            self.at = end;
            if nals.len() < PARAMETER_SETS_MAX && (1..=PARAMETER_SET_BYTES_MAX).contains(&nal.len()) {
                nals.push(nal);
            }
        }
        Some(())
    }
}

/// The avcC of a configuration, for pictures with lengths of 4 bytes.
pub fn write_avc(config: &H264Config) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&[1, config.profile_idc, config.constraint_flags, config.level_idc, 0xff, 0xe1]);
    write_nal(&mut out, &config.sps);
    out.put_u8(1);
    write_nal(&mut out, &config.pps);
    out.freeze()
}

/// The hvcC of a configuration, for pictures with lengths of 4 bytes.
pub fn write_hevc(config: &H265Config) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(&[1, config.general_profile]);
    out.put_u32(config.profile_compatibility);
    out.put_slice(&config.constraint_indicator);
    // No segmentation said, kind of parallelism unknown.
    out.put_slice(&[config.level_idc, 0xf0, 0, 0xfc, 0xfc | config.chroma_format_idc]);
    out.put_slice(&[0xf8 | config.bit_depth_luma_minus8, 0xf8 | config.bit_depth_chroma_minus8]);
    // Frame rate not said; one temporal layer, nested; lengths of 4 bytes.
    out.put_slice(&[0, 0, 0b0000_1111, 3]);
    for (nal_type, nal) in [(NAL_VPS, &config.vps), (NAL_SPS, &config.sps), (NAL_PPS, &config.pps)] {
        out.put_u8(0x80 | nal_type);
        out.put_u16(1);
        write_nal(&mut out, nal);
    }
    out.freeze()
}

fn write_nal(out: &mut BytesMut, nal: &[u8]) {
    // Ingest takes none that is longer.
    let length = u16::try_from(nal.len()).unwrap_or(u16::MAX);
    out.put_u16(length);
    out.put_slice(nal.get(..length.into()).unwrap_or_default());
}

/// Channels that an OpusHead says.
pub fn read_opus(record: &[u8]) -> Option<u8> {
    let head = record.strip_prefix(b"OpusHead")?;
    head.get(1).copied().filter(|channels| *channels > 0)
}

/// An OpusHead: nothing is skipped, at 48 kHz, as it is.
pub fn write_opus(channels: u8) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"OpusHead");
    out.put_slice(&[1, channels]);
    out.put_u16_le(0);
    out.put_u32_le(48_000);
    out.put_slice(&[0, 0, 0]);
    out.freeze()
}

/// NAL units behind lengths of 4 bytes, whatever they had; what is cut off is left out.
pub(crate) fn with_long_lengths(mut nals: Bytes, length_bytes: usize) -> Bytes {
    if length_bytes == 4 {
        return nals;
    }
    let mut out = BytesMut::with_capacity(nals.len() + nals.len() / 8);
    while nals.len() >= length_bytes {
        let length = nals.get_uint(length_bytes);
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(nals.len());
        if length == 0 {
            continue;
        }
        out.put_u32(u32::try_from(length).unwrap_or(0));
        out.put_slice(&nals.split_to(length));
    }
    out.freeze()
}
