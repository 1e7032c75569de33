//! App: every subsystem, in the order of its start and stop.
//!
//! ```text
//!  shards:          supervisors ─► streams ─► remuxers ─► HLS windows, recorders
//!  media runtime:   HLS listener, WebRTC sessions and listener, RTSP listener and readers
//!  control runtime: API, metrics, page, playback of recordings, catalogue
//!  decode threads:  snapshots, thumbnails
//! ```
//!
//! Start order: streams, storage (repair), recorders, listeners. Stop order: control listeners, decode threads, media listeners, sessions and
//! recorders, storage (files closed and synced), supervisors. Each is given [`STOP_PATIENCE`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use control_api::ListenerUrl;
use control_api::host_guard::HostGuard;
use control_api::loopback::TrustedProxies;
use control_api::model::{Info, Time};
use media_core::gate::Gate;
use media_core::path_name::PathName;
use media_core::ring::Retention;
use storage::CatalogueError;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::assets::{self, Assets};
use crate::cli::Exit;
use crate::config::resolved::{Config, HlsConfig, HlsMuxers, HttpConfig, PathSource, WebRtcConfig};
use crate::config::{self, Loaded};
use crate::control::Observer;
use crate::control::rtsp::RtspObserver;
use crate::decode::pool::DecodePool;
use crate::egress::hls::{HlsDeps, HlsServer};
use crate::egress::recorder::{self, Recorders, RecordersSlot};
use crate::egress::rtsp::stats::Encryption;
use crate::egress::rtsp::{RtspDeps, RtspServer};
use crate::egress::webrtc::{HlsListener, HttpScheme, WebRtcDeps, WebRtcServer};
use crate::http_listener::{self, Endpoint, ListenError, RouterAnswer};
use crate::ingest::publish::PublishPoint;
use crate::ingest::{Camera, SessionTimes, Supervisor, SupervisorTimes};
use crate::playback;
use crate::playback::export::Exports;
use crate::playback::thumbnail::Thumbnails;
use crate::registry::{FIRST_PICTURE_WAIT, PathEntry, Registry, SourceStart};
use crate::runtime::clock;
use crate::runtime::shards::Shards;
use crate::runtime::tasks::TaskSet;
use crate::snapshot::Snapshots;
use crate::stream::{SourceStatus, Stream};
use crate::telemetry::logging;
use crate::telemetry::metrics::{MetricsDeps, MetricsSource, metrics_router};

/// How long each stage of the shutdown may take; the stages together stay under what init systems grant.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A catalogue that can't be opened is tried again so often.
const RECORDING_RETRY: Duration = Duration::from_secs(10);

/// Threads of the control runtime: API, metrics and page. They can't take time from video.
const CONTROL_THREADS: usize = 1;

/// Runs the server until it is told to stop.
fn run(loaded: &Loaded) -> anyhow::Result<Exit> {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    match &loaded.file {
        Some(file) => info!(version = env!("CARGO_PKG_VERSION"), file = %file.display(), "gtvision starts"),
        None => info!(version = env!("CARGO_PKG_VERSION"), "gtvision starts without a configuration file"),
    }
    let media = runtime("media", None).context("start media runtime")?;
    let control = runtime("control", Some(CONTROL_THREADS)).context("start control runtime")?;
    let mut shards = Shards::start().context("start ingest threads")?;
    let exit = media.block_on(serve(&loaded.config, &control, &mut shards));
    shards.stop();
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

async fn serve(config: &Config, control: &Runtime, shards: &mut Shards) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let tasks = Tasks::new();
    let registry = Arc::new(Registry::default());
    let points = start_paths(config, &registry, &tasks.cameras, shards);
    let recorders = RecordersSlot::default();
    let pool = DecodePool::start().context("start decode threads")?;
    let recording = Recording {
        config: config.clone(),
        registry: Arc::clone(&registry),
        control: control.handle().clone(),
        tasks: tasks.clone(),
        slot: recorders.clone(),
        pool: Arc::clone(&pool),
    };
    let is_recording_late = recorder::is_wanted(config) && !recording.start().await;
    let media = match Media::start(config, &registry, (points, &recorders), &tasks.media).await {
        Ok(media) => media,
        Err(error) => return bind_failed(&error),
    };
    let Media { hls, webrtc, rtsp } = media;
    let recorders_of = recorders.clone();
    let observer =
        Arc::new(Observer { registry, hls, webrtc, rtsp, recorders: recorders_of, pool: Arc::clone(&pool) });
    let control_config = config.clone();
    let control_tasks = tasks.control.clone();
    let started =
        control.spawn(async move { start_control(&control_config, &observer, &control_tasks).await });
    if let Err(error) = started.await.context("start control listeners")? {
        return bind_failed(&error);
    }
    if is_recording_late {
        let set = tasks.control.on(Some(control.handle().clone()));
        set.spawn(tracing::info_span!("recording"), recording.start_late());
    }
    tokio::select! {
        _ = interrupt.recv() => info!("stopping: SIGINT"),
        _ = terminate.recv() => info!("stopping: SIGTERM"),
    }
    tasks.shutdown(&recorders, pool).await;
    Ok(Exit::Done)
}

