//! Continuity: what a recorded file says of itself: whose it is, when it begins and what it continues.
//!
//! A `uuid` box between `moov` and the first part, which every reader skips (ISO/IEC 14496-12 s11.1). With it the
//! catalogue can be made again from the files alone. MediaMTX keeps the like in `mtxi`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use media_core::egress::recorder::RunId;
use media_core::path_name::PathName;
use media_core::remux::fmp4::read::boxes;
use media_core::time::WallTime;

/// "gtvision.run.v1" and a zero: a fixed name for our box.
const UUID: [u8; 16] = *b"gtvision.run.v1\0";

/// Where a file belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continuity {
    pub(crate) path: PathName,
    pub(crate) run: RunId,
    pub(crate) number: u32,
    pub(crate) start: WallTime,
}

impl Continuity {
    /// As a box.
    pub(crate) fn to_box(&self) -> Bytes {
        let name = self.path.as_str().as_bytes();
        let size = 8 + UUID.len() + 8 + 4 + 8 + name.len();
        let mut out = BytesMut::with_capacity(size);
        out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
        out.put_slice(b"uuid");
        out.put_slice(&UUID);
        out.put_i64(self.run.0);
        out.put_u32(self.number);
        out.put_i64(self.start.unix_us());
        out.put_slice(name);
        out.freeze()
    }

    /// The box, as it stands at the beginning of a file.
    pub(crate) fn box_in(head: &[u8]) -> Option<&[u8]> {
        let is_ours = |bytes: &[u8]| bytes.get(8..24) == Some(&UUID);
        let found = boxes(head).find(|(header, bytes)| header.kind == *b"uuid" && is_ours(bytes));
        found.map(|(_, bytes)| bytes)
    }

    /// Found among the boxes at the beginning of a file.
    pub(crate) fn find(head: &[u8]) -> Option<Self> {
        let bytes = Self::box_in(head)?;
        let mut body = bytes.get(24..)?;
        let run = RunId(body.try_get_i64().ok()?);
        let number = body.try_get_u32().ok()?;
        let start = WallTime(body.try_get_i64().ok()?);
        let path = PathName::parse(std::str::from_utf8(body).ok()?).ok()?;
        Some(Self { path, run, number, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn box_is_found_again_and_a_torn_one_is_not() {
        let path = PathName::parse("city/cam_1").unwrap();
        let said = Continuity { path, run: RunId(-7), number: 3, start: WallTime(1_795_635_005_000_123) };
        let bytes = said.to_box();
        assert_eq!(Continuity::find(&bytes), Some(said));
        assert_eq!(Continuity::find(&bytes[..bytes.len() - 1]), None);
    }
}
