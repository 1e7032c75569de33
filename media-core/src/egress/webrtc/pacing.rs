//! Pacing: which RTP timestamp a unit gets and how fast a joining viewer is fed.
//!
//! ```text
//!  ring   K . . . . . . . . L          K = random access point, L = newest unit
//!         └── backlog ────┘ └ live ►
//!  RTP    0 1 2 3 4 5 6 7 8 ├─ true spacing ─►      (steps of BACKLOG_STEP_TICKS)
//! ```
//!
//! A viewer that joins gets the open GOP at once. With true timestamps it would play the past in real
//! time and stay behind for ever; so the backlog's timestamps lie [`BACKLOG_STEP_TICKS`] apart: all of it is
//! due now, the decoder runs through it and shows the newest picture. From the unit that nobody waits
//! behind ([`Delivery::Live`]) the spacing is the camera's.
//!
//! [`BacklogRate`] bounds the burst like TCP's slow start: it doubles while nothing is reported lost.
//!
//! Invariants: timestamps of a [`Timeline`] rise strictly (modulo 2^32). Units: ticks of the RTP clock.

use std::time::{Duration, Instant};

use crate::time::{Timescale, rescale};

/// Distance of two units of the backlog, in ticks: 0.1 ms of a 90 kHz clock. Receivers need rising
/// timestamps to tell pictures apart; a 20 s GOP at 30 pictures a second spans 60 ms.
pub const BACKLOG_STEP_TICKS: u32 = 9;

/// The largest step between two live units that is taken from their presentation times; a longer one
/// is an outage or a jump, and the time that really went by is used.
pub const LIVE_STEP_MAX: Duration = Duration::from_secs(10);

/// Rate at which a backlog starts: 400 kB in the first 100 ms even if nothing comes back, which home
/// routers and 4G buffers hold.
pub const BACKLOG_BPS_FIRST: u64 = 32_000_000;

/// The fastest a backlog is sent, when no loss was reported on the way there. At twice this rate
/// Chromium's receive buffer (256 KiB) overflowed now and then on loopback, which costs a retransmission
/// of 200 ms; at this one a 10 s GOP of 4 Mbit/s still takes under 250 ms.
pub const BACKLOG_BPS_MAX: u64 = 200_000_000;

/// The slowest a backlog is sent after losses; above a camera's own rate, so that it ends.
pub const BACKLOG_BPS_MIN: u64 = 12_000_000;

/// Rate of a backlog that is sent again because the first went astray: a viewer's machine or link that
/// lost packets of the fast one gets a steady one.
pub const BACKLOG_BPS_AGAIN: u64 = 50_000_000;

/// The rate doubles each round trip, and not more often than this: loopback would double it each packet.
pub const BACKLOG_GROWTH_MIN: Duration = Duration::from_millis(20);

/// What may be sent in one go without waiting: one key frame of a 1080p camera.
const BURST_BYTES: u64 = 64 << 10;

/// How a unit reaches the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// From the ring, with newer units already waiting behind it.
    Backlog,
    /// As the camera sends it.
    Live,
}

/// RTP timestamps of one track toward one viewer.
#[derive(Clone, Debug)]
pub struct Timeline {
    rtp_clock: Timescale,
    next_first: u32,
    last: Option<Stamped>,
}

#[derive(Clone, Copy, Debug)]
struct Stamped {
    rtp_timestamp: u32,
    /// `None` after [`Timeline::rebase`]: the next unit's times have another origin.
    pts: Option<(i64, Timescale)>,
    sent_at: Instant,
}

impl Timeline {
    /// A timeline that begins at `first_rtp_timestamp` (random, RFC 3550 s5.1).
    pub fn new(rtp_clock: Timescale, first_rtp_timestamp: u32) -> Self {
        Self { rtp_clock, next_first: first_rtp_timestamp, last: None }
    }

    /// The RTP timestamp of the next unit: `pts_ticks` of `timescale`, sent at `now`.
    pub fn stamp(&mut self, pts_ticks: i64, timescale: Timescale, delivery: Delivery, now: Instant) -> u32 {
        let rtp_timestamp = match self.last {
            None => self.next_first,
            Some(last) => {
                let step = match delivery {
                    Delivery::Backlog => BACKLOG_STEP_TICKS,
                    Delivery::Live => self.live_step(last, pts_ticks, timescale, now),
                };
                last.rtp_timestamp.wrapping_add(step)
            }
        };
        self.last = Some(Stamped { rtp_timestamp, pts: Some((pts_ticks, timescale)), sent_at: now });
        rtp_timestamp
    }

    /// The next unit's times have no relation to the last one's: after a format change or a jump
    /// in the ring the time that went by decides.
    pub fn rebase(&mut self) {
        if let Some(last) = &mut self.last {
            last.pts = None;
        }
    }

