//! Session: the loop of one recorder.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use control_api::storage::Switch;
use media_core::egress::recorder::{Command, GapReason, Recorder, RecorderStats};
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::init::Selection;
use media_core::remux::fmp4::{Segmenter, SegmenterConfig};
use media_core::ring::{Entry, JoinAt, Read};
use media_core::track::SharedFormat;
use storage::{Failure, StreamWriter};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::stream::{ReaderKind, SourceStatus, Stream, Subscription};

/// Access units taken before anything else is looked at: a ring's history is one batch, live media one unit.
const BATCH_UNITS_MAX: usize = 4096;

/// One path's recorder.
pub(super) struct Session {
    pub(super) stream: Arc<Stream>,
    pub(super) config: SegmenterConfig,
    pub(super) recorder: Recorder,
    pub(super) writer: StreamWriter,
    pub(super) failures: mpsc::Receiver<Failure>,
    pub(super) stats: Arc<SessionStats>,
    pub(super) switch: watch::Receiver<Switch>,
}

/// What others may see of a session.
#[derive(Debug, Default)]
pub(super) struct SessionStats {
    recorder: Mutex<RecorderStats>,
    is_recording: AtomicBool,
    restarts: AtomicU64,
    /// Times that an operator turned it on again.
    resumes: AtomicU64,
}

impl SessionStats {
    pub(super) fn recorder(&self) -> RecorderStats {
        *self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_recording(&self) -> bool {
        self.is_recording.load(Ordering::Relaxed)
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// It ran before: what is in the ring is recorded, or was not to be.
    fn is_first_run(&self) -> bool {
        self.restarts() == 0 && self.resumes.load(Ordering::Relaxed) == 0
    }
}

/// What one run of the loop holds.
struct Work {
    segmenter: Segmenter,
    format: Option<SharedFormat>,
    subscription: Subscription,
}

impl Session {
    /// Records until the token is cancelled.
    pub(super) async fn run(&mut self, grant: &CameraGrant, token: &CancellationToken) {
        let at = if self.stats.is_first_run() { JoinAt::Oldest } else { JoinAt::LiveEdge };
        let subscription = self.stream.subscribe(grant, at, ReaderKind::Recorder);
        let mut work = Work { segmenter: Segmenter::new(self.config), format: None, subscription };
        let mut states = self.stream.state_changes();
        loop {
            tokio::select! {
                read = work.subscription.next() => self.take(&mut work, read),
                changed = states.changed() => {
                    let status = states.borrow_and_update().status;
                    if changed.is_err() || status != SourceStatus::Online {
                        self.pause(&mut work, GapReason::Camera);
                    }
                }
                Some(failure) = self.failures.recv() => self.failed(failure),
                () = token.cancelled() => break,
            }
        }
        self.pause(&mut work, self.end_reason());
    }

    /// Records, and pauses while an operator does not want it, until the token is cancelled.
    pub(super) async fn run_while_wanted(&mut self, grant: &CameraGrant, token: &CancellationToken) {
        let mut switch = self.switch.clone();
        loop {
            let wanted = tokio::select! {
                wanted = switch.wait_for(|wanted| *wanted == Switch::On) => wanted.is_ok(),
                () = token.cancelled() => return,
            };
            if !wanted {
                return;
            }
            let run = token.child_token();
            let mut off = switch.clone();
            let ending = run.clone();
            let turned_off = async move {
                if off.wait_for(|wanted| *wanted == Switch::Off).await.is_ok() {
                    ending.cancel();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = self.run(grant, &run) => {}
                () = turned_off => {}
            }
            if token.is_cancelled() {
                return;
            }
            self.stats.resumes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why nothing more is recorded.
    fn end_reason(&self) -> GapReason {
        match *self.switch.borrow() {
            Switch::Off => GapReason::Operator,
            Switch::On => GapReason::Server,
        }
    }

    /// The loop panicked: whatever file is open is left, and the timeline breaks.
    pub(super) fn restarted(&mut self) {
        self.stats.restarts.fetch_add(1, Ordering::Relaxed);
        let commands = self.recorder.stop(GapReason::Server);
        self.send(commands);
    }

    /// Takes `read` and whatever else is there.
    fn take(&mut self, work: &mut Work, read: Read) {
        let mut next = Some(read);
        let mut taken = 0;
        while let Some(read) = next.take() {
            self.take_one(work, &read);
            taken += 1;
            if taken < BATCH_UNITS_MAX {
                next = Some(work.subscription.try_next()).filter(|read| !matches!(read, Read::Empty));
            }
        }
        if taken < BATCH_UNITS_MAX
            && let Err(error) = work.segmenter.caught_up()
        {
            tracing::debug!(%error, "format has no place in mp4");
        }
        self.pump(work);
    }

    fn take_one(&mut self, work: &mut Work, read: &Read) {
        match read {
            Read::Entry(Entry { format, unit, .. }) => {
                work.note_format(format);
                if let Err(error) = work.segmenter.push(format, unit) {
                    tracing::debug!(%error, "access unit has no place in mp4");
                }
            }
            Read::Lagged { from, to } => {
                tracing::warn!(from, to, "recorder was too slow: units are missing");
                work.segmenter.handle_lag();
                self.recorder.expect_break(GapReason::Server);
            }
            Read::Empty => {}
        }
    }

    /// Nothing comes for now: what is there is recorded to its last picture, and the file closed.
    fn pause(&mut self, work: &mut Work, reason: GapReason) {
        let read = work.subscription.try_next();
        self.take(work, read);
        if let Err(error) = work.segmenter.finish() {
            tracing::debug!(%error, "format has no place in mp4");
        }
        self.pump(work);
        let commands = self.recorder.stop(reason);
        self.send(commands);
    }

    fn failed(&mut self, failure: Failure) {
        let commands = self.recorder.failed(failure.run, failure.number, failure.end);
        self.send(commands);
    }

    fn pump(&mut self, work: &mut Work) {
        while let Some(event) = work.segmenter.poll_event() {
            let commands = self.recorder.handle_event(&event);
            self.send(commands);
        }
    }

    fn send(&mut self, commands: Vec<Command>) {
        if !commands.is_empty() && self.writer.try_send(commands).is_err() {
            if self.recorder.is_recording() {
                tracing::warn!("disk is too slow: a gap begins");
            }
            self.recorder.refused();
        }
        *self.stats.recorder.lock().unwrap_or_else(PoisonError::into_inner) = self.recorder.stats();
        self.stats.is_recording.store(self.recorder.is_recording(), Ordering::Relaxed);
    }
}

impl Work {
    fn note_format(&mut self, format: &SharedFormat) {
        if self.format.as_ref().is_some_and(|current| Arc::ptr_eq(current, format)) {
            return;
        }
        if Selection::of(format).wants_transcoded_audio() {
            self.subscription.want_transcoded_audio();
        }
        self.format = Some(Arc::clone(format));
    }
}
