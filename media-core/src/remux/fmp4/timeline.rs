//! Timeline: a track's times in the file, and the track that follows the leading one.
//!
//! ```text
//!  ring ticks ──Line: + offset──► file ticks (tfdt)
//!  audio unit ─► Follower: held (its end is not known) ─► pending ─► taken by the part that covers it
//!                            gaps: silence where the codec has it, else the sample before is stretched
//! ```
//!
//! Invariants: the samples a follower hands out are contiguous (correctness: F1): each begins where the one
//! before ended.
//! Limits: [`FOLLOWER_PENDING_MAX`], [`FOLLOWER_AHEAD_US_MAX`], [`FOLLOWER_LAG_US_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::fragment::{Sample, TrackRun};
use super::silence::Silence;
use crate::access_unit::AccessUnit;
use crate::time::{Timescale, rescale};
use crate::track::TrackInfo;

/// Audio that waits for its video, in samples; beyond it the newest are dropped and counted. 10 s of AAC at 48 kHz
/// is 470.
const FOLLOWER_PENDING_MAX: usize = 2048;
/// Audio time-stamped further ahead of the video is dropped and counted: it is a wrong clock, not early sound.
const FOLLOWER_AHEAD_US_MAX: i64 = 10_000_000;
/// How far the sound may trail the video before silence takes its place, to begin with: covers a camera's own skew
/// and the transcoder.
const FOLLOWER_LAG_US: i64 = 500_000;
/// The most that allowance grows, as late sound is seen.
const FOLLOWER_LAG_US_MAX: i64 = 5_000_000;
/// Added to the lateness that was seen.
const FOLLOWER_LAG_ROOM_US: i64 = 100_000;

/// A track of a run: which, and how its times map to the file's.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Its number in the init segment.
    pub(super) mp4_id: u32,
    pub(super) timescale: Timescale,
    offset_ticks: i64,
}

impl Line {
    /// A track whose ring time `origin_ticks` of `origin_scale` is `start_us` in the file.
    pub(super) fn new(
        mp4_id: u32,
        timescale: Timescale,
        origin_ticks: i64,
        origin_scale: Timescale,
        start_us: i64,
    ) -> Self {
        let origin = rescale(origin_ticks, origin_scale.hz(), timescale.hz());
        Self { mp4_id, timescale, offset_ticks: timescale.us_to_ticks(start_us) - origin }
    }

    /// Ring ticks to file ticks.
    pub(super) fn file_ticks(&self, ticks: i64) -> i64 {
        ticks.saturating_add(self.offset_ticks)
    }
}

/// The sample of an access unit, with its duration.
pub(super) fn sample(unit: &AccessUnit, duration_ticks: i64) -> Sample {
    let composition = unit.pts_ticks.saturating_sub(unit.dts_ticks);
    Sample {
        duration_ticks: u32::try_from(duration_ticks.max(0)).unwrap_or(u32::MAX),
        composition_offset_ticks: i32::try_from(composition).unwrap_or(0),
        is_sync: unit.is_random_access,
        payload: unit.payload.clone(),
    }
}

/// What happened to the following track, since the segmenter was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FollowerCounts {
    /// Silent samples put in.
    pub(super) silent: u64,
    /// Units dropped: later than what was already cut, or far from the video's time.
    pub(super) dropped: u64,
}

/// The audio of a stream with video.
#[derive(Debug)]
pub(super) struct Follower {
    line: Line,
    silence: Option<Silence>,
    /// A guess for the last unit of a run.
    frame_ticks: i64,
    held: Option<(i64, Arc<AccessUnit>)>,
    /// File ticks and samples, contiguous.
    pending: VecDeque<(i64, Sample)>,
    /// Where the last pending or taken sample ends, file ticks.
    end_ticks: i64,
    started: bool,
    lag_us: i64,
    pub(super) counts: FollowerCounts,
}

impl Follower {
    pub(super) fn new(line: Line, track: &TrackInfo, start_us: i64) -> Self {
        let silence = Silence::of(track);
        let frame_ticks =
            silence.as_ref().map_or(i64::from(line.timescale.hz()) / 50, |s| s.duration_ticks).max(1);
        let end_ticks = line.timescale.us_to_ticks(start_us);
        Self {
            line,
            silence,
            frame_ticks,
            held: None,
            pending: VecDeque::new(),
            end_ticks,
            started: false,
            lag_us: FOLLOWER_LAG_US,
            counts: FollowerCounts::default(),
        }
    }

