//! Build: an export from recorded files.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use media_core::egress::recorder::Gap;
use media_core::gate::CameraGrant;
use media_core::time::WallTime;

use super::archive::{Entry, directory};
use super::manifest::{
    CameraManifest, FileManifest, GapManifest, HeadsManifest, MANIFEST, Manifest, PartManifest, SIGNATURE,
    SigningKey, VERSION, hex, rfc3339,
};
use super::{CHUNK_BYTES, PARTS_MAX};
use crate::catalogue::{CatalogueError, FileRow};
use crate::playback::{
    Clip, ClipFormat, ClipPart, ClipPlan, ClipRequest, GapRule, PlaybackError, Recordings,
};
use crate::seal::{SEAL_BYTES, Seal, SealBuilder};
use crate::source::{self, ReadAt as _};
use crate::walk::{PartInFile, part_at, seal_at};

/// An export can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The recordings can't be read.
    #[error(transparent)]
    Playback(#[from] PlaybackError),
    /// Reading or writing failed.
    #[error("export: {0}")]
    Io(#[from] io::Error),
    /// The manifest can't be written.
    #[error("manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    /// Nothing is recorded of any camera.
    #[error("nothing is recorded of these cameras in this time")]
    Nothing,
    /// More than the limit.
    #[error(
        "an export has {PARTS_MAX} recorded parts at most, about 14 hours: ask for less time or fewer cameras"
    )]
    TooLong,
    /// It was deleted meanwhile.
    #[error("cancelled")]
    Cancelled,
}

/// How far an export is; shared with who asks.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes written.
    pub written_bytes: AtomicU64,
    /// Bytes of video in all; 0 until that is known.
    pub total_bytes: AtomicU64,
    /// Set by who wants it no more.
    pub is_cancelled: AtomicBool,
}

/// What the manifest says besides hashes.
#[derive(Clone, Debug)]
pub struct ExportFacts {
    /// From when.
    pub start: WallTime,
    /// Up to when.
    pub end: WallTime,
    /// Who asked.
    pub operator: String,
    /// Of which unit.
    pub unit: String,
    /// Why.
    pub reason: String,
    /// When.
    pub created: WallTime,
    /// What makes it, with its version.
    pub made_by: String,
}

/// What is to be exported.
#[derive(Debug)]
pub struct ExportPlan {
    cameras: Vec<CameraPlan>,
}

#[derive(Debug)]
struct CameraPlan {
    grant: CameraGrant,
    clip: Option<ClipPlan>,
    gaps: Vec<Gap>,
}

impl Recordings {
    /// What there is of these cameras.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn plan_export(
        &self,
        grants: Vec<CameraGrant>,
        start: WallTime,
        end: WallTime,
    ) -> Result<ExportPlan, CatalogueError> {
        let us = u64::try_from(end.us_since(start)).unwrap_or(0);
        let duration = Duration::from_micros(us);
        let request = ClipRequest { start, duration, format: ClipFormat::Progressive, gaps: GapRule::Skip };
        let mut cameras = Vec::new();
        for grant in grants {
            let clip = self.plan_clip(&grant, request).await?;
            let gaps = self.gaps(&grant, Some(start), Some(end)).await?;
            cameras.push(CameraPlan { grant, clip, gaps });
        }
        Ok(ExportPlan { cameras })
    }
}