/// What it takes to start recording, now or later.
struct Recording {
    config: Config,
    registry: Arc<Registry>,
    control: Handle,
    tasks: Tasks,
    slot: RecordersSlot,
    pool: Arc<DecodePool>,
}

impl Recording {
    /// Opens storage and starts recording; whether that could be done. Live video does not depend on it: when it can't be
    /// had, that is an error in the log and nothing is recorded.
    async fn start(&self) -> bool {
        // The database belongs to the control runtime, with all that it starts there.
        let (wanted, set) = (self.config.clone(), self.tasks.storage.clone());
        let opened = self.control.spawn(async move {
            let (storage, driver) = recorder::open(&wanted).await?;
            set.spawn(tracing::info_span!("catalogue"), driver.run());
            Ok::<_, CatalogueError>(storage)
        });
        let started = match opened.await {
            Ok(Ok(storage)) => {
                Recorders::start(&self.config, storage, &self.registry, &self.tasks.media).await
            }
            Ok(Err(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "recordings are off: their start failed");
                return false;
            }
        };
        match started {
            Ok(recorders) => self.slot.set(recorders),
            Err(error) => tracing::error!(%error, "recordings are off; they are tried again"),
        }
        self.slot.get().is_some()
    }

    /// Tries again until recording could be started, then plays back too.
    async fn start_late(self) {
        let token = self.tasks.control.token().clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(RECORDING_RETRY) => {}
                () = token.cancelled() => return,
            }
            if self.start().await {
                break;
            }
        }
        info!("recordings are on");
        if let Err(error) = start_playback(&self.config, (&self.slot, &self.pool), &self.tasks.control).await
        {
            tracing::error!(%error, "recordings can't be played back");
        }
    }
}

/// The tasks of each stage of the shutdown. Cheap to clone.
#[derive(Clone)]
struct Tasks {
    control: TaskSet,
    media: TaskSet,
    storage: TaskSet,
    cameras: TaskSet,
}

