//! App: every subsystem, in the order of its start and stop; and what the process is told from outside.
//!
//! ```text
//!  shards:          supervisors ─► streams ─► remuxers ─► HLS windows, recorders
//!  hls runtime:     HLS listener
//!  media runtime:   WebRTC sessions and listener, RTSP and RTMP listeners and connections
//!  control runtime: API, metrics, page, playback of recordings, catalogue
//!  decode threads:  snapshots, thumbnails
//! ```
//!
//! Start order (-> reconciler): streams, storage (repair), recorders, listeners. Stop order: control listeners, decode threads, media listeners, sessions and
//! recorders, storage (files closed and synced), supervisors, hooks. Each is given [`STOP_PATIENCE`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, info_span, warn};

use crate::access::Access;
use crate::cli::Exit;
use crate::config::{Loaded, Source};
use crate::control::Observer;
use crate::control::config::{ConfigDesk, Order};
use crate::decode::pool::DecodePool;
use crate::egress::recorder::{RecordersSlot, Recording};
use crate::events::Events;
use crate::hooks::Hooks;
use crate::http_listener::ListenError;
use crate::listeners::{Egress, Ground, Listeners};
use crate::paths::Paths;
use crate::reconciler::reloads::Reloads;
use crate::reconciler::{FileWatch, Reconciler};
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::shards::{Placer, Shards};
use crate::runtime::tasks::TaskSet;
use crate::telemetry::logging::{self, LogControl};
use crate::webhooks::Webhooks;

/// How long each stage of the shutdown may take; the stages together stay under what init systems grant.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// And the hooks' commands, those too that run when the last camera is gone.
const HOOKS_STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Threads of the control runtime: API, metrics and page. They can't take time from video.
const CONTROL_THREADS: usize = 1;

/// How long a thread that serves HLS sleeps once it has nothing left to do, and so the most that an answer waits for it: a part
/// wakes each of its viewers twice, and their next requests come one by one. WebRTC, which sends at once, gains nothing from it.
const HLS_NAP: Duration = Duration::from_millis(1);

/// Runs the server until it is told to stop.
fn run(source: Source, loaded: Loaded, log: LogControl) -> anyhow::Result<Exit> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    match &loaded.file {
        Some(file) => info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "gtvision starts"),
        None => info!(version = env!("CARGO_PKG_VERSION"), "gtvision starts without a configuration file"),
    }
    let mut control = Builder::new_multi_thread();
    let control = runtime("control", control.worker_threads(CONTROL_THREADS))?;
    let media = runtime("media", &mut Builder::new_multi_thread())?;
    let mut hls = Builder::new_multi_thread();
    let hls = runtime("hls", hls.on_thread_park(|| std::thread::sleep(HLS_NAP)))?;
    let shards = Shards::start().context("start ingest threads")?;
    let exit = media.block_on(async {
        let signals = Signals::new()?;
        let tasks = Tasks::new(hls.handle());
        let pool = DecodePool::start().context("start decode threads")?;
        let (reconciler, orders) =
            assemble(source, loaded, log, (&tasks, control.handle(), shards.placer(), &pool))?;
        // Once, for as long as the server runs.
        Box::pin(serve(reconciler, orders, signals, (tasks, pool))).await
    });
    shards.stop();
    for runtime in [control, hls, media] {
        runtime.shutdown_timeout(STOP_PATIENCE);
    }
    info!("gtvision stopped");
    exit
}

fn runtime(name: &'static str, builder: &mut Builder) -> anyhow::Result<Runtime> {
    builder.thread_name(name).enable_all().build().with_context(|| format!("start {name} runtime"))
}

/// What the process is told from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            hang_up: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }
}

/// Every subsystem, none of them at work yet.
fn assemble(
    source: Source,
    loaded: Loaded,
    log: LogControl,
    (tasks, control, placer, pool): (&Tasks, &Handle, Placer, &Arc<DecodePool>),
) -> anyhow::Result<(Reconciler, mpsc::Receiver<Order>)> {
    let access = Access::new(&loaded.config.access, &tasks.media).context("set up access")?;
    let registry = Arc::new(Registry::default());
    let hooks = Hooks::new(&tasks.hooks, control);
    let webhooks = Arc::new(Webhooks::new(&tasks.hooks, control));
    let events = Events::new(&hooks, &webhooks);
    let paths = Paths::new(&registry, &tasks.cameras, placer, &events);
    tasks.cameras.spawn(info_span!("paths"), Arc::clone(&paths).tend());
    let (recorders, egress, reloads) = (RecordersSlot::default(), Arc::default(), Arc::default());
    let observer = Arc::new(Observer {
        access: access.clone(),
        registry: Arc::clone(&registry),
        egress: Arc::<Egress>::clone(&egress),
        recorders: recorders.clone(),
        reloads: Arc::<Reloads>::clone(&reloads),
        hooks: Arc::clone(&hooks),
        webhooks,
        started: clock::wall_now(),
        pool: Arc::clone(pool),
    });
    let tree = Arc::new(ArcSwap::from_pointee(loaded.tree));
    let (desk, orders) = ConfigDesk::new(&tree);
    let ground = Ground {
        registry,
        access: access.clone(),
        events: events.clone(),
        recorders: recorders.clone(),
        egress: Arc::clone(&egress),
        observer,
        config: Arc::new(desk),
        hls_tasks: tasks.hls.clone(),
        media_tasks: tasks.media.clone(),
        control_tasks: tasks.control.clone(),
        control: control.clone(),
    };
    let recording = Recording {
        slot: recorders,
        control: control.clone(),
        storage_tasks: tasks.storage.clone(),
        media_tasks: tasks.media.clone(),
        events: events.clone(),
        pool: Arc::clone(pool),
    };
    let reconciler = Reconciler {
        source,
        in_force: loaded.config,
        tree,
        file_paths: loaded.file_paths,
        is_layer_known: false,
        log,
        access,
        paths,
        events,
        hooks,
        recording,
        egress,
        listeners: Listeners::new(ground),
        reloads,
        due: None,
    };
    Ok((reconciler, orders))
}

