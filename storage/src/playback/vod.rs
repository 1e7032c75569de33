//! VOD: recorded files for playlists, and what those name: init segments and ranges of files.
//!
//! A file is named by the path and the time at which it begins; no other file of the path ever has that.

use std::sync::Arc;

use bytes::Bytes;
use media_core::egress::hls::recorded::RecordedFile;
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::seek::plain_init;
use media_core::time::WallTime;

use super::clip::{Clip, Content, Piece};
use super::{PlaybackError, Recordings, fault, gops_of, malformed};
use crate::catalogue::{CatalogueError, FileRow, Range};
use crate::source::{ReadAt as _, Source};

/// Whether the GOP that is being written belongs to what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenGop {
    /// As far as it is.
    Included,
    /// It will be listed when it is complete.
    Awaited,
}

impl Recordings {
    /// The files of the grant's path in a range of time, with their GOPs.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn recorded_files(
        &self,
        grant: &CameraGrant,
        from: WallTime,
        until: Option<WallTime>,
        open: OpenGop,
    ) -> Result<Vec<RecordedFile>, CatalogueError> {
        let mut files = Vec::new();
        let range = Range { from: Some(from), until };
        for (row, known) in self.catalogue.files_with_gops(grant.path(), range).await? {
            let gops = if row.is_open && open == OpenGop::Awaited { known } else { gops_of(&row, &known) };
            files.push(RecordedFile {
                start: row.start,
                run: row.run,
                number: row.number,
                timescale: row.timescale,
                first_offset: row.first_offset,
                gops,
                is_complete: !row.is_open,
            });
        }
        Ok(files)
    }

    /// The init segment of the file of the grant's path that begins at a time.
    ///
    /// # Errors
    /// [`PlaybackError`].
    pub async fn recorded_init(
        &self,
        grant: &CameraGrant,
        start: WallTime,
    ) -> Result<Option<Bytes>, PlaybackError> {
        let Some(row) = self.file_at(grant, start).await? else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || init_of(&row)).await;
        read.map_err(|_| PlaybackError::Panicked)?
    }

    /// Bytes of that file.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn recorded_range(
        &self,
        grant: &CameraGrant,
        start: WallTime,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Arc<Clip>>, CatalogueError> {
        let Some(row) = self.file_at(grant, start).await? else { return Ok(None) };
        if range.start < row.first_offset || range.end > row.extent.bytes || range.start >= range.end {
            return Ok(None);
        }
        let content = Content::Same { file: 0, from: range.start };
        let piece = Piece { at: 0, len_bytes: range.end - range.start, content };
        let (start, end) = (row.start, row.end());
        let (pieces, files, parts) = (vec![piece], vec![row], Vec::new());
        Ok(Some(Arc::new(Clip { head: Bytes::new(), pieces, files, parts, start, end })))
    }

    async fn file_at(&self, grant: &CameraGrant, start: WallTime) -> Result<Option<FileRow>, CatalogueError> {
        let range = Range { from: Some(start), until: Some(start.plus_us(1)) };
        let rows = self.catalogue.files(grant.path(), range).await?;
        Ok(rows.into_iter().find(|row| row.start == start))
    }
}

/// Without an edit list: players of playlists follow the segments' own times.
fn init_of(row: &FileRow) -> Result<Option<Bytes>, PlaybackError> {
    let file = match Source::open(row) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| fault(row, error))?,
    };
    let mut head = vec![0; usize::try_from(row.first_offset).unwrap_or(0)];
    file.read_exact_at(&mut head, 0).map_err(|error| fault(row, error))?;
    plain_init(&head).map(Some).map_err(|error| malformed(row, error))
}
