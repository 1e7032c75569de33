//! Thumbnails: of which key frames of a file a small picture is kept: of those that are shown at whole multiples of a distance.
//!
//! Those are the times that `/timeline` lists, so what is asked for is what is kept. A key frame is shown until the next one
//! begins: which of them it is at a multiple is known as soon as media reaches beyond that.
//!
//! Units: wall time, reckoned by the ticks of one file, as everybody does who looks for a picture in it.

use std::time::Duration;

use crate::time::WallTime;

/// The first whole multiple of a distance at or after a time.
pub fn multiple_from(at: WallTime, every: Duration) -> WallTime {
    let every_us = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    let into_us = at.unix_us().rem_euclid(every_us);
    at.plus_us(if into_us == 0 { 0 } else { every_us - into_us })
}

/// The newest key frame of a file, until it is known whether it is shown at a multiple; `Frame` is what stands for it.
#[derive(Clone, Debug)]
pub struct NewestFrame<Frame>(Option<(WallTime, Frame)>);

impl<Frame> Default for NewestFrame<Frame> {
    fn default() -> Self {
        Self(None)
    }
}

impl<Frame> NewestFrame<Frame> {
    /// A key frame begins, and ends the one before.
    pub fn begin(&mut self, at: WallTime, frame: Frame) {
        self.0 = Some((at, frame));
    }

    /// Media reaches up to `end`: the key frame and its time, once, when it is shown at a multiple before that.
    pub fn reach(&mut self, end: WallTime, every: Duration) -> Option<(WallTime, Frame)> {
        self.0.take_if(|(at, _)| multiple_from(*at, every) < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key frames each `gop_ms` from `start_ms` on, parts of 200 ms: the times of those that are kept, in ms.
    fn kept(start_ms: i64, gop_ms: i64, every: Duration) -> Vec<i64> {
        let mut newest = NewestFrame::default();
        let mut kept = Vec::new();
        for part in 0..100 {
            let begin_ms = start_ms + part * 200;
            if part * 200 % gop_ms == 0 {
                newest.begin(WallTime(begin_ms * 1000), begin_ms);
            }
            let reached = newest.reach(WallTime((begin_ms + 200) * 1000), every);
            kept.extend(reached.map(|(at, frame)| {
                assert_eq!(at.unix_us(), frame * 1000);
                frame
            }));
        }
        kept
    }

    #[test]
    fn those_are_kept_that_are_shown_at_multiples_and_each_once() {
        let second = Duration::from_secs(1);
        assert_eq!(kept(0, 1000, 5 * second), [0, 5000, 10_000, 15_000], "at the very times");
        assert_eq!(kept(300, 2000, 5 * second), [4300, 8300, 14_300, 18_300], "the last before them");
        assert_eq!(kept(0, 8000, 2 * second), [0, 8000, 16_000], "GOPs that are longer than the distance");
        assert_eq!(kept(100, 400, second / 4).len(), 50, "nearer than key frames come: all");
        assert_eq!(multiple_from(WallTime(-1), second), WallTime(0));
    }
}
