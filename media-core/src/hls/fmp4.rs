//! fMP4: init segments and fragments of others, with the caution that strangers' boxes need.
//!
//! Of an edit list the beginning counts: by how much it moves its track against the others. An absolute `base_data_offset` is taken for
//! the fragment's own place, which is all it can mean in a segment.
//! Spec: ISO/IEC 14496-12 s8.8 (fragments), s8.5.2 (sample descriptions), s8.6.6 (edit lists); ISO/IEC 14496-15 (avcC, hvcC); ISO/IEC 14496-1 s7.2.6 (esds).
//! Limits: [`SAMPLES_MAX`] a segment, `ACCESS_UNIT_BYTES_MAX` a sample, [`INIT_BYTES_MAX`]; more is a [`Fmp4Error`].

use bytes::{Buf as _, Bytes};

use super::Codec;
use super::demux::{Kind, Raw};
use crate::access_unit::ACCESS_UNIT_BYTES_MAX;
use crate::rtmp::record::{self, Record};

/// Samples of one segment: a minute of pictures and sound is 7,000.
pub(super) const SAMPLES_MAX: usize = 1 << 16;

/// The longest moov; one of a fragmented file has about a kilobyte.
const INIT_BYTES_MAX: usize = 1 << 20;

/// The most that an edit list moves a track, in its ticks: an hour of microseconds; more is nonsense, and nothing to reckon with.
const SHIFT_MAX: i64 = 3_600_000_000;

/// Empty edits that may stand before the first that shows something.
const EMPTY_EDITS_MAX: usize = 16;

/// The bytes of a visual and of an audio sample entry in front of their boxes.
const VISUAL_ENTRY_BYTES: usize = 78;
const AUDIO_ENTRY_BYTES: usize = 28;

/// Why boxes can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fmp4Error {
    /// A box that ends before its fields do, or is not there.
    #[error("box {kind} is missing or cut short")]
    Short {
        /// Its type.
        kind: &'static str,
    },
    /// More than a limit.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Samples that lie outside of the segment.
    #[error("sample of {bytes} bytes at {at} is not in the segment or file")]
    Outside {
        /// Where it should begin.
        at: u64,
        /// Its bytes.
        bytes: u32,
    },
    /// Tracks that are none of ours.
    #[error("init segment has no track that can be carried; it has {entries}")]
    NoTracks {
        /// Their sample entries.
        entries: String,
    },
}

pub(super) type Result<T> = std::result::Result<T, Fmp4Error>;

/// Takes the segments behind one init segment apart.
#[derive(Debug)]
pub(crate) struct Fmp4Demuxer {
    video: Option<Track>,
    audio: Option<Track>,
    record: Record,
}

/// A track of the init segment.
#[derive(Clone, Debug)]
pub(super) struct Track {
    id: u32,
    timescale: u32,
    codec: Codec,
    defaults: Defaults,
    /// What its edit list adds to its times.
    shift: i64,
}

/// What samples are that do not say.
#[derive(Clone, Copy, Debug, Default)]
struct Defaults {
    duration: u32,
    bytes: u32,
}

