//! Source: a recorded file's bytes, wherever they are: on its disk, or in the bucket when they have left that.
//!
//! The one place where playback opens files. Reading blocks, from either: it belongs on threads for such things.
//! An object is read in windows that grow while reading goes on where it ended, so that a look at a part's head costs
//! little and a long stretch few requests. Memory: one window a reader, [`WINDOW_BYTES_MAX`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::bucket;
use crate::catalogue::{FileRow, StoredCopy};

/// Read around a place that nothing was read before: some heads of parts.
const WINDOW_BYTES_FIRST: u64 = 64 << 10;
/// The largest window: at 20 ms a request, 50 MB/s.
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// What can be read from any offset.
pub(crate) trait ReadAt {
    /// Fills `bytes` from `offset` on; blocks.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }
}

/// An opened file. See the module's header.
#[derive(Debug)]
pub(crate) enum Source {
    Disk(File),
    Bucket(ObjectReader),
}

impl Source {
    /// Opens a file where it is; blocks.
    pub(crate) fn open(row: &FileRow) -> io::Result<Self> {
        let object = || row.object.clone().map(|object| ObjectReader::new(object, row.extent.bytes));
        if !row.is_on_disk()
            && let Some(object) = object()
        {
            return Ok(Self::Bucket(object));
        }
        match (File::open(&row.name), object()) {
            // It left between the look into the catalogue and now.
            (Err(error), Some(object)) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Bucket(object)),
            (file, _) => file.map(Self::Disk),
        }
    }
}

impl ReadAt for Source {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Disk(file) => ReadAt::read_exact_at(file, bytes, offset),
            Self::Bucket(object) => object.read_exact_at(bytes, offset),
        }
    }
}

/// Reads an object.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    copy: StoredCopy,
    /// Where its last part ends; nothing behind is asked for.
    end: u64,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    from: u64,
    bytes: Bytes,
}

impl Window {
    fn end(&self) -> u64 {
        self.from + u64::try_from(self.bytes.len()).unwrap_or(0)
    }

    /// What it holds from an offset on.
    fn at(&self, offset: u64) -> &[u8] {
        let skipped = offset.checked_sub(self.from).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.bytes.get(skipped..)).unwrap_or_default()
    }

    /// What to read for an offset that it does not hold.
    fn next(&self, offset: u64, end: u64) -> (u64, u64) {
        let held = u64::try_from(self.bytes.len()).unwrap_or(0);
        let len = if held > 0 && offset == self.end() { held * 2 } else { WINDOW_BYTES_FIRST };
        (offset, offset.saturating_add(len.clamp(WINDOW_BYTES_FIRST, WINDOW_BYTES_MAX)).min(end))
    }
}

impl ObjectReader {
    fn new(copy: StoredCopy, end: u64) -> Self {
        Self { copy, end, window: Mutex::default() }
    }

    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            if window.at(offset).is_empty() {
                let (from, to) = window.next(offset, self.end);
                if from >= to {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *window = Window { from, bytes: self.fetch(from, to)? };
            }
            let held = window.at(offset);
            let len = held.len().min(bytes.len());
            let (now, later) = bytes.split_at_mut(len);
            now.copy_from_slice(held.get(..len).unwrap_or_default());
            bytes = later;
            offset += u64::try_from(len).unwrap_or(0);
        }
        Ok(())
    }

    fn fetch(&self, from: u64, to: u64) -> io::Result<Bytes> {
        let Some(bucket) = &self.copy.bucket else {
            return Err(io::Error::other("it is in a bucket, and none is configured: write \"s3\""));
        };
        let handle = Handle::try_current().map_err(io::Error::other)?;
        let read = bucket::tried(|| bucket.read(&self.copy.key, from, to), |_| ());
        handle.block_on(read).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_while_reading_goes_on_and_stop_at_the_end() {
        let window = |from, len| Window { from, bytes: Bytes::from(vec![0; len]) };
        assert_eq!(Window::default().next(0, 10 << 20), (0, 64 << 10));
        assert_eq!(window(0, 64 << 10).next(64 << 10, 10 << 20), (64 << 10, 192 << 10));
        assert_eq!(window(0, 1 << 20).next(1 << 20, 10 << 20), (1 << 20, 2 << 20), "no larger");
        assert_eq!(
            window(0, 1 << 20).next(5 << 20, 10 << 20),
            (5 << 20, (5 << 20) + (64 << 10)),
            "elsewhere"
        );
        assert_eq!(window(0, 1 << 20).next(1 << 20, (1 << 20) + 5), (1 << 20, (1 << 20) + 5));
        assert_eq!(window(10, 5).at(12).len(), 3);
        assert!(window(10, 5).at(9).is_empty() && window(10, 5).at(15).is_empty());
    }
}
