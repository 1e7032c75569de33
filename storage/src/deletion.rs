//! Deletion: one file's way out, whichever rule sends it, and the record of it that stays.
//!
//! ```text
//!  row gone and deletion noted (one transaction, unless a hold keeps the file) ─► file removed, folder synced
//!  ─► noted that it is gone
//! ```
//!
//! A crash in between is finished at the next start. The row takes the file's copy in the bucket along: a trigger leaves it
//! to be deleted (-> `upload`). A file whose copy is confirmed may leave its disk alone:
//!
//! ```text
//!  noted that it leaves (unless a hold keeps the file) ─► file removed, folder synced ─► noted that it is gone from there
//! ```
//!
//! The thumbnails beside a file go with it, right behind it.
//!
//! Invariants: a file that a hold keeps is not deleted; a file is not deleted from a disk that is not there, since what
//! stands in its place is another's and the footage would be lost from sight.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use media_core::path_name::PathName;
use media_core::time::WallTime;

use crate::catalogue::{Catalogue, CatalogueError, FileRow};
use crate::durable::remove_recording;
use crate::root::Roots;

/// Why a file was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Older than `recordDeleteAfter`.
    Age,
    /// The oldest, while `recordQuota` or `recordQuotaTotal` was exceeded.
    Quota,
    /// The oldest, while the disk was fuller than `recordDiskDelete`.
    Space,
    /// Somebody asked for it.
    Operator,
    /// Not deleted by us: the file was found gone.
    Missing,
    /// It never held anything: a power cut left it.
    Empty,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Age, Self::Quota, Self::Space, Self::Operator, Self::Missing, Self::Empty];

    /// Its name in the catalogue, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Quota => "quota",
            Self::Space => "space",
            Self::Operator => "operator",
            Self::Missing => "missing",
            Self::Empty => "empty",
        }
    }

    /// The rule of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.as_str() == name)
    }
}

/// A file that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its number; later ones are higher.
    pub id: i64,
    /// When.
    pub at: WallTime,
    /// By which rule.
    pub rule: Rule,
    /// By whom, where it was an operator.
    pub by: String,
    /// Of which path.
    pub path: PathName,
    /// The file.
    pub name: PathBuf,
    /// When its media began.
    pub start: WallTime,
    /// How long its media was.
    pub duration_us: i64,
    /// Its bytes.
    pub bytes: u64,
}

/// Which deletions are asked for: of media in a time range; both ends are open when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionFilter {
    /// Of one path.
    pub path: Option<PathName>,
    /// Media that ends after this.
    pub start: Option<WallTime>,
    /// Media that begins before this.
    pub end: Option<WallTime>,
}

/// A file without a part that the catalogue does not know.
#[derive(Clone, Debug)]
pub(crate) struct Leftover {
    /// What its name says: its path and when it begins.
    pub(crate) path: PathName,
    pub(crate) start: WallTime,
    pub(crate) name: PathBuf,
    pub(crate) bytes: u64,
}

/// Files and bytes deleted since the start, by rule.
#[derive(Debug, Default)]
pub(crate) struct DeletedCounts([(AtomicU64, AtomicU64); Rule::ALL.len()]);

impl DeletedCounts {
    pub(crate) fn add(&self, rule: Rule, bytes: u64) {
        if let Some((files, sum)) =
            Rule::ALL.iter().position(|one| *one == rule).and_then(|at| self.0.get(at))
        {
            files.fetch_add(1, Ordering::Relaxed);
            sum.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<DeletedFigures> {
        let figures = |(rule, (files, bytes)): (Rule, &(AtomicU64, AtomicU64))| DeletedFigures {
            rule,
            files: files.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
        };
        Rule::ALL.into_iter().zip(&self.0).map(figures).collect()
    }
}

/// What one rule deleted since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletedFigures {
    /// The rule.
    pub rule: Rule,
    /// How many files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Who deletes, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause<'a> {
    pub(crate) rule: Rule,
    pub(crate) by: &'a str,
    pub(crate) now: WallTime,
}

impl Cause<'static> {
    pub(crate) fn rule(rule: Rule, now: WallTime) -> Self {
        Self { rule, by: "", now }
    }
}

/// What became of a file that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is gone.
    Deleted,
    /// It stays: a hold keeps it, it is open, or its disk is not there.
    Kept,
}

/// Deletes files.
#[derive(Clone, Debug)]
pub(crate) struct Deleter {
    pub(crate) catalogue: Catalogue,
    pub(crate) roots: Roots,
    pub(crate) counts: Arc<DeletedCounts>,
}