impl Fmp4Demuxer {
    /// Reads an init segment.
    pub(crate) fn new(bytes: &Bytes) -> Result<Self> {
        let (at, moov) = find(bytes, *b"moov").ok_or(Fmp4Error::Short { kind: "moov" })?;
        if moov.len() > INIT_BYTES_MAX {
            return Err(Fmp4Error::TooMany { what: "bytes of moov", max: INIT_BYTES_MAX });
        }
        let moov = bytes.slice(at..at + moov.len());
        let mut demuxer =
            Self { video: None, audio: None, record: Record { nals: Vec::new(), length_bytes: 4 } };
        let mut entries = Vec::new();
        let movie_hz = find(&moov, *b"mvhd").map_or(Ok(1), |(_, mvhd)| after_times(mvhd, "mvhd"))?;
        for (_, body) in boxes(&moov).filter(|(kind, _)| kind == b"trak") {
            match read_track(&moov.slice_ref(body), movie_hz)? {
                Entry::Video(track, record) if demuxer.video.is_none() => {
                    (demuxer.video, demuxer.record) = (Some(track), record);
                }
                Entry::Audio(track) if demuxer.audio.is_none() => demuxer.audio = Some(track),
                Entry::Video(..) | Entry::Audio(_) => {}
                Entry::Other(kind) => entries.push(kind.escape_ascii().to_string()),
            }
        }
        if demuxer.video.is_none() && demuxer.audio.is_none() {
            entries.truncate(8);
            return Err(Fmp4Error::NoTracks { entries: entries.join(", ") });
        }
        let mvex = find(&moov, *b"mvex").map(|(_, body)| body).unwrap_or_default();
        for (_, trex) in boxes(mvex).filter(|(kind, _)| kind == b"trex") {
            demuxer.read_defaults(trex)?;
        }
        Ok(demuxer)
    }

    fn read_defaults(&mut self, trex: &[u8]) -> Result<()> {
        let mut fields = Fields { rest: trex, kind: "trex" };
        fields.skip(4)?;
        let id = fields.u32()?;
        fields.skip(4)?;
        let defaults = Defaults { duration: fields.u32()?, bytes: fields.u32()? };
        for track in [&mut self.video, &mut self.audio].into_iter().flatten() {
            if track.id == id {
                track.defaults = defaults;
            }
        }
        Ok(())
    }

    /// The codec of the pictures.
    pub(crate) fn video(&self) -> Option<&Codec> {
        self.video.as_ref().map(|track| &track.codec)
    }

    /// The codec of the sound.
    pub(crate) fn audio(&self) -> Option<&Codec> {
        self.audio.as_ref().map(|track| &track.codec)
    }

    /// The parameter sets of the pictures.
    pub(crate) fn parameter_sets(&self) -> &[Bytes] {
        &self.record.nals
    }

    /// The track of an id, if it is one that is taken.
    pub(super) fn track(&self, id: u32) -> Option<&Track> {
        [&self.video, &self.audio].into_iter().flatten().find(|track| track.id == id)
    }

    /// Where a track's samples begin, if they are stored one behind the other.
    pub(super) fn run<'a>(&self, track: &'a Track) -> Run<'a> {
        Run {
            track,
            defaults: track.defaults,
            length_bytes: self.record.length_bytes,
            dts: track.shift,
            at: 0,
            moof_at: 0,
        }
    }

    /// Takes a whole segment apart.
    pub(super) fn segment(&self, bytes: &Bytes, out: &mut Vec<Raw>) -> Result<()> {
        let mut at = 0;
        while let Some((kind, header, body)) = box_at(bytes.get(at..).unwrap_or_default()) {
            if &kind == b"moof" {
                for (_, traf) in boxes(body).filter(|(kind, _)| kind == b"traf") {
                    self.track_fragment(traf, (bytes, at), out)?;
                }
            }
            at += header + body.len();
        }
        Ok(())
    }

    fn track_fragment(
        &self,
        traf: &[u8],
        (bytes, moof_at): (&Bytes, usize),
        out: &mut Vec<Raw>,
    ) -> Result<()> {
        let head = find(traf, *b"tfhd").map(|(_, body)| body).ok_or(Fmp4Error::Short { kind: "tfhd" })?;
        let mut head = Fields { rest: head, kind: "tfhd" };
        let flags = head.u32()?;
        let id = head.u32()?;
        let Some(track) = self.track(id) else { return Ok(()) };
        head.skip(8 * usize::from(flags & 1 != 0) + 4 * usize::from(flags & 2 != 0))?;
        let defaults = Defaults {
            duration: if flags & 8 != 0 { head.u32()? } else { track.defaults.duration },
            bytes: if flags & 0x10 != 0 { head.u32()? } else { track.defaults.bytes },
        };
        let tfdt = find(traf, *b"tfdt").map(|(_, body)| body).ok_or(Fmp4Error::Short { kind: "tfdt" })?;
        let mut tfdt = Fields { rest: tfdt, kind: "tfdt" };
        let base = match tfdt.u32()? >> 24 {
            0 => u64::from(tfdt.u32()?),
            _ => tfdt.u64()?,
        };
        let moof_at = u64::try_from(moof_at).unwrap_or(u64::MAX);
        // A time of thousands of years is as good as any other.
        let dts = i64::try_from(base & (u64::MAX >> 8)).unwrap_or(0).saturating_add(track.shift);
        let mut run = Run { defaults, dts, at: moof_at, moof_at, ..self.run(track) };
        for (_, trun) in boxes(traf).filter(|(kind, _)| kind == b"trun") {
            run.samples(trun, bytes, out)?;
        }
        Ok(())
    }
}

