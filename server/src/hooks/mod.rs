//! Hooks: commands that run when something happens (`runOn...`), as MediaMTX runs them.
//!
//! ```text
//!  events ─begin─► task ─► wait for a place ─► process group ─ended─► pause, again (runOn...Restart)
//!                    │                              └─ it is over ─► SIGINT ─► SIGKILL
//!                    └─────────────────────────────────────────────► the command for its end
//! ```
//!
//! Hooks run on the control runtime: whoever tells of an event hands over a task and goes on. They begin once the listeners
//! are there, since what they start mostly connects to them; when the server ends, all of them end.
//!
//! Belongs here: processes. Does not: what happens (-> `events`), which commands (-> `config::hooks`).
//! Limits: [`PROCESSES_MAX`], [`WAITING_MAX`], [`KILL_AFTER`]. What is refused is counted and logged.

pub(crate) mod command;
pub(crate) mod environment;
pub(crate) mod on_demand;
mod process;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use media_core::path_name::PathName;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info, info_span, warn};

use self::environment::Environment;
use self::process::Process;
use crate::config::hooks::{HookCommand, HookPair};
use crate::runtime::tasks::TaskSet;
use crate::telemetry::hook_metrics::HookMetrics;

/// Processes at once: two a camera of a full server. Further ones wait.
const PROCESSES_MAX: usize = 512;

/// Hooks that may wait for that; a further one is not run.
const WAITING_MAX: usize = 1024;

/// From a command's end to its next start, MediaMTX's too.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// A command has so long to end when it is asked to: encoders finish their files meanwhile.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// And so long when the server itself ends.
const KILL_AFTER_AT_END: Duration = Duration::from_millis(800);

/// A command for something's end may run on so long when the server ends.
const GRACE_AT_END: Duration = Duration::from_millis(1500);

/// All that runs by hooks.
pub(crate) struct Hooks {
    tasks: TaskSet,
    opened: CancellationToken,
    processes: Semaphore,
    waiting: Semaphore,
    /// The system starts one process at a time; a crowd of viewers does not take its threads.
    starting: Semaphore,
    counters: Counters,
}

/// Since the server's start.
#[derive(Default)]
struct Counters {
    started: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    is_refusal_told: AtomicBool,
}

impl Hooks {
    /// Hooks as tasks of `tasks`, on a runtime where they hold up no media. None runs before [`Hooks::open`].
    pub(crate) fn new(tasks: &TaskSet, home: &Handle) -> Arc<Self> {
        Arc::new(Self {
            tasks: tasks.on(Some(home.clone())),
            opened: CancellationToken::new(),
            processes: Semaphore::new(PROCESSES_MAX),
            waiting: Semaphore::new(WAITING_MAX),
            starting: Semaphore::new(1),
            counters: Counters::default(),
        })
    }

    /// Lets hooks run, those too that were begun before.
    pub(crate) fn open(&self) {
        self.opened.cancel();
    }

    /// Runs what a pair has for the begin of something, until the guard that comes back is dropped; then what it has for the
    /// end.
    pub(crate) fn begin(
        self: &Arc<Self>,
        pair: &HookPair,
        path: Option<&PathName>,
        environment: impl FnOnce() -> Environment,
    ) -> Option<DropGuard> {
        if pair.begin.is_none() && pair.end.is_none() {
            return None;
        }
        let ended = self.tasks.token().child_token();
        let guard = ended.clone().drop_guard();
        let (hooks, pair, environment) = (Arc::clone(self), pair.clone(), environment());
        let span = path.map_or_else(|| info_span!("hook"), |path| info_span!("hook", %path));
        self.tasks.spawn(span, async move { hooks.attend(&pair, &environment, &ended).await });
        Some(guard)
    }

    /// Runs a command for something that has happened.
    pub(crate) fn run(
        self: &Arc<Self>,
        command: Option<&HookCommand>,
        path: &PathName,
        environment: impl FnOnce() -> Environment,
    ) {
        let Some(command) = command.cloned() else { return };
        let (hooks, environment) = (Arc::clone(self), environment());
        self.tasks
            .spawn(info_span!("hook", %path), async move { hooks.run_once(&command, &environment).await });
    }

