//! Segmenter: access units in, init segments, parts and segment ends out.
//!
//! ```text
//!            second key frame after 1 s,
//!            or PROBE_MEDIA of media                    format changed, time jumped, camera lost
//!  Probing ────────────────────────► Running ── run ──┬──────────────► run (discontinuity, new init)
//!  units kept, targets chosen          Start, Init,   │
//!                                      Part, SegmentEnd
//! ```
//!
//! - A unit's duration is known when the next one comes, so one unit a track is held back.
//! - A segment ends at a key frame once the wanted duration is reached; at any frame when it would break TARGETDURATION or
//!   `segment_bytes_max`; and behind a part that came out too short, because only the last part of a segment may be
//!   (correctness: H2). A key frame inside a segment that does not begin with one ends it too, so that a viewer can start.
//! - A pause longer than TARGETDURATION can't be one frame (correctness: H13): it opens a discontinuity.
//! - File time goes on across discontinuities, for players that do not look at them.
//!
//! Belongs here: where to cut. Does not: the window, playlists (-> egress::hls).
//! Units: ticks of the leading track (video, else audio). Limits: `PROBE_UNITS_MAX`, `PROBE_BYTES_MAX`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::fragment::{FRAGMENT_BYTES_MAX, Sample, TrackRun};
use super::init::{InitError, InitSegment, Selection, mp4_track_id};
use super::pace::Pacer;
use super::part::{Part, PartHeader};
use super::targets::{self, Observed, Targets, Wanted};
use super::timeline::{Follower, FollowerCounts, Line, sample};
use crate::access_unit::AccessUnit;
use crate::time::{Timescale, WallTime};
use crate::track::{SharedFormat, TrackId};

/// Units looked at before the targets are chosen; at the limit they are chosen from what is there.
const PROBE_UNITS_MAX: usize = 4096;
/// Payload bytes kept meanwhile; at the limit they are chosen from what is there.
const PROBE_BYTES_MAX: usize = 32 << 20;
/// Media looked at when no second key frame comes: whole GOPs up to 4 s are found, longer ones get room.
const PROBE_MEDIA: Duration = Duration::from_millis(4200);
/// Media looked at, at least, before a second key frame ends the probe: some cameras start with a burst of them.
const PROBE_MEDIA_MIN: Duration = Duration::from_millis(900);
/// A step between units longer than this says nothing about the frame rate.
const PROBE_STEP_MAX: Duration = Duration::from_secs(10);

/// What the segmenter is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmenterConfig {
    /// The shortest segment wanted (`hlsSegmentDuration`).
    pub segment_duration: Duration,
    /// The part duration wanted (`hlsPartDuration`).
    pub part_duration: Duration,
    /// The most bytes in a segment (`hlsSegmentMaxSize`); at the limit it is cut where it stands.
    pub segment_bytes_max: usize,
    /// Number of the first segment.
    pub first_msn: u64,
}

/// What comes out, in order.
#[derive(Clone, Debug)]
pub enum Event {
    /// The targets are chosen and will not change. First of all, once.
    Start(Targets),
    /// From here on parts need this init segment.
    Init {
        /// The init segment.
        init: Arc<InitSegment>,
        /// The timeline breaks here (always, but for the first).
        discontinuity: bool,
    },
    /// The next part of the open segment.
    Part(Arc<Part>),
    /// The open segment is complete.
    SegmentEnd {
        /// Its number.
        msn: u64,
    },
}

/// Counters since the segmenter was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmenterStats {
    /// Parts longer than PART-TARGET because one access unit alone was.
    pub oversize_parts: u64,
    /// Segments ended early because a part came out too short.
    pub short_part_cuts: u64,
    /// Segments ended at a frame that is not a key frame, to keep TARGETDURATION or the size limit.
    pub forced_cuts: u64,
    /// Discontinuities.
    pub discontinuities: u64,
    /// Silent audio samples put in for missing ones.
    pub silent_samples: u64,
    /// Audio units dropped, too late or far from the video's time.
    pub dropped_audio: u64,
    /// Units dropped because no init segment could be made for their format.
    pub dropped_units: u64,
}

/// Cuts one stream. See the module's header.
#[derive(Debug)]
pub struct Segmenter {
    config: SegmenterConfig,
    probe: Probe,
    running: Option<Running>,
    events: VecDeque<Event>,
    stats: SegmenterStats,
}

