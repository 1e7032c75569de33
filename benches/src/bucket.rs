//! Bucket: an S3 store that our server copies its recordings to, as a process of its own: what it costs is nobody's figure.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use gtvision_tests::s3::Store;
use gtvision_tests::workspace;

use crate::program::Program;

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running store with an empty bucket.
pub(crate) struct Bucket {
    /// The server's section `s3`.
    pub(crate) settings: BTreeMap<String, String>,
    // Ends before its folder does.
    _process: Program,
    folder: tempfile::TempDir,
}

impl Bucket {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        // On the disk that recordings are on, and gone with this value: the store is ended without being asked.
        let folder = tempfile::tempdir_in(workspace::target_dir("load")?)?;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        let mut process = Program::start("bucket", command.arg("bucket").env("TMPDIR", folder.path()))?;
        let settings = serde_json::from_value(process.ready_line(START_LIMIT).await?)?;
        Ok(Self { settings, _process: process, folder })
    }

    /// How many files were copied.
    ///
    /// # Errors
    /// When its folder can't be read.
    pub(crate) fn files(&self) -> anyhow::Result<usize> {
        recordings_below(self.folder.path())
    }
}

fn recordings_below(folder: &Path) -> anyhow::Result<usize> {
    let mut files = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files += recordings_below(&entry.path())?;
        } else {
            files += usize::from(entry.path().extension().is_some_and(|extension| extension == "mp4"));
        }
    }
    Ok(files)
}

/// Is the store, until it is ended; its ready line is the section `s3`.
///
/// # Errors
/// When it can't listen.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let store = Store::start()?;
    let settings: BTreeMap<&str, String> = store.settings()?.into_iter().collect();
    crate::print(&format!("{}\n", serde_json::to_string(&settings)?))?;
    std::future::pending().await
}
