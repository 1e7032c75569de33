//! Holds: which times of which paths are footage of an incident.

use media_core::path_name::PathName;
use media_core::time::WallTime;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Catalogue, CatalogueError, Range, unsigned};
use crate::holds::{Hold, HoldFilter, NewHold, Release};
use crate::paging::{Paged, Paging};

/// The columns of a [`Hold`], in the order that [`hold`] reads them. Files count while it holds.
macro_rules! hold_query {
    ($rest:literal) => {
        concat!(
            "SELECT id, path, start_us, end_us, reason, created_us, created_by, released_us, released_by, ",
            "(SELECT COUNT(*) FROM files WHERE files.path = holds.path AND released_us IS NULL ",
            "AND files.start_us < end_us AND files.start_us + duration_us > holds.start_us), ",
            "(SELECT COALESCE(SUM(bytes), 0) FROM files WHERE files.path = holds.path AND released_us IS NULL ",
            "AND files.start_us < end_us AND files.start_us + duration_us > holds.start_us) FROM holds ",
            $rest
        )
    };
}

impl Catalogue {
    /// Places a hold.
    pub(crate) async fn place_hold(&self, hold: &NewHold, now: WallTime) -> Result<Hold, CatalogueError> {
        let id: i64 = sqlx::query(
            "INSERT INTO holds (path, start_us, end_us, reason, created_us, created_by) \
             VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(hold.path.as_str())
        .bind(hold.start.unix_us())
        .bind(hold.end.unix_us())
        .bind(&hold.reason)
        .bind(now.unix_us())
        .bind(&hold.by)
        .fetch_one(&self.pool)
        .await?
        .try_get(0)?;
        self.hold(id).await?.ok_or(CatalogueError::Row { name: format!("hold {id}"), what: "it is gone" })
    }

    /// One hold, released or not.
    pub(crate) async fn hold(&self, id: i64) -> Result<Option<Hold>, CatalogueError> {
        let row = sqlx::query(hold_query!("WHERE id = ?")).bind(id).fetch_optional(&self.pool).await?;
        row.as_ref().map(hold).transpose()
    }

    /// What is held of a path in a range, the oldest first; at most `most`.
    pub(crate) async fn held(
        &self,
        path: &PathName,
        range: Range,
        most: i64,
    ) -> Result<Vec<Hold>, CatalogueError> {
        let rows = sqlx::query(hold_query!(
            "WHERE path = ? AND released_us IS NULL AND start_us < ? AND end_us > ? ORDER BY start_us LIMIT ?"
        ))
        .bind(path.as_str())
        .bind(range.until.map_or(i64::MAX, WallTime::unix_us))
        .bind(range.from.map_or(i64::MIN, WallTime::unix_us))
        .bind(most)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(hold).collect()
    }

    /// Holds, the newest first.
    pub(crate) async fn holds(
        &self,
        filter: &HoldFilter,
        paging: Paging,
    ) -> Result<Paged<Hold>, CatalogueError> {
        let path = filter.path.as_ref().map(PathName::as_str);
        let released = filter.is_active.map(|active| i64::from(!active));
        let total = sqlx::query(
            "SELECT COUNT(*) FROM holds WHERE (?1 IS NULL OR path = ?1) \
             AND (?2 IS NULL OR (released_us IS NOT NULL) = ?2)",
        )
        .bind(path)
        .bind(released)
        .fetch_one(&self.pool)
        .await?;
        let rows = sqlx::query(hold_query!(
            "WHERE (?1 IS NULL OR path = ?1) AND (?2 IS NULL OR (released_us IS NOT NULL) = ?2) \
             ORDER BY id DESC LIMIT ?3 OFFSET ?4"
        ))
        .bind(path)
        .bind(released)
        .bind(paging.limit())
        .bind(paging.offset())
        .fetch_all(&self.pool)
        .await?;
        let items = rows.iter().map(hold).collect::<Result<_, _>>()?;
        Ok(Paged { total: unsigned(total.try_get(0)?), items })
    }

    /// Releases a hold; whether there was one to release.
    pub(crate) async fn release_hold(
        &self,
        id: i64,
        by: &str,
        now: WallTime,
    ) -> Result<bool, CatalogueError> {
        let done = sqlx::query(
            "UPDATE holds SET released_us = ?, released_by = ? WHERE id = ? AND released_us IS NULL",
        )
        .bind(now.unix_us())
        .bind(by)
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// The hold that keeps a file from being deleted.
    pub(crate) async fn holder(&self, file: i64) -> Result<Option<i64>, CatalogueError> {
        let row = sqlx::query(
            "SELECT holds.id FROM files JOIN holds ON holds.path = files.path AND released_us IS NULL \
             AND holds.start_us < files.start_us + files.duration_us AND end_us > files.start_us \
             WHERE files.id = ? LIMIT 1",
        )
        .bind(file)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

fn hold(row: &SqliteRow) -> Result<Hold, CatalogueError> {
    let id: i64 = row.try_get(0)?;
    let path: String = row.try_get(1)?;
    let path = PathName::parse(&path)
        .map_err(|_| CatalogueError::Row { name: format!("hold {id}"), what: "path" })?;
    let released: Option<i64> = row.try_get(7)?;
    let by: Option<String> = row.try_get(8)?;
    let files: i64 = row.try_get(9)?;
    let bytes: i64 = row.try_get(10)?;
    Ok(Hold {
        id,
        placed: NewHold {
            path,
            start: WallTime(row.try_get(2)?),
            end: WallTime(row.try_get(3)?),
            reason: row.try_get(4)?,
            by: row.try_get(6)?,
        },
        created: WallTime(row.try_get(5)?),
        released: released.map(|at| Release { at: WallTime(at), by: by.unwrap_or_default() }),
        files: unsigned(files),
        bytes: unsigned(bytes),
    })
}
