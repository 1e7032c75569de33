//! Reconciler: has the server be what its configuration says, now and after each change.
//!
//! ```text
//!  file changed, SIGHUP ─► load ─┬─ wrong: the log says why, nothing changes
//!  API ─► consider ─► keep ──────┴─► apply ─► access, paths, recording, listeners: each compares and changes what differs
//!  paths made, gone; time to try again ─► recording
//! ```
//!
//! Level-triggered: each owner is told all that is wanted and finds out by itself what to do, so that what failed is done with
//! the next change. One change at a time.
//! Belongs here: the order. Does not: how anything is changed (-> paths, listeners, egress::recorder).

mod file_watch;
pub(crate) mod reloads;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use control_api::{ApiError, ConfigChange};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

pub(crate) use self::file_watch::FileWatch;
use self::reloads::Reloads;
use crate::access::Access;
use crate::config::resolved::Config;
use crate::config::tree::Node;
use crate::config::{ConfigError, Loaded, Source, kept};
use crate::control::config::Order;
use crate::egress::recorder::Recording;
use crate::events::Events;
use crate::hooks::Hooks;
use crate::http_listener::ListenError;
use crate::listeners::{Egress, Listeners};
use crate::paths::Paths;
use crate::telemetry::logging::LogControl;

/// What could not be recorded, or read from the database, is tried again so often.
const RETRY: Duration = Duration::from_secs(10);

/// See the module's header.
pub(crate) struct Reconciler {
    pub(crate) source: Source,
    pub(crate) in_force: Config,
    /// The same as the API shows it, and what of it is the file's.
    pub(crate) tree: Arc<ArcSwap<Node>>,
    pub(crate) file_paths: BTreeSet<String>,
    /// Whether it is known what was set through the API.
    pub(crate) is_layer_known: bool,
    pub(crate) log: LogControl,
    pub(crate) access: Access,
    pub(crate) paths: Arc<Paths>,
    pub(crate) events: Events,
    pub(crate) hooks: Arc<Hooks>,
    pub(crate) recording: Recording,
    pub(crate) egress: Arc<Egress>,
    pub(crate) listeners: Listeners,
    pub(crate) reloads: Arc<Reloads>,
    /// When something is tried again.
    pub(crate) due: Option<Instant>,
}

impl Reconciler {
    /// Puts the first configuration into force. Recording may come later; listeners may not.
    ///
    /// # Errors
    /// The first [`ListenError`].
    pub(crate) async fn start(&mut self) -> Result<(), ListenError> {
        self.read_layer().await;
        self.log.set_level(self.in_force.logging.level);
        self.access.replace(&self.in_force.access)?;
        self.events.configure(&self.in_force);
        self.paths.apply(&self.in_force);
        info!(paths = self.in_force.paths.len(), patterns = self.in_force.patterns.len(), "paths configured");
        self.record().await;
        let faults = self.listeners.apply(&self.in_force).await;
        self.hooks.open();
        faults.into_iter().next().map_or(Ok(()), Err)
    }

    /// Reads what was set through the API, and puts it into force; tries again later when that can't be read.
    pub(crate) async fn read_layer(&mut self) {
        match kept::load(&self.in_force.database).await {
            Ok(layer) => match self.source.begin_with(layer) {
                Ok((loaded, left_out)) => {
                    self.is_layer_known = true;
                    for of in left_out {
                        let of = if of.is_empty() { "the whole server" } else { &of };
                        error!(of, "settings made through the API make no sense any more and are left out");
                    }
                    (self.in_force, self.file_paths) = (loaded.config, loaded.file_paths);
                    self.tree.store(Arc::new(loaded.tree));
                }
                Err(error) => error!("settings made through the API are left out:\n{error}"),
            },
            Err(error) => error!(%error, "settings made through the API can't be read; it is tried again"),
        }
    }

    /// Changes what the API asks for: all of it, for good, or nothing.
    pub(crate) async fn change(&mut self, Order { change, answer }: Order) {
        let changed = self.try_change(change).await;
        if let Err(error) = &changed {
            info!(%error, "change through the API is refused");
        }
        if answer.send(changed).is_err() {
            info!("who changed the configuration did not wait for the answer");
        }
    }

