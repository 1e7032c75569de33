//! Demux: a segment of either container as what ingest takes, in the order of decoding.
//!
//! A track is one from the segment on in which something of it came. When that changes, tracks are told anew, with the
//! discontinuity that this is.

use bytes::Bytes;

use super::fmp4::{Fmp4Demuxer, Fmp4Error};
use super::ts::{PACKET_BYTES, SYNC, TsDemuxer};
use super::{Brought, Codec, MICROS, Unit, low_half};
use crate::time::rescale;

/// Why a segment can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DemuxError {
    /// Neither container.
    #[error("segment is neither MPEG-TS nor fMP4")]
    Unknown,
    /// Boxes that make no sense, or hold what is not carried.
    #[error(transparent)]
    Fmp4(#[from] Fmp4Error),
    /// Nothing in it that is carried.
    #[error("segment holds no H.264, H.265, AAC or Opus")]
    NoTracks,
}

/// Pictures or sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Video,
    Audio,
}

/// A unit as its container has it.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) kind: Kind,
    pub(crate) dts: i64,
    pub(crate) pts: i64,
    /// Ticks of both in a second.
    pub(crate) timescale: u32,
    pub(crate) payload: Bytes,
}

/// Takes the segments of one media playlist apart, one after the other.
#[derive(Debug, Default)]
pub struct Demuxer {
    ts: TsDemuxer,
    fmp4: Option<Fmp4Demuxer>,
    video: Option<Codec>,
    audio: Option<Codec>,
    is_begun: bool,
    malformed: u64,
}

impl Demuxer {
    /// The segments that follow need this before them.
    ///
    /// # Errors
    /// [`DemuxError::Fmp4`].
    pub fn init(&mut self, bytes: &Bytes) -> Result<(), DemuxError> {
        self.fmp4 = Some(Fmp4Demuxer::new(bytes)?);
        self.is_begun = false;
        Ok(())
    }

    /// What follows does not go on with what came.
    pub fn discontinuity(&mut self) {
        self.ts.reset();
        self.is_begun = false;
    }

    /// What could not be read since the last call.
    pub fn take_malformed(&mut self) -> u64 {
        std::mem::take(&mut self.malformed)
    }

    /// Takes a whole segment apart.
    ///
    /// # Errors
    /// [`DemuxError`]; the next segment is welcome.
    pub fn segment(&mut self, bytes: &Bytes, out: &mut Vec<Brought>) -> Result<(), DemuxError> {
        let mut raw = Vec::new();
        let is_ts = bytes.first() == Some(&SYNC) && bytes.get(PACKET_BYTES).is_none_or(|next| *next == SYNC);
        let (video, audio) = if is_ts {
            self.malformed += self.ts.segment(bytes, &mut raw);
            (self.ts.video().cloned(), self.ts.audio())
        } else {
            if bytes.get(4..8) == Some(b"ftyp") {
                self.init(bytes)?;
            }
            let demuxer = self.fmp4.as_ref().ok_or(DemuxError::Unknown)?;
            demuxer.segment(bytes, &mut raw)?;
            (demuxer.video().cloned(), demuxer.audio().cloned())
        };
        let has = |kind| raw.iter().any(|unit: &Raw| unit.kind == kind);
        // What came once is a track, also in a segment that has nothing of it.
        let is_known = |before: &Option<Codec>, told: &Option<Codec>| self.is_begun && before == told;
        let video = video.filter(|codec| is_known(&self.video, &Some(codec.clone())) || has(Kind::Video));
        let audio = audio.filter(|codec| is_known(&self.audio, &Some(codec.clone())) || has(Kind::Audio));
        if video.is_none() && audio.is_none() {
            return Err(DemuxError::NoTracks);
        }
        if !self.is_begun || (&video, &audio) != (&self.video, &self.audio) {
            (self.video, self.audio, self.is_begun) = (video, audio, true);
            self.tell_tracks(out);
        }
        // Neighbours in time stand far from each other in a segment.
        raw.sort_by_key(Raw::at_us);
        let video_track = usize::from(self.video.is_some());
        for unit in raw {
            let (codec, track) = match unit.kind {
                Kind::Video => (&self.video, 0),
                Kind::Audio => (&self.audio, video_track),
            };
            let Some(codec) = codec else { continue };
            let rtp_timestamp = low_half(rescale(unit.pts, unit.timescale, codec.clock_rate()));
            out.push(Brought::Unit(Unit {
                track,
                at_us: unit.at_us(),
                rtp_timestamp,
                payload: unit.payload,
            }));
        }
        Ok(())
    }

    fn tell_tracks(&self, out: &mut Vec<Brought>) {
        let codecs = [&self.video, &self.audio].into_iter().flatten();
        out.push(Brought::Tracks(codecs.map(Codec::setup).collect()));
        let nals = self.fmp4.as_ref().map(Fmp4Demuxer::parameter_sets).unwrap_or_default();
        if self.video.is_some() && !nals.is_empty() {
            out.push(Brought::ParameterSets { track: 0, nals: nals.to_vec() });
        }
    }
}

impl Raw {
    pub(crate) fn at_us(&self) -> i64 {
        rescale(self.dts, self.timescale, MICROS)
    }
}
