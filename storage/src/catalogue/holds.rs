//! Holds: which times of which paths are footage of an incident.

use media_core::path_name::PathName;
use media_core::time::WallTime;

use super::database::{Row, query};
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
            "(SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM files WHERE files.path = holds.path AND released_us IS NULL ",
            "AND files.start_us < end_us AND files.start_us + duration_us > holds.start_us) FROM holds ",
            $rest
        )
    };
}

impl Catalogue {
    /// Places a hold. The files that it says it holds are kept: no deletion comes between.
    pub(crate) async fn place_hold(&self, placed: &NewHold, now: WallTime) -> Result<Hold, CatalogueError> {
        let mut writing = self.database.write().await?;
        let id: i64 = query(
            "INSERT INTO holds (path, start_us, end_us, reason, created_us, created_by) \
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        )
        .bind(placed.path.as_str())
        .bind(placed.start.unix_us())
        .bind(placed.end.unix_us())
        .bind(&placed.reason)
        .bind(now.unix_us())
        .bind(&placed.by)
        .returning(&mut writing)
        .await?
        .try_get(0)?;
        let held = query(hold_query!("WHERE id = $1")).bind(id).returning(&mut writing).await?;
        writing.commit().await?;
        hold(&held)
    }

    /// One hold, released or not.
    pub(crate) async fn hold(&self, id: i64) -> Result<Option<Hold>, CatalogueError> {
        let row = query(hold_query!("WHERE id = $1")).bind(id).fetch_optional(&self.database).await?;
        row.as_ref().map(hold).transpose()
    }

    /// What is held of a path in a range, the oldest first; at most `most`.
    pub(crate) async fn held(
        &self,
        path: &PathName,
        range: Range,
        most: i64,
    ) -> Result<Vec<Hold>, CatalogueError> {
        let rows = query(hold_query!(
            "WHERE path = $1 AND released_us IS NULL AND start_us < $2 AND end_us > $3 ORDER BY start_us LIMIT $4"
        ))
        .bind(path.as_str())
        .bind(range.until.map_or(i64::MAX, WallTime::unix_us))
        .bind(range.from.map_or(i64::MIN, WallTime::unix_us))
        .bind(most)
        .fetch_all(&self.database)
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
        let total = query(
            "SELECT COUNT(*) FROM holds WHERE ($1 IS NULL OR path = $1) \
             AND ($2 IS NULL OR CASE WHEN released_us IS NULL THEN 0 ELSE 1 END = $2)",
        )
        .bind(path)
        .bind(released)
        .fetch_one(&self.database)
        .await?;
        let rows = query(hold_query!(
            "WHERE ($1 IS NULL OR path = $1) AND ($2 IS NULL OR CASE WHEN released_us IS NULL THEN 0 ELSE 1 END = $2) \
             ORDER BY id DESC LIMIT $3 OFFSET $4"
        ))
        .bind(path)
        .bind(released)
        .bind(paging.limit())
        .bind(paging.offset())
        .fetch_all(&self.database)
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
        let done = query(
            "UPDATE holds SET released_us = $1, released_by = $2 WHERE id = $3 AND released_us IS NULL",
        )
        .bind(now.unix_us())
        .bind(by)
        .bind(id)
        .commit(&self.database)
        .await?;
        Ok(done > 0)
    }

    /// The hold that keeps a file from being deleted.
    pub(crate) async fn holder(&self, file: i64) -> Result<Option<i64>, CatalogueError> {
        let row = query(
            "SELECT holds.id FROM files JOIN holds ON holds.path = files.path AND released_us IS NULL \
             AND holds.start_us < files.start_us + files.duration_us AND end_us > files.start_us \
             WHERE files.id = $1 LIMIT 1",
        )
        .bind(file)
        .fetch_optional(&self.database)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

fn hold(row: &Row) -> Result<Hold, CatalogueError> {
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
