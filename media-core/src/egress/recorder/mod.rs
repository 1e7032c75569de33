//! Recorder: a stream's parts into files: when one is opened and closed, and what is missing between them.
//!
//! ```text
//!             first independent part                       refused, failed
//!  Waiting ────────────────────────────► Recording ───────────────────────► Waiting (gap: disk)
//!     ▲                                   │    ▲ │
//!     │ camera lost, server stops         │    └─┘ new init or timeline: next run; else, once
//!     └───────────────────────────────────┘        segment_duration is reached, the next file of the run
//! ```
//!
//! - A file begins with a random access point, ends anywhere, and has one init segment and one timeline.
//! - A run is files without anything missing between them: each begins where the one before ended.
//! - A gap is what is missing, with the reason of its begin. Less than [`GAP_US_MIN`] between two files is the jitter
//!   of the wall clock, not a gap.
//! - When the wall clock is set, the open file goes on by the old one until a random access point; there a run by the new
//!   one begins, with a gap of reason `clock` between, empty where the clock was set back: nothing is missing, but who
//!   looks for a time must know that there were two.
//! - A slate is no picture of the camera's: what is missing behind it is a gap, as without one.
//!
//! Belongs here: what to do with each part. Does not: doing it (-> storage), when the camera is lost (-> server).
//! Grammar: [`Recorder::handle_event`], [`Recorder::stop`] and [`Recorder::failed`] hand out commands that are to be
//! carried out all or none, in order; where they can't be, [`Recorder::refused`] must be called before anything else.
//! Invariants: parts of one file are contiguous; a file is closed before the next is opened.

pub mod index;
#[cfg(test)]
mod tests;
pub mod thumbnails;

use std::sync::Arc;
use std::time::Duration;

use crate::remux::fmp4::{Event, InitSegment, Part};
use crate::time::{CLOCK_STEP_US, Timescale, WallTime};

/// Less missing between two files is no gap.
pub const GAP_US_MIN: i64 = 200_000;
/// Media let go after a failed write before the next file is tried: a full disk is not asked with each GOP.
const HOLD_OFF_US: i64 = 2_000_000;
/// Doubled so often, at most, while files can't even be opened: 16 s.
const HOLD_OFF_DOUBLINGS_MAX: u32 = 3;

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The camera sent nothing, or its time jumped.
    Camera,
    /// The disk was too slow, full or broken.
    Disk,
    /// Somebody turned recording off.
    Operator,
    /// This server was stopped, crashed or too slow.
    Server,
    /// Nothing is missing: this server's clock was set.
    Clock,
}

impl GapReason {
    /// Its name in the catalogue, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Disk => "disk",
            Self::Operator => "operator",
            Self::Server => "server",
            Self::Clock => "clock",
        }
    }

    /// The reason of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Camera, Self::Disk, Self::Operator, Self::Server, Self::Clock]
            .into_iter()
            .find(|reason| reason.as_str() == name)
    }
}

/// Something missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Where what was recorded before ends.
    pub from: WallTime,
    /// Where recording goes on; `None` while it does not. The same `from` again completes the gap.
    pub until: Option<WallTime>,
    /// Why.
    pub reason: GapReason,
}

/// An uninterrupted sequence of files of one stream: the wall time of its begin in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub i64);

/// A file that begins.
#[derive(Clone, Debug)]
pub struct FileStart {
    /// The run it belongs to.
    pub run: RunId,
    /// Its position in the run.
    pub number: u32,
    /// When its first picture was taken.
    pub start: WallTime,
    /// What its parts need.
    pub init: Arc<InitSegment>,
    /// Unit of the leading track.
    pub timescale: Timescale,
    /// Decode time of the first picture.
    pub first_ticks: i64,
    /// Presentation minus decode time of the first picture.
    pub composition_offset_ticks: i64,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open a file; none is open.
    Open(FileStart),
    /// Append a part to the open file.
    Append(Arc<Part>),
    /// Close the open file.
    Close,
    /// Note a gap.
    Gap(Gap),
}

