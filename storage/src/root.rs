//! Root: a folder of recordings: whether the disk below it is the one that belongs there, and how full that is.
//!
//! ```text
//!            identity known and found               fuller than recordDiskStop
//!  Absent ───────────────────────────► Usable ◄──────────────────────────────► Full
//!     ▲      (open files repaired)        │                                     │
//!     └───────────────────────────────────┴── identity missing or another's ────┘
//! ```
//!
//! `{root}/.gtvision/disk` holds an identity that the catalogue remembers. A mount that vanished leaves an empty folder on
//! the system's disk behind: without the identity nothing is written there, nothing is deleted and no file is taken for lost.
//! The folder's own threads look once a second, so that a disk that hangs holds up nobody else; who opens a file looks
//! once more.
//!
//! Belongs here: looking. Does not: what follows (-> `keeper`).

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::durable::{make_folders, sync_folder};
use crate::levels::Space;

/// More than an identity file has.
const IDENTITY_BYTES_MAX: usize = 1024;

/// Whether recordings are written below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// The disk that belongs there is not there.
    Absent = 0,
    /// They are.
    Usable = 1,
    /// The disk is too full.
    Full = 2,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Absent, Self::Usable, Self::Full];

    /// Its name in the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Usable => "usable",
            Self::Full => "full",
        }
    }
}

/// What was seen of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) identity: Option<String>,
    pub(crate) space: Option<Space>,
    /// The file system: folders on the same one fill up together.
    pub(crate) device: Option<u64>,
}

/// One folder of recordings.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) folder: PathBuf,
    condition: AtomicU8,
    /// Rises whenever the folder stops being usable: a file that was opened before is not written any more.
    epoch: AtomicU64,
    /// The identity that belongs here.
    known: Mutex<Option<String>>,
    look: Mutex<Look>,
}

impl Root {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            condition: AtomicU8::new(Condition::Absent as u8),
            epoch: AtomicU64::new(0),
            known: Mutex::default(),
            look: Mutex::default(),
        }
    }

    /// Looks at the folder, and stops its use at once where another disk is there. Blocks.
    pub(crate) fn look(&self) -> Look {
        let look = Look {
            identity: identity(&self.folder),
            space: space(&self.folder),
            device: std::fs::metadata(&self.folder).ok().map(|metadata| metadata.dev()),
        };
        lock(&self.look).clone_from(&look);
        if !self.is_ours(look.identity.as_deref()) {
            self.set_condition(Condition::Absent);
        }
        look
    }

    /// What was seen last.
    pub(crate) fn last_look(&self) -> Look {
        lock(&self.look).clone()
    }

    /// The identity that belongs here.
    pub(crate) fn known(&self) -> Option<String> {
        lock(&self.known).clone()
    }

    pub(crate) fn set_known(&self, id: String) {
        *lock(&self.known) = Some(id);
    }

    fn is_ours(&self, found: Option<&str>) -> bool {
        let known = lock(&self.known);
        known.is_some() && known.as_deref() == found
    }

    /// Whether the disk that belongs here was there at the last look.
    pub(crate) fn is_found(&self) -> bool {
        self.is_ours(lock(&self.look).identity.as_deref())
    }

    pub(crate) fn condition(&self) -> Condition {
        let value = self.condition.load(Ordering::Acquire);
        Condition::ALL.into_iter().find(|one| *one as u8 == value).unwrap_or(Condition::Absent)
    }

    pub(crate) fn set_condition(&self, condition: Condition) {
        let before = self.condition.swap(condition as u8, Ordering::AcqRel);
        if before == Condition::Usable as u8 && condition != Condition::Usable {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether the disk is there, full or not.
    pub(crate) fn is_present(&self) -> bool {
        self.condition() != Condition::Absent
    }

    /// The epoch in which a file may be opened now; looks at the disk. Blocks.
    pub(crate) fn admit(&self) -> io::Result<u64> {
        // Before the look, so that what happens meanwhile counts.
        let epoch = self.epoch.load(Ordering::Acquire);
        match self.condition() {
            Condition::Usable if self.is_ours(identity(&self.folder).as_deref()) => Ok(epoch),
            Condition::Full => Err(io::ErrorKind::StorageFull.into()),
            Condition::Usable | Condition::Absent => Err(io::Error::other("its disk is not there")),
        }
    }

    /// Whether a file of an epoch may still be written.
    pub(crate) fn admits(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) == epoch
    }
}

