//! Process: one run of a command, in a process group of its own, so that what it starts ends with it.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tracing::{debug, warn};

use super::command::CommandLine;
use super::environment::Environment;

/// How often it is looked whether a group is empty whose first process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A command that runs. Output goes where the server's own does, as with MediaMTX.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts a command. Blocks for as long as the system takes; to be called within a runtime.
    ///
    /// # Errors
    /// As the system says: no such program, no more processes.
    pub(super) fn start(line: &CommandLine, environment: &Environment) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let (program, arguments) = line.words(environment);
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        environment.apply(&mut command);
        let child = tokio::process::Command::from(command).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }

    /// Waits for the command's end; what it left running is its own affair. Cancel-safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Has the whole group end: SIGINT, as MediaMTX does, and SIGKILL once `patience` is over.
    pub(super) async fn end(mut self, patience: impl Future<Output = ()>) {
        self.signal(Signal::INT);
        tokio::select! {
            () = self.gone() => {}
            () = patience => {
                warn!(group = self.group.map(Pid::as_raw_pid), "hook does not end and is killed");
                self.signal(Signal::KILL);
                self.reap().await;
            }
        }
    }

    async fn gone(&mut self) {
        self.reap().await;
        let mut looks = tokio::time::interval(LOOK);
        // The group's number is not given to others so soon: the system gives numbers in turn.
        while self.group.is_some_and(|group| test_kill_process_group(group).is_ok()) {
            looks.tick().await;
        }
    }

    async fn reap(&mut self) {
        if let Err(error) = self.child.wait().await {
            warn!(%error, "hook can't be waited for");
        }
    }

    fn signal(&self, signal: Signal) {
        let Some(group) = self.group else { return };
        if let Err(error) = kill_process_group(group, signal) {
            debug!(%error, "hook has ended by itself");
        }
    }
}