    async fn try_change(&mut self, change: ConfigChange) -> Result<(), ApiError> {
        let not_kept = |why: String| ApiError::ConfigurationNotKept { why };
        if !self.is_layer_known {
            return Err(not_kept("what was set before can't be read; see the log".to_owned()));
        }
        let layer = self.source.layer.with(change, &self.tree.load(), &self.file_paths)?;
        let invalid = |error: ConfigError| ApiError::InvalidConfiguration { why: error.to_string() };
        let loaded = self.source.consider(&layer).map_err(invalid)?;
        // Kept first: what was answered survives a crash.
        let database = self.in_force.database.clone();
        kept::save(&database, &self.source.layer, &layer)
            .await
            .map_err(|error| not_kept(error.to_string()))?;
        let before = std::mem::replace(&mut self.source.layer, layer);
        let faults = self.apply(loaded).await;
        let Some(fault) = faults.first() else { return Ok(()) };
        let why = fault.to_string();
        if let Ok(loaded) = self.source.consider(&before) {
            self.apply(loaded).await;
        }
        if let Err(error) = kept::save(&database, &self.source.layer, &before).await {
            error!(%error, "a setting that can't be in force is kept all the same");
        }
        self.source.layer = before;
        Err(ApiError::InvalidConfiguration { why })
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

    /// Puts a configuration into force, but for the listeners that come back.
    async fn apply(&mut self, loaded: Loaded) -> Vec<ListenError> {
        let wanted = loaded.config;
        self.file_paths = loaded.file_paths;
        self.tree.store(Arc::new(loaded.tree));
        if wanted == self.in_force {
            info!("configuration was read again and says the same");
            self.reloads.applied();
            return Vec::new();
        }
        for what in needs_restart(&self.in_force, &wanted) {
            warn!("another {what} takes effect when the server is started the next time");
        }
        if wanted.logging.level != self.in_force.logging.level {
            self.log.set_level(wanted.logging.level);
        }
        // Before the paths that the rules may be about.
        let mut faults: Vec<ListenError> = self.apply_access(&wanted).err().into_iter().collect();
        self.events.configure(&wanted);
        for gone in self.paths.apply(&wanted) {
            self.egress.end_sessions_of(&gone);
        }
        self.in_force = wanted;
        self.listeners.release_hls(&self.in_force);
        self.record().await;
        let listeners = self.listeners.apply(&self.in_force).await;
        for fault in &listeners {
            error!("listener stays as it was: {fault}");
        }
        faults.extend(listeners);
        if faults.is_empty() {
            self.reloads.applied();
            info!(paths = self.in_force.paths.len(), "configuration changed");
        } else {
            self.reloads.refused();
        }
        faults
    }

    /// Has other access rules in force; the connections and sessions there are go on.
    fn apply_access(&self, wanted: &Config) -> Result<(), ListenError> {
        let replaced = self.access.replace(&wanted.access);
        replaced.inspect_err(|error| error!("access rules stay as they were: {error}"))?;
        Ok(())
    }

    /// Has recorded what should be.
    pub(crate) async fn record(&mut self) {
        let was_open = self.recording.slot.get().is_some();
        let is_done = self.recording.apply(&self.in_force, &self.paths).await;
        let is_done = is_done && self.is_layer_known;
        self.due = (!is_done).then(|| Instant::now() + RETRY);
        if !was_open && self.recording.slot.get().is_some() {
            info!("recordings are on");
        }
    }

    /// What could not be done, once more; and what waits for that.
    pub(crate) async fn try_again(&mut self) {
        if !self.is_layer_known {
            let before = self.in_force.clone();
            self.read_layer().await;
            if self.in_force != before {
                // What is wrong is in the log.
                self.apply_access(&self.in_force).ok();
                self.events.configure(&self.in_force);
                for gone in self.paths.apply(&self.in_force) {
                    self.egress.end_sessions_of(&gone);
                }
            }
        }
        self.record().await;
        // Playback begins with the first recorder.
        for fault in self.listeners.apply(&self.in_force).await {
            error!("{fault}");
        }
    }

    /// Resolves when it is time for that. Cancel-safe.
    pub(crate) async fn due(due: Option<Instant>) {
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
    if before.s3 != wanted.s3 {
        needs.push("s3");
    }
    let (old, new) = (&before.logging, &wanted.logging);
    if (old.stdout, &old.file, old.format) != (new.stdout, &new.file, new.format) {
        needs.push("log destination or format");
    }
    needs
}
