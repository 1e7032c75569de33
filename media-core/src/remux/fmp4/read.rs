//! Read: what must be known of fragments that lie in a file: where they end, when they are, how they begin.
//!
//! Belongs here: boxes that we wrote, read back with the caution that a torn file needs. Does not: media of others,
//! files (-> storage).
//! Limits: [`MOOF_BYTES_MAX`].

use bytes::Buf as _;

/// The largest moof believed; a longer one is a torn or foreign file. A part of 1024 samples has 20 KiB.
pub const MOOF_BYTES_MAX: u64 = 4 << 20;
/// The latest decode time believed: with all that a part may last added to it, it is far from the end of `i64`.
const BASE_TICKS_MAX: i64 = 1 << 62;
/// A box header with a 32-bit size.
pub const BOX_HEADER_BYTES: usize = 8;

/// Bytes are not the boxes they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A box ends before its fields do.
    #[error("box {kind} is cut short")]
    Short {
        /// Its type.
        kind: &'static str,
    },
    /// A box that must be there is not.
    #[error("no {kind} box")]
    Missing {
        /// Its type.
        kind: &'static str,
    },
    /// A form that we never write.
    #[error("box {kind} has a form that is not ours: {what}")]
    Foreign {
        /// Its type.
        kind: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The box library refused.
    #[error("boxes cannot be read: {reason}")]
    Boxes {
        /// What it said.
        reason: String,
    },
}

/// A box's type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxHeader {
    /// Four characters.
    pub kind: [u8; 4],
    /// Header and body together.
    pub size: u64,
}

/// Reads a box header; `None` when there are too few bytes or the size is smaller than the header.
///
/// Sizes of 64 bits and "to the end of the file" are never written here and count as nonsense.
pub fn box_header(mut bytes: &[u8]) -> Option<BoxHeader> {
    let size = u64::from(bytes.try_get_u32().ok()?);
    let kind = bytes.try_get_u32().ok()?.to_be_bytes();
    (size >= 8).then_some(BoxHeader { kind, size })
}

/// The boxes that lie whole in `bytes`, one after the other.
pub fn boxes(bytes: &[u8]) -> impl Iterator<Item = (BoxHeader, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = box_header(rest)?;
        let (this, after) = rest.split_at_checked(usize::try_from(header.size).ok()?)?;
        rest = after;
        Some((header, this))
    })
}

/// The children of a box whose body begins with them.
fn children(bytes: &[u8]) -> impl Iterator<Item = (BoxHeader, &[u8])> {
    boxes(bytes.get(BOX_HEADER_BYTES..).unwrap_or_default())
}

/// What a fragment says of its leading track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FragmentSummary {
    /// Decode time of the first sample.
    pub base_ticks: i64,
    /// All samples together.
    pub duration_ticks: i64,
    /// Presentation minus decode time of the first sample.
    pub composition_offset_ticks: i64,
    /// It begins with a sync sample.
    pub is_independent: bool,
}

/// Reads a whole moof box of ours.
///
/// # Errors
/// [`ReadError`] says what is not as we write it.
pub fn fragment_summary(moof: &[u8]) -> Result<FragmentSummary, ReadError> {
    let traf = children(moof).find(|(header, _)| header.kind == *b"traf");
    let (_, traf) = traf.ok_or(ReadError::Missing { kind: "traf" })?;
    let lead = track_head(traf)?;
    let first = lead.samples.first();
    Ok(FragmentSummary {
        base_ticks: lead.base_ticks,
        duration_ticks: lead.samples.iter().map(|sample| i64::from(sample.duration_ticks)).sum(),
        composition_offset_ticks: first.map_or(0, |sample| i64::from(sample.composition_offset_ticks)),
        is_independent: first.is_none_or(|sample| sample.is_sync),
    })
}

/// One sample as its fragment's head says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleHead {
    /// To the next sample's decode time.
    pub duration_ticks: u32,
    /// Its bytes.
    pub size_bytes: u32,
    /// Decoding can start here.
    pub is_sync: bool,
    /// Presentation minus decode time.
    pub composition_offset_ticks: i32,
}

/// One track's samples in a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackHead {
    /// Its number in the init segment.
    pub track_id: u32,
    /// Decode time of the first sample.
    pub base_ticks: i64,
    /// Where the first sample begins, from the start of the moof.
    pub data_offset: u32,
    /// The samples, one behind the other.
    pub samples: Vec<SampleHead>,
}

/// Everything that a moof of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentHead {
    /// mfhd's.
    pub sequence_number: u32,
    /// In the order of their payloads.
    pub tracks: Vec<TrackHead>,
}

