//! Starting: what each listener is made of.

use std::sync::Arc;

use control_api::host_guard::HostGuard;
use control_api::model::{Info, Time};
use control_api::proxies::TrustedProxies;
use storage::DatabaseUrl;

use super::{
    Api, ApiKey, Control, ControlKey, Ground, Hls, Metrics, Playback, Rtmp, Rtsp, Start, WebRtc, hls_listener,
};
use crate::assets::{self, Assets};
use crate::config::kept;
use crate::config::resolved::{
    HlsConfig, HttpConfig, MetricsConfig, PlaybackConfig, RtmpConfig, RtspConfig, WebRtcConfig,
};
use crate::control::hls::HlsObserver;
use crate::control::rtmp::RtmpObserver;
use crate::control::rtsp::RtspObserver;
use crate::control::webrtc::WebRtcObserver;
use crate::egress::hls::{HlsDeps, HlsServer};
use crate::egress::rtmp::{RtmpDeps, RtmpServer};
use crate::egress::rtsp::stats::Encryption;
use crate::egress::rtsp::{RtspDeps, RtspServer};
use crate::egress::webrtc::{WebRtcDeps, WebRtcServer};
use crate::http_listener::{self, Endpoint, ListenError, RouterAnswer};
use crate::playback;
use crate::playback::export::Exports;
use crate::playback::thumbnail::Thumbnails;
use crate::runtime::tasks::TaskSet;
use crate::snapshot::Snapshots;
use crate::telemetry::metrics::{MetricsDeps, MetricsSource, metrics_router};

impl Start<HlsConfig> for Hls<'_> {
    async fn start(&self, key: &HlsConfig, tasks: TaskSet) -> Result<(), ListenError> {
        let recorders = self.0.recorders.clone();
        let deps = HlsDeps {
            registry: Arc::clone(&self.0.registry),
            access: self.0.access.clone(),
            tasks,
            pages: Arc::new(Assets),
            recordings: Arc::new(move || recorders.get().map(|recorders| recorders.recordings())),
        };
        let server = HlsServer::new(key.clone(), deps);
        server.listen().await?;
        self.0.egress.hls.store(Some(server));
        Ok(())
    }

    fn stop(&self) {
        // Its muxers are sinks of their streams.
        if let Some(server) = self.0.egress.hls.swap(None) {
            server.close();
        }
    }
}

impl Start<WebRtcConfig> for WebRtc<'_> {
    async fn start(&self, config: &WebRtcConfig, tasks: TaskSet) -> Result<(), ListenError> {
        let egress = Arc::clone(&self.0.egress);
        let deps = WebRtcDeps {
            registry: Arc::clone(&self.0.registry),
            access: self.0.access.clone(),
            pages: Box::new(assets::webrtc_page),
            hls: Box::new(move || egress.hls().map(|hls| hls_listener(hls.listener()))),
            tasks: tasks.clone(),
        };
        let address = config.local_udp_address.or(config.local_tcp_address).unwrap_or(config.http.address);
        let bind = |error| ListenError::Bind { name: "webrtc media", address, error };
        let server = WebRtcServer::start(config.clone(), deps).await.map_err(bind)?;
        listen("webrtc", &config.http, server.router(), &tasks).await?;
        self.0.egress.webrtc.store(Some(server));
        Ok(())
    }

    fn stop(&self) {
        self.0.egress.webrtc.store(None);
    }
}

impl Start<RtspConfig> for Rtsp<'_> {
    async fn start(&self, key: &RtspConfig, tasks: TaskSet) -> Result<(), ListenError> {
        let (registry, access, events) =
            (Arc::clone(&self.0.registry), self.0.access.clone(), self.0.events.clone());
        let server = RtspServer::start(key.clone(), RtspDeps { registry, access, events, tasks }).await?;
        self.0.egress.rtsp.store(Some(server));
        Ok(())
    }

    fn stop(&self) {
        self.0.egress.rtsp.store(None);
    }
}

impl Start<RtmpConfig> for Rtmp<'_> {
    async fn start(&self, key: &RtmpConfig, tasks: TaskSet) -> Result<(), ListenError> {
        let (registry, access, events) =
            (Arc::clone(&self.0.registry), self.0.access.clone(), self.0.events.clone());
        let server = RtmpServer::start(key.clone(), RtmpDeps { registry, access, events, tasks }).await?;
        self.0.egress.rtmp.store(Some(server));
        Ok(())
    }

    fn stop(&self) {
        self.0.egress.rtmp.store(None);
    }
}

