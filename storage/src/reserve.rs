//! Reserve: room for the catalogue on a disk that is full.
//!
//! A deletion is noted before it is done, so a catalogue that shares a full disk with recordings could note none and nothing
//! would ever go. A file of [`RESERVE_BYTES`] beside the catalogue is given back then, and made again once there is room.
//! What the catalogue itself needs is small: its log is written over again and again.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Enough for some hundred deletions and what the log grows by meanwhile.
const RESERVE_BYTES: usize = 4 << 20;
/// Written at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The file beside the catalogue.
#[derive(Clone, Debug)]
pub(crate) struct Reserve {
    name: PathBuf,
}

impl Reserve {
    /// Of a catalogue's database file; without its name there is none.
    pub(crate) fn beside(database: PathBuf) -> Option<Self> {
        let mut name = database.file_name()?.to_owned();
        name.push(".reserve");
        Some(Self { name: database.with_file_name(name) })
    }

    /// Makes it, unless it is there. Blocks.
    pub(crate) fn make(&self) -> io::Result<()> {
        if self.name.metadata().is_ok_and(|file| file.len() == u64::try_from(RESERVE_BYTES).unwrap_or(0)) {
            return Ok(());
        }
        let made = self.write();
        if made.is_err() {
            // Half a reserve is taken from what others need now.
            self.give_back()?;
        }
        made
    }

    /// Written and not only asked for, since a file of holes reserves nothing.
    fn write(&self) -> io::Result<()> {
        let mut file = File::create(&self.name)?;
        for _ in 0..RESERVE_BYTES / CHUNK_BYTES {
            file.write_all(&[0; CHUNK_BYTES])?;
        }
        file.sync_all()
    }

    /// Gives its room back; whether there was any.
    pub(crate) fn give_back(&self) -> io::Result<bool> {
        match std::fs::remove_file(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        }
    }
}
