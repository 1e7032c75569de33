//! Writer: the thread that carries out the commands of all streams of a disk, in order.
//!
//! A file that can't be written is cut back to its last whole part and closed; the stream's recorder is told and begins
//! another when it sees fit. Commands that come for it meanwhile are passed over.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use media_core::egress::recorder::thumbnails::NewestFrame;
use media_core::egress::recorder::{Command, FileStart};
use media_core::path_name::PathName;
use media_core::remux::fmp4::Part;

use super::stats::DiskStats;
use super::syncer::{Grown, Progress, lock};
use super::{Failure, Job, Stream, count};
use crate::marker;
use crate::root::{Condition, Root};
use crate::segment_file::{SegmentFile, free_name};
use crate::thumbnails::Desk;

/// Why a file ends whose disk went away or filled up; the keeper has said so, once for all files.
const NOT_ADMITTED: &str = "its disk is full or not there";

/// Thumbnails wait so long, at most, where no parts come that they could be written between.
const TEND_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    root: Arc<Root>,
    progress: Arc<Mutex<Progress>>,
    stats: Arc<DiskStats>,
    open: HashMap<PathName, OpenFile>,
    desk: Desk,
}

struct OpenFile {
    stream: Arc<Stream>,
    file: SegmentFile,
    marker: PathBuf,
    /// Of the folder: when it is another, the disk may have gone meanwhile.
    epoch: u64,
    /// The part that begins with the newest key frame, where thumbnails are kept; its bytes are the ring's.
    newest: NewestFrame<Arc<Part>>,
}

impl Writer {
    pub(super) fn new(
        root: Arc<Root>,
        progress: Arc<Mutex<Progress>>,
        stats: Arc<DiskStats>,
        desk: Desk,
    ) -> Self {
        Self { root, progress, stats, open: HashMap::new(), desk }
    }

