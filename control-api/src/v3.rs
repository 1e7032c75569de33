//! v3: MediaMTX's API on `:9997`, as far as it is implemented, and ours beside it (`/v1`, -> `storage`).
//!
//! Unknown endpoints, and known ones with another method, are 404 as in MediaMTX. Endpoints of what
//! is not implemented do not exist.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::access::{self, Access, Denied, Guard, Service};
use crate::config::{self, ConfigStore};
use crate::cors::{self, Cors};
use crate::error::ApiError;
use crate::forward;
use crate::hls::{self, HlsClients};
use crate::model::{Info, Page, Path};
use crate::paging::{Paging, Piece, query};
use crate::proxies::TrustedProxies;
use crate::rtmp::{self, RtmpClients};
use crate::rtsp::{self, RtspClients};
use crate::snapshot::{self, SnapshotQuery, Snapshots};
use crate::storage::{self, Storage};
use crate::webrtc::{self, WebRtcClients};
use crate::{BODY_BYTES_MAX, Cameras, bound_and_sign};

/// What the API needs.
#[derive(Clone)]
pub struct ApiDeps {
    /// Who may use it.
    pub access: Arc<dyn Access>,
    /// The cameras.
    pub cameras: Arc<dyn Cameras>,
    /// The recordings.
    pub storage: Arc<dyn Storage>,
    /// The configuration.
    pub config: Arc<dyn ConfigStore>,
    /// Pictures of the cameras.
    pub snapshots: Arc<dyn Snapshots>,
    /// The HLS listener; `None` when it is off.
    pub hls: Option<Arc<dyn HlsClients>>,
    /// The WebRTC sessions; `None` when WebRTC is off.
    pub webrtc: Option<Arc<dyn WebRtcClients>>,
    /// Clients of the RTSP listener; `None` when it is off.
    pub rtsp: Option<Arc<dyn RtspClients>>,
    /// Clients of the RTSPS listener; `None` when it is off.
    pub rtsps: Option<Arc<dyn RtspClients>>,
    /// Clients of the RTMP listener; `None` when it is off.
    pub rtmp: Option<Arc<dyn RtmpClients>>,
    /// Clients of the RTMPS listener; `None` when it is off.
    pub rtmps: Option<Arc<dyn RtmpClients>>,
    /// What the server is.
    pub info: Info,
    /// `apiAllowOrigins`.
    pub allow_origins: Arc<[String]>,
    /// `apiTrustedProxies`.
    pub trusted_proxies: TrustedProxies,
}

/// The router for `apiAddress`.
pub fn router(deps: ApiDeps) -> Router {
    let cors = Cors {
        origins: Arc::clone(&deps.allow_origins),
        methods: "OPTIONS, GET, POST, PATCH, DELETE",
        headers: "Authorization, Content-Type",
    };
    let guard = Guard {
        access: Arc::clone(&deps.access),
        proxies: deps.trusted_proxies.clone(),
        service: Service::Api,
    };
    let clients = [("rtsp", deps.rtsp.clone()), ("rtsps", deps.rtsps.clone())];
    let clients = clients.into_iter().filter_map(|(prefix, clients)| Some(rtsp::routes(prefix, clients?)));
    let conns = [("rtmp", deps.rtmp.clone()), ("rtmps", deps.rtmps.clone())];
    let conns = conns.into_iter().filter_map(|(prefix, clients)| Some(rtmp::routes(prefix, clients?)));
    let hls = deps.hls.clone().map(hls::routes);
    let webrtc = deps.webrtc.clone().map(webrtc::routes);
    clients
        .chain(conns)
        .chain(hls)
        .chain(webrtc)
        .fold(Router::new(), Router::merge)
        .route("/v3/info", get(info))
        .route("/v3/auth/jwks/refresh", post(refresh_keys))
        .route("/v3/paths/list", get(list_paths))
        .route("/v3/paths/get/{*name}", get(get_path))
        .merge(forward::routes())
        .merge(config::routes())
        .merge(storage::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(guard, access::require))
        .layer(middleware::from_fn_with_state(cors, cors::apply))
        .layer(middleware::from_fn(bound_and_sign))
        .with_state(deps)
}

async fn not_found() -> ApiError {
    ApiError::NoSuchEndpoint
}

async fn refresh_keys(State(deps): State<ApiDeps>) -> Json<Value> {
    deps.access.refresh_keys().await;
    Json(json!({ "status": "ok" }))
}

async fn info(State(deps): State<ApiDeps>) -> Json<Info> {
    Json(deps.info)
}

async fn list_paths(
    State(deps): State<ApiDeps>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Text<Page<Path>>, ApiError> {
    let wanted = query(paging)?.wanted()?;
    let Piece { total, items } = deps.cameras.list(wanted.skipped(), wanted.per_page);
    Ok(Text(wanted.made(Piece { total, items: items.into_iter().map(Path::from).collect() })))
}

/// JSON that is written in one piece: axum's own goes into its buffer a few bytes at a time, which takes as long again as
/// making a list of 70 KB does.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: serde::Serialize> IntoResponse for Text<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

async fn get_path(
    State(deps): State<ApiDeps>,
    name: Result<UrlPath<String>, PathRejection>,
    wanted: Result<Query<SnapshotQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let UrlPath(name) = name.map_err(|_| ApiError::PathNotFound)?;
    if let Some(camera) = deps.cameras.get(&name) {
        return Ok(Json(Path::from(camera)).into_response());
    }
    // The rest of the URL is the path's name, which may hold slashes: the router can't tell the two apart.
    let path = name.strip_suffix(snapshot::SUFFIX).ok_or(ApiError::PathNotFound)?;
    let caller = access::caller(&request, &deps.trusted_proxies).ok_or(ApiError::Denied(Denied::Wrong))?;
    snapshot::snapshot(&deps, path, query(wanted)?, caller).await
}
