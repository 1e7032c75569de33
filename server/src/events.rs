//! Events: what happens on the server, for those who want to be told: hooks and webhooks.
//!
//! ```text
//!  stream, sessions, publish points ─► PathEvents ─┐
//!  RTSP connections ─► Events ─────────────────────┴─► hooks, webhooks
//! ```
//!
//! What lasts (a reader, a picture that is there) is a [`Lasting`], whose drop is its end: no end is ever missed. Telling
//! costs a look at the settings, and where nobody wants to know, nothing else; it never waits.
//!
//! Belongs here: who is told of what, in which words. Does not: processes (-> hooks), sending (-> webhooks).

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use control_api::model::Time;
use media_core::egress::recorder::Gap;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use serde_json::{Value as Json, json};
use storage::{DiskAlarm, RecordingListener};
use tokio_util::sync::DropGuard;
use uuid::Uuid;

use crate::config::hooks::{HookCommand, HookPair, PathHooks};
use crate::config::pulled::SourceKind;
use crate::config::resolved::{Config, OnDemand};
use crate::hooks::Hooks;
use crate::hooks::environment::{Environment, query_escaped};
use crate::webhooks::{EventKind, Webhooks};

/// Paths that are remembered for what storage tells of them later; beyond it those are forgotten that exist no more.
const PATHS_REMEMBERED_MAX: usize = 12_000;

/// Something that lasts; it is over when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    _hooks: Vec<DropGuard>,
    _ending: Option<Ending>,
}

/// Tells webhooks that something is over.
struct Ending {
    kind: EventKind,
    path: PathName,
    data: Json,
    webhooks: Arc<Webhooks>,
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ending").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        self.webhooks.tell(self.kind, Some(&self.path), || data);
    }
}

impl Lasting {
    fn of(hooks: impl IntoIterator<Item = Option<DropGuard>>) -> Self {
        Self { _hooks: hooks.into_iter().flatten().collect(), _ending: None }
    }
}

/// Who sends a path's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// MediaMTX's name of its kind.
    pub(crate) kind: &'static str,
    /// The session that publishes; empty for a camera that is asked.
    pub(crate) id: String,
    /// The query that it published with.
    pub(crate) query: String,
}

impl Default for Origin {
    /// A camera that is asked.
    fn default() -> Self {
        Self::pulled(SourceKind::Rtsp)
    }
}

impl Origin {
    /// A source that is asked.
    pub(crate) fn pulled(kind: SourceKind) -> Self {
        Self { kind: kind.as_str(), id: String::new(), query: String::new() }
    }
}

/// Who takes a path's media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    /// MediaMTX's name of its kind.
    pub(crate) kind: &'static str,
    /// Its session.
    pub(crate) id: String,
    /// The query that it came with.
    pub(crate) query: String,
}

/// What the whole server tells. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events(Arc<Shared>);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

struct Shared {
    hooks: Arc<Hooks>,
    webhooks: Arc<Webhooks>,
    settings: ArcSwap<Settings>,
    paths: Mutex<HashMap<PathName, Arc<PathEvents>>>,
}

#[derive(Default)]
struct Settings {
    connect: HookPair,
    rtsp_port: u16,
}

impl Events {
    /// Tells hooks and webhooks, of nothing until it is configured.
    pub(crate) fn new(hooks: &Arc<Hooks>, webhooks: &Arc<Webhooks>) -> Self {
        let (hooks, webhooks) = (Arc::clone(hooks), Arc::clone(webhooks));
        let (settings, paths) = (ArcSwap::default(), Mutex::default());
        Self(Arc::new(Shared { hooks, webhooks, settings, paths }))
    }

    /// Nobody listens.
    #[cfg(test)]
    pub(crate) fn unheard(tasks: &crate::runtime::tasks::TaskSet) -> Self {
        let home = tokio::runtime::Handle::current();
        Self::new(&Hooks::new(tasks, &home), &Arc::new(Webhooks::new(tasks, &home)))
    }

