//! Settings: what was configured through the API.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{Catalogue, CatalogueError};
use crate::settings::SettingsRow;

impl Catalogue {
    /// All settings.
    pub(crate) async fn settings(&self) -> Result<Vec<SettingsRow>, CatalogueError> {
        let rows = sqlx::query("SELECT section, name, mode, sealed FROM settings ORDER BY section, name")
            .fetch_all(&self.pool)
            .await?;
        let row = |row: SqliteRow| SettingsRow {
            section: row.get(0),
            name: row.get(1),
            mode: row.get(2),
            sealed: row.get(3),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Writes some and takes others away (section and name), all or none.
    pub(crate) async fn change_settings(
        &self,
        written: &[SettingsRow],
        removed: &[(String, String)],
    ) -> Result<(), CatalogueError> {
        let mut transaction = self.pool.begin().await?;
        for (section, name) in removed {
            sqlx::query("DELETE FROM settings WHERE section = ? AND name = ?")
                .bind(section)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
        }
        for row in written {
            sqlx::query(
                "INSERT INTO settings (section, name, mode, sealed) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (section, name) DO UPDATE SET mode = excluded.mode, sealed = excluded.sealed",
            )
            .bind(&row.section)
            .bind(&row.name)
            .bind(&row.mode)
            .bind(&row.sealed)
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }
}
