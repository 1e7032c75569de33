//! Write: updates, all of a round of syncing with a handful of statements: a server that is 1 ms away is asked some ten times
//! for 250 cameras, not a thousand times.

use std::collections::BTreeSet;
use std::path::Path;

use media_core::egress::recorder::Gap;
use media_core::egress::recorder::index::{self, GopEntry};
use media_core::path_name::PathName;
use media_core::time::WallTime;

use super::database::{Query, Writing, query, query_rows};
use super::thumbnails::write_thumbnails;
use super::{Catalogue, CatalogueError, FileUpdate, Update, signed};

/// Rows that a statement writes, more than one server has cameras; what is beyond goes into another one. SQLite takes 32,766
/// values, PostgreSQL 65,535.
pub(super) const ROWS_MAX: usize = 256;

impl Catalogue {
    /// Writes all updates or none.
    pub(crate) async fn apply(&self, updates: &[Update]) -> Result<(), CatalogueError> {
        let batch = Batch::of(updates);
        let mut writing = self.database.write().await?;
        // Boxed: whoever has something written would be as large.
        Box::pin(batch.write(&mut writing)).await?;
        writing.commit().await?;
        Ok(())
    }

    /// Notes that a file lost its end.
    pub(crate) async fn note_cut(&self, name: &str) -> Result<(), CatalogueError> {
        query("UPDATE files SET is_cut = 1 WHERE name = $1").bind(name).commit(&self.database).await?;
        Ok(())
    }

    /// Takes the row of a file that is gone out, without a word about a deletion.
    pub(crate) async fn forget(&self, name: &str) -> Result<(), CatalogueError> {
        query("DELETE FROM files WHERE name = $1").bind(name).commit(&self.database).await?;
        Ok(())
    }
}

/// Updates by the table that they are written to. A statement can't write one row twice: of what is told of it, the last counts.
struct Batch<'a> {
    files: Vec<&'a FileUpdate>,
    closed: Vec<&'a Path>,
    open_gops: Vec<OpenGops<'a>>,
    gaps: Vec<(&'a PathName, &'a Gap)>,
    thumbnails: Vec<(&'a Path, u64)>,
}

/// GOPs of a file that is open, and how many stand before.
struct OpenGops<'a> {
    file: &'a Path,
    position: usize,
    gops: &'a [GopEntry],
}

impl<'a> Batch<'a> {
    fn of(updates: &'a [Update]) -> Self {
        let told = || {
            updates
                .iter()
                .filter_map(|update| if let Update::File(file) = update { Some(file) } else { None })
        };
        let files = last_of_each(told().map(|file| (file.facts.name.as_path(), file)));
        let closed = files.iter().filter(|file| file.closed.is_some());
        let closed: BTreeSet<&Path> = closed.map(|file| file.facts.name.as_path()).collect();
        let grown =
            told().filter(|file| !file.new_gops.is_empty() && !closed.contains(file.facts.name.as_path()));
        let open_gops = grown.map(|file| {
            let (file, position, gops) = (file.facts.name.as_path(), file.gops_before, &*file.new_gops);
            ((file, position), OpenGops { file, position, gops })
        });
        let gaps = updates.iter().filter_map(|update| match update {
            Update::Gap(path, gap) => Some(((path, gap.from), (path, gap))),
            _ => None,
        });
        let thumbnails = updates.iter().filter_map(|update| match update {
            Update::Thumbnails { name, bytes } => Some((name, (name.as_path(), *bytes))),
            _ => None,
        });
        Self {
            open_gops: last_of_each(open_gops),
            gaps: last_of_each(gaps),
            thumbnails: last_of_each(thumbnails),
            closed: closed.into_iter().collect(),
            files,
        }
    }

    async fn write(&self, writing: &mut Writing) -> Result<(), CatalogueError> {
        write_files(writing, &self.files).await?;
        forget_open_gops(writing, &self.closed).await?;
        write_open_gops(writing, &self.open_gops).await?;
        write_gaps(writing, &self.gaps).await?;
        write_thumbnails(writing, &self.thumbnails).await
    }
}

/// What was told last of each key, in that order.
fn last_of_each<K: Ord, T>(told: impl DoubleEndedIterator<Item = (K, T)>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let mut last: Vec<T> = told.rev().filter_map(|(key, what)| seen.insert(key).then_some(what)).collect();
    last.reverse();
    last
}

