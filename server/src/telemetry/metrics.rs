//! Metrics: a snapshot of the server into MediaMTX's metrics and ours, at `/metrics`.
//!
//! Families named as MediaMTX's have its labels and its habit of one sample of 0 without labels
//! when there is nothing to count. Ours begin with `gtvision_` and are absent then. MediaMTX
//! writes no types and mixes families; we write types and keep each family together, which every
//! scraper that reads the one reads too.
//!
//! Filters of a request: `type` (`paths`, `hls_muxers`, `webrtc_sessions`, `rtsp_conns` ...), `path`, `hls_muxer`,
//! `hls_session`, `forward_dest`, `webrtc_session`, `rtsp_conn`, `rtsp_session`, `rtsps_conn`, `rtsps_session`, `rtmp_conn`, `rtmps_conn`; any but the first leaves out what it does not
//! name.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use control_api::access::{self, Access, Guard, Service};
use control_api::cors::{self, Cors};
use control_api::proxies::TrustedProxies;
use http::header;
use serde::Deserialize;

use super::access_metrics;
use super::columns::{Column, Empty, chosen, counter, gauge, whole, write_columns};
use super::decode_metrics;
use super::forward_metrics::{self, ForwardMetrics};
use super::hls_metrics::{self, HlsMuxerMetrics};
use super::hook_metrics::{self, HookMetrics, WebhookMetrics};
use super::metrics_text::{Number, Text};
use super::path_metrics::{self, PathMetrics};
use super::process::ProcessMetrics;
use super::recording_metrics::{self, RecordingMetrics};
use super::reload_metrics::{self, ReloadMetrics};
use super::rtmp_metrics::{self, RtmpMetrics};
use super::rtsp_metrics::{self, RtspMetrics};
use super::webrtc_metrics::{self, WebRtcSessionMetrics};
use crate::access::AccessSnapshot;
use crate::decode::pool::PoolFigures;
use crate::egress::hls::viewers::Viewer;
use crate::egress::rtsp::stats::Encryption;

/// Everything that metrics are made of, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetricsSnapshot {
    /// Configured paths.
    pub(crate) paths: Vec<PathMetrics>,
    /// HLS muxers that run; `None` when HLS is off.
    pub(crate) hls_muxers: Option<Vec<HlsMuxerMetrics>>,
    /// Servers that media is sent to.
    pub(crate) forwards: Vec<ForwardMetrics>,
    /// HLS viewers; `None` when HLS is off.
    pub(crate) hls_sessions: Option<Vec<Arc<Viewer>>>,
    /// WebRTC sessions; `None` when WebRTC is off.
    pub(crate) webrtc_sessions: Option<Vec<WebRtcSessionMetrics>>,
    /// Datagrams on the WebRTC port that no session claimed.
    pub(crate) webrtc_unroutable_datagrams: u64,
    /// RTSP clients; `None` when RTSP is off.
    pub(crate) rtsp: Option<RtspMetrics>,
    /// RTMP clients; `None` when RTMP is off.
    pub(crate) rtmp: Option<RtmpMetrics>,
    /// Recorders and their disks; `None` when nothing is recorded or played back.
    pub(crate) recording: Option<RecordingMetrics>,
    /// Who was refused.
    pub(crate) access: AccessSnapshot,
    /// Changes of the configuration.
    pub(crate) reloads: ReloadMetrics,
    /// Pictures made of key frames.
    pub(crate) decode: PoolFigures,
    /// Commands on events.
    pub(crate) hooks: HookMetrics,
    /// Events posted elsewhere.
    pub(crate) webhooks: WebhookMetrics,
    /// This process.
    pub(crate) process: ProcessMetrics,
}

/// Where snapshots come from.
pub(crate) trait MetricsSource: Send + Sync {
    /// The numbers now.
    fn snapshot(&self) -> MetricsSnapshot;
}

/// What a request asks for; empty texts count as absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    hls_muxer: String,
    hls_session: String,
    forward_dest: String,
    webrtc_session: String,
    rtsp_conn: String,
    rtsp_session: String,
    rtsps_conn: String,
    rtsps_session: String,
    rtmp_conn: String,
    rtmps_conn: String,
}

impl Filter {
    /// Whether objects of a type are shown, where `name` is the filter that names one of them.
    fn shows(&self, kind: &str, name: &str) -> bool {
        let any = self.names().iter().any(|filter| !filter.is_empty());
        (self.kind.is_empty() || self.kind == kind) && (!any || !name.is_empty())
    }