    /// Works until all senders are gone, then closes what is open.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            match jobs.recv_timeout(TEND_EVERY) {
                Ok(job) => self.work(&job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.keep_thumbnails();
        }
        let open: Vec<OpenFile> = self.open.drain().map(|(_, open)| open).collect();
        open.into_iter().for_each(|open| self.close(open));
        self.keep_thumbnails();
    }

    fn work(&mut self, job: &Job) {
        for command in &job.commands {
            self.carry_out(&job.stream, command);
        }
        job.done(&self.stats);
        self.stats.open_files.store(u64::try_from(self.open.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Writes the thumbnails that were made.
    fn keep_thumbnails(&self) {
        let kept = self.desk.keep(|| self.root.condition() == Condition::Usable);
        if !kept.is_empty() {
            lock(&self.progress).thumbnails.extend(kept);
        }
    }

    fn carry_out(&mut self, stream: &Arc<Stream>, command: &Command) {
        match command {
            Command::Open(start) => self.open(stream, start),
            Command::Append(part) => self.append(stream, part),
            Command::Close => {
                if let Some(open) = self.open.remove(&stream.path) {
                    self.close(open);
                }
            }
            Command::Gap(gap) => lock(&self.progress).gaps.push((stream.path.clone(), *gap)),
        }
    }

    fn open(&mut self, stream: &Arc<Stream>, start: &FileStart) {
        // The recorder closes first; should it not, what is open is whole.
        if let Some(open) = self.open.remove(&stream.path) {
            self.close(open);
        }
        match self.create(stream, start) {
            Ok(open) => {
                tracing::info!(path = %stream.path, file = %open.file.facts.name.display(), "recording");
                self.open.insert(stream.path.clone(), open);
            }
            Err(error) => {
                count(&stream.stats.write_errors);
                // The keeper has told of the disk, once for all its streams.
                if self.root.condition() == Condition::Usable {
                    tracing::warn!(path = %stream.path, %error, "recording can't be opened");
                }
                let failure = Failure { run: start.run, number: start.number, end: None };
                stream.tell(failure);
            }
        }
    }

    fn create(&self, stream: &Arc<Stream>, start: &FileStart) -> io::Result<OpenFile> {
        let epoch = self.root.admit()?;
        let wanted = stream.template.file(&stream.path, start.start);
        if let Some(folder) = wanted.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let name = free_name(wanted)?;
        let marker = marker::place(&self.root.folder, &name, start)?;
        match SegmentFile::create(name, &stream.path, start) {
            Ok(file) => {
                let (stream, newest) = (Arc::clone(stream), NewestFrame::default());
                Ok(OpenFile { stream, file, marker, epoch, newest })
            }
            Err(error) => {
                marker::remove(&marker)?;
                Err(error)
            }
        }
    }

    fn append(&mut self, stream: &Arc<Stream>, part: &Arc<Part>) {
        let Some(open) = self.open.get_mut(&stream.path) else { return };
        let admitted = self.root.admits(open.epoch);
        let (is_first, begin) = (open.file.is_empty(), open.file.end());
        let appended = if admitted { open.file.append(part) } else { Err(io::Error::other(NOT_ADMITTED)) };
        match appended {
            Ok(gop) => {
                let written = u64::try_from(part.len_bytes).unwrap_or(0);
                stream.stats.written_bytes.fetch_add(written, Ordering::Relaxed);
                lock(&self.progress).grew(&open.file, stream, gop);
                let Some(every) = stream.thumbnails_every().filter(|_| self.desk.is_open()) else { return };
                // As the index has it: not each independent part begins a GOP.
                if part.is_independent && (is_first || gop.is_some()) {
                    open.newest.begin(begin, Arc::clone(part));
                }
                if let Some((taken, part)) = open.newest.reach(open.file.end(), every) {
                    self.desk.order(&open.file.facts.name, taken, &part);
                }
            }
            Err(error) => {
                if let Some(open) = self.open.remove(&stream.path) {
                    self.fail(open, &error);
                }
            }
        }
    }

    fn fail(&self, open: OpenFile, error: &io::Error) {
        let stream = Arc::clone(&open.stream);
        count(&stream.stats.write_errors);
        let name = open.file.facts.name.display().to_string();
        tracing::warn!(path = %stream.path, file = name, %error, "recording failed; a gap begins");
        let end = (!open.file.is_empty()).then(|| open.file.end());
        let continuity = &open.file.facts.continuity;
        let failure = Failure { run: continuity.run, number: continuity.number, end };
        self.close(open);
        stream.tell(failure);
    }

    fn close(&self, mut open: OpenFile) {
        if open.file.is_empty() {
            self.discard(&open);
            return;
        }
        let mut has_torn_end = false;
        if let Err(error) = open.file.finalise() {
            tracing::warn!(file = %open.file.facts.name.display(), %error, "recording stays without its index");
            has_torn_end = open.file.cut().is_err();
        }
        let mut progress = lock(&self.progress);
        progress.closed(&open.file, &open.stream, open.marker);
        if has_torn_end {
            progress.torn.insert(open.file.facts.name);
        }
    }

    /// A file without a part is none.
    fn discard(&self, open: &OpenFile) {
        let removed = std::fs::remove_file(&open.file.facts.name).and_then(|()| marker::remove(&open.marker));
        if let Err(error) = removed {
            tracing::warn!(file = %open.file.facts.name.display(), %error, "empty recording can't be removed");
        }
        lock(&self.progress).forget(&open.file.facts.name);
    }
}

impl Progress {
    fn entry(&mut self, file: &SegmentFile, stream: &Arc<Stream>) -> &mut Grown {
        let grown = self.files.entry(file.facts.name.clone());
        let grown = grown.or_insert_with(|| Grown::of(file, stream));
        grown.update.extent = file.extent;
        grown
    }

    fn grew(
        &mut self,
        file: &SegmentFile,
        stream: &Arc<Stream>,
        gop: Option<media_core::egress::recorder::index::GopEntry>,
    ) {
        self.entry(file, stream).update.new_gops.extend(gop);
    }

    fn closed(&mut self, file: &SegmentFile, stream: &Arc<Stream>, marker: PathBuf) {
        let grown = self.entry(file, stream);
        grown.update.closed = Some(file.all_gops());
        grown.update.marker = Some(marker);
    }

    fn forget(&mut self, name: &std::path::Path) {
        self.files.remove(name);
    }
}
