//! Verify: whether an export is what was signed, and its video what was recorded, to the byte.
//!
//! ```text
//!  signature over the manifest ─► names and sizes ─► heads ─► each part: head ‖ payload, chain of seals ─► every other byte
//! ```
//!
//! Every byte of the file is covered: contents by hashes, the archive's own structure because it follows from them.
//! Reads only the file; holds the manifest and one chunk in memory.
//! Limits: [`MANIFEST_BYTES_MAX`], [`ENTRIES_MAX`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use media_core::remux::fmp4::read::box_header;

use super::CHUNK_BYTES;
use super::archive::{Entry, directory};
use super::manifest::{
    FileManifest, MANIFEST, Manifest, PartManifest, SIGNATURE, VERSION, hex, is_signed, unhex,
};
use crate::seal::{SEAL_BOX_BYTES, Seal, SealBuilder, hash};

/// A manifest or a file of heads believed; those of the longest export are smaller.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;
/// Entries believed.
const ENTRIES_MAX: usize = 100_000;

/// An export that is authentic and complete.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Cameras in it.
    pub cameras: usize,
    /// MP4s in it.
    pub files: usize,
    /// Recorded parts in them.
    pub parts: usize,
    /// Of these, without a seal: written while the server was ended by force.
    pub unsealed: usize,
    /// Who signed it, Ed25519 in hexadecimal.
    pub public_key: String,
    /// Who asked for it.
    pub operator: String,
    /// From when, up to when.
    pub time: (String, String),
}

/// The first bytes that are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where in the file.
    pub bytes: Range<u64>,
    /// What they are of, and what is wrong.
    pub what: String,
}

/// An export is not authentic and complete, or can't be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was exported.
    #[error("bytes {} to {}: {}", .0.bytes.start, .0.bytes.end, .0.what)]
    Fault(Fault),
}

fn fault(bytes: Range<u64>, what: impl Into<String>) -> VerifyError {
    VerifyError::Fault(Fault { bytes, what: what.into() })
}

/// Checks a file; `trusted` is the public key that must have signed it, in hexadecimal.
///
/// # Errors
/// [`VerifyError::Fault`] names the first range that is wrong.
pub fn verify(file: &Path, trusted: Option<&str>) -> Result<Verified, VerifyError> {
    let file = File::open(file)?;
    let len_bytes = file.metadata()?.len();
    let mut archive = Archive { file, len_bytes, entries: Vec::new() };
    archive.read_entries()?;
    let manifest = archive.manifest(trusted)?;
    let mut verified = Verified {
        cameras: manifest.cameras.len(),
        files: 0,
        parts: 0,
        unsealed: 0,
        public_key: manifest.public_key.clone(),
        operator: manifest.operator.clone(),
        time: (manifest.start.clone(), manifest.end.clone()),
    };
    let mut position = 0;
    for file in manifest.cameras.iter().flat_map(|camera| &camera.files) {
        let mp4 = archive.expect(position, &file.name, file.bytes)?;
        let heads = archive.expect(position + 1, &file.heads.name, file.heads.bytes)?;
        archive.check_file(file, &mp4, &heads)?;
        verified.files += 1;
        verified.parts += file.parts.len();
        verified.unsealed += file.parts.iter().filter(|part| part.seal.is_none()).count();
        position += 2;
    }
    archive.expect_manifest_at(position)?;
    archive.check_structure()?;
    Ok(verified)
}

struct Archive {
    file: File,
    len_bytes: u64,
    entries: Vec<Entry>,
}

impl Archive {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn read_entries(&mut self) -> Result<(), VerifyError> {
        let mut at = 0;
        while self.entries.len() < ENTRIES_MAX {
            let header_max = u64::try_from(Entry::HEADER_BYTES_MAX).unwrap_or(0);
            let bytes = self.read(at..self.len_bytes.min(at + header_max))?;
            let is_last = self.entries.last().is_some_and(|last| last.name == SIGNATURE);
            if is_last {
                break;
            }
            let entry = Entry::parse(at, &bytes);
            let entry = entry.filter(|entry| entry.end() <= self.len_bytes);
            let Some(entry) = entry else {
                // The header before may say wrongly where it ends.
                let from = self.entries.last().map_or(at, |last| last.at);
                let end = self.len_bytes.min(at + 100);
                return Err(fault(from..end, "the archive is cut short or changed: no whole entry follows"));
            };
            at = entry.end();
            self.entries.push(entry);
        }
        Ok(())
    }

    fn contents(&self, entry: &Entry) -> Result<Vec<u8>, VerifyError> {
        if entry.bytes > MANIFEST_BYTES_MAX {
            return Err(fault(entry.at..entry.contents_at(), format!("{} is too large", entry.name)));
        }
        Ok(self.read(entry.contents_at()..entry.end())?)
    }

