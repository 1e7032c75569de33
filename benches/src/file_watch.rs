//! File watch: when pictures stood in their recordings, seen by how far the files have grown.
//!
//! Every [`LOOK_EVERY`] the newest file of some cameras is asked for its length, and whole fragments in what is new are taken
//! apart: the moment at which another program could read a picture, and from which on `kill -9` of the server does not take it.
//!
//! Limits: [`CAMERAS_MAX`]; moments are seen up to [`LOOK_EVERY`] late.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::task::JoinHandle;

use crate::audit::files;
use crate::bmff;
use crate::frames::{FrameIndex, PictureHasher};
use crate::viewer::{Arrival, unix_us};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Looks until the folder is asked for a newer file.
const LOOKS_A_FILE: u32 = 100;
/// Cameras that are watched, the first ones: enough for a percentile, little enough to cost nothing.
const CAMERAS_MAX: usize = 8;

/// A picture of a camera in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) camera: usize,
    pub(crate) arrival: Arrival,
}

/// A watch at work; it ends when dropped.
#[derive(Debug)]
pub(crate) struct FileWatch {
    written: Arc<Mutex<Vec<Written>>>,
    task: JoinHandle<()>,
}

impl FileWatch {
    /// Begins watching what is recorded of `cameras` below a directory.
    pub(crate) fn start(directory: &Path, cameras: usize, index: &Arc<FrameIndex>) -> Self {
        let written = Arc::default();
        let watched = (1..=cameras.min(CAMERAS_MAX))
            .map(|camera| Watched { camera, folder: directory.join(format!("cam_{camera}")), open: None })
            .collect();
        let task = tokio::spawn(watch(watched, Arc::clone(index), Arc::clone(&written)));
        Self { written, task }
    }

    /// What was seen since the last call.
    pub(crate) fn take(&self) -> Vec<Written> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watched {
    camera: usize,
    folder: PathBuf,
    open: Option<Open>,
}

/// A file that grows.
struct Open {
    name: PathBuf,
    file: File,
    track: u32,
    /// Up to here it was looked at.
    seen: u64,
}

async fn watch(mut cameras: Vec<Watched>, index: Arc<FrameIndex>, written: Arc<Mutex<Vec<Written>>>) {
    let mut due = tokio::time::interval(LOOK_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for look in (0..LOOKS_A_FILE).cycle() {
        due.tick().await;
        for watched in &mut cameras {
            if look == 0 {
                watched.open_newest();
            }
            // A file that is being changed otherwise than by growing has no delay that could be told.
            let Ok(frames) = watched.look(&index) else { continue };
            let at_unix_us = unix_us(SystemTime::now());
            let arrivals = frames.into_iter().map(|frame| Arrival { frame, at_unix_us });
            let of_camera = arrivals.map(|arrival| Written { camera: watched.camera, arrival });
            written.lock().unwrap_or_else(PoisonError::into_inner).extend(of_camera);
        }
    }
}

impl Watched {
    fn open_newest(&mut self) {
        let newest = files(&self.folder).ok().and_then(|mut files| files.pop());
        let Some(name) = newest.filter(|name| self.open.as_ref().is_none_or(|open| open.name != *name))
        else {
            return;
        };
        // A file whose head is not written yet is found at a later look.
        if let Ok(open) = Open::new(name) {
            self.open = Some(open);
        }
    }

    /// The numbers of pictures that are in the file since the last look.
    fn look(&mut self, index: &FrameIndex) -> anyhow::Result<Vec<u32>> {
        let Some(open) = &mut self.open else { return Ok(Vec::new()) };
        let length = open.file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length.saturating_sub(open.seen))?];
        open.file.read_exact_at(&mut bytes, open.seen)?;
        let whole = bytes.get(..whole_fragments(&bytes)).context("fragments")?;
        let mut frames = Vec::new();
        let mut hasher = PictureHasher::new(index.codec);
        bmff::each_sample(whole, open.track, |sample| {
            let position = bmff::picture(sample, &mut hasher)?.and_then(|identity| index.position(identity));
            frames.extend(position.and_then(|position| index.rank(position)));
            Ok(())
        })?;
        open.seen += u64::try_from(whole.len())?;
        Ok(frames)
    }
}

impl Open {
    fn new(name: PathBuf) -> anyhow::Result<Self> {
        let bytes = std::fs::read(&name)?;
        let track = bmff::video_track(&bytes)?.context("no picture")?;
        let file = File::open(&name)?;
        Ok(Self { name, file, track, seen: 0 })
    }
}

/// Where the last whole mdat ends: what stands before it is whole boxes.
fn whole_fragments(bytes: &[u8]) -> usize {
    let (mut at, mut end) = (0, 0);
    while let Some((size, rest)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<4>()) {
        let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(0);
        let Some(after) = at.checked_add(size).filter(|after| size >= 8 && *after <= bytes.len()) else {
            break;
        };
        at = after;
        if rest.starts_with(b"mdat") {
            end = at;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_ends_with_a_whole_fragment() {
        let boxed = |kind: &[u8; 4], content: usize| {
            let size = u32::try_from(content + 8).unwrap();
            [&size.to_be_bytes()[..], kind, &vec![0; content]].concat()
        };
        let fragment = [boxed(b"moof", 10), boxed(b"mdat", 20)].concat();
        let file = [boxed(b"ftyp", 4), fragment.clone(), boxed(b"uuid", 16), fragment.clone()].concat();
        assert_eq!(whole_fragments(&file), file.len());
        let torn = file.len() - fragment.len() - 24;
        for cut in 1..fragment.len() {
            assert_eq!(whole_fragments(&file[..file.len() - cut]), torn, "{cut}");
        }
        assert_eq!(whole_fragments(&[]), 0);
        assert_eq!(whole_fragments(&[0; 16]), 0);
    }
}
