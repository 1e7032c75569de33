//! Disk log: what a program did to its files, and which disks a power cut may leave of that.
//!
//! Sure are only bytes whose file was synced and names whose folder was, by a sync that began after them and ended well; after
//! one that failed the system may have let go what it could not write, so that no later one makes it sure. Of the rest a
//! [`Fate`] says what is there. Names that were not synced come to the disk in their order, as ext4, XFS and btrfs
//! keep them in their journals, or not at all.
//!
//! Left out: bits that rot, and disks that lie about syncs.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, Bytes};

/// `struct head` of peers/shim.c.
const HEAD_BYTES: usize = 32;
/// `O_CREAT` and `O_TRUNC` of Linux.
const CREATES: u64 = 0o100;
const TRUNCATES: u64 = 0o1000;

/// What was done.
#[derive(Debug, Clone)]
pub enum Operation {
    /// A name was opened, made where it was not there.
    Open {
        /// Names the open file in what follows.
        slot: u32,
        /// As open(2) takes them.
        flags: u64,
        /// Absolute.
        name: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The open file.
        slot: u32,
        /// Where.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// A file got another length.
    Truncate {
        /// The open file.
        slot: u32,
        /// The length.
        length: u64,
    },
    /// A sync began.
    SyncBegin {
        /// The open file or folder.
        slot: u32,
        /// Its number.
        number: u64,
    },
    /// It ended well.
    SyncEnd(u64),
    /// It failed.
    SyncFailed(u64),
    /// A name became another.
    Rename(PathBuf, PathBuf),
    /// A name was removed: a file's, a link's or a folder's.
    Remove(PathBuf),
    /// A folder was made.
    MakeFolder(PathBuf),
    /// A symbolic link was made.
    Link {
        /// What it says.
        target: PathBuf,
        /// Its name.
        name: PathBuf,
    },
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Wall clock, microseconds since 1970.
    pub at_us: i64,
    /// What was done.
    pub operation: Operation,
}

/// All, in their order.
#[derive(Debug)]
pub struct DiskLog {
    /// Since the program's start.
    pub entries: Vec<Entry>,
}

/// What becomes of what is not sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All of it is.
    Kept,
    /// All, but half of the last write to each file.
    Torn,
    /// The names up to some moment; each write is there, or half of it, or its length with zeros, or not at all.
    Scattered {
        /// Chooses.
        seed: u64,
    },
}

/// A file as it was written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    changes: Vec<(usize, Change)>,
    /// Entries of changes that a sync failed on.
    doubtful: std::ops::Range<usize>,
    /// Changes before this entry are sure, but for doubtful ones.
    synced: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Bytes),
    Truncate(u64),
}

#[derive(Debug, Clone)]
enum Node {
    File(usize),
    Folder,
    Link(PathBuf),
}

#[derive(Debug, Clone)]
enum NameChange {
    Make(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn name(&self) -> &Path {
        let (Self::Make(name, _) | Self::Remove(name) | Self::Rename(_, name)) = self;
        name
    }
}

impl DiskLog {
    /// Reads what the shim wrote.
    ///
    /// # Errors
    /// When it is torn or holds what the shim does not write.
    pub fn parse(mut log: Bytes) -> anyhow::Result<Self> {
        let mut entries = Vec::new();
        while !log.is_empty() {
            ensure!(log.len() >= HEAD_BYTES, "torn log");
            let (kind, slot) = (log.get_u32_le(), log.get_u32_le());
            let (name_bytes, data_bytes) = (log.get_u32_le(), log.get_u32_le());
            let (offset, at_us) = (log.get_u64_le(), log.get_i64_le());
            let (name_bytes, data_bytes) = (usize::try_from(name_bytes)?, usize::try_from(data_bytes)?);
            ensure!(log.len() >= name_bytes + data_bytes, "torn log");
            let name = String::from_utf8(log.split_to(name_bytes).to_vec())?;
            let bytes = log.split_to(data_bytes);
            let two = || -> anyhow::Result<(PathBuf, PathBuf)> {
                let (one, two) = name.split_once('\0').context("two names")?;
                Ok((one.into(), two.into()))
            };
            let operation = match kind {
                1 => Operation::Open { slot, flags: offset, name: name.into() },
                2 => Operation::Write { slot, offset, bytes },
                3 => Operation::Truncate { slot, length: offset },
                4 => Operation::SyncBegin { slot, number: offset },
                5 => Operation::SyncEnd(offset),
                6 => two().map(|(from, to)| Operation::Rename(from, to))?,
                7 => Operation::Remove(name.into()),
                8 => Operation::MakeFolder(name.into()),
                9 => two().map(|(target, name)| Operation::Link { target, name })?,
                10 => Operation::SyncFailed(offset),
                _ => bail!("entry of kind {kind}"),
            };
            entries.push(Entry { at_us, operation });
        }
        Ok(Self { entries })
    }