/// Reads all of a whole moof box of ours.
///
/// # Errors
/// [`ReadError`] says what is not as we write it.
pub fn fragment_head(moof: &[u8]) -> Result<FragmentHead, ReadError> {
    let mfhd = children(moof).find(|(header, _)| header.kind == *b"mfhd");
    let mut mfhd = mfhd.and_then(|(_, bytes)| bytes.get(12..)).ok_or(ReadError::Missing { kind: "mfhd" })?;
    let sequence_number = mfhd.try_get_u32().map_err(|_| ReadError::Short { kind: "mfhd" })?;
    let trafs = children(moof).filter(|(header, _)| header.kind == *b"traf");
    let tracks = trafs.map(|(_, traf)| track_head(traf)).collect::<Result<_, _>>()?;
    Ok(FragmentHead { sequence_number, tracks })
}

fn track_head(traf: &[u8]) -> Result<TrackHead, ReadError> {
    let mut tfhd = body_of(traf, b"tfhd", "tfhd")?.get(4..).unwrap_or_default();
    let track_id = tfhd.try_get_u32().map_err(|_| ReadError::Short { kind: "tfhd" })?;
    let base_ticks = base_ticks(body_of(traf, b"tfdt", "tfdt")?)?;
    let (data_offset, samples) = trun(body_of(traf, b"trun", "trun")?)?;
    Ok(TrackHead { track_id, base_ticks, data_offset, samples })
}

fn body_of<'a>(traf: &'a [u8], kind: &[u8; 4], name: &'static str) -> Result<&'a [u8], ReadError> {
    let found = children(traf).find(|(header, _)| header.kind == *kind);
    found.and_then(|(_, bytes)| bytes.get(BOX_HEADER_BYTES..)).ok_or(ReadError::Missing { kind: name })
}

fn base_ticks(mut tfdt: &[u8]) -> Result<i64, ReadError> {
    let short = |_| ReadError::Short { kind: "tfdt" };
    if tfdt.try_get_u32().map_err(short)? != 1 << 24 {
        return Err(ReadError::Foreign { kind: "tfdt", what: "version" });
    }
    let base = i64::try_from(tfdt.try_get_u64().map_err(short)?).ok().filter(|base| *base <= BASE_TICKS_MAX);
    base.ok_or(ReadError::Foreign { kind: "tfdt", what: "time beyond 62 bits" })
}

/// The data offset and the samples.
fn trun(mut body: &[u8]) -> Result<(u32, Vec<SampleHead>), ReadError> {
    const NON_SYNC: u32 = 0x0001_0000;
    let short = |_| ReadError::Short { kind: "trun" };
    let flags = body.try_get_u32().map_err(short)?;
    // Version 1 with data offset, durations and sizes; see `fragment`.
    if flags & 0xffff_f3ff != 0x0100_0301 {
        return Err(ReadError::Foreign { kind: "trun", what: "flags" });
    }
    let count = body.try_get_u32().map_err(short)?;
    let data_offset = body.try_get_u32().map_err(short)?;
    let mut samples = Vec::new();
    for _ in 0..count {
        let duration_ticks = body.try_get_u32().map_err(short)?;
        let size_bytes = body.try_get_u32().map_err(short)?;
        let sample_flags = if flags & 0x400 != 0 { body.try_get_u32().map_err(short)? } else { 0 };
        let composition_offset_ticks =
            if flags & 0x800 != 0 { body.try_get_i32().map_err(short)? } else { 0 };
        let is_sync = sample_flags & NON_SYNC == 0;
        samples.push(SampleHead { duration_ticks, size_bytes, is_sync, composition_offset_ticks });
    }
    Ok((data_offset, samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moof of one sample that is decoded at `base_ticks`.
    fn moof(base_ticks: u64) -> Vec<u8> {
        let boxed = |kind: &[u8; 4], body: &[u8]| {
            let size = u32::try_from(8 + body.len()).unwrap().to_be_bytes();
            [&size[..], kind, body].concat()
        };
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let tfdt = [&words(&[1 << 24])[..], &base_ticks.to_be_bytes()].concat();
        let trun = words(&[0x0100_0301, 1, 100, u32::MAX, 5]);
        let traf = [boxed(b"tfhd", &words(&[0, 1])), boxed(b"tfdt", &tfdt), boxed(b"trun", &trun)].concat();
        boxed(b"moof", &[boxed(b"mfhd", &words(&[0, 7])), boxed(b"traf", &traf)].concat())
    }

    #[test]
    fn a_time_that_only_a_flipped_bit_can_say_is_told_and_not_counted_on_from() {
        let whole = fragment_head(&moof(90_000)).unwrap();
        assert_eq!(whole.tracks[0].end_ticks(), 90_000 + i64::from(u32::MAX));
        for base_ticks in [u64::MAX, i64::MAX.unsigned_abs(), (1 << 62) + 1] {
            let fault = ReadError::Foreign { kind: "tfdt", what: "time beyond 62 bits" };
            assert_eq!(fragment_head(&moof(base_ticks)), Err(fault.clone()));
            assert_eq!(fragment_summary(&moof(base_ticks)), Err(fault));
        }
    }
}
