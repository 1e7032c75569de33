//! Time: ticks of a timescale, wall-clock microseconds, NTP time, and conversions between them.
//!
//! Units are in the names: `_ticks` with a [`Timescale`], `_us`, `_ms`.

use std::num::NonZeroU32;
use std::time::Duration;

/// Ticks per second of a track: the mp4 timescale and the RTP clock rate at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timescale(NonZeroU32);

impl Timescale {
    /// 90 kHz, the clock rate of every RTP video payload format (RFC 6184 s8.2.1, RFC 7798 s7.1).
    pub const VIDEO: Self = Self(NonZeroU32::new(90_000).expect("not zero"));
    /// 48 kHz, the only clock rate of Opus (RFC 7587 s4.1).
    pub const OPUS: Self = Self(NonZeroU32::new(48_000).expect("not zero"));

    /// A timescale of `hz` ticks a second; `None` for zero.
    pub const fn new(hz: u32) -> Option<Self> {
        match NonZeroU32::new(hz) {
            Some(hz) => Some(Self(hz)),
            None => None,
        }
    }

    /// Ticks per second.
    pub const fn hz(self) -> u32 {
        self.0.get()
    }

    /// Converts ticks of this timescale to microseconds, rounding down.
    pub fn ticks_to_us(self, ticks: i64) -> i64 {
        rescale(ticks, self.hz(), 1_000_000)
    }

    /// Converts microseconds to ticks of this timescale, rounding down.
    pub fn us_to_ticks(self, us: i64) -> i64 {
        rescale(us, 1_000_000, self.hz())
    }

    /// A duration in ticks of this timescale, rounded down; saturates at `i64::MAX`.
    pub fn duration_to_ticks(self, duration: Duration) -> i64 {
        let ticks = duration.as_nanos().saturating_mul(u128::from(self.hz())) / 1_000_000_000;
        i64::try_from(ticks).unwrap_or(i64::MAX)
    }

    /// Ticks as a duration; negative ticks are zero.
    pub fn ticks_to_duration(self, ticks: i64) -> Duration {
        let ticks = u128::try_from(ticks).unwrap_or(0);
        let nanos = ticks * 1_000_000_000 / u128::from(self.hz());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Converts `value` from one rate to another without overflow, rounding towards minus infinity;
/// saturates at the ends of `i64`.
pub fn rescale(value: i64, from_hz: u32, to_hz: u32) -> i64 {
    let scaled = (i128::from(value) * i128::from(to_hz)).div_euclid(i128::from(from_hz.max(1)));
    i64::try_from(scaled).unwrap_or(if scaled < 0 { i64::MIN } else { i64::MAX })
}

/// A wall clock was set when it moved by more than this against the time that passed: NTP moves it by a thousandth at most,
/// or sets it.
pub const CLOCK_STEP_US: i64 = 2_000_000;

/// Wall-clock time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WallTime(pub i64);

impl WallTime {
    /// Microseconds since the Unix epoch.
    pub const fn unix_us(self) -> i64 {
        self.0
    }

    /// This time moved by `us` microseconds (either way), saturating.
    #[must_use]
    pub const fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Microseconds from `earlier` to this time; negative when `earlier` is later.
    pub const fn us_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Seconds between the NTP era 0 epoch (1900) and the Unix epoch (RFC 868).
const NTP_UNIX_OFFSET_SECS: i64 = 2_208_988_800;

/// A 64-bit NTP timestamp: seconds since 1900 in the high half, fraction in the low
/// (RFC 3550 s4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The wall-clock time, era 0 (until 2036) or era 1 when the top bit is clear.
    pub fn to_wall(self) -> WallTime {
        let secs = i64::try_from(self.0 >> 32).unwrap_or(0);
        // RFC 4330 s3: with the high bit clear the time is after 2036-02-07 (era 1).
        let era_secs = if secs & 0x8000_0000 == 0 { 1_i64 << 32 } else { 0 };
        let fraction = i64::try_from(((self.0 & 0xffff_ffff) * 1_000_000) >> 32).unwrap_or(0);
        WallTime((secs + era_secs - NTP_UNIX_OFFSET_SECS) * 1_000_000 + fraction)
    }

    /// The NTP time of a wall-clock time; wraps with the NTP era.
    pub fn from_wall(wall: WallTime) -> Self {
        let secs = wall.0.div_euclid(1_000_000) + NTP_UNIX_OFFSET_SECS;
        let us = wall.0.rem_euclid(1_000_000);
        let secs = u64::try_from(secs.rem_euclid(1 << 32)).unwrap_or(0);
        let fraction = u64::try_from((us << 32) / 1_000_000).unwrap_or(0);
        Self((secs << 32) | fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_time_of_rfc_example_maps_to_unix_epoch_and_back() {
        // 1970-01-01T00:00:00Z is 2208988800 s after 1900 (RFC 868).
        let ntp = NtpTime(2_208_988_800 << 32);
        assert_eq!(ntp.to_wall(), WallTime(0));
        assert_eq!(NtpTime::from_wall(WallTime(0)), ntp);
        let later = WallTime(1_790_000_000_123_456);
        assert!(NtpTime::from_wall(later).to_wall().us_since(later).abs() <= 1);
    }

    #[test]
    fn rescale_rounds_down_on_both_sides_of_zero() {
        assert_eq!(rescale(1, 90_000, 1_000_000), 11);
        assert_eq!(rescale(-1, 90_000, 1_000_000), -12);
        assert_eq!(rescale(i64::MAX, 1, 90_000), i64::MAX);
    }
}
