//! Retention: recordings older than their path's `recordDeleteAfter` are deleted, and every deletion is noted.
//!
//! A file goes when the last picture in it is old enough, so that nothing younger goes with it (MediaMTX goes by the
//! first). The row is deleted and the deletion noted in one transaction; then the file is removed; then that is noted.
//! A crash in between is finished at the next start.
//! Limits: [`FILES_PER_PASS_MAX`].

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use media_core::path_name::PathName;
use media_core::time::WallTime;

use crate::catalogue::{Catalogue, CatalogueError};

/// Files of one path deleted in one pass; the next pass goes on. The catalogue is free for others in between.
const FILES_PER_PASS_MAX: u32 = 100;
/// The rule's name in the table of deletions.
const RULE_AGE: &str = "recordDeleteAfter";

/// One path's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgeRule {
    /// The path.
    pub path: PathName,
    /// Media older than this goes.
    pub delete_after: Duration,
    /// The folder that is never removed itself.
    pub root: PathBuf,
}

/// Deletes what is too old.
pub(crate) async fn pass(
    catalogue: &Catalogue,
    rules: &[AgeRule],
    now: WallTime,
) -> Result<(), CatalogueError> {
    for rule in rules {
        let age_us = i64::try_from(rule.delete_after.as_micros()).unwrap_or(i64::MAX);
        let before = now.plus_us(age_us.saturating_neg());
        for file in catalogue.expired(&rule.path, before, FILES_PER_PASS_MAX).await? {
            let deletion = catalogue.delete(&rule.path, &file, RULE_AGE, now).await?;
            tracing::info!(path = %rule.path, file = %file.name.display(), rule = RULE_AGE, "recording deleted");
            remove(catalogue, deletion, &file.name).await?;
            remove_empty_folders(&file.name, &rule.root).await;
        }
    }
    Ok(())
}

/// Removes files whose rows were deleted before the server ended.
pub(crate) async fn finish(catalogue: &Catalogue) -> Result<(), CatalogueError> {
    for (deletion, name) in catalogue.unfinished_deletions().await? {
        remove(catalogue, deletion, &name).await?;
    }
    Ok(())
}

async fn remove(catalogue: &Catalogue, deletion: i64, name: &Path) -> Result<(), CatalogueError> {
    match tokio::fs::remove_file(name).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            // The row stays 'not unlinked', and the next start tries again.
            tracing::error!(file = %name.display(), %error, "deleted recording can't be removed from the disk");
            Ok(())
        }
        _ => catalogue.unlinked(deletion).await,
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