    /// Takes an access unit; `lead_us` is how far the leading track has come, file time.
    pub(super) fn push(&mut self, unit: &Arc<AccessUnit>, lead_us: i64) {
        let start = self.line.file_ticks(unit.dts_ticks);
        let late_by_us = lead_us - self.line.timescale.ticks_to_us(start);
        if late_by_us < -FOLLOWER_AHEAD_US_MAX || self.pending.len() >= FOLLOWER_PENDING_MAX {
            self.counts.dropped += 1;
            return;
        }
        if start < self.end_ticks || self.held.as_ref().is_some_and(|(held, _)| start <= *held) {
            self.counts.dropped += 1;
            if self.started {
                self.lag_us = (late_by_us + FOLLOWER_LAG_ROOM_US).clamp(self.lag_us, FOLLOWER_LAG_US_MAX);
            }
            return;
        }
        self.finish_held(start);
        self.fill_until(start);
        self.held = Some((start, Arc::clone(unit)));
    }

    /// The samples that begin before `lead_end_us` (file time) and whose end is known.
    pub(super) fn take(&mut self, lead_end_us: i64) -> Option<TrackRun> {
        self.cover_absence(lead_end_us);
        let end = self.line.timescale.us_to_ticks(lead_end_us);
        let count = self.pending.iter().take_while(|(start, _)| *start < end).count();
        let base = self.pending.front()?.0;
        let samples: Vec<Sample> = self.pending.drain(..count).map(|(_, sample)| sample).collect();
        let base_ticks = u64::try_from(base).ok()?;
        (!samples.is_empty()).then_some(TrackRun { track_id: self.line.mp4_id, base_ticks, samples })
    }

    /// The run ends: whatever is held gets its usual duration.
    pub(super) fn flush(&mut self) {
        if let Some((start, _)) = &self.held {
            self.finish_held(start + self.frame_ticks);
        }
    }

    /// Where its last sample ends, file time.
    pub(super) fn end_us(&self) -> i64 {
        self.line.timescale.ticks_to_us(self.end_ticks)
    }

    fn finish_held(&mut self, next_start: i64) {
        let Some((start, unit)) = self.held.take() else { return };
        let apart = next_start - start;
        let is_gap = self.silence.is_some() && apart > self.frame_ticks * 5 / 2;
        let duration = if is_gap { self.frame_ticks } else { apart };
        self.append(start, sample(&unit, duration), duration);
    }

    fn append(&mut self, start: i64, sample: Sample, duration: i64) {
        self.pending.push_back((start, sample));
        self.end_ticks = start + duration;
        self.started = true;
    }

    /// Silence from the end to `start`; without a silent frame the last pending sample is stretched.
    fn fill_until(&mut self, start: i64) {
        let gap = start - self.end_ticks;
        if gap <= 0 {
            return;
        }
        if !self.started && self.silence.is_none() {
            self.end_ticks = start;
            return;
        }
        if let Some(silence) = self.silence.clone()
            && (gap >= silence.duration_ticks || self.pending.is_empty())
        {
            self.fill_with(&silence, start);
        }
        self.stretch_last(start);
    }

    fn fill_with(&mut self, silence: &Silence, until: i64) {
        while until > self.end_ticks && self.pending.len() < FOLLOWER_PENDING_MAX {
            let left = until - self.end_ticks;
            // The last one takes what is left over, so that no crumb of a sample remains.
            let duration = if left < silence.duration_ticks * 2 { left } else { silence.duration_ticks };
            let sample = Sample {
                duration_ticks: u32::try_from(duration).unwrap_or(u32::MAX),
                composition_offset_ticks: 0,
                is_sync: true,
                payload: silence.payload.clone(),
            };
            self.append(self.end_ticks, sample, duration);
            self.counts.silent += 1;
        }
    }

    fn stretch_last(&mut self, until: i64) {
        let gap = until - self.end_ticks;
        if gap > 0
            && let Some((_, last)) = self.pending.back_mut()
            && let Ok(more) = u32::try_from(gap)
        {
            last.duration_ticks = last.duration_ticks.saturating_add(more);
            self.end_ticks = until;
        }
    }

    /// When nothing has come for longer than the lag allows, silence takes its place.
    fn cover_absence(&mut self, lead_us: i64) {
        let Some(silence) = self.silence.clone() else { return };
        let due = self.line.timescale.us_to_ticks(lead_us - self.lag_us);
        let known_end = self.held.as_ref().map_or(self.end_ticks, |(start, _)| start + self.frame_ticks);
        if known_end + silence.duration_ticks > due {
            return;
        }
        self.flush();
        let whole_frames = (due - self.end_ticks) / silence.duration_ticks;
        self.fill_with(&silence, self.end_ticks + whole_frames * silence.duration_ticks);
    }
}
