//! Catalogue: which files there are, what is missing between them, what was deleted: a SQL database.
//!
//! Invariants:
//! - a file's row is written after its bytes and its folder's entry are on the disk, and deleted before the file is:
//!   the catalogue never names a file that is not there;
//! - an update may be repeated: each is an upsert by name, so an answer that got lost does no harm.
//!
//! Every commit is synced (SQLite: `synchronous = FULL`; PostgreSQL as its server is set): there is about one a second, for all
//! streams.
//! Belongs here: SQL. Does not: files (-> `disk`, `repair`, `retention`).

mod database;
mod deletions;
mod holds;
mod objects;
mod read;
mod roots;
mod settings;
mod sums;
mod thumbnails;
mod write;

use std::path::PathBuf;

use media_core::egress::recorder::index::GopEntry;
use media_core::egress::recorder::{Gap, RunId};
use media_core::path_name::PathName;
use media_core::time::{Timescale, WallTime};

pub use database::{DatabaseUrl, DatabaseUrlError};
pub(crate) use objects::{KnownObject, LeavingObject, ObjectSums, QueuedFile, StoredObject};
pub(crate) use read::Range;
pub(crate) use roots::PathUsage;
pub(crate) use sums::RecentGrowth;

use database::Database;

use crate::bucket::Bucket;
use crate::reserve::Reserve;
use crate::segment_file::{Extent, FileFacts};

/// The catalogue can't be used or does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// The database said no.
    #[error("catalogue: {0}")]
    Sql(#[from] sqlx::Error),
    /// Its tables can't be made or brought up to date.
    #[error("catalogue migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Nobody lets us in there.
    #[error("catalogue: {database} can't be reached: {why}; see that it runs and has connections left")]
    Away {
        /// Its address without credentials.
        database: String,
        /// What happened.
        why: String,
    },
    /// It was reached and then said nothing.
    #[error("catalogue: no answer within {seconds} s: see whether the database is overloaded or cut off")]
    Silent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A row that we would not have written.
    #[error("catalogue row of {name:?} makes no sense: {what}")]
    Row {
        /// The file.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl CatalogueError {
    /// Whether its disk is full.
    pub(crate) fn is_disk_full(&self) -> bool {
        /// `SQLITE_FULL`, and PostgreSQL's `disk_full`.
        const FULL: [&str; 2] = ["13", "53100"];
        let Self::Sql(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| FULL.contains(&&*code))
    }
}

/// The database, shared by everyone.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    database: Database,
    reserve: Option<Reserve>,
    /// Where files are that have left their disk.
    bucket: Option<Bucket>,
}

/// Something to be written down.
#[derive(Clone, Debug)]
pub(crate) enum Update {
    File(FileUpdate),
    Gap(PathName, Gap),
    /// How long the thumbnails beside a file are by now.
    Thumbnails {
        name: PathBuf,
        bytes: u64,
    },
}

/// How far a file has come, once that is on the disk.
#[derive(Clone, Debug)]
pub(crate) struct FileUpdate {
    pub(crate) facts: FileFacts,
    pub(crate) extent: Extent,
    /// GOPs completed since the last update, and how many stood before.
    pub(crate) new_gops: Vec<GopEntry>,
    pub(crate) gops_before: usize,
    /// The whole index, when the file is closed.
    pub(crate) closed: Option<Vec<GopEntry>>,
    /// What is to be removed once this is written: the file's marker (-> `marker`).
    pub(crate) marker: Option<PathBuf>,
}

/// A file as the catalogue knows it, without its index.
#[derive(Clone, Debug)]
pub(crate) struct FileRow {
    pub(crate) id: i64,
    pub(crate) path: PathName,
    pub(crate) name: PathBuf,
    pub(crate) is_open: bool,
    /// Its end was lost: the next file does not continue it.
    pub(crate) is_cut: bool,
    pub(crate) run: RunId,
    pub(crate) number: u32,
    pub(crate) start: WallTime,
    pub(crate) duration_us: i64,
    pub(crate) first_offset: u64,
    pub(crate) extent: Extent,
    pub(crate) timescale: Timescale,
    pub(crate) first_ticks: i64,
    pub(crate) local: LocalCopy,
    /// Its confirmed copy.
    pub(crate) object: Option<StoredCopy>,
}