#[derive(Debug, Default)]
struct Probe {
    units: Vec<(SharedFormat, Arc<AccessUnit>)>,
    bytes: usize,
    observed: Observed,
    timescale: Option<Timescale>,
    first_ticks: Option<i64>,
    last_ticks: Option<i64>,
    last_key_ticks: Option<i64>,
    /// More is on hand than was pushed so far: looking at it costs no time.
    has_history: bool,
}

#[derive(Debug)]
struct Running {
    targets: Targets,
    timescale: Timescale,
    pacer: Pacer,
    run: Option<Run>,
    segment: OpenSegment,
    sequence_number: u32,
    /// Where the next run begins, file time.
    end_us: i64,
    is_first_run: bool,
}

/// A stretch with one format and one timeline.
#[derive(Debug)]
struct Run {
    format: SharedFormat,
    init: Arc<InitSegment>,
    lead_id: TrackId,
    lead: Line,
    held: Option<Arc<AccessUnit>>,
    follower: Option<(TrackId, Follower)>,
    part: OpenPart,
    /// Where the last finished unit of the leading track ends, file ticks.
    end_ticks: i64,
}

#[derive(Debug, Default)]
struct OpenPart {
    start_ticks: i64,
    ticks: i64,
    bytes: usize,
    wall: Option<WallTime>,
    is_independent: bool,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct OpenSegment {
    msn: u64,
    next_index: u32,
    ticks: i64,
    bytes: usize,
    starts_with_key: bool,
}

impl Segmenter {
    /// A segmenter that has seen nothing.
    pub fn new(config: SegmenterConfig) -> Self {
        Self {
            config,
            probe: Probe::default(),
            running: None,
            events: VecDeque::new(),
            stats: SegmenterStats::default(),
        }
    }

    /// Takes the next access unit of a ring cursor.
    ///
    /// # Errors
    /// [`InitError`] when the unit's format can't be carried in mp4; its units are dropped until the next format.
    pub fn push(&mut self, format: &SharedFormat, unit: &Arc<AccessUnit>) -> Result<(), InitError> {
        if self.running.is_some() {
            return self.push_running(format, unit);
        }
        if self.probe.push(format, unit) { self.start_running() } else { Ok(()) }
    }

    /// Chooses the targets and takes what was kept meanwhile.
    fn start_running(&mut self) -> Result<(), InitError> {
        let Some(timescale) = self.probe.timescale else { return Ok(()) };
        let (targets, pacer) = targets::choose(&self.probe.observed, timescale, self.wanted());
        self.running = Some(Running::new(targets, timescale, pacer, self.config.first_msn));
        self.events.push_back(Event::Start(targets));
        for (format, unit) in std::mem::take(&mut self.probe).units {
            self.push_running(&format, &unit)?;
        }
        Ok(())
    }

    /// History is about to be pushed: however long it is, it is looked at until [`Segmenter::caught_up`].
    pub fn expect_history(&mut self) {
        self.probe.has_history = true;
    }

    /// All that was there has been pushed; what comes now comes in real time and is not waited for long.
    ///
    /// # Errors
    /// As [`Segmenter::push`].
    pub fn caught_up(&mut self) -> Result<(), InitError> {
        self.probe.has_history = false;
        if self.running.is_none() && self.probe.span() >= PROBE_MEDIA {
            return self.start_running();
        }
        Ok(())
    }

    /// Nothing more comes for now: what is held is cut into a last part, and the segment ends. The
    /// timeline breaks before the next unit.
    ///
    /// # Errors
    /// As [`Segmenter::push`], of what was only looked at so far.
    pub fn finish(&mut self) -> Result<(), InitError> {
        if self.running.is_none() {
            self.start_running()?;
        }
        let wanted = self.wanted();
        let Some(running) = &mut self.running else { return Ok(()) };
        let mut cut =
            Cutter { wanted, config: &self.config, events: &mut self.events, stats: &mut self.stats };
        running.end_run(&mut cut);
        Ok(())
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The targets, once they are chosen.
    pub fn targets(&self) -> Option<Targets> {
        self.running.as_ref().map(|running| running.targets)
    }

    /// Counters.
    pub fn stats(&self) -> SegmenterStats {
        let mut stats = self.stats;
        if let Some((_, follower)) = self.running.as_ref().and_then(|r| r.run.as_ref()?.follower.as_ref()) {
            stats.add_follower(follower.counts);
        }
        stats
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            part_us: i64::try_from(self.config.part_duration.as_micros()).unwrap_or(i64::MAX / 1000),
            segment_us: i64::try_from(self.config.segment_duration.as_micros()).unwrap_or(i64::MAX / 1000),
        }
    }

