//! Sums: what triggers keep of all files by hour and path, so that a day of them need not be read to tell how it grows; and
//! whether they are true.

use media_core::path_name::PathName;
use media_core::time::WallTime;

use super::database::{Row, query};
use super::{Catalogue, CatalogueError, unsigned};

const HOUR_US: i64 = 3600 * 1_000_000;

/// What was recorded of a path lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecentGrowth {
    pub(crate) path: PathName,
    pub(crate) bytes: u64,
    pub(crate) since: WallTime,
}

impl Catalogue {
    /// What was recorded since the hour of a time began, and when that began.
    pub(crate) async fn growth_since(&self, since: WallTime) -> Result<Vec<RecentGrowth>, CatalogueError> {
        let hour = since.unix_us().div_euclid(HOUR_US);
        let rows = query(
            "SELECT path, CAST(SUM(bytes) AS BIGINT), \
                 (SELECT MIN(start_us) FROM files WHERE files.path = recent.path AND start_us >= $1) \
             FROM hour_sums AS recent WHERE hour >= $2 GROUP BY path ORDER BY path",
        )
        .bind(hour.saturating_mul(HOUR_US))
        .bind(hour)
        .fetch_all(&self.database)
        .await?;
        let growth = rows.iter().filter_map(|row| growth(row).transpose());
        growth.collect()
    }

    /// Compares the sums of hours and paths with the files, and makes them again where they are wrong; how many were. A backup
    /// that was put back in part, or a hand in the database, is the cause: quotas and forecasts would go by them for ever.
    pub(crate) async fn mend_sums(&self) -> Result<u64, CatalogueError> {
        const HOURS: &str = "SELECT COUNT(*) FROM (SELECT path FROM ( \
                 SELECT start_us / 3600000000 AS hour, path, 1 AS files, bytes FROM files \
                 UNION ALL SELECT hour, path, -files, -bytes FROM hour_sums \
             ) AS told GROUP BY hour, path HAVING SUM(files) <> 0 OR SUM(bytes) <> 0) AS wrong";
        const PATHS: &str = "SELECT COUNT(*) FROM (SELECT path FROM ( \
                 SELECT path, files, bytes FROM usage UNION ALL SELECT path, -files, -bytes FROM hour_sums \
                 UNION ALL SELECT path, 0, -bytes FROM thumbnails \
             ) AS told GROUP BY path HAVING SUM(files) <> 0 OR SUM(bytes) <> 0) AS wrong";
        const AGAIN: [&str; 4] = [
            "DELETE FROM hour_sums",
            "INSERT INTO hour_sums (hour, path, files, bytes) SELECT start_us / 3600000000, path, COUNT(*), SUM(bytes) \
             FROM files GROUP BY 1, 2",
            "DELETE FROM usage",
            "INSERT INTO usage (path, files, bytes) SELECT path, SUM(files), SUM(bytes) FROM ( \
                 SELECT path, files, bytes FROM hour_sums UNION ALL SELECT path, 0, bytes FROM thumbnails \
             ) AS told GROUP BY path",
        ];
        let mut wrong = 0;
        for compared in [HOURS, PATHS] {
            let row = query(compared).fetch_one(&self.database).await?;
            wrong += unsigned(row.try_get(0)?);
        }
        if wrong > 0 {
            let mut writing = self.database.write().await?;
            for statement in AGAIN {
                query(statement).execute(&mut writing).await?;
            }
            writing.commit().await?;
        }
        Ok(wrong)
    }

    /// As a hand in the database would.
    #[cfg(test)]
    pub(crate) async fn forget_sums(&self) -> Result<(), CatalogueError> {
        query("DELETE FROM hour_sums").commit(&self.database).await?;
        Ok(())
    }
}

/// `None` where a sum is left of files that are gone.
fn growth(row: &Row) -> Result<Option<RecentGrowth>, CatalogueError> {
    let Some(since) = row.try_get::<Option<i64>>(2)? else { return Ok(None) };
    let name: String = row.try_get(0)?;
    let path = PathName::parse(&name).map_err(|_| CatalogueError::Row { name, what: "path" })?;
    Ok(Some(RecentGrowth { path, bytes: unsigned(row.try_get(1)?), since: WallTime(since) }))
}
