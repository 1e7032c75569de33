//! Listener: hears of what is recorded, once that is on the disk and in the catalogue.
//!
//! Whoever is told of a file can open it, and no crash takes it away. Files that a start repairs are not told of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use media_core::egress::recorder::Gap;
use media_core::path_name::PathName;

use crate::catalogue::{FileUpdate, Update};
use crate::levels::Space;

/// Somebody who wants to know; must not wait.
pub trait RecordingListener: std::fmt::Debug + Send + Sync {
    /// A file has begun.
    fn opened(&self, path: &PathName, file: &Path);

    /// A file is complete, and holds so much.
    fn completed(&self, path: &PathName, file: &Path, duration: Duration);

    /// A gap has begun, or, with its `until`, ended.
    fn gap(&self, path: &PathName, gap: &Gap);

    /// A disk has become too full, or has room again.
    fn disk(&self, disk: &DiskAlarm<'_>);
}

/// How full a disk is that was something else before.
#[derive(Clone, Copy, Debug)]
pub struct DiskAlarm<'a> {
    /// A folder of recordings on it.
    pub root: &'a Path,
    /// `alarm`: above `recordDiskAlarm`; `stop`: nothing is recorded; `normal`: there is room again.
    pub state: &'static str,
    /// What there is.
    pub space: Space,
}

/// Tells a listener what updates of the catalogue say.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    listener: Option<Arc<dyn RecordingListener>>,
    /// What each path's files were last told to be.
    open: HashMap<PathName, PathBuf>,
}

impl Telling {
    /// Tells somebody.
    pub(crate) fn to(listener: Arc<dyn RecordingListener>) -> Self {
        Self { listener: Some(listener), open: HashMap::new() }
    }

    /// Tells of updates that are written.
    pub(crate) fn tell(&mut self, updates: &[Update]) {
        let Some(listener) = self.listener.clone() else { return };
        let mut files = Vec::new();
        for update in updates {
            match update {
                Update::Gap(path, gap) => listener.gap(path, gap),
                Update::File(file) => files.push(file),
                Update::Thumbnails { .. } => {}
            }
        }
        // They come in no order; a file is complete before the next one of its path begins.
        files.sort_by_key(|file| file.facts.continuity.start);
        files.into_iter().for_each(|file| self.tell_of(file, listener.as_ref()));
    }

    fn tell_of(&mut self, update: &FileUpdate, listener: &dyn RecordingListener) {
        let (path, name) = (&update.facts.continuity.path, &update.facts.name);
        if self.open.get(path) != Some(name) {
            self.open.insert(path.clone(), name.clone());
            listener.opened(path, name);
        }
        if update.closed.is_some() {
            self.open.remove(path);
            let us = update.facts.timescale.ticks_to_us(update.extent.duration_ticks);
            listener.completed(path, name, Duration::from_micros(u64::try_from(us).unwrap_or(0)));
        }
    }
}