    fn push_running(&mut self, format: &SharedFormat, unit: &Arc<AccessUnit>) -> Result<(), InitError> {
        let wanted = self.wanted();
        let Some(running) = &mut self.running else { return Ok(()) };
        let mut cut =
            Cutter { wanted, config: &self.config, events: &mut self.events, stats: &mut self.stats };
        running.push(format, unit, &mut cut)
    }
}

impl SegmenterStats {
    fn add_follower(&mut self, counts: FollowerCounts) {
        self.silent_samples += counts.silent;
        self.dropped_audio += counts.dropped;
    }
}

impl Probe {
    /// Looks at a unit; true once enough was seen.
    fn push(&mut self, format: &SharedFormat, unit: &Arc<AccessUnit>) -> bool {
        if self.units.last().is_some_and(|(last, _)| !Arc::ptr_eq(last, format)) {
            *self = Self { has_history: self.has_history, ..Self::default() };
        }
        self.units.push((Arc::clone(format), Arc::clone(unit)));
        self.bytes += unit.payload.len();
        let Some(lead) = Selection::of(format).tracks().next() else { return false };
        self.timescale = Some(lead.timescale);
        let is_full = self.units.len() >= PROBE_UNITS_MAX || self.bytes >= PROBE_BYTES_MAX;
        let is_enough = lead.id == unit.track && self.observe(unit, lead.timescale);
        if format.is_slate {
            // It says nothing of the GOPs of the source that will come.
            self.observed.gops_ticks.clear();
        }
        is_enough || is_full
    }

    /// Media seen of the leading track.
    fn span(&self) -> Duration {
        let ticks =
            self.first_ticks.zip(self.last_ticks).map_or(0, |(first, last)| last.saturating_sub(first));
        self.timescale.map_or(Duration::ZERO, |timescale| timescale.ticks_to_duration(ticks))
    }

    /// Notes a unit of the leading track; true when enough was seen.
    fn observe(&mut self, unit: &AccessUnit, timescale: Timescale) -> bool {
        let now = unit.dts_ticks;
        self.first_ticks.get_or_insert(now);
        if let Some(last) = self.last_ticks.replace(now) {
            let step = now.saturating_sub(last);
            if step > 0 && step < timescale.duration_to_ticks(PROBE_STEP_MAX) {
                self.observed.durations_ticks.push(step);
            }
        }
        if unit.is_random_access
            && let Some(last_key) = self.last_key_ticks.replace(now)
        {
            self.observed.gops_ticks.push(now.saturating_sub(last_key));
        }
        let span = self.span();
        let whole_gop = unit.is_random_access && !self.observed.gops_ticks.is_empty();
        (whole_gop && span >= PROBE_MEDIA_MIN) || (span >= PROBE_MEDIA && !self.has_history)
    }
}

/// Where cuts go: what a running segmenter needs from its owner.
struct Cutter<'a> {
    wanted: Wanted,
    config: &'a SegmenterConfig,
    events: &'a mut VecDeque<Event>,
    stats: &'a mut SegmenterStats,
}

impl Running {
    fn new(targets: Targets, timescale: Timescale, pacer: Pacer, first_msn: u64) -> Self {
        Self {
            targets,
            timescale,
            pacer,
            run: None,
            segment: OpenSegment::new(first_msn),
            sequence_number: 0,
            end_us: 0,
            is_first_run: true,
        }
    }

    fn push(
        &mut self,
        format: &SharedFormat,
        unit: &Arc<AccessUnit>,
        cut: &mut Cutter<'_>,
    ) -> Result<(), InitError> {
        let same_run = self.run.as_ref().is_some_and(|run| Arc::ptr_eq(&run.format, format));
        if !same_run {
            self.end_run(cut);
            self.begin_run(format, unit, cut)?;
        }
        let Some(run) = &mut self.run else {
            cut.stats.dropped_units += 1;
            return Ok(());
        };
        if unit.track == run.lead_id {
            return self.push_lead(unit, cut);
        }
        if let Some((id, follower)) = &mut run.follower
            && *id == unit.track
        {
            follower.push(unit, run.lead.timescale.ticks_to_us(run.end_ticks));
        }
        Ok(())
    }

