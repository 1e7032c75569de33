//! Slate: what readers of a path see and hear while its source is away.
//!
//! ```text
//!  MP4 file ───────┐
//!                  ├─► Slate ─► Player ─► access units, without end, each when it is due ─► ingest, as of any source
//!  codecs' names ──┘   (built-in picture, silence)
//! ```
//!
//! Nothing is encoded: a file's samples, a picture that was encoded beforehand, frames of silence. Each track is played over and over on its
//! own, so that neither has a hole where it begins again.
//!
//! Belongs here: what is shown, and when. Does not: whose turn it is (-> `ingest::splice`), files (-> server).
//! Limits: [`FILE_BYTES_MAX`], `SAMPLES_MAX` of `hls`, [`SAMPLE_US_MIN`].

mod built_in;
mod player;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use built_in::BuiltIn;
pub use player::{Due, Player};

use crate::hls::{Fmp4Demuxer, Fmp4Error, Kind, Raw};
use crate::ingest::{Lineup, TrackSetup};
use crate::time::rescale;

/// The longest file, a minute of 2 Mbit/s: it is held in memory for as long as a path is configured with it.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// The shortest that samples of a track may last on average, in microseconds: a file of which more were due at a time is refused.
pub const SAMPLE_US_MIN: i64 = 1_000;

/// A lone sample lasts so long.
const LONE_SAMPLE_US: i64 = 1_000_000;

/// Why a file is no slate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SlateError {
    /// More than [`FILE_BYTES_MAX`].
    #[error("file has {got} bytes, the limit is {FILE_BYTES_MAX}")]
    TooLong {
        /// Its bytes.
        got: usize,
    },
    /// Not an MP4 that can be read.
    #[error(transparent)]
    Boxes(#[from] Fmp4Error),
    /// A track without a sample.
    #[error("its {encoding} has no samples")]
    Empty {
        /// What the track carries.
        encoding: String,
    },
    /// Samples that do not follow each other in time.
    #[error(
        "its {samples} samples of {encoding} last {us} microseconds together: less than {SAMPLE_US_MIN} each"
    )]
    TooFast {
        /// What the track carries.
        encoding: String,
        /// How many.
        samples: usize,
        /// How long.
        us: i64,
    },
}

/// Pictures, sound or both.
#[derive(Clone, PartialEq, Eq)]
pub struct Slate {
    tracks: Vec<Track>,
}

#[derive(Clone, PartialEq, Eq)]
struct Track {
    setup: TrackSetup,
    parameter_sets: Vec<Bytes>,
    /// Ticks of its times in a second.
    timescale: u32,
    /// In the order of decoding.
    samples: Vec<Sample>,
    /// From its begin to its next begin.
    turn_ticks: i64,
}

#[derive(Clone, PartialEq, Eq)]
struct Sample {
    dts: i64,
    pts: i64,
    payload: Bytes,
}

impl Slate {
    /// Reads an MP4 file, fragmented or not: its first track of pictures and its first of sound.
    ///
    /// # Errors
    /// [`SlateError`].
    pub fn read(file: &Bytes) -> Result<Self, SlateError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(SlateError::TooLong { got: file.len() });
        }
        let demuxer = Fmp4Demuxer::new(file)?;
        let mut raw = Vec::new();
        demuxer.file(file, &mut raw)?;
        let begin_us = raw.iter().map(Raw::at_us).min().unwrap_or(0);
        let (pictures, sound): (Vec<Raw>, Vec<Raw>) =
            raw.into_iter().partition(|sample| sample.kind == Kind::Video);
        let video = demuxer.video().map(|codec| (codec, demuxer.parameter_sets().to_vec(), pictures));
        let audio = demuxer.audio().map(|codec| (codec, Vec::new(), sound));
        let tracks = video
            .into_iter()
            .chain(audio)
            .map(|(codec, parameter_sets, raw)| Track::new(codec.setup(), parameter_sets, (raw, begin_us)));
        Ok(Self { tracks: tracks.collect::<Result<_, _>>()? })
    }

    /// Its tracks, as those of any source.
    pub fn setups(&self) -> Vec<TrackSetup> {
        self.tracks.iter().map(|track| track.setup.clone()).collect()
    }

    /// Parameter sets that its tracks' samples need before them.
    pub fn parameter_sets(&self) -> impl Iterator<Item = &[Bytes]> {
        self.tracks.iter().map(|track| track.parameter_sets.as_slice())
    }

    /// The codecs that its path's source must have.
    pub fn lineup(&self) -> Lineup {
        Lineup::of(&self.setups())
    }
}

impl fmt::Debug for Slate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slate({})", self.lineup())
    }
}

impl Track {
    fn new(
        mut setup: TrackSetup,
        parameter_sets: Vec<Bytes>,
        (mut raw, begin_us): (Vec<Raw>, i64),
    ) -> Result<Self, SlateError> {
        // All tracks begin at the same instant.
        setup.rtp_info_timestamp = Some(0);
        raw.sort_by_key(|sample| sample.dts);
        let (Some(first), Some(last)) = (raw.first(), raw.last()) else {
            return Err(SlateError::Empty { encoding: setup.encoding });
        };
        let (timescale, first_dts, last_dts) = (first.timescale, first.dts, last.dts);
        let begin = rescale(begin_us, 1_000_000, timescale);
        let count = i64::try_from(raw.len()).unwrap_or(i64::MAX);
        let span = last_dts.saturating_sub(first_dts);
        let turn_ticks = match count {
            1 => rescale(LONE_SAMPLE_US, 1_000_000, timescale),
            // The last lasts as long as the others do.
            _ => span.saturating_add(span / (count - 1)),
        };
        let us = rescale(turn_ticks, timescale, 1_000_000);
        if us / count < SAMPLE_US_MIN {
            return Err(SlateError::TooFast { encoding: setup.encoding, samples: raw.len(), us });
        }
        let samples = raw.into_iter().map(|sample| Sample {
            dts: sample.dts.saturating_sub(begin),
            pts: sample.pts.saturating_sub(begin),
            payload: sample.payload,
        });
        Ok(Self { setup, parameter_sets, timescale, samples: samples.collect(), turn_ticks })
    }
}
