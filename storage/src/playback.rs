//! Playback: what of a path is recorded, and a stretch of it as byte ranges of files.
//!
//! A clip is an init segment with an edit list and the recorded parts, unchanged: from the GOP that holds the asked time,
//! whose earlier pictures are decoded without being shown, to the part that holds the end. So its length is known
//! before the first byte is read, and what was signed or summed at the time of recording still is.
//!
//! A clip ends where something is missing, as MediaMTX's does.
//! Belongs here: what to serve. Does not: HTTP (-> server).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use media_core::egress::recorder::Gap;
use media_core::egress::recorder::index::{GopEntry, place};
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::read::ReadError;
use media_core::remux::fmp4::seek::presented_from;
use media_core::time::WallTime;

use crate::catalogue::{Catalogue, CatalogueError, FileRow, Range};
use crate::walk::{Standing, standing_at};

/// The most files of one clip: a week of one-minute files. A longer clip ends there.
const CLIP_FILES_MAX: usize = 7 * 24 * 60;

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
}

/// Recorded time without a gap in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it begins.
    pub start: WallTime,
    /// How long it is.
    pub duration: Duration,
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRange {
    /// The file.
    pub name: PathBuf,
    /// The first byte.
    pub from: u64,
    /// The byte behind the last.
    pub to: u64,
}

/// A stretch of recorded media: one fMP4 stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// ftyp and moov.
    pub head: Bytes,
    /// What follows, in order.
    pub ranges: Vec<FileRange>,
}

impl Clip {
    /// All its bytes.
    pub fn len_bytes(&self) -> u64 {
        let ranges: u64 = self.ranges.iter().map(|range| range.to - range.from).sum();
        ranges + u64::try_from(self.head.len()).unwrap_or(0)
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
    start: WallTime,
    until: WallTime,
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
        let files = self.catalogue.files(grant.path(), Range { from, until }).await?;
        let mut spans: Vec<(WallTime, WallTime)> = Vec::new();
        let mut last: Option<&FileRow> = None;
        for file in &files {
            let joined = last.is_some_and(|last| continues(last, file));
            match spans.last_mut().filter(|_| joined) {
                // The wall clock may have been corrected in between: the media is what is there.
                Some((_, end)) => *end = end.plus_us(file.duration_us),
                None => spans.push((file.start, file.end())),
            }
            last = Some(file);
        }
        let cut = |(start, end): (WallTime, WallTime)| {
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

    /// The files of a clip of the grant's path; `None` when nothing of it is recorded.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn plan_clip(
        &self,
        grant: &CameraGrant,
        start: WallTime,
        duration: Duration,
    ) -> Result<Option<ClipPlan>, CatalogueError> {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let until = start.plus_us(us);
        let range = Range { from: Some(start), until: Some(until) };
        let rows = self.catalogue.files(grant.path(), range).await?;
        let mut files: Vec<FileRow> = Vec::new();
        for row in rows.into_iter().take(CLIP_FILES_MAX) {
            if files.last().is_some_and(|last| !continues(last, &row)) {
                break;
            }
            files.push(row);
        }
        let (Some(first), Some(last)) = (files.first(), files.last()) else { return Ok(None) };
        let first_gops = self.catalogue.gops(first).await?;
        let last_gops = self.catalogue.gops(last).await?;
        Ok(Some(ClipPlan { start, until, files, first_gops, last_gops }))
    }
}

/// Whether nothing is missing between two files.
fn continues(last: &FileRow, next: &FileRow) -> bool {
    !last.is_cut && last.run == next.run && last.number.checked_add(1) == Some(next.number)
}

impl ClipPlan {
    /// Looks into the files; blocks. The grant proves that the gate let the caller at this camera.
    ///
    /// # Errors
    /// [`PlaybackError`] when a file can't be read or is not what the catalogue says.
    pub fn clip(&self, _grant: &CameraGrant) -> Result<Option<Clip>, PlaybackError> {
        let (Some(first), Some(last)) = (self.files.first(), self.files.last()) else { return Ok(None) };
        let opened = OpenedFile::open(first, &self.first_gops)?;
        let asked_ticks = first.timescale.us_to_ticks(self.start.us_since(first.start)).max(0);
        let composition = opened.gops.first().map_or(0, |gop| gop.composition_offset_ticks);
        let head = opened.head(first.first_ticks + composition + asked_ticks)?;
        // Files of a run follow each other in media time, whatever the wall clock says of them.
        let before_last_us = self.files.iter().rev().skip(1).map(|row| row.duration_us).sum();
        let end_us = self.until.us_since(first.start.plus_us(before_last_us));
        // A picture before the end may be decoded later than it: as much as the first one is shown later.
        let end_ticks = last.timescale.us_to_ticks(end_us) + composition;
        let end = OpenedFile::open(last, &self.last_gops)?.end_at(end_ticks)?;
        let mut ranges: Vec<FileRange> = self.files.iter().map(FileRange::whole).collect();
        if let Some(range) = ranges.first_mut() {
            range.from = opened.gop_at(asked_ticks);
        }
        if let Some(range) = ranges.last_mut() {
            range.to = end;
        }
        ranges.retain(|range| range.from < range.to);
        Ok((!ranges.is_empty()).then_some(Clip { head, ranges }))
    }
}

impl FileRange {
    /// All parts of a file.
    fn whole(row: &FileRow) -> Self {
        Self { name: row.name.clone(), from: row.first_offset, to: row.extent.bytes }
    }
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

/// A file of a clip.
struct OpenedFile<'a> {
    file: File,
    row: &'a FileRow,
    gops: Vec<GopEntry>,
}

impl<'a> OpenedFile<'a> {
    fn open(row: &'a FileRow, gops: &[GopEntry]) -> Result<Self, PlaybackError> {
        let file = File::open(&row.name).map_err(|error| fault(row, error))?;
        Ok(Self { file, row, gops: gops_of(row, gops) })
    }

