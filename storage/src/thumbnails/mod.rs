//! Thumbnails: small pictures of what is recorded, kept beside it.
//!
//! ```text
//!  disk-writer ─KeyFrame, ThumbnailPlace─► ThumbnailMaker (another's threads) ─JPEG─► queue ─► disk-writer ─► file
//! ```
//!
//! Which key frames: `media_core::egress::recorder::thumbnails`. Nobody waits for a picture: one that finds no room on its way
//! is left out and counted, and made of the recording when somebody asks for it.
//!
//! Belongs here: the way to the maker and back, the file. Does not: decoding (-> server).
//! Limits: [`MADE_MAX`].

mod check;
pub(crate) mod file;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use media_core::key_frame::KeyFrame;
use media_core::remux::fmp4::Part;
use media_core::remux::fmp4::seek::picture_sets;
use media_core::time::WallTime;

/// Pictures that wait for a disk's writer, some 10 KB each; it takes them between two parts. More are left out.
const MADE_MAX: usize = 1024;

/// Makes small pictures of key frames; must not wait.
pub trait ThumbnailMaker: fmt::Debug + Send + Sync {
    /// Has one made for a place.
    fn make(&self, frame: KeyFrame, place: ThumbnailPlace);
}

/// Where a picture is to be kept; one that is dropped stays empty, which is counted.
#[derive(Debug)]
pub struct ThumbnailPlace {
    recording: PathBuf,
    taken: WallTime,
    made: SyncSender<Thumbnail>,
    counts: Arc<ThumbnailCounts>,
    is_filled: bool,
}

impl ThumbnailPlace {
    /// Keeps a picture, a JPEG file, as long as its recording.
    pub fn keep(mut self, jpeg: Bytes) {
        let made = Thumbnail { recording: std::mem::take(&mut self.recording), taken: self.taken, jpeg };
        self.is_filled = self.made.try_send(made).is_ok();
    }
}

impl Drop for ThumbnailPlace {
    fn drop(&mut self) {
        if !self.is_filled {
            self.counts.skipped.fetch_add(1, Relaxed);
        }
    }
}

/// A picture on its way back.
#[derive(Debug)]
struct Thumbnail {
    recording: PathBuf,
    taken: WallTime,
    jpeg: Bytes,
}

/// What became of a disk's pictures since the start.
#[derive(Debug, Default)]
pub(crate) struct ThumbnailCounts {
    pub(crate) kept: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

/// Where a disk's writer has pictures made, and takes them back.
pub(crate) struct Desk {
    maker: Option<Arc<dyn ThumbnailMaker>>,
    sender: SyncSender<Thumbnail>,
    made: Receiver<Thumbnail>,
    counts: Arc<ThumbnailCounts>,
}

impl Desk {
    pub(crate) fn new(maker: Option<Arc<dyn ThumbnailMaker>>, counts: Arc<ThumbnailCounts>) -> Self {
        let (sender, made) = sync_channel(MADE_MAX);
        Self { maker, sender, made, counts }
    }

    /// Whether there is somebody who makes them.
    pub(crate) fn is_open(&self) -> bool {
        self.maker.is_some()
    }

    /// Has a picture made of the key frame that a part of a recording begins with; of sound there is none.
    pub(crate) fn order(&self, recording: &Path, taken: WallTime, part: &Part) {
        if let (Some(maker), Some(frame)) = (&self.maker, key_frame(part, taken)) {
            let (made, counts) = (self.sender.clone(), Arc::clone(&self.counts));
            let recording = recording.to_owned();
            maker.make(frame, ThumbnailPlace { recording, taken, made, counts, is_filled: false });
        }
    }

    /// Writes what was made, to a disk that may be written to; the recordings, and the lengths that their thumbnails have now.
    pub(crate) fn keep(&self, may_write: impl Fn() -> bool) -> Vec<(PathBuf, u64)> {
        let mut kept = Vec::new();
        for Thumbnail { recording, taken, jpeg } in self.made.try_iter() {
            let added = if may_write() { file::add(&recording, taken, &jpeg) } else { Ok(None) };
            match added {
                Ok(Some(len)) => {
                    self.counts.kept.fetch_add(1, Relaxed);
                    kept.push((recording, len));
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(recording = %recording.display(), %error, "thumbnail can't be written");
                }
            }
            self.counts.skipped.fetch_add(1, Relaxed);
        }
        kept
    }
}

/// The leading track's first sample: see `playback::picture`, which reads the same of a file.
fn key_frame(part: &Part, wall: WallTime) -> Option<KeyFrame> {
    let (codec, parameter_sets) = picture_sets(&part.init.bytes).ok()??;
    Some(KeyFrame { codec, parameter_sets, payload: part.payloads.first()?.clone(), wall })
}
