//! Listeners: everything that answers on a socket, each started, changed and stopped by itself.
//!
//! ```text
//!  Config ─► what each listener is started with ─► other than before? stopped, started anew; all others are left alone
//!                                                       └─ can't be: the old one again, and the fault comes back
//! ```
//!
//! HLS runs on a runtime of its own, the other media listeners on that of whoever applies, the rest on the control runtime.
//! Belongs here: which listeners run. Does not: what they answer (-> egress, control, playback).

mod starting;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use control_api::{ConfigStore, ListenerUrl};
use media_core::path_name::PathName;
use tokio::runtime::Handle;

use crate::access::Access;
use crate::config::resolved::{
    ApiConfig, Config, ControlConfig, HlsConfig, HttpConfig, MetricsConfig, PlaybackConfig, RtmpConfig,
    RtspConfig, WebRtcConfig,
};
use crate::control::Observer;
use crate::egress::hls::HlsServer;
use crate::egress::recorder::RecordersSlot;
use crate::egress::rtmp::RtmpServer;
use crate::egress::rtsp::RtspServer;
use crate::egress::rtsp::stats::Encryption;
use crate::egress::webrtc::{HlsListener, HttpScheme, WebRtcServer};
use crate::events::Events;
use crate::http_listener::ListenError;
use crate::playback::export::Exports;
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// How long the socket of a listener that was stopped may take to be free.
const RELEASE_MAX: Duration = Duration::from_secs(3);
/// Between two tries of it.
const RELEASE_LOOK: Duration = Duration::from_millis(20);

/// What serves media now.
#[derive(Default)]
pub(crate) struct Egress {
    hls: ArcSwapOption<HlsServer>,
    webrtc: ArcSwapOption<WebRtcServer>,
    rtsp: ArcSwapOption<RtspServer>,
    rtmp: ArcSwapOption<RtmpServer>,
}

impl Egress {
    /// HLS, when it is on.
    pub(crate) fn hls(&self) -> Option<Arc<HlsServer>> {
        self.hls.load_full()
    }

    /// WebRTC, when it is on.
    pub(crate) fn webrtc(&self) -> Option<Arc<WebRtcServer>> {
        self.webrtc.load_full()
    }

    /// RTSP, when it is on.
    pub(crate) fn rtsp(&self) -> Option<Arc<RtspServer>> {
        self.rtsp.load_full()
    }

    /// RTMP, when it is on.
    pub(crate) fn rtmp(&self) -> Option<Arc<RtmpServer>> {
        self.rtmp.load_full()
    }

    /// Ends the sessions of a path that is gone; HLS sees for itself.
    pub(crate) fn end_sessions_of(&self, path: &PathName) {
        if let Some(webrtc) = self.webrtc() {
            webrtc.end_sessions_of(path);
        }
        if let Some(rtsp) = self.rtsp() {
            rtsp.end_sessions_of(path);
        }
        if let Some(rtmp) = self.rtmp() {
            rtmp.end_conns_of(path);
        }
    }
}

/// What listeners stand on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ground {
    /// The paths.
    pub(crate) registry: Arc<Registry>,
    /// Who may do what.
    pub(crate) access: Access,
    /// Who wants to know what happens.
    pub(crate) events: Events,
    /// Recording, when something is recorded or played back.
    pub(crate) recorders: RecordersSlot,
    /// Filled in by the listeners.
    pub(crate) egress: Arc<Egress>,
    /// What API and metrics tell.
    pub(crate) observer: Arc<Observer>,
    /// The configuration as the API shows and changes it.
    pub(crate) config: Arc<dyn ConfigStore>,
    /// Owns the HLS listener, where that runs.
    pub(crate) hls_tasks: TaskSet,
    /// Owns the other media listeners and their sessions.
    pub(crate) media_tasks: TaskSet,
    /// Owns the others.
    pub(crate) control_tasks: TaskSet,
    /// Where the others run.
    pub(crate) control: Handle,
}

