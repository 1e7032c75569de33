//! Wall clock: when the pictures were taken, in the source's clock where that is sane.
//!
//! All tracks share one timeline, so one offset (wall clock minus timeline) serves them all. It
//! follows the sender reports when they agree with the arrivals within [`CAMERA_OFFSET_MAX_US`] and
//! with each other, else the arrivals without their jitter. It moves slowly, so that times rise with
//! the timeline, except in the first [`SETTLE_US`] of a connection, and when our own clock is set: then it moves as that did.

use crate::time::{CLOCK_STEP_US, WallTime};

/// A camera clock further than this from ours is not believed: a camera synchronised by NTP is
/// within tens of milliseconds, plus what the encoder and the network take.
pub const CAMERA_OFFSET_MAX_US: i64 = 1_000_000;

/// Reports that differ by more than this are not steady enough to follow.
const STEADY_US: i64 = 200_000;

/// How long after the start of a connection the offset may step.
pub const SETTLE_US: i64 = 3_000_000;

/// The offset moves by at most 1/8 of the time that passes.
const SLEW_DIVISOR: i64 = 8;

/// What the sender reports of one connection said last.
#[derive(Clone, Copy, Debug)]
struct Reported {
    offset_us: i64,
    is_steady: bool,
}

/// The mapping from timeline to wall clock.
#[derive(Clone, Debug, Default)]
pub(super) struct WallClock {
    offset_us: Option<i64>,
    started_us: i64,
    highest_us: i64,
    reported: Option<Reported>,
    arrival_offset_us: Option<i64>,
    /// Our wall clock minus the time that passed, at the last unit.
    clock_us: Option<i64>,
}

/// A unit's times, all in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Its place on the timeline.
    pub(super) pts_us: i64,
    /// Position of its arrival on the timeline's scale.
    pub(super) arrival_us: i64,
    /// Wall clock at its arrival.
    pub(super) arrival_wall: WallTime,
    /// Smallest recent lag of arrivals behind the timeline.
    pub(super) lag_us: i64,
}

impl WallClock {
    /// Camera clock minus ours, where sender reports say.
    pub(super) fn camera_offset_us(&self) -> Option<i64> {
        Some(self.reported?.offset_us - self.arrival_offset_us?)
    }

    /// A sender report says that the camera's clock shows `wall` at `position_us`.
    pub(super) fn report(&mut self, wall: WallTime, position_us: i64) {
        let offset_us = wall.unix_us().saturating_sub(position_us);
        let is_steady = self.reported.is_some_and(|last| (last.offset_us - offset_us).abs() <= STEADY_US);
        self.reported = Some(Reported { offset_us, is_steady });
    }

    /// The timeline was rebased: reports from before say nothing about it.
    pub(super) fn forget_reports(&mut self) {
        self.reported = None;
    }

    /// Whether our clock was set since the last unit; times go with it.
    pub(super) fn was_set(&mut self, seen: &Seen) -> bool {
        let clock_us = seen.arrival_wall.unix_us() - seen.arrival_us;
        let step_us = self.clock_us.replace(clock_us).map_or(0, |before| clock_us - before);
        let was_set = step_us.abs() > CLOCK_STEP_US;
        if was_set {
            self.offset_us = self.offset_us.map(|offset| offset + step_us);
        }
        was_set
    }

    /// When the unit was taken.
    pub(super) fn wall_of(&mut self, seen: Seen) -> WallTime {
        let arrival_offset = seen.arrival_wall.unix_us() - seen.arrival_us + seen.lag_us;
        self.arrival_offset_us = Some(arrival_offset);
        let is_sane =
            |r: &Reported| r.is_steady && (r.offset_us - arrival_offset).abs() <= CAMERA_OFFSET_MAX_US;
        let target = self.reported.filter(is_sane).map_or(arrival_offset, |reported| reported.offset_us);
        let offset = match self.offset_us {
            None => {
                self.started_us = seen.arrival_us;
                self.highest_us = seen.pts_us;
                target
            }
            Some(offset) => {
                let passed = (seen.pts_us - self.highest_us).max(0);
                let limit = if seen.arrival_us - self.started_us <= SETTLE_US {
                    passed
                } else {
                    passed / SLEW_DIVISOR
                };
                // Upwards a step while settling does no harm; downwards times must not fall.
                let up = if seen.arrival_us - self.started_us <= SETTLE_US { i64::MAX } else { limit };
                offset + (target - offset).clamp(-limit, up)
            }
        };
        self.offset_us = Some(offset);
        self.highest_us = self.highest_us.max(seen.pts_us);
        WallTime(seen.pts_us + offset)
    }
}
