//! Window: the newest segments of a stream, what is listed of them and what can be fetched.
//!
//! ```text
//!  retired (not listed, still served) │ listed segments │ open segment │ hinted part
//!                                      └ parts listed for the last 3 target durations
//! ```
//!
//! - Listed: at least `segment_count` segments and 4 target durations; under memory pressure
//!   [`SEGMENTS_LISTED_MIN`] and 3 target durations, the least a playlist may hold.
//! - Retired: for the segment's own duration and that of the playlist that listed it (rfc8216bis s6.2.2), so parts
//!   stay for more than 3 target durations after their tags are gone (correctness: H11); less under memory pressure.
//! - Without an audience no playlist is out there that names anything: 3 target durations are kept, what a first viewer
//!   needs, and nothing is retired. The list grows to its full length once somebody watches.
//!
//! Belongs here: retention, numbers, readiness. Does not: text (-> playlist), waiting (-> server).
//! Invariants: numbers of segments are contiguous; MEDIA-SEQUENCE and DISCONTINUITY-SEQUENCE never go back (correctness: H14).
//! Limits: `bytes_soft` (memory pressure), [`SEGMENTS_LISTED_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::multivariant::{self, VariantFacts};
use super::names::{MediaName, Prefix};
use super::playlist;
use super::request::{Answer, BadDirective, Directives};
use crate::gate::CameraGrant;
use crate::remux::fmp4::{Event, InitSegment, Part, Targets};
use crate::time::WallTime;

/// The fewest segments a playlist lists when memory is short: three target durations and one.
pub const SEGMENTS_LISTED_MIN: usize = 4;
/// The fewest segments a playlist lists while nobody watches.
pub const SEGMENTS_LISTED_UNWATCHED: usize = 3;
/// The most segments a playlist lists, however short they are, unless more are configured; the oldest are retired beyond it.
pub const SEGMENTS_LISTED_MAX: usize = 128;
/// Parts are listed while their segment begins within so many target durations of the end (correctness: H11)...
const PARTS_LISTED_TARGETS: i64 = 3;
/// ...and, but for the last whole segment, no longer than this, which is more than any player at the live edge looks back: a
/// player reads the whole list with each part, and 3 target durations of a 20 s GOP would be 300 of them.
const PARTS_LISTED_US_MAX: i64 = 6_000_000;
/// Listed in target durations without memory pressure: one more than a client at HOLD-BACK needs.
const LISTED_TARGETS: i64 = 4;
/// Listed in target durations at least (rfc8216bis s6.2.2).
const LISTED_TARGETS_MIN: i64 = 3;
/// A request is held for so many target durations (correctness: H7)...
const HOLD_TARGETS: u32 = 3;
/// ...and no longer than this: with a part every 200 ms it is an outage long before, and players give up at 10 s.
const HOLD_MAX: Duration = Duration::from_secs(9);
/// Media that makes a playlist worth answering before a segment is complete: more than any part hold-back.
const READY_MEDIA_US: i64 = 2_000_000;

/// `hlsVariant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// LL-HLS: parts, blocking reload, hints, deltas.
    LowLatency,
    /// Segments only.
    Fmp4,
}

/// Whether a playlist of this window may be in somebody's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Nobody asked, or not for long: what was listed to them has run out.
    None,
    /// Somebody asks.
    Present,
}

/// Where the numbers of a new window begin.
///
/// A window that replaces another of the same stream must begin above it (correctness: H14): after a server's restart by
/// [`SequenceStart::at`], within one process also above [`Window::sequence_after`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceStart {
    /// The first MEDIA-SEQUENCE.
    pub msn: u64,
    /// The first DISCONTINUITY-SEQUENCE.
    pub discontinuity: u64,
}

