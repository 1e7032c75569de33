//! Reader: a clip's bytes, a chunk at a time, from any of them on.
//!
//! Heads of parts are moved in time as they pass; everything else is as it lies in the files.
//! Limits: [`CHUNK_BYTES`] in memory.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use media_core::egress::recorder::index::place;
use media_core::gate::CameraGrant;
use media_core::remux::fmp4::cut::{Placement, rebase};
use media_core::remux::fmp4::read::{BOX_HEADER_BYTES, MOOF_BYTES_MAX, box_header};

use super::clip::{Clip, Content, Piece};
use super::{Recordings, gops_of};
use crate::catalogue::CatalogueError;
use crate::source::{ReadAt as _, Source};
use crate::walk::header_at;

/// Read from a file at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// Reads a clip; blocks.
#[derive(Debug)]
pub struct ClipReader {
    clip: Arc<Clip>,
    /// The next byte and the one behind the last, in the clip.
    at: u64,
    to: u64,
    piece: usize,
    open: Option<(usize, Source)>,
    /// In a piece of parts: where the next box begins in the file, when that is known.
    edge: Option<u64>,
    /// A place where a box begins in the file of the first piece: the nearest that the index knows.
    hint: Option<u64>,
}

impl Recordings {
    /// A reader of these bytes of a clip, which end with it.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn reader(
        &self,
        grant: &CameraGrant,
        clip: Arc<Clip>,
        range: Range<u64>,
    ) -> Result<ClipReader, CatalogueError> {
        let piece = clip.pieces.partition_point(|piece| piece.at + piece.len_bytes <= range.start);
        let hint = match clip.pieces.get(piece) {
            Some(Piece { at, content: Content::Moved { file, from, .. }, .. }) if *at < range.start => {
                let wanted = from + (range.start - at);
                self.gop_offset(grant, &clip, *file, wanted).await?.filter(|offset| offset >= from)
            }
            _ => None,
        };
        let to = range.end.min(clip.len_bytes());
        Ok(ClipReader { clip, at: range.start, to, piece, open: None, edge: None, hint })
    }

    /// Where the last GOP begins that begins before an offset of a clip's file.
    async fn gop_offset(
        &self,
        _grant: &CameraGrant,
        clip: &Clip,
        file: usize,
        wanted: u64,
    ) -> Result<Option<u64>, CatalogueError> {
        let Some(row) = clip.files.get(file) else { return Ok(None) };
        let gops = gops_of(row, &self.catalogue.gops(row).await?);
        let offsets = place(&gops, row.first_offset).map(|gop| gop.offset);
        Ok(offsets.take_while(|offset| *offset <= wanted).last())
    }
}

impl ClipReader {
    /// The next bytes; `None` behind the last.
    ///
    /// # Errors
    /// When a file became shorter or went away meanwhile.
    pub fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        if self.at >= self.to {
            return Ok(None);
        }
        let clip = Arc::clone(&self.clip);
        let left = self.to - self.at;
        let head_bytes = u64::try_from(clip.head.len()).unwrap_or(u64::MAX);
        if self.at < head_bytes {
            return Ok(Some(self.passed(clip.head.slice(index(self.at)..), left)));
        }
        let Some(piece) = clip.pieces.get(self.piece) else { return Ok(None) };
        let within = self.at - piece.at;
        let wanted = left.min(piece.len_bytes - within).min(CHUNK_BYTES);
        let chunk = match &piece.content {
            Content::Made(bytes) => bytes.slice(index(within)..),
            Content::Same { file, from } => self.read(*file, from + within, wanted)?.into(),
            Content::Moved { file, from, placement } => {
                let end = from + piece.len_bytes;
                self.moved(*file, *from..end, from + within, placement)?
            }
        };
        let chunk = self.passed(chunk, left);
        if self.at >= piece.at + piece.len_bytes {
            self.piece += 1;
            self.edge = None;
        }
        Ok(Some(chunk))
    }

    fn passed(&mut self, mut chunk: Bytes, left: u64) -> Bytes {
        chunk.truncate(index(left));
        self.at += u64::try_from(chunk.len()).unwrap_or(0);
        chunk
    }

    fn file(&mut self, file: usize) -> io::Result<&Source> {
        let open = match self.open.take() {
            Some((open, handle)) if open == file => (open, handle),
            _ => {
                let row = self.clip.files.get(file).ok_or(io::ErrorKind::NotFound)?;
                (file, Source::open(row)?)
            }
        };
        Ok(&self.open.insert(open).1)
    }

    fn read(&mut self, file: usize, offset: u64, len_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; index(len_bytes)];
        self.file(file)?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Bytes of whole parts from `wanted` on, with their heads moved.
    fn moved(
        &mut self,
        file: usize,
        parts: Range<u64>,
        wanted: u64,
        placement: &Placement,
    ) -> io::Result<Bytes> {
        let mut from = wanted;
        let mut edge = match self.edge {
            Some(edge) => edge,
            None => {
                let (begin, end, is_head) = self.box_around(file, &parts, wanted)?;
                // A head is changed as a whole, even if only its end was asked for.
                if is_head || begin == wanted {
                    from = begin;
                    begin
                } else {
                    end
                }
            }
        };
        let mut bytes = self.read(file, from, CHUNK_BYTES.min(parts.end - from))?;
        while let Some(at) = edge.checked_sub(from).map(index).filter(|at| *at < bytes.len()) {
            let Some(header) = bytes.get(at..).and_then(box_header) else {
                bytes.truncate(at);
                break;
            };
            if header.kind == *b"moof" {
                let moof_end = at + index(header.size.min(MOOF_BYTES_MAX));
                if moof_end > bytes.len() && at > 0 {
                    bytes.truncate(at);
                    break;
                }
                if moof_end > bytes.len() {
                    bytes = self.read(file, from, header.size.min(MOOF_BYTES_MAX))?;
                }
                let moof = bytes.get_mut(at..moof_end).ok_or(io::ErrorKind::InvalidData)?;
                rebase(moof, placement)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            }
            edge += header.size;
        }
        if bytes.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.edge = Some(edge);
        Ok(Bytes::from(bytes).slice(index(wanted - from)..))
    }

    /// Begin and end of the box around an offset, and whether it is a head.
    fn box_around(&mut self, file: usize, parts: &Range<u64>, wanted: u64) -> io::Result<(u64, u64, bool)> {
        let mut begin = self.hint.take().unwrap_or(parts.start);
        let file = self.file(file)?;
        loop {
            let header = header_at(file, begin)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let end = begin + header.size;
            if wanted < end {
                return Ok((begin, end, header.kind == *b"moof"));
            }
            begin = end;
        }
    }
}

/// Positions within what is in memory fit; what is not saturates and is cut by the caller.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

const _: () = assert!(BOX_HEADER_BYTES == 8);