    /// ftyp and moov, presented from a time of the leading track.
    fn head(&self, pts_ticks: i64) -> Result<Bytes, PlaybackError> {
        let mut head = vec![0; usize::try_from(self.row.first_offset).unwrap_or(0)];
        self.file.read_exact_at(&mut head, 0).map_err(|error| fault(self.row, error))?;
        presented_from(&head, pts_ticks, None)
            .map_err(|error| PlaybackError::Boxes { name: self.row.name.clone(), error })
    }

    /// Where the GOP begins that is shown at `ticks` from the file's first picture.
    fn gop_at(&self, ticks: i64) -> u64 {
        let placed = place(&self.gops, self.row.first_offset);
        let before = placed.filter(|gop| gop.start_ticks <= ticks && gop.entry.is_random_access);
        before.last().map_or(self.row.first_offset, |gop| gop.offset)
    }

    /// Where the part ends that holds the last picture decoded before `ticks`.
    fn end_at(&self, ticks: i64) -> Result<u64, PlaybackError> {
        if ticks >= self.row.extent.duration_ticks {
            return Ok(self.row.extent.bytes);
        }
        let last = place(&self.gops, self.row.first_offset).take_while(|gop| gop.start_ticks < ticks).last();
        let Some(last) = last else { return Ok(self.row.first_offset) };
        let (mut offset, mut at_ticks) = (last.offset, last.start_ticks);
        while at_ticks < ticks {
            let standing = standing_at(&self.file, offset, self.row.extent.bytes);
            match standing.map_err(|error| fault(self.row, error))? {
                Standing::Part(part) => {
                    offset += part.len_bytes;
                    at_ticks += part.summary.duration_ticks;
                }
                Standing::Index | Standing::Torn => break,
            }
        }
        Ok(offset)
    }
}

fn fault(row: &FileRow, error: io::Error) -> PlaybackError {
    PlaybackError::File { name: row.name.clone(), error }
}