    /// Takes over the settings of the whole server.
    pub(crate) fn configure(&self, config: &Config) {
        self.0.webhooks.configure(&config.webhooks);
        let rtsp = config.rtsp.as_ref();
        let address = rtsp.and_then(|rtsp| rtsp.address.or(rtsp.tls.as_ref().map(|tls| tls.address)));
        let rtsp_port = address.map_or(0, |address| address.port());
        self.0.settings.store(Arc::new(Settings { connect: config.connect_hooks.clone(), rtsp_port }));
    }

    /// What is told of a path that is made.
    pub(crate) fn path(&self, name: &PathName, settings: PathSettings) -> Arc<PathEvents> {
        let events = Arc::new(PathEvents {
            name: name.clone(),
            settings: ArcSwap::from_pointee(settings),
            events: self.clone(),
        });
        let mut paths = self.0.paths.lock().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= PATHS_REMEMBERED_MAX {
            paths.retain(|_, events| Arc::strong_count(events) > 1);
        }
        paths.insert(name.clone(), Arc::clone(&events));
        events
    }

    /// A client is connected.
    pub(crate) fn connected(&self, kind: &'static str, id: Uuid) -> Lasting {
        let settings = self.0.settings.load();
        let hook = self.0.hooks.begin(&settings.connect, None, || {
            let mut environment = self.environment();
            environment.set("MTX_CONN_TYPE", kind);
            environment.set("MTX_CONN_ID", id.to_string());
            environment
        });
        Lasting::of([hook])
    }

    fn environment(&self) -> Environment {
        let mut environment = Environment::default();
        environment.set("RTSP_PORT", self.0.settings.load().rtsp_port.to_string());
        environment
    }