/// A listener and what it was started with.
struct Running<K> {
    key: K,
    tasks: TaskSet,
    /// It was told to end before its successor is known to start.
    is_released: bool,
}

impl<K> Running<K> {
    fn release(&mut self, kind: &impl Start<K>) {
        if !std::mem::replace(&mut self.is_released, true) {
            self.tasks.token().cancel();
            kind.stop();
        }
    }
}

/// All listeners. See the module's header.
pub(crate) struct Listeners {
    ground: Ground,
    hls: Option<Running<HlsConfig>>,
    webrtc: Option<Running<WebRtcConfig>>,
    rtsp: Option<Running<RtspConfig>>,
    rtmp: Option<Running<RtmpConfig>>,
    api: Option<Running<ApiKey>>,
    metrics: Option<Running<MetricsConfig>>,
    playback: Option<Running<PlaybackConfig>>,
    control: Option<Running<ControlKey>>,
    /// Kept across changes of the listener: exports go on.
    exports: Option<Arc<Exports>>,
    /// How long to wait for an address: at the start nobody of ours holds one.
    patience: Duration,
}

/// Endpoints of what is off do not exist.
#[derive(Clone, PartialEq)]
struct ApiKey {
    config: ApiConfig,
    /// By encryption: none, TLS.
    has_rtsp: [bool; 2],
    has_rtmp: [bool; 2],
    has_hls: bool,
    has_webrtc: bool,
}

/// The page links to the media listeners.
#[derive(Clone, PartialEq)]
struct ControlKey {
    config: ControlConfig,
    hls: Option<ListenerUrl>,
    webrtc: Option<ListenerUrl>,
}

impl Listeners {
    /// None runs yet.
    pub(crate) fn new(ground: Ground) -> Self {
        Self {
            ground,
            hls: None,
            webrtc: None,
            rtsp: None,
            rtmp: None,
            api: None,
            metrics: None,
            playback: None,
            control: None,
            exports: None,
            patience: Duration::ZERO,
        }
    }

    /// Stops HLS if it is to be another: what its muxers hold is free then to be remuxed as the new one wants it.
    pub(crate) fn release_hls(&mut self, config: &Config) {
        if let Some(running) = self.hls.as_mut().filter(|running| Some(&running.key) != config.hls.as_ref()) {
            running.release(&Hls(&self.ground));
        }
    }

    /// Has those listeners run that a configuration wants; the first fault of each that can't comes back.
    pub(crate) async fn apply(&mut self, config: &Config) -> Vec<ListenError> {
        let ground = self.ground.clone();
        let (media, control) = ((&ground.media_tasks, self.patience), (&ground.control_tasks, self.patience));
        let hls = (&ground.hls_tasks, self.patience);
        let mut faults = Vec::new();
        faults.extend(change(&mut self.hls, config.hls.clone(), hls, Hls(&ground)).await.err());
        faults.extend(change(&mut self.webrtc, config.webrtc.clone(), media, WebRtc(&ground)).await.err());
        faults.extend(change(&mut self.rtsp, config.rtsp.clone(), media, Rtsp(&ground)).await.err());
        faults.extend(change(&mut self.rtmp, config.rtmp.clone(), media, Rtmp(&ground)).await.err());
        let metrics = config.metrics.clone();
        faults.extend(change(&mut self.metrics, metrics, control, Metrics(&ground)).await.err());
        faults.extend(self.apply_playback(config).await.err());
        let page = config.control.clone().map(|page| ControlKey {
            config: page,
            hls: config.hls.as_ref().map(|hls| listener_url(&hls.http)),
            webrtc: config.webrtc.as_ref().map(|webrtc| listener_url(&webrtc.http)),
        });
        faults.extend(change(&mut self.control, page, control, Control(&ground)).await.err());
        // Last: whoever gets its answer finds all others.
        let both = [Encryption::None, Encryption::Tls];
        let (rtsp, rtmp) = (ground.egress.rtsp(), ground.egress.rtmp());
        let api = config.api.clone().map(|api| ApiKey {
            config: api,
            has_rtsp: both.map(|encryption| rtsp.as_ref().is_some_and(|rtsp| rtsp.listens(encryption))),
            has_hls: ground.egress.hls().is_some(),
            has_webrtc: ground.egress.webrtc().is_some(),
            has_rtmp: both.map(|encryption| rtmp.as_ref().is_some_and(|rtmp| rtmp.listens(encryption))),
        });
        faults.extend(change(&mut self.api, api, control, Api(&ground)).await.err());
        self.patience = RELEASE_MAX;
        faults
    }