    /// Opens a run at the first unit of its leading track; other units before it are not kept.
    fn begin_run(
        &mut self,
        format: &SharedFormat,
        unit: &Arc<AccessUnit>,
        cut: &mut Cutter<'_>,
    ) -> Result<(), InitError> {
        let selection = Selection::of(format);
        let Some(lead) = selection.tracks().next() else {
            cut.stats.dropped_units += 1;
            return Err(InitError::NoTracks { tracks: format.tracks.len() });
        };
        if lead.id != unit.track {
            return Ok(());
        }
        let init = InitSegment { is_slate: format.is_slate, ..InitSegment::new(&selection)? };
        let init = Arc::new(init);
        let line = |position, timescale| {
            Line::new(mp4_track_id(position), timescale, unit.dts_ticks, lead.timescale, self.end_us)
        };
        let follower = selection
            .tracks()
            .nth(1)
            .map(|track| (track.id, Follower::new(line(1, track.timescale), track, self.end_us)));
        // The pacer counts in the first run's timescale; a later one may differ.
        if lead.timescale != self.timescale {
            self.pacer = self.pacer.rescaled(self.timescale, lead.timescale);
            self.timescale = lead.timescale;
        }
        let lead_line = line(0, lead.timescale);
        let end_ticks = lead_line.file_ticks(unit.dts_ticks);
        self.run = Some(Run {
            format: Arc::clone(format),
            init: Arc::clone(&init),
            lead_id: lead.id,
            lead: lead_line,
            held: None,
            follower,
            part: OpenPart::default(),
            end_ticks,
        });
        let discontinuity = !std::mem::take(&mut self.is_first_run);
        cut.stats.discontinuities += u64::from(discontinuity);
        cut.events.push_back(Event::Init { init, discontinuity });
        Ok(())
    }

    /// Closes the part and the segment of a run that goes no further.
    fn end_run(&mut self, cut: &mut Cutter<'_>) {
        if let Some(held) = self.run.as_mut().and_then(|run| run.held.take()) {
            self.add(&held, self.pacer.typical_ticks(), cut);
        }
        if let Some((_, follower)) = self.run.as_mut().and_then(|run| run.follower.as_mut()) {
            follower.flush();
        }
        self.close_part(cut);
        self.end_segment(cut);
        let Some(run) = self.run.take() else { return };
        let follower_end = run.follower.as_ref().map_or(0, |(_, follower)| follower.end_us());
        self.end_us = run.lead.timescale.ticks_to_us(run.end_ticks).max(follower_end) + 1;
        if let Some((_, follower)) = &run.follower {
            cut.stats.add_follower(follower.counts);
        }
    }

    fn push_lead(&mut self, unit: &Arc<AccessUnit>, cut: &mut Cutter<'_>) -> Result<(), InitError> {
        let duration_max = self.segment_ticks_max();
        let Some(run) = &mut self.run else { return Ok(()) };
        let Some(held) = run.held.take() else {
            run.held = Some(Arc::clone(unit));
            return Ok(());
        };
        let duration = unit.dts_ticks.saturating_sub(held.dts_ticks);
        if duration <= 0 || duration > duration_max {
            run.held = Some(held);
            let format = Arc::clone(&run.format);
            self.end_run(cut);
            self.begin_run(&format, unit, cut)?;
            if let Some(run) = &mut self.run {
                run.held = Some(Arc::clone(unit));
            }
            return Ok(());
        }
        run.held = Some(Arc::clone(unit));
        self.add(&held, duration, cut);
        self.cut_after(unit, cut);
        Ok(())
    }

    /// The longest segment whose EXTINF, rounded, is TARGETDURATION, ticks.
    fn segment_ticks_max(&self) -> i64 {
        self.timescale.us_to_ticks(i64::from(self.targets.target_duration_secs) * 1_000_000 + 490_000)
    }

