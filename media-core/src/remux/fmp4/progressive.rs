//! Progressive: the sample tables of a plain MP4 with its moov first, from the heads of recorded parts.
//!
//! ```text
//!  heads ─► Tables (4 bytes a sample, 8 a part and track) ─► ftyp moov mdat-header │ payloads as they lie in the files
//! ```
//!
//! Limits: [`SAMPLES_MAX`].
//! Spec: ISO/IEC 14496-12 s8.6.1 (stts, ctts), s8.6.2 (stss), s8.7 (stsc, stsz, co64), s8.6.6 (elst).

use bytes::{BufMut as _, Bytes};
use mp4_atom::{
    Co64, Ctts, CttsEntry, Decode as _, Encode as _, Ftyp, Moov, StscEntry, Stss, StszSamples, SttsEntry,
};

use super::cut::KeptTrack;
use super::read::{ReadError, boxes};
use super::seek::TrackEdit;

/// Samples of a clip: a day of 25 pictures a second with sound. Its tables take some 60 MB; longer ones are for fMP4.
pub const SAMPLES_MAX: usize = 6_500_000;

/// A track's tables.
#[derive(Clone, Debug, Default)]
struct TrackTables {
    track_id: u32,
    sizes: Vec<u32>,
    deltas: Vec<SttsEntry>,
    offsets: Vec<CttsEntry>,
    sync: Vec<u32>,
    /// Bytes from the start of the payload, and samples.
    chunks: Vec<(u64, u32)>,
    /// Decode time and end of the last sample: its delta is known when the next one comes.
    last: Option<(i64, i64)>,
    first_ticks: i64,
}

/// The tables of all tracks.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    tracks: Vec<TrackTables>,
    samples: usize,
}

/// More samples than [`SAMPLES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a clip of more than {SAMPLES_MAX} samples has no plain MP4: ask for format=fmp4 or a shorter one")]
pub struct TooMany;

impl Tables {
    /// Adds what is kept of a part; its payload begins `payload_at` bytes into the clip's, and `payload_offset` into the part.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn push(
        &mut self,
        kept: impl Iterator<Item = KeptTrack>,
        payload_at: u64,
        payload_offset: u32,
    ) -> Result<(), TooMany> {
        for track in kept {
            self.samples += track.samples.len();
            if self.samples > SAMPLES_MAX {
                return Err(TooMany);
            }
            let at = payload_at + u64::from(track.data_offset.saturating_sub(payload_offset));
            let position = self.tracks.iter().position(|tables| tables.track_id == track.track_id);
            let position = position.unwrap_or_else(|| {
                self.tracks.push(TrackTables { track_id: track.track_id, ..TrackTables::default() });
                self.tracks.len() - 1
            });
            if let Some(tables) = self.tracks.get_mut(position) {
                tables.push(&track, at);
            }
        }
        Ok(())
    }

    /// ftyp, moov and the mdat's header, for `payload_bytes` of payload behind them.
    ///
    /// # Errors
    /// [`ReadError`] when `init` is no init segment.
    pub fn head(
        mut self,
        init: &[u8],
        edits: &[TrackEdit],
        shown_ticks: i64,
        payload_bytes: u64,
    ) -> Result<Bytes, ReadError> {
        let fault = |error: mp4_atom::Error| ReadError::Boxes { reason: error.to_string() };
        let moov = boxes(init).find(|(header, _)| header.kind == *b"moov");
        let (_, mut moov) = moov.ok_or(ReadError::Missing { kind: "moov" })?;
        let mut moov = Moov::decode(&mut moov).map_err(fault)?;
        moov.mvex = None;
        let lead_hz = moov.trak.first().map_or(1, |trak| trak.mdia.mdhd.timescale);
        moov.mvhd.timescale = lead_hz;
        moov.mvhd.duration = u64::try_from(shown_ticks).unwrap_or(0);
        moov.trak.retain(|trak| self.tracks.iter().any(|track| track.track_id == trak.tkhd.track_id));
        for trak in &mut moov.trak {
            let track = self.tracks.iter_mut().find(|track| track.track_id == trak.tkhd.track_id);
            let track = track.map(std::mem::take).unwrap_or_default();
            let edit = edits.iter().find(|edit| edit.track_id == trak.tkhd.track_id);
            track.fill(trak, lead_hz, edit.copied(), shown_ticks);
        }
        let mut out = Vec::new();
        let brands: [&[u8; 4]; 4] = [b"isom", b"iso2", b"iso4", b"mp41"];
        let compatible_brands = brands.into_iter().map(Into::into).collect();
        let ftyp = Ftyp { major_brand: b"isom".into(), minor_version: 512, compatible_brands };
        ftyp.encode(&mut out).map_err(fault)?;
        // Offsets have 64 bits whatever they are, so the size is known before them.
        let ftyp_bytes = out.len();
        moov.encode(&mut out).map_err(fault)?;
        let head_bytes = u64::try_from(out.len()).unwrap_or(u64::MAX) + 16;
        out.truncate(ftyp_bytes);
        for offsets in moov.trak.iter_mut().filter_map(|trak| trak.mdia.minf.stbl.co64.as_mut()) {
            offsets.entries.iter_mut().for_each(|offset| *offset += head_bytes);
        }
        moov.encode(&mut out).map_err(fault)?;
        out.put_u32(1);
        out.put_slice(b"mdat");
        out.put_u64(payload_bytes.saturating_add(16));
        Ok(out.into())
    }
}

