//! Index: where each GOP of a recorded file begins and how long it lasts, in a few bytes each.
//!
//! An entry begins with each random access point. Offsets and times are sums of what stands before, so an entry is
//! two variable-length numbers: about 5 bytes for a GOP of a second.
//!
//! Units: ticks of the leading track. Limits: `ENTRY_US_MIN`.

use crate::remux::fmp4::seek::RandomAccess;
use crate::time::Timescale;

/// An entry lasts at least this long: each part of a stream without video is a random access point.
const ENTRY_US_MIN: i64 = 500_000;
/// A number of 64 bits has no more bytes than this.
const VARINT_BYTES_MAX: u32 = 10;

/// One GOP of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GopEntry {
    /// Bytes of its parts.
    pub len_bytes: u64,
    /// Its duration.
    pub duration_ticks: i64,
    /// Presentation minus decode time of its first picture.
    pub composition_offset_ticks: i64,
    /// It begins with a random access point: all do, but for a file that a foreign hand changed.
    pub is_random_access: bool,
}

/// The facts of a part that an index is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedPart {
    /// Its bytes.
    pub len_bytes: u64,
    /// Its duration.
    pub duration_ticks: i64,
    /// Presentation minus decode time of its first picture.
    pub composition_offset_ticks: i64,
    /// It begins with a random access point.
    pub is_independent: bool,
}

/// Makes entries from parts.
#[derive(Clone, Debug, Default)]
pub struct IndexBuilder {
    open: Option<GopEntry>,
}

impl IndexBuilder {
    /// Adds the next part; the entry before comes back when it is complete.
    pub fn push(&mut self, part: IndexedPart, timescale: Timescale) -> Option<GopEntry> {
        let entry_min = timescale.us_to_ticks(ENTRY_US_MIN);
        let begins = |open: &GopEntry| part.is_independent && open.duration_ticks >= entry_min;
        match &mut self.open {
            Some(open) if !begins(open) => {
                open.len_bytes += part.len_bytes;
                open.duration_ticks += part.duration_ticks;
                None
            }
            _ => self.open.replace(GopEntry {
                len_bytes: part.len_bytes,
                duration_ticks: part.duration_ticks,
                composition_offset_ticks: part.composition_offset_ticks,
                is_random_access: part.is_independent,
            }),
        }
    }

    /// The entry that is not complete.
    pub fn open(&self) -> Option<GopEntry> {
        self.open
    }
}

/// An entry with its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedGop {
    /// Where its first moof begins, from the start of the file.
    pub offset: u64,
    /// Its decode time, ticks from the file's first.
    pub start_ticks: i64,
    /// The rest.
    pub entry: GopEntry,
}

/// Gives entries their places; the first part of the file is at `first_offset`.
pub fn place(entries: &[GopEntry], first_offset: u64) -> impl ExactSizeIterator<Item = PlacedGop> {
    let mut offset = first_offset;
    let mut start_ticks = 0;
    entries.iter().map(move |entry| {
        let placed = PlacedGop { offset, start_ticks, entry: *entry };
        offset += entry.len_bytes;
        start_ticks += entry.duration_ticks;
        placed
    })
}

impl PlacedGop {
    /// As a random access point of a file whose first decode time is `first_ticks`.
    pub fn random_access(&self, first_ticks: i64) -> RandomAccess {
        let pts_ticks = first_ticks + self.start_ticks + self.entry.composition_offset_ticks;
        RandomAccess { pts_ticks, offset: self.offset }
    }
}

/// Entries as bytes.
pub fn encode(entries: &[GopEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 6);
    for entry in entries {
        put(&mut out, entry.len_bytes);
        let duration = u64::try_from(entry.duration_ticks).unwrap_or(0);
        put(&mut out, (duration << 1) | u64::from(entry.is_random_access));
        put(&mut out, zigzag(entry.composition_offset_ticks));
    }
    out
}

/// Entries from bytes; `None` when they are no index.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<GopEntry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let len_bytes = take(&mut bytes)?;
        let duration = take(&mut bytes)?;
        let composition = take(&mut bytes)?;
        entries.push(GopEntry {
            len_bytes,
            duration_ticks: i64::try_from(duration >> 1).ok()?,
            composition_offset_ticks: unzigzag(composition),
            is_random_access: duration & 1 == 1,
        });
    }
    Some(entries)
}

fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// LEB128: seven bits a byte, the lowest first.
fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for position in 0..VARINT_BYTES_MAX {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f).checked_shl(7 * position)?;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
