//! Repair: at start-up, files that were open when the server ended become whole and closed.
//!
//! ```text
//!  markers, rows that say 'open' ─► walk from the last known GOP ─► cut off the torn end ─► index ─► sync
//!                                                                        └─ no part at all: remove
//!  ─► row 'closed' ─► marker removed
//! ```
//!
//! The time it takes depends on how many files were open, not on how many there are.
//! It may be interrupted anywhere and begun again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use media_core::egress::recorder::index::{GopEntry, IndexBuilder, IndexedPart};
use media_core::remux::fmp4::read::ReadError;
use media_core::remux::fmp4::seek::lead_timescale;

use crate::catalogue::{Catalogue, CatalogueError, FileUpdate, Update};
use crate::continuity::Continuity;
use crate::durable::{remove_recording, sync_name};
use crate::marker;
use crate::seal::Seal;
use crate::segment_file::{Extent, FileFacts, Found, SegmentFile};
use crate::thumbnails;
use crate::walk::{Standing, header_at, is_sealed, seal_before, standing_at};

/// The boxes before the first part; a file with more is not ours.
const HEAD_BYTES_MAX: u64 = 1 << 20;

/// What repair did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Files closed.
    pub closed: u64,
    /// Files without a whole part, removed.
    pub removed: u64,
    /// Bytes of torn ends cut off.
    pub cut_bytes: u64,
    /// Files that could not be repaired; they stay as they are.
    pub failed: u64,
    /// Rows of files that are gone.
    pub forgotten: u64,
}

/// Why one file stays as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MendError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it does not say whose it is")]
    NoContinuity,
}

/// What became of a file.
pub(crate) enum Mended {
    Closed {
        update: Box<FileUpdate>,
        cut_bytes: u64,
        /// What is left of the thumbnails beside it.
        thumbnails_bytes: Option<u64>,
    },
    /// It holds no whole part; it is still there.
    Empty { cut_bytes: u64 },
}

/// Repairs what has a marker below `roots`, and what the catalogue takes for open among the files that are `meant`.
pub(crate) async fn repair(
    catalogue: &Catalogue,
    roots: &[PathBuf],
    meant: impl Fn(&Path) -> bool,
) -> Result<RepairReport, CatalogueError> {
    let mut report = RepairReport::default();
    let mut candidates: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for root in roots {
        match marker::all(root) {
            Ok(found) => {
                found.into_iter().for_each(|(marker, name)| candidates.entry(name).or_default().push(marker));
            }
            Err(error) => tracing::error!(root = %root.display(), %error, "recordings can't be looked at"),
        }
    }
    for row in catalogue.open_files().await?.into_iter().filter(|row| meant(&row.name)) {
        candidates.entry(row.name).or_default();
    }
    for (name, markers) in candidates {
        // A file that only its marker tells of may not have its name on the disk yet.
        let root = roots.iter().find(|root| !markers.is_empty() && name.starts_with(root));
        match root.map_or(Ok(()), |root| sync_name(&name, root)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(file = %name.display(), %error, "folder of a recording can't be synced");
                report.failed += 1;
                continue;
            }
            _ => {}
        }
        if repair_file(catalogue, &name, &mut report).await? {
            for marker in markers {
                if let Err(error) = marker::remove(&marker) {
                    tracing::warn!(marker = %marker.display(), %error, "marker can't be removed");
                }
            }
        }
    }
    Ok(report)
}

