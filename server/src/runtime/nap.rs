//! Nap: how long a shard sleeps once it has nothing left to do, by how its cameras send.
//!
//! A camera that writes a picture at once is read once a picture, however short the naps are. One that spreads its packets
//! over the time until the next picture is read after each nap: a longer one saves most of its reads. Which of the two
//! most cameras do is seen after short naps: whether each found more than three quarters of them with something new.
//!
//! Belongs here: the choice. Does not: threads (-> shards).

use std::cell::{Cell, RefCell};
use std::time::Duration;

/// The usual nap. A viewer's delay grows by it at most; by half of it on average.
const SHORT: Duration = Duration::from_millis(10);

/// On a shard of many cameras that trickle: as long as a picture of 25 a second.
const LONG: Duration = Duration::from_millis(40);

/// Cameras from which on it is worth it; below, the processor has time enough.
const CAMERAS_MIN: usize = 64;

/// Long naps until short ones look again how the cameras send.
const LONG_ONES: u32 = 32;

/// Short naps in a row that tell: cameras that write a picture at once may do so at the same moment, not twice in 20 ms.
const FULL_LOOKS: u32 = 2;

thread_local! {
    static READS: Cell<usize> = const { Cell::new(0) };
    static PACE: RefCell<Pace> = const { RefCell::new(Pace::new()) };
}

/// Counts a camera of this thread that had something new on its connection. Datagrams are not counted: what waits of them is
/// bounded by a socket's buffer, so cameras that send over UDP keep the short naps.
pub(crate) fn count_read() {
    READS.set(READS.get() + 1);
}

/// How long this thread, of so many cameras, sleeps now.
pub(super) fn next(cameras: usize) -> Duration {
    PACE.with_borrow_mut(|pace| pace.next(READS.take(), cameras))
}

/// How a shard's cameras sent when it last looked.
#[derive(Debug)]
struct Pace {
    long_ones_left: u32,
    /// Short naps in a row after which most cameras had something new.
    full_looks: u32,
}

impl Pace {
    const fn new() -> Self {
        Self { long_ones_left: 0, full_looks: 0 }
    }

    /// After a look that found `reads` of `cameras` with something new.
    fn next(&mut self, reads: usize, cameras: usize) -> Duration {
        if self.long_ones_left > 0 {
            // That all have something new after a long nap says nothing.
            self.long_ones_left -= 1;
        } else {
            let is_full = cameras >= CAMERAS_MIN && reads > cameras / 4 * 3;
            self.full_looks = if is_full { self.full_looks + 1 } else { 0 };
            if self.full_looks == FULL_LOOKS {
                self.full_looks = 0;
                self.long_ones_left = LONG_ONES;
            }
        }
        if self.long_ones_left > 0 { LONG } else { SHORT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naps(pace: &mut Pace, reads: usize, cameras: usize, count: usize) -> Vec<Duration> {
        (0..count).map(|_| pace.next(reads, cameras)).collect()
    }

    #[test]
    fn many_cameras_that_trickle_are_read_seldom_and_looked_at_again() {
        let mut pace = Pace::new();
        assert_eq!(naps(&mut pace, 100, 128, 1), [SHORT]);
        for _ in 0..3 {
            assert_eq!(naps(&mut pace, 100, 128, 32), [LONG; 32]);
            assert_eq!(naps(&mut pace, 100, 128, 2), [SHORT; 2]);
        }
        // They change their ways.
        assert_eq!(naps(&mut pace, 128, 128, 32), [LONG; 32]);
        assert_eq!(naps(&mut pace, 30, 128, 50), [SHORT; 50]);
    }

    #[test]
    fn few_cameras_and_those_that_write_a_picture_at_once_are_read_soon() {
        let mut pace = Pace::new();
        assert_eq!(naps(&mut pace, 63, 63, 50), [SHORT; 50]);
        assert_eq!(naps(&mut pace, 90, 128, 50), [SHORT; 50]);
        // All at the same moment, four times as far apart as a short nap is long.
        for _ in 0..20 {
            assert_eq!(naps(&mut pace, 128, 128, 1), [SHORT]);
            assert_eq!(naps(&mut pace, 0, 128, 3), [SHORT; 3]);
        }
    }
}
