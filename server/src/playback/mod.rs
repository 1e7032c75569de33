//! Playback server: MediaMTX's `/list` and `/get` on `playbackAddress`.
//!
//! ```text
//!  GET /list?path=&start=&end=        what is recorded, as JSON
//!  GET /get?path=&start=&duration=    that stretch, as fMP4
//! ```
//!
//! Belongs here: requests, answers, bytes from files to sockets. Does not: what is recorded and which bytes a stretch
//! is (-> storage).
//! Limits: [`CHUNK_BYTES`] in memory for each answer; `http_listener`.

mod body;
mod request;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use control_api::cors::{self, Cors};
use control_api::loopback::TrustedProxies;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use media_core::gate::{Action, Caller, CameraGrant, Gate};
use media_core::path_name::PathName;
use serde::Serialize;
use storage::{Clip, PlaybackError, Recordings, Span};
use url::form_urlencoded;

use self::request::{BadRequest, GetRequest, ListRequest, rfc3339};
use crate::config::resolved::PlaybackConfig;

/// Read from a file at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What the server stands on.
#[derive(Clone)]
pub(crate) struct PlaybackDeps {
    recordings: Recordings,
    gate: Arc<Gate>,
    trusted_proxies: TrustedProxies,
    scheme: &'static str,
}

/// The router for `playbackAddress`.
pub(crate) fn router(config: &PlaybackConfig, recordings: Recordings, gate: Gate) -> Router {
    let deps = PlaybackDeps {
        recordings,
        gate: Arc::new(gate),
        trusted_proxies: TrustedProxies(config.http.trusted_proxies.clone().into()),
        scheme: if config.http.tls.is_some() { "https" } else { "http" },
    };
    let origins = config.http.allow_origins.clone().into();
    let cors = Cors { origins, methods: "OPTIONS, GET", headers: "Authorization" };
    Router::new()
        .route("/list", get(list))
        .route("/get", get(clip))
        .layer(middleware::from_fn_with_state(cors, cors::apply))
        .with_state(deps)
}

/// A request that does not get what it asked for; MediaMTX's error body.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Bad(#[from] BadRequest),
    #[error("authentication error")]
    Denied,
    #[error("no recordings found")]
    NotFound,
    #[error("recordings can't be read")]
    Failed,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The reason is for the log: it names files.
    fn failed(error: &PlaybackError) -> Self {
        tracing::error!(%error, "recordings can't be played");
        Self::Failed
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "status": "error", "error": self.to_string() });
        (self.status(), Json(body)).into_response()
    }
}

/// An entry of `/list`.
#[derive(Debug, Serialize)]
struct Entry {
    start: String,
    duration: f64,
    url: String,
}

impl PlaybackDeps {
    fn authorize(
        &self,
        path: &PathName,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<CameraGrant, Refusal> {
        let ip = self.trusted_proxies.caller(peer.ip(), headers).ok_or(Refusal::Denied)?;
        self.gate.authorize(&Caller { ip }, Action::Playback, path).map_err(|_| Refusal::Denied)
    }
}

async fn list(
    State(deps): State<PlaybackDeps>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let request = ListRequest::parse(&query.unwrap_or_default())?;
    let grant = deps.authorize(&request.path, peer, &headers)?;
    let spans = deps.recordings.spans(&grant, request.start, request.end).await;
    let spans = spans.map_err(|error| Refusal::failed(&error.into()))?;
    if spans.is_empty() {
        return Err(Refusal::NotFound);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let base = format!("{}://{host}/get?", deps.scheme);
    let entries: Vec<Entry> = spans.iter().map(|span| entry(&base, &request.path, span)).collect();
    Ok(Json(entries).into_response())
}

fn entry(base: &str, path: &PathName, span: &Span) -> Entry {
    let (start, duration) = (rfc3339(span.start), span.duration.as_secs_f64());
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("duration", &duration.to_string())
        .append_pair("path", path.as_str())
        .append_pair("start", &start)
        .finish();
    Entry { start, duration, url: format!("{base}{query}") }
}

async fn clip(
    State(deps): State<PlaybackDeps>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let request = GetRequest::parse(&query.unwrap_or_default())?;
    let grant = deps.authorize(&request.path, peer, &headers)?;
    let plan = deps.recordings.plan_clip(&grant, request.start, request.duration).await;
    let plan = plan.map_err(|error| Refusal::failed(&error.into()))?.ok_or(Refusal::NotFound)?;
    let looked = tokio::task::spawn_blocking(move || plan.clip(&grant)).await;
    let clip = match looked {
        Ok(clip) => clip.map_err(|error| Refusal::failed(&error))?.ok_or(Refusal::NotFound)?,
        Err(_) => return Err(Refusal::Failed),
    };
    Ok(media(clip))
}

fn media(clip: Clip) -> Response {
    let length = HeaderValue::from(clip.len_bytes());
    let mut response = Response::new(Body::from_stream(body::stream(clip)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::CONTENT_LENGTH, length);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    response
}