    /// Adds a finished unit, closing part and segment before it where it would not fit.
    fn add(&mut self, unit: &AccessUnit, duration: i64, cut: &mut Cutter<'_>) {
        let segment_ticks_max = self.segment_ticks_max();
        let Some(run) = &self.run else { return };
        let part_ticks = run.part.ticks;
        let segment_full = self.segment.ticks + part_ticks + duration > segment_ticks_max
            || self.segment.bytes + run.part.bytes + unit.payload.len() > self.bytes_max(cut);
        if segment_full && self.segment.ticks + part_ticks > 0 {
            cut.stats.forced_cuts += 1;
            self.close_part(cut);
            self.end_segment(cut);
        } else if self.pacer.closes_before(part_ticks, duration) {
            let is_short = self.pacer.is_short(part_ticks) && !run.part.is_independent;
            self.close_part(cut);
            if is_short {
                cut.stats.short_part_cuts += 1;
                self.end_segment(cut);
            }
        }
        self.append(unit, duration, cut);
    }

    fn bytes_max(&self, cut: &Cutter<'_>) -> usize {
        cut.config.segment_bytes_max.min(FRAGMENT_BYTES_MAX / 2)
    }

    fn append(&mut self, unit: &AccessUnit, duration: i64, cut: &mut Cutter<'_>) {
        let Some(run) = &mut self.run else { return };
        let start = run.lead.file_ticks(unit.dts_ticks);
        if run.part.samples.is_empty() {
            run.part.start_ticks = start;
            run.part.is_independent = unit.is_random_access;
            run.part.wall = Some(unit.wall);
            if self.segment.next_index == 0 {
                self.segment.starts_with_key = unit.is_random_access;
            }
        }
        run.part.samples.push(sample(unit, duration));
        run.part.ticks += duration;
        run.part.bytes += unit.payload.len();
        run.end_ticks = start + duration;
        if run.part.ticks > self.pacer.target_ticks() {
            cut.stats.oversize_parts += 1;
        }
    }

    /// Decides, knowing that `next` comes now, whether part and segment are complete.
    fn cut_after(&mut self, next: &AccessUnit, cut: &mut Cutter<'_>) {
        let Some(run) = &self.run else { return };
        let part_ticks = run.part.ticks;
        let segment_ticks = self.segment.ticks + part_ticks;
        let wanted = self.timescale.us_to_ticks(cut.wanted.segment_us)
            - targets::segment_slack(self.pacer.typical_ticks());
        let ends_at_key = next.is_random_access && (segment_ticks >= wanted || !self.segment.starts_with_key);
        // Decided a part early, so that the part a playlist hints at will come.
        let no_room = segment_ticks + self.pacer.target_ticks() > self.segment_ticks_max();
        if ends_at_key {
            self.close_part(cut);
            self.end_segment(cut);
        } else if self.pacer.closes_after(part_ticks) {
            self.close_part(cut);
            if no_room {
                cut.stats.forced_cuts += 1;
                self.end_segment(cut);
            }
        }
    }

    fn close_part(&mut self, cut: &mut Cutter<'_>) {
        let Some(run) = &mut self.run else { return };
        if run.part.samples.is_empty() {
            return;
        }
        let part = std::mem::take(&mut run.part);
        let lead_end_us = run.lead.timescale.ticks_to_us(run.end_ticks);
        let lead = TrackRun {
            track_id: run.lead.mp4_id,
            base_ticks: u64::try_from(part.start_ticks).unwrap_or(0),
            samples: part.samples,
        };
        let follower = run.follower.as_mut().and_then(|(_, follower)| follower.take(lead_end_us));
        let header = PartHeader {
            msn: self.segment.msn,
            index: self.segment.next_index,
            start_ticks: part.start_ticks,
            duration_ticks: part.ticks,
            timescale: run.lead.timescale,
            is_independent: part.is_independent,
            wall: part.wall.unwrap_or(WallTime(0)),
        };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let runs = std::iter::once(lead).chain(follower).collect();
        let made = Part::new(header, self.sequence_number, runs, &run.init);
        self.segment.next_index += 1;
        self.segment.ticks += part.ticks;
        self.segment.bytes += made.len_bytes;
        cut.events.push_back(Event::Part(Arc::new(made)));
    }

    fn end_segment(&mut self, cut: &mut Cutter<'_>) {
        if self.segment.next_index == 0 {
            return;
        }
        let msn = self.segment.msn;
        cut.events.push_back(Event::SegmentEnd { msn });
        self.segment = OpenSegment::new(msn + 1);
    }
}

impl OpenSegment {
    fn new(msn: u64) -> Self {
        Self { msn, next_index: 0, ticks: 0, bytes: 0, starts_with_key: true }
    }
}