    fn of_path(&self, path: &PathName) -> Option<Arc<PathEvents>> {
        self.0.paths.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

impl RecordingListener for Events {
    fn opened(&self, path: &PathName, file: &Path) {
        if let Some(events) = self.of_path(path) {
            events.segment(|hooks| hooks.segment_create.as_ref(), file, None);
        }
    }

    fn completed(&self, path: &PathName, file: &Path, duration: Duration) {
        if let Some(events) = self.of_path(path) {
            events.segment(|hooks| hooks.segment_complete.as_ref(), file, Some(duration));
        }
        self.0.webhooks.tell(
            EventKind::SegmentCompleted,
            Some(path),
            || json!({ "file": file.to_string_lossy(), "seconds": duration.as_secs_f64() }),
        );
    }

    fn gap(&self, path: &PathName, gap: &Gap) {
        let kind = if gap.until.is_some() { EventKind::GapClosed } else { EventKind::GapOpened };
        let time = |wall: WallTime| Time { unix_us: wall.unix_us() };
        self.0.webhooks.tell(
            kind,
            Some(path),
            || json!({ "from": time(gap.from), "until": gap.until.map(time), "reason": gap.reason.as_str() }),
        );
    }

    fn disk(&self, disk: &DiskAlarm<'_>) {
        self.0.webhooks.tell(EventKind::DiskAlarm, None, || {
            json!({
                "disk": disk.root.to_string_lossy(),
                "state": disk.state,
                "usedBytes": disk.space.used_bytes,
                "totalBytes": disk.space.total_bytes,
            })
        });
    }
}

/// What a path's configuration says of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathSettings {
    /// Its hooks.
    pub(crate) hooks: Arc<PathHooks>,
    /// What the groups of its pattern matched.
    pub(crate) groups: Vec<String>,
    /// It is available whether its media comes or not.
    pub(crate) is_always_available: bool,
}

/// What one path tells.
pub(crate) struct PathEvents {
    name: PathName,
    settings: ArcSwap<PathSettings>,
    events: Events,
}

impl std::fmt::Debug for PathEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PathEvents").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PathEvents {
    /// Changes what is told of events to come; what lasts goes on as it began.
    pub(crate) fn configure(&self, settings: PathSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The path is there.
    pub(crate) fn made(&self) -> Lasting {
        let settings = self.settings.load();
        Lasting::of([self.begin(&settings.hooks.init, || self.environment(&settings))])
    }

    /// Somebody wants its media, which somebody shall publish; `None` where nobody is asked to.
    pub(crate) fn demand(&self, query: &str) -> Option<(Lasting, OnDemand)> {
        let settings = self.settings.load();
        let demand = settings.hooks.on_demand.as_ref()?;
        let hook = self.begin(&demand.pair, || {
            let mut environment = self.environment(&settings);
            environment.set("MTX_QUERY", query_escaped(query));
            environment
        });
        Some((Lasting::of([hook]), demand.times))
    }

    /// There is something to read, whether its media comes or not.
    pub(crate) fn available(&self) -> Lasting {
        let settings = self.settings.load();
        Lasting::of([self.begin(&settings.hooks.available, || self.environment(&settings))])
    }

    /// Its media comes.
    pub(crate) fn online(&self, origin: &Origin) -> Lasting {
        let settings = self.settings.load();
        let environment = || {
            let mut environment = self.environment(&settings);
            environment.set("MTX_QUERY", query_escaped(&origin.query));
            environment.set("MTX_SOURCE_TYPE", origin.kind);
            environment.set("MTX_SOURCE_ID", origin.id.as_str());
            environment
        };
        // Without a slate both at once.
        let available = (!settings.is_always_available)
            .then(|| self.begin(&settings.hooks.available, environment))
            .flatten();
        let hooks = [self.begin(&settings.hooks.online, environment), available];
        let data = || json!({ "sourceType": origin.kind, "sourceId": origin.id });
        self.told(hooks, (EventKind::PathOnline, EventKind::PathOffline), data)
    }

    /// Somebody reads it.
    pub(crate) fn read(&self, reader: &Reader) -> Lasting {
        let settings = self.settings.load();
        let hook = self.begin(&settings.hooks.read, || {
            let mut environment = self.environment(&settings);
            environment.set("MTX_QUERY", query_escaped(&reader.query));
            environment.set("MTX_READER_TYPE", reader.kind);
            environment.set("MTX_READER_ID", reader.id.as_str());
            environment
        });
        let data = || json!({ "readerType": reader.kind, "readerId": reader.id });
        self.told([hook], (EventKind::ReaderConnected, EventKind::ReaderDisconnected), data)
    }

    /// Something that webhooks are told of too, now and when it is over.
    fn told(
        &self,
        hooks: impl IntoIterator<Item = Option<DropGuard>>,
        (began, ended): (EventKind, EventKind),
        data: impl Fn() -> Json,
    ) -> Lasting {
        let webhooks = &self.events.0.webhooks;
        webhooks.tell(began, Some(&self.name), &data);
        let ending =
            Ending { kind: ended, path: self.name.clone(), data: data(), webhooks: Arc::clone(webhooks) };
        Lasting { _ending: Some(ending), ..Lasting::of(hooks) }
    }

    fn segment(
        &self,
        of: impl FnOnce(&PathHooks) -> Option<&HookCommand>,
        file: &Path,
        duration: Option<Duration>,
    ) {
        let settings = self.settings.load();
        self.events.0.hooks.run(of(&settings.hooks), &self.name, || {
            let mut environment = self.environment(&settings);
            environment.set("MTX_SEGMENT_PATH", file.to_string_lossy());
            if let Some(duration) = duration {
                environment.set("MTX_SEGMENT_DURATION", duration.as_secs_f64().to_string());
            }
            environment
        });
    }

    fn begin(&self, pair: &HookPair, environment: impl FnOnce() -> Environment) -> Option<DropGuard> {
        self.events.0.hooks.begin(pair, Some(&self.name), environment)
    }

    fn environment(&self, settings: &PathSettings) -> Environment {
        let mut environment = self.events.environment();
        environment.set("MTX_PATH", self.name.as_str());
        // Older hooks use it.
        environment.set("RTSP_PATH", self.name.as_str());
        for (index, group) in settings.groups.iter().enumerate() {
            environment.set(&format!("G{}", index + 1), group.as_str());
        }
        environment
    }
}
