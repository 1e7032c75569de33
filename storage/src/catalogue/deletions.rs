//! Deletions: which files may go, and what was deleted by which rule.
//!
//! Every query for files that may go leaves out those that a hold keeps, and [`Catalogue::delete`] looks once more in its
//! own transaction: a hold placed in between wins.

use std::path::{Path, PathBuf};

use media_core::path_name::PathName;
use media_core::time::WallTime;

use super::database::{Query, Row, query};
use super::read::{file_query, file_row};
use super::{Catalogue, CatalogueError, FileRow, signed, unsigned};
use crate::deletion::{Deletion, DeletionFilter, Leftover, Rule};
use crate::paging::{Paged, Paging};

/// A file that is whole and that no hold keeps.
macro_rules! deletable {
    ($rest:literal) => {
        file_query!(
            "WHERE state = 'closed' AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.path = files.path \
             AND released_us IS NULL AND holds.start_us < files.start_us + files.duration_us \
             AND holds.end_us > files.start_us) AND ",
            $rest
        )
    };
}

impl Catalogue {
    /// Files of a path that may go and whose media is older than `before`, the oldest first.
    pub(crate) async fn expired(
        &self,
        path: &PathName,
        before: WallTime,
        limit: u32,
    ) -> Result<Vec<FileRow>, CatalogueError> {
        let rows = query(deletable!(
            "path = $1 AND start_us < $2 AND start_us + duration_us < $3 ORDER BY start_us LIMIT $4"
        ))
        .bind(path.as_str())
        .bind(before.unix_us())
        .bind(before.unix_us())
        .bind(i64::from(limit))
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(file_row).collect()
    }

    /// The oldest files of a path that may go.
    pub(crate) async fn oldest_of(
        &self,
        path: &PathName,
        limit: u32,
    ) -> Result<Vec<FileRow>, CatalogueError> {
        let rows = query(deletable!("path = $1 ORDER BY start_us LIMIT $2"))
            .bind(path.as_str())
            .bind(i64::from(limit))
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(file_row).collect()
    }

    /// The oldest files below a folder that may go and are on its disk, of all paths.
    pub(crate) async fn oldest_below(&self, root: &Path, limit: u32) -> Result<Vec<FileRow>, CatalogueError> {
        let (from, until) = below(root);
        let rows = query(deletable!(
            "name >= $1 AND name < $2 AND COALESCE(local_state, 'there') = 'there' ORDER BY start_us LIMIT $3"
        ))
        .bind(from)
        .bind(until)
        .bind(i64::from(limit))
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(file_row).collect()
    }

    /// The oldest files that may go and are in the bucket only, of all paths.
    pub(crate) async fn oldest_in_bucket(&self, limit: u32) -> Result<Vec<FileRow>, CatalogueError> {
        let rows = query(deletable!("local_state <> 'there' ORDER BY start_us LIMIT $1"))
            .bind(i64::from(limit))
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(file_row).collect()
    }

    /// The file of a path that begins at a time.
    pub(crate) async fn file_at(
        &self,
        path: &PathName,
        start: WallTime,
    ) -> Result<Option<FileRow>, CatalogueError> {
        let row = query(file_query!("WHERE path = $1 AND start_us = $2"))
            .bind(path.as_str())
            .bind(start.unix_us())
            .fetch_optional(&self.database)
            .await?;
        row.as_ref().map(file_row).transpose()
    }

    /// Deletes a file's row and notes by which rule, unless it is open or held; the file itself is still there. The
    /// deletion's number comes back.
    pub(crate) async fn delete(
        &self,
        file: &FileRow,
        rule: Rule,
        by: &str,
        now: WallTime,
    ) -> Result<Option<i64>, CatalogueError> {
        let mut writing = self.database.write().await?;
        // Nobody else writes meanwhile: nothing can change between the look for holds and the commit.
        let gone = query(
            "DELETE FROM files WHERE id = $1 AND name = $2 AND state = 'closed' AND NOT EXISTS (SELECT 1 FROM holds \
             WHERE holds.path = files.path AND released_us IS NULL \
             AND holds.start_us < files.start_us + files.duration_us AND holds.end_us > files.start_us)",
        )
        .bind(file.id)
        // The number of a row that is gone may be another's by now.
        .bind(file.name.to_string_lossy())
        .execute(&mut writing)
        .await?;
        if gone == 0 {
            return Ok(None);
        }
        let noted = note(file.into(), rule, by, now).returning(&mut writing).await?;
        writing.commit().await?;
        Ok(Some(noted.try_get(0)?))
    }

    /// Takes out the row of a file that is not there any more and notes that; held or not, there is nothing to keep.
    pub(crate) async fn note_missing(&self, file: &FileRow, now: WallTime) -> Result<(), CatalogueError> {
        let mut writing = self.database.write().await?;
        query("DELETE FROM files WHERE id = $1").bind(file.id).execute(&mut writing).await?;
        let noted = note(file.into(), Rule::Missing, "", now).returning(&mut writing).await?;
        let id: i64 = noted.try_get(0)?;
        query("UPDATE deletions SET unlinked = 1 WHERE id = $1").bind(id).execute(&mut writing).await?;
        writing.commit().await?;
        Ok(())
    }

