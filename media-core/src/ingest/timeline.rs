//! Timeline: RTP timestamps of one track to presentation times that never break.
//!
//! ```text
//!                 fits, or explained by the arrival times
//!            ┌──────────────────────────────────────────────┐
//!            ▼                                              │
//!        Following ── repeated, backward, far away ─► Suspicious: the unit is placed one frame on,
//!            ▲                                              │      by the clock of arrivals
//!            │  enough units agree on the new timeline      │
//!            └───────── jump: rebased, counted ◄────────────┘
//! ```
//!
//! A suspicious timestamp never moves the timeline by itself: one stray unit (Intelbras stamps one
//! hours away every few seconds) is placed where it belongs and forgotten. Only when
//! [`AGREEING_FAR`] units in a row agree with each other is it a jump. The timeline then goes on
//! through the place that the first of them was given, so decode times stay continuous; the caller
//! opens a new format at the next random access point and aligns the tracks afresh there.
//!
//! Units: ticks of the track; the position of tick 0 is the same instant in all tracks.
//! Limits: timestamps may run [`GAP_TICKS_SECS`] ahead without the arrivals' consent.

use crate::time::Timescale;

/// Seconds that the timestamp may rise from one unit to the next without asking the arrival times:
/// above any GOP's frame interval, below what a viewer would call a jump.
pub const GAP_TICKS_SECS: i64 = 2;

/// Units (the first included) that must agree for a far timestamp to be a jump.
pub const AGREEING_FAR: u32 = 2;

/// Units that must agree for a small step back to be one: less would take jitter for a jump.
pub const AGREEING_NEAR: u32 = 3;

/// Steps back up to this many milliseconds are near: jitter of a bad clock.
const NEAR_MS: i64 = 500;

/// Span of one of the two windows that the smallest lag is kept over.
const LAG_WINDOW_US: i64 = 20_000_000;

/// Units over which the frame duration is averaged.
const FRAME_WINDOW: usize = 32;

/// Microseconds a unit is taken to last before anything is known: 25 a second.
const FRAME_DEFAULT_US: i64 = 40_000;

/// The longest a unit is taken to last, in microseconds.
const FRAME_MAX_US: i64 = 1_000_000;

/// What the bitstream says about a unit's place among the units before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// After all of them: audio, and pictures whose order count rises.
    Rising,
    /// Before one of them: a reordered picture.
    Earlier,
    /// It doesn't say.
    Unknown,
}

/// What was done to a unit's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the camera's.
    Kept,
    /// It was repeated or backward and was moved.
    Repaired,
    /// It confirmed that the timeline jumped.
    Jumped,
}

/// A unit's place on the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Presentation time in ticks.
    pub pts_ticks: i64,
    /// How it was found.
    pub verdict: Verdict,
    /// Far-away units that turned out to be strays, now that this one followed the old timeline.
    pub strays: u32,
}

/// A unit's timestamp with what is needed to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// RTP timestamp.
    pub rtp_timestamp: u32,
    /// Its place in order.
    pub place: Place,
    /// Arrival, in microseconds of the position that all tracks share.
    pub arrival_us: i64,
    /// How long it lasts in ticks, where the codec says.
    pub duration_ticks: Option<i64>,
}

/// Extends a 32-bit RTP timestamp to the 64-bit one nearest to `near`.
pub fn extend_u32(rtp_timestamp: u32, near: i64) -> i64 {
    let low = i64::from(rtp_timestamp);
    let difference = (low - near).rem_euclid(1 << 32);
    if difference < 1 << 31 { near + difference } else { near + difference - (1 << 32) }
}

/// A timestamp that does not fit, and those that agree with it.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    first: i64,
    latest: i64,
    agreeing: u32,
    is_far: bool,
    /// Where the first was placed.
    placed_ticks: i64,
}

/// Where the track stands.
#[derive(Clone, Copy, Debug)]
struct Following {
    /// Highest extended timestamp taken as good.
    highest: i64,
    /// Ticks on the timeline minus extended timestamp.
    offset: i64,
    /// Highest presentation time given out.
    highest_pts: i64,
}

/// The timeline of one track.
#[derive(Clone, Debug)]
pub struct TrackTimeline {
    timescale: Timescale,
    following: Option<Following>,
    suspect: Option<Suspect>,
    frame: FrameDuration,
    lag: LagWindow,
}

impl TrackTimeline {
    /// A timeline without a unit.
    pub fn new(timescale: Timescale) -> Self {
        Self {
            timescale,
            following: None,
            suspect: None,
            frame: FrameDuration::default(),
            lag: LagWindow::default(),
        }
    }