/// Where the samples of a track are.
pub(super) struct Run<'a> {
    track: &'a Track,
    defaults: Defaults,
    length_bytes: usize,
    /// Decode time of the next.
    pub(super) dts: i64,
    /// Where it begins.
    pub(super) at: u64,
    moof_at: u64,
}

impl Run<'_> {
    fn samples(&mut self, trun: &[u8], bytes: &Bytes, out: &mut Vec<Raw>) -> Result<()> {
        let mut fields = Fields { rest: trun, kind: "trun" };
        let flags = fields.u32()?;
        let count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
        if out.len().saturating_add(count) > SAMPLES_MAX {
            return Err(Fmp4Error::TooMany { what: "samples of a segment", max: SAMPLES_MAX });
        }
        if flags & 1 != 0 {
            self.at = self.moof_at.saturating_add_signed(i64::from(fields.i32()?));
        }
        fields.skip(4 * usize::from(flags & 4 != 0))?;
        for _ in 0..count {
            let duration = if flags & 0x100 != 0 { fields.u32()? } else { self.defaults.duration };
            let size = if flags & 0x200 != 0 { fields.u32()? } else { self.defaults.bytes };
            fields.skip(4 * usize::from(flags & 0x400 != 0))?;
            // What is unsigned by version 0 is meant signed by many.
            let offset = if flags & 0x800 != 0 { fields.i32()? } else { 0 };
            self.take((duration, size, offset), bytes, out)?;
        }
        Ok(())
    }

    /// The next sample: how long it lasts, its bytes, and how much later than decoded it is shown.
    pub(super) fn take(
        &mut self,
        (duration, size, offset): (u32, u32, i32),
        bytes: &Bytes,
        out: &mut Vec<Raw>,
    ) -> Result<()> {
        let sample = self.sample(bytes, size)?;
        if !sample.is_empty() {
            out.push(self.raw(sample, i64::from(offset)));
        }
        self.at = self.at.saturating_add(size.into());
        self.dts = self.dts.saturating_add(duration.into());
        Ok(())
    }

    fn sample<'b>(&self, bytes: &'b Bytes, size: u32) -> Result<&'b [u8]> {
        let outside = Fmp4Error::Outside { at: self.at, bytes: size };
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length > ACCESS_UNIT_BYTES_MAX {
            return Err(Fmp4Error::TooMany { what: "bytes of a sample", max: ACCESS_UNIT_BYTES_MAX });
        }
        let start = usize::try_from(self.at).map_err(|_| outside.clone())?;
        bytes.get(start..start.saturating_add(length)).ok_or(outside)
    }

    fn raw(&self, sample: &[u8], offset: i64) -> Raw {
        // A copy: a slice would keep the whole segment.
        let payload = Bytes::copy_from_slice(sample);
        let (kind, payload) = match self.track.codec.is_video() {
            true => (Kind::Video, record::with_long_lengths(payload, self.length_bytes)),
            false => (Kind::Audio, payload),
        };
        Raw {
            kind,
            dts: self.dts,
            pts: self.dts.saturating_add(offset),
            timescale: self.track.timescale,
            payload,
        }
    }
}

