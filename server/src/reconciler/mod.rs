//! Reconciler: has the server be what its configuration says, now and after each change.
//!
//! ```text
//!  file changed, SIGHUP ─► load ─┬─ wrong: the log says why, nothing changes
//!                                └─► apply ─► paths, recording, listeners: each compares and changes what differs
//!  paths made, gone; time to try again ─► recording
//! ```
//!
//! Level-triggered: each owner is told all that is wanted and finds out by itself what to do, so that what failed is done with
//! the next change. One change at a time.
//! Belongs here: the order. Does not: how anything is changed (-> paths, listeners, egress::recorder).

mod file_watch;
pub(crate) mod reloads;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

pub(crate) use self::file_watch::FileWatch;
use self::reloads::Reloads;
use crate::config::resolved::Config;
use crate::config::{Loaded, Source};
use crate::egress::recorder::Recording;
use crate::http_listener::ListenError;
use crate::listeners::{Egress, Listeners};
use crate::paths::Paths;
use crate::telemetry::logging::LogControl;

/// What could not be recorded is tried again so often.
const RECORDING_RETRY: Duration = Duration::from_secs(10);

/// See the module's header.
pub(crate) struct Reconciler {
    pub(crate) source: Source,
    pub(crate) in_force: Config,
    pub(crate) log: LogControl,
    pub(crate) paths: Arc<Paths>,
    pub(crate) recording: Recording,
    pub(crate) egress: Arc<Egress>,
    pub(crate) listeners: Listeners,
    pub(crate) reloads: Arc<Reloads>,
    /// When recording is tried again.
    pub(crate) recording_due: Option<Instant>,
}

impl Reconciler {
    /// Puts the first configuration into force. Recording may come later; listeners may not.
    ///
    /// # Errors
    /// The first [`ListenError`].
    pub(crate) async fn start(&mut self) -> Result<(), ListenError> {
        self.paths.apply(&self.in_force);
        info!(paths = self.in_force.paths.len(), patterns = self.in_force.patterns.len(), "paths configured");
        self.record().await;
        self.listeners.apply(&self.in_force).await.into_iter().next().map_or(Ok(()), Err)
    }

    /// Reads the configuration again and puts it into force; a wrong one changes nothing.
    pub(crate) async fn reload(&mut self) {
        match self.source.load() {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
                self.apply(loaded).await;
            }
            Err(error) => {
                self.reloads.refused();
                error!("configuration is not changed, it is wrong:\n{error}");
            }
        }
    }

    async fn apply(&mut self, loaded: Loaded) {
        let wanted = loaded.config;
        if wanted == self.in_force {
            info!("configuration was read again and says the same");
            self.reloads.applied();
            return;
        }
        for what in needs_restart(&self.in_force, &wanted) {
            warn!("another {what} takes effect when the server is started the next time");
        }
        if wanted.logging.level != self.in_force.logging.level {
            self.log.set_level(wanted.logging.level);
        }
        for gone in self.paths.apply(&wanted) {
            self.egress.end_sessions_of(&gone);
        }
        self.in_force = wanted;
        self.listeners.release_hls(&self.in_force);
        self.record().await;
        let faults = self.listeners.apply(&self.in_force).await;
        for fault in &faults {
            error!("listener stays as it was: {fault}");
        }
        if faults.is_empty() {
            self.reloads.applied();
            info!(paths = self.in_force.paths.len(), "configuration changed");
        } else {
            self.reloads.refused();
        }
    }

    /// Has recorded what should be.
    pub(crate) async fn record(&mut self) {
        let was_open = self.recording.slot.get().is_some();
        let is_done = self.recording.apply(&self.in_force, &self.paths).await;
        self.recording_due = (!is_done).then(|| Instant::now() + RECORDING_RETRY);
        if !was_open && self.recording.slot.get().is_some() {
            info!("recordings are on");
        }
    }

    /// What could not be recorded, once more; and what waits for that.
    pub(crate) async fn record_again(&mut self) {
        self.record().await;
        // Playback begins with the first recorder.
        for fault in self.listeners.apply(&self.in_force).await {
            error!("{fault}");
        }
    }

    /// Resolves when it is time for that. Cancel-safe.
    pub(crate) async fn recording_due(due: Option<Instant>) {
        match due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

/// What can't be changed while the server runs.
fn needs_restart(before: &Config, wanted: &Config) -> Vec<&'static str> {
    let mut needs = Vec::new();
    if before.database != wanted.database {
        needs.push("database");
    }
    let (old, new) = (&before.logging, &wanted.logging);
    if (old.stdout, &old.file, old.format) != (new.stdout, &new.file, new.format) {
        needs.push("log destination or format");
    }
    needs
}
