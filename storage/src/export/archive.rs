//! Archive: a ZIP whose entries are stored as they are, written so that every byte of it follows from names, sizes and
//! contents.
//!
//! ```text
//!  local header, contents │ local header, contents │ ... │ directory │ end
//! ```
//!
//! So a check can make each header again and compare. Always with 64-bit sizes: a day of video is more than 4 GB.
//! Spec: APPNOTE.TXT 6.3.10 s4.3. Not used: compression, data descriptors, comments, times.

use bytes::{Buf as _, BufMut as _};

/// 2026-01-01 in MS-DOS form: the manifest says when.
const DATE: u16 = ((2026 - 1980) << 9) | (1 << 5) | 1;
/// Version 4.5: 64-bit sizes.
const VERSION: u16 = 45;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
const LOCAL: u32 = 0x504b_0304;
const CENTRAL: u32 = 0x504b_0102;
const END64: u32 = 0x504b_0606;
const LOCATOR: u32 = 0x504b_0607;
const END: u32 = 0x504b_0506;
/// Before a local header's name.
const LOCAL_FIXED_BYTES: usize = 30;
/// Behind it: the field with the 64-bit sizes.
const LOCAL_EXTRA_BYTES: usize = 20;
/// A name believed.
const NAME_BYTES_MAX: usize = 1024;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Where its local header begins.
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Entry {
    pub(super) fn header_bytes(&self) -> u64 {
        u64::try_from(LOCAL_FIXED_BYTES + self.name.len() + LOCAL_EXTRA_BYTES).unwrap_or(u64::MAX)
    }

    /// Where its contents begin.
    pub(super) fn contents_at(&self) -> u64 {
        self.at.saturating_add(self.header_bytes())
    }

    /// Where the next entry begins.
    pub(super) fn end(&self) -> u64 {
        self.contents_at().saturating_add(self.bytes)
    }

    pub(super) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u32(LOCAL);
        self.put_common(&mut out);
        out.put_u16_le(small(LOCAL_EXTRA_BYTES));
        out.put_slice(self.name.as_bytes());
        out.put_u16_le(1);
        out.put_u16_le(16);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.bytes);
        out
    }

    /// From version to the length of the name, as both kinds of header have it.
    fn put_common(&self, out: &mut Vec<u8>) {
        out.put_u16_le(VERSION);
        out.put_u16_le(FLAGS);
        out.put_u16_le(0);
        out.put_u16_le(0);
        out.put_u16_le(DATE);
        out.put_u32_le(self.crc);
        out.put_u32_le(u32::MAX);
        out.put_u32_le(u32::MAX);
        out.put_u16_le(small(self.name.len()));
    }

    fn put_central(&self, out: &mut Vec<u8>) {
        out.put_u32(CENTRAL);
        out.put_u16_le(VERSION);
        self.put_common(out);
        out.put_u16_le(28);
        out.put_u16_le(0);
        out.put_u16_le(0);
        out.put_u16_le(0);
        out.put_u32_le(0);
        out.put_u32_le(u32::MAX);
        out.put_slice(self.name.as_bytes());
        out.put_u16_le(1);
        out.put_u16_le(24);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.at);
    }

    /// Reads a local header at `at`; `None` when there is none of ours.
    pub(super) fn parse(at: u64, mut bytes: &[u8]) -> Option<Self> {
        if bytes.try_get_u32().ok()? != LOCAL {
            return None;
        }
        bytes = bytes.get(10..)?;
        let crc = bytes.try_get_u32_le().ok()?;
        bytes = bytes.get(8..)?;
        let name_bytes = usize::from(bytes.try_get_u16_le().ok()?);
        bytes = bytes.get(2..)?;
        let (name, mut extra) = bytes.split_at_checked(name_bytes)?;
        let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= NAME_BYTES_MAX)?.to_owned();
        extra = extra.get(4..)?;
        Some(Self { name, at, bytes: extra.try_get_u64_le().ok()?, crc })
    }

    /// How much must be read for [`Entry::parse`].
    pub(super) const HEADER_BYTES_MAX: usize = LOCAL_FIXED_BYTES + NAME_BYTES_MAX + LOCAL_EXTRA_BYTES;
}

/// What follows the last entry.
pub(super) fn directory(entries: &[Entry]) -> Vec<u8> {
    let at = entries.last().map_or(0, Entry::end);
    let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    entries.iter().for_each(|entry| entry.put_central(&mut out));
    let bytes = u64::try_from(out.len()).unwrap_or(u64::MAX);
    out.put_u32(END64);
    out.put_u64_le(44);
    out.put_u16_le(VERSION);
    out.put_u16_le(VERSION);
    out.put_u32_le(0);
    out.put_u32_le(0);
    out.put_u64_le(count);
    out.put_u64_le(count);
    out.put_u64_le(bytes);
    out.put_u64_le(at);
    out.put_u32(LOCATOR);
    out.put_u32_le(0);
    out.put_u64_le(at.saturating_add(bytes));
    out.put_u32_le(1);
    out.put_u32(END);
    out.put_u16_le(0);
    out.put_u16_le(0);
    out.put_u16_le(u16::MAX);
    out.put_u16_le(u16::MAX);
    out.put_u32_le(u32::MAX);
    out.put_u32_le(u32::MAX);
    out.put_u16_le(0);
    out
}

/// Names are shorter than [`NAME_BYTES_MAX`].
fn small(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