    /// Plays recordings back, once there is something that records.
    async fn apply_playback(&mut self, config: &Config) -> Result<(), ListenError> {
        let wanted = config.playback.clone().filter(|_| self.ground.recorders.get().is_some());
        if wanted.is_some() && self.exports.is_none() {
            self.exports = starting::open_exports(&config.database, &self.ground).await;
        }
        let tasks = self.ground.control_tasks.clone();
        let playback = Playback { ground: &self.ground, exports: self.exports.clone() };
        change(&mut self.playback, wanted, (&tasks, self.patience), playback).await
    }
}

/// Starts one kind of listener.
trait Start<K> {
    /// As tasks of `tasks`, all of which are cancelled when it fails.
    fn start(&self, key: &K, tasks: TaskSet) -> impl Future<Output = Result<(), ListenError>>;
    /// What is left to do once its tasks are told to end.
    fn stop(&self) {}
}

struct Hls<'a>(&'a Ground);
struct WebRtc<'a>(&'a Ground);
struct Rtsp<'a>(&'a Ground);
struct Rtmp<'a>(&'a Ground);
struct Api<'a>(&'a Ground);
struct Metrics<'a>(&'a Ground);
struct Control<'a>(&'a Ground);
struct Playback<'a> {
    ground: &'a Ground,
    exports: Option<Arc<Exports>>,
}

/// Makes a listener what is wanted.
async fn change<K: Clone + PartialEq>(
    running: &mut Option<Running<K>>,
    wanted: Option<K>,
    (tasks, patience): (&TaskSet, Duration),
    kind: impl Start<K>,
) -> Result<(), ListenError> {
    let stands = running.as_ref().filter(|running| !running.is_released).map(|running| &running.key);
    if stands == wanted.as_ref() {
        return Ok(());
    }
    let mut old = running.take();
    if let Some(old) = &mut old {
        old.release(&kind);
    }
    let Some(key) = wanted else { return Ok(()) };
    match start_patiently(&key, tasks, &kind, patience).await {
        Ok(tasks) => {
            *running = Some(Running { key, tasks, is_released: false });
            Ok(())
        }
        Err(error) => {
            if let Some(Running { key, .. }) = old {
                match start_patiently(&key, tasks, &kind, patience).await {
                    Ok(tasks) => *running = Some(Running { key, tasks, is_released: false }),
                    Err(error) => tracing::error!(%error, "listener can't be started again as it was"),
                }
            }
            Err(error)
        }
    }
}

/// Starts a listener, whose address its predecessor may still hold for a moment.
async fn start_patiently<K>(
    key: &K,
    tasks: &TaskSet,
    kind: &impl Start<K>,
    patience: Duration,
) -> Result<TaskSet, ListenError> {
    let until = clock::now() + patience;
    loop {
        let tasks = tasks.branch();
        match kind.start(key, tasks.clone()).await {
            Ok(()) => return Ok(tasks),
            Err(error) => {
                tasks.token().cancel();
                if !error.is_address_in_use() || clock::now() >= until {
                    return Err(error);
                }
                tokio::time::sleep(RELEASE_LOOK).await;
            }
        }
    }
}

/// How viewers find HLS.
fn hls_listener(http: &HttpConfig) -> HlsListener {
    HlsListener {
        scheme: if http.tls.is_some() { HttpScheme::Https } else { HttpScheme::Http },
        port: http.address.port(),
    }
}

fn listener_url(http: &HttpConfig) -> ListenerUrl {
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    ListenerUrl { scheme, port: http.address.port() }
}
