//! Walk: from part to part of a file, reading only their heads.
//!
//! Used where the index does not reach: the torn end after a crash, and inside a GOP.

use std::io;

use media_core::remux::fmp4::read::{
    BOX_HEADER_BYTES, BoxHeader, FragmentHead, FragmentSummary, MOOF_BYTES_MAX, box_header, fragment_head,
    fragment_summary,
};

use crate::seal::{SEAL_BOX_BYTES, SEAL_BYTES, Seal, hash};
use crate::source::ReadAt;

/// A part as it lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartOnDisk {
    /// moof, mdat and the seal behind them.
    pub(crate) len_bytes: u64,
    /// What was written behind it when it was recorded.
    pub(crate) seal: Option<Seal>,
    /// Where the first sample begins.
    pub(crate) payload_offset: u64,
    /// What the mdat holds.
    pub(crate) payload_bytes: u64,
    pub(crate) summary: FragmentSummary,
}

/// What stands at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A whole part.
    Part(PartOnDisk),
    /// The index of a closed file, whole: nothing follows.
    Index,
    /// Nothing, or what a torn write left.
    Torn,
}

/// Reads a box header at `offset`; `None` when the file ends before it does or it is no header.
pub(crate) fn header_at(file: &impl ReadAt, offset: u64) -> io::Result<Option<BoxHeader>> {
    let mut bytes = [0; BOX_HEADER_BYTES];
    match file.read_exact_at(&mut bytes, offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| box_header(&bytes)),
    }
}

/// Looks at what stands at `offset` of a file of `len` bytes.
pub(crate) fn standing_at(file: &impl ReadAt, offset: u64, len: u64) -> io::Result<Standing> {
    let Some(moof) = header_at(file, offset)? else { return Ok(Standing::Torn) };
    let fits = |end: Option<u64>| end.is_some_and(|end| end <= len);
    let mdat_offset = offset.checked_add(moof.size);
    if !fits(mdat_offset) {
        return Ok(Standing::Torn);
    }
    if moof.kind == *b"mfra" {
        return Ok(Standing::Index);
    }
    let Some(mdat_offset) = mdat_offset.filter(|_| moof.kind == *b"moof" && moof.size <= MOOF_BYTES_MAX)
    else {
        return Ok(Standing::Torn);
    };
    let mut bytes = vec![0; usize::try_from(moof.size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    let Ok(summary) = fragment_summary(&bytes) else { return Ok(Standing::Torn) };
    let mdat = header_at(file, mdat_offset)?.filter(|mdat| mdat.kind == *b"mdat");
    let Some(mdat) = mdat.filter(|mdat| fits(mdat_offset.checked_add(mdat.size))) else {
        return Ok(Standing::Torn);
    };
    let seal = seal_at(file, mdat_offset + mdat.size, len)?;
    let sealed_bytes = if seal.is_some() { SEAL_BYTES } else { 0 };
    Ok(Standing::Part(PartOnDisk {
        len_bytes: moof.size + mdat.size + sealed_bytes,
        seal,
        payload_offset: mdat_offset + 8,
        payload_bytes: mdat.size - 8,
        summary,
    }))
}

/// The seal at `offset`, if there is a whole one before `end`.
pub(crate) fn seal_at(file: &impl ReadAt, offset: u64, end: u64) -> io::Result<Option<Seal>> {
    if offset.checked_add(SEAL_BYTES).is_none_or(|after| after > end) {
        return Ok(None);
    }
    let mut bytes = [0; SEAL_BOX_BYTES];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Seal::from_box(&bytes))
}

/// A part with all that its head says, for those who make clips of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartInFile {
    /// Where its moof begins.
    pub(crate) offset: u64,
    /// All that belongs to it.
    pub(crate) len_bytes: u64,
    pub(crate) seal: Option<Seal>,
    /// Where its mdat's payload begins, from `offset`.
    pub(crate) payload_offset: u32,
    pub(crate) payload_bytes: u64,
    pub(crate) head: FragmentHead,
}

/// Reads the head of the part at `offset`; `None` when there is no whole one before `end`.
pub(crate) fn part_at(file: &impl ReadAt, offset: u64, end: u64) -> io::Result<Option<PartInFile>> {
    let Standing::Part(part) = standing_at(file, offset, end)? else { return Ok(None) };
    let moof_bytes = part.payload_offset - offset - 8;
    let mut moof = vec![0; usize::try_from(moof_bytes).unwrap_or(0)];
    file.read_exact_at(&mut moof, offset)?;
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error} at {offset}"));
    let head = fragment_head(&moof).map_err(invalid)?;
    Ok(Some(PartInFile {
        offset,
        len_bytes: part.len_bytes,
        seal: part.seal,
        payload_offset: u32::try_from(part.payload_offset - offset).unwrap_or(u32::MAX),
        payload_bytes: part.payload_bytes,
        head,
    }))
}

/// Whether a part is what was written, by its seal and that of the part before. What a power cut left of it is not, zeros or half
/// a picture, nor is one whose seal did not reach the disk.
pub(crate) fn is_sealed(
    file: &impl ReadAt,
    offset: u64,
    part: &PartOnDisk,
    before: Seal,
) -> io::Result<bool> {
    let Some(seal) = part.seal else { return Ok(false) };
    let mut bytes = vec![0; usize::try_from(part.len_bytes - SEAL_BYTES).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(before.after(&hash(&[&bytes])) == seal)
}

/// The seal that ends at an offset.
pub(crate) fn seal_before(file: &impl ReadAt, end: u64) -> io::Result<Option<Seal>> {
    let Some(offset) = end.checked_sub(SEAL_BYTES) else { return Ok(None) };
    let mut bytes = [0; SEAL_BOX_BYTES];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(Seal::from_box(&bytes))
}
