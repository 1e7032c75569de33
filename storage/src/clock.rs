//! Clock: how this crate learns the time: from its owner, so that a test can give it any; and whether it may be believed.

use std::time::{Duration, Instant};

use media_core::time::{CLOCK_STEP_US, WallTime};

/// The two clocks, read by functions of the owner's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall-clock time, UTC.
    pub wall: fn() -> WallTime,
    /// Time that never goes back, for durations.
    pub monotonic: fn() -> Instant,
}

/// So long a clock that was set ahead is not believed: a wrong one would make everything too old to be kept.
const BELIEVED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Watches the wall clock for whoever deletes by it.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    last: Option<(WallTime, Instant)>,
    /// By how much it is ahead of what is believed, and since when.
    ahead: Option<(i64, Instant)>,
}

impl ClockWatch {
    /// The time by which files are old, at a time of both clocks.
    pub(crate) fn believed(&mut self, wall: WallTime, now: Instant) -> WallTime {
        let passed = |since: Instant| now.saturating_duration_since(since);
        let step_us = self.last.replace((wall, now)).map_or(0, |(last, at)| {
            let passed_us = i64::try_from(passed(at).as_micros()).unwrap_or(i64::MAX);
            wall.us_since(last).saturating_sub(passed_us)
        });
        let (ahead_us, since) = self.ahead.unwrap_or((0, now));
        if step_us.abs() > CLOCK_STEP_US {
            tracing::warn!(seconds = step_us / 1_000_000, "this server's clock was set");
            let ahead_us = ahead_us.saturating_add(step_us);
            self.ahead = (ahead_us > 0).then_some((ahead_us, now));
        } else if passed(since) >= BELIEVED_AFTER {
            self.ahead = None;
        }
        wall.plus_us(-self.ahead.map_or(0, |(ahead_us, _)| ahead_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant to count from")]
    fn a_clock_that_is_set_ahead_makes_nothing_old_for_a_day() {
        const YEAR_S: i64 = 365 * 24 * 3600;
        let (start, mut watch) = (Instant::now(), ClockWatch::default());
        let mut believed_s = |passed_s: u64, set_s: i64| -> i64 {
            let wall = WallTime((i64::try_from(passed_s).unwrap() + set_s) * 1_000_000);
            watch.believed(wall, start + Duration::from_secs(passed_s)).unix_us() / 1_000_000
        };
        assert_eq!(believed_s(0, 0), 0);
        assert_eq!(believed_s(10, 1), 11, "NTP moves it a little");
        assert_eq!(believed_s(20, YEAR_S), 21);
        assert_eq!(believed_s(86_400, YEAR_S), 86_401);
        assert_eq!(believed_s(86_420, YEAR_S), 86_420 + YEAR_S, "it has stood for a day");
        // Set ahead and right again; then back: less is old, which does no harm.
        assert_eq!(believed_s(86_430, 2 * YEAR_S), 86_430 + YEAR_S);
        assert_eq!(believed_s(86_440, YEAR_S), 86_440 + YEAR_S);
        assert_eq!(believed_s(86_450, 0), 86_450);
    }
}
