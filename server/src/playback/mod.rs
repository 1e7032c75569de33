//! Playback server: MediaMTX's `/list` and `/get` on `playbackAddress`.
//!
//! ```text
//!  GET /list?path=&start=&end=                       what is recorded, as JSON
//!  GET /timeline?path=&start=&end=&limit=            ranges and gaps with their reasons, a page at a time
//!               &thumbnails=10                       and a picture each so many seconds
//!  GET /thumbnail?path=&time=&width=                 the picture that is shown then, as JPEG
//!  /export                                           evidence (-> export)
//!  GET /get?path=&start=&duration=&format=&gaps=     that stretch, as MP4; HEAD, ranges
//! ```
//!
//! Belongs here: requests, answers, bytes from files to sockets. Does not: what is recorded and which bytes a stretch
//! is (-> storage).
//! Limits: a chunk of `storage`'s reader in memory for each answer; `http_listener`.
//! Spec: RFC 9110 s13.1.5 (If-Range), s14 (ranges).

pub(crate) mod body;
pub(crate) mod export;
mod export_routes;
pub(crate) mod request;
pub(crate) mod thumbnail;
mod timeline;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use control_api::cors::{self, Cors};
use control_api::proxies::TrustedProxies;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use media_core::gate::{Action, CameraGrant};
use media_core::path_name::PathName;
use serde::Serialize;
use storage::{Clip, PlaybackError, Recordings, Span};
use url::form_urlencoded;

use self::export::Exports;
use self::request::{BadRequest, GetRequest, ListRequest, rfc3339};
use self::thumbnail::Thumbnails;
use crate::access::{Access, Refused};
use crate::byte_range::ByteRange;
use crate::config::resolved::PlaybackConfig;

/// What the server stands on.
#[derive(Clone)]
pub(crate) struct PlaybackDeps {
    recordings: Recordings,
    thumbnails: Arc<Thumbnails>,
    access: Access,
    trusted_proxies: TrustedProxies,
    scheme: &'static str,
    exports: Option<Arc<Exports>>,
}

/// The router for `playbackAddress`.
pub(crate) fn router(
    config: &PlaybackConfig,
    access: Access,
    thumbnails: Arc<Thumbnails>,
    exports: Option<Arc<Exports>>,
) -> Router {
    let deps = PlaybackDeps {
        recordings: thumbnails.recordings.clone(),
        thumbnails,
        access,
        trusted_proxies: TrustedProxies(config.http.trusted_proxies.clone().into()),
        scheme: if config.http.tls.is_some() { "https" } else { "http" },
        exports,
    };
    let origins = config.http.allow_origins.clone().into();
    let cors = Cors {
        origins,
        methods: "OPTIONS, GET, POST, DELETE",
        headers: "Authorization, Content-Type, Range, If-Range",
    };
    Router::new()
        .route("/list", get(list))
        .route("/get", get(clip))
        .route("/timeline", get(timeline::timeline))
        .route("/thumbnail", get(thumbnail::thumbnail))
        .merge(export_routes::routes())
        .layer(middleware::from_fn_with_state(cors, cors::apply))
        .with_state(deps)
}

/// A request that does not get what it asked for; MediaMTX's error body.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Bad(#[from] BadRequest),
    #[error("{0}")]
    Denied(#[from] Refused),
    #[error("no recordings found")]
    NotFound,
    #[error("no such export, or it is not finished")]
    NoJob,
    #[error("exports are off: the log says why")]
    NoExports,
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    NoPicture(String),
    #[error("recordings can't be read")]
    Failed,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Denied(refused) => refused.status(),
            Self::NotFound | Self::NoJob => StatusCode::NOT_FOUND,
            Self::NoExports | Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoPicture(_) | Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
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
        let mut response = (self.status(), Json(body)).into_response();
        if let Self::Denied(refused) = self {
            response.headers_mut().extend(refused.header());
        }
        response
    }
}

/// An entry of `/list`.
#[derive(Debug, Serialize)]
struct Entry {
    start: String,
    duration: f64,
    url: String,
}