impl Tasks {
    fn new() -> Self {
        Self {
            control: TaskSet::new("control"),
            media: TaskSet::new("media"),
            storage: TaskSet::new("storage"),
            cameras: TaskSet::new("cameras"),
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
    }
}

fn bind_failed(error: &ListenError) -> anyhow::Result<Exit> {
    tracing::error!("{error}");
    Ok(match error {
        ListenError::Bind { .. } => Exit::Bind,
        _ => Exit::Configuration,
    })
}

/// The media listeners.
struct Media {
    hls: Option<Arc<HlsServer>>,
    webrtc: Option<Arc<WebRtcServer>>,
    rtsp: Option<Arc<RtspServer>>,
}

impl Media {
    async fn start(
        config: &Config,
        registry: &Arc<Registry>,
        (points, recorders): (PublishPoints, &RecordersSlot),
        tasks: &TaskSet,
    ) -> Result<Self, ListenError> {
        let gate = Gate::default();
        let hls = match &config.hls {
            Some(hls) => {
                let deps = hls_deps(config, hls, registry, tasks, &gate);
                let recorders = recorders.clone();
                let recordings = Arc::new(move || recorders.get().map(|recorders| recorders.recordings()));
                Some(start_hls(hls, HlsDeps { recordings, ..deps }).await?)
            }
            None => None,
        };
        let webrtc = match &config.webrtc {
            Some(webrtc) => Some(start_webrtc(config, webrtc, registry, tasks, gate.clone()).await?),
            None => None,
        };
        let rtsp = match &config.rtsp {
            Some(rtsp) => {
                let deps = RtspDeps { registry: Arc::clone(registry), points, gate, tasks: tasks.clone() };
                Some(RtspServer::start(rtsp.clone(), deps).await?)
            }
            None => None,
        };
        Ok(Self { hls, webrtc, rtsp })
    }
}

async fn start_hls(hls: &HlsConfig, deps: HlsDeps) -> Result<Arc<HlsServer>, ListenError> {
    let server = HlsServer::new(hls.clone(), deps);
    server.listen().await?;
    Ok(server)
}

fn hls_deps(
    config: &Config,
    hls: &HlsConfig,
    registry: &Arc<Registry>,
    tasks: &TaskSet,
    gate: &Gate,
) -> HlsDeps {
    let on_demand: BTreeSet<PathName> = config
        .paths
        .iter()
        .filter(|(_, path)| path.on_demand.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    let is_always = hls.muxers == HlsMuxers::Always;
    HlsDeps {
        registry: Arc::clone(registry),
        gate: Arc::new(gate.clone()),
        tasks: tasks.clone(),
        pages: Arc::new(Assets),
        recordings: Arc::new(|| None),
        always: Arc::new(move |path| is_always && !on_demand.contains(path)),
    }
}

async fn start_webrtc(
    config: &Config,
    webrtc: &WebRtcConfig,
    registry: &Arc<Registry>,
    tasks: &TaskSet,
    gate: Gate,
) -> Result<Arc<WebRtcServer>, ListenError> {
    let hls = config.hls.as_ref().map(|hls| HlsListener {
        scheme: if hls.http.tls.is_some() { HttpScheme::Https } else { HttpScheme::Http },
        port: hls.http.address.port(),
    });
    let deps = WebRtcDeps {
        registry: Arc::clone(registry),
        gate,
        pages: Box::new(assets::webrtc_page),
        hls,
        tasks: tasks.clone(),
    };
    let address = webrtc.local_udp_address.or(webrtc.local_tcp_address).unwrap_or(webrtc.http.address);
    let server = WebRtcServer::start(webrtc.clone(), deps).await.map_err(|error| ListenError::Bind {
        name: "webrtc media",
        address,
        error,
    })?;
    listen("webrtc", &webrtc.http, server.router(), tasks).await?;
    Ok(server)
}

/// The listeners that are not media's: API, metrics, page. Runs on the control runtime.
async fn start_control(
    config: &Config,
    observer: &Arc<Observer>,
    tasks: &TaskSet,
) -> Result<(), ListenError> {
    if let Some(api) = &config.api {
        let deps = control_api::ApiDeps {
            cameras: Arc::clone(observer) as Arc<dyn control_api::Cameras>,
            storage: Arc::clone(observer) as Arc<dyn control_api::Storage>,
            snapshots: Snapshots::new(&observer.registry, Gate::default(), &observer.pool),
            rtsp: RtspObserver::of(observer, Encryption::None),
            rtsps: RtspObserver::of(observer, Encryption::Tls),
            info: Info {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: Time { unix_us: clock::wall_now().unix_us() },
            },
            allow_origins: api.http.allow_origins.clone().into(),
            trusted_proxies: TrustedProxies(api.http.trusted_proxies.clone().into()),
        };
        listen("api", &api.http, control_api::router(deps), tasks).await?;
    }
    if let Some(metrics) = &config.metrics {
        let deps = MetricsDeps {
            source: Arc::clone(observer) as Arc<dyn MetricsSource>,
            allow_origins: metrics.http.allow_origins.clone().into(),
            trusted_proxies: TrustedProxies(metrics.http.trusted_proxies.clone().into()),
        };
        listen("metrics", &metrics.http, metrics_router(deps), tasks).await?;
    }
    start_playback(config, (&observer.recorders, &observer.pool), tasks).await?;
    if let Some(control) = &config.control {
        let host_guard = if control.address.ip().is_loopback() {
            HostGuard::Loopback { names: control.allowed_hosts.clone().into() }
        } else {
            HostGuard::Anyone
        };
        let deps = control_api::ControlDeps {
            cameras: Arc::clone(observer) as Arc<dyn control_api::Cameras>,
            assets: Arc::new(Assets),
            hls: config.hls.as_ref().map(|hls| listener_url(&hls.http)),
            webrtc: config.webrtc.as_ref().map(|webrtc| listener_url(&webrtc.http)),
            host_guard,
        };
        let endpoint = Endpoint { name: "control", address: control.address, tls: None };
        let answer = Arc::new(RouterAnswer(control_api::control_router(deps)));
        let bound = http_listener::serve(endpoint, answer, tasks).await?;
        info!("watch at http://{bound}/");
    }
    Ok(())
}

/// Plays recordings back, once there is something that records.
async fn start_playback(
    config: &Config,
    (recorders, pool): (&RecordersSlot, &Arc<DecodePool>),
    tasks: &TaskSet,
) -> Result<(), ListenError> {
    if let (Some(playback), Some(recorders)) = (&config.playback, recorders.get()) {
        let exports = open_exports(config, recorders, tasks).await;
        let thumbnails = Thumbnails::new(recorders.recordings(), pool);
        let router = playback::router(playback, Gate::default(), thumbnails, exports);
        listen("playback", &playback.http, router, tasks).await?;
    }
    Ok(())
}

/// Exports lie beside the catalogue. Without them the rest goes on.
async fn open_exports(config: &Config, recorders: &Recorders, tasks: &TaskSet) -> Option<Arc<Exports>> {
    let (recordings, tasks) = (recorders.recordings(), tasks.clone());
    let beside =
        config.database.strip_prefix("sqlite:").map(|file| PathBuf::from(file.trim_start_matches("//")));
    let beside = beside.and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default();
    let opened = tokio::task::spawn_blocking(move || Exports::open(&beside, recordings, tasks)).await;
    match opened {
        Ok(Ok(exports)) => Some(exports),
        Ok(Err(error)) => {
            tracing::error!(%error, "exports are off");
            None
        }
        Err(_) => None,
    }
}

async fn listen(
    name: &'static str,
    http: &HttpConfig,
    router: axum::Router,
    tasks: &TaskSet,
) -> Result<(), ListenError> {
    let endpoint = Endpoint { name, address: http.address, tls: http.tls.as_ref() };
    http_listener::serve(endpoint, Arc::new(RouterAnswer(router)), tasks).await?;
    Ok(())
}

fn listener_url(http: &HttpConfig) -> ListenerUrl {
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    ListenerUrl { scheme, port: http.address.port() }
}

/// The paths that are published to.
type PublishPoints = BTreeMap<PathName, Arc<PublishPoint>>;

fn start_paths(
    config: &Config,
    registry: &Registry,
    cameras: &TaskSet,
    shards: &mut Shards,
) -> PublishPoints {
    let mut points = PublishPoints::new();
    let session = SessionTimes { request: config.timeouts.read, ..SessionTimes::default() };
    let times = SupervisorTimes { session, ..SupervisorTimes::default() };
    for (name, path) in &config.paths {
        let stream = Stream::new(name.clone(), Retention::default(), clock::wall_now());
        let start_timeout = path.on_demand.map_or(FIRST_PICTURE_WAIT, |on_demand| on_demand.start_timeout);
        let start = path.on_demand.map_or(SourceStart::Always, |_| SourceStart::OnDemand);
        registry.insert(name, PathEntry { stream: Arc::clone(&stream), start_timeout, start });
        match &path.source {
            PathSource::Rtsp(source) => {
                // The camera, and with it the remuxing.
                let cameras = cameras.on(Some(shards.place()));
                let camera = Camera { source: source.clone(), on_demand: path.on_demand };
                Supervisor::spawn(&cameras, camera, &stream, times);
            }
            PathSource::Publisher(replacing) => {
                stream.set_state(SourceStatus::Idle, "nobody publishes", clock::wall_now());
                points.insert(name.clone(), PublishPoint::new(&stream, *replacing));
            }
        }
    }
    info!(paths = config.paths.len(), "paths configured");
    points
}

/// Reads the configuration and runs; says on standard error what is wrong with it.
pub(crate) fn main(file: Option<&Path>, variables: &[(String, String)]) -> anyhow::Result<Exit> {
    use std::io::Write as _;
    match config::load(file, variables) {
        Ok(loaded) => {
            logging::init(&loaded.config.logging).context("set up logging")?;
            run(&loaded)
        }
        Err(error) => {
            writeln!(std::io::stderr(), "{error}")?;
            Ok(Exit::Configuration)
        }
    }
}
