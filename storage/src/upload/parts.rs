//! Parts: a closed file cut into what one request carries, each with its sum, and the sum of all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;

use super::sum::Sha256;
use crate::bucket::PartToSend;
use crate::bucket_config::PART_BYTES;

/// More an object can't have.
const PARTS_MAX: u64 = 10_000;

/// A file that is being read from its beginning to its end. Memory: one part.
#[derive(Debug)]
pub(crate) struct Parts {
    file: File,
    len: u64,
    part_bytes: u64,
    next: u64,
    number: u16,
    whole: Sha256,
}

impl Parts {
    /// Opens a file; blocks.
    pub(crate) fn open(name: &Path) -> io::Result<Self> {
        let file = File::open(name)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len, part_bytes: part_bytes(len), next: 0, number: 0, whole: Sha256::new() })
    }

    /// The file's length.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Whether all of it is one part.
    pub(crate) fn is_one(&self) -> bool {
        self.len <= self.part_bytes
    }

    /// Reads the next part; `None` behind the last. Blocks.
    pub(crate) fn next(&mut self) -> io::Result<Option<PartToSend>> {
        let left = self.len.saturating_sub(self.next);
        if left == 0 && self.number > 0 {
            return Ok(None);
        }
        let len = left.min(self.part_bytes);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(PART_BYTES)];
        self.file.read_exact_at(&mut bytes, self.next)?;
        self.next += len;
        self.number = self.number.saturating_add(1);
        self.whole.update(&bytes);
        let sha256 = Sha256::of(&bytes);
        Ok(Some(PartToSend { number: self.number, bytes: Bytes::from(bytes), sha256 }))
    }

    /// The sum of all parts that were read.
    pub(crate) fn sha256(self) -> [u8; 32] {
        self.whole.finish()
    }
}

/// [`PART_BYTES`], or more where the file would have too many of them: above 80 GB.
fn part_bytes(len: u64) -> u64 {
    let usual = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    usual.max(len.div_ceil(PARTS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_file_end_to_end_and_never_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("file");
        let media: Vec<u8> = (0..PART_BYTES * 2 + 100).map(|at| u8::try_from(at % 251).unwrap()).collect();
        std::fs::write(&name, &media).unwrap();
        let mut parts = Parts::open(&name).unwrap();
        assert!(!parts.is_one());
        let mut read = Vec::new();
        let mut numbers = Vec::new();
        while let Some(part) = parts.next().unwrap() {
            assert_eq!(part.sha256, Sha256::of(&part.bytes));
            read.extend_from_slice(&part.bytes);
            numbers.push(part.number);
        }
        assert!(read == media, "other bytes");
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(parts.sha256(), Sha256::of(&media));
        let terabyte: u64 = 1 << 40;
        assert!(terabyte.div_ceil(part_bytes(terabyte)) <= PARTS_MAX);
    }

    #[test]
    fn an_empty_file_is_one_empty_part() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut parts = Parts::open(file.path()).unwrap();
        assert!(parts.is_one());
        assert_eq!(parts.next().unwrap().map(|part| part.bytes.len()), Some(0));
        assert!(parts.next().unwrap().is_none());
    }
}