    /// Says where on the timeline a timestamp is: the first unit's, before it is placed.
    pub fn anchor(&mut self, rtp_timestamp: u32, pts_ticks: i64) {
        let highest = i64::from(rtp_timestamp);
        let offset = pts_ticks - highest;
        // Such that the anchor itself counts as risen.
        self.following = Some(Following { highest: highest - 1, offset, highest_pts: pts_ticks - 1 });
    }

    /// Whether it was anchored.
    pub fn is_anchored(&self) -> bool {
        self.following.is_some()
    }

    /// About how long a unit lasts, in ticks.
    pub fn frame_ticks(&self) -> i64 {
        self.frame.average().unwrap_or_else(|| self.timescale.us_to_ticks(FRAME_DEFAULT_US))
    }

    /// Highest presentation time given out.
    pub fn highest_pts_ticks(&self) -> Option<i64> {
        self.following.map(|following| following.highest_pts)
    }

    /// Smallest recent delay of arrivals behind the timeline, in microseconds; it may be negative.
    pub fn lag_us(&self) -> Option<i64> {
        self.lag.smallest()
    }

    /// The place of any timestamp near the newest ones, for sender reports.
    pub fn locate(&self, rtp_timestamp: u32) -> Option<i64> {
        self.following.map(|f| extend_u32(rtp_timestamp, f.highest) + f.offset)
    }

    /// Moves everything that comes by `ticks` (to align tracks); what was given out stays.
    pub fn shift(&mut self, ticks: i64) {
        if let Some(following) = &mut self.following {
            following.offset += ticks;
            self.lag.shift(-self.timescale.ticks_to_us(ticks));
        }
    }

    /// Places the next unit. An unanchored timeline is anchored at the unit's arrival.
    pub fn place(&mut self, stamp: Stamp) -> Placed {
        if self.following.is_none() {
            self.anchor(stamp.rtp_timestamp, self.timescale.us_to_ticks(stamp.arrival_us));
        }
        let Some(mut following) = self.following else {
            return Placed { pts_ticks: 0, verdict: Verdict::Kept, strays: 0 };
        };
        let ext = extend_u32(stamp.rtp_timestamp, following.highest);
        let (pts_ticks, verdict, strays) = if self.fits(&following, ext, stamp) {
            let strays = self.suspect.take().filter(|s| s.is_far).map_or(0, |s| s.agreeing);
            let (pts, verdict) = self.follow(&following, ext, stamp);
            following.highest = following.highest.max(ext);
            (pts, verdict, strays)
        } else {
            let (pts, verdict) = self.suspect(&mut following, ext, stamp);
            (pts, verdict, 0)
        };
        following.highest_pts = following.highest_pts.max(pts_ticks);
        self.following = Some(following);
        match stamp.duration_ticks {
            Some(ticks) => self.frame.set(ticks),
            None => self.frame.push(following.highest_pts, self.timescale.us_to_ticks(FRAME_MAX_US)),
        }
        if verdict != Verdict::Repaired {
            self.lag.push(stamp.arrival_us, stamp.arrival_us - self.timescale.ticks_to_us(pts_ticks));
        }
        Placed { pts_ticks, verdict, strays }
    }

    fn gap_ticks(&self) -> i64 {
        GAP_TICKS_SECS * i64::from(self.timescale.hz())
    }

    /// Whether a timestamp goes on with the timeline.
    fn fits(&self, following: &Following, ext: i64, stamp: Stamp) -> bool {
        let delta = ext - following.highest;
        match stamp.place {
            Place::Earlier | Place::Unknown if delta < 0 => -delta <= self.gap_ticks(),
            _ if delta <= 0 => false,
            _ if delta <= self.gap_ticks() => true,
            _ => {
                // A long gap: the camera paused, if the arrivals say so too.
                let ahead = self.timescale.us_to_ticks(self.expected_us(stamp.arrival_us));
                ext + following.offset - ahead <= self.gap_ticks()
            }
        }
    }

    /// Where the timeline should stand at this arrival if nothing were delayed.
    fn expected_us(&self, arrival_us: i64) -> i64 {
        arrival_us - self.lag.smallest().unwrap_or(0)
    }

    fn follow(&self, following: &Following, ext: i64, stamp: Stamp) -> (i64, Verdict) {
        let pts = ext + following.offset;
        if stamp.place == Place::Rising && pts <= following.highest_pts {
            // A repaired unit before it took its place.
            let step = (self.frame_ticks() / 4).max(1);
            return (following.highest_pts + step, Verdict::Repaired);
        }
        (pts, Verdict::Kept)
    }

