//! Thumbnails: what those beside a file come to, so that quotas count them.

use std::path::Path;

use super::database::{Writing, query_rows};
use super::write::ROWS_MAX;
use super::{CatalogueError, signed};

/// Notes how long they are; nothing where the file is not known, not any more, or not on its disk any more, which they leave
/// with it. They are forgotten with it.
pub(super) async fn write_thumbnails(
    writing: &mut Writing,
    told: &[(&Path, u64)],
) -> Result<(), CatalogueError> {
    for told in told.chunks(ROWS_MAX) {
        let rows = query_rows(
            "INSERT INTO thumbnails (file, path, bytes) SELECT id, path, column2 FROM (VALUES",
            2,
            ") AS told CROSS JOIN files WHERE name = column1 \
             AND NOT EXISTS (SELECT 1 FROM objects WHERE object_file = id AND local_state <> 'there') \
             ON CONFLICT (file) DO UPDATE SET bytes = excluded.bytes",
        );
        let rows = told
            .iter()
            .fold(rows, |rows, (name, bytes)| rows.bind(name.to_string_lossy()).bind(signed(*bytes)));
        rows.execute(writing).await?;
    }
    Ok(())
}