impl ExportPlan {
    /// Writes the export; blocks. What is written so far stays when it fails.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn write(
        &self,
        file: &Path,
        facts: &ExportFacts,
        key: &SigningKey,
        progress: &Progress,
    ) -> Result<(), ExportError> {
        let mut cameras: Vec<(&CameraPlan, Vec<Clip>)> = Vec::new();
        let (mut total_bytes, mut parts) = (0, 0);
        for camera in &self.cameras {
            let clips = camera.clip.iter().flat_map(|plan| plan.clips_of_runs(&camera.grant));
            let clips = clips.collect::<Result<Vec<_>, _>>()?;
            total_bytes += clips.iter().map(Clip::len_bytes).sum::<u64>();
            parts += clips.iter().map(|clip| clip.parts().len()).sum::<usize>();
            cameras.push((camera, clips));
        }
        if parts == 0 {
            return Err(ExportError::Nothing);
        }
        if parts > PARTS_MAX {
            return Err(ExportError::TooLong);
        }
        progress.total_bytes.store(total_bytes, Ordering::Relaxed);
        let mut zip = Zip { file: File::create(file)?, entries: Vec::new(), progress };
        let mut manifest = Manifest {
            version: VERSION,
            made_by: facts.made_by.clone(),
            created: rfc3339(facts.created),
            start: rfc3339(facts.start),
            end: rfc3339(facts.end),
            operator: facts.operator.clone(),
            unit: facts.unit.clone(),
            reason: facts.reason.clone(),
            public_key: key.public(),
            cameras: Vec::new(),
        };
        for (camera, clips) in &cameras {
            manifest.cameras.push(zip.camera(camera, clips)?);
        }
        let bytes = serde_json::to_vec_pretty(&manifest)?;
        zip.whole(MANIFEST, &bytes)?;
        zip.whole(SIGNATURE, &key.sign(&bytes))?;
        zip.file.write_all(&directory(&zip.entries))?;
        zip.file.sync_all()?;
        Ok(())
    }
}

struct Zip<'a> {
    file: File,
    entries: Vec<Entry>,
    progress: &'a Progress,
}

/// An entry while it is written.
#[derive(Default)]
struct Sums {
    bytes: u64,
    sha256: SealBuilder,
    crc: crc32fast::Hasher,
}

impl Zip<'_> {
    fn begin(&mut self, name: &str) -> io::Result<Entry> {
        let at = self.entries.last().map_or(0, Entry::end);
        let entry = Entry { name: name.to_owned(), at, bytes: 0, crc: 0 };
        self.file.write_all(&entry.header())?;
        Ok(entry)
    }

    fn put(&mut self, bytes: &[u8], sums: &mut Sums) -> Result<(), ExportError> {
        if self.progress.is_cancelled.load(Ordering::Relaxed) {
            return Err(ExportError::Cancelled);
        }
        self.file.write_all(bytes)?;
        let len_bytes = u64::try_from(bytes.len()).unwrap_or(0);
        self.progress.written_bytes.fetch_add(len_bytes, Ordering::Relaxed);
        sums.bytes += len_bytes;
        sums.sha256.update(bytes);
        sums.crc.update(bytes);
        Ok(())
    }

    /// Fills in what the header did not know; the SHA-256 comes back.
    fn end(&mut self, entry: Entry, sums: Sums) -> io::Result<String> {
        let entry = Entry { bytes: sums.bytes, crc: sums.crc.finalize(), ..entry };
        self.file.seek(SeekFrom::Start(entry.at))?;
        self.file.write_all(&entry.header())?;
        self.file.seek(SeekFrom::Start(entry.end()))?;
        self.entries.push(entry);
        Ok(hex(&sums.sha256.hash()))
    }

    fn whole(&mut self, name: &str, bytes: &[u8]) -> Result<String, ExportError> {
        let (entry, mut sums) = (self.begin(name)?, Sums::default());
        self.put(bytes, &mut sums)?;
        Ok(self.end(entry, sums)?)
    }

    fn camera(&mut self, camera: &CameraPlan, clips: &[Clip]) -> Result<CameraManifest, ExportError> {
        let path = camera.grant.path().as_str();
        let files = clips.iter().map(|clip| self.clip(path, clip)).collect::<Result<_, _>>()?;
        let gap = |gap: &Gap| GapManifest {
            from: rfc3339(gap.from),
            until: gap.until.map(rfc3339),
            reason: gap.reason.as_str().to_owned(),
        };
        Ok(CameraManifest { path: path.to_owned(), files, gaps: camera.gaps.iter().map(gap).collect() })
    }

    fn clip(&mut self, path: &str, clip: &Clip) -> Result<FileManifest, ExportError> {
        let (start, end) = clip.time();
        let compact: String = rfc3339(start).replace([':', '-'], "");
        let name = format!("{path}/{compact}.mp4");
        let (entry, mut sums) = (self.begin(&name)?, Sums::default());
        let head_sha256 = hex(&crate::seal::hash(&[clip.head()]));
        self.put(clip.head(), &mut sums)?;
        let mut source = Source { clip, open: None, heads: Vec::new(), before: None };
        let mut parts = Vec::new();
        for part in clip.parts() {
            let part = source.part(part)?;
            let mut hash = SealBuilder::default();
            hash.update(&part.head);
            let (mut at, end) = (part.payload_at, part.payload_at + part.found.payload_bytes);
            while at < end {
                let mut chunk = vec![0; usize::try_from((end - at).min(CHUNK_BYTES)).unwrap_or(0)];
                source.read(&mut chunk, at)?;
                hash.update(&chunk);
                self.put(&chunk, &mut sums)?;
                at += u64::try_from(chunk.len()).unwrap_or(0);
            }
            parts.push(PartManifest {
                bytes: part.found.payload_bytes,
                sha256: hex(&hash.hash()),
                seal: part.found.seal.map(|seal| hex(&seal.0)),
            });
        }
        let bytes = sums.bytes;
        let sha256 = self.end(entry, sums)?;
        let heads = HeadsManifest {
            name: format!("{name}.heads"),
            bytes: u64::try_from(source.heads.len()).unwrap_or(0),
            sha256: self.whole(&format!("{name}.heads"), &source.heads)?,
        };
        Ok(FileManifest {
            name,
            start: rfc3339(start),
            end: rfc3339(end),
            bytes,
            sha256,
            head_bytes: u64::try_from(clip.head().len()).unwrap_or(0),
            head_sha256,
            heads,
            parts,
        })
    }
}

