//! Roots: which disk is known at which folder, what lies below it, and what operators turned off.

use std::path::{Path, PathBuf};

use media_core::path_name::PathName;
use media_core::time::WallTime;

use super::database::query;
use super::deletions::below;
use super::read::{file_query, file_row};
use super::{Catalogue, CatalogueError, FileRow, unsigned};

/// A path's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathUsage {
    pub(crate) path: PathName,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Catalogue {
    /// The disk that is known at a folder.
    pub(crate) async fn known_disk(&self, root: &Path) -> Result<Option<String>, CatalogueError> {
        let row = query("SELECT id FROM roots WHERE root = $1")
            .bind(root.to_string_lossy())
            .fetch_optional(&self.database)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Remembers the disk of a folder.
    pub(crate) async fn remember_disk(
        &self,
        root: &Path,
        id: &str,
        now: WallTime,
    ) -> Result<(), CatalogueError> {
        query("INSERT INTO roots (root, id, since_us) VALUES ($1, $2, $3)")
            .bind(root.to_string_lossy())
            .bind(id)
            .bind(now.unix_us())
            .commit(&self.database)
            .await?;
        Ok(())
    }

    /// As if a folder's disk had never been known: a catalogue of before there were identities.
    #[cfg(test)]
    pub(crate) async fn forget_disk(&self, root: &Path) -> Result<(), CatalogueError> {
        query("DELETE FROM roots WHERE root = $1")
            .bind(root.to_string_lossy())
            .commit(&self.database)
            .await?;
        Ok(())
    }

    /// The newest files below a folder that are on its disk.
    pub(crate) async fn newest_below(&self, root: &Path, limit: u32) -> Result<Vec<PathBuf>, CatalogueError> {
        let (from, until) = below(root);
        let rows = query(
            "SELECT name FROM files LEFT JOIN objects ON object_file = id WHERE name >= $1 AND name < $2 \
                 AND COALESCE(local_state, 'there') = 'there' ORDER BY start_us DESC LIMIT $3",
        )
        .bind(from)
        .bind(until)
        .bind(i64::from(limit))
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(|row| Ok(PathBuf::from(row.try_get::<String>(0)?))).collect()
    }

    /// All files in the order of their rows, a few at a time: those after the row `after`.
    pub(crate) async fn files_after(&self, after: i64, limit: u32) -> Result<Vec<FileRow>, CatalogueError> {
        let rows = query(file_query!("WHERE id > $1 ORDER BY id LIMIT $2"))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(file_row).collect()
    }

    /// Whether a file of this name is being deleted.
    pub(crate) async fn is_being_deleted(&self, name: &str) -> Result<bool, CatalogueError> {
        let row = query("SELECT 1 FROM deletions WHERE unlinked = 0 AND name = $1")
            .bind(name)
            .fetch_optional(&self.database)
            .await?;
        Ok(row.is_some())
    }

    /// What each path's files come to.
    pub(crate) async fn usage(&self) -> Result<Vec<PathUsage>, CatalogueError> {
        let rows =
            query("SELECT path, files, bytes FROM usage ORDER BY path").fetch_all(&self.database).await?;
        rows.iter()
            .map(|row| {
                let path = path_of(row.try_get(0)?)?;
                Ok(PathUsage { path, files: unsigned(row.try_get(1)?), bytes: unsigned(row.try_get(2)?) })
            })
            .collect()
    }

    /// What the files below a folder come to that are on its disk.
    pub(crate) async fn bytes_below(&self, root: &Path) -> Result<u64, CatalogueError> {
        let kept = query("SELECT bytes FROM root_sums WHERE root = $1")
            .bind(root.to_string_lossy())
            .fetch_optional(&self.database)
            .await?;
        if let Some(row) = kept {
            return Ok(unsigned(row.try_get(0)?));
        }
        // A folder that was never taken into use, and so has no sum.
        let (from, until) = below(root);
        let row = query(
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM files LEFT JOIN objects ON object_file = id \
             WHERE name >= $1 AND name < $2 AND COALESCE(local_state, 'there') = 'there'",
        )
        .bind(from)
        .bind(until)
        .fetch_one(&self.database)
        .await?;
        Ok(unsigned(row.try_get(0)?))
    }

    /// The times at which a path's files begin, the oldest first.
    pub(crate) async fn starts(&self, path: &PathName) -> Result<Vec<WallTime>, CatalogueError> {
        let rows = query("SELECT start_us FROM files WHERE path = $1 ORDER BY start_us")
            .bind(path.as_str())
            .fetch_all(&self.database)
            .await?;
        rows.iter().map(|row| Ok(WallTime(row.try_get(0)?))).collect()
    }

    /// Paths whose recording is turned off.
    pub(crate) async fn switched_off(&self) -> Result<Vec<PathName>, CatalogueError> {
        let rows = query("SELECT path FROM switched_off").fetch_all(&self.database).await?;
        rows.iter().map(|row| path_of(row.try_get(0)?)).collect()
    }

    /// Remembers that a path's recording is turned off, or that it is not any more.
    pub(crate) async fn switch(
        &self,
        path: &PathName,
        off: Option<(&str, WallTime)>,
    ) -> Result<(), CatalogueError> {
        let statement = match off {
            Some((by, at)) => query(
                "INSERT INTO switched_off (path, at_us, by) VALUES ($1, $2, $3) ON CONFLICT (path) DO NOTHING",
            )
            .bind(path.as_str())
            .bind(at.unix_us())
            .bind(by),
            None => query("DELETE FROM switched_off WHERE path = $1").bind(path.as_str()),
        };
        statement.commit(&self.database).await?;
        Ok(())
    }
}

fn path_of(name: String) -> Result<PathName, CatalogueError> {
    PathName::parse(&name).map_err(|_| CatalogueError::Row { name, what: "path" })
}
