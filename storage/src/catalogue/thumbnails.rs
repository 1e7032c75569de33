//! Thumbnails: what those beside a file come to, so that quotas count them.

use std::path::Path;

use super::database::{Writing, query};
use super::{CatalogueError, signed};

/// Notes how long they are; nothing where the file is not known, or not any more. They are forgotten with it.
pub(super) async fn write_thumbnails(
    writing: &mut Writing,
    name: &Path,
    bytes: u64,
) -> Result<(), CatalogueError> {
    query(
        "INSERT INTO thumbnails (file, path, bytes) SELECT id, path, CAST($1 AS BIGINT) FROM files WHERE name = $2 \
         ON CONFLICT (file) DO UPDATE SET bytes = excluded.bytes",
    )
    .bind(signed(bytes))
    .bind(name.to_string_lossy())
    .execute(writing)
    .await?;
    Ok(())
}