    fn live_step(&self, last: Stamped, pts_ticks: i64, timescale: Timescale, now: Instant) -> u32 {
        let longest = self.rtp_clock.duration_to_ticks(LIVE_STEP_MAX);
        let by_pts = last.pts.filter(|(_, last_scale)| *last_scale == timescale).map(|(last_pts, _)| {
            rescale(pts_ticks.saturating_sub(last_pts), timescale.hz(), self.rtp_clock.hz())
        });
        let step = by_pts.filter(|step| *step <= longest).unwrap_or_else(|| {
            let waited = now.saturating_duration_since(last.sent_at);
            self.rtp_clock.duration_to_ticks(waited)
        });
        u32::try_from(step).unwrap_or(0).max(BACKLOG_STEP_TICKS)
    }
}

/// How fast the backlog of one joining viewer is sent: a token bucket whose rate grows until loss.
#[derive(Clone, Debug)]
pub struct BacklogRate {
    bps: u64,
    growth_interval: Duration,
    grown_at: Instant,
    filled_at: Instant,
    budget_bytes: u64,
    has_lost: bool,
}

impl BacklogRate {
    /// A rate for a viewer at a distance of about `round_trip`.
    pub fn new(round_trip: Duration, now: Instant) -> Self {
        Self {
            bps: BACKLOG_BPS_FIRST,
            growth_interval: round_trip.max(BACKLOG_GROWTH_MIN),
            grown_at: now,
            filled_at: now,
            budget_bytes: BURST_BYTES,
            has_lost: false,
        }
    }

    /// A steady rate, for a viewer who lost packets of the last backlog.
    pub fn again(now: Instant) -> Self {
        Self { bps: BACKLOG_BPS_AGAIN, has_lost: true, ..Self::new(Duration::ZERO, now) }
    }

