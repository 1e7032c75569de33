//! Kept: the API's layer in the database, a row for the whole server, one for the defaults and one for each path.

use std::path::{Path, PathBuf};

use control_api::Settings;
use storage::{CatalogueError, DatabaseUrl, SettingsRow, SettingsStore};

use super::layer::{Layer, Mode, PathLayer};
use super::seal::{SealError, Sealer};

const GLOBAL: &str = "global";
const PATH_DEFAULTS: &str = "pathDefaults";
const PATH: &str = "path";

/// Why settings can't be read or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// The database said no.
    #[error(transparent)]
    Database(#[from] CatalogueError),
    /// They can't be encrypted or decrypted.
    #[error("settings can't be sealed or opened: {0}")]
    Seal(#[from] SealError),
    /// A row that we would not have written.
    #[error("settings of {place:?} make no sense")]
    Row {
        /// Section and name.
        place: String,
    },
}

/// The folder that a database is in, where keys and exports lie too; of one on a server, the folder that we were started in.
pub(crate) fn beside(database: &DatabaseUrl) -> PathBuf {
    database.file().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default()
}

/// The layer that a database holds; an empty one where there is no database yet.
///
/// # Errors
/// [`KeptError`].
pub(crate) async fn load(database: &DatabaseUrl) -> Result<Layer, KeptError> {
    if is_missing(database).await {
        return Ok(Layer::default());
    }
    let store = SettingsStore::open(database).await?;
    let rows = store.all().await;
    store.close().await;
    let rows = rows?;
    let mut layer = Layer::default();
    if rows.is_empty() {
        return Ok(layer);
    }
    let sealer = sealer(database).await?;
    for row in rows {
        let place = place(&row.section, &row.name);
        let text = sealer.unseal(&place, &row.sealed)?;
        let nonsense = || KeptError::Row { place: place.clone() };
        let settings: Settings = serde_json::from_str(&text).map_err(|_| nonsense())?;
        let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == row.mode).ok_or_else(nonsense)?;
        match row.section.as_str() {
            GLOBAL => layer.global = settings,
            PATH_DEFAULTS => layer.path_defaults = settings,
            PATH => drop(layer.paths.insert(row.name, PathLayer { mode, settings })),
            _ => return Err(nonsense()),
        }
    }
    Ok(layer)
}

/// Makes what a database holds of `before` that of `after`.
///
/// # Errors
/// [`KeptError`]; then nothing is changed.
pub(crate) async fn save(database: &DatabaseUrl, before: &Layer, after: &Layer) -> Result<(), KeptError> {
    let (old, new) = (rows(before), rows(after));
    let sealer = sealer(database).await?;
    let mut written = Vec::new();
    for row in new.iter().filter(|row| !old.contains(row)) {
        let (section, name, mode, settings) = *row;
        let text = serde_json::Value::Object(settings.clone()).to_string();
        let sealed = sealer.seal(&place(section, name), &text)?;
        let (section, name, mode) = (section.to_owned(), name.to_owned(), mode.as_str().to_owned());
        written.push(SettingsRow { section, name, mode, sealed });
    }
    let names = |(section, name, ..): &Row<'_>| ((*section).to_owned(), (*name).to_owned());
    let kept: Vec<_> = new.iter().map(names).collect();
    let removed: Vec<_> = old.iter().map(names).filter(|names| !kept.contains(names)).collect();
    let store = SettingsStore::open(database).await?;
    let changed = store.change(&written, &removed).await;
    store.close().await;
    Ok(changed?)
}

/// Section, name, mode and settings.
type Row<'a> = (&'a str, &'a str, Mode, &'a Settings);

fn rows(layer: &Layer) -> Vec<Row<'_>> {
    let whole = [(GLOBAL, &layer.global), (PATH_DEFAULTS, &layer.path_defaults)];
    let whole = whole.into_iter().filter(|(_, settings)| !settings.is_empty());
    let whole = whole.map(|(section, settings)| (section, "", Mode::Over, settings));
    let paths = layer.paths.iter().map(|(name, path)| (PATH, name.as_str(), path.mode, &path.settings));
    whole.chain(paths).collect()
}

/// What a row is sealed for.
fn place(section: &str, name: &str) -> String {
    format!("{section} {name}")
}

async fn sealer(database: &DatabaseUrl) -> Result<Sealer, KeptError> {
    let folder = beside(database);
    let opened = tokio::task::spawn_blocking(move || Sealer::open(&folder)).await;
    let panicked = |_| KeptError::Row { place: "key".to_owned() };
    Ok(opened.map_err(panicked)??)
}

/// A database in a file that is not there: nothing was ever kept.
async fn is_missing(database: &DatabaseUrl) -> bool {
    let Some(file) = database.file() else { return false };
    !tokio::fs::try_exists(file).await.unwrap_or(true)
}
