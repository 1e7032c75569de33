//! Database: SQLite or PostgreSQL behind one kind of statement.
//!
//! ```text
//!  query(".. $1 ..").bind(..) ─┬─ fetch_all(&Database)       reads what is committed
//!                              ├─ commit(&Database)          writes by itself
//!                              └─ execute(&mut Writing)      writes with others: all or nothing
//! ```
//!
//! Both take the same text: `$1`, `ON CONFLICT`, `RETURNING`, and what one of them lacks is not written. Sums and constants are
//! cast, since PostgreSQL makes other types of them; text that is compared has the collation `C` there, which is SQLite's order.
//! Tables differ (`migrations/sqlite`, `migrations/postgres`).
//!
//! Invariant: one transaction writes at a time, whoever else uses the database: SQLite has one writer, and PostgreSQL's queue for
//! a lock. So what a look within a transaction found is true until its commit, and no two of them wait for each other.
//!
//! What goes to PostgreSQL is boxed: its driver's futures are large, and everything that asks a catalogue would be.
//! Belongs here: connections, transactions, how statements get there. Does not: what they say (-> `catalogue`).

mod postgres;
mod sqlite;
mod statement;
mod url;

use sqlx::{Sqlite, SqlitePool};

pub use url::{DatabaseUrl, DatabaseUrlError};

#[cfg(test)]
pub(super) use sqlite::CONNECTIONS_MAX;
pub(super) use sqlite::Opened;
pub(super) use statement::{Query, Row, query, query_rows};

use super::CatalogueError;
use url::Address;

/// An open database, shared by everyone.
#[derive(Clone, Debug)]
pub(super) enum Database {
    Sqlite(SqlitePool),
    Postgres(postgres::Server),
}

/// A transaction that writes. Dropped without [`Writing::commit`] it changes nothing.
pub(super) enum Writing {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(postgres::Session),
}

impl Database {
    /// Opens a database, makes its tables and brings them up to date.
    pub(super) async fn open(url: &DatabaseUrl) -> Result<Opened, CatalogueError> {
        match url.address() {
            Address::Sqlite(url) => sqlite::open(url).await,
            Address::Postgres(url) => {
                let server = Box::pin(postgres::Server::open(url)).await?;
                Ok(Opened { database: Self::Postgres(server), file: None })
            }
        }
    }

    /// Begins to write, once nobody else does.
    pub(super) async fn write(&self) -> Result<Writing, CatalogueError> {
        Ok(match self {
            Self::Sqlite(pool) => Writing::Sqlite(pool.begin().await?),
            Self::Postgres(server) => Writing::Postgres(Box::pin(server.write()).await?),
        })
    }

    /// Closes all connections.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(server) => server.close().await,
        }
    }
}

impl Writing {
    /// Makes it so, for good.
    pub(super) async fn commit(self) -> Result<(), CatalogueError> {
        match self {
            Self::Sqlite(transaction) => Ok(transaction.commit().await?),
            Self::Postgres(session) => Box::pin(session.commit()).await,
        }
    }
}