    /// Asks to send a unit of `bytes` now.
    ///
    /// # Errors
    /// The instant at which to ask again. A unit larger than the burst only has to wait for a full bucket.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> Result<(), Instant> {
        self.grow(now);
        self.fill(now);
        let wanted = u64::try_from(bytes).unwrap_or(u64::MAX);
        let needed = wanted.min(BURST_BYTES);
        if self.budget_bytes >= needed {
            // What exceeds the bucket is owed: the clock of the bucket moves ahead by it.
            let owed = wanted.saturating_sub(self.budget_bytes);
            self.budget_bytes = self.budget_bytes.saturating_sub(wanted);
            self.filled_at += self.time_for(owed);
            return Ok(());
        }
        Err(now.max(self.filled_at) + self.time_for(needed - self.budget_bytes))
    }

    /// The viewer reported losses (NACK): half the rate, and no more growth for this backlog.
    pub fn lost(&mut self) {
        self.bps = (self.bps / 2).max(BACKLOG_BPS_MIN);
        self.has_lost = true;
    }

    /// Bits per second now.
    pub fn bps(&self) -> u64 {
        self.bps
    }

    fn grow(&mut self, now: Instant) {
        while !self.has_lost && self.bps < BACKLOG_BPS_MAX {
            let next = self.grown_at + self.growth_interval;
            if next > now {
                break;
            }
            self.fill(next);
            self.bps = (self.bps * 2).min(BACKLOG_BPS_MAX);
            self.grown_at = next;
        }
    }

    fn fill(&mut self, now: Instant) {
        let gone = now.saturating_duration_since(self.filled_at);
        let nanos = u64::try_from(gone.as_nanos()).unwrap_or(u64::MAX);
        let earned = u128::from(nanos) * u128::from(self.bps) / 8_000_000_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned > 0 {
            self.budget_bytes = self.budget_bytes.saturating_add(earned).min(BURST_BYTES);
            self.filled_at = now;
        }
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(self.bps);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)) + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a test")]
        Instant::now()
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn backlog_spans_milliseconds_and_live_keeps_the_cameras_spacing() {
        let mut line = Timeline::new(Timescale::VIDEO, 1000);
        let now = start();
        let stamps: Vec<u32> =
            (0..250).map(|n| line.stamp(n * 3600, Timescale::VIDEO, Delivery::Backlog, now)).collect();
        assert_eq!(stamps[0], 1000);
        assert!(stamps.windows(2).all(|w| w[1] - w[0] == BACKLOG_STEP_TICKS));
        let last = stamps[249];
        assert_eq!(line.stamp(250 * 3600, Timescale::VIDEO, Delivery::Live, now), last + 3600);
        assert_eq!(line.stamp(251 * 3600 + 90, Timescale::VIDEO, Delivery::Live, now + ms(41)), last + 7290);
    }

    #[test]
    fn timestamps_never_go_back_whatever_the_camera_says() {
        let mut line = Timeline::new(Timescale::VIDEO, u32::MAX - 5);
        let now = start();
        let first = line.stamp(900_000, Timescale::VIDEO, Delivery::Live, now);
        let repeated = line.stamp(900_000, Timescale::VIDEO, Delivery::Live, now);
        let backward = line.stamp(0, Timescale::VIDEO, Delivery::Live, now);
        assert_eq!(repeated, first.wrapping_add(BACKLOG_STEP_TICKS));
        assert_eq!(backward, repeated.wrapping_add(BACKLOG_STEP_TICKS));
        // A jump of an hour is not taken over; the second that went by is.
        let far = line.stamp(324_000_000, Timescale::VIDEO, Delivery::Live, now + ms(1000));
        assert_eq!(far, backward.wrapping_add(90_000));
    }

    #[test]
    fn after_a_rebase_the_time_that_went_by_decides() {
        let mut line = Timeline::new(Timescale::VIDEO, 0);
        let now = start();
        line.stamp(500_000, Timescale::VIDEO, Delivery::Live, now);
        line.rebase();
        assert_eq!(line.stamp(0, Timescale::VIDEO, Delivery::Live, now + ms(200)), 18_000);
        assert_eq!(line.stamp(3600, Timescale::VIDEO, Delivery::Live, now + ms(240)), 21_600);
    }

    #[test]
    fn audio_in_another_timescale_is_stamped_in_the_rtp_clock() {
        let mut line = Timeline::new(Timescale::OPUS, 0);
        let eight_khz = Timescale::new(8000).unwrap();
        let now = start();
        line.stamp(0, eight_khz, Delivery::Live, now);
        assert_eq!(line.stamp(160, eight_khz, Delivery::Live, now), 960);
    }

    /// Sends `unit_bytes` units until `total_bytes` are through; says how long that takes.
    fn time_to_send(
        rate: &mut BacklogRate,
        unit_bytes: usize,
        total_bytes: usize,
        begin: Instant,
    ) -> Duration {
        let mut now = begin;
        let mut sent = 0;
        while sent < total_bytes {
            match rate.admit(unit_bytes, now) {
                Ok(()) => sent += unit_bytes,
                Err(later) => {
                    assert!(later > now, "waiting must move time");
                    now = later;
                }
            }
        }
        now - begin
    }

    #[test]
    fn ten_second_gop_of_4_mbit_arrives_in_a_quarter_second_when_nothing_is_lost() {
        let begin = start();
        let mut rate = BacklogRate::new(ms(1), begin);
        let took = time_to_send(&mut rate, 20_000, 5_000_000, begin);
        assert!(took < ms(250), "{took:?}");
        assert_eq!(rate.bps(), BACKLOG_BPS_MAX);
    }

    #[test]
    fn backlog_over_a_far_link_starts_gently() {
        let begin = start();
        let mut rate = BacklogRate::new(ms(100), begin);
        let mut sent = 0;
        while rate.admit(20_000, begin + ms(99)).is_ok() {
            sent += 20_000;
        }
        assert!(sent <= 100_000, "one burst at once, {sent} bytes");
        let mut rate = BacklogRate::new(ms(100), begin);
        let took = time_to_send(&mut rate, 10_000, 400_000, begin);
        assert!((ms(80)..ms(110)).contains(&took), "{took:?}");
    }

    #[test]
    fn losses_halve_the_rate_and_end_its_growth() {
        let begin = start();
        let mut rate = BacklogRate::new(ms(1), begin);
        rate.lost();
        assert_eq!(rate.bps(), BACKLOG_BPS_FIRST / 2);
        let took = time_to_send(&mut rate, 10_000, 2_000_000, begin);
        assert!(took > ms(900), "{took:?}");
        for _ in 0..10 {
            rate.lost();
        }
        assert_eq!(rate.bps(), BACKLOG_BPS_MIN);
    }

    #[test]
    fn backlog_that_is_sent_again_goes_out_steadily() {
        let begin = start();
        let mut rate = BacklogRate::again(begin);
        let took = time_to_send(&mut rate, 20_000, 5_000_000, begin);
        assert!((ms(750)..ms(850)).contains(&took), "{took:?}");
    }

    #[test]
    fn unit_larger_than_the_bucket_is_sent_and_paid_for() {
        let begin = start();
        let mut rate = BacklogRate::new(ms(1000), begin);
        assert!(rate.admit(1_000_000, begin).is_ok());
        let next = rate.admit(1, begin).unwrap_err();
        assert!(next - begin > ms(200), "{:?}", next - begin);
    }
}
