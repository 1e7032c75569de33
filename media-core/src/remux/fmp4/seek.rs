//! Seek: what turns parts into a file that plays from the right time and is quick to seek.
//!
//! - [`presented_from`] gives an init segment an edit list, so that a file or clip whose first part has a late decode
//!   time plays from zero, and pictures before the asked time are decoded without being shown. The parts themselves
//!   stay as they were made, byte for byte.
//! - [`random_access_index`] is the `mfra` box at the end of a closed file. Not `sidx`: that stands before what it
//!   indexes, so room for it would have to be guessed at the start and filled in place; `mfra` is appended, and a
//!   file that never got it is whole as well.
//!
//! Spec: ISO/IEC 14496-12 s8.6.6 (elst), s8.2.2 (mvhd), s8.8.9 to s8.8.11 (mfra, tfra, mfro).

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use mp4_atom::{Decode as _, Edts, Elst, ElstEntry, Encode as _, Moov};

use super::read::{ReadError, boxes};
use crate::time::{Timescale, rescale};

/// An init segment whose presentation begins at `pts_ticks` of its first track.
///
/// `duration` goes into `mvhd`; without one it is 0, as for a file still being written. The length of the
/// result does not depend on it, so that it can be filled in later at the same place.
///
/// # Errors
/// [`ReadError`] when `init` is no `ftyp` and `moov`.
pub fn presented_from(init: &[u8], pts_ticks: i64, duration: Option<Duration>) -> Result<Bytes, ReadError> {
    let fault = |error: mp4_atom::Error| ReadError::Boxes { reason: error.to_string() };
    let mut out = Vec::with_capacity(init.len() + 256);
    let mut found = false;
    for (header, bytes) in boxes(init) {
        if header.kind != *b"moov" {
            out.extend_from_slice(bytes);
            continue;
        }
        let mut moov = Moov::decode(&mut &*bytes).map_err(fault)?;
        let lead_hz = moov.trak.first().map_or(1, |trak| trak.mdia.mdhd.timescale);
        for trak in &mut moov.trak {
            let start = rescale(pts_ticks, lead_hz, trak.mdia.mdhd.timescale);
            let entry = ElstEntry {
                // The rest of the media, fragments included.
                segment_duration: 0,
                media_time: Some(u64::try_from(start).unwrap_or(0)),
                media_rate: 1.into(),
            };
            trak.edts = Some(Edts { elst: Some(Elst { entries: vec![entry] }) });
        }
        let millis = duration.unwrap_or_default().as_millis() * u128::from(moov.mvhd.timescale) / 1000;
        moov.mvhd.duration = u64::try_from(millis).unwrap_or(u64::MAX);
        moov.encode(&mut out).map_err(fault)?;
        found = true;
    }
    if found { Ok(out.into()) } else { Err(ReadError::Missing { kind: "moov" }) }
}

/// What an init segment says of its leading track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeadTrack {
    /// Unit of its times.
    pub timescale: Timescale,
    /// Pictures, in NAL units; else sound.
    pub is_video: bool,
}

/// Reads the leading track of what begins with an init segment.
///
/// # Errors
/// [`ReadError`] when there is none.
pub fn lead_track(head: &[u8]) -> Result<LeadTrack, ReadError> {
    let moov = boxes(head).find(|(header, _)| header.kind == *b"moov");
    let (_, mut bytes) = moov.ok_or(ReadError::Missing { kind: "moov" })?;
    let moov = Moov::decode(&mut bytes).map_err(|error| ReadError::Boxes { reason: error.to_string() })?;
    let trak = moov.trak.first().ok_or(ReadError::Missing { kind: "trak" })?;
    let timescale = Timescale::new(trak.mdia.mdhd.timescale);
    Ok(LeadTrack {
        timescale: timescale.ok_or(ReadError::Foreign { kind: "mdhd", what: "timescale of 0" })?,
        is_video: trak.mdia.hdlr.handler == b"vide".into(),
    })
}

/// A random access point of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomAccess {
    /// Presentation time of its first picture, ticks of the leading track.
    pub pts_ticks: i64,
    /// Where its moof begins, from the start of the file.
    pub offset: u64,
}

/// The `mfra` box of a file: the random access points of its leading track.
pub fn random_access_index(points: impl ExactSizeIterator<Item = RandomAccess>) -> Bytes {
    const TFRA_FIXED: usize = 24;
    const ENTRY: usize = 8 + 8 + 3;
    const MFRO: usize = 16;
    let tfra = TFRA_FIXED + points.len() * ENTRY;
    let whole = 8 + tfra + MFRO;
    let mut out = BytesMut::with_capacity(whole);
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    out.put_u32(size(whole));
    out.put_slice(b"mfra");
    out.put_u32(size(tfra));
    out.put_slice(b"tfra");
    out.put_u32(1 << 24);
    // The leading track is the first; traf, trun and sample numbers take a byte each.
    out.put_u32(1);
    out.put_u32(0);
    out.put_u32(size(points.len()));
    for RandomAccess { pts_ticks, offset } in points {
        out.put_u64(u64::try_from(pts_ticks).unwrap_or(0));
        out.put_u64(offset);
        out.put_slice(&[1, 1, 1]);
    }
    out.put_u32(size(MFRO));
    out.put_slice(b"mfro");
    out.put_u32(0);
    out.put_u32(size(whole));
    out.freeze()
}
