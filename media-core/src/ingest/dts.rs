//! Decode times: from presentation times in decode order, through the depth of reordering.
//!
//! RTP carries presentation times only. If at most D pictures come before another in decode order
//! and after it in output order, then once picture n is there, the n - D smallest presentation times
//! are all known; the (n - D)-th of them is picture n's decode time. So a heap of the newest D
//! presentation times is all the state, nothing waits, and lost pictures change nothing: leaving
//! pictures out never deepens the reordering.
//!
//! ```text
//!  decode order      I0  P4  B2  b1  b3  P8 ...       D = 2
//!  decode time       -2  -1   0   1   2   3 ...       smallest times, two pictures late
//! ```
//!
//! D comes from the parameter sets; where they don't say, it starts at 0 and grows as soon as a
//! picture's order count leaves places free, or at the latest when a decode time would not rise.
//! It never shrinks within a connection: that would be a hole in the decode times for nothing.
//!
//! Invariants: decode times rise strictly, and dts <= pts.
//! Limits: [`REORDER_DEPTH_MAX`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The deepest reordering there is: 16 pictures (H.264 sE.2.1, H.265 sA.4.2).
pub const REORDER_DEPTH_MAX: usize = 16;

/// A picture's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Decode time in ticks.
    pub dts_ticks: i64,
    /// Presentation time in ticks: as given, unless it had to move.
    pub pts_ticks: i64,
    /// The presentation time had to move for the decode times to rise.
    pub is_repaired: bool,
}

/// Gives decode times to the pictures of one track.
#[derive(Clone, Debug, Default)]
pub struct DecodeTimes {
    depth: usize,
    heap: BinaryHeap<Reverse<i64>>,
    last_dts: Option<i64>,
    /// No decode time of the connection before is later.
    floor: Option<i64>,
    /// The depth grew midway, and the heap is not as full as it asks.
    is_learning: bool,
}

impl DecodeTimes {
    /// For a connection whose decode times must be after `floor_ticks`.
    pub fn after(floor_ticks: i64) -> Self {
        Self { floor: Some(floor_ticks), ..Self::default() }
    }

    /// Pictures that may overtake another, as far as known.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The parameter sets, or the order counts of pictures, say that the depth is at least this.
    pub fn deepen(&mut self, depth: usize) {
        let depth = depth.min(REORDER_DEPTH_MAX);
        if depth > self.depth {
            self.is_learning = self.last_dts.is_some();
            self.depth = depth;
        }
    }

    /// The next picture in decode order; `frame_ticks` is about what a picture lasts.
    pub fn place(&mut self, pts_ticks: i64, frame_ticks: i64) -> Times {
        self.heap.push(Reverse(pts_ticks));
        let frame_ticks = frame_ticks.max(1);
        let dts = if self.heap.len() > self.depth { self.pop_smallest() } else { None };
        let dts = match (dts, self.last_dts) {
            (Some(dts), Some(last)) if dts <= last => {
                // A picture came later than the depth allows: it was deeper than we knew.
                self.deepen(self.depth + 1);
                self.step_before_smallest(last, frame_ticks)
            }
            (Some(dts), _) => {
                self.is_learning = false;
                dts
            }
            (None, Some(last)) => self.step_before_smallest(last, frame_ticks),
            (None, None) => {
                let missing = i64::try_from(self.depth + 1 - self.heap.len()).unwrap_or(0);
                let first = self.smallest().unwrap_or(pts_ticks) - missing * frame_ticks;
                self.floor.map_or(first, |floor| first.max(floor + 1))
            }
        };
        self.last_dts = Some(dts);
        let pts = pts_ticks.max(dts);
        Times { dts_ticks: dts, pts_ticks: pts, is_repaired: pts != pts_ticks }
    }