async fn write_files(writing: &mut Writing, files: &[&FileUpdate]) -> Result<(), CatalogueError> {
    for files in files.chunks(ROWS_MAX) {
        let rows = query_rows(
            "INSERT INTO files (path, name, state, run, number, start_us, duration_us, first_offset, bytes, \
             timescale, first_ticks, duration_ticks, gops) VALUES",
            13,
            "ON CONFLICT (name) DO UPDATE SET state = excluded.state, duration_us = excluded.duration_us, \
             bytes = excluded.bytes, duration_ticks = excluded.duration_ticks, gops = excluded.gops",
        );
        files.iter().fold(rows, |rows, file| bind_file(rows, file)).execute(writing).await?;
    }
    Ok(())
}

fn bind_file(rows: Query, file: &FileUpdate) -> Query {
    let facts = &file.facts;
    rows.bind(facts.continuity.path.as_str())
        .bind(facts.name.to_string_lossy())
        .bind(if file.closed.is_some() { "closed" } else { "open" })
        .bind(facts.continuity.run.0)
        .bind(i64::from(facts.continuity.number))
        .bind(facts.continuity.start.unix_us())
        .bind(facts.timescale.ticks_to_us(file.extent.duration_ticks))
        .bind(signed(facts.first_offset))
        .bind(signed(file.extent.bytes))
        .bind(i64::from(facts.timescale.hz()))
        .bind(facts.first_ticks)
        .bind(file.extent.duration_ticks)
        .bind(file.closed.as_deref().map(index::encode).unwrap_or_default())
}

/// The whole index of a closed file is in its row.
async fn forget_open_gops(writing: &mut Writing, closed: &[&Path]) -> Result<(), CatalogueError> {
    for names in closed.chunks(ROWS_MAX) {
        let rows = query_rows(
            "DELETE FROM open_gops WHERE file IN (SELECT id FROM files WHERE name IN (VALUES",
            1,
            "))",
        );
        names.iter().fold(rows, |rows, name| rows.bind(name.to_string_lossy())).execute(writing).await?;
    }
    Ok(())
}

