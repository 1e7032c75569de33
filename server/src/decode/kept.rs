//! Kept: pictures for storage, which keeps them beside recordings.

use std::fmt;

use media_core::key_frame::KeyFrame;
use storage::{ThumbnailMaker, ThumbnailPlace};

use super::Wanted;
use super::pool::DecodePool;

impl ThumbnailMaker for DecodePool {
    fn make(&self, frame: KeyFrame, place: ThumbnailPlace) {
        // Refusals are counted here, places that stay empty there.
        if let Err(error) = self.keep(frame, Wanted::THUMBNAIL, place) {
            tracing::trace!(%error, "no thumbnail is kept");
        }
    }
}

impl fmt::Debug for DecodePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecodePool").finish_non_exhaustive()
    }
}
