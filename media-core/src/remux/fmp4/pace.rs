//! Pace: when an open part is long enough (correctness: H2).
//!
//! A part is closed when one more access unit would carry it past the target; it is legal when it is
//! then at least 85 % of the target. All times are ticks of the leading track.

use crate::time::{Timescale, rescale};

/// The lower bound of a part's duration, percent of PART-TARGET (rfc8216bis s4.4.4.9).
const PART_PERCENT_MIN: i64 = 85;

/// The rule for one stream: fixed with its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pacer {
    target_ticks: i64,
    min_ticks: i64,
    typical_ticks: i64,
}

impl Pacer {
    /// For parts of at most `target_ticks`, of units that mostly last `typical_ticks`.
    pub(super) fn new(target_ticks: i64, typical_ticks: i64) -> Self {
        let min_ticks = (target_ticks * PART_PERCENT_MIN + 99) / 100;
        Self { target_ticks, min_ticks, typical_ticks }
    }

    /// The same rule in ticks of another timescale.
    pub(super) fn rescaled(self, from: Timescale, to: Timescale) -> Self {
        let convert = |ticks| rescale(ticks, from.hz(), to.hz());
        Self::new(convert(self.target_ticks), convert(self.typical_ticks).max(1))
    }

    /// What a unit mostly lasts: the guess for one whose end is not known.
    pub(super) fn typical_ticks(&self) -> i64 {
        self.typical_ticks
    }

    /// The longest part.
    pub(super) fn target_ticks(&self) -> i64 {
        self.target_ticks
    }

    /// The part must be closed before a unit of `duration` is added.
    pub(super) fn closes_before(&self, part_ticks: i64, duration: i64) -> bool {
        part_ticks > 0 && part_ticks + duration > self.target_ticks
    }

    /// The part is long enough, and another typical unit would be too much.
    pub(super) fn closes_after(&self, part_ticks: i64) -> bool {
        part_ticks >= self.min_ticks && part_ticks + self.typical_ticks > self.target_ticks
    }

    /// Too short for any but an independent part or the last of its segment.
    pub(super) fn is_short(&self, part_ticks: i64) -> bool {
        part_ticks < self.min_ticks
    }

    /// Parts of these unit durations that would break the rule: too short, or too long by one unit alone.
    pub(super) fn violations(&self, durations: &[i64]) -> usize {
        let mut part = 0;
        let mut violations = 0;
        for duration in durations {
            if self.closes_before(part, *duration) {
                violations += usize::from(self.is_short(part));
                part = 0;
            }
            part += duration;
            violations += usize::from(part > self.target_ticks);
            if self.closes_after(part) {
                part = 0;
            }
        }
        violations
    }
}
