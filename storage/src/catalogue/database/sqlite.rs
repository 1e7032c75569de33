//! SQLite: a file, opened so that a commit is on the disk when it is answered.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection};

use super::Database;
use crate::catalogue::CatalogueError;

/// Connections: one writes, the others answer `/list` and `/get` meanwhile.
pub(in crate::catalogue) const CONNECTIONS_MAX: u32 = 4;
/// How long a statement waits for another process that holds the database, a backup for instance.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A database, and the file that it is in; none in memory or on a server.
pub(in crate::catalogue) struct Opened {
    pub(in crate::catalogue) database: Database,
    pub(in crate::catalogue) file: Option<PathBuf>,
}

/// Opens the database of a URL, made when it is not there.
pub(super) async fn open(url: &str) -> Result<Opened, CatalogueError> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    let file = options.get_filename().to_owned();
    let pool = SqlitePoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .after_release(|connection, _| Box::pin(is_at_rest(connection)))
        .connect_with(options)
        .await?;
    sqlx::migrate!("migrations/sqlite").run(&pool).await?;
    Ok(Opened { database: Database::Sqlite(pool), file: Some(file).filter(|file| file.is_file()) })
}

/// Whether no transaction is left open on a connection; one that is not at rest is closed.
///
/// SQLite itself takes a transaction back when its disk is full. The roll-back that is sent then fails, and the next
/// transaction on the connection would be taken for one within the first: committed for all that we are told, and gone with
/// the connection. Files were deleted that way whose rows came back.
async fn is_at_rest(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Answered once what was sent before is done.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}
