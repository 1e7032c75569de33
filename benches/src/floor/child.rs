//! Child: the receiving process of a floor, started from the same program.
//!
//! It ends when its standard input closes, so it can't outlive a floor that is killed.

use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::{Child, Command};

/// Starts `floor sink ARGS` of this program.
///
/// # Errors
/// When it can't be started.
pub(super) fn spawn_sink(args: &[String], stdout: Stdio) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("find this program")?;
    Command::new(program)
        .args(["floor", "sink"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .kill_on_drop(true)
        .spawn()
        .context("start the receiving process")
}
