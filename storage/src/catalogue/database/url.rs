//! Url: where a catalogue is, as an operator writes it; shown without what nobody else should know.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;

/// What may stand behind the `?` of PostgreSQL's address. The driver itself warns of others with their values, and one of them
/// could be a password under a name that was mistyped.
const PARAMETERS: [&str; 10] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// A database that a catalogue may be in: `sqlite:FILE` or `postgres://USER:PASSWORD@HOST:PORT/DATABASE`.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Address);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Address {
    Sqlite(String),
    Postgres(String),
}

/// A text that is no address of a database. It holds none of the text, which may have a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// Neither SQLite nor PostgreSQL.
    #[error("not an address of a database: write sqlite:FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Scheme,
    /// What follows makes no sense.
    #[error(
        "not an address of PostgreSQL: write postgres://USER:PASSWORD@HOST:PORT/DATABASE, special characters of it as %XX"
    )]
    Malformed,
    /// Behind the `?`.
    #[error(
        "not an address of PostgreSQL: behind its ? it takes sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user, password and application_name"
    )]
    Parameter,
}

impl DatabaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`DatabaseUrlError`].
    pub fn parse(text: &str) -> Result<Self, DatabaseUrlError> {
        if let Some(file) = text.strip_prefix("sqlite:") {
            return match file {
                "" => Err(DatabaseUrlError::Scheme),
                _ => Ok(Self(Address::Sqlite(text.to_owned()))),
            };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(DatabaseUrlError::Scheme);
        }
        let parameters = text.split_once('?').map_or("", |(_, parameters)| parameters);
        let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
        let known = |parameter: &str| PARAMETERS.contains(&name(parameter).as_str());
        if !parameters.split('&').filter(|parameter| !parameter.is_empty()).all(known) {
            return Err(DatabaseUrlError::Parameter);
        }
        parsed(text).map_err(|_| DatabaseUrlError::Malformed)?;
        Ok(Self(Address::Postgres(text.to_owned())))
    }

    /// A file.
    pub fn sqlite(file: &Path) -> Self {
        Self(Address::Sqlite(format!("sqlite:{}", file.display())))
    }

    /// The file that it is in; `None` for a server.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.0 {
            Address::Sqlite(url) => {
                let file = url.trim_start_matches("sqlite:").trim_start_matches("//");
                Some(file.split('?').next().unwrap_or_default().into())
            }
            Address::Postgres(_) => None,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Sqlite(url) => f.write_str(url),
            Address::Postgres(url) => match parsed(url) {
                Ok(options) => f.write_str(&shown(&options)),
                Err(_) => f.write_str("postgres://"),
            },
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The driver's reading of an address.
pub(super) fn parsed(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    PgConnectOptions::from_str(url)
}

/// Host, port and database.
pub(super) fn shown(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or(options.get_host().into(), |socket| socket.to_string_lossy());
    let database = options.get_database().unwrap_or(options.get_username());
    format!("postgres://{host}:{}/{database}", options.get_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_user_and_password() {
        let url = "postgresql://ana:not-told@db.example:6432/city?sslmode=verify-full&password=nor-this";
        let shown = format!("{0} {0:?}", DatabaseUrl::parse(url).unwrap());
        assert_eq!(shown, "postgres://db.example:6432/city postgres://db.example:6432/city");
        let socket = DatabaseUrl::parse("postgres:///city?host=/run/postgresql&user=ana").unwrap();
        assert_eq!(socket.to_string(), "postgres:///run/postgresql:5432/city");
        assert_eq!(DatabaseUrl::parse("sqlite:a/b.db").unwrap().to_string(), "sqlite:a/b.db");
    }

    #[test]
    fn what_is_no_address_is_refused_without_telling_it() {
        let refused = [
            ("sqlite:", DatabaseUrlError::Scheme),
            ("mysql://ana:not-told@db/city", DatabaseUrlError::Scheme),
            ("postgres://ana:not-told@db:port/city", DatabaseUrlError::Malformed),
            ("postgres://db/city?sslmode=maybe", DatabaseUrlError::Malformed),
            ("postgres://db/city?pasword=not-told", DatabaseUrlError::Parameter),
        ];
        for (text, expected) in refused {
            let error = DatabaseUrl::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("not-told"));
        }
    }

    #[test]
    fn a_file_is_found_in_its_address() {
        let file = |text: &str| DatabaseUrl::parse(text).unwrap().file();
        assert_eq!(file("sqlite:a/b.db"), Some("a/b.db".into()));
        assert_eq!(file("sqlite:///var/b.db?mode=rwc"), Some("/var/b.db".into()));
        assert_eq!(file("postgres://db/city"), None);
    }
}
