//! Adopt: which disk belongs at a folder of recordings, decided once and remembered.
//!
//! | the catalogue remembers | at the folder | the catalogue's files there | |
//! | --- | --- | --- | --- |
//! | an identity | the same | | it is ours |
//! | an identity | another, or none | | refused |
//! | none | an identity, or none | there are none, or some of the newest are found | ours; an identity is made and remembered |
//! | none | an identity, or none | none of them is found | refused: its disk is not mounted |

use std::path::PathBuf;
use std::sync::Arc;

use media_core::time::WallTime;

use crate::catalogue::{Catalogue, CatalogueError};
use crate::root::{Root, make_identity};

/// Files looked for before a folder without identity is believed to be the one that the catalogue knows.
const FILES_LOOKED_FOR: u32 = 16;

/// Why a folder is not written into; says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("its disk {known} is not there: mount it; for another disk to take its place, write that id into {}", file.display())]
    Missing { known: String, file: PathBuf },
    #[error("another disk is there: {found}, not {known}; for it to take over, write the latter into {}", file.display())]
    Another { known: String, found: String, file: PathBuf },
    #[error(
        "none of the files that the catalogue knows there is found: mount their disk, or point \"database\" to a new file"
    )]
    FilesGone,
    #[error("it can't be prepared: {0}")]
    Io(String),
}

/// Decides about a folder from a fresh look at it.
pub(crate) async fn adopt(
    catalogue: &Catalogue,
    root: &Arc<Root>,
    now: WallTime,
) -> Result<Result<(), Refusal>, CatalogueError> {
    let found = match blocking({
        let root = Arc::clone(root);
        move || root.look().identity
    })
    .await
    {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let file = root.folder.join(".gtvision/disk");
    let known = catalogue.known_disk(&root.folder).await?;
    let id = match (known, found) {
        (Some(known), Some(found)) if known == found => known,
        (Some(known), Some(found)) => return Ok(Err(Refusal::Another { known, found, file })),
        (Some(known), None) => return Ok(Err(Refusal::Missing { known, file })),
        (None, found) => match first_use(catalogue, root, found, now).await? {
            Ok(id) => id,
            Err(refusal) => return Ok(Err(refusal)),
        },
    };
    root.set_known(id);
    let root = Arc::clone(root);
    Ok(blocking(move || root.look()).await.map(drop))
}

/// The identity of a folder that the catalogue has none of.
async fn first_use(
    catalogue: &Catalogue,
    root: &Arc<Root>,
    found: Option<String>,
    now: WallTime,
) -> Result<Result<String, Refusal>, CatalogueError> {
    let files = catalogue.newest_below(&root.folder, FILES_LOOKED_FOR).await?;
    let folder = root.folder.clone();
    let prepared = blocking(move || {
        if !files.is_empty() && !files.iter().any(|file| file.exists()) {
            return Err(Refusal::FilesGone);
        }
        let made = |error: std::io::Error| Refusal::Io(error.to_string());
        found.map_or_else(|| make_identity(&folder, &rfc3339(now)).map_err(made), Ok)
    });
    let id = match prepared.await.and_then(|prepared| prepared) {
        Ok(id) => id,
        Err(refusal) => return Ok(Err(refusal)),
    };
    catalogue.remember_disk(&root.folder, &id, now).await?;
    tracing::info!(root = %root.folder.display(), id, "disk of recordings is known from now on");
    Ok(Ok(id))
}

/// Runs what may hang with a disk on a thread for such things.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Io(error.to_string()))
}

fn rfc3339(time: WallTime) -> String {
    jiff::Timestamp::from_microsecond(time.unix_us()).unwrap_or_default().to_string()
}