/// What a track is.
enum Entry {
    Video(Track, Record),
    Audio(Track),
    /// Its sample entry's type.
    Other([u8; 4]),
}

fn read_track(trak: &Bytes, movie_hz: u32) -> Result<Entry> {
    let short = |kind| Fmp4Error::Short { kind };
    let child = |parent: &Bytes, kind: [u8; 4], name| {
        find(parent, kind).map(|(_, body)| parent.slice_ref(body)).ok_or(short(name))
    };
    let tkhd = child(trak, *b"tkhd", "tkhd")?;
    let id = after_times(&tkhd, "tkhd")?;
    let mdia = child(trak, *b"mdia", "mdia")?;
    let timescale = after_times(&child(&mdia, *b"mdhd", "mdhd")?, "mdhd")?;
    let shift = shift(trak, movie_hz, timescale)?;
    let stbl = child(&child(&mdia, *b"minf", "minf")?, *b"stbl", "stbl")?;
    let stsd = child(&stbl, *b"stsd", "stsd")?;
    let entries = stsd.slice_ref(stsd.get(8..).ok_or(short("stsd"))?);
    let (kind, _, entry) = box_at(&entries).ok_or(short("stsd"))?;
    let entry = entries.slice_ref(entry);
    let track =
        |codec| Track { id, timescale: timescale.max(1), codec, defaults: Defaults::default(), shift };
    let visual = |record_kind: [u8; 4], name| {
        let boxes = entry.get(VISUAL_ENTRY_BYTES..).ok_or(short(name))?;
        let (_, record) = find(boxes, record_kind).ok_or(short(name))?;
        Ok(entry.slice_ref(record))
    };
    match &kind {
        b"avc1" | b"avc3" => {
            let record = record::read_avc(&visual(*b"avcC", "avcC")?).ok_or(short("avcC"))?;
            Ok(Entry::Video(track(Codec::H264), record))
        }
        b"hvc1" | b"hev1" => {
            let record = record::read_hevc(&visual(*b"hvcC", "hvcC")?).ok_or(short("hvcC"))?;
            Ok(Entry::Video(track(Codec::H265), record))
        }
        b"mp4a" => match audio_box(&entry, *b"esds").and_then(|esds| aac_config(&esds)) {
            Some(codec) => Ok(Entry::Audio(track(codec))),
            None => Ok(Entry::Other(kind)),
        },
        b"Opus" => {
            let channels = audio_box(&entry, *b"dOps").and_then(|head| head.get(1).copied());
            Ok(Entry::Audio(track(Codec::Opus { channels: channels.unwrap_or(2).clamp(1, 2) })))
        }
        _ => Ok(Entry::Other(kind)),
    }
}

/// What a track's edit list adds to its times: the silence before it, less what is left out of its media's beginning. ffmpeg's HLS
/// parts pictures with B-frames from their sound so.
fn shift(trak: &[u8], movie_hz: u32, timescale: u32) -> Result<i64> {
    let edits = find(trak, *b"edts").and_then(|(_, edts)| find(edts, *b"elst"));
    let Some((_, elst)) = edits else { return Ok(0) };
    let mut fields = Fields { rest: elst, kind: "elst" };
    let is_long = fields.u32()? >> 24 != 0;
    let count = usize::try_from(fields.u32()?).unwrap_or(usize::MAX);
    let mut silence = 0_i64;
    for _ in 0..count.min(EMPTY_EDITS_MAX) {
        let (duration, media_time) = match is_long {
            true => (fields.u64()?, i64::from_ne_bytes(fields.u64()?.to_ne_bytes())),
            false => (u64::from(fields.u32()?), i64::from(fields.i32()?)),
        };
        fields.skip(4)?;
        if media_time >= 0 {
            return Ok(silence.saturating_sub(media_time).clamp(-SHIFT_MAX, SHIFT_MAX));
        }
        let ticks = u128::from(duration) * u128::from(timescale) / u128::from(movie_hz.max(1));
        silence = silence.saturating_add(i64::try_from(ticks).unwrap_or(i64::MAX));
    }
    Ok(silence.clamp(-SHIFT_MAX, SHIFT_MAX))
}