    /// What was done before an entry.
    #[must_use]
    pub fn until(&self, cut: usize) -> Past {
        let mut past = Past { end: cut, ..Past::default() };
        for (index, entry) in self.entries.iter().take(cut).enumerate() {
            past.add(index, &entry.operation);
        }
        past
    }
}

/// What was done up to a moment.
#[derive(Debug, Default)]
pub struct Past {
    end: usize,
    names: BTreeMap<PathBuf, Node>,
    files: Vec<Written>,
    name_changes: Vec<(usize, NameChange)>,
    /// Name changes in a folder before this entry are sure.
    folders_synced: HashMap<PathBuf, usize>,
    slots: HashMap<u32, (PathBuf, Option<usize>)>,
    syncs: HashMap<u64, (usize, u32)>,
}

impl Past {
    fn add(&mut self, index: usize, operation: &Operation) {
        match operation {
            Operation::Open { slot, flags, name } => {
                let known = self.names.get(name).cloned();
                let file = match known {
                    Some(Node::File(file)) => Some(file),
                    None if flags & CREATES != 0 => {
                        self.files.push(Written::default());
                        let file = self.files.len() - 1;
                        self.change(index, NameChange::Make(name.clone(), Node::File(file)));
                        Some(file)
                    }
                    _ => None,
                };
                if let Some(file) = file.filter(|_| flags & TRUNCATES != 0) {
                    self.files[file].changes.push((index, Change::Truncate(0)));
                }
                self.slots.insert(*slot, (name.clone(), file));
            }
            Operation::Write { slot, offset, bytes } => {
                self.change_file(*slot, index, Change::Write(*offset, bytes.clone()));
            }
            Operation::Truncate { slot, length } => self.change_file(*slot, index, Change::Truncate(*length)),
            Operation::SyncBegin { slot, number } => {
                self.syncs.insert(*number, (index, *slot));
            }
            Operation::SyncEnd(number) => self.synced(*number),
            Operation::SyncFailed(number) => {
                if let Some((begin, slot)) = self.syncs.remove(number)
                    && let Some((_, Some(file))) = self.slots.get(&slot)
                {
                    let written = &mut self.files[*file];
                    written.doubtful = written.synced..begin;
                }
            }
            Operation::Rename(from, to) => {
                self.change(index, NameChange::Rename(from.clone(), to.clone()));
            }
            Operation::Remove(name) => self.change(index, NameChange::Remove(name.clone())),
            Operation::MakeFolder(name) => {
                self.change(index, NameChange::Make(name.clone(), Node::Folder));
            }
            Operation::Link { target, name } => {
                self.change(index, NameChange::Make(name.clone(), Node::Link(target.clone())));
            }
        }
    }

    fn change(&mut self, index: usize, change: NameChange) {
        apply(&mut self.names, &change);
        self.name_changes.push((index, change));
    }

    fn change_file(&mut self, slot: u32, index: usize, change: Change) {
        if let Some((_, Some(file))) = self.slots.get(&slot) {
            self.files[*file].changes.push((index, change));
        }
    }

    fn synced(&mut self, number: u64) {
        let Some((begin, slot)) = self.syncs.remove(&number) else { return };
        match self.slots.get(&slot) {
            Some((_, Some(file))) => self.files[*file].synced = self.files[*file].synced.max(begin),
            Some((folder, None)) => {
                let synced = self.folders_synced.entry(folder.clone()).or_default();
                *synced = (*synced).max(begin);
            }
            None => {}
        }
    }

    /// The files below a folder as they were written, by their names.
    pub fn files_below(&self, folder: &Path) -> impl Iterator<Item = (&Path, &Written)> {
        let below = self.names.iter().filter(move |(name, _)| name.starts_with(folder));
        below.filter_map(|(name, node)| match node {
            Node::File(file) => Some((name.as_path(), &self.files[*file])),
            Node::Folder | Node::Link(_) => None,
        })
    }

    fn is_sure(&self, index: usize, change: &NameChange) -> bool {
        let folder = change.name().parent().and_then(|folder| self.folders_synced.get(folder));
        folder.is_some_and(|synced| index < *synced)
    }