    fn manifest(&self, trusted: Option<&str>) -> Result<Manifest, VerifyError> {
        let [.., entry, signature] = self.entries.as_slice() else {
            return Err(fault(0..self.len_bytes, "no manifest"));
        };
        if entry.name != MANIFEST || signature.name != SIGNATURE {
            return Err(fault(entry.at..signature.end(), "no manifest with its signature at the end"));
        }
        let range = entry.contents_at()..entry.end();
        let (bytes, signature) = (self.contents(entry)?, self.contents(signature)?);
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| fault(range.clone(), format!("{MANIFEST} can't be read: {error}")))?;
        let key = unhex(&manifest.public_key);
        if !key.is_some_and(|key| is_signed(&key, &bytes, &signature)) {
            return Err(fault(range, format!("{MANIFEST} or its signature was changed")));
        }
        if manifest.version != VERSION {
            let what = format!("{MANIFEST} has version {}, this program knows {VERSION}", manifest.version);
            return Err(fault(range, what));
        }
        if trusted.is_some_and(|trusted| !trusted.eq_ignore_ascii_case(&manifest.public_key)) {
            return Err(fault(range, format!("signed by another key: {}", manifest.public_key)));
        }
        Ok(manifest)
    }

    /// The entry that the manifest has at a position.
    fn expect(&self, position: usize, name: &str, bytes: u64) -> Result<Entry, VerifyError> {
        match self.entries.get(position) {
            Some(entry) if entry.name == name && entry.bytes == bytes => Ok(entry.clone()),
            Some(entry) => {
                let what = format!(
                    "{name} with {bytes} bytes should be here, not {} with {}",
                    entry.name, entry.bytes
                );
                Err(fault(entry.at..entry.contents_at(), what))
            }
            None => Err(fault(self.len_bytes..self.len_bytes, format!("{name} is missing"))),
        }
    }

    fn expect_manifest_at(&self, position: usize) -> Result<(), VerifyError> {
        match self.entries.get(position) {
            Some(entry) if entry.name != MANIFEST => {
                Err(fault(entry.at..entry.end(), format!("{} was not exported", entry.name)))
            }
            _ => Ok(()),
        }
    }

    /// The video and what was recorded of it.
    fn check_file(&self, file: &FileManifest, mp4: &Entry, heads: &Entry) -> Result<(), VerifyError> {
        let bytes = self.contents(heads)?;
        let heads_range = heads.contents_at()..heads.end();
        if hex(&hash(&[&bytes])) != file.heads.sha256 {
            return Err(fault(heads_range, format!("{} was changed", heads.name)));
        }
        let mut at = mp4.contents_at();
        // Anybody can sign lengths of their own.
        let within = |end: Option<u64>, what: &str| {
            let what = || format!("{}: {what} is longer than the file", mp4.name);
            end.filter(|end| *end <= mp4.end()).ok_or_else(|| fault(mp4.contents_at()..mp4.end(), what()))
        };
        let head_end = within(at.checked_add(file.head_bytes), "its index")?;
        let head = self.read(at..head_end)?;
        if hex(&hash(&[&head])) != file.head_sha256 {
            return Err(fault(at..head_end, format!("{}: its index was changed", mp4.name)));
        }
        at = head_end;
        let mut heads = Heads { bytes: &bytes, chain: Seal(Default::default()) };
        for (number, part) in file.parts.iter().enumerate() {
            let part_end = within(at.checked_add(part.bytes), "a part")?;
            let range = at..part_end;
            let wrong = |what: &str| fault(range.clone(), format!("{}: part {number} {what}", mp4.name));
            let head = heads.part(part).ok_or_else(|| wrong("has no head"))?;
            let mut sum = SealBuilder::default();
            sum.update(head.moof_and_mdat);
            self.each_chunk(range.clone(), |chunk| sum.update(chunk))?;
            let sum = sum.hash();
            if hex(&sum) != part.sha256 {
                return Err(wrong("was changed or is missing"));
            }
            let expected = heads.chain.after(&sum);
            if head.seal.is_some_and(|seal| seal != expected) {
                return Err(wrong("is not what was recorded: it was changed before the export"));
            }
            if head.seal.map(|seal| hex(&seal.0)) != part.seal {
                return Err(wrong("has another seal"));
            }
            heads.chain = expected;
            at = part_end;
        }
        if at != mp4.end() || !heads.bytes.is_empty() {
            return Err(fault(at..mp4.end(), format!("{}: more than what was recorded", mp4.name)));
        }
        Ok(())
    }

    fn each_chunk(&self, range: Range<u64>, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut at = range.start;
        while at < range.end {
            let to = range.end.min(at + CHUNK_BYTES);
            take(&self.read(at..to)?);
            at = to;
        }
        Ok(())
    }

    /// What is no contents: every header, and the directory to the last byte.
    fn check_structure(&self) -> Result<(), VerifyError> {
        let mut entries = Vec::new();
        for entry in &self.entries {
            let mut crc = crc32fast::Hasher::new();
            self.each_chunk(entry.contents_at()..entry.end(), |chunk| crc.update(chunk))?;
            let expected = Entry { crc: crc.finalize(), ..entry.clone() };
            self.compare(entry.at, &expected.header(), &format!("header of {}", entry.name))?;
            entries.push(expected);
        }
        let at = entries.last().map_or(0, Entry::end);
        let directory = directory(&entries);
        self.compare(at, &directory, "directory of the archive")?;
        let end = at + u64::try_from(directory.len()).unwrap_or(0);
        if end < self.len_bytes {
            return Err(fault(end..self.len_bytes, "more bytes than were exported"));
        }
        Ok(())
    }

    fn compare(&self, at: u64, expected: &[u8], what: &str) -> Result<(), VerifyError> {
        let end = at + u64::try_from(expected.len()).unwrap_or(0);
        if end > self.len_bytes {
            return Err(fault(at..self.len_bytes, format!("the {what} is cut short")));
        }
        if self.read(at..end)? != expected {
            return Err(fault(at..end, format!("the {what} was changed")));
        }
        Ok(())
    }
}

