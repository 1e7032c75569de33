//! Shim: a program's disk and clock in the test's hands (peers/shim.c): what it did to the disk, calls that fail, a clock that is set.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::disk_log::DiskLog;
use crate::{peers, workspace};

/// For 300 lines of C, on a busy machine.
const COMPILE_LIMIT: Duration = Duration::from_secs(60);
/// `struct control` of peers/shim.c.
const CONTROL_BYTES: u64 = 24;

/// Calls that can be made to fail: for recordings, not for their catalogue.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    /// Bytes.
    Write = 0,
    /// fsync and fdatasync.
    Sync = 4,
    /// Names made or removed.
    Name = 8,
}

/// See the module's header.
#[derive(Debug)]
pub struct Shim {
    dir: tempfile::TempDir,
    control: File,
    library: PathBuf,
    disk: PathBuf,
}

impl Shim {
    /// For what lies below the folder `disk`.
    ///
    /// # Errors
    /// When the C compiler is missing or complains.
    pub async fn new(disk: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let control = File::create(dir.path().join("control"))?;
        control.set_len(CONTROL_BYTES)?;
        Ok(Self { dir, control, library: library().await?, disk: disk.to_owned() })
    }

    /// What a program must be started with.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("GTV_SHIM_DISK", self.disk.clone().into()),
            ("GTV_SHIM_LOG", self.dir.path().join("log").into()),
            ("GTV_SHIM_CONTROL", self.dir.path().join("control").into()),
        ]
    }

    /// Makes a call fail from now on, or succeed again.
    ///
    /// # Errors
    /// When the control page can't be written.
    pub fn fail(&self, call: Call, error: Option<Errno>) -> anyhow::Result<()> {
        let number = error.map_or(0, Errno::raw_os_error);
        Ok(self.control.write_all_at(&number.to_ne_bytes(), call as u64)?)
    }

    /// Lets each sync take so long.
    ///
    /// # Errors
    /// When the control page can't be written.
    pub fn sync_takes(&self, time: Duration) -> anyhow::Result<()> {
        let ms = i32::try_from(time.as_millis())?;
        Ok(self.control.write_all_at(&ms.to_ne_bytes(), 12)?)
    }

    /// Sets the program's wall clock: so many seconds ahead of ours, or behind.
    ///
    /// # Errors
    /// When the control page can't be written.
    pub fn set_clock(&self, ahead_s: i64) -> anyhow::Result<()> {
        Ok(self.control.write_all_at(&(ahead_s * 1_000_000).to_ne_bytes(), 16)?)
    }

    /// What was done to the disk so far.
    ///
    /// # Errors
    /// When the log is torn.
    pub fn log(&self) -> anyhow::Result<DiskLog> {
        DiskLog::parse(std::fs::read(self.dir.path().join("log"))?.into())
    }
}

/// The compiled shim, made once for each of its versions.
async fn library() -> anyhow::Result<PathBuf> {
    let source = workspace::peer("shim.c");
    let digest = Sha256::digest(std::fs::read(&source)?);
    let name = format!("shim-{:02x}{:02x}{:02x}{:02x}.so", digest[0], digest[1], digest[2], digest[3]);
    let folder = workspace::target_dir("shim")?;
    let library = folder.join(name);
    if !library.exists() {
        let new = tempfile::Builder::new().suffix(".so").tempfile_in(&folder)?;
        let mut command = Command::new("cc");
        command.args(["-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o"]).arg(new.path()).arg(&source);
        let output = peers::run(command, COMPILE_LIMIT).await?;
        ensure!(output.success && output.stderr.is_empty(), "cc: {}", output.stderr);
        new.persist(&library).context("keep the shim")?;
    }
    Ok(library)
}