    fn suspect(&mut self, following: &mut Following, ext: i64, stamp: Stamp) -> (i64, Verdict) {
        let near_ticks = NEAR_MS * i64::from(self.timescale.hz()) / 1000;
        let is_far = !(-near_ticks..=self.gap_ticks()).contains(&(ext - following.highest));
        let mut suspect = match self.suspect {
            Some(suspect) if self.agrees(&suspect, ext, stamp.place) => {
                Suspect { agreeing: suspect.agreeing + 1, latest: suspect.latest.max(ext), ..suspect }
            }
            _ => Suspect {
                first: ext,
                latest: ext,
                agreeing: 1,
                is_far,
                placed_ticks: self.one_frame_on(following, stamp),
            },
        };
        let needed = if suspect.is_far { AGREEING_FAR } else { AGREEING_NEAR };
        if suspect.agreeing >= needed {
            following.offset = suspect.placed_ticks - suspect.first;
            following.highest = suspect.latest;
            self.suspect = None;
            self.lag = LagWindow::default();
            let pts = ext + following.offset;
            let pts = if stamp.place == Place::Rising { pts.max(following.highest_pts + 1) } else { pts };
            return (pts, Verdict::Jumped);
        }
        let pts =
            if suspect.agreeing == 1 { suspect.placed_ticks } else { self.one_frame_on(following, stamp) };
        suspect.latest = suspect.latest.max(ext);
        self.suspect = Some(suspect);
        (pts, Verdict::Repaired)
    }

    fn agrees(&self, suspect: &Suspect, ext: i64, place: Place) -> bool {
        let delta = ext - suspect.latest;
        match place {
            Place::Rising => delta > 0 && delta <= self.gap_ticks(),
            Place::Earlier | Place::Unknown => delta != 0 && delta.abs() <= self.gap_ticks(),
        }
    }

    /// One frame after the latest, drawn gently towards where the arrivals say the timeline is, so
    /// that a camera whose timestamps stand still is played at its true pace.
    fn one_frame_on(&self, following: &Following, stamp: Stamp) -> i64 {
        let frame = stamp.duration_ticks.unwrap_or_else(|| self.frame_ticks()).max(2);
        let expected = self.timescale.us_to_ticks(self.expected_us(stamp.arrival_us));
        let error = expected - (following.highest_pts + frame);
        let step = if error > self.gap_ticks() {
            frame + error
        } else {
            frame + (error / 8).clamp(-frame / 2, frame)
        };
        following.highest_pts + step
    }
}

/// Average duration of a unit.
#[derive(Clone, Debug, Default)]
struct FrameDuration {
    fixed: Option<i64>,
    highest: [i64; FRAME_WINDOW],
    count: usize,
}

impl FrameDuration {
    fn set(&mut self, ticks: i64) {
        if ticks > 0 {
            self.fixed = Some(ticks);
        }
    }

    /// A unit after which the highest presentation time is `highest`; a pause of more than
    /// `ticks_max` starts the average afresh.
    fn push(&mut self, highest: i64, ticks_max: i64) {
        if self.count > 0 && highest.saturating_sub(self.newest()) > ticks_max * 2 {
            self.count = 0;
        }
        if let Some(slot) = self.highest.get_mut(self.count % FRAME_WINDOW) {
            *slot = highest;
        }
        self.count += 1;
    }

    fn newest(&self) -> i64 {
        self.highest.get(self.count.wrapping_sub(1) % FRAME_WINDOW).copied().unwrap_or(0)
    }

    fn average(&self) -> Option<i64> {
        if self.fixed.is_some() {
            return self.fixed;
        }
        let intervals = self.count.min(FRAME_WINDOW).checked_sub(1).filter(|n| *n > 0)?;
        let oldest = self.highest.get((self.count - 1 - intervals) % FRAME_WINDOW)?;
        let span = self.newest() - oldest;
        Some(span / i64::try_from(intervals).ok()?).filter(|ticks| *ticks > 0)
    }
}

/// Smallest lag over the last one to two windows: the delay of the path without its jitter.
#[derive(Clone, Debug, Default)]
struct LagWindow {
    since_us: i64,
    current: Option<i64>,
    previous: Option<i64>,
}

impl LagWindow {
    fn push(&mut self, arrival_us: i64, lag_us: i64) {
        if self.current.is_none() {
            self.since_us = arrival_us;
        } else if arrival_us - self.since_us > LAG_WINDOW_US {
            self.previous = self.current.take();
            self.since_us = arrival_us;
        }
        self.current = Some(self.current.map_or(lag_us, |smallest| smallest.min(lag_us)));
    }

    fn smallest(&self) -> Option<i64> {
        match (self.current, self.previous) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The timeline moved by `us` against the arrivals.
    fn shift(&mut self, us: i64) {
        for lag in [&mut self.current, &mut self.previous].into_iter().flatten() {
            *lag += us;
        }
    }
}