/// Whether a file is on its disk, as far as the catalogue knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalCopy {
    There,
    /// It left, or is about to: what is there belongs to nobody.
    Gone,
}

/// Where a file's copy is.
#[derive(Clone, Debug)]
pub(crate) struct StoredCopy {
    pub(crate) key: String,
    /// The file's length when it was confirmed.
    pub(crate) bytes: u64,
    /// For those who read it; `None` when no bucket is configured any more.
    pub(crate) bucket: Option<Bucket>,
}

impl FileRow {
    pub(crate) fn is_on_disk(&self) -> bool {
        self.local == LocalCopy::There
    }

    pub(crate) fn end(&self) -> WallTime {
        self.start.plus_us(self.duration_us)
    }
}

impl Catalogue {
    /// Opens the database of `url`, a file being made when it is not there, and brings its tables up to date.
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, CatalogueError> {
        let opened = Database::open(url).await?;
        let reserve = opened.file.and_then(Reserve::beside);
        Ok(Self { database: opened.database, reserve, bucket: None })
    }

    /// The same, whose files can be read from a bucket too.
    pub(crate) fn with_bucket(self, bucket: Option<Bucket>) -> Self {
        Self { bucket, ..self }
    }

    /// The bucket that is configured.
    pub(crate) fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_ref()
    }

    /// Keeps room on the disk for when it is full; without it the catalogue works all the same until then.
    pub(crate) fn keep_reserve(&self) {
        if let Some(reserve) = &self.reserve
            && let Err(error) = reserve.make()
        {
            tracing::warn!(%error, "no room can be kept for the catalogue");
        }
    }

    /// Gives that room back to the catalogue.
    pub(crate) fn use_reserve(&self) {
        match self.reserve.as_ref().map(Reserve::give_back) {
            Some(Ok(true)) => tracing::warn!("the catalogue's disk is full: it uses the room kept for that"),
            Some(Err(error)) => tracing::error!(%error, "room kept for the catalogue can't be given back"),
            Some(Ok(false)) | None => {}
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        self.database.close().await;
    }
}

/// The catalogue holds what fits 63 bits; more can't be, and saturates.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Counts and sums are never negative.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use media_core::egress::recorder::GapReason;

    use super::database::CONNECTIONS_MAX;
    use super::*;

    fn pool(catalogue: &Catalogue) -> &sqlx::SqlitePool {
        match &catalogue.database {
            Database::Sqlite(pool) => pool,
            Database::Postgres(_) => panic!("this is about SQLite"),
        }
    }

    /// The pages that a database may have, on all connections of a pool.
    async fn limit_pages(catalogue: &Catalogue, pages: u32) {
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut connection = pool(catalogue).acquire().await.unwrap();
            let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
            sqlx::query(limit).execute(&mut *connection).await.unwrap();
            held.push(connection);
        }
    }

    #[tokio::test]
    async fn what_is_committed_after_the_disk_was_full_stays_committed() {
        let dir = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::sqlite(&dir.path().join("catalogue.db"));
        let catalogue = Catalogue::open(&url).await.unwrap();
        let gap = |path: &str| {
            let path = PathName::parse(path).unwrap();
            Update::Gap(path, Gap { from: WallTime(0), until: None, reason: GapReason::Disk })
        };
        let many: Vec<Update> = (0..2000).map(|number| gap(&format!("cam_{number}"))).collect();
        for _ in 0..2 * CONNECTIONS_MAX {
            // Each time: a connection that failed so is not used again.
            limit_pages(&catalogue, 1).await;
            assert!(catalogue.apply(&many).await.unwrap_err().is_disk_full());
        }
        limit_pages(&catalogue, u32::MAX - 1).await;
        // A transaction that is let go, on every connection, and then one that is not.
        for _ in 0..2 * CONNECTIONS_MAX {
            drop(pool(&catalogue).begin().await.unwrap());
        }
        catalogue.apply(&[gap("cam_1")]).await.unwrap();
        catalogue.close().await;
        let catalogue = Catalogue::open(&url).await.unwrap();
        let path = PathName::parse("cam_1").unwrap();
        assert_eq!(catalogue.gaps(&path, Range::default()).await.unwrap().len(), 1);
    }
}