/// Counters since the recorder was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Files begun.
    pub files: u64,
    /// Parts that were handed on to be written.
    pub parts: u64,
    /// Parts that belong to a gap: refused, or behind it and not independent.
    pub dropped_parts: u64,
    /// Gaps begun.
    pub gaps: u64,
}

/// Decides what is done with one stream's parts. See the module's header.
#[derive(Debug)]
pub struct Recorder {
    segment_duration_us: i64,
    init: Option<Arc<InitSegment>>,
    state: State,
    /// What to go back to when the last commands are refused.
    before: Option<(State, RecorderStats)>,
    stats: RecorderStats,
}

#[derive(Clone, Debug, Default)]
struct State {
    file: Option<OpenFile>,
    run: Option<RunId>,
    /// The next file begins a run.
    breaks: bool,
    /// Where what was recorded ends.
    end: Option<WallTime>,
    /// Why the next file does not begin there.
    reason: Option<GapReason>,
    /// The gap was already handed out without its end.
    announced: bool,
    hold_off_us: i64,
    /// Files in a row that got no part onto the disk.
    empty_files: u32,
}

#[derive(Clone, Copy, Debug)]
struct OpenFile {
    number: u32,
    duration_us: i64,
    /// Where what was recorded before it ends.
    after: Option<WallTime>,
    /// Its times are those of a clock that was set since.
    has_old_clock: bool,
}

impl Recorder {
    /// A recorder that begins a new file each `segment_duration` (`recordSegmentDuration`); `left` is the gap that an
    /// earlier one left open.
    pub fn new(segment_duration: Duration, left: Option<Gap>) -> Self {
        let state = State {
            breaks: true,
            end: left.map(|gap| gap.from),
            reason: left.map(|gap| gap.reason),
            announced: left.is_some(),
            ..State::default()
        };
        Self {
            segment_duration_us: micros(segment_duration),
            init: None,
            state,
            before: None,
            stats: RecorderStats::default(),
        }
    }

    /// Changes `recordSegmentDuration`; the open file is held to it too.
    pub fn set_segment_duration(&mut self, segment_duration: Duration) {
        self.segment_duration_us = micros(segment_duration);
    }

    /// Counters.
    pub fn stats(&self) -> RecorderStats {
        self.stats
    }

    /// Whether a file is open.
    pub fn is_recording(&self) -> bool {
        self.state.file.is_some() && self.state.hold_off_us == 0
    }

    /// Takes what the segmenter made.
    pub fn handle_event(&mut self, event: &Event) -> Vec<Command> {
        self.before = None;
        match event {
            Event::Init { init, .. } if init.is_slate => {
                self.init = None;
                self.stop(GapReason::Camera)
            }
            Event::Init { init, .. } => {
                self.init = Some(Arc::clone(init));
                self.state.breaks = true;
                Vec::new()
            }
            // A slate's, or of a format that has not begun.
            Event::Part(_) if self.init.is_none() => Vec::new(),
            Event::Part(part) => self.part(part),
            Event::Start(_) | Event::SegmentEnd { .. } => Vec::new(),
        }
    }

    /// Nothing more comes for now: closes the file and begins a gap.
    pub fn stop(&mut self, reason: GapReason) -> Vec<Command> {
        self.before = Some((self.state.clone(), self.stats));
        let mut commands = Vec::new();
        if self.state.file.take().is_some() {
            commands.push(Command::Close);
        }
        self.state.breaks = true;
        self.state.reason.get_or_insert(reason);
        commands.extend(self.announce());
        commands
    }

    /// A file could not be written and is closed already; what it holds ends at `end`.
    pub fn failed(&mut self, run: RunId, number: u32, end: Option<WallTime>) -> Vec<Command> {
        let is_open = |file: &OpenFile| self.state.run == Some(run) && file.number == number;
        let Some(file) = self.state.file.filter(is_open) else { return Vec::new() };
        self.before = None;
        self.state.file = None;
        self.state.breaks = true;
        self.state.end = end.or(file.after);
        self.state.reason = Some(GapReason::Disk);
        self.state.empty_files = if end.is_some() { 0 } else { self.state.empty_files.saturating_add(1) };
        let doublings = self.state.empty_files.saturating_sub(1).min(HOLD_OFF_DOUBLINGS_MAX);
        self.state.hold_off_us = HOLD_OFF_US << doublings;
        self.announce().into_iter().collect()
    }

