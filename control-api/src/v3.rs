//! v3: MediaMTX's API on `:9997`, as far as it is implemented.
//!
//! Unknown endpoints, and known ones with another method, are 404 as in MediaMTX. Endpoints of what
//! is not implemented do not exist.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Query, State};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;

use crate::cors::{self, Cors};
use crate::error::ApiError;
use crate::loopback::{self, TrustedProxies};
use crate::model::{Info, Page, Path};
use crate::rtsp::{self, RtspClients};
use crate::{BODY_BYTES_MAX, Cameras, bound_and_sign};

/// Items on a page when the caller does not say, MediaMTX's.
pub const ITEMS_PER_PAGE_DEFAULT: usize = 100;

/// The most items on a page; a caller who asks for more gets this many.
pub const ITEMS_PER_PAGE_MAX: usize = 10_000;

/// What the API needs.
#[derive(Clone)]
pub struct ApiDeps {
    /// The cameras.
    pub cameras: Arc<dyn Cameras>,
    /// Clients of the RTSP listener; `None` when it is off.
    pub rtsp: Option<Arc<dyn RtspClients>>,
    /// Clients of the RTSPS listener; `None` when it is off.
    pub rtsps: Option<Arc<dyn RtspClients>>,
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
    let proxies = deps.trusted_proxies.clone();
    let clients = [("rtsp", deps.rtsp.clone()), ("rtsps", deps.rtsps.clone())];
    let clients = clients.into_iter().filter_map(|(prefix, clients)| Some(rtsp::routes(prefix, clients?)));
    clients
        .fold(Router::new(), Router::merge)
        .route("/v3/info", get(info))
        .route("/v3/paths/list", get(list_paths))
        .route("/v3/paths/get/{*name}", get(get_path))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(proxies, loopback::require))
        .layer(middleware::from_fn_with_state(cors, cors::apply))
        .layer(middleware::from_fn(bound_and_sign))
        .with_state(deps)
}

async fn not_found() -> ApiError {
    ApiError::NoSuchEndpoint
}

async fn info(State(deps): State<ApiDeps>) -> Json<Info> {
    Json(deps.info)
}

/// `?page=0&itemsPerPage=100`, as texts: their faults are ours to word.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Paging {
    page: Option<String>,
    items_per_page: Option<String>,
}

impl Paging {
    /// What a request asks for.
    pub(crate) fn read(paging: Result<Query<Self>, QueryRejection>) -> Result<Self, ApiError> {
        let unreadable = |_| ApiError::InvalidParameter { name: "query", why: "it can't be decoded" };
        paging.map(|Query(paging)| paging).map_err(unreadable)
    }
}

async fn list_paths(
    State(deps): State<ApiDeps>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<Path>>, ApiError> {
    let page = page_of(deps.cameras.list(), &Paging::read(paging)?)?;
    let items = page.items.into_iter().map(Path::from).collect();
    Ok(Json(Page { item_count: page.item_count, page_count: page.page_count, items }))
}

/// One page of `items`; past the end an empty one.
pub(crate) fn page_of<T>(items: Vec<T>, paging: &Paging) -> Result<Page<T>, ApiError> {
    let number = |text: &Option<String>, name| match text {
        None => Ok(None),
        Some(text) => {
            let why = "it must be a number that is not negative";
            text.parse::<usize>().map(Some).map_err(|_| ApiError::InvalidParameter { name, why })
        }
    };
    let page = number(&paging.page, "page")?.unwrap_or(0);
    let per_page = match number(&paging.items_per_page, "itemsPerPage")? {
        None => ITEMS_PER_PAGE_DEFAULT,
        Some(0) => return Err(ApiError::InvalidParameter { name: "itemsPerPage", why: "it must not be 0" }),
        Some(wanted) => wanted.min(ITEMS_PER_PAGE_MAX),
    };
    let item_count = items.len();
    Ok(Page {
        item_count,
        page_count: item_count.div_ceil(per_page),
        items: items.into_iter().skip(page.saturating_mul(per_page)).take(per_page).collect(),
    })
}

async fn get_path(
    State(deps): State<ApiDeps>,
    name: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<Path>, ApiError> {
    let UrlPath(name) = name.map_err(|_| ApiError::PathNotFound)?;
    deps.cameras.get(&name).map(|camera| Json(Path::from(camera))).ok_or(ApiError::PathNotFound)
}