impl TrackTables {
    fn push(&mut self, track: &KeptTrack, at: u64) {
        self.chunks.push((at, u32::try_from(track.samples.len()).unwrap_or(u32::MAX)));
        for timed in &track.samples {
            match self.last {
                // Over a gap the last picture stays.
                Some((before, _)) => self.push_delta(timed.dts_ticks - before),
                None => self.first_ticks = timed.dts_ticks,
            }
            self.last = Some((timed.dts_ticks, timed.end_ticks));
            self.sizes.push(timed.sample.size_bytes);
            let number = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
            if timed.sample.is_sync {
                self.sync.push(number);
            }
            let sample_offset = timed.pts_ticks - timed.dts_ticks;
            match self.offsets.last_mut() {
                Some(entry) if entry.sample_offset == sample_offset => entry.sample_count += 1,
                _ => self.offsets.push(CttsEntry { sample_count: 1, sample_offset }),
            }
        }
    }

    fn push_delta(&mut self, ticks: i64) {
        let sample_delta = u32::try_from(ticks).unwrap_or(0);
        match self.deltas.last_mut() {
            Some(entry) if entry.sample_delta == sample_delta => entry.sample_count += 1,
            _ => self.deltas.push(SttsEntry { sample_count: 1, sample_delta }),
        }
    }

    fn fill(mut self, trak: &mut mp4_atom::Trak, lead_hz: u32, edit: Option<TrackEdit>, shown_ticks: i64) {
        if let Some((dts, end)) = self.last {
            self.push_delta(end - dts);
        }
        let track_hz = trak.mdia.mdhd.timescale;
        let media: u64 =
            self.deltas.iter().map(|e| u64::from(e.sample_count) * u64::from(e.sample_delta)).sum();
        trak.mdia.mdhd.duration = media;
        trak.tkhd.duration = u64::try_from(shown_ticks).unwrap_or(0);
        let edit = edit.map(|edit| TrackEdit { media_ticks: edit.media_ticks - self.first_ticks, ..edit });
        trak.edts = edit.map(|edit| edit.edts(track_hz, lead_hz, Some(shown_ticks)));
        let stbl = &mut trak.mdia.minf.stbl;
        stbl.stts.entries = self.deltas;
        let has_offsets = self.offsets.iter().any(|entry| entry.sample_offset != 0);
        stbl.ctts = has_offsets.then_some(Ctts { entries: self.offsets });
        let all_sync = self.sync.len() == self.sizes.len();
        stbl.stss = (!all_sync).then_some(Stss { entries: self.sync });
        stbl.stsz.samples = StszSamples::Different { sizes: self.sizes };
        stbl.stsc.entries = runs_of_chunks(&self.chunks);
        stbl.stco = None;
        stbl.co64 = Some(Co64 { entries: self.chunks.iter().map(|(offset, _)| *offset).collect() });
    }
}

fn runs_of_chunks(chunks: &[(u64, u32)]) -> Vec<StscEntry> {
    let mut entries: Vec<StscEntry> = Vec::new();
    for (position, (_, samples)) in chunks.iter().enumerate() {
        if entries.last().is_none_or(|last| last.samples_per_chunk != *samples) {
            entries.push(StscEntry {
                first_chunk: u32::try_from(position + 1).unwrap_or(u32::MAX),
                samples_per_chunk: *samples,
                sample_description_index: 1,
            });
        }
    }
    entries
}
