//! Control: the page on `:8080`, its files, and the API it reads.
//!
//! ```text
//!  GET /              index.html, for those who may watch some camera
//!  GET /_/{file}      any other file of the page, for anyone
//!  GET /api/cameras   what the page shows: the cameras that the caller may watch
//!  GET /api/health    200 as long as the server serves
//! ```

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path as UrlPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderValue, header};

use crate::access::{self, Access, Caller, Denied, Visible};
use crate::error::{ApiError, CHALLENGE};
use crate::host_guard::{self, HostGuard};
use crate::model::{Camera, CameraItem, CameraItems};
use crate::proxies::TrustedProxies;
use crate::{BODY_BYTES_MAX, Cameras, bound_and_sign};

/// The page loads its own scripts and styles and nobody else's; video and camera lists may come
/// from any listener, since HLS and WebRTC have ports and perhaps hosts of their own.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; \
    connect-src *; media-src * blob:; img-src 'self' data: blob:; worker-src 'self' blob:; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// The page's files.
pub trait Assets: Send + Sync {
    /// The file at a path such as `index.html` or `grid/tile.js`.
    fn get(&self, path: &str) -> Option<Asset>;
}

/// One file of the page.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its content.
    pub bytes: Bytes,
    /// Its media type, with charset.
    pub content_type: Cow<'static, str>,
}

/// How viewers reach a media listener; the host is the one they used for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Its port.
    pub port: u16,
}

/// What the page's router needs.
#[derive(Clone)]
pub struct ControlDeps {
    /// Who may watch which camera.
    pub access: Arc<dyn Access>,
    /// The cameras.
    pub cameras: Arc<dyn Cameras>,
    /// The page's files.
    pub assets: Arc<dyn Assets>,
    /// The HLS listener; `None` when it is off.
    pub hls: Option<ListenerUrl>,
    /// The WebRTC listener; `None` when it is off.
    pub webrtc: Option<ListenerUrl>,
    /// Which `Host` headers are answered.
    pub host_guard: HostGuard,
}

/// The router for `controlAddress`.
pub fn control_router(deps: ControlDeps) -> Router {
    let guard = deps.host_guard.clone();
    Router::new()
        .route("/", get(index))
        .route("/_/{*file}", get(file))
        .route("/api/cameras", get(cameras))
        .route("/api/health", get(health))
        .fallback(async || ApiError::NoSuchEndpoint)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, host_guard::require))
        .layer(middleware::from_fn(secure))
        .layer(middleware::from_fn(bound_and_sign))
        .with_state(deps)
}

/// Middleware: the headers that keep a browser from doing what no page here needs.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // An answer that is older than the request is of no use to a live page; files change with the binary.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

async fn index(State(deps): State<ControlDeps>, request: Request) -> Result<Response, ApiError> {
    let caller = caller(&request);
    let names = deps.cameras.list(0, usize::MAX).items.into_iter().map(|camera| camera.name).collect();
    match visible(&deps, caller, names).await {
        Ok(_) => asset(&deps, "index.html"),
        // A person who mistyped a password is asked again.
        Err(Denied::Wrong) => {
            let mut response = ApiError::Denied(Denied::Wrong).into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
            Ok(response)
        }
        Err(denied) => Err(ApiError::Denied(denied)),
    }
}

/// Who asks. No proxy's word is taken on this port.
fn caller(request: &Request) -> Option<Caller> {
    access::caller(request, &TrustedProxies::default())
}

async fn visible(deps: &ControlDeps, caller: Option<Caller>, names: Vec<String>) -> Result<Visible, Denied> {
    deps.access.visible(caller.ok_or(Denied::Wrong)?, names).await
}

async fn file(State(deps): State<ControlDeps>, UrlPath(path): UrlPath<String>) -> Result<Response, ApiError> {
    asset(&deps, &path)
}

fn asset(deps: &ControlDeps, path: &str) -> Result<Response, ApiError> {
    let asset = deps.assets.get(path).ok_or(ApiError::NoSuchEndpoint)?;
    let content_type = HeaderValue::from_str(&asset.content_type);
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    Ok(([(header::CONTENT_TYPE, content_type)], asset.bytes).into_response())
}

async fn health() -> Response {
    Json(serde_json::json!({ "status": "ok" })).into_response()
}

async fn cameras(State(deps): State<ControlDeps>, request: Request) -> Result<Json<CameraItems>, ApiError> {
    let host = host_guard::requested(&request);
    let host = host.as_ref().map(|host| host.host());
    let all = deps.cameras.list(0, usize::MAX).items;
    let names = all.iter().map(|camera| camera.name.clone()).collect();
    let visible = visible(&deps, caller(&request), names).await.map_err(ApiError::Denied)?;
    let seen = all.into_iter().filter(|camera| visible.names.contains(&camera.name));
    Ok(Json(CameraItems {
        items: seen.map(|camera| item(camera, &deps, host)).collect(),
        hls_port: deps.hls.map(|listener| listener.port),
        webrtc_port: deps.webrtc.map(|listener| listener.port),
        session: visible.session,
    }))
}

fn item(camera: Camera, deps: &ControlDeps, host: Option<&str>) -> CameraItem {
    // Path names hold only letters, digits and `_-./`: nothing to escape.
    let url = |listener: Option<ListenerUrl>| {
        let ListenerUrl { scheme, port } = listener?;
        Some(format!("{scheme}://{}:{port}/{}/", host?, camera.name))
    };
    CameraItem {
        hls_url: url(deps.hls),
        webrtc_url: url(deps.webrtc),
        state: camera.state,
        state_since: camera.state_since,
        online: camera.online_since.is_some(),
        tracks: camera.tracks.iter().map(|track| track.codec).collect(),
        readers: camera.readers.len(),
        state_reason: camera.state_reason,
        name: camera.name,
    }
}
