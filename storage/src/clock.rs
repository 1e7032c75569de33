//! Clock: how this crate learns the time: from its owner, so that a test can give it any.

use std::time::Instant;

use media_core::time::WallTime;

/// The two clocks, read by functions of the owner's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall-clock time, UTC.
    pub wall: fn() -> WallTime,
    /// Time that never goes back, for durations.
    pub monotonic: fn() -> Instant,
}
