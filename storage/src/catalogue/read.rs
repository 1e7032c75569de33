//! Read: rows back into what they say.

use std::path::PathBuf;

use media_core::egress::recorder::index::{self, GopEntry};
use media_core::egress::recorder::{Gap, GapReason, RunId};
use media_core::path_name::PathName;
use media_core::time::{Timescale, WallTime};

use super::database::{Row, query};
use super::{Catalogue, CatalogueError, FileRow, LocalCopy, StoredCopy, unsigned};
use crate::segment_file::Extent;

/// The columns of a [`FileRow`], in the order that [`file_row`] reads them, and others behind them.
macro_rules! file_query {
    (and $more:literal, $($rest:literal),+) => {
        concat!(
            "SELECT id, name, state, run, number, start_us, duration_us, first_offset, bytes, timescale, ",
            "first_ticks, duration_ticks, path, is_cut, COALESCE(local_state, 'there'), ",
            "CASE object_state WHEN 'stored' THEN object_key END, object_bytes",
            $more,
            " FROM files LEFT JOIN objects ON object_file = id ",
            $($rest),+
        )
    };
    ($($rest:literal),+) => { file_query!(and "", $($rest),+) };
}

pub(super) use file_query;

/// Files are at most a day long (`recordSegmentDuration`) and a little: where to begin to look for one that covers a
/// time.
const FILE_US_MAX: i64 = 25 * 3600 * 1_000_000;

/// A time range; an end that is not there is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Option<WallTime>,
    pub(crate) until: Option<WallTime>,
}

impl Catalogue {
    /// The files of a path with media in a range, the oldest first.
    pub(crate) async fn files(&self, path: &PathName, range: Range) -> Result<Vec<FileRow>, CatalogueError> {
        let from = range.from.map_or(i64::MIN, WallTime::unix_us);
        let until = range.until.map_or(i64::MAX, WallTime::unix_us);
        let rows = query(file_query!(
            "WHERE path = $1 AND start_us >= $2 AND start_us < $3 AND start_us + duration_us > $4 ORDER BY start_us"
        ))
        .bind(path.as_str())
        .bind(from.saturating_sub(FILE_US_MAX))
        .bind(until)
        .bind(from)
        .fetch_all(&self.database)
        .await?;
        rows.iter().map(|row| self.readable(row)).collect()
    }

    /// A file with what it takes to read it where it is.
    fn readable(&self, row: &Row) -> Result<FileRow, CatalogueError> {
        let mut file = file_row(row)?;
        if let Some(object) = &mut file.object {
            object.bucket.clone_from(&self.bucket);
        }
        Ok(file)
    }

    /// The file of a path that began last at a time, whether it covers that or ended before.
    pub(crate) async fn last_begun(
        &self,
        path: &PathName,
        at: WallTime,
    ) -> Result<Option<FileRow>, CatalogueError> {
        let row = query(file_query!("WHERE path = $1 AND start_us <= $2 ORDER BY start_us DESC LIMIT 1"))
            .bind(path.as_str())
            .bind(at.unix_us())
            .fetch_optional(&self.database)
            .await?;
        row.as_ref().map(|row| self.readable(row)).transpose()
    }

    /// The same with the index of each, as far as it is known: one query for all that are closed.
    pub(crate) async fn files_with_gops(
        &self,
        path: &PathName,
        range: Range,
    ) -> Result<Vec<(FileRow, Vec<GopEntry>)>, CatalogueError> {
        let from = range.from.map_or(i64::MIN, WallTime::unix_us);
        let rows = query(file_query!(
            and ", gops",
            "WHERE path = $1 AND start_us >= $2 AND start_us < $3 AND start_us + duration_us > $4 ORDER BY start_us"
        ))
        .bind(path.as_str())
        .bind(from.saturating_sub(FILE_US_MAX))
        .bind(range.until.map_or(i64::MAX, WallTime::unix_us))
        .bind(from)
        .fetch_all(&self.database)
        .await?;
        let mut files = Vec::with_capacity(rows.len());
        for row in &rows {
            let file = self.readable(row)?;
            let gops = match file.is_open {
                true => self.open_gops(&file).await?,
                false => decoded(&file, &row.try_get::<Vec<u8>>(17)?)?,
            };
            files.push((file, gops));
        }
        Ok(files)
    }