impl Deleter {
    /// Deletes one file, unless something keeps it.
    pub(crate) async fn delete(&self, file: &FileRow, cause: Cause<'_>) -> Result<Outcome, CatalogueError> {
        if file.is_on_disk() && !self.roots.may_delete(&file.name).await {
            return Ok(Outcome::Kept);
        }
        let Some(deletion) = self.catalogue.delete(file, cause.rule, cause.by, cause.now).await? else {
            return Ok(Outcome::Kept);
        };
        let rule = cause.rule.as_str();
        tracing::info!(path = %file.path, file = %file.name.display(), rule, by = cause.by, "recording deleted");
        self.counts.add(cause.rule, file.extent.bytes);
        self.remove(deletion, &file.name).await?;
        if let Some(root) = self.roots.of(&file.name) {
            remove_empty_folders(&file.name, &root.folder).await;
        }
        Ok(Outcome::Deleted)
    }

    /// Removes what a power cut left, and notes that.
    pub(crate) async fn delete_leftover(
        &self,
        left: &Leftover,
        now: WallTime,
    ) -> Result<Outcome, CatalogueError> {
        if !self.roots.may_delete(&left.name).await {
            return Ok(Outcome::Kept);
        }
        let deletion = self.catalogue.note_leftover(left, now).await?;
        let rule = Rule::Empty.as_str();
        tracing::info!(path = %left.path, file = %left.name.display(), rule, "recording deleted");
        self.counts.add(Rule::Empty, left.bytes);
        self.remove(deletion, &left.name).await?;
        if let Some(root) = self.roots.of(&left.name) {
            remove_empty_folders(&left.name, &root.folder).await;
        }
        Ok(Outcome::Deleted)
    }

    /// Removes one file from its disk, where its copy is confirmed and nothing keeps it.
    pub(crate) async fn evict(&self, file: &FileRow) -> Result<Outcome, CatalogueError> {
        if !self.roots.may_delete(&file.name).await || !self.catalogue.begin_leaving_disk(file.id).await? {
            return Ok(Outcome::Kept);
        }
        tracing::info!(path = %file.path, file = %file.name.display(), "recording leaves its disk; its copy is in the bucket");
        self.leave_disk(file.id, &file.name).await?;
        if let Some(root) = self.roots.of(&file.name) {
            remove_empty_folders(&file.name, &root.folder).await;
        }
        Ok(Outcome::Deleted)
    }

    async fn leave_disk(&self, file: i64, name: &Path) -> Result<(), CatalogueError> {
        match remove_for_good(name).await {
            Ok(()) => self.catalogue.left_disk(file).await,
            Err(error) => {
                tracing::error!(file = %name.display(), %error, "recording can't be removed from its disk");
                Ok(())
            }
        }
    }

    /// Removes files whose rows were deleted before the server ended; those on disks that are not there wait.
    pub(crate) async fn finish(&self) -> Result<(), CatalogueError> {
        for (deletion, name) in self.catalogue.unfinished_deletions().await? {
            if self.roots.of(&name).is_none_or(|root| root.is_present()) {
                self.remove(deletion, &name).await?;
            }
        }
        for (file, name) in self.catalogue.files_leaving_disk().await? {
            if self.roots.of(&name).is_none_or(|root| root.is_present()) {
                self.leave_disk(file, &name).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, deletion: i64, name: &Path) -> Result<(), CatalogueError> {
        match remove_for_good(name).await {
            Ok(()) => self.catalogue.unlinked(deletion).await,
            Err(error) => {
                // The row stays 'not unlinked', and the next start tries again.
                tracing::error!(file = %name.display(), %error, "deleted recording can't be removed from the disk");
                Ok(())
            }
        }
    }
}

/// The next check would add what a power cut brought back to the catalogue again, and nobody would look for a file that left
/// its disk.
async fn remove_for_good(name: &Path) -> io::Result<()> {
    let owned = name.to_owned();
    match tokio::task::spawn_blocking(move || remove_recording(&owned)).await {
        Ok(removed) => removed,
        Err(panicked) => Err(io::Error::other(panicked)),
    }
}

/// Folders of years, months and days that nothing is in any more.
async fn remove_empty_folders(name: &Path, root: &Path) {
    let below = name.ancestors().skip(1).take_while(|folder| *folder != root && folder.starts_with(root));
    for folder in below {
        // Not empty, most of the time: that is the end of it.
        if tokio::fs::remove_dir(folder).await.is_err() {
            return;
        }
    }
}
