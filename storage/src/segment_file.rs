//! Segment file: one recorded file from its creation to its index.
//!
//! ```text
//!  while written:  ftyp moov uuid │ moof mdat seal │ moof mdat seal │ ...
//!  closed:         ftyp moov uuid │ moof mdat seal │ ...            │ mfra        (and moov's duration filled in)
//! ```
//!
//! - The parts are the bytes that HLS serves, unchanged; `moov` has an edit list, so that the file plays from zero.
//! - Each part is handed to the system with one gathering write when it is made: after `kill -9` the file ends with a
//!   whole part, or within the one that was being written.
//! - Behind each part stands its seal, in the same write (-> `seal`).
//! - The index comes last and is appended, so a file without it is whole too (-> media_core::remux::fmp4::seek).
//!
//! Invariants: `bytes` is where the last whole part ends; what lies behind it is cut off before anything else is
//! appended.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use media_core::egress::recorder::FileStart;
use media_core::egress::recorder::index::{GopEntry, IndexBuilder, IndexedPart, place};
use media_core::path_name::PathName;
use media_core::remux::fmp4::Part;
use media_core::remux::fmp4::read::ReadError;
use media_core::remux::fmp4::seek::{presented_from, random_access_index};
use media_core::time::{Timescale, WallTime};

use crate::continuity::Continuity;
use crate::seal::{Seal, SealBuilder};

/// Other names tried when the wanted one is taken: the clock was set back, or the template has no `%f`.
const NAME_TRIES_MAX: u32 = 100;
/// Pieces handed to one write: the system takes 1024 (`IOV_MAX`).
const WRITE_PIECES_MAX: usize = 1024;

/// What stays the same of a file.
#[derive(Clone, Debug)]
pub(crate) struct FileFacts {
    pub(crate) name: PathBuf,
    pub(crate) continuity: Continuity,
    pub(crate) timescale: Timescale,
    pub(crate) first_ticks: i64,
    /// Where the first part begins.
    pub(crate) first_offset: u64,
}

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Where the last whole part ends.
    pub(crate) bytes: u64,
    /// Media in it.
    pub(crate) duration_ticks: i64,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub(crate) file: Arc<File>,
    pub(crate) facts: FileFacts,
    pub(crate) extent: Extent,
    init: Bytes,
    composition_offset_ticks: i64,
    builder: IndexBuilder,
    gops: Vec<GopEntry>,
    /// The last part completed a GOP.
    completed_last: bool,
    /// What the next part's seal goes on from.
    seal: Seal,
}