    /// Where the files of a path in a range begin and what they last, joined where nothing is missing between two of them: a
    /// file continues another when it has the next number of its run, and that one did not lose its end.
    ///
    /// The database joins them: it takes a fraction of the time that handing out a week of rows does. A look at single files,
    /// which takes five times as long again, is left to paths with a run that has a hole or lost an end.
    pub(crate) async fn spans(
        &self,
        path: &PathName,
        range: Range,
    ) -> Result<Vec<(WallTime, i64)>, CatalogueError> {
        const RUNS: &str = "SELECT MIN(start_us), CAST(SUM(duration_us) AS BIGINT), \
                 CAST(CASE WHEN COUNT(*) = MAX(number) - MIN(number) + 1 AND SUM(is_cut) = 0 THEN 1 ELSE 0 END AS BIGINT) \
             FROM files WHERE path = $1 AND start_us >= $2 AND start_us < $3 AND start_us + duration_us > $4 \
             GROUP BY run ORDER BY 1";
        const ISLANDS: &str = "SELECT MIN(start_us), CAST(SUM(duration_us) AS BIGINT), CAST(1 AS BIGINT) FROM ( \
                 SELECT start_us, duration_us, run, \
                     number - ROW_NUMBER() OVER (PARTITION BY run ORDER BY number) AS island, \
                     COALESCE(SUM(is_cut) OVER (PARTITION BY run ORDER BY number \
                         ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS cuts \
                 FROM files WHERE path = $1 AND start_us >= $2 AND start_us < $3 AND start_us + duration_us > $4 \
             ) AS joined GROUP BY run, island, cuts ORDER BY 1";
        let from = range.from.map_or(i64::MIN, WallTime::unix_us);
        let mut spans = Vec::new();
        for statement in [RUNS, ISLANDS] {
            let rows = query(statement)
                .bind(path.as_str())
                .bind(from.saturating_sub(FILE_US_MAX))
                .bind(range.until.map_or(i64::MAX, WallTime::unix_us))
                .bind(from)
                .fetch_all(&self.database)
                .await?;
            let mut are_whole = true;
            spans.clear();
            for row in &rows {
                spans.push((WallTime(row.try_get(0)?), row.try_get(1)?));
                are_whole &= row.try_get::<i64>(2)? == 1;
            }
            if are_whole {
                break;
            }
        }
        Ok(spans)
    }

    /// The files that are not closed, with the path they are of.
    pub(crate) async fn open_files(&self) -> Result<Vec<FileRow>, CatalogueError> {
        let rows = query(file_query!("WHERE state = 'open'")).fetch_all(&self.database).await?;
        rows.iter().map(file_row).collect()
    }

    /// The file of a name.
    pub(crate) async fn file(&self, name: &str) -> Result<Option<FileRow>, CatalogueError> {
        let row = query(file_query!("WHERE name = $1")).bind(name).fetch_optional(&self.database).await?;
        row.as_ref().map(file_row).transpose()
    }

    /// The index of a file, as far as it is known.
    pub(crate) async fn gops(&self, file: &FileRow) -> Result<Vec<GopEntry>, CatalogueError> {
        if file.is_open {
            return self.open_gops(file).await;
        }
        let row = query("SELECT gops FROM files WHERE id = $1")
            .bind(file.id)
            .fetch_optional(&self.database)
            .await?;
        let bytes: Vec<u8> = row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        decoded(file, &bytes)
    }

    /// Up to the first hole: a round of syncing that failed leaves one.
    async fn open_gops(&self, file: &FileRow) -> Result<Vec<GopEntry>, CatalogueError> {
        let rows = query("SELECT position, gops FROM open_gops WHERE file = $1 ORDER BY position")
            .bind(file.id)
            .fetch_all(&self.database)
            .await?;
        let mut gops = Vec::new();
        for row in rows {
            let position: i64 = row.try_get(0)?;
            if usize::try_from(position).ok() != Some(gops.len()) {
                break;
            }
            let bytes: Vec<u8> = row.try_get(1)?;
            gops.extend(decoded(file, &bytes)?);
        }
        Ok(gops)
    }

