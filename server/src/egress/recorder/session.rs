//! Session: the recorder of one path, as a sink of its remuxer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::egress::recorder::{Command, GapReason, Recorder, RecorderStats};
use media_core::path_name::PathName;
use media_core::remux::fmp4::{Event, SegmenterStats};
use storage::{Failure, StreamWriter};
use tokio::sync::mpsc;

use crate::runtime::tasks::TaskSet;
use crate::stream::{Needs, Sink};

/// One path's recorder.
pub(super) struct Session {
    path: PathName,
    work: Mutex<Work>,
    pub(super) stats: SessionStats,
    /// Joined for their panics' count.
    panics: TaskSet,
}

/// What others may see of a session.
#[derive(Debug, Default)]
pub(super) struct SessionStats {
    recorder: Mutex<RecorderStats>,
    is_recording: AtomicBool,
    restarts: AtomicU64,
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
}

struct Work {
    recorder: Recorder,
    writer: StreamWriter,
    failures: mpsc::Receiver<Failure>,
}

impl Session {
    /// A session that records what it is given.
    pub(super) fn new(
        path: &PathName,
        recorder: Recorder,
        (writer, failures): (StreamWriter, mpsc::Receiver<Failure>),
        panics: &TaskSet,
    ) -> Arc<Self> {
        let work = Mutex::new(Work { recorder, writer, failures });
        Arc::new(Self { path: path.clone(), work, stats: SessionStats::default(), panics: panics.clone() })
    }

    /// Closes the file and begins a gap.
    pub(super) fn stop(&self, reason: GapReason) {
        let mut work = self.lock();
        self.note_failures(&mut work);
        let commands = work.recorder.stop(reason);
        self.send(&mut work, commands);
    }

    /// Goes on elsewhere, or in files of another length, with the next random access point; what is missing until then is
    /// a gap.
    pub(super) fn move_to(
        &self,
        (writer, failures): (StreamWriter, mpsc::Receiver<Failure>),
        segment_duration: Duration,
    ) {
        self.stop(GapReason::Operator);
        let mut work = self.lock();
        work.recorder.set_segment_duration(segment_duration);
        (work.writer, work.failures) = (writer, failures);
    }

    /// Begins a new file after this much from now on.
    pub(super) fn set_segment_duration(&self, segment_duration: Duration) {
        self.lock().recorder.set_segment_duration(segment_duration);
    }

    /// What the disk said since the last look. A file that failed takes no more parts, however late that is noticed.
    fn note_failures(&self, work: &mut Work) {
        while let Ok(failure) = work.failures.try_recv() {
            let commands = work.recorder.failed(failure.run, failure.number, failure.end);
            self.send(work, commands);
        }
    }

    fn send(&self, work: &mut Work, commands: Vec<Command>) {
        if !commands.is_empty() && work.writer.try_send(commands).is_err() {
            if work.recorder.is_recording() {
                tracing::warn!(path = %self.path, "disk is too slow: a gap begins");
            }
            work.recorder.refused();
        }
        *self.stats.recorder.lock().unwrap_or_else(PoisonError::into_inner) = work.recorder.stats();
        self.stats.is_recording.store(work.recorder.is_recording(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        // After a panic under the lock the recorder is stopped before it goes on.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Session {
    fn take(&self, events: &[Event], _: SegmenterStats) {
        let mut work = self.lock();
        self.note_failures(&mut work);
        for event in events {
            let commands = work.recorder.handle_event(event);
            self.send(&mut work, commands);
        }
    }

    fn pause(&self) {
        self.stop(GapReason::Camera);
    }

    fn restart(&self, message: &str) {
        self.panics.count_panic();
        tracing::error!(message, path = %self.path, "recorder panicked; it begins a new file");
        self.stats.restarts.fetch_add(1, Ordering::Relaxed);
        self.stop(GapReason::Server);
    }

    fn needs(&self) -> Needs {
        Needs::EveryPicture
    }
}
