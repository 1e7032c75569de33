//! Settings: what was configured through the API, kept in the catalogue's database; what is in it is its owner's business.

use crate::catalogue::{Catalogue, CatalogueError, DatabaseUrl};

/// One section's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsRow {
    /// Which section.
    pub section: String,
    /// Of which entry in it; empty where there is one only.
    pub name: String,
    /// How they are laid over those of the file.
    pub mode: String,
    /// The settings, encrypted.
    pub sealed: Vec<u8>,
}

/// The database as a place of settings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SettingsStore {
    catalogue: Catalogue,
}

impl SettingsStore {
    /// Opens the database, a file being made when it is not there.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn open(database: &DatabaseUrl) -> Result<Self, CatalogueError> {
        Ok(Self { catalogue: Catalogue::open(database).await? })
    }

    /// All settings.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn all(&self) -> Result<Vec<SettingsRow>, CatalogueError> {
        self.catalogue.settings().await
    }

    /// Writes some and takes others away (section and name), all or none.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub async fn change(
        &self,
        written: &[SettingsRow],
        removed: &[(String, String)],
    ) -> Result<(), CatalogueError> {
        self.catalogue.change_settings(written, removed).await
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.catalogue.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_database;

    #[tokio::test]
    async fn settings_are_written_changed_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let database = test_database::new_in(folder.path());
        let store = SettingsStore::open(&database).await.unwrap();
        let row = |name: &str, mode: &str| SettingsRow {
            section: "path".to_owned(),
            name: name.to_owned(),
            mode: mode.to_owned(),
            sealed: vec![1, 2],
        };
        store.change(&[row("a", "over"), row("b", "whole")], &[]).await.unwrap();
        store.change(&[row("b", "gone")], &[("path".to_owned(), "a".to_owned())]).await.unwrap();
        store.close().await;
        let store = SettingsStore::open(&database).await.unwrap();
        assert_eq!(store.all().await.unwrap(), [row("b", "gone")]);
        store.close().await;
    }
}
