//! Settings: what was configured through the API.

use super::database::{Row, query};
use super::{Catalogue, CatalogueError};
use crate::settings::SettingsRow;

impl Catalogue {
    /// All settings.
    pub(crate) async fn settings(&self) -> Result<Vec<SettingsRow>, CatalogueError> {
        let rows = query("SELECT section, name, mode, sealed FROM settings ORDER BY section, name")
            .fetch_all(&self.database)
            .await?;
        let row = |row: &Row| {
            Ok(SettingsRow {
                section: row.try_get(0)?,
                name: row.try_get(1)?,
                mode: row.try_get(2)?,
                sealed: row.try_get(3)?,
            })
        };
        rows.iter().map(row).collect()
    }

    /// Writes some and takes others away (section and name), all or none.
    pub(crate) async fn change_settings(
        &self,
        written: &[SettingsRow],
        removed: &[(String, String)],
    ) -> Result<(), CatalogueError> {
        let mut writing = self.database.write().await?;
        for (section, name) in removed {
            query("DELETE FROM settings WHERE section = $1 AND name = $2")
                .bind(section)
                .bind(name)
                .execute(&mut writing)
                .await?;
        }
        for row in written {
            query(
                "INSERT INTO settings (section, name, mode, sealed) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (section, name) DO UPDATE SET mode = excluded.mode, sealed = excluded.sealed",
            )
            .bind(&row.section)
            .bind(&row.name)
            .bind(&row.mode)
            .bind(row.sealed.as_slice())
            .execute(&mut writing)
            .await?;
        }
        writing.commit().await
    }
}