    fn smallest(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse(pts)| *pts)
    }

    /// Takes the smallest, and more when there are more than the depth needs.
    fn pop_smallest(&mut self) -> Option<i64> {
        let mut popped = None;
        while self.heap.len() > self.depth {
            popped = self.heap.pop().map(|Reverse(pts)| pts);
        }
        popped
    }

    /// A decode time after `last` while the heap fills.
    ///
    /// At the start the room up to the smallest presentation time is shared evenly. When the depth
    /// grew midway the pictures to come lie in that room too: after one with 2^D - 1 places free
    /// before it, the next presentation time is a 2^D-th of the room away, and D decode times must fit.
    fn step_before_smallest(&self, last: i64, frame_ticks: i64) -> i64 {
        let room = self.smallest().map_or(frame_ticks, |smallest| smallest.saturating_sub(last));
        let parts = if self.is_learning {
            (self.depth + 1) << self.depth
        } else {
            self.depth + 2 - self.heap.len().min(self.depth)
        };
        last + (room / i64::try_from(parts).unwrap_or(i64::MAX)).clamp(1, frame_ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of pictures whose presentation times are given in frames of 3600 ticks.
    fn place_all(depth: usize, pts_frames: &[i64]) -> Vec<(i64, i64)> {
        let mut machine = DecodeTimes::default();
        machine.deepen(depth);
        pts_frames
            .iter()
            .map(|pts| {
                let times = machine.place(pts * 3600, 3600);
                (times.dts_ticks, times.pts_ticks)
            })
            .collect()
    }

    fn assert_rising(times: &[(i64, i64)]) {
        assert!(times.windows(2).all(|w| w[0].0 < w[1].0), "{times:?}");
        assert!(times.iter().all(|(dts, pts)| dts <= pts), "{times:?}");
    }

    #[test]
    fn stream_without_reordering_decodes_at_its_presentation_times() {
        assert_eq!(place_all(0, &[0, 1, 5]), [(0, 0), (3600, 3600), (18_000, 18_000)]);
    }

    #[test]
    fn pyramid_of_known_depth_decodes_one_frame_apart() {
        let times = place_all(2, &[0, 4, 2, 1, 3, 8, 6, 5, 7]);
        let dts: Vec<i64> = times.iter().map(|(dts, _)| dts / 3600).collect();
        assert_eq!(dts, [-2, -1, 0, 1, 2, 3, 4, 5, 6]);
        assert_rising(&times);
    }

    #[test]
    fn lost_pictures_of_a_pyramid_leave_decode_times_rising() {
        let all = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11];
        for lost in 0_u32..1 << (all.len() - 1) {
            // The first one is a random access point: without it none of the others would come.
            let is_kept = |n: u32| lost << 1 >> n & 1 == 0;
            let kept: Vec<i64> = all.iter().zip(0..).filter(|(_, n)| is_kept(*n)).map(|(p, _)| *p).collect();
            let times = place_all(2, &kept);
            assert_rising(&times);
            assert!(
                times.iter().zip(&kept).all(|((_, pts), kept)| *pts == kept * 3600),
                "{kept:?} {times:?}"
            );
        }
    }

    #[test]
    fn unknown_depth_is_learned_and_decode_times_rise_meanwhile() {
        let times = place_all(0, &[0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]);
        assert_rising(&times);
        // Once learned, presentation times are the camera's own.
        assert_eq!(
            times[5..].iter().map(|(_, pts)| pts / 3600).collect::<Vec<_>>(),
            [8, 6, 5, 7, 12, 10, 9, 11]
        );
    }

    #[test]
    fn depth_seen_at_the_first_gap_of_the_order_costs_no_presentation_time() {
        let mut machine = DecodeTimes::default();
        let mut times = vec![];
        for (pts, depth) in [(0, 0), (4, 2), (2, 0), (1, 0), (3, 0), (8, 0), (6, 0), (5, 0), (7, 0)] {
            machine.deepen(depth);
            let placed = machine.place(pts * 3600, 3600);
            assert!(!placed.is_repaired, "{pts}");
            times.push((placed.dts_ticks, placed.pts_ticks));
        }
        assert_rising(&times);
    }

    #[test]
    fn decode_times_go_on_rising_in_the_next_connection() {
        let mut machine = DecodeTimes::default();
        machine.deepen(2);
        let before: Vec<_> = [0, 4, 2, 1].map(|pts| machine.place(pts * 3600, 3600)).into();
        let mut machine = DecodeTimes::after(before[3].dts_ticks);
        machine.deepen(2);
        let after = machine.place(5 * 3600, 3600);
        assert_eq!((after.dts_ticks, after.pts_ticks), (3 * 3600, 5 * 3600));
        let mut machine = DecodeTimes::after(after.dts_ticks);
        machine.deepen(2);
        let close = machine.place(4 * 3600, 3600);
        assert_eq!((close.dts_ticks, close.pts_ticks), (3 * 3600 + 1, 4 * 3600));
    }
}