    /// Notes that what a power cut left is about to go; the deletion's number comes back.
    pub(crate) async fn note_leftover(&self, left: &Leftover, now: WallTime) -> Result<i64, CatalogueError> {
        let mut writing = self.database.write().await?;
        let gone =
            Gone { path: &left.path, name: &left.name, start: left.start, duration_us: 0, bytes: left.bytes };
        let noted = note(gone, Rule::Empty, "", now).returning(&mut writing).await?;
        writing.commit().await?;
        Ok(noted.try_get(0)?)
    }

    /// Notes that a deleted file is gone from the disk.
    pub(crate) async fn unlinked(&self, deletion: i64) -> Result<(), CatalogueError> {
        query("UPDATE deletions SET unlinked = 1 WHERE id = $1")
            .bind(deletion)
            .commit(&self.database)
            .await?;
        Ok(())
    }

    /// Deleted files that may still be on the disk: the server ended between the row and the file.
    pub(crate) async fn unfinished_deletions(&self) -> Result<Vec<(i64, PathBuf)>, CatalogueError> {
        let rows =
            query("SELECT id, name FROM deletions WHERE unlinked = 0").fetch_all(&self.database).await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get(1)?;
                Ok((row.try_get(0)?, PathBuf::from(name)))
            })
            .collect()
    }

    /// Deletions of media in a time range, the newest deletion first.
    pub(crate) async fn deletions(
        &self,
        filter: &DeletionFilter,
        paging: Paging,
    ) -> Result<Paged<Deletion>, CatalogueError> {
        let path = filter.path.as_ref().map(PathName::as_str);
        let from = filter.start.map_or(i64::MIN, WallTime::unix_us);
        let until = filter.end.map_or(i64::MAX, WallTime::unix_us);
        let total = query(
            "SELECT COUNT(*) FROM deletions WHERE ($1 IS NULL OR path = $1) AND start_us < $3 \
             AND start_us + duration_us > $2",
        )
        .bind(path)
        .bind(from)
        .bind(until)
        .fetch_one(&self.database)
        .await?;
        let rows = query(
            "SELECT id, at_us, rule, by, path, name, start_us, duration_us, bytes FROM deletions \
             WHERE ($1 IS NULL OR path = $1) AND start_us < $3 AND start_us + duration_us > $2 \
             ORDER BY id DESC LIMIT $4 OFFSET $5",
        )
        .bind(path)
        .bind(from)
        .bind(until)
        .bind(paging.limit())
        .bind(paging.offset())
        .fetch_all(&self.database)
        .await?;
        let items = rows.iter().map(deletion).collect::<Result<_, _>>()?;
        Ok(Paged { total: unsigned(total.try_get(0)?), items })
    }
}

/// What a deletion tells of its file.
#[derive(Clone, Copy)]
struct Gone<'a> {
    path: &'a PathName,
    name: &'a Path,
    start: WallTime,
    duration_us: i64,
    bytes: u64,
}

impl<'a> From<&'a FileRow> for Gone<'a> {
    fn from(file: &'a FileRow) -> Self {
        let FileRow { path, name, start, duration_us, extent, .. } = file;
        Self { path, name, start: *start, duration_us: *duration_us, bytes: extent.bytes }
    }
}

/// The statement that notes a deletion.
fn note(file: Gone<'_>, rule: Rule, by: &str, now: WallTime) -> Query {
    query(
        "INSERT INTO deletions (at_us, rule, by, path, name, start_us, duration_us, bytes, unlinked) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0) RETURNING id",
    )
    .bind(now.unix_us())
    .bind(rule.as_str())
    .bind(by)
    .bind(file.path.as_str())
    .bind(file.name.to_string_lossy())
    .bind(file.start.unix_us())
    .bind(file.duration_us)
    .bind(signed(file.bytes))
}

/// The names of all files below a folder lie between these two: `0` comes after `/`.
pub(super) fn below(root: &Path) -> (String, String) {
    let root = root.to_string_lossy();
    let root = root.trim_end_matches('/');
    (format!("{root}/"), format!("{root}0"))
}

fn deletion(row: &Row) -> Result<Deletion, CatalogueError> {
    let name: String = row.try_get(5)?;
    let wrong = |what| CatalogueError::Row { name: name.clone(), what };
    let rule: String = row.try_get(2)?;
    let path: String = row.try_get(4)?;
    Ok(Deletion {
        id: row.try_get(0)?,
        at: WallTime(row.try_get(1)?),
        rule: Rule::parse(&rule).ok_or_else(|| wrong("rule"))?,
        by: row.try_get(3)?,
        path: PathName::parse(&path).map_err(|_| wrong("path"))?,
        start: WallTime(row.try_get(6)?),
        duration_us: row.try_get(7)?,
        bytes: unsigned(row.try_get(8)?),
        name: PathBuf::from(name),
    })
}
