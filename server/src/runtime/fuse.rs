//! Fuse: makes one task of one stream panic once, to show what a panic leaves alone.
//!
//! Belongs here: nothing that ships. The module, its place in a stream and the calls to it are compiled for tests only.

use std::sync::{Mutex, PoisonError};

use crate::stream::ReaderKind;

/// Whose task panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FuseAt {
    /// The camera's session, while it holds the ring.
    Publisher,
    /// The next reader of this kind, while it holds the ring.
    Reader(ReaderKind),
    /// The remuxer, while it is locked.
    Remuxer,
    /// The HLS window, while it is locked.
    HlsWindow,
}

/// One per stream; unlit until a test lights it.
#[derive(Debug, Default)]
pub(crate) struct Fuse(Mutex<Option<FuseAt>>);

impl Fuse {
    /// The next task to come to `at` panics; the one after it does not.
    pub(crate) fn light(&self, at: FuseAt) {
        *self.lit() = Some(at);
    }

    /// Panics if it is lit for `at`.
    pub(crate) fn burn(&self, at: FuseAt) {
        let mut lit = self.lit();
        let is_due = *lit == Some(at);
        if is_due {
            *lit = None;
        }
        drop(lit);
        assert!(!is_due, "lit by a test at {at:?}");
    }

    fn lit(&self) -> std::sync::MutexGuard<'_, Option<FuseAt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
