//! Write: updates.

use media_core::egress::recorder::Gap;
use media_core::egress::recorder::index;
use media_core::path_name::PathName;
use media_core::time::WallTime;

use super::database::{Writing, query};
use super::thumbnails::write_thumbnails;
use super::{Catalogue, CatalogueError, FileUpdate, Update, signed};

impl Catalogue {
    /// Writes all updates or none.
    pub(crate) async fn apply(&self, updates: &[Update]) -> Result<(), CatalogueError> {
        let mut writing = self.database.write().await?;
        for update in updates {
            match update {
                Update::File(file) => write_file(&mut writing, file).await?,
                Update::Gap(path, gap) => write_gap(&mut writing, path, gap).await?,
                Update::Thumbnails { name, bytes } => write_thumbnails(&mut writing, name, *bytes).await?,
            }
        }
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

async fn write_file(writing: &mut Writing, file: &FileUpdate) -> Result<(), CatalogueError> {
    let facts = &file.facts;
    let is_closed = file.closed.is_some();
    let row = query(
        "INSERT INTO files (path, name, state, run, number, start_us, duration_us, first_offset, bytes, \
         timescale, first_ticks, duration_ticks, gops) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
         ON CONFLICT (name) DO UPDATE SET state = excluded.state, duration_us = excluded.duration_us, \
         bytes = excluded.bytes, duration_ticks = excluded.duration_ticks, gops = excluded.gops RETURNING id",
    )
    .bind(facts.continuity.path.as_str())
    .bind(facts.name.to_string_lossy())
    .bind(if is_closed { "closed" } else { "open" })
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
    .returning(writing)
    .await?;
    let id: i64 = row.try_get(0)?;
    if is_closed {
        query("DELETE FROM open_gops WHERE file = $1").bind(id).execute(writing).await?;
    } else if !file.new_gops.is_empty() {
        query(
            "INSERT INTO open_gops (file, position, gops) VALUES ($1, $2, $3) \
             ON CONFLICT (file, position) DO UPDATE SET gops = excluded.gops",
        )
        .bind(id)
        .bind(i64::try_from(file.gops_before).unwrap_or(i64::MAX))
        .bind(index::encode(&file.new_gops))
        .execute(writing)
        .await?;
    }
    Ok(())
}

async fn write_gap(writing: &mut Writing, path: &PathName, gap: &Gap) -> Result<(), CatalogueError> {
    query(
        "INSERT INTO gaps (path, from_us, until_us, reason) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (path, from_us) DO UPDATE SET until_us = excluded.until_us, reason = excluded.reason",
    )
    .bind(path.as_str())
    .bind(gap.from.unix_us())
    .bind(gap.until.map(WallTime::unix_us))
    .bind(gap.reason.as_str())
    .execute(writing)
    .await?;
    Ok(())
}
