//! Thumbnails: what those beside a file come to, so that quotas count them.

use std::path::Path;

use sqlx::SqliteConnection;

use super::{CatalogueError, signed};

/// Notes how long they are; nothing where the file is not known, or not any more. They are forgotten with it.
pub(super) async fn write_thumbnails(
    connection: &mut SqliteConnection,
    name: &Path,
    bytes: u64,
) -> Result<(), CatalogueError> {
    sqlx::query(
        "INSERT INTO thumbnails (file, path, bytes) SELECT id, path, $1 FROM files WHERE name = $2 \
         ON CONFLICT (file) DO UPDATE SET bytes = excluded.bytes",
    )
    .bind(signed(bytes))
    .bind(name.to_string_lossy())
    .execute(connection)
    .await?;
    Ok(())
}
