//! Clock: the only place that reads the time.
//!
//! Everything else takes `now` as an argument, so that a test can give it any.
#![expect(clippy::disallowed_methods, reason = "this module is the clock that the ban points to")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use media_core::time::WallTime;
use rustix::time::{ClockId, clock_gettime};

/// Monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The processor's time that this thread has taken: it stands still while others run.
pub(crate) fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Wall-clock time, UTC; the epoch itself if the system clock stands before 1970.
pub(crate) fn wall_now() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