    /// The gap that begins where a path's recording ends: the one noted, else one that the server left.
    pub(crate) async fn left_gap(&self, path: &PathName) -> Result<Option<Gap>, CatalogueError> {
        let noted = query(
            "SELECT from_us, reason FROM gaps WHERE path = $1 AND until_us IS NULL ORDER BY from_us DESC LIMIT 1",
        )
        .bind(path.as_str())
        .fetch_optional(&self.database)
        .await?;
        let last = query(
            "SELECT start_us, start_us + duration_us FROM files WHERE path = $1 ORDER BY start_us DESC LIMIT 1",
        )
        .bind(path.as_str())
        .fetch_optional(&self.database)
        .await?;
        let noted = match noted {
            Some(row) => {
                let reason: String = row.try_get(1)?;
                let reason = GapReason::parse(&reason).unwrap_or(GapReason::Server);
                Some(Gap { from: WallTime(row.try_get(0)?), until: None, reason })
            }
            None => None,
        };
        let Some(last) = last else { return Ok(noted) };
        let (start, end) = (WallTime(last.try_get(0)?), WallTime(last.try_get(1)?));
        // A gap that was noted before the last file began is an old one; when it ended, clocks may see differently.
        let noted = noted.filter(|gap| gap.from > start);
        Ok(Some(noted.unwrap_or(Gap { from: end, until: None, reason: GapReason::Server })))
    }

    /// Gaps of a path in a range, the oldest first.
    pub(crate) async fn gaps(&self, path: &PathName, range: Range) -> Result<Vec<Gap>, CatalogueError> {
        let rows = query(
            "SELECT from_us, until_us, reason FROM gaps WHERE path = $1 AND from_us < $2 \
             AND (until_us IS NULL OR until_us > $3) ORDER BY from_us",
        )
        .bind(path.as_str())
        .bind(range.until.map_or(i64::MAX, WallTime::unix_us))
        .bind(range.from.map_or(i64::MIN, WallTime::unix_us))
        .fetch_all(&self.database)
        .await?;
        rows.iter()
            .map(|row| {
                let reason: String = row.try_get(2)?;
                let until: Option<i64> = row.try_get(1)?;
                Ok(Gap {
                    from: WallTime(row.try_get(0)?),
                    until: until.map(WallTime),
                    reason: GapReason::parse(&reason).unwrap_or(GapReason::Server),
                })
            })
            .collect()
    }
}

fn decoded(file: &FileRow, bytes: &[u8]) -> Result<Vec<GopEntry>, CatalogueError> {
    let wrong = || CatalogueError::Row { name: file.name.display().to_string(), what: "index" };
    index::decode(bytes).ok_or_else(wrong)
}

pub(super) fn file_row(row: &Row) -> Result<FileRow, CatalogueError> {
    let name: String = row.try_get(1)?;
    let wrong = |what| CatalogueError::Row { name: name.clone(), what };
    let state: String = row.try_get(2)?;
    let path: String = row.try_get(12)?;
    let local: String = row.try_get(14)?;
    let key: Option<String> = row.try_get(15)?;
    let object_bytes: Option<i64> = row.try_get(16)?;
    let number: i64 = row.try_get(4)?;
    let first_offset: i64 = row.try_get(7)?;
    let bytes: i64 = row.try_get(8)?;
    let timescale: i64 = row.try_get(9)?;
    let timescale = u32::try_from(timescale).ok().and_then(Timescale::new);
    Ok(FileRow {
        id: row.try_get(0)?,
        path: PathName::parse(&path).map_err(|_| wrong("path"))?,
        is_open: state == "open",
        is_cut: row.try_get::<i64>(13)? != 0,
        run: RunId(row.try_get(3)?),
        number: u32::try_from(number).map_err(|_| wrong("number"))?,
        start: WallTime(row.try_get(5)?),
        duration_us: row.try_get(6)?,
        first_offset: u64::try_from(first_offset).map_err(|_| wrong("offset"))?,
        extent: Extent {
            bytes: u64::try_from(bytes).map_err(|_| wrong("size"))?,
            duration_ticks: row.try_get(11)?,
        },
        timescale: timescale.ok_or_else(|| wrong("timescale"))?,
        first_ticks: row.try_get(10)?,
        local: if local == "there" { LocalCopy::There } else { LocalCopy::Gone },
        object: key.map(|key| StoredCopy { key, bytes: unsigned(object_bytes.unwrap_or(0)), bucket: None }),
        name: PathBuf::from(name),
    })
}
