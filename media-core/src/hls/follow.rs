//! Follow: which segment of a media playlist comes next, and when to look again.
//!
//! ```text
//!  playlist ─► begin: live, three target durations from the end; what is over, at its beginning
//!     ▲            └─► Fetch ─► Fetch ─► ReloadAt ─┐
//!     └────────────────────────────────────────────┘
//! ```
//!
//! Spec: RFC 8216 s6.3.3 (where to begin), s6.3.4 (when to reload).
//! Limits: [`RELOAD_MIN`]; a segment that left the window is passed over, with a discontinuity.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::playlist::{MediaPlaylist, Segment};

/// Target durations between the end of a live playlist and where it is begun.
const START_TARGETS: u32 = 3;

/// However short its segments are, no playlist is asked for more often.
const RELOAD_MIN: Duration = Duration::from_millis(500);

/// A playlist that ends so many segments before what was had has begun anew; less is a stale copy.
const STALE_SEGMENTS_MAX: u64 = 3;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This segment is next.
    Fetch(Segment),
    /// Then the playlist.
    ReloadAt(Instant),
    /// Nothing more will come.
    Over,
}

/// What a playlist was when it was last loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// It had brought something new.
    Growing,
    /// It had not.
    Same,
    /// All there will be.
    Ended,
}

/// One media playlist being followed.
#[derive(Debug)]
pub struct Follower {
    next_msn: Option<u64>,
    waiting: VecDeque<Segment>,
    target_duration: Duration,
    loaded_at: Instant,
    listing: Listing,
    /// What comes next does not go on with what came.
    is_broken: bool,
}

impl Follower {
    /// Nothing is known of it.
    pub fn new(now: Instant) -> Self {
        Self {
            next_msn: None,
            waiting: VecDeque::new(),
            target_duration: Duration::ZERO,
            loaded_at: now,
            listing: Listing::Same,
            is_broken: false,
        }
    }

    /// Takes the playlist as it was at `now`.
    pub fn handle_playlist(&mut self, playlist: MediaPlaylist, now: Instant) {
        (self.loaded_at, self.target_duration) = (now, playlist.target_duration);
        self.listing = if playlist.is_ended { Listing::Ended } else { Listing::Same };
        let (Some(first), Some(last)) = (playlist.segments.first(), playlist.segments.last()) else { return };
        let begin = match self.next_msn {
            None => start(&playlist),
            Some(next) if last.msn.saturating_add(1 + STALE_SEGMENTS_MAX) < next => {
                self.is_broken = true;
                start(&playlist)
            }
            Some(next) if first.msn > next => {
                self.is_broken = true;
                first.msn
            }
            Some(next) => next,
        };
        let end = last.msn.saturating_add(1);
        if end > begin && !playlist.is_ended {
            self.listing = Listing::Growing;
        }
        self.next_msn = Some(end.max(begin));
        self.waiting.extend(playlist.segments.into_iter().filter(|segment| segment.msn >= begin));
    }

    /// What is to be done next.
    pub fn step(&mut self) -> Step {
        while let Some(mut segment) = self.waiting.pop_front() {
            if segment.is_gap {
                self.is_broken = true;
                continue;
            }
            segment.is_discontinuous |= std::mem::take(&mut self.is_broken);
            return Step::Fetch(segment);
        }
        let wait = match self.listing {
            Listing::Growing => self.target_duration,
            // Half as long: it is late.
            Listing::Same => self.target_duration / 2,
            Listing::Ended => return Step::Over,
        };
        Step::ReloadAt(self.loaded_at + wait.max(RELOAD_MIN))
    }

    /// The next segment could not be had: what follows it does not go on with what came.
    pub fn missed(&mut self) {
        self.is_broken = true;
    }

    /// Segments that are listed and wait for their turn.
    pub fn backlog(&self) -> usize {
        self.waiting.len()
    }

    /// No segment is longer.
    pub fn target_duration(&self) -> Duration {
        self.target_duration
    }
}

/// The first segment that is taken.
fn start(playlist: &MediaPlaylist) -> u64 {
    let first = playlist.segments.first().map_or(0, |segment| segment.msn);
    if playlist.is_ended {
        return first;
    }
    let mut distance = Duration::ZERO;
    for segment in playlist.segments.iter().rev() {
        distance += segment.duration;
        if distance >= playlist.target_duration * START_TARGETS {
            return segment.msn;
        }
    }
    first
}