/// The recorded files behind a clip.
struct Source<'a> {
    clip: &'a Clip,
    open: Option<(usize, source::Source)>,
    /// What was recorded besides payloads.
    heads: Vec<u8>,
    /// The file and the end of the part before: a seal stands there.
    before: Option<(usize, u64)>,
}

struct SourcePart {
    found: PartInFile,
    head: Vec<u8>,
    payload_at: u64,
}

impl Source<'_> {
    fn file(&mut self, index: usize) -> io::Result<(&FileRow, &source::Source)> {
        let row = self.clip.files().get(index).ok_or(io::ErrorKind::NotFound)?;
        let open = match self.open.take() {
            Some((open, file)) if open == index => (open, file),
            _ => (index, source::Source::open(row)?),
        };
        Ok((row, &self.open.insert(open).1))
    }

    fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let (_, file) = self.open.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(into, at)
    }

    fn part(&mut self, part: &ClipPart) -> io::Result<SourcePart> {
        let follows = self.before == Some((part.file, part.offset));
        let (row, file) = self.file(part.file)?;
        let found = part_at(file, part.offset, row.extent.bytes)?.ok_or(io::ErrorKind::InvalidData)?;
        let chain = if follows { None } else { Some(chain_before(file, row, part.offset)?) };
        let mut head = vec![0; usize::try_from(found.payload_offset).unwrap_or(0)];
        file.read_exact_at(&mut head, part.offset)?;
        // Where the parts' chain is entered, what it goes on from comes first.
        if let Some(chain) = chain {
            self.heads.extend_from_slice(&chain.to_box());
        }
        self.heads.extend_from_slice(&head);
        if let Some(seal) = found.seal {
            self.heads.extend_from_slice(&seal.to_box());
        }
        self.before = Some((part.file, part.offset + found.len_bytes));
        let payload_at = part.offset + u64::from(found.payload_offset);
        Ok(SourcePart { found, head, payload_at })
    }
}

/// The chain before a part.
fn chain_before(file: &source::Source, row: &FileRow, offset: u64) -> io::Result<Seal> {
    if offset > row.first_offset {
        let seal = seal_at(file, offset.saturating_sub(SEAL_BYTES), row.extent.bytes)?;
        return Ok(seal.unwrap_or(Seal(Default::default())));
    }
    let mut head = vec![0; usize::try_from(row.first_offset).unwrap_or(0)];
    file.read_exact_at(&mut head, 0)?;
    let identity = crate::continuity::Continuity::box_in(&head).unwrap_or_default();
    Ok(Seal::first(identity))
}
