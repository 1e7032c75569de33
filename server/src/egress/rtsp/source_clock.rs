//! Source clock: what one reader is told of the source's wall clock, in the sender reports of all its tracks.
//!
//! The stream learns that clock by and by (-> media_core::ingest), while players follow each report at once: one that takes back
//! more than a frame's length makes times fall, and who writes them to a file stumbles over that (ffmpeg's `-c copy`). So the
//! reader begins with what is known, and is told of corrections a little at a time, unless a clock was set.

use std::time::Instant;

use media_core::time::{CLOCK_STEP_US, WallTime};

/// What is told moves by one in so many: 10 ms between two reports of a track, half a frame of sound.
const SLEW_DIVISOR: i64 = 500;

/// Wall clock minus timeline, as told last.
#[derive(Debug, Default)]
pub(super) struct SourceClock {
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    offset_us: i64,
    at: Instant,
}

impl SourceClock {
    /// When the unit at `position_us` of the timeline was taken, as it is to be told; the stream says `wall`.
    pub(super) fn tell(&mut self, position_us: i64, wall: WallTime, now: Instant) -> WallTime {
        let known_us = wall.unix_us().saturating_sub(position_us);
        let offset_us = match self.told {
            Some(told) if (known_us - told.offset_us).abs() < CLOCK_STEP_US => {
                let passed_us = now.saturating_duration_since(told.at).as_micros();
                let limit_us = i64::try_from(passed_us).unwrap_or(i64::MAX) / SLEW_DIVISOR;
                told.offset_us + (known_us - told.offset_us).clamp(-limit_us, limit_us)
            }
            _ => known_us,
        };
        self.told = Some(Told { offset_us, at: now });
        WallTime(position_us.saturating_add(offset_us))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::clock;

    const NOON: i64 = 1_790_000_000_000_000;

    #[test]
    fn a_correction_is_told_little_by_little_and_to_all_tracks_alike() {
        let (mut clock, start) = (SourceClock::default(), clock::now());
        let after = |secs| start + Duration::from_secs(secs);
        assert_eq!(clock.tell(0, WallTime(NOON), start), WallTime(NOON));
        // Five seconds on, the camera's own reports say that it was 100 ms earlier.
        let told = clock.tell(5_000_000, WallTime(NOON + 4_900_000), after(5));
        assert_eq!(told, WallTime(NOON + 4_990_000));
        let sound = clock.tell(5_020_000, WallTime(NOON + 4_920_000), after(5));
        assert_eq!(sound, WallTime(NOON + 5_010_000), "as far from the picture as on the timeline");
        for report in 2..=10 {
            clock.tell(report * 5_000_000, WallTime(NOON + report * 5_000_000 - 100_000), after(5 * 10));
        }
        assert_eq!(
            clock.tell(60_000_000, WallTime(NOON + 59_900_000), after(60)),
            WallTime(NOON + 59_900_000)
        );
    }

    #[test]
    fn a_clock_that_was_set_is_told_at_once() {
        let (mut clock, start) = (SourceClock::default(), clock::now());
        clock.tell(0, WallTime(NOON), start);
        let hour_on = WallTime(NOON + 3_600_000_000);
        assert_eq!(clock.tell(0, hour_on, start), hour_on);
    }
}
