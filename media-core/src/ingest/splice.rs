//! Splice: a source and a slate that feed one stream in turns, as one stream.
//!
//! ```text
//!                  source's first unit                    source leaves
//!  Slate on the air ──────────────────► Source on the air ─────────────► nobody ─► Slate, from its beginning
//! ```
//!
//! Each feeder has an ingest of its own, whose times follow the clock. Whoever takes over does so with a format and a random access
//! point, behind what there was; until the source has these, the slate stays. Of a stream without a slate the source is the only feeder.
//!
//! Belongs here: whose turn it is, numbers and times across turns. Does not: repair (-> [`super::Ingest`]), what a slate is (-> `slate`).
//! Invariants: generations rise; in each track, times of a turn are behind all of the turn before.

use std::sync::Arc;

use super::IngestEvent;
use crate::access_unit::AccessUnit;
use crate::track::{SharedFormat, StreamFormat};

/// Between the last unit of a turn and the first of the next: half a picture.
const SEAM_US: i64 = 20_000;

/// What feeds a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feeder {
    /// A camera, a server, a publisher.
    Source,
    /// What is shown while there is none.
    Slate,
}

/// A feeder's end of a splice.
#[derive(Debug)]
pub struct Line {
    id: u64,
    feeder: Feeder,
    /// Its newest format, until a unit of it is taken.
    announced: Option<SharedFormat>,
    /// The format in force, as readers know it.
    format: Option<SharedFormat>,
}

/// One stream's splice.
#[derive(Debug, Default)]
pub struct Splice {
    lines: u64,
    generation: u64,
    on_air: Option<(u64, Feeder)>,
    /// Position of the latest presentation time handed out.
    end_us: i64,
    /// Where this turn begins; what lies before is left out.
    floor_us: i64,
    /// Added to the times of this turn.
    shift_us: i64,
}

impl Splice {
    /// A feeder that has sent nothing.
    pub fn line(&mut self, feeder: Feeder) -> Line {
        self.lines += 1;
        Line { id: self.lines, feeder, announced: None, format: None }
    }

    /// Whether a slate is wanted.
    pub fn is_free(&self) -> bool {
        !matches!(self.on_air, Some((_, Feeder::Source)))
    }

    /// Takes what a feeder's ingest made; `None` for what readers do not get.
    pub fn take(&mut self, line: &mut Line, event: IngestEvent) -> Option<(SharedFormat, AccessUnit)> {
        let unit = match event {
            IngestEvent::Format(format) => {
                line.announced = Some(format);
                return None;
            }
            IngestEvent::Unit(unit) => unit,
        };
        if self.on_air != Some((line.id, line.feeder)) {
            let may_begin = line.feeder == Feeder::Source || self.is_free();
            let track = line.announced.as_ref().filter(|_| may_begin)?.track(unit.track)?;
            self.floor_us = self.end_us;
            self.shift_us = (self.end_us + SEAM_US - track.timescale.ticks_to_us(unit.dts_ticks)).max(0);
            self.on_air = Some((line.id, line.feeder));
        }
        if let Some(format) = line.announced.take() {
            line.format = Some(self.number(&format, line.feeder));
        }
        let format = line.format.clone()?;
        Some((Arc::clone(&format), self.place(&format, unit)?))
    }

    /// Nothing more comes of a feeder before its next format.
    pub fn leave(&mut self, line: &mut Line) {
        (line.announced, line.format) = (None, None);
        if self.on_air == Some((line.id, line.feeder)) {
            self.on_air = None;
        }
    }

    fn number(&mut self, format: &StreamFormat, feeder: Feeder) -> SharedFormat {
        self.generation += 1;
        let is_slate = feeder == Feeder::Slate;
        Arc::new(StreamFormat { generation: self.generation, is_slate, tracks: format.tracks.clone() })
    }