/// Who asks: what of a request the gate wants to see.
#[derive(Debug)]
struct Asker {
    peer: SocketAddr,
    headers: HeaderMap,
    query: String,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().ok_or(Refusal::Failed)?.0;
        let query = parts.uri.query().unwrap_or_default().to_owned();
        Ok(Self { peer, headers: parts.headers.clone(), query })
    }
}

impl PlaybackDeps {
    /// What URLs of this server begin with, as its caller writes them.
    fn base(&self, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        format!("{}://{host}", self.scheme)
    }

    async fn authorize(&self, path: &PathName, asker: &Asker) -> Result<CameraGrant, Refusal> {
        let ip = self.trusted_proxies.caller(asker.peer.ip(), &asker.headers).ok_or(Refused::Wrong)?;
        let visitor = self.access.http_visitor(ip, None, &asker.headers, &asker.query);
        Ok(self.access.camera(&visitor, Action::Playback, path).await?.grant)
    }
}

async fn list(State(deps): State<PlaybackDeps>, asker: Asker) -> Result<Response, Refusal> {
    let request = ListRequest::parse(&asker.query)?;
    let grant = deps.authorize(&request.path, &asker).await?;
    let spans = deps.recordings.spans(&grant, request.start, request.end).await;
    let spans = spans.map_err(|error| Refusal::failed(&error.into()))?;
    if spans.is_empty() {
        return Err(Refusal::NotFound);
    }
    let base = format!("{}/get?", deps.base(&asker.headers));
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

async fn clip(State(deps): State<PlaybackDeps>, asker: Asker) -> Result<Response, Refusal> {
    let request = GetRequest::parse(&asker.query)?;
    let grant = deps.authorize(&request.path, &asker).await?;
    let plan = deps.recordings.plan_clip(&grant, request.clip).await;
    let plan = plan.map_err(|error| Refusal::failed(&error.into()))?.ok_or(Refusal::NotFound)?;
    let looked = tokio::task::spawn_blocking(move || plan.clip(&grant).map(|clip| (clip, grant))).await;
    let (clip, grant) = match looked {
        Ok(Err(PlaybackError::TooMany(error))) => return Err(BadRequest::TooMany(error).into()),
        Ok(looked) => looked.map_err(|error| Refusal::failed(&error))?,
        Err(_) => return Err(Refusal::Failed),
    };
    let clip = Arc::new(clip.ok_or(Refusal::NotFound)?);
    media(&deps, &grant, clip, &asker.headers).await
}

/// A clip, or the range of it that was asked for.
async fn media(
    deps: &PlaybackDeps,
    grant: &CameraGrant,
    clip: Arc<Clip>,
    asked: &HeaderMap,
) -> Result<Response, Refusal> {
    let (total, tag) = (clip.len_bytes(), clip.tag());
    let is_same = asked.get(header::IF_RANGE).is_none_or(|wanted| wanted.as_bytes() == tag.as_bytes());
    let range = if is_same { ByteRange::asked(asked, total) } else { ByteRange::Whole };
    let (from, to, status) = match range {
        ByteRange::Whole => (0, total, StatusCode::OK),
        ByteRange::Part { from, to } => (from, to, StatusCode::PARTIAL_CONTENT),
        ByteRange::Unsatisfiable => (0, 0, StatusCode::RANGE_NOT_SATISFIABLE),
    };
    let reader = deps.recordings.reader(grant, clip, from..to).await;
    let reader = reader.map_err(|error| Refusal::failed(&error.into()))?;
    let content_range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!("bytes {from}-{}/{total}", to - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{total}")),
        _ => None,
    };
    let mut response = Response::new(body::body(reader));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let text = |text: &str| HeaderValue::from_str(text).ok();
    headers.extend(text(&tag).map(|tag| (header::ETAG, tag)));
    headers.extend(content_range.and_then(|range| text(&range)).map(|range| (header::CONTENT_RANGE, range)));
    Ok(response)
}
