//! Pace: when a unit is due: segments come seconds at a time, and cameras do not.
//!
//! ```text
//!  first unit ─► anchor: its time is now ─► later ones as far from it as their times are
//!                   ▲                              │ late, far ahead, or backwards
//!                   └──────────────────────────────┘
//! ```
//!
//! Units: microseconds of the source's clock. Limits: [`LATE_MAX`], [`STEP_US_MAX`].

use std::time::{Duration, Instant};

/// Behind by more than this, there is no catching up: time goes on from here.
const LATE_MAX: Duration = Duration::from_secs(2);

/// A unit further than this from the one before is not waited for: the source's clock jumped.
const STEP_US_MAX: i64 = 10_000_000;

/// With a backlog, time runs faster by one part in so many.
const HURRY_DIVISOR: u32 = 20;

/// How fast time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// As the source's.
    None,
    /// A little faster: more is there than should be.
    Some,
}

/// The clock of one session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    anchor: Option<Anchor>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    /// The last unit's time, and when it was due.
    at_us: i64,
    due: Instant,
}

impl Pacer {
    /// When a unit is due that is decoded at `at_us` of the source's clock; asked in the order of these times, once for each.
    pub fn due(&mut self, at_us: i64, haste: Haste, now: Instant) -> Instant {
        let due = self.anchor.and_then(|anchor| {
            let step_us = at_us.checked_sub(anchor.at_us).filter(|step| step.abs() <= STEP_US_MAX)?;
            let step = Duration::from_micros(step_us.unsigned_abs());
            if step_us < 0 {
                // Sound and pictures of one instant come in either order.
                return anchor.due.checked_sub(step);
            }
            let hurry = if haste == Haste::Some { step / HURRY_DIVISOR } else { Duration::ZERO };
            Some(anchor.due + step - hurry)
        });
        let due = due.filter(|due| *due + LATE_MAX >= now).unwrap_or(now);
        self.anchor = Some(Anchor { at_us, due });
        due
    }
}