/// All folders of recordings. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Arc<[Arc<Root>]>);

impl Roots {
    pub(crate) fn new(folders: Vec<PathBuf>) -> Self {
        Self(folders.into_iter().map(|folder| Arc::new(Root::new(folder))).collect())
    }

    /// These and the folders that are not among them yet.
    pub(crate) fn with(&self, folders: Vec<PathBuf>) -> Self {
        let new = folders.into_iter().filter(|folder| self.iter().all(|root| root.folder != *folder));
        let new: Vec<_> = new.map(|folder| Arc::new(Root::new(folder))).collect();
        Self(self.0.iter().map(Arc::clone).chain(new).collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Root>> {
        self.0.iter()
    }

    /// The folder that a file is in: the longest, where one lies in another.
    pub(crate) fn of(&self, name: &Path) -> Option<&Arc<Root>> {
        let around = self.0.iter().filter(|root| name.starts_with(&root.folder));
        around.max_by_key(|root| root.folder.as_os_str().len())
    }

    /// Whether a file may be deleted: its disk is there. Of a folder that is configured no more nothing is known but
    /// whether the file is there.
    pub(crate) async fn may_delete(&self, name: &Path) -> bool {
        match self.of(name) {
            Some(root) => root.is_present(),
            None => tokio::fs::try_exists(name).await.unwrap_or(false),
        }
    }
}

fn file_of(folder: &Path) -> PathBuf {
    folder.join(".gtvision/disk")
}

/// What the identity file says: its first line.
fn identity(folder: &Path) -> Option<String> {
    let bytes = std::fs::read(file_of(folder)).ok()?;
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(IDENTITY_BYTES_MAX))?).ok()?;
    let first = text.lines().next()?.trim();
    (!first.is_empty()).then(|| first.to_owned())
}

/// Makes a folder's identity. Blocks.
pub(crate) fn make_identity(folder: &Path, created: &str) -> io::Result<String> {
    let id = uuid::Uuid::new_v4().to_string();
    let file = file_of(folder);
    let parent = folder.join(".gtvision");
    make_folders(&parent)?;
    let new = parent.join("disk.new");
    let mut out = File::create(&new)?;
    out.write_all(format!("{id}\ncreated {created}\n").as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, &file)?;
    sync_folder(&parent)?;
    Ok(id)
}

fn space(folder: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
    let available = stat.f_bavail.saturating_mul(stat.f_frsize);
    Some(Space { total_bytes: used.saturating_add(available), used_bytes: used })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_its_disk_is_not_written_and_files_opened_before_end() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, away) = (dir.path().join("disk"), dir.path().join("away"));
        std::fs::create_dir(&folder).unwrap();
        let root = Root::new(folder.clone());
        assert!(root.admit().is_err(), "nothing is known of it");
        root.set_known(make_identity(&folder, "now").unwrap());
        root.look();
        root.set_condition(Condition::Usable);
        let epoch = root.admit().unwrap();
        assert!(root.admits(epoch));
        std::fs::rename(&folder, &away).unwrap();
        std::fs::create_dir(&folder).unwrap();
        assert!(root.admit().is_err(), "an empty folder stands in its place");
        root.look();
        assert_eq!((root.condition(), root.admits(epoch)), (Condition::Absent, false));
        make_identity(&folder, "now").unwrap();
        root.look();
        assert!(!root.is_found(), "another disk");
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::rename(&away, &folder).unwrap();
        root.look();
        assert!(root.is_found());
    }
}