    /// The last commands were not carried out, none of them: the writer's queue is full.
    pub fn refused(&mut self) {
        let Some((state, stats)) = self.before.take() else { return };
        let parts = self.stats.parts - stats.parts;
        self.state = state;
        self.stats = RecorderStats { dropped_parts: stats.dropped_parts + parts, ..stats };
        self.state.breaks = true;
        self.state.reason.get_or_insert(GapReason::Disk);
    }

    /// The gap at the end of what was recorded, once.
    fn announce(&mut self) -> Option<Command> {
        let from = self.state.end.filter(|_| !self.state.announced)?;
        self.state.announced = true;
        self.stats.gaps += 1;
        Some(Command::Gap(Gap { from, until: None, reason: self.state.reason? }))
    }

    fn part(&mut self, part: &Arc<Part>) -> Vec<Command> {
        self.before = Some((self.state.clone(), self.stats));
        let hold_off_us = self.state.hold_off_us;
        self.state.hold_off_us = hold_off_us.saturating_sub(part.duration_us()).max(0);
        let was_set = |end: WallTime| part.wall.us_since(end).abs() > CLOCK_STEP_US;
        let is_set = !self.state.breaks && self.state.end.is_some_and(was_set);
        if let Some(file) = &mut self.state.file {
            file.has_old_clock |= is_set;
        }
        let has_old_clock = self.state.file.is_some_and(|file| file.has_old_clock);
        let is_long = |file: OpenFile| part.index == 0 && file.duration_us >= self.segment_duration_us;
        let ends = self.state.breaks || has_old_clock;
        let needs_file = ends || self.state.file.is_none_or(is_long);
        let mut commands = Vec::new();
        if needs_file && part.is_independent && hold_off_us == 0 {
            if has_old_clock && !self.state.breaks {
                self.state.breaks = true;
                self.state.reason = Some(GapReason::Clock);
            }
            commands = self.next_file(part);
        }
        let breaks = self.state.breaks;
        let Some(file) = self.state.file.as_mut().filter(|_| !breaks) else {
            self.stats.dropped_parts += 1;
            return Vec::new();
        };
        file.duration_us += part.duration_us();
        let begin = self.state.end.filter(|_| file.has_old_clock).unwrap_or(part.wall);
        self.state.end = Some(begin.plus_us(part.duration_us()));
        self.stats.parts += 1;
        commands.push(Command::Append(Arc::clone(part)));
        commands
    }

    fn next_file(&mut self, part: &Part) -> Vec<Command> {
        let Some(init) = self.init.clone() else { return Vec::new() };
        let mut commands = Vec::new();
        let last = self.state.file.take();
        commands.extend(last.map(|_| Command::Close));
        let (run, number) = match (self.state.run, last) {
            (Some(run), Some(last)) if !self.state.breaks => (run, last.number + 1),
            (run, _) => {
                commands.extend(self.end_of_gap(part.wall));
                // Rises even when the clock is set back.
                let least = run.map_or(i64::MIN, |run| run.0 + 1);
                (RunId(part.wall.unix_us().max(least)), 0)
            }
        };
        self.state.run = Some(run);
        self.state.breaks = false;
        self.state.reason = None;
        self.state.announced = false;
        self.state.file =
            Some(OpenFile { number, duration_us: 0, after: self.state.end, has_old_clock: false });
        self.stats.files += 1;
        commands.push(Command::Open(FileStart {
            run,
            number,
            start: part.wall,
            init,
            timescale: part.timescale,
            first_ticks: part.start_ticks,
            composition_offset_ticks: part.composition_offset_ticks,
        }));
        commands
    }

    fn end_of_gap(&mut self, until: WallTime) -> Option<Command> {
        let from = self.state.end?;
        let reason = self.state.reason.unwrap_or(GapReason::Camera);
        if !self.state.announced {
            if until.us_since(from) < GAP_US_MIN && reason != GapReason::Clock {
                return None;
            }
            self.stats.gaps += 1;
        }
        Some(Command::Gap(Gap { from, until: Some(until.max(from)), reason }))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
