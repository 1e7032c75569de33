//! Junction: where a path's source and its slate come together, and what its source must keep to.
//!
//! Units go out under its lock, so that two feeders never mix; of a path without a slate nobody else wants it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use media_core::ingest::{Feeder, Line, Lineup, SetupError, Splice, TrackSetup};
use tokio::sync::Notify;

/// One path's junction.
#[derive(Debug, Default)]
pub(super) struct Junction {
    splice: Mutex<Splice>,
    /// Set while the path has a slate.
    lineup: Mutex<Option<Lineup>>,
    freed: Notify,
}

impl Junction {
    /// A feeder's end.
    pub(super) fn line(&self, feeder: Feeder) -> Line {
        self.splice().line(feeder)
    }

    /// Has whoever sends from now on keep to these codecs, or to none.
    pub(super) fn hold_to(&self, lineup: Option<Lineup>) {
        *self.lineup.lock().unwrap_or_else(PoisonError::into_inner) = lineup;
    }

    /// Whether a source with these tracks may send.
    ///
    /// # Errors
    /// [`SetupError::OtherTracks`].
    pub(super) fn admit(&self, setups: &[TrackSetup]) -> Result<(), SetupError> {
        let lineup = self.lineup.lock().unwrap_or_else(PoisonError::into_inner);
        lineup.as_ref().map_or(Ok(()), |lineup| lineup.admit(setups))
    }

    /// Held while units go out.
    pub(super) fn splice(&self) -> MutexGuard<'_, Splice> {
        // A panic in a reader's code under it leaves at worst one unit missing.
        self.splice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more comes of this feeder for now.
    pub(super) fn leave(&self, line: &mut Line) {
        self.splice().leave(line);
        self.freed.notify_one();
    }

    /// Waits until a slate is wanted; for one who waits. Cancel-safe.
    pub(super) async fn wanted(&self) {
        while !self.splice().is_free() {
            self.freed.notified().await;
        }
    }
}