    /// For the metrics.
    pub(crate) fn snapshot(&self) -> HookMetrics {
        let running = PROCESSES_MAX - self.processes.available_permits();
        HookMetrics {
            running: u64::try_from(running).unwrap_or(0),
            started: self.counters.started.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
        }
    }

    async fn attend(&self, pair: &HookPair, environment: &Environment, ended: &CancellationToken) {
        if !self.opened.is_cancelled() {
            tokio::select! {
                () = self.opened.cancelled() => {}
                // It came and went before anything could run.
                () = ended.cancelled() => return,
            }
        }
        if let Some(command) = &pair.begin {
            self.keep_running(command, environment, ended).await;
        }
        let Some(command) = &pair.end else { return };
        ended.cancelled().await;
        self.run_once(command, environment).await;
    }

    /// Runs a command, again and again where that is wanted, until it is over.
    async fn keep_running(
        &self,
        command: &HookCommand,
        environment: &Environment,
        ended: &CancellationToken,
    ) {
        loop {
            self.run_until(command, environment, ended.cancelled()).await;
            if ended.is_cancelled() || !command.restarts {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                () = ended.cancelled() => return,
            }
        }
    }

    /// Runs a command to its end; cut short only when the server ends.
    async fn run_once(&self, command: &HookCommand, environment: &Environment) {
        let server_ended = async {
            self.tasks.token().cancelled().await;
            tokio::time::sleep(GRACE_AT_END).await;
        };
        self.run_until(command, environment, server_ended).await;
    }

    async fn run_until(
        &self,
        command: &HookCommand,
        environment: &Environment,
        over: impl Future<Output = ()>,
    ) {
        let name = command.name;
        let mut over = pin!(over);
        let place = tokio::select! {
            place = self.place(name) => place,
            () = &mut over => return,
        };
        let Some(_place) = place else { return };
        let mut process = match self.start(command, environment).await {
            Ok(process) => process,
            Err(error) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                warn!(hook = name, program = command.line.program(), %error, "hook can't be started");
                return;
            }
        };
        info!(hook = name, "hook started");
        self.counters.started.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            status = process.ended() => self.note_end(name, status),
            () = over => {
                process.end(self.patience()).await;
                debug!(hook = name, "hook stopped");
            }
        }
    }

    /// A place among those that run; `None` when too many wait for one.
    async fn place(&self, name: &'static str) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.processes.try_acquire() {
            self.counters.is_refusal_told.store(false, Ordering::Relaxed);
            return Some(place);
        }
        let Ok(_waits) = self.waiting.try_acquire() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            if !self.counters.is_refusal_told.swap(true, Ordering::Relaxed) {
                warn!(
                    hook = name,
                    running = PROCESSES_MAX,
                    waiting = WAITING_MAX,
                    "too many hooks: some are not run"
                );
            }
            return None;
        };
        self.processes.acquire().await.ok()
    }

    async fn start(&self, command: &HookCommand, environment: &Environment) -> io::Result<Process> {
        let _turn = self.starting.acquire().await.map_err(io::Error::other)?;
        let (line, environment) = (command.line.clone(), environment.clone());
        let started = tokio::task::spawn_blocking(move || Process::start(&line, &environment));
        started.await.map_err(io::Error::other)?
    }

    fn note_end(&self, name: &'static str, status: io::Result<ExitStatus>) {
        match status {
            Ok(status) if status.success() => debug!(hook = name, "hook ended"),
            Ok(status) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                warn!(hook = name, %status, "hook failed");
            }
            Err(error) => warn!(hook = name, %error, "hook can't be waited for"),
        }
    }

    /// How long a command may take to end.
    async fn patience(&self) {
        let server_ended = async {
            self.tasks.token().cancelled().await;
            tokio::time::sleep(KILL_AFTER_AT_END).await;
        };
        tokio::select! {
            () = tokio::time::sleep(KILL_AFTER) => {}
            () = server_ended => {}
        }
    }
}