/// Repairs one file; whether it needs no more.
async fn repair_file(
    catalogue: &Catalogue,
    name: &Path,
    report: &mut RepairReport,
) -> Result<bool, CatalogueError> {
    let text = name.to_string_lossy();
    let row = catalogue.file(&text).await?;
    let known = match &row {
        Some(row) => Known { bytes: row.extent.bytes, gops: catalogue.gops(row).await? },
        None => Known::default(),
    };
    match mend(name, known) {
        Ok(Mended::Closed { update, cut_bytes, thumbnails_bytes }) => {
            catalogue.apply(&told(*update, thumbnails_bytes)).await?;
            report.closed += 1;
            report.cut_bytes += cut_bytes;
            tracing::info!(file = %text, cut_bytes, "recording repaired");
        }
        Ok(Mended::Empty { cut_bytes }) => {
            // A file without a part is none.
            if let Err(error) = remove_recording(name) {
                tracing::error!(file = %text, %error, "empty recording can't be removed");
                report.failed += 1;
                return Ok(false);
            }
            catalogue.forget(&text).await?;
            report.removed += 1;
            report.cut_bytes += cut_bytes;
        }
        Err(MendError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            catalogue.forget(&text).await?;
            report.forgotten += u64::from(row.is_some());
        }
        Err(error) => {
            tracing::error!(file = %text, %error, "recording can't be repaired and stays as it is");
            report.failed += 1;
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the catalogue is told of a file that was made whole.
pub(crate) fn told(update: FileUpdate, thumbnails_bytes: Option<u64>) -> Vec<Update> {
    let name = update.facts.name.clone();
    let thumbnails = thumbnails_bytes.map(|bytes| Update::Thumbnails { name, bytes });
    std::iter::once(Update::File(update)).chain(thumbnails).collect()
}

/// What is known to be on the disk of a file that is to be made whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Where that ends.
    pub(crate) bytes: u64,
    /// GOPs in it from the first part on: not all, maybe.
    pub(crate) gops: Vec<GopEntry>,
}

/// Makes a file whole.
pub(crate) fn mend(name: &Path, known: Known) -> Result<Mended, MendError> {
    let file = File::options().read(true).write(true).open(name)?;
    let len = file.metadata()?.len();
    let Some(head) = read_head(&file, len)? else { return Ok(Mended::Empty { cut_bytes: len }) };
    let Some(continuity) = Continuity::find(&head) else { return Err(MendError::NoContinuity) };
    let timescale = lead_timescale(&head)?;
    let first_offset = u64::try_from(head.len()).unwrap_or(u64::MAX);
    let Standing::Part(first) = standing_at(&file, first_offset, len)? else {
        return Ok(Mended::Empty { cut_bytes: len });
    };
    let facts = FileFacts {
        name: name.to_owned(),
        continuity,
        timescale,
        first_ticks: first.summary.base_ticks,
        first_offset,
    };
    let gops_end = first_offset + known.gops.iter().map(|gop| gop.len_bytes).sum::<u64>();
    // Shorter than it was: nothing is known of it then.
    let known = if gops_end.max(known.bytes) <= len { known } else { Known::default() };
    let identity = Continuity::box_in(&head).unwrap_or_default();
    let walked = walk(&file, len, known, &facts, identity)?;
    if walked.found.extent.duration_ticks == 0 {
        return Ok(Mended::Empty { cut_bytes: len });
    }
    let mut mended = SegmentFile::resumed(file, facts, head, walked.found);
    let cut_bytes = if walked.has_index { 0 } else { len - mended.extent.bytes };
    mended.finalise()?;
    mended.file.sync_all()?;
    let update = FileUpdate {
        facts: mended.facts.clone(),
        extent: mended.extent,
        new_gops: Vec::new(),
        gops_before: 0,
        closed: Some(mended.all_gops()),
        marker: None,
    };
    let thumbnails_bytes = thumbnails::file::mend(name).unwrap_or_else(|error| {
        tracing::debug!(file = %name.display(), %error, "thumbnails can't be read");
        None
    });
    Ok(Mended::Closed { update: Box::new(update), cut_bytes, thumbnails_bytes })
}

/// The boxes before the first part; `None` when they are not all there.
pub(crate) fn read_head(file: &File, len: u64) -> io::Result<Option<Bytes>> {
    let mut end = 0;
    let mut is_whole = false;
    while let Some(header) = header_at(file, end)? {
        let after = end.saturating_add(header.size);
        if header.kind == *b"moof" || after > len.min(HEAD_BYTES_MAX) {
            break;
        }
        is_whole |= header.kind == *b"uuid";
        end = after;
    }
    if !is_whole {
        return Ok(None);
    }
    let mut head = vec![0; usize::try_from(end).unwrap_or(0)];
    file.read_exact_at(&mut head, 0)?;
    Ok(Some(head.into()))
}

/// How long a file is that no part of a recording begins in, nor media of somebody else's; `None` for any other.
pub(crate) fn holds_no_part(name: &Path) -> io::Result<Option<u64>> {
    let file = File::open(name)?;
    let len = file.metadata()?.len();
    if len > HEAD_BYTES_MAX || std::fs::read(name)?.windows(4).any(|kind| kind == b"moof") {
        return Ok(None);
    }
    let mut end = 0;
    while let Some(header) = header_at(&file, end)? {
        if header.kind == *b"mdat" {
            return Ok(None);
        }
        end = end.saturating_add(header.size);
    }
    Ok(Some(len))
}

struct Walked {
    found: Found,
    has_index: bool,
}

/// From the last known GOP to the last whole part.
fn walk(file: &File, len: u64, known: Known, facts: &FileFacts, identity: &[u8]) -> io::Result<Walked> {
    let mut gops = known.gops;
    let mut extent = Extent {
        bytes: facts.first_offset + gops.iter().map(|gop| gop.len_bytes).sum::<u64>(),
        duration_ticks: gops.iter().map(|gop| gop.duration_ticks).sum(),
    };
    let mut builder = IndexBuilder::default();
    let mut seal =
        if gops.is_empty() { Some(Seal::first(identity)) } else { seal_before(file, extent.bytes)? };
    let has_index = loop {
        let part = match standing_at(file, extent.bytes, len)? {
            Standing::Part(part) => part,
            Standing::Index => break true,
            Standing::Torn => break false,
        };
        // What was synced is not looked at again: it may be a long GOP, and a bit that rotted in it is no torn end.
        let is_known = extent.bytes + part.len_bytes <= known.bytes;
        let is_whole = || seal.map_or(Ok(false), |before| is_sealed(file, extent.bytes, &part, before));
        if !is_known && !is_whole()? {
            break false;
        }
        seal = part.seal;
        extent.bytes += part.len_bytes;
        extent.duration_ticks += part.summary.duration_ticks;
        let indexed = IndexedPart {
            len_bytes: part.len_bytes,
            duration_ticks: part.summary.duration_ticks,
            composition_offset_ticks: part.summary.composition_offset_ticks,
            is_independent: part.summary.is_independent,
        };
        gops.extend(builder.push(indexed, facts.timescale));
    };
    Ok(Walked { found: Found { extent, gops, builder }, has_index })
}
