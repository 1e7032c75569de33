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
use mp4_atom::{Codec, Decode as _, Edts, Elst, ElstEntry, Encode as _, Moov};

use super::read::{ReadError, boxes};
use crate::key_frame::PictureCodec;
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

/// What is shown of a track of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackEdit {
    /// The track.
    pub track_id: u32,
    /// Nothing is shown for so long first, ticks of the leading track.
    pub empty_ticks: i64,
    /// The presentation time that is shown then, ticks of the track.
    pub media_ticks: i64,
}

impl TrackEdit {
    /// As an edit list, of a movie whose timescale is the leading track's; without `shown_ticks` for the rest of the media.
    pub(super) fn edts(self, track_hz: u32, lead_hz: u32, shown_ticks: Option<i64>) -> Edts {
        // Media that begins later than it should be shown: sound whose first frame comes behind the first picture.
        let late = rescale((-self.media_ticks).max(0), track_hz, lead_hz);
        let empty = self.empty_ticks + late;
        let entry = |ticks: i64, media_time| ElstEntry {
            segment_duration: u64::try_from(ticks).unwrap_or(0),
            media_time,
            media_rate: 1.into(),
        };
        let shown = shown_ticks.map_or(0, |ticks| ticks - empty);
        let media = entry(shown, Some(u64::try_from(self.media_ticks).unwrap_or(0)));
        let entries = (empty > 0).then(|| entry(empty, None)).into_iter().chain([media]).collect();
        Edts { elst: Some(Elst { entries }) }
    }
}

/// The init segment of a fragmented clip whose leading track shows `shown_ticks`, what is empty before it included.
///
/// # Errors
/// [`ReadError`] when `init` is no `ftyp` and `moov`.
pub fn clip_init(init: &[u8], edits: &[TrackEdit], shown_ticks: i64) -> Result<Bytes, ReadError> {
    let duration = u64::try_from(shown_ticks).unwrap_or(0);
    with_moov(init, |moov| {
        let lead_hz = moov.trak.first().map_or(1, |trak| trak.mdia.mdhd.timescale);
        moov.mvhd.timescale = lead_hz;
        moov.mvhd.duration = duration;
        for trak in &mut moov.trak {
            let edit = edits.iter().find(|edit| edit.track_id == trak.tkhd.track_id);
            trak.edts = edit.map(|edit| edit.edts(trak.mdia.mdhd.timescale, lead_hz, None));
        }
    })
}

/// An init segment as it was before it became a file's beginning: nothing in it depends on which part comes first.
///
/// # Errors
/// [`ReadError`] when `init` is no `ftyp` and `moov`.
pub fn plain_init(init: &[u8]) -> Result<Bytes, ReadError> {
    with_moov(init, |moov| {
        moov.mvhd.duration = 0;
        moov.trak.iter_mut().for_each(|trak| trak.edts = None);
    })
}

/// `ftyp` as it is and `moov` changed; other boxes are left out.
fn with_moov(init: &[u8], change: impl FnOnce(&mut Moov)) -> Result<Bytes, ReadError> {
    let fault = |error: mp4_atom::Error| ReadError::Boxes { reason: error.to_string() };
    let find = |kind: [u8; 4]| boxes(init).find(|(header, _)| header.kind == kind);
    let (_, ftyp) = find(*b"ftyp").ok_or(ReadError::Missing { kind: "ftyp" })?;
    let (_, mut moov) = find(*b"moov").ok_or(ReadError::Missing { kind: "moov" })?;
    let mut moov = Moov::decode(&mut moov).map_err(fault)?;
    change(&mut moov);
    let mut out = ftyp.to_vec();
    moov.encode(&mut out).map_err(fault)?;
    Ok(out.into())
}

/// A track of an init segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitTrack {
    /// Its number.
    pub track_id: u32,
    /// Unit of its times.
    pub timescale: Timescale,
    /// Pictures, else sound.
    pub is_video: bool,
}

/// The tracks of what begins with an init segment, the leading one first.
///
/// # Errors
/// [`ReadError`] when there is none.
pub fn tracks(head: &[u8]) -> Result<Vec<InitTrack>, ReadError> {
    let moov = boxes(head).find(|(header, _)| header.kind == *b"moov");
    let (_, mut bytes) = moov.ok_or(ReadError::Missing { kind: "moov" })?;
    let moov = Moov::decode(&mut bytes).map_err(|error| ReadError::Boxes { reason: error.to_string() })?;
    let tracks = moov.trak.iter().map(|trak| {
        let timescale = Timescale::new(trak.mdia.mdhd.timescale);
        Ok(InitTrack {
            track_id: trak.tkhd.track_id,
            timescale: timescale.ok_or(ReadError::Foreign { kind: "mdhd", what: "timescale of 0" })?,
            is_video: trak.mdia.hdlr.handler == b"vide".into(),
        })
    });
    let tracks = tracks.collect::<Result<Vec<_>, ReadError>>()?;
    if tracks.is_empty() { Err(ReadError::Missing { kind: "trak" }) } else { Ok(tracks) }
}

/// The unit of times of the leading track of what begins with an init segment.
///
/// # Errors
/// [`ReadError`] when there is no track.
pub fn lead_timescale(head: &[u8]) -> Result<Timescale, ReadError> {
    let lead = tracks(head)?.into_iter().next().ok_or(ReadError::Missing { kind: "trak" })?;
    Ok(lead.timescale)
}

/// How the pictures of what begins with an init segment are coded, and what their decoder needs first; `None` when its leading
/// track is sound.
///
/// # Errors
/// [`ReadError`] when there is no track.
pub fn picture_sets(head: &[u8]) -> Result<Option<(PictureCodec, Vec<Bytes>)>, ReadError> {
    let moov = boxes(head).find(|(header, _)| header.kind == *b"moov");
    let (_, mut bytes) = moov.ok_or(ReadError::Missing { kind: "moov" })?;
    let moov = Moov::decode(&mut bytes).map_err(|error| ReadError::Boxes { reason: error.to_string() })?;
    let lead = moov.trak.into_iter().next().ok_or(ReadError::Missing { kind: "trak" })?;
    let sets = |lists: Vec<Vec<Vec<u8>>>| lists.into_iter().flatten().map(Bytes::from).collect();
    Ok(match lead.mdia.minf.stbl.stsd.codecs.into_iter().next() {
        Some(Codec::Avc1(avc1)) => {
            let avcc = avc1.avcc;
            let lists = vec![avcc.sequence_parameter_sets, avcc.picture_parameter_sets];
            Some((PictureCodec::H264, sets(lists)))
        }
        Some(Codec::Hvc1(hvc1)) => {
            let lists = hvc1.hvcc.arrays.into_iter().map(|array| array.nalus).collect();
            Some((PictureCodec::H265, sets(lists)))
        }
        _ => None,
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