    fn place(&mut self, format: &StreamFormat, mut unit: AccessUnit) -> Option<AccessUnit> {
        let timescale = format.track(unit.track)?.timescale;
        let shift_ticks = timescale.us_to_ticks(self.shift_us);
        unit.dts_ticks += shift_ticks;
        unit.pts_ticks += shift_ticks;
        // A tick more, for what rounding took.
        if timescale.ticks_to_us(unit.dts_ticks + 1) < self.floor_us {
            return None;
        }
        self.end_us = self.end_us.max(timescale.ticks_to_us(unit.pts_ticks));
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::time::{Timescale, WallTime};
    use crate::track::{CodecConfig, TrackId, TrackInfo};

    const TICKS: i64 = 48;

    /// A track of sound, whose ticks are easy to read: 48 a millisecond.
    fn format(generation: u64) -> IngestEvent {
        let codec = CodecConfig::Opus { channels: 2 };
        let track = TrackInfo { id: TrackId(0), timescale: Timescale::OPUS, codec, transcoded_from: None };
        IngestEvent::Format(Arc::new(StreamFormat { generation, is_slate: false, tracks: vec![track] }))
    }

    fn unit(at_ms: i64) -> IngestEvent {
        IngestEvent::Unit(AccessUnit {
            track: TrackId(0),
            dts_ticks: at_ms * TICKS,
            pts_ticks: at_ms * TICKS,
            wall: WallTime(0),
            is_random_access: true,
            payload: Bytes::new(),
        })
    }

    /// Generation, whether it is the slate's, and milliseconds of what readers get.
    fn taken(splice: &mut Splice, line: &mut Line, event: IngestEvent) -> Option<(u64, bool, i64)> {
        let (format, unit) = splice.take(line, event)?;
        Some((format.generation, format.is_slate, unit.dts_ticks / TICKS))
    }

    #[test]
    fn the_slate_stays_until_the_sources_first_unit_and_comes_back_when_it_leaves() {
        let mut splice = Splice::default();
        let (mut slate, mut source) = (splice.line(Feeder::Slate), splice.line(Feeder::Source));
        assert_eq!(taken(&mut splice, &mut slate, format(1)), None);
        assert_eq!(taken(&mut splice, &mut slate, unit(10_000)), Some((1, true, 10_000)));
        assert_eq!(taken(&mut splice, &mut source, format(1)), None);
        assert_eq!(taken(&mut splice, &mut slate, unit(10_040)), Some((1, true, 10_040)));
        // Its clock is behind: it begins behind the slate's last picture all the same.
        assert_eq!(taken(&mut splice, &mut source, unit(9_000)), Some((2, false, 10_060)));
        assert!(!splice.is_free());
        assert_eq!(taken(&mut splice, &mut slate, unit(10_080)), None);
        assert_eq!(taken(&mut splice, &mut slate, format(2)), None);
        assert_eq!(taken(&mut splice, &mut slate, unit(10_120)), None);
        assert_eq!(taken(&mut splice, &mut source, unit(9_040)), Some((2, false, 10_100)));
        splice.leave(&mut source);
        assert!(splice.is_free());
        assert_eq!(taken(&mut splice, &mut source, unit(9_080)), None, "of a connection that is over");
        assert_eq!(taken(&mut splice, &mut slate, format(3)), None);
        assert_eq!(taken(&mut splice, &mut slate, unit(11_000)), Some((3, true, 11_000)));
    }

    #[test]
    fn a_source_alone_keeps_its_times_and_its_formats_are_counted_on() {
        let mut splice = Splice::default();
        let mut source = splice.line(Feeder::Source);
        for (at_ms, generation) in [(10_000, 1), (10_040, 1), (12_000, 2)] {
            if at_ms != 10_040 {
                // A new machine, after a panic, counts from one again.
                assert_eq!(taken(&mut splice, &mut source, format(1)), None);
            }
            assert_eq!(taken(&mut splice, &mut source, unit(at_ms)), Some((generation, false, at_ms)));
        }
        splice.leave(&mut source);
        assert_eq!(taken(&mut splice, &mut source, format(1)), None);
        assert_eq!(taken(&mut splice, &mut source, unit(10_000)), Some((3, false, 12_020)));
    }

    #[test]
    fn another_slate_takes_the_place_of_the_one_on_the_air() {
        let mut splice = Splice::default();
        let (mut old, mut new) = (splice.line(Feeder::Slate), splice.line(Feeder::Slate));
        for (line, at_ms) in [(&mut old, 10_000), (&mut new, 10_100)] {
            assert_eq!(taken(&mut splice, line, format(1)), None);
            assert!(taken(&mut splice, line, unit(at_ms)).is_some());
        }
        assert_eq!(taken(&mut splice, &mut old, unit(10_140)), None);
        splice.leave(&mut old);
        assert_eq!(taken(&mut splice, &mut new, unit(10_140)), Some((2, true, 10_140)));
    }
}