async fn write_open_gops(writing: &mut Writing, open: &[OpenGops<'_>]) -> Result<(), CatalogueError> {
    for open in open.chunks(ROWS_MAX) {
        // A cross join, for SQLite to go from the list to the files and never the other way.
        let rows = query_rows(
            "INSERT INTO open_gops (file, position, gops) SELECT id, column2, column3 FROM (VALUES",
            3,
            ") AS told CROSS JOIN files WHERE name = column1 \
             ON CONFLICT (file, position) DO UPDATE SET gops = excluded.gops",
        );
        let rows = open.iter().fold(rows, |rows, open| {
            rows.bind(open.file.to_string_lossy())
                .bind(i64::try_from(open.position).unwrap_or(i64::MAX))
                .bind(index::encode(open.gops))
        });
        rows.execute(writing).await?;
    }
    Ok(())
}

async fn write_gaps(writing: &mut Writing, gaps: &[(&PathName, &Gap)]) -> Result<(), CatalogueError> {
    for gaps in gaps.chunks(ROWS_MAX) {
        let rows = query_rows(
            "INSERT INTO gaps (path, from_us, until_us, reason) VALUES",
            4,
            "ON CONFLICT (path, from_us) DO UPDATE SET until_us = excluded.until_us, reason = excluded.reason",
        );
        let rows = gaps.iter().fold(rows, |rows, (path, gap)| {
            rows.bind(path.as_str())
                .bind(gap.from.unix_us())
                .bind(gap.until.map(WallTime::unix_us))
                .bind(gap.reason.as_str())
        });
        rows.execute(writing).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use media_core::egress::recorder::{GapReason, RunId};
    use media_core::time::Timescale;

    use super::*;
    use crate::catalogue::Range;
    use crate::continuity::Continuity;
    use crate::segment_file::{Extent, FileFacts};
    use crate::test_database;

    const GOP: GopEntry = GopEntry {
        len_bytes: 100,
        duration_ticks: 90_000,
        composition_offset_ticks: 0,
        is_random_access: true,
    };

    fn camera(number: usize) -> PathName {
        PathName::parse(&format!("cam_{number}")).unwrap()
    }

    /// A file of so many seconds, of which the last is told now.
    fn file(number: usize, seconds: usize) -> FileUpdate {
        let start = WallTime(1_795_635_000_000_000);
        let facts = FileFacts {
            name: PathBuf::from(format!("/r/{number}.mp4")),
            continuity: Continuity { path: camera(number), run: RunId(1), number: 0, start },
            timescale: Timescale::VIDEO,
            first_ticks: 0,
            first_offset: 10,
        };
        FileUpdate {
            facts,
            extent: Extent {
                bytes: 10 + 100 * u64::try_from(seconds).unwrap(),
                duration_ticks: 90_000 * i64::try_from(seconds).unwrap(),
            },
            new_gops: vec![GOP],
            gops_before: seconds - 1,
            closed: None,
            marker: None,
        }
    }

    #[tokio::test]
    async fn what_is_told_of_more_files_than_a_statement_takes_is_written_at_once() {
        const FILES: usize = 2 * ROWS_MAX + 1;
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&test_database::new_in(dir.path())).await.unwrap();
        for seconds in 1..=2 {
            let grown: Vec<Update> = (0..FILES).map(|number| Update::File(file(number, seconds))).collect();
            catalogue.apply(&grown).await.unwrap();
        }
        let open = catalogue.open_files().await.unwrap();
        assert_eq!(open.len(), FILES);
        for row in &open {
            assert_eq!((row.extent.bytes, row.duration_us), (210, 2_000_000), "{row:?}");
        }
        assert_eq!(catalogue.gops(&open[FILES - 1]).await.unwrap(), [GOP; 2]);
        let closed = |number| FileUpdate { closed: Some(vec![GOP; 3]), ..file(number, 3) };
        let closed: Vec<Update> = (0..FILES).map(|number| Update::File(closed(number))).collect();
        catalogue.apply(&closed).await.unwrap();
        assert!(catalogue.open_files().await.unwrap().is_empty());
        let row = catalogue.file("/r/0.mp4").await.unwrap().unwrap();
        assert_eq!((row.is_open, catalogue.gops(&row).await.unwrap().len()), (false, 3));
        let usage = catalogue.usage().await.unwrap();
        assert_eq!((usage.len(), usage[0].files, usage[0].bytes), (FILES, 1, 310));
    }

    #[tokio::test]
    async fn of_what_is_told_of_one_thing_at_once_the_last_counts_and_no_gop_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let catalogue = Catalogue::open(&test_database::new_in(dir.path())).await.unwrap();
        let gap = |until: i64, reason| {
            Update::Gap(camera(1), Gap { from: WallTime(5), until: Some(WallTime(until)), reason })
        };
        let thumbnails = |number: usize, bytes: u64| Update::Thumbnails {
            name: PathBuf::from(format!("/r/{number}.mp4")),
            bytes,
        };
        let closed = FileUpdate { closed: Some(vec![GOP; 2]), ..file(2, 2) };
        let told = [
            Update::File(file(1, 1)),
            gap(6, GapReason::Camera),
            thumbnails(1, 7),
            // Of a file that nobody knows.
            thumbnails(3, 7),
            Update::File(file(2, 1)),
            Update::File(file(1, 2)),
            Update::File(closed),
            thumbnails(1, 9),
            gap(8, GapReason::Disk),
        ];
        // Twice, as after an answer that got lost.
        for _ in 0..2 {
            catalogue.apply(&told).await.unwrap();
            let open = catalogue.open_files().await.unwrap();
            assert_eq!((open.len(), open[0].extent.bytes), (1, 210));
            assert_eq!(catalogue.gops(&open[0]).await.unwrap(), [GOP; 2]);
            let row = catalogue.file("/r/2.mp4").await.unwrap().unwrap();
            assert_eq!((row.is_open, catalogue.gops(&row).await.unwrap().len()), (false, 2));
            let gaps = catalogue.gaps(&camera(1), Range::default()).await.unwrap();
            assert_eq!(gaps, [Gap { from: WallTime(5), until: Some(WallTime(8)), reason: GapReason::Disk }]);
            let usage = catalogue.usage().await.unwrap();
            assert_eq!((usage[0].bytes, usage[1].bytes), (219, 210), "thumbnails count with their path");
        }
        catalogue.apply(&[]).await.unwrap();
    }
}