/// The 32 bits behind the two times of `mvhd`, `tkhd` and `mdhd`: a timescale, an id.
pub(super) fn after_times(body: &[u8], kind: &'static str) -> Result<u32> {
    let mut fields = Fields { rest: body, kind };
    let times = if fields.u32()? >> 24 == 0 { 8 } else { 16 };
    fields.skip(times)?;
    fields.u32()
}

/// A box of an audio sample entry; QuickTime's second version has more fields before.
fn audio_box(entry: &Bytes, kind: [u8; 4]) -> Option<Bytes> {
    let more = match entry.get(8..10)? {
        [0, 1] => 16,
        [0, 2] => 36,
        _ => 0,
    };
    let boxes = entry.get(AUDIO_ENTRY_BYTES + more..)?;
    find(boxes, kind).map(|(_, body)| entry.slice_ref(body))
}

/// The AudioSpecificConfig in an `esds`.
fn aac_config(esds: &Bytes) -> Option<Codec> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    /// MPEG-4 audio.
    const OBJECT_TYPE: u8 = 0x40;
    let es = descriptor(esds.get(4..)?, ES)?;
    // Id, flags; with bits of them set, more, which streams in files do not have.
    let decoder = descriptor(es.get(3..)?, DECODER_CONFIG)?;
    if *decoder.first()? != OBJECT_TYPE {
        return None;
    }
    let specific = descriptor(decoder.get(13..)?, DECODER_SPECIFIC)?;
    Codec::aac(Bytes::copy_from_slice(specific))
}

/// The body of a descriptor that stands first.
fn descriptor(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let (first, mut rest) = bytes.split_first()?;
    let mut length = 0_usize;
    for _ in 0..4 {
        let (byte, after) = rest.split_first()?;
        length = length << 7 | usize::from(byte & 0x7f);
        rest = after;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (*first == tag).then(|| rest.get(..length)).flatten()
}

/// The box that stands first: its type, the bytes of its header, its body.
fn box_at(bytes: &[u8]) -> Option<([u8; 4], usize, &[u8])> {
    let mut rest = bytes;
    let size = u64::from(rest.try_get_u32().ok()?);
    let kind = rest.try_get_u32().ok()?.to_be_bytes();
    let (header, size) = match size {
        // To the end.
        0 => (8, u64::try_from(bytes.len()).ok()?),
        1 => (16, rest.try_get_u64().ok()?),
        size => (8, size),
    };
    let body = bytes.get(header..usize::try_from(size).ok()?)?;
    Some((kind, header, body))
}

/// The boxes that lie whole in `bytes`, one after the other: types and bodies.
pub(super) fn boxes(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (kind, header, body) = box_at(rest)?;
        rest = rest.get(header + body.len()..)?;
        Some((kind, body))
    })
}

/// The first box of a type: where its body begins, and the body.
pub(super) fn find(bytes: &[u8], wanted: [u8; 4]) -> Option<(usize, &[u8])> {
    let mut at = 0;
    loop {
        let (kind, header, body) = box_at(bytes.get(at..)?)?;
        if kind == wanted {
            return Some((at + header, body));
        }
        at += header + body.len();
    }
}

/// The fields of a box.
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
    pub(super) kind: &'static str,
}

impl Fields<'_> {
    pub(super) fn u32(&mut self) -> Result<u32> {
        self.rest.try_get_u32().map_err(|_| Fmp4Error::Short { kind: self.kind })
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.rest.try_get_i32().map_err(|_| Fmp4Error::Short { kind: self.kind })
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.rest.try_get_u64().map_err(|_| Fmp4Error::Short { kind: self.kind })
    }

    pub(super) fn skip(&mut self, bytes: usize) -> Result<()> {
        self.rest = self.rest.get(bytes..).ok_or(Fmp4Error::Short { kind: self.kind })?;
        Ok(())
    }
}
