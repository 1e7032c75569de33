//! Playback: what of a path is recorded, and a stretch of it as a clip.
//!
//! ```text
//!  catalogue ─► ClipPlan: runs of files ─ heads of parts ─► Clip: head and pieces ─► ClipReader: chunks
//!          └──► PicturePlace ─► KeyFrame
//! ```
//!
//! Belongs here: what to serve. Does not: HTTP (-> server), times and boxes (-> `media_core::remux::fmp4`).

mod clip;
mod picture;
mod reader;
#[cfg(test)]
mod tests;
mod vod;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use media_core::egress::recorder::Gap;
use media_core::egress::recorder::index::GopEntry;
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::progressive::TooMany;
use media_core::remux::fmp4::read::ReadError;
use media_core::time::WallTime;

pub use clip::Clip;
pub(crate) use clip::ClipPart;
pub use picture::PicturePlace;
pub use reader::ClipReader;
pub use vod::OpenGop;

use crate::catalogue::{Catalogue, CatalogueError, FileRow, Range};
use crate::holds::Hold;

/// The most files of one clip: a week of one-minute files. A longer clip ends there.
const CLIP_FILES_MAX: usize = 7 * 24 * 60;
/// The most runs of one clip: a camera that is lost every few minutes for a week. A longer clip ends there.
const CLIP_RUNS_MAX: usize = 2048;

/// The most holds of one answer: more incidents than one camera has in a week.
const HOLDS_MAX: i64 = 1000;

/// Recordings can't be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaybackError {
    /// The catalogue does not answer.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A file can't be read.
    #[error("recording {}: {error}", name.display())]
    File {
        /// The file.
        name: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("recording {}: {error}", name.display())]
    Boxes {
        /// The file.
        name: PathBuf,
        /// What is wrong.
        error: ReadError,
    },
    /// Reading ended in a panic, which is logged.
    #[error("reading recordings panicked")]
    Panicked,
    /// The clip is longer than its format allows.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// Recorded time without a gap in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub start: WallTime,
    /// How long it is.
    pub duration: Duration,
}

/// The container of a clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClipFormat {
    /// Fragmented MP4: parts as they were recorded, moved in time.
    #[default]
    Fragmented,
    /// Plain MP4 with its index first.
    Progressive,
}

/// What becomes of time that is not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GapRule {
    /// The clip ends there, as MediaMTX's does.
    #[default]
    Stop,
    /// It goes on with what comes next, as if nothing were missing.
    Skip,
    /// It goes on when that comes: every picture is shown at its true distance from the asked time.
    Time,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClipRequest {
    /// From when.
    pub start: WallTime,
    /// How long.
    pub duration: Duration,
    /// As what.
    pub format: ClipFormat,
    /// Over gaps, how.
    pub gaps: GapRule,
}

impl ClipRequest {
    fn until(&self) -> WallTime {
        self.start.plus_us(i64::try_from(self.duration.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The recordings, for those who read them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recordings {
    pub(crate) catalogue: Catalogue,
}

/// The files that a clip is made of, before they are looked at.
#[derive(Debug)]
pub struct ClipPlan {
    request: ClipRequest,
    /// At least one.
    runs: Vec<RunPlan>,
}

/// Files without anything missing between them.
#[derive(Debug)]
struct RunPlan {
    /// At least one; each continues the one before.
    files: Vec<FileRow>,
    first_gops: Vec<GopEntry>,
    last_gops: Vec<GopEntry>,
}

impl Recordings {
    /// What is recorded of the grant's path between two times, both open when absent.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn spans(
        &self,
        grant: &CameraGrant,
        from: Option<WallTime>,
        until: Option<WallTime>,
    ) -> Result<Vec<Span>, CatalogueError> {
        let spans = self.catalogue.spans(grant.path(), Range { from, until }).await?;
        let cut = |(start, duration_us): (WallTime, i64)| {
            // The wall clock may have been corrected in between: the media is what is there.
            let end = start.plus_us(duration_us);
            let start = from.map_or(start, |from| start.max(from));
            let end = until.map_or(end, |until| end.min(until));
            let us = u64::try_from(end.us_since(start)).unwrap_or(0);
            Span { start, duration: Duration::from_micros(us) }
        };
        Ok(spans.into_iter().map(cut).filter(|span| !span.duration.is_zero()).collect())
    }

    /// What is missing of the grant's path between two times, with the reasons.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn gaps(
        &self,
        grant: &CameraGrant,
        from: Option<WallTime>,
        until: Option<WallTime>,
    ) -> Result<Vec<Gap>, CatalogueError> {
        self.catalogue.gaps(grant.path(), Range { from, until }).await
    }

    /// What of the grant's path is held between two times, the oldest hold first; at most `HOLDS_MAX`.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn holds(
        &self,
        grant: &CameraGrant,
        from: Option<WallTime>,
        until: Option<WallTime>,
    ) -> Result<Vec<Hold>, CatalogueError> {
        self.catalogue.held(grant.path(), Range { from, until }, HOLDS_MAX).await
    }

    /// The files of a clip of the grant's path; `None` when nothing of it is recorded.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn plan_clip(
        &self,
        grant: &CameraGrant,
        request: ClipRequest,
    ) -> Result<Option<ClipPlan>, CatalogueError> {
        let range = Range { from: Some(request.start), until: Some(request.until()) };
        let rows = self.catalogue.files(grant.path(), range).await?;
        let mut runs: Vec<Vec<FileRow>> = Vec::new();
        for row in rows.into_iter().take(CLIP_FILES_MAX) {
            let count = runs.len();
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|last| continues(last, &row)) => run.push(row),
                Some(_) if request.gaps == GapRule::Stop || count == CLIP_RUNS_MAX => break,
                _ => runs.push(vec![row]),
            }
        }
        let mut plans = Vec::new();
        for files in runs {
            let (Some(first), Some(last)) = (files.first(), files.last()) else { continue };
            let first_gops = gops_of(first, &self.catalogue.gops(first).await?);
            let last_gops = gops_of(last, &self.catalogue.gops(last).await?);
            plans.push(RunPlan { files, first_gops, last_gops });
        }
        Ok((!plans.is_empty()).then_some(ClipPlan { request, runs: plans }))
    }
}

/// Whether nothing is missing between two files.
fn continues(last: &FileRow, next: &FileRow) -> bool {
    !last.is_cut && last.run == next.run && last.number.checked_add(1) == Some(next.number)
}

/// The index with what it does not hold yet: the GOP that is being written.
fn gops_of(row: &FileRow, gops: &[GopEntry]) -> Vec<GopEntry> {
    let bytes: u64 = gops.iter().map(|gop| gop.len_bytes).sum();
    let ticks: i64 = gops.iter().map(|gop| gop.duration_ticks).sum();
    let rest = GopEntry {
        len_bytes: row.extent.bytes.saturating_sub(row.first_offset + bytes),
        duration_ticks: row.extent.duration_ticks - ticks,
        composition_offset_ticks: gops.first().map_or(0, |gop| gop.composition_offset_ticks),
        is_random_access: true,
    };
    gops.iter().copied().chain((rest.len_bytes > 0).then_some(rest)).collect()
}

fn fault(row: &FileRow, error: io::Error) -> PlaybackError {
    PlaybackError::File { name: row.name.clone(), error }
}

fn malformed(row: &FileRow, error: ReadError) -> PlaybackError {
    PlaybackError::Boxes { name: row.name.clone(), error }
}
