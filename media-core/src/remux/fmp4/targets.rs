//! Targets: PART-TARGET and TARGETDURATION, chosen once from what the stream shows.
//!
//! PART-TARGET (correctness: H2): parts hold a whole number of pictures. Among the counts whose length is
//! nearest to the wanted one, the first that cuts the observed stream without a violation is taken, the
//! nearest first; when the time stamps jitter, [`JITTER_HEADROOM_PERCENT`] is added so that the parts may breathe.
//!
//! TARGETDURATION (correctness: H13): a segment is the fewest whole GOPs that reach the wanted segment duration, or,
//! when GOPs differ, the wanted duration and the longest GOP. Where no whole GOP was seen,
//! [`TARGET_DURATION_SECS_MAX`] is taken: room costs nothing but a longer hold, while segments that always begin
//! with a key frame give every viewer the first picture at once. A GOP longer than that is cut at
//! a non-key frame.
//! Units: `_ticks` of the leading track, `_ms`, `_secs`.

use super::pace::Pacer;
use crate::time::{Timescale, rescale};

/// Added to PART-TARGET when access units are not evenly spaced: whole pictures then stand in the middle between
/// 85 % and 100 % of the target.
const JITTER_HEADROOM_PERCENT: i64 = 8;
/// Unit durations that differ by less are even: rounding of a 29.97 Hz clock to milliseconds is not.
const EVEN_SPREAD_US: i64 = 100;
/// The largest TARGETDURATION chosen: a GOP of 20 s with room.
pub(super) const TARGET_DURATION_SECS_MAX: u32 = 21;
/// The most pictures in a part that are tried; a 200 ms part at 120 Hz has 24.
const UNITS_PER_PART_MAX: i64 = 64;
/// Parts longer than this many times the wanted duration are not tried.
const PART_STRETCH_MAX: i64 = 3;
/// PART-TARGET bounds: a client rounds shorter ones to zero, longer ones are no low latency.
const PART_TARGET_MS_MIN: i64 = 10;

/// The two targets of a playlist, fixed for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// PART-TARGET, milliseconds.
    pub part_target_ms: u32,
    /// TARGETDURATION, seconds.
    pub target_duration_secs: u32,
    /// Pictures (or audio frames) per second, thousandths.
    pub frame_rate_milli: u32,
}

/// What was seen of the leading track before the choice.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    /// From each unit to the next.
    pub(super) durations_ticks: Vec<i64>,
    /// Lengths of whole GOPs.
    pub(super) gops_ticks: Vec<i64>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) part_us: i64,
    pub(super) segment_us: i64,
}

/// Chooses the targets; with nothing observed 25 pictures a second are assumed.
pub(super) fn choose(observed: &Observed, timescale: Timescale, wanted: Wanted) -> (Targets, Pacer) {
    let hz = i64::from(timescale.hz());
    let typical = median(&observed.durations_ticks).unwrap_or(hz / 25).max(1);
    let (part_target_ms, pacer) = part_target(observed, typical, timescale, wanted.part_us);
    let targets = Targets {
        part_target_ms,
        target_duration_secs: target_duration(observed, typical, timescale, wanted.segment_us),
        frame_rate_milli: u32::try_from(hz * 1000 / typical).unwrap_or(u32::MAX),
    };
    (targets, pacer)
}

fn part_target(observed: &Observed, typical: i64, timescale: Timescale, wanted_us: i64) -> (u32, Pacer) {
    let durations = &observed.durations_ticks;
    let spread = durations.iter().max().zip(durations.iter().min()).map_or(0, |(max, min)| max - min);
    let headroom = if timescale.ticks_to_us(spread) > EVEN_SPREAD_US { JITTER_HEADROOM_PERCENT } else { 0 };
    let wanted_ticks = timescale.us_to_ticks(wanted_us);
    let units_max = (wanted_ticks * PART_STRETCH_MAX / typical).clamp(1, UNITS_PER_PART_MAX);
    let candidate = |units: i64| {
        let with_headroom = units * typical * (100 + headroom) / 100;
        let target_ms = ticks_to_ms_up(with_headroom, timescale).max(PART_TARGET_MS_MIN);
        let pacer = Pacer::new(rescale(target_ms, 1000, timescale.hz()), typical);
        let distance = (units * typical - wanted_ticks).abs();
        (pacer.violations(durations), distance, target_ms, pacer)
    };
    let best =
        (1..=units_max).map(candidate).min_by_key(|(violations, distance, ..)| (*violations, *distance));
    let (_, _, target_ms, pacer) = best.unwrap_or_else(|| candidate(1));
    (u32::try_from(target_ms).unwrap_or(u32::MAX), pacer)
}

fn target_duration(observed: &Observed, typical: i64, timescale: Timescale, wanted_us: i64) -> u32 {
    let wanted = timescale.us_to_ticks(wanted_us).max(1);
    let gops = &observed.gops_ticks;
    let Some((longest, shortest)) = gops.iter().max().zip(gops.iter().min()) else {
        return TARGET_DURATION_SECS_MAX;
    };
    let longest = (*longest).max(1);
    let segment = if longest - shortest > typical {
        // A key frame may come just before the wanted end, and the next only a GOP later.
        wanted + longest
    } else {
        let reached = wanted - segment_slack(typical);
        (reached + longest - 1).div_euclid(longest).max(1) * longest
    };
    // EXTINF is compared after rounding to the nearest second: 200 ms of jitter still round the same way.
    let secs = (timescale.ticks_to_us(segment) + 200_000 + 500_000) / 1_000_000;
    let secs_max = i64::from(TARGET_DURATION_SECS_MAX).max(wanted_us / 1_000_000 + 1);
    u32::try_from(secs.clamp(1, secs_max)).unwrap_or(TARGET_DURATION_SECS_MAX)
}

/// How much before the wanted duration a key frame may already end a segment: half a picture, so that
/// jitter does not turn segments of one GOP into segments of two.
pub(super) fn segment_slack(typical_ticks: i64) -> i64 {
    typical_ticks / 2
}

fn ticks_to_ms_up(ticks: i64, timescale: Timescale) -> i64 {
    let hz = i64::from(timescale.hz());
    (ticks * 1000 + hz - 1).div_euclid(hz)
}

fn median(values: &[i64]) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