/// The heads of parts, one after the other.
struct Heads<'a> {
    bytes: &'a [u8],
    chain: Seal,
}

struct PartHead<'a> {
    moof_and_mdat: &'a [u8],
    seal: Option<Seal>,
}

impl<'a> Heads<'a> {
    fn part(&mut self, listed: &PartManifest) -> Option<PartHead<'a>> {
        // Where the chain is entered, what it goes on from.
        if let Some(seal) = self.seal() {
            self.chain = seal;
        }
        let moof = box_header(self.bytes).filter(|header| header.kind == *b"moof")?;
        let head_bytes = usize::try_from(moof.size).ok()?.checked_add(8)?;
        let (moof_and_mdat, rest) = self.bytes.split_at_checked(head_bytes)?;
        self.bytes = rest;
        let seal = if listed.seal.is_some() { Some(self.seal()?) } else { None };
        Some(PartHead { moof_and_mdat, seal })
    }

    fn seal(&mut self) -> Option<Seal> {
        let (first, rest) = self.bytes.split_first_chunk::<SEAL_BOX_BYTES>()?;
        let seal = Seal::from_box(first)?;
        self.bytes = rest;
        Some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::manifest::{CameraManifest, HeadsManifest, SigningKey};

    const INDEX: &[u8] = b"index";
    const PICTURES: &[u8] = b"pictures";
    const HEAD: &[u8] = b"\0\0\0\x08moof\0\0\0\x10mdat";

    fn archive(contents: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut entries) = (Vec::new(), Vec::new());
        for (name, contents) in contents {
            let (at, bytes) = (u64::try_from(out.len()).unwrap(), u64::try_from(contents.len()).unwrap());
            let entry = Entry { name: (*name).to_owned(), at, bytes, crc: crc32fast::hash(contents) };
            out.extend(entry.header());
            out.extend_from_slice(contents);
            entries.push(entry);
        }
        out.extend(directory(&entries));
        out
    }

    /// An MP4 of an index and one part, as whoever signs it says.
    fn manifest(head_bytes: u64, part_bytes: u64) -> FileManifest {
        let sha256 = |bytes: &[&[u8]]| hex(&hash(bytes));
        FileManifest {
            name: "a.mp4".to_owned(),
            start: String::new(),
            end: String::new(),
            bytes: 13,
            sha256: sha256(&[INDEX, PICTURES]),
            head_bytes,
            head_sha256: sha256(&[INDEX]),
            heads: HeadsManifest { name: "a.heads".to_owned(), bytes: 16, sha256: sha256(&[HEAD]) },
            parts: vec![PartManifest { bytes: part_bytes, sha256: sha256(&[HEAD, PICTURES]), seal: None }],
        }
    }

    fn verified(file: FileManifest) -> Result<Verified, VerifyError> {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::open(&folder.path().join("key")).unwrap();
        let camera = CameraManifest { path: "cam".to_owned(), files: vec![file], gaps: Vec::new() };
        let manifest = Manifest {
            version: VERSION,
            made_by: String::new(),
            created: String::new(),
            start: String::new(),
            end: String::new(),
            operator: String::new(),
            unit: String::new(),
            reason: String::new(),
            public_key: key.public(),
            cameras: vec![camera],
        };
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let signature = key.sign(&manifest);
        let mp4 = [INDEX, PICTURES].concat();
        let contents: [(&str, &[u8]); 4] =
            [("a.mp4", &mp4), ("a.heads", HEAD), (MANIFEST, &manifest), (SIGNATURE, &signature)];
        let name = folder.path().join("export.zip");
        std::fs::write(&name, archive(&contents)).unwrap();
        verify(&name, None)
    }

    #[test]
    fn lengths_that_somebody_signed_and_that_are_not_so_are_told() {
        assert_eq!(verified(manifest(5, 8)).unwrap().parts, 1);
        for (head_bytes, part_bytes) in [(u64::MAX, 8), (5, u64::MAX), (5, 9), (5, u64::MAX - 5)] {
            match verified(manifest(head_bytes, part_bytes)) {
                Err(VerifyError::Fault(fault)) => assert!(fault.bytes.start <= fault.bytes.end, "{fault:?}"),
                other => panic!("{head_bytes} {part_bytes}: {other:?}"),
            }
        }
    }
}
