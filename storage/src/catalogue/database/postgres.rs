//! Postgres: a server, directly or behind PgBouncer in transaction mode.
//!
//! PgBouncer gives each transaction a server connection of its own, and takes it back: whatever is set, locked or prepared
//! lasts until the commit. So every statement is in a transaction, reads too (a statement is sent in two steps, which are two
//! transactions otherwise), has no name, and locks are the transaction's.
//!
//! Invariant: a connection goes back to the pool at rest or not at all: one that something failed on is closed, which takes back
//! what was not committed.
//! Limits: [`CONNECTIONS_MAX`], [`CONNECT_WITHIN`], [`BEGIN_WITHIN`], [`ANSWER_WITHIN`].

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres, SqlStr};
use tokio::time::timeout;

use super::statement::{Query, Row, query};
use super::url::{parsed, shown};
use crate::catalogue::CatalogueError;

/// Connections: one writes, some wait for it, the others read. Beyond them whoever wants one waits.
const CONNECTIONS_MAX: u32 = 8;
/// How long a connection is waited for; then the database counts as away.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a transaction may take to begin: another writer, or a PgBouncer that waits for its server.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// How long a statement may take; then the connection is given up, since its other end may be gone without a word.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// To compile a statement, or to start workers for it, takes longer than any of ours.
const READ: &str = "BEGIN READ ONLY; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0";
/// Whoever is frozen or cut off in the middle of writing holds up the others for 10 s at most.
const WRITE: &str = "BEGIN; \
    SET LOCAL lock_timeout = '5s'; \
    SET LOCAL idle_in_transaction_session_timeout = '10s'; \
    SET LOCAL client_min_messages = 'warning'; \
    SELECT pg_advisory_xact_lock(hashtext('gtvision catalogue'))";

/// sqlx's own table, so that its tools know what they see.
const MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations ( \
    version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), \
    success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";

/// A server's database. Cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::catalogue) struct Server {
    pool: PgPool,
    /// Its address without credentials.
    name: Arc<str>,
}

/// A transaction and its connection.
pub(in crate::catalogue) struct Session {
    connection: PoolConnection<Postgres>,
    is_over: bool,
}

impl Server {
    /// Connects, makes the tables and brings them up to date.
    pub(super) async fn open(url: &str) -> Result<Self, CatalogueError> {
        let options = options(url)?;
        let name: Arc<str> = shown(&options).into();
        // The pool would try for as long as it may, and keep to itself what went wrong.
        match timeout(CONNECT_WITHIN, PgConnection::connect_with(&options)).await {
            Ok(Ok(connection)) => connection.close().await?,
            Ok(Err(sqlx::Error::Io(error))) => return Err(away(&name, &error)),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(away(&name, &NO_CONNECTION)),
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_WITHIN)
            .connect_lazy_with(options);
        let server = Self { pool, name };
        server.migrate().await?;
        Ok(server)
    }

    /// By ourselves: sqlx's migrator locks and prepares for the connection, not for the transaction.
    async fn migrate(&self) -> Result<(), CatalogueError> {
        let migrator = sqlx::migrate!("migrations/postgres");
        let mut session = self.write().await?;
        session.send(SqlStr::from_static(MIGRATIONS)).await?;
        let mut applied: BTreeMap<i64, Vec<u8>> = BTreeMap::new();
        for row in session.fetch_all(query("SELECT version, checksum FROM _sqlx_migrations")).await? {
            applied.insert(row.try_get(0)?, row.try_get(1)?);
        }
        for migration in migrator.iter() {
            match applied.remove(&migration.version) {
                Some(checksum) if checksum == *migration.checksum => {}
                Some(_) => return Err(sqlx::migrate::MigrateError::VersionMismatch(migration.version).into()),
                None => {
                    session.send(migration.sql.clone()).await?;
                    let noted = query(
                        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                         VALUES ($1, $2, TRUE, $3, 0)",
                    );
                    let noted = noted.bind(migration.version).bind(&*migration.description);
                    session.execute(noted.bind(&*migration.checksum)).await?;
                }
            }
        }
        if let Some(newer) = applied.keys().next() {
            return Err(sqlx::migrate::MigrateError::VersionMissing(*newer).into());
        }
        session.commit().await
    }

    /// Reads in a transaction of its own.
    pub(super) async fn read(&self, query: Query) -> Result<Vec<Row>, CatalogueError> {
        let mut session = self.begin(READ).await?;
        let rows = session.fetch_all(query).await?;
        session.commit().await?;
        Ok(rows)
    }

    /// Begins to write, once nobody else does.
    pub(super) async fn write(&self) -> Result<Session, CatalogueError> {
        self.begin(WRITE).await
    }

    async fn begin(&self, how: &'static str) -> Result<Session, CatalogueError> {
        let connection = self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => away(&self.name, &NO_CONNECTION),
            error => error.into(),
        })?;
        let mut session = Session { connection, is_over: false };
        answered(BEGIN_WITHIN, sqlx::raw_sql(how).execute(session.connection())).await?;
        Ok(session)
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl Session {
    /// Sends text of several statements, which takes as long as it takes.
    async fn send(&mut self, text: SqlStr) -> Result<(), CatalogueError> {
        sqlx::raw_sql(text).execute(self.connection()).await?;
        Ok(())
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&mut self, query: Query) -> Result<u64, CatalogueError> {
        let done = answered(ANSWER_WITHIN, query.unnamed().execute(self.connection())).await?;
        Ok(done.rows_affected())
    }

    /// All rows of a statement.
    pub(super) async fn fetch_all(&mut self, query: Query) -> Result<Vec<Row>, CatalogueError> {
        let rows = answered(ANSWER_WITHIN, query.unnamed().fetch_all(self.connection())).await?;
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    /// Ends it, for good.
    pub(super) async fn commit(mut self) -> Result<(), CatalogueError> {
        answered(ANSWER_WITHIN, sqlx::raw_sql("COMMIT").execute(self.connection())).await?;
        self.is_over = true;
        Ok(())
    }

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_over {
            self.connection.close_on_drop();
        }
    }
}

/// What a server says in time.
async fn answered<T>(
    within: Duration,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, CatalogueError> {
    match timeout(within, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CatalogueError::Silent { seconds: within.as_secs() }),
    }
}

const NO_CONNECTION: &str = "no connection within 5 s";

fn away(database: &str, why: &dyn Display) -> CatalogueError {
    CatalogueError::Away { database: database.to_owned(), why: why.to_string() }
}

/// How to connect, so that PgBouncer lets us in as it is installed: it knows no `extra_float_digits`.
fn options(url: &str) -> Result<PgConnectOptions, CatalogueError> {
    let options = parsed(url)?.statement_cache_capacity(0).extra_float_digits(None);
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("gtvision"),
    })
}
