//! App: every subsystem, in the order of its start and stop.
//!
//! ```text
//!  media runtime:   supervisors ─► streams ─► HLS muxers and listener, WebRTC sessions and listener
//!  control runtime: API, metrics, page
//! ```
//!
//! Stop order: control listeners, media listeners and sessions, supervisors. Each is given [`STOP_PATIENCE`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use media_core::ring::Retention;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::cli::Exit;
use crate::config::resolved::{Config, PathSource};
use crate::config::{self, Loaded};
use crate::ingest::{Camera, SessionTimes, Supervisor, SupervisorTimes};
use crate::registry::{FIRST_PICTURE_WAIT, PathEntry, Registry};
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::stream::Stream;

/// How long each stage of the shutdown may take; three stages stay under what init systems grant.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Threads of the control runtime: API, metrics and page. They can't take time from video.
const CONTROL_THREADS: usize = 1;

/// Runs the server until it is told to stop.
pub(crate) fn run(loaded: Loaded) -> anyhow::Result<Exit> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    match &loaded.file {
        Some(file) => info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "gtvision starts"),
        None => info!(version = env!("CARGO_PKG_VERSION"), "gtvision starts without a configuration file"),
    }
    let media = runtime("media", None).context("start media runtime")?;
    let control = runtime("control", Some(CONTROL_THREADS)).context("start control runtime")?;
    let exit = media.block_on(serve(&loaded.config, &control));
    control.shutdown_timeout(STOP_PATIENCE);
    media.shutdown_timeout(STOP_PATIENCE);
    info!("gtvision stopped");
    exit
}

fn runtime(name: &'static str, threads: Option<usize>) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.thread_name(name).enable_all().build()
}

async fn serve(config: &Config, _control: &Runtime) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let cameras = TaskSet::new("cameras");
    let registry = Arc::new(Registry::default());
    start_paths(config, &registry, &cameras);
    tokio::select! {
        _ = interrupt.recv() => info!("stopping: SIGINT"),
        _ = terminate.recv() => info!("stopping: SIGTERM"),
    }
    cameras.shutdown(STOP_PATIENCE).await;
    Ok(Exit::Done)
}

fn start_paths(config: &Config, registry: &Registry, cameras: &TaskSet) {
    let session = SessionTimes { request: config.timeouts.read, ..SessionTimes::default() };
    let times = SupervisorTimes { session, ..SupervisorTimes::default() };
    for (name, path) in &config.paths {
        let stream = Stream::new(name.clone(), Retention::default(), clock::wall_now());
        let start_timeout = path.on_demand.map_or(FIRST_PICTURE_WAIT, |on_demand| on_demand.start_timeout);
        registry.insert(name, PathEntry { stream: Arc::clone(&stream), start_timeout });
        if let PathSource::Rtsp(source) = &path.source {
            let camera = Camera { source: source.clone(), on_demand: path.on_demand };
            Supervisor::spawn(cameras, camera, &stream, times);
        }
    }
    info!(paths = config.paths.len(), "paths configured");
}

/// Reads the configuration and runs; says on standard error what is wrong with it.
pub(crate) fn main(file: Option<&std::path::Path>, variables: &[(String, String)]) -> anyhow::Result<Exit> {
    use std::io::Write as _;
    match config::load(file, variables) {
        Ok(loaded) => run(loaded),
        Err(error) => {
            writeln!(std::io::stderr(), "{error}")?;
            Ok(Exit::Configuration)
        }
    }
}
