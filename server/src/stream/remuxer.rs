//! Remuxer: a stream's only one. Its publisher feeds it, and every sink gets the parts it makes: the HLS window and the
//! recorder serve and write the same bytes.
//!
//! ```text
//!  Publisher::publish ─► ring
//!        └─────────────► Segmenter ─events─► Sink::take, one after the other (HLS window, recorder)
//!                             └────────────► History ─► a sink that comes later
//! ```
//!
//! It runs where the publisher runs and has no task: nothing waits, so nothing has to be woken, and no sink can lag. Without a
//! sink it does nothing; the first one has it look at what is in the ring.
//!
//! Belongs here: who gets what, and panics. Does not: where to cut (-> `media_core::remux::fmp4`).
//! Invariants: a sink gets every event after its attachment, in order, each once. Numbers of segments rise, across the
//! remuxer's own restarts too (correctness: H14). A panic in a sink leaves the others and the camera alone.
//! Limits: the history is the last whole segment and the open one, whose payloads the ring or a window holds anyway;
//! [`RESTART_PAUSE`].

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use media_core::access_unit::AccessUnit;
use media_core::egress::hls::SequenceStart;
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::init::Selection;
use media_core::remux::fmp4::{Event, InitSegment, Segmenter, SegmenterConfig, SegmenterStats, Targets};
use media_core::ring::{Entry, JoinAt, Read};
use media_core::track::SharedFormat;

use super::Stream;
use crate::runtime::clock;
use crate::runtime::tasks::panic_message;

/// Between a second panic in a row and the next try.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Takes what a remuxer makes. Called where the camera's session runs: what takes long belongs elsewhere.
pub(crate) trait Sink: Send + Sync {
    /// The next events, and the segmenter's counters as of now.
    fn take(&self, events: &[Event], stats: SegmenterStats);

    /// The camera is lost: nothing comes until further notice. What was made so far has been handed out.
    fn pause(&self) {}

    /// Its own code panicked, or the remuxer's, with this message: to count it and to forget what may be half-changed.
    fn restart(&self, message: &str);

    /// What it needs of the stream.
    fn needs(&self) -> Needs;
}

/// What a sink needs of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// What was made before it came too, so that there is something to show at once.
    History,
    /// Every picture from now on, the last one before an outage included.
    EveryPicture,
}

/// A sink's place at a stream; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Attachment {
    stream: Arc<Stream>,
    id: u64,
}

impl Attachment {
    /// Has the remuxer hand out the picture that it holds, and ends; for an orderly stop.
    pub(crate) fn finish(self) {
        self.stream.remuxer.lock().finish();
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.stream.remuxer.detach(&self.stream, self.id);
    }
}

impl Stream {
    /// Has `sink` get the stream's parts until the attachment is dropped. The grant must be for this path; `config` counts
    /// for the first sink, and is the same for all of a path.
    pub(crate) fn attach(
        self: &Arc<Self>,
        grant: &CameraGrant,
        sink: Arc<dyn Sink>,
        config: SegmenterConfig,
    ) -> Attachment {
        debug_assert_eq!(grant.path(), self.name(), "a grant for another path");
        let id = self.remuxer.attach(self, sink, config);
        Attachment { stream: Arc::clone(self), id }
    }
}

/// One stream's remuxer; at rest without a sink.
#[derive(Debug, Default)]
pub(super) struct Remuxer {
    /// Saves the publisher the lock while there is no sink. Set before the ring is read, whose lock orders it.
    is_running: AtomicBool,
    core: Mutex<Core>,
}

#[derive(Default)]
struct Core {
    work: Option<Work>,
    sinks: Vec<Attached>,
    last_id: u64,
    /// Where the next segmenter begins.
    next_msn: u64,
}

/// A remuxer at work.
struct Work {
    config: SegmenterConfig,
    segmenter: Segmenter,
    history: History,
    format: Option<SharedFormat>,
    /// The ring's next unit; those before it were taken from the ring when the work began.
    next_seq: u64,
    /// Holds the stream's count of those who want transcoded audio.
    wants_transcoded: bool,
    down_until: Option<Instant>,
}

struct Attached {
    id: u64,
    sink: Arc<dyn Sink>,
    down_until: Option<Instant>,
}

/// What a sink that comes later is given first: enough to show something at once.
#[derive(Default)]
struct History {
    targets: Option<Targets>,
    /// The init segment in force before `last`.
    init: Option<Arc<InitSegment>>,
    last: Vec<Event>,
    open: Vec<Event>,
}