async fn serve(
    mut reconciler: Reconciler,
    mut orders: mpsc::Receiver<Order>,
    mut signals: Signals,
    (tasks, pool): (Tasks, Arc<DecodePool>),
) -> anyhow::Result<Exit> {
    if let Err(error) = reconciler.start().await {
        return bind_failed(&error);
    }
    let paths = Arc::clone(&reconciler.paths);
    let mut watch = reconciler.source.file.as_deref().and_then(watched);
    loop {
        let due = reconciler.due;
        tokio::select! {
            _ = signals.interrupt.recv() => {
                info!("stopping: SIGINT");
                break;
            }
            _ = signals.terminate.recv() => {
                info!("stopping: SIGTERM");
                break;
            }
            _ = signals.hang_up.recv() => {
                info!("SIGHUP: the configuration is read again");
                reconciler.reload().await;
            }
            () = file_changed(&mut watch) => {
                info!("configuration file changed");
                reconciler.reload().await;
            }
            () = paths.changed() => reconciler.record().await,
            Some(order) = orders.recv() => reconciler.change(order).await,
            () = Reconciler::due(due) => reconciler.try_again().await,
        }
    }
    tasks.shutdown(&reconciler.recording.slot, pool).await;
    Ok(Exit::Done)
}

fn watched(file: &Path) -> Option<FileWatch> {
    let watch = FileWatch::new(file);
    if let Err(error) = &watch {
        warn!(%error, "configuration file can't be watched; SIGHUP has it read again");
    }
    watch.ok()
}

async fn file_changed(watch: &mut Option<FileWatch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The tasks of each stage of the shutdown. Cheap to clone.
#[derive(Clone)]
struct Tasks {
    control: TaskSet,
    /// Those of `media` that run on the HLS runtime.
    hls: TaskSet,
    media: TaskSet,
    storage: TaskSet,
    cameras: TaskSet,
    hooks: TaskSet,
}

impl Tasks {
    fn new(hls: &Handle) -> Self {
        let media = TaskSet::new("media");
        Self {
            control: TaskSet::new("control"),
            hls: media.on(Some(hls.clone())),
            media,
            storage: TaskSet::new("storage"),
            cameras: TaskSet::new("cameras"),
            hooks: TaskSet::new("hooks"),
        }
    }

    async fn shutdown(self, recorders: &RecordersSlot, pool: Arc<DecodePool>) {
        self.control.shutdown(STOP_PATIENCE).await;
        // A picture that is being decoded ends within its own limit.
        let stopped = tokio::task::spawn_blocking(move || pool.stop());
        if tokio::time::timeout(STOP_PATIENCE, stopped).await.is_err() {
            warn!("decode threads did not end in time and are left behind");
        }
        self.media.shutdown(STOP_PATIENCE).await;
        if let Some(recorders) = recorders.get() {
            recorders.stop(STOP_PATIENCE).await;
        }
        self.storage.shutdown(STOP_PATIENCE).await;
        self.cameras.shutdown(STOP_PATIENCE).await;
        self.hooks.shutdown(HOOKS_STOP_PATIENCE).await;
    }
}

fn bind_failed(error: &ListenError) -> anyhow::Result<Exit> {
    tracing::error!("{error}");
    Ok(match error {
        ListenError::Bind { .. } => Exit::Bind,
        _ => Exit::Configuration,
    })
}

/// Reads the configuration and runs; says on standard error what is wrong with it.
pub(crate) fn main(file: Option<&Path>, variables: &[(String, String)]) -> anyhow::Result<Exit> {
    use std::io::Write as _;
    let mut source = Source::new(file, variables);
    match source.load() {
        Ok(loaded) => {
            let log = logging::init(&loaded.config.logging).context("set up logging")?;
            run(source, loaded, log)
        }
        Err(error) => {
            writeln!(std::io::stderr(), "{error}")?;
            Ok(Exit::Configuration)
        }
    }
}