impl Start<ApiKey> for Api<'_> {
    async fn start(&self, ApiKey { config, .. }: &ApiKey, tasks: TaskSet) -> Result<(), ListenError> {
        let observer = &self.0.observer;
        let deps = control_api::ApiDeps {
            access: Arc::new(self.0.access.clone()),
            cameras: Arc::clone(observer) as Arc<dyn control_api::Cameras>,
            storage: Arc::clone(observer) as Arc<dyn control_api::Storage>,
            config: Arc::clone(&self.0.config),
            snapshots: Snapshots::new(&observer.registry, self.0.access.clone(), &observer.pool),
            hls: HlsObserver::of(observer),
            webrtc: WebRtcObserver::of(observer),
            rtsp: RtspObserver::of(observer, Encryption::None),
            rtsps: RtspObserver::of(observer, Encryption::Tls),
            rtmp: RtmpObserver::of(observer, Encryption::None),
            rtmps: RtmpObserver::of(observer, Encryption::Tls),
            info: Info {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started: Time { unix_us: observer.started.unix_us() },
            },
            allow_origins: config.http.allow_origins.clone().into(),
            trusted_proxies: TrustedProxies(config.http.trusted_proxies.clone().into()),
        };
        control_listen(self.0, "api", &config.http, control_api::router(deps), tasks).await
    }
}

impl Start<MetricsConfig> for Metrics<'_> {
    async fn start(&self, key: &MetricsConfig, tasks: TaskSet) -> Result<(), ListenError> {
        let deps = MetricsDeps {
            access: Arc::new(self.0.access.clone()),
            source: Arc::clone(&self.0.observer) as Arc<dyn MetricsSource>,
            allow_origins: key.http.allow_origins.clone().into(),
            trusted_proxies: TrustedProxies(key.http.trusted_proxies.clone().into()),
        };
        control_listen(self.0, "metrics", &key.http, metrics_router(deps), tasks).await
    }
}

impl Start<PlaybackConfig> for Playback<'_> {
    async fn start(&self, key: &PlaybackConfig, tasks: TaskSet) -> Result<(), ListenError> {
        let Some(recorders) = self.ground.recorders.get() else { return Ok(()) };
        let thumbnails = Thumbnails::new(recorders.recordings(), &self.ground.observer.pool);
        let router = playback::router(key, self.ground.access.clone(), thumbnails, self.exports.clone());
        control_listen(self.ground, "playback", &key.http, router, tasks).await
    }
}

impl Start<ControlKey> for Control<'_> {
    async fn start(&self, key: &ControlKey, tasks: TaskSet) -> Result<(), ListenError> {
        let page = &key.config;
        let host_guard = if page.address.ip().is_loopback() {
            HostGuard::Loopback { names: page.allowed_hosts.clone().into() }
        } else {
            HostGuard::Anyone
        };
        let deps = control_api::ControlDeps {
            access: Arc::new(self.0.access.clone()),
            cameras: Arc::clone(&self.0.observer) as Arc<dyn control_api::Cameras>,
            assets: Arc::new(Assets),
            hls: key.hls,
            webrtc: key.webrtc,
            host_guard,
        };
        let answer = Arc::new(RouterAnswer(control_api::control_router(deps)));
        let address = page.address;
        let serving = async move {
            let endpoint = Endpoint { name: "control", address, tls: None };
            http_listener::serve(endpoint, answer, &tasks).await
        };
        let bound = self.0.control.spawn(serving).await.map_err(|_| panicked("control"))??;
        tracing::info!("watch at http://{bound}/");
        Ok(())
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

/// Listens on the control runtime.
async fn control_listen(
    ground: &Ground,
    name: &'static str,
    http: &HttpConfig,
    router: axum::Router,
    tasks: TaskSet,
) -> Result<(), ListenError> {
    let http = http.clone();
    let listening = async move { listen(name, &http, router, &tasks).await };
    ground.control.spawn(listening).await.map_err(|_| panicked(name))?
}

fn panicked(name: &'static str) -> ListenError {
    ListenError::Panicked { name }
}

/// Exports lie beside the catalogue. Without them the rest goes on.
pub(super) async fn open_exports(database: &DatabaseUrl, ground: &Ground) -> Option<Arc<Exports>> {
    let recordings = ground.recorders.get()?.recordings();
    let tasks = ground.control_tasks.on(Some(ground.control.clone()));
    let beside = kept::beside(database);
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
