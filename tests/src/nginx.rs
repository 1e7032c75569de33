//! nginx: a server of RTMP and of files that was not written here.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::Process;
use crate::{ports, wait};

/// From exec to a listener.
const START_LIMIT: Duration = Duration::from_secs(20);

/// Debian's place for it.
const RTMP_MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";

/// A running nginx with a folder of its own.
pub struct Nginx {
    process: Process,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Takes publishers and players of the application `live`.
    ///
    /// # Errors
    /// When it is not installed or does not listen in time.
    pub async fn rtmp(port: u16) -> anyhow::Result<Self> {
        let module = format!("load_module {RTMP_MODULE};");
        let section =
            format!("rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}");
        Self::start(port, &module, &section).await
    }

    /// Serves the files of a folder to user `ana` with password `hunter2`.
    ///
    /// # Errors
    /// When it is not installed or does not listen in time.
    pub async fn files(port: u16, folder: &Path) -> anyhow::Result<Self> {
        let users = folder.with_extension("users");
        std::fs::write(&users, "ana:{PLAIN}hunter2\n")?;
        let section = format!(
            "http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {}; \
             auth_basic city; auth_basic_user_file {}; }} }}",
            folder.display(),
            users.display()
        );
        Self::start(port, "", &section).await
    }

    async fn start(port: u16, modules: &str, section: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (file, pid) = (dir.path().join("nginx.conf"), dir.path().join("pid"));
        let head = format!(
            "{modules} user root; daemon off; worker_processes 1; pid {}; error_log stderr warn; events {{}}",
            pid.display()
        );
        std::fs::write(&file, format!("{head}\n{section}\n"))?;
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-e").arg("stderr").arg("-p").arg(dir.path()).arg("-c").arg(&file);
        let process = Process::start("nginx", &mut command)?;
        let listening = wait::until("nginx's listener", START_LIMIT, async || ports::is_listened(port));
        listening.await.with_context(|| process.log.tail(20))?;
        Ok(Self { process, _dir: dir })
    }

    /// Ends it at once, with all its connections.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.stop().map(drop)
    }
}