impl SequenceStart {
    /// Numbers for a window that is made at `now`: quarters of a second, and hours, since 2026.
    ///
    /// A window uses up fewer than four segments a second, so the next one begins above; they fit 31 bits until 2043, for
    /// players that count in 32. Discontinuities are numbered by the hour because hls.js keeps an array as long as the
    /// number and walks it at each part: seconds (28 million of them) took a whole core of the viewer's. A server that is
    /// restarted within the hour of several discontinuities may begin below the last; its players start anew.
    pub fn at(now: WallTime) -> Self {
        const EPOCH_2026_US: i64 = 1_767_225_600_000_000;
        let us = u64::try_from(now.unix_us() - EPOCH_2026_US).unwrap_or(0);
        Self { msn: us / 250_000, discontinuity: us / 3_600_000_000 }
    }

    /// The higher of both numbers.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { msn: self.msn.max(other.msn), discontinuity: self.discontinuity.max(other.discontinuity) }
    }
}

/// What a window is made with.
#[derive(Clone, Debug)]
pub struct WindowConfig {
    /// Which kind of playlist.
    pub variant: Variant,
    /// `hlsSegmentCount`.
    pub segment_count: usize,
    /// Above so many bytes the window keeps no more than it must.
    pub bytes_soft: usize,
    /// In every file name.
    pub prefix: Prefix,
    /// The first DISCONTINUITY-SEQUENCE; the first MEDIA-SEQUENCE comes with the parts.
    pub first_discontinuity: u64,
}

/// A segment: parts end to end.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) msn: u64,
    pub(super) init_id: u32,
    pub(super) discontinuity: bool,
    pub(super) parts: Vec<Arc<Part>>,
    pub(super) duration_us: i64,
    /// Where it ends, counted from the window's beginning.
    end_us: i64,
    bytes: usize,
    init: Arc<InitSegment>,
}

#[derive(Debug)]
struct Retired {
    segment: Segment,
    expires_us: i64,
}

/// A playlist's text, made once and shared by all viewers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Rises with each change.
    pub version: u64,
    /// The whole playlist.
    pub full: Bytes,
    /// The delta update, where something can be skipped.
    pub delta: Option<Bytes>,
}

/// The bytes of a file, in order, shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// To be sent one after the other.
    pub chunks: Vec<Bytes>,
    /// Their sum.
    pub len_bytes: usize,
}

/// What a request for a file gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaAnswer {
    /// All its bytes.
    Now(Media),
    /// The part that the playlist hints at: it will come.
    Wait {
        /// Until it becomes [`MediaAnswer::Unavailable`].
        left: Duration,
    },
    /// 503: the hinted part did not come in time.
    Unavailable,
    /// 404.
    NotFound,
}

/// The live window of one stream. See the module's header.
#[derive(Debug)]
pub struct Window {
    config: WindowConfig,
    audience: Audience,
    targets: Option<Targets>,
    retired: VecDeque<Retired>,
    listed: VecDeque<Segment>,
    open: Option<Segment>,
    next_msn: u64,
    discontinuity_sequence: u64,
    current_init: Option<(u32, Arc<InitSegment>)>,
    discontinuity_next: bool,
    /// Media so far.
    end_us: i64,
    bytes: usize,
    /// Rises with each commit since the window was ready; 0 before.
    version: u64,
    /// The text of that version, once somebody asked for it.
    rendered: Option<Rendered>,
}

impl Window {
    /// An empty window.
    pub fn new(config: WindowConfig) -> Self {
        let discontinuity_sequence = config.first_discontinuity;
        Self {
            config,
            audience: Audience::Present,
            targets: None,
            retired: VecDeque::new(),
            listed: VecDeque::new(),
            open: None,
            next_msn: 0,
            discontinuity_sequence,
            current_init: None,
            discontinuity_next: false,
            end_us: 0,
            bytes: 0,
            version: 0,
            rendered: None,
        }
    }

    /// Says whether anybody watches; decides how much is kept from the next segment on.
    pub fn note_audience(&mut self, audience: Audience) {
        self.audience = audience;
    }

