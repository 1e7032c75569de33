//! Jitter: how unevenly one track's packets come, from their arrivals and timestamps.
//!
//! A mean over some 16 packets of what the delay of each differs by from that of the one before. Timestamps are those of
//! presentation, so a stream with B-frames shows their reordering too, as everywhere.
//!
//! Units: ticks of the track's clock. Limits: [`STEP_MAX_S`].
//! Spec: RFC 3550 s6.4.1, app. A.8.

use std::time::{Duration, Instant};

/// A greater step of the delay is no jitter: the sender set its clock, or stamped one picture hours away. It is left out.
const STEP_MAX_S: u32 = 10;

/// The jitter of one track.
#[derive(Clone, Copy, Debug)]
pub struct Jitter {
    clock_rate: u32,
    /// When the first packet came: arrivals are counted from there.
    origin: Option<Instant>,
    /// Arrival minus timestamp of the packet before; any offset is in it, and drops out of differences.
    transit: Option<u32>,
    /// In sixteenths of a tick, so that rounding does not add up.
    sixteenths: u64,
}

impl Jitter {
    /// Of a track that nothing came of yet; `clock_rate` in Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate, origin: None, transit: None, sixteenths: 0 }
    }

    /// A packet came.
    pub(super) fn handle(&mut self, rtp_timestamp: u32, now: Instant) {
        let origin = *self.origin.get_or_insert(now);
        let transit = self.ticks_in(now.saturating_duration_since(origin)).wrapping_sub(rtp_timestamp);
        let Some(before) = self.transit.replace(transit) else { return };
        let step = transit.wrapping_sub(before);
        let distance = step.min(step.wrapping_neg());
        if distance <= self.clock_rate.saturating_mul(STEP_MAX_S) {
            let forgotten = (self.sixteenths + 8) >> 4;
            self.sixteenths = self.sixteenths + u64::from(distance) - forgotten;
        }
    }

    /// What comes from now on is numbered and stamped anew.
    pub(super) fn start_anew(&mut self) {
        *self = Self::new(self.clock_rate);
    }

    /// In ticks, as reports tell it.
    pub fn ticks(&self) -> u32 {
        u32::try_from(self.sixteenths >> 4).unwrap_or(u32::MAX)
    }

    /// In microseconds.
    pub fn us(&self) -> u64 {
        (self.sixteenths * 1_000_000).checked_div(u64::from(self.clock_rate) * 16).unwrap_or(0)
    }

    /// The clock's low 32 bits: it wraps as timestamps do.
    fn ticks_in(&self, elapsed: Duration) -> u32 {
        let rate = u64::from(self.clock_rate);
        let below_a_second = u64::from(elapsed.subsec_nanos()) * rate / 1_000_000_000;
        let ticks = elapsed.as_secs().wrapping_mul(rate).wrapping_add(below_a_second);
        u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets as (milliseconds of arrival, timestamp), on a clock of 8 kHz.
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn after(packets: &[(u64, u32)]) -> Jitter {
        let mut jitter = Jitter::new(8000);
        let begin = Instant::now();
        for (at_ms, rtp_timestamp) in packets {
            jitter.handle(*rtp_timestamp, begin + Duration::from_millis(*at_ms));
        }
        jitter
    }

    #[test]
    fn packets_that_keep_time_have_no_jitter_across_the_wrap() {
        let even: Vec<_> = (0..100).map(|n| (u64::from(n) * 20, (n * 160_u32).wrapping_sub(5000))).collect();
        assert_eq!((after(&even).ticks(), after(&even).us()), (0, 0));
        assert_eq!(after(&[]).ticks(), 0);
    }

    /// By hand: S is 16 times the jitter, S += D - (S + 8) / 16.
    #[test]
    fn jitter_is_what_the_standards_own_formula_gives() {
        // Due each 20 ms; D of 10 ms is 80 ticks.
        // 30 ms instead of 20: D = 80, S = 0 + 80 - 0 = 80, J = 5.
        assert_eq!(after(&[(0, 0), (30, 160)]).ticks(), 5);
        // 40 ms, in time again: D = 80, S = 80 + 80 - (88 / 16 = 5) = 155, J = 9.
        assert_eq!(after(&[(0, 0), (30, 160), (40, 320)]).ticks(), 9);
        // 60 ms, in time: D = 0, S = 155 - (163 / 16 = 10) = 145, J = 9, which is 145 / 16 * 125 us.
        let calm = after(&[(0, 0), (30, 160), (40, 320), (60, 480)]);
        assert_eq!((calm.ticks(), calm.us()), (9, 1132));
    }

    #[test]
    fn packets_of_one_picture_share_its_timestamp_and_their_spread_counts() {
        // 5 ms apart with one timestamp: D = 40 each; S = 40, then 40 + 40 - (48 / 16 = 3) = 77, J = 4.
        assert_eq!(after(&[(0, 7), (5, 7), (10, 7)]).ticks(), 4);
    }

    #[test]
    fn intelbras_picture_stamped_hours_away_is_no_jitter() {
        let mut packets = vec![(0, 0), (20, 160), (40, 3 * 3600 * 8000), (60, 480)];
        assert_eq!(after(&packets).ticks(), 0);
        packets.push((90, 640));
        assert_eq!(after(&packets).ticks(), 5, "what comes after is measured again");
    }

    #[test]
    fn clocks_that_no_camera_has_break_nothing() {
        for rate in [0, 1, u32::MAX] {
            let mut jitter = Jitter::new(rate);
            #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
            let begin = Instant::now();
            for n in 0..1000_u32 {
                jitter.handle(n.wrapping_mul(0x9e37_79b9), begin + Duration::from_secs(u64::from(n) * 3600));
            }
            // Half the circle is the furthest that two delays can be apart.
            assert!(jitter.ticks() <= 1 << 31 && jitter.us() <= 1_000_000 << 31, "{rate}");
        }
    }
}