    /// Makes the folder `disk` what the power left of it.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn leave(&self, fate: Fate, disk: &Path) -> anyhow::Result<()> {
        let sure = |(index, change): &&(usize, NameChange)| self.is_sure(*index, change);
        let journal = match fate {
            Fate::Lost => 0,
            Fate::Kept | Fate::Torn => self.end,
            Fate::Scattered { seed } => {
                let least = self.name_changes.iter().filter(sure).map(|(index, _)| *index).max();
                let least = least.unwrap_or(0);
                least + usize::try_from(mixed(seed, 0))? % (self.end - least + 1)
            }
        };
        let mut names = BTreeMap::new();
        for (index, change) in &self.name_changes {
            if *index < journal || self.is_sure(*index, change) {
                apply(&mut names, change);
            }
        }
        std::fs::remove_dir_all(disk)?;
        std::fs::create_dir(disk)?;
        // In the order of their names, so that a folder comes before what is in it.
        for (name, node) in &names {
            // What lies in a folder that is not there can't be reached.
            if !name.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Folder => std::fs::create_dir(name)?,
                Node::Link(target) => std::os::unix::fs::symlink(target, name)?,
                Node::File(file) => std::fs::write(name, self.files[*file].left(fate))?,
            }
        }
        Ok(())
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &NameChange) {
    match change {
        NameChange::Make(name, node) => {
            names.insert(name.clone(), node.clone());
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Written {
    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.left(Fate::Kept)
    }

    /// Each write: which entry it was, where it began, and its bytes.
    pub fn writes(&self) -> impl Iterator<Item = (usize, u64, &Bytes)> {
        self.changes.iter().filter_map(|(index, change)| match change {
            Change::Write(offset, bytes) => Some((*index, *offset, bytes)),
            Change::Truncate(_) => None,
        })
    }

    fn left(&self, fate: Fate) -> Vec<u8> {
        let mut content = Vec::new();
        let last = self.changes.last().map(|(index, _)| *index);
        for (index, change) in &self.changes {
            let is_sure = *index < self.synced && !self.doubtful.contains(index);
            let share = match fate {
                _ if is_sure => Share::Whole,
                Fate::Kept => Share::Whole,
                Fate::Torn if last != Some(*index) => Share::Whole,
                Fate::Torn => Share::Half,
                Fate::Lost => Share::None,
                Fate::Scattered { seed } => match mixed(seed, *index) % 4 {
                    0 => Share::None,
                    1 => Share::Half,
                    2 => Share::Length,
                    _ => Share::Whole,
                },
            };
            change.apply(share, &mut content);
        }
        content
    }
}

/// How much of a change is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    None,
    Half,
    /// The file is as long as it makes it, without its bytes.
    Length,
    Whole,
}

impl Change {
    fn apply(&self, share: Share, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) if share == Share::Whole => {
                content.resize(usize::try_from(*length).unwrap_or(0), 0);
            }
            Self::Write(offset, bytes) if share != Share::None => {
                let offset = usize::try_from(*offset).unwrap_or(0);
                let length = if share == Share::Half { bytes.len() / 2 } else { bytes.len() };
                content.resize(content.len().max(offset + length), 0);
                if share != Share::Length {
                    content[offset..offset + length].copy_from_slice(&bytes[..length]);
                }
            }
            Self::Truncate(_) | Self::Write(..) => {}
        }
    }
}

/// A number that looks random of a seed and a place (splitmix64).
#[must_use]
pub fn mixed(seed: u64, place: usize) -> u64 {
    let place = u64::try_from(place).unwrap_or(0);
    let mut value = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(operations: Vec<Operation>) -> DiskLog {
        let entries = operations.into_iter().map(|operation| Entry { at_us: 0, operation }).collect();
        DiskLog { entries }
    }

    fn write(offset: u64, bytes: &'static [u8]) -> Operation {
        Operation::Write { slot: 1, offset, bytes: Bytes::from_static(bytes) }
    }

    /// A file in a folder: bytes synced, then the folder, then bytes that are not.
    fn log(disk: &Path) -> DiskLog {
        entries(vec![
            Operation::Open { slot: 1, flags: CREATES, name: disk.join("file") },
            write(0, b"abcd"),
            Operation::SyncBegin { slot: 1, number: 1 },
            write(4, b"efgh"),
            Operation::SyncEnd(1),
            Operation::Open { slot: 2, flags: 0, name: disk.to_owned() },
            Operation::SyncBegin { slot: 2, number: 2 },
            Operation::SyncEnd(2),
        ])
    }

    #[test]
    fn only_what_was_synced_is_sure() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let log = log(&disk);
        let left = |cut: usize, fate: Fate| -> Option<Vec<u8>> {
            log.until(cut).leave(fate, &disk).unwrap();
            std::fs::read(disk.join("file")).ok()
        };
        assert_eq!(left(7, Fate::Lost), None, "the folder's sync has not ended");
        // What was written while the sync ran is not sure.
        assert_eq!(left(8, Fate::Lost).as_deref(), Some(&b"abcd"[..]));
        assert_eq!(left(8, Fate::Torn).as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(left(8, Fate::Kept).as_deref(), Some(&b"abcdefgh"[..]));
        for seed in 0..20 {
            let found = left(8, Fate::Scattered { seed }).unwrap();
            assert!(found.starts_with(b"abcd"), "{found:?}");
        }
    }

    #[test]
    fn what_a_sync_failed_on_is_not_made_sure_by_a_later_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path());
        log.entries.extend(
            entries(vec![
                Operation::SyncBegin { slot: 1, number: 3 },
                Operation::SyncFailed(3),
                write(8, b"ijkl"),
                Operation::SyncBegin { slot: 1, number: 4 },
                Operation::SyncEnd(4),
            ])
            .entries,
        );
        log.until(13).leave(Fate::Lost, dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"abcd\0\0\0\0ijkl");
    }
}