    /// Takes what the segmenter made. [`Window::commit`] makes it visible.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Start(targets) => self.targets = Some(targets),
            Event::Init { init, discontinuity } => {
                self.discontinuity_next |= discontinuity;
                self.set_init(init);
            }
            Event::Part(part) => self.push_part(part),
            Event::SegmentEnd { .. } => self.end_segment(),
        }
    }

    /// Makes what was applied visible; called once after each batch of events, so that what is hinted at is known.
    pub fn commit(&mut self) {
        if self.version > 0 || self.has_enough() {
            self.version += 1;
        }
    }

    /// There is enough to play.
    pub fn is_ready(&self) -> bool {
        self.version > 0
    }

    /// The playlists of now, once there is enough to play. Made at the first request for each version, so that
    /// a window without viewers never writes one.
    pub fn rendered(&mut self) -> Option<&Rendered> {
        if !self.is_ready() {
            return None;
        }
        if self.rendered.as_ref().is_none_or(|rendered| rendered.version != self.version) {
            let full = Bytes::from(playlist::full(self));
            let delta = playlist::delta(self).map(Bytes::from);
            self.rendered = Some(Rendered { version: self.version, full, delta });
        }
        self.rendered.as_ref()
    }

    /// The lowest numbers that a window replacing this one may begin with (correctness: H14).
    pub fn sequence_after(&self) -> SequenceStart {
        let listed = self.listed.iter().chain(&self.open).filter(|segment| segment.discontinuity).count();
        let discontinuity = self.discontinuity_sequence + u64::try_from(listed).unwrap_or(u64::MAX) + 1;
        // Two above: a player may already ask for the segment after the open one.
        SequenceStart { msn: self.next_msn + 2, discontinuity }
    }

    /// Payload and header bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What a playlist request gets that has been held for `held` so far (correctness: H6, H7, H8).
    pub fn answer(&self, directives: &Directives, held: Duration) -> Answer {
        if !self.is_ready() {
            return self.hold(held);
        }
        let Some(msn) = directives.msn else { return Answer::Now };
        if self.is_too_far(msn, directives.part) {
            return Answer::BadRequest(BadDirective::TooFarAhead { msn, next_msn: self.next_msn });
        }
        if self.is_there(msn, directives.part) { Answer::Now } else { self.hold(held) }
    }

    /// A file's bytes. The grant proves that the gate let the caller at this camera.
    pub fn media(&self, _grant: &CameraGrant, name: MediaName, held: Duration) -> MediaAnswer {
        let found = match name {
            MediaName::Init(id) => self.init(id).map(|init| Media::of([init.bytes.clone()])),
            MediaName::Segment { msn } => self
                .segment(msn)
                .filter(|_| msn < self.next_msn)
                .map(|segment| Media::of(segment.parts.iter().flat_map(|part| part.chunks().cloned()))),
            MediaName::Part { msn, index } => {
                self.part(msn, index).map(|part| Media::of(part.chunks().cloned()))
            }
        };
        match (found, name) {
            (Some(media), _) => MediaAnswer::Now(media),
            (None, MediaName::Part { msn, index }) if self.hinted_part() == (msn, index) => {
                match self.hold(held) {
                    Answer::Wait { left } => MediaAnswer::Wait { left },
                    _ => MediaAnswer::Unavailable,
                }
            }
            (None, _) => MediaAnswer::NotFound,
        }
    }

    /// The multivariant playlist, once there is enough to play; `query` is kept on the child's URI.
    pub fn multivariant(&self, query: Option<&str>) -> Option<String> {
        let (_, init) = self.current_init.as_ref().filter(|_| self.is_ready())?;
        let segments = || self.listed.iter().chain(&self.open).filter(|segment| segment.duration_us > 0);
        let bps = |bytes: usize, us: i64| {
            let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8_000_000);
            bits / u64::try_from(us).unwrap_or(1).max(1)
        };
        let bytes = segments().map(|segment| segment.bytes).sum();
        let us = segments().map(|segment| segment.duration_us).sum();
        let facts = VariantFacts {
            peak_bps: segments()
                .map(|segment| bps(segment.bytes, segment.duration_us))
                .max()
                .unwrap_or(1)
                .max(1),
            average_bps: bps(bytes, us).max(1),
            codecs: init.codecs.clone(),
            resolution: init.resolution,
            frame_rate_milli: init.resolution.map(|_| self.targets().frame_rate_milli),
        };
        Some(multivariant::render(&facts, query))
    }

    #[cfg(test)]
    pub(super) fn retired_count(&self) -> usize {
        self.retired.len()
    }

    pub(super) fn config(&self) -> &WindowConfig {
        &self.config
    }

    /// The targets; zero before they are chosen, when nothing is rendered.
    pub(super) fn targets(&self) -> Targets {
        self.targets.unwrap_or(Targets { part_target_ms: 0, target_duration_secs: 0, frame_rate_milli: 0 })
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = &Segment> {
        self.listed.iter()
    }

    pub(super) fn open(&self) -> Option<&Segment> {
        self.open.as_ref()
    }

    pub(super) fn media_sequence(&self) -> u64 {
        self.listed.front().map_or(self.next_msn, |segment| segment.msn)
    }

    pub(super) fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// The part that comes next (correctness: H10).
    pub(super) fn hinted_part(&self) -> (u64, u32) {
        (self.next_msn, self.open_parts())
    }

    /// From the end of a segment to the end of the playlist.
    pub(super) fn age_us(&self, segment: &Segment) -> i64 {
        self.end_us - segment.end_us
    }

    pub(super) fn lists_parts_of(&self, segment: &Segment) -> bool {
        let age_us = self.age_us(segment);
        let is_recent = age_us <= PARTS_LISTED_US_MAX || self.is_before_open(segment);
        age_us + segment.duration_us <= PARTS_LISTED_TARGETS * self.target_us() && is_recent
    }

    /// The segment before the open one. hls.js (1.7) begins with the parts of an open segment only where the list has parts that
    /// are older than it by its own length; else it waits until that segment is whole, which took 10 s of a 20 s GOP.
    fn is_before_open(&self, segment: &Segment) -> bool {
        segment.msn + 1 == self.next_msn
    }

    fn target_us(&self) -> i64 {
        i64::from(self.targets().target_duration_secs) * 1_000_000
    }

    fn open_parts(&self) -> u32 {
        self.open.as_ref().map_or(0, |open| u32::try_from(open.parts.len()).unwrap_or(u32::MAX))
    }

    fn set_init(&mut self, init: Arc<InitSegment>) {
        let id = match &self.current_init {
            Some((id, current)) if current.bytes == init.bytes => *id,
            Some((id, _)) => id + 1,
            None => 0,
        };
        self.current_init = Some((id, init));
    }

    fn push_part(&mut self, part: Arc<Part>) {
        let Some((init_id, init)) = &self.current_init else { return };
        self.bytes += part.len_bytes;
        let open = self.open.get_or_insert_with(|| Segment {
            msn: part.msn,
            init_id: *init_id,
            discontinuity: std::mem::take(&mut self.discontinuity_next),
            parts: Vec::new(),
            duration_us: 0,
            end_us: self.end_us,
            bytes: 0,
            init: Arc::clone(init),
        });
        self.next_msn = open.msn;
        open.bytes += part.len_bytes;
        open.parts.push(part);
        let duration_us = playlist::duration_us(&open.parts);
        self.end_us += duration_us - open.duration_us;
        open.duration_us = duration_us;
        open.end_us = self.end_us;
    }

    fn end_segment(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.next_msn = open.msn + 1;
        self.listed.push_back(open);
        self.retire();
    }

    fn retire(&mut self) {
        while self.must_retire() {
            let listed_us: i64 = self.listed.iter().map(|segment| segment.duration_us).sum();
            let Some(segment) = self.listed.pop_front() else { return };
            self.discontinuity_sequence += u64::from(segment.discontinuity);
            let expires_us = self.end_us + segment.duration_us + listed_us;
            self.retired.push_back(Retired { segment, expires_us });
        }
        while self.retired.front().is_some_and(|oldest| {
            self.audience == Audience::None
                || self.end_us > oldest.expires_us
                || self.bytes > self.config.bytes_soft
        }) {
            let gone = self.retired.pop_front();
            self.bytes -= gone.map_or(0, |gone| gone.segment.bytes);
        }
    }

    /// Whether the oldest listed segment has to go.
    fn must_retire(&self) -> bool {
        let count = self.listed.len();
        let listed_us: i64 = self.listed.iter().map(|segment| segment.duration_us).sum();
        let left_us = listed_us - self.listed.front().map_or(0, |segment| segment.duration_us);
        let over_count = count > self.config.segment_count && left_us >= LISTED_TARGETS * self.target_us();
        let retired: usize = self.retired.iter().map(|retired| retired.segment.bytes).sum();
        let over_bytes = self.bytes - retired > self.config.bytes_soft
            && count > SEGMENTS_LISTED_MIN
            && left_us >= LISTED_TARGETS_MIN * self.target_us();
        let unwatched = self.audience == Audience::None
            && count > SEGMENTS_LISTED_UNWATCHED
            && left_us >= LISTED_TARGETS_MIN * self.target_us();
        over_count || over_bytes || unwatched || count > SEGMENTS_LISTED_MAX.max(self.config.segment_count)
    }

    fn has_enough(&self) -> bool {
        let early = self.config.variant == Variant::LowLatency && self.end_us >= READY_MEDIA_US;
        self.targets.is_some() && (!self.listed.is_empty() || early)
    }

    fn hold(&self, held: Duration) -> Answer {
        let targets = self.targets.map_or(HOLD_MAX, |targets| {
            Duration::from_secs(u64::from(targets.target_duration_secs * HOLD_TARGETS))
        });
        match targets.min(HOLD_MAX).checked_sub(held) {
            Some(left) if !left.is_zero() => Answer::Wait { left },
            _ => Answer::Unavailable,
        }
    }

    /// correctness: H7
    fn is_too_far(&self, msn: u64, part: Option<u32>) -> bool {
        let part_ms = self.targets().part_target_ms.max(1);
        let advance_max = if part_ms < 1000 { 3000_u32.div_ceil(part_ms) } else { 3 };
        let first_absent = if msn == self.next_msn { self.open_parts() } else { 0 };
        let beyond_parts =
            msn >= self.next_msn && part.is_some_and(|part| part > first_absent.saturating_add(advance_max));
        msn > self.next_msn + 1 || beyond_parts
    }

    /// correctness: H6
    fn is_there(&self, msn: u64, part: Option<u32>) -> bool {
        let Some(part) = part else { return msn < self.next_msn };
        if msn == self.next_msn {
            return part < self.open_parts();
        }
        // Past the end of the last complete segment means the first part of the next.
        let is_past_end = msn + 1 == self.next_msn
            && self.listed.back().is_some_and(|last| {
                last.msn == msn && usize::try_from(part).is_ok_and(|p| p >= last.parts.len())
            });
        if is_past_end { self.open_parts() > 0 } else { msn < self.next_msn }
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.retired.iter().map(|retired| &retired.segment).chain(&self.listed).chain(&self.open)
    }

    fn segment(&self, msn: u64) -> Option<&Segment> {
        self.segments().find(|segment| segment.msn == msn)
    }

    /// The part with this name. One past the end of its segment is the first of the next: that is what the player that
    /// followed a hint wants when the segment had to end after all.
    fn part(&self, msn: u64, index: u32) -> Option<&Arc<Part>> {
        let segment = self.segment(msn)?;
        let index = usize::try_from(index).ok()?;
        match segment.parts.get(index) {
            Some(part) => Some(part),
            None if index == segment.parts.len() && msn < self.next_msn => {
                self.segment(msn + 1)?.parts.first()
            }
            None => None,
        }
    }

    fn init(&self, id: u32) -> Option<&InitSegment> {
        let current = self.current_init.as_ref().map(|(id, init)| (*id, init));
        let held = self.segments().map(|segment| (segment.init_id, &segment.init));
        held.chain(current).find(|(held, _)| *held == id).map(|(_, init)| &**init)
    }
}

impl Segment {
    pub(super) fn wall(&self) -> Option<WallTime> {
        self.parts.first().map(|part| part.wall)
    }
}

impl Media {
    fn of(chunks: impl IntoIterator<Item = Bytes>) -> Self {
        let chunks: Vec<Bytes> = chunks.into_iter().collect();
        let len_bytes = chunks.iter().map(Bytes::len).sum();
        Self { chunks, len_bytes }
    }
}