impl Remuxer {
    /// Takes a unit that went into the ring as `seq`.
    pub(super) fn push(&self, stream: &Stream, seq: u64, format: &SharedFormat, unit: &Arc<AccessUnit>) {
        if !self.is_running.load(Ordering::Relaxed) {
            return;
        }
        let mut core = self.lock();
        let pushed = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            stream.fuse.burn(crate::runtime::fuse::FuseAt::Remuxer);
            core.push(stream, seq, format, unit);
        }));
        if let Err(panic) = pushed {
            core.restart(stream, &panic_message(panic.as_ref()));
        }
    }

    /// The camera is lost.
    pub(super) fn pause(&self) {
        self.lock().pause();
    }

    fn attach(&self, stream: &Arc<Stream>, sink: Arc<dyn Sink>, config: SegmenterConfig) -> u64 {
        let mut core = self.lock();
        let id = core.last_id + 1;
        core.last_id = id;
        let is_first = core.work.is_none();
        if is_first {
            self.is_running.store(true, Ordering::Relaxed);
            core.begin(config);
        }
        core.sinks.push(Attached { id, sink, down_until: None });
        if is_first {
            core.read_ring(stream);
        } else if let Core { work: Some(work), sinks, .. } = &mut *core
            && let Some(attached) = sinks.last_mut()
        {
            attached.give_history(work);
        }
        id
    }

    fn detach(&self, stream: &Stream, id: u64) {
        let mut core = self.lock();
        core.sinks.retain(|attached| attached.id != id);
        if core.sinks.is_empty() {
            self.is_running.store(false, Ordering::Relaxed);
            if core.work.take().is_some_and(|work| work.wants_transcoded) {
                stream.transcoded_wanted.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // Panics of the work itself are caught under the lock and the work begun anew.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    fn begin(&mut self, config: SegmenterConfig) {
        let first_msn = self.next_msn.max(SequenceStart::at(clock::wall_now()).msn);
        self.next_msn = first_msn;
        let segmenter = Segmenter::new(SegmenterConfig { first_msn, ..config });
        self.work = Some(Work {
            config,
            segmenter,
            history: History::default(),
            format: None,
            next_seq: 0,
            wants_transcoded: false,
            down_until: None,
        });
    }

    fn read_ring(&mut self, stream: &Arc<Stream>) {
        let ring = stream.lock_ring();
        let mut cursor = ring.cursor(JoinAt::Oldest);
        let mut entries = Vec::new();
        while let Read::Entry(entry) = ring.read(&mut cursor) {
            entries.push(entry);
        }
        drop(ring);
        let Some(work) = &mut self.work else { return };
        work.segmenter.expect_history();
        for Entry { seq, format, unit, .. } in &entries {
            work.push(stream, *seq, format, unit);
        }
        work.caught_up();
        self.deliver();
    }

    fn push(&mut self, stream: &Stream, seq: u64, format: &SharedFormat, unit: &Arc<AccessUnit>) {
        let Some(work) = &mut self.work else { return };
        if seq < work.next_seq {
            return;
        }
        if let Some(until) = work.down_until {
            if clock::now() < until {
                return;
            }
            work.down_until = None;
        }
        work.push(stream, seq, format, unit);
        self.deliver();
    }

    /// What the segmenter holds is handed out, and sinks are told.
    fn pause(&mut self) {
        let needs_all = self.sinks.iter().any(|attached| attached.sink.needs() == Needs::EveryPicture);
        let Some(work) = &mut self.work else { return };
        // Targets are for good: they are not chosen from a moment of media unless that would be lost otherwise.
        if needs_all || work.segmenter.targets().is_some() {
            self.finish();
        }
        let Some(work) = &self.work else { return };
        for attached in &mut self.sinks {
            attached.give(work, |sink| sink.pause());
        }
    }

    fn finish(&mut self) {
        let Some(work) = &mut self.work else { return };
        if let Err(error) = work.segmenter.finish() {
            tracing::debug!(%error, "format has no place in mp4");
        }
        self.deliver();
    }

    /// Hands out what the segmenter made.
    fn deliver(&mut self) {
        let Some(work) = &mut self.work else { return };
        let events: Vec<Event> = std::iter::from_fn(|| work.segmenter.poll_event()).collect();
        if events.is_empty() {
            return;
        }
        for event in &events {
            if let Event::Part(part) = event {
                self.next_msn = part.msn + 1;
            }
            work.history.note(event);
        }
        let stats = work.segmenter.stats();
        for attached in &mut self.sinks {
            attached.give(work, |sink| sink.take(&events, stats));
        }
    }

    /// The segmenter panicked: another one goes on above its numbers.
    fn restart(&mut self, stream: &Stream, message: &str) {
        stream.counters.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(message, path = %stream.name(), "remuxer panicked; playlist and recording begin anew");
        let Some(old) = self.work.take() else { return };
        self.begin(old.config);
        if let Some(work) = &mut self.work {
            work.wants_transcoded = old.wants_transcoded;
            work.next_seq = old.next_seq;
            work.down_until = Some(clock::now() + RESTART_PAUSE);
        }
        for attached in &self.sinks {
            // A sink that panics here too gets its next restart with the next event.
            drop(catch_unwind(AssertUnwindSafe(|| attached.sink.restart(message))));
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u64> = self.sinks.iter().map(|attached| attached.id).collect();
        f.debug_struct("Core").field("sinks", &ids).field("next_msn", &self.next_msn).finish_non_exhaustive()
    }
}

impl Work {
    fn push(&mut self, stream: &Stream, seq: u64, format: &SharedFormat, unit: &Arc<AccessUnit>) {
        self.next_seq = seq + 1;
        self.note_format(stream, format);
        if let Err(error) = self.segmenter.push(format, unit) {
            tracing::debug!(%error, "access unit has no place in mp4");
        }
    }

    fn caught_up(&mut self) {
        if let Err(error) = self.segmenter.caught_up() {
            tracing::debug!(%error, "format has no place in mp4");
        }
    }

    fn note_format(&mut self, stream: &Stream, format: &SharedFormat) {
        if self.format.as_ref().is_some_and(|current| Arc::ptr_eq(current, format)) {
            return;
        }
        if Selection::of(format).wants_transcoded_audio() && !self.wants_transcoded {
            self.wants_transcoded = true;
            stream.transcoded_wanted.fetch_add(1, Ordering::Relaxed);
        }
        self.format = Some(Arc::clone(format));
    }
}

impl Attached {
    /// Calls the sink unless it is down; a panic restarts it.
    fn give(&mut self, work: &Work, call: impl Fn(&dyn Sink)) {
        if let Some(until) = self.down_until {
            if clock::now() >= until {
                self.down_until = None;
                // What is to be given now is part of the history already.
                self.give_history(work);
            }
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| call(&*self.sink))) {
            self.restart(&panic_message(panic.as_ref()));
            self.give_history(work);
        }
    }

    fn give_history(&mut self, work: &Work) {
        let stats = work.segmenter.stats();
        let events = work.history.replay(self.sink.needs());
        if events.is_empty() {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.sink.take(&events, stats))) {
            self.restart(&panic_message(panic.as_ref()));
            self.down_until = Some(clock::now() + RESTART_PAUSE);
        }
    }

    fn restart(&self, message: &str) {
        drop(catch_unwind(AssertUnwindSafe(|| self.sink.restart(message))));
    }
}

