//! Peers: programs that were not written here, run to their end or held as a service.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::workspace;

/// What a finished program left.
#[derive(Debug)]
pub struct Output {
    /// Whether it ended with status 0.
    pub success: bool,
    /// The status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command to its end.
///
/// # Errors
/// When it can't be started, or is not over after `limit` (it is killed then).
pub async fn run(command: Command, limit: Duration) -> anyhow::Result<Output> {
    let what = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {what}"))?;
    let output = tokio::time::timeout(limit, child.wait_with_output())
        .await
        .with_context(|| format!("not over in {limit:?}: {what}"))??;
    Ok(Output {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a script of `tests/peers` to its end and gives the JSON that it printed last.
///
/// # Errors
/// When it fails, takes longer than `limit`, or prints no JSON.
pub async fn script(name: &str, args: &[&str], limit: Duration) -> anyhow::Result<Value> {
    let mut command = command_for(name)?;
    command.args(args);
    let output = run(command, limit).await?;
    ensure!(output.success, "{name} failed:\n{}{}", output.stdout, output.stderr);
    let line = output.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("{name} said {:?}", output.stdout))
}

/// Starts a script of `tests/peers` that serves until it is stopped; gives its ready line.
///
/// # Errors
/// When it is not ready after `limit`.
pub async fn serve(name: &str, args: &[&str], limit: Duration) -> anyhow::Result<(Process, Value)> {
    let mut command = command_for(name)?;
    let mut process = Process::start(name, command.args(args))?;
    let ready = process.ready_line(limit).await?;
    Ok((process, ready))
}

/// Which interpreter runs a script: node for `.mjs`; the system's Python for scripts that
/// use the system's GStreamer (`gst_*.py`); the virtual environment's for others.
fn command_for(name: &str) -> anyhow::Result<Command> {
    let cache = workspace::root().join(".cache");
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    let mut command = match extension {
        Some("mjs") => {
            let mut command = Command::new("node");
            command.env("GTV_NODE_MODULES", cache.join("node/node_modules"));
            command
        }
        _ if name.starts_with("gst_") => Command::new("/usr/bin/python3"),
        _ => {
            let python = cache.join("venv/bin/python");
            ensure!(python.exists(), "{} is missing: tests/setup/install.sh", python.display());
            Command::new(python)
        }
    };
    command.arg(workspace::peer(name));
    Ok(command)
}
