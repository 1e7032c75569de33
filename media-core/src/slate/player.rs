//! Player: a slate's access units in the order in which they are due, over and over.

use std::sync::Arc;

use bytes::Bytes;

use super::{Slate, Track};
use crate::hls::low_half;
use crate::time::rescale;

/// An access unit, and when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its track's index.
    pub track: usize,
    /// How long after the slate's begin.
    pub at_us: i64,
    /// When it is shown, as RTP would say it.
    pub rtp_timestamp: u32,
    /// NAL units behind lengths of 4 bytes, or a frame.
    pub payload: Bytes,
}

/// Plays a slate from its beginning; never ends.
#[derive(Debug)]
pub struct Player {
    slate: Arc<Slate>,
    places: Vec<Place>,
}

/// Where a track is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Where this turn began.
    turn_at: i64,
    index: usize,
}

impl Player {
    /// At the beginning.
    pub fn new(slate: &Arc<Slate>) -> Self {
        Self { slate: Arc::clone(slate), places: vec![Place::default(); slate.tracks.len()] }
    }
}

impl Iterator for Player {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        let tracks = self.slate.tracks.iter().zip(&mut self.places).enumerate();
        let heads =
            tracks.filter_map(|(index, (track, place))| Some((track.due(index, *place)?, track, place)));
        let (due, track, place) = heads.min_by_key(|(due, ..)| due.at_us)?;
        place.index += 1;
        if place.index >= track.samples.len() {
            *place = Place { turn_at: place.turn_at.saturating_add(track.turn_ticks), index: 0 };
        }
        Some(due)
    }
}

impl Track {
    fn due(&self, track: usize, place: Place) -> Option<Due> {
        let sample = self.samples.get(place.index)?;
        let at = |ticks: i64, hz: u32| rescale(ticks.saturating_add(place.turn_at), self.timescale, hz);
        Some(Due {
            track,
            at_us: at(sample.dts, 1_000_000),
            rtp_timestamp: low_half(at(sample.pts, self.setup.clock_rate)),
            payload: sample.payload.clone(),
        })
    }
}