/// An init segment that could not be made into a file's beginning is a fault of the data, not of the disk.
fn invalid(error: &ReadError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl SegmentFile {
    /// Creates the file and writes what stands before the parts; its folder is there.
    pub(crate) fn create(name: PathBuf, path: &PathName, start: &FileStart) -> io::Result<Self> {
        let pts = start.first_ticks + start.composition_offset_ticks;
        let init = presented_from(&start.init.bytes, pts, None).map_err(|error| invalid(&error))?;
        let continuity =
            Continuity { path: path.clone(), run: start.run, number: start.number, start: start.start };
        let mut file = File::options().write(true).read(true).create_new(true).open(&name)?;
        let identity = continuity.to_box();
        let written = write_whole(&mut file, &[&init, &identity]);
        let first_offset = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                std::fs::remove_file(&name)?;
                return Err(error);
            }
        };
        Ok(Self {
            file: Arc::new(file),
            facts: FileFacts {
                name,
                continuity,
                timescale: start.timescale,
                first_ticks: start.first_ticks,
                first_offset,
            },
            extent: Extent { bytes: first_offset, duration_ticks: 0 },
            init,
            composition_offset_ticks: start.composition_offset_ticks,
            builder: IndexBuilder::default(),
            gops: Vec::new(),
            completed_last: false,
            seal: Seal::first(&identity),
        })
    }

    /// A file that was written before, to be finished: by repair.
    pub(crate) fn resumed(file: File, facts: FileFacts, init: Bytes, found: Found) -> Self {
        let composition_offset_ticks = found
            .gops
            .first()
            .or(found.builder.open().as_ref())
            .map_or(0, |gop| gop.composition_offset_ticks);
        Self {
            file: Arc::new(file),
            facts,
            extent: found.extent,
            init,
            composition_offset_ticks,
            builder: found.builder,
            gops: found.gops,
            completed_last: false,
            // Nothing is appended to a file that is being finished.
            seal: Seal::first(&[]),
        }
    }

    /// Appends a part with one write; the GOP before comes back when the part begins another.
    pub(crate) fn append(&mut self, part: &Part) -> io::Result<Option<GopEntry>> {
        let mut builder = SealBuilder::default();
        part.chunks().for_each(|chunk| builder.update(chunk));
        let seal = builder.after(&self.seal);
        let seal_box = seal.to_box();
        let pieces: Vec<&Bytes> = part.chunks().chain([&seal_box]).collect();
        let len_bytes = write_whole(&mut &*self.file, &pieces)?;
        self.seal = seal;
        self.extent.bytes += len_bytes;
        self.extent.duration_ticks += part.duration_ticks;
        let indexed = IndexedPart {
            len_bytes,
            duration_ticks: part.duration_ticks,
            composition_offset_ticks: part.composition_offset_ticks,
            is_independent: part.is_independent,
        };
        let complete = self.builder.push(indexed, self.facts.timescale);
        self.completed_last = complete.is_some();
        self.gops.extend(complete);
        Ok(complete)
    }

    /// Cuts off what a failed write left behind the last whole part.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.extent.bytes)
    }

    /// GOPs that were complete before the last part was appended.
    pub(crate) fn gops_before_last_append(&self) -> usize {
        self.gops.len() - usize::from(self.completed_last)
    }

    /// Whether it holds no part.
    pub(crate) fn is_empty(&self) -> bool {
        self.extent.duration_ticks == 0
    }

    /// GOPs so far, the last one as far as it is.
    pub(crate) fn all_gops(&self) -> Vec<GopEntry> {
        self.gops.iter().copied().chain(self.builder.open()).collect()
    }

    /// Cuts off what stands behind the last whole part and makes it quick to seek: fills in the duration, appends the index.
    pub(crate) fn finalise(&mut self) -> io::Result<()> {
        self.cut()?;
        let pts = self.facts.first_ticks + self.composition_offset_ticks;
        let init = presented_from(&self.init, pts, Some(self.duration())).map_err(|error| invalid(&error))?;
        if init.len() == self.init.len() {
            self.file.write_all_at(&init, 0)?;
        }
        let gops = self.all_gops();
        let placed: Vec<_> = place(&gops, self.facts.first_offset).collect();
        let points = placed.iter().map(|gop| gop.random_access(self.facts.first_ticks));
        self.file.write_all_at(&random_access_index(points), self.extent.bytes)
    }

    /// Media in it.
    pub(crate) fn duration(&self) -> Duration {
        self.facts.timescale.ticks_to_duration(self.extent.duration_ticks)
    }

    /// The wall time at which its media ends.
    pub(crate) fn end(&self) -> WallTime {
        let us = self.facts.timescale.ticks_to_us(self.extent.duration_ticks);
        self.facts.continuity.start.plus_us(us)
    }
}

/// What a walk over a file found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) extent: Extent,
    pub(crate) gops: Vec<GopEntry>,
    pub(crate) builder: IndexBuilder,
}

/// A name that no file has yet: the wanted one, or it with a number.
pub(crate) fn free_name(wanted: PathBuf) -> io::Result<PathBuf> {
    if !wanted.try_exists()? {
        return Ok(wanted);
    }
    let stem = wanted.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for number in 1..=NAME_TRIES_MAX {
        let name = wanted.with_file_name(format!("{stem}-{number}.mp4"));
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Writes all pieces, with one call unless the system takes less; their sum comes back.
fn write_whole(out: &mut impl io::Write, pieces: &[&Bytes]) -> io::Result<u64> {
    let mut written = 0;
    for pieces in pieces.chunks(WRITE_PIECES_MAX) {
        let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match out.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += u64::try_from(count).unwrap_or(0);
                    IoSlice::advance_slices(&mut left, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(written)
}
