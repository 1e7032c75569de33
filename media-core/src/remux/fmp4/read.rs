//! Read: what must be known of fragments that lie in a file: where they end, when they are, how they begin.
//!
//! Belongs here: boxes that we wrote, read back with the caution that a torn file needs. Does not: media of others,
//! files (-> storage).
//! Limits: [`MOOF_BYTES_MAX`].

use bytes::Buf as _;

/// The largest moof believed; a longer one is a torn or foreign file. A part of 1024 samples has 20 KiB.
pub const MOOF_BYTES_MAX: u64 = 4 << 20;
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
    /// Bytes of each sample, in file order from the start of the mdat payload.
    pub sample_bytes: Vec<u32>,
}

/// Reads a whole moof box of ours.
///
/// # Errors
/// [`ReadError`] says what is not as we write it.
pub fn fragment_summary(moof: &[u8]) -> Result<FragmentSummary, ReadError> {
    let traf = children(moof).find(|(header, _)| header.kind == *b"traf");
    let (_, traf) = traf.ok_or(ReadError::Missing { kind: "traf" })?;
    let child = |kind: &'static [u8; 4], name| {
        let found = children(traf).find(|(header, _)| header.kind == *kind);
        found.and_then(|(_, bytes)| bytes.get(BOX_HEADER_BYTES..)).ok_or(ReadError::Missing { kind: name })
    };
    let mut tfdt = child(b"tfdt", "tfdt")?;
    let short = |_| ReadError::Short { kind: "tfdt" };
    if tfdt.try_get_u32().map_err(short)? != 1 << 24 {
        return Err(ReadError::Foreign { kind: "tfdt", what: "version" });
    }
    let base = tfdt.try_get_u64().map_err(short)?;
    let base_ticks =
        i64::try_from(base).map_err(|_| ReadError::Foreign { kind: "tfdt", what: "time beyond 63 bits" })?;
    let mut summary = FragmentSummary { base_ticks, is_independent: true, ..FragmentSummary::default() };
    trun(child(b"trun", "trun")?, &mut summary)?;
    Ok(summary)
}

fn trun(mut body: &[u8], summary: &mut FragmentSummary) -> Result<(), ReadError> {
    const NON_SYNC: u32 = 0x0001_0000;
    let short = |_| ReadError::Short { kind: "trun" };
    let flags = body.try_get_u32().map_err(short)?;
    // Version 1 with data offset, durations and sizes; see `fragment`.
    if flags & 0xffff_f3ff != 0x0100_0301 {
        return Err(ReadError::Foreign { kind: "trun", what: "flags" });
    }
    let count = body.try_get_u32().map_err(short)?;
    body.try_get_u32().map_err(short)?;
    for index in 0..count {
        summary.duration_ticks += i64::from(body.try_get_u32().map_err(short)?);
        summary.sample_bytes.push(body.try_get_u32().map_err(short)?);
        let sample_flags = if flags & 0x400 != 0 { body.try_get_u32().map_err(short)? } else { 0 };
        let offset = if flags & 0x800 != 0 { body.try_get_i32().map_err(short)? } else { 0 };
        if index == 0 {
            summary.is_independent = sample_flags & NON_SYNC == 0;
            summary.composition_offset_ticks = i64::from(offset);
        }
    }
    Ok(())
}