    /// Whether a request names nothing in particular.
    fn is_empty(&self) -> bool {
        self.kind.is_empty() && self.names().iter().all(|filter| filter.is_empty())
    }

    /// The filters that name one object.
    fn names(&self) -> [&str; 11] {
        let rtsp = [&self.rtsp_conn, &self.rtsp_session, &self.rtsps_conn, &self.rtsps_session];
        let [conn, session, tls_conn, tls_session] = rtsp.map(String::as_str);
        let rtmp = [&self.rtmp_conn, &self.rtmps_conn];
        let [path, muxer, webrtc] = [&self.path, &self.hls_muxer, &self.webrtc_session];
        let [hls, forward] = [&self.hls_session, &self.forward_dest];
        [path, muxer, hls, forward, webrtc, conn, session, tls_conn, tls_session, rtmp[0], rtmp[1]]
    }
}

/// What the metrics listener needs.
#[derive(Clone)]
pub(crate) struct MetricsDeps {
    /// Who may read them.
    pub(crate) access: Arc<dyn Access>,
    /// The numbers.
    pub(crate) source: Arc<dyn MetricsSource>,
    /// `metricsAllowOrigins`.
    pub(crate) allow_origins: Arc<[String]>,
    /// `metricsTrustedProxies`.
    pub(crate) trusted_proxies: TrustedProxies,
}

/// The router for `metricsAddress`.
pub(crate) fn metrics_router(deps: MetricsDeps) -> Router {
    let origins = Arc::clone(&deps.allow_origins);
    let cors = Cors { origins, methods: "OPTIONS, GET", headers: "Authorization" };
    let guard = Guard {
        access: Arc::clone(&deps.access),
        proxies: deps.trusted_proxies.clone(),
        service: Service::Metrics,
    };
    Router::new()
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(guard, access::require))
        .layer(middleware::from_fn_with_state(cors, cors::apply))
        .with_state(deps)
}