impl History {
    fn note(&mut self, event: &Event) {
        match event {
            Event::Start(targets) => self.targets = Some(*targets),
            Event::SegmentEnd { .. } => {
                self.open.push(event.clone());
                let gone = std::mem::replace(&mut self.last, std::mem::take(&mut self.open));
                self.init = newest_init(&gone).or_else(|| self.init.take());
            }
            Event::Init { .. } | Event::Part(_) => self.open.push(event.clone()),
        }
    }

    fn replay(&self, needs: Needs) -> Vec<Event> {
        let Some(targets) = self.targets else { return Vec::new() };
        let mut events = vec![Event::Start(targets)];
        match needs {
            Needs::History => {
                let before = self.init.clone().map(|init| Event::Init { init, discontinuity: false });
                events.extend(before);
                events.extend(self.last.iter().chain(&self.open).cloned());
            }
            Needs::EveryPicture => {
                let newest = newest_init(&self.open).or_else(|| newest_init(&self.last));
                let init = newest.or_else(|| self.init.clone());
                events.extend(init.map(|init| Event::Init { init, discontinuity: true }));
            }
        }
        events
    }
}

fn newest_init(events: &[Event]) -> Option<Arc<InitSegment>> {
    events.iter().rev().find_map(|event| match event {
        Event::Init { init, .. } => Some(Arc::clone(init)),
        _ => None,
    })
}