async fn metrics(State(deps): State<MetricsDeps>, filter: Query<Filter>) -> Response {
    let text = render(&deps.source.snapshot(), &filter);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Writes the metrics that a filter leaves.
pub(crate) fn render(snapshot: &MetricsSnapshot, filter: &Filter) -> String {
    let mut text = Text::default();
    if filter.shows("paths", &filter.path) {
        let paths: Vec<_> = snapshot.paths.iter().filter(|path| chosen(&filter.path, &path.name)).collect();
        path_metrics::write(&mut text, &paths, &filter.path);
    }
    if let Some(muxers) = &snapshot.hls_muxers
        && filter.shows("hls_muxers", &filter.hls_muxer)
    {
        hls_metrics::write_muxers(&mut text, muxers, &filter.hls_muxer);
    }
    if filter.shows("forward_dests", &filter.forward_dest) {
        forward_metrics::write(&mut text, &snapshot.forwards, &filter.forward_dest);
    }
    if let Some(viewers) = &snapshot.hls_sessions
        && filter.shows("hls_sessions", &filter.hls_session)
    {
        hls_metrics::write(&mut text, viewers, &filter.hls_session);
    }
    if let Some(sessions) = &snapshot.webrtc_sessions
        && filter.shows("webrtc_sessions", &filter.webrtc_session)
    {
        webrtc_metrics::write(&mut text, sessions, &filter.webrtc_session);
    }
    if let Some(rtsp) = &snapshot.rtsp {
        write_rtsp(&mut text, rtsp, filter);
    }
    if let Some(rtmp) = &snapshot.rtmp {
        write_rtmp(&mut text, rtmp, filter);
    }
    if let Some(recording) = snapshot.recording.as_ref().filter(|_| filter.shows("recordings", &filter.path))
    {
        recording_metrics::write(&mut text, recording, |path| chosen(&filter.path, path));
    }
    if filter.is_empty() {
        decode_metrics::write(&mut text, &snapshot.decode);
        write_columns(&mut text, PROCESS, &[&snapshot.process], Empty::Silent, |_| Vec::new());
        write_columns(&mut text, SERVER, &[snapshot], Empty::Silent, |_| Vec::new());
        access_metrics::write(&mut text, &snapshot.access);
        reload_metrics::write(&mut text, &snapshot.reloads);
        hook_metrics::write(&mut text, &snapshot.hooks, &snapshot.webhooks);
        if let Some(rtsp) = &snapshot.rtsp {
            rtsp_metrics::write_ours(&mut text, rtsp);
        }
        if let Some(rtmp) = &snapshot.rtmp {
            rtmp_metrics::write_ours(&mut text, rtmp);
        }
    }
    text.finish()
}

fn write_rtsp(text: &mut Text, rtsp: &RtspMetrics, filter: &Filter) {
    let asked = |kind: &str, name: &'_ str| filter.shows(kind, name);
    let plain = rtsp_metrics::Chosen {
        encryption: Encryption::None,
        conn: asked("rtsp_conns", &filter.rtsp_conn).then_some(filter.rtsp_conn.as_str()),
        session: asked("rtsp_sessions", &filter.rtsp_session).then_some(filter.rtsp_session.as_str()),
    };
    rtsp_metrics::write(text, rtsp, &plain);
    if rtsp.has_tls {
        let tls = rtsp_metrics::Chosen {
            encryption: Encryption::Tls,
            conn: asked("rtsps_conns", &filter.rtsps_conn).then_some(filter.rtsps_conn.as_str()),
            session: asked("rtsps_sessions", &filter.rtsps_session).then_some(filter.rtsps_session.as_str()),
        };
        rtsp_metrics::write(text, rtsp, &tls);
    }
}

fn write_rtmp(text: &mut Text, rtmp: &RtmpMetrics, filter: &Filter) {
    if filter.shows("rtmp_conns", &filter.rtmp_conn) {
        rtmp_metrics::write(text, rtmp, Encryption::None, &filter.rtmp_conn);
    }
    if rtmp.has_tls && filter.shows("rtmps_conns", &filter.rtmps_conn) {
        rtmp_metrics::write(text, rtmp, Encryption::Tls, &filter.rtmps_conn);
    }
}

const SERVER: &[Column<MetricsSnapshot>] = &[counter(
    "gtvision_webrtc_unroutable_datagrams_total",
    "Datagrams on the WebRTC port that no session claimed.",
    |snapshot| whole(snapshot.webrtc_unroutable_datagrams).filter(|_| snapshot.webrtc_sessions.is_some()),
)];

const PROCESS: &[Column<ProcessMetrics>] = &[
    counter("gtvision_process_cpu_seconds_total", "CPU time used.", |p| p.cpu_seconds.map(Number::Real)),
    gauge("gtvision_process_resident_bytes", "Memory in RAM.", |p| p.resident_bytes.map(Number::Whole)),
    gauge("gtvision_process_open_fds", "Open file descriptors.", |p| p.open_fds.map(Number::Whole)),
    gauge("gtvision_process_fds_max", "The most file descriptors it may open.", |p| {
        p.fds_max.map(Number::Whole)
    }),
    gauge("gtvision_process_threads", "Threads.", |p| p.threads.map(Number::Whole)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::path_metrics::{Readiness, SourceMetrics};

    fn filter(query: &str) -> Filter {
        serde_json::from_value(
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), serde_json::Value::from(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        )
        .unwrap()
    }

    fn snapshot() -> MetricsSnapshot {
        let source = SourceMetrics {
            state: "online",
            reconnects: 2,
            jitter_seconds: Some(0.0015),
            clock_offset_seconds: Some(-0.25),
            ..SourceMetrics::default()
        };
        let cam_1 = PathMetrics {
            name: "cam_1".to_owned(),
            readiness: Readiness::Ready,
            readers: vec![("hlsSession", 1), ("webRTCSession", 2)],
            inbound_bytes: 100,
            outbound_bytes: 300,
            ring_bytes: 7,
            source: Some(source),
            ..PathMetrics::default()
        };
        let push = PathMetrics { name: "push".to_owned(), ..PathMetrics::default() };
        let muxer =
            HlsMuxerMetrics { path: "cam_1".to_owned(), window_bytes: 9, ..HlsMuxerMetrics::default() };
        MetricsSnapshot {
            paths: vec![cam_1, push],
            hls_muxers: Some(vec![muxer]),
            forwards: Vec::new(),
            hls_sessions: Some(Vec::new()),
            webrtc_sessions: Some(Vec::new()),
            recording: None,
            rtsp: None,
            rtmp: None,
            webrtc_unroutable_datagrams: 0,
            access: AccessSnapshot::default(),
            reloads: ReloadMetrics::default(),
            decode: PoolFigures::default(),
            hooks: HookMetrics::default(),
            webhooks: WebhookMetrics::default(),
            process: ProcessMetrics { open_fds: Some(12), ..ProcessMetrics::default() },
        }
    }

    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn paths_have_mediamtx_names_and_labels() {
        let text = render(&snapshot(), &filter("type=paths"));
        // By MediaMTX 1.20's internal/metrics/metrics.go.
        for line in [
            "paths{name=\"cam_1\",state=\"ready\"} 1",
            "paths{name=\"push\",state=\"notReady\"} 1",
            "paths_inbound_bytes{name=\"cam_1\",state=\"ready\"} 100",
            "paths_outbound_bytes{name=\"cam_1\",state=\"ready\"} 300",
            "paths_inbound_frames_in_error{name=\"cam_1\",state=\"ready\"} 0",
            "paths_bytes_received{name=\"cam_1\",state=\"ready\"} 100",
            "paths_bytes_sent{name=\"cam_1\",state=\"ready\"} 300",
            "paths_readers{name=\"cam_1\",readerType=\"hlsSession\",state=\"ready\"} 1",
            "paths_readers{name=\"cam_1\",readerType=\"webRTCSession\",state=\"ready\"} 2",
            "paths_readers{name=\"push\",readerType=\"\",state=\"notReady\"} 0",
            "gtvision_ring_bytes{name=\"cam_1\"} 7",
            "gtvision_source_state{name=\"cam_1\",state=\"online\"} 1",
            "gtvision_source_state{name=\"cam_1\",state=\"frozen\"} 0",
            "gtvision_source_reconnects_total{name=\"cam_1\"} 2",
            "gtvision_source_jitter_seconds{name=\"cam_1\"} 0.0015",
            "gtvision_source_clock_offset_seconds{name=\"cam_1\"} -0.25",
        ] {
            assert!(samples(&text).contains(&line), "{line} is not in\n{text}");
        }
        assert!(
            !text.contains("hls_muxers") && !text.contains("gtvision_source_state{name=\"push\""),
            "{text}"
        );
    }

    #[test]
    fn nothing_to_count_is_zero_without_labels() {
        let empty = MetricsSnapshot { hls_muxers: Some(Vec::new()), ..MetricsSnapshot::default() };
        let text = render(&empty, &Filter::default());
        for line in
            ["paths 0", "paths_readers 0", "paths_inbound_bytes 0", "hls_muxers 0", "hls_muxers_bytes_sent 0"]
        {
            assert!(samples(&text).contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("webrtc_sessions") && !text.contains("gtvision_source"), "{text}");
    }

    #[test]
    fn filters_leave_what_they_name() {
        let text = render(&snapshot(), &filter("path=push"));
        assert!(
            text.contains("name=\"push\"") && !text.contains("cam_1") && !text.contains("gtvision_process")
        );
        assert_eq!(render(&snapshot(), &filter("path=nope")), "");
        assert!(!render(&snapshot(), &filter("hls_muxer=cam_1")).contains("paths{"));
        assert!(render(&snapshot(), &filter("")).contains("gtvision_process_open_fds 12"));
    }

    #[test]
    fn families_stand_together_once_with_help_and_type() {
        let text = render(&snapshot(), &Filter::default());
        let mut seen = std::collections::HashSet::new();
        let mut current = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                current = rest.split(' ').next().unwrap();
                assert!(seen.insert(current), "{current} twice");
                assert!(text.contains(&format!("# HELP {current} ")));
            } else if !line.starts_with('#') {
                assert_eq!(line.split(['{', ' ']).next().unwrap(), current, "{line}");
            }
        }
    }

    #[tokio::test]
    async fn the_endpoint_answers_to_those_who_may_read_metrics() {
        use std::net::SocketAddr;

        use axum::body::Body;
        use axum::extract::ConnectInfo;
        use axum::extract::Request;
        use tower::ServiceExt as _;

        struct Fixed;
        impl MetricsSource for Fixed {
            fn snapshot(&self) -> MetricsSnapshot {
                snapshot()
            }
        }
        for (peer, uri, status) in [
            ("127.0.0.1:1", "/metrics?type=paths", 200),
            ("192.0.2.1:1", "/metrics", 401),
            ("127.0.0.1:1", "/", 404),
        ] {
            let deps = MetricsDeps {
                access: Arc::new(crate::access::Access::by_default()),
                source: Arc::new(Fixed),
                allow_origins: ["*".to_owned()].into(),
                trusted_proxies: TrustedProxies::default(),
            };
            let mut request = Request::get(uri).body(Body::empty()).unwrap();
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
            let response = metrics_router(deps).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{peer} {uri}");
        }
    }
}
