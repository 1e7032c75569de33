//! Configuration: MediaMTX's endpoints that show and change it.
//!
//! ```text
//!  GET           /v3/config/global/get              PATCH   /v3/config/global/patch
//!  GET           /v3/config/pathdefaults/get        PATCH   /v3/config/pathdefaults/patch
//!  GET           /v3/config/paths/list              GET     /v3/config/paths/get/{name}
//!  POST          /v3/config/paths/add/{name}        PATCH   /v3/config/paths/patch/{name}
//!  POST          /v3/config/paths/replace/{name}    DELETE  /v3/config/paths/delete/{name}
//! ```
//!
//! Bodies are JSON whatever their `Content-Type` says: MediaMTX does not look either.
//! Belongs here: routes, bodies. Does not: which settings there are, what they mean (-> the server, by [`ConfigStore`]).

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path as UrlPath, Query, State};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::model::Page;
use crate::paging::{Paging, Piece, query};
use crate::storage::{Answer, Done};
use crate::v3::{ApiDeps, Text};

/// Settings by their names, with MediaMTX's types.
pub type Settings = Map<String, Value>;

/// What the routes ask of the server's configuration. What is shown is what is in force, without users' passwords.
pub trait ConfigStore: Send + Sync {
    /// Settings of the whole server.
    fn global(&self) -> Settings;
    /// What paths have where they say nothing themselves.
    fn path_defaults(&self) -> Settings;
    /// So many entries of `paths`, those after the first `skipped` in the order of their names; and how many there are.
    fn paths(&self, skipped: usize, most: usize) -> Piece<Settings>;
    /// One entry of `paths`.
    fn path(&self, name: &str) -> Option<Settings>;
    /// Changes something, for good; answers once that is in force and will be after a restart.
    fn change(&self, change: ConfigChange) -> Answer<'_, ()>;
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigChange {
    /// These settings of the whole server.
    Global(Settings),
    /// These defaults of paths.
    PathDefaults(Settings),
    /// A new entry of `paths`; [`ApiError::PathExists`] where there is one.
    AddPath(String, Settings),
    /// These settings of an entry; [`ApiError::PathNotFound`].
    PatchPath(String, Settings),
    /// All settings of an entry, made where there is none.
    ReplacePath(String, Settings),
    /// An entry goes; [`ApiError::PathNotFound`].
    DeletePath(String),
}

/// The routes above.
pub(crate) fn routes() -> Router<ApiDeps> {
    Router::new()
        .route("/v3/config/global/get", get(global))
        .route("/v3/config/global/patch", patch(patch_global))
        .route("/v3/config/pathdefaults/get", get(path_defaults))
        .route("/v3/config/pathdefaults/patch", patch(patch_path_defaults))
        .route("/v3/config/paths/list", get(list_paths))
        .route("/v3/config/paths/get/{*name}", get(get_path))
        .route("/v3/config/paths/add/{*name}", post(add_path))
        .route("/v3/config/paths/patch/{*name}", patch(patch_path))
        .route("/v3/config/paths/replace/{*name}", post(replace_path))
        .route("/v3/config/paths/delete/{*name}", delete(delete_path))
}

async fn global(State(deps): State<ApiDeps>) -> Json<Settings> {
    Json(deps.config.global())
}

async fn path_defaults(State(deps): State<ApiDeps>) -> Json<Settings> {
    Json(deps.config.path_defaults())
}

async fn list_paths(
    State(deps): State<ApiDeps>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Text<Page<Settings>>, ApiError> {
    let wanted = query(paging)?.wanted()?;
    Ok(Text(wanted.made(deps.config.paths(wanted.skipped(), wanted.per_page))))
}

type Name = Result<UrlPath<String>, PathRejection>;
type Body = Result<Bytes, BytesRejection>;

async fn get_path(State(deps): State<ApiDeps>, name: Name) -> Result<Json<Settings>, ApiError> {
    deps.config.path(&decoded(name)?).map(Json).ok_or(ApiError::PathNotFound)
}

async fn patch_global(State(deps): State<ApiDeps>, body: Body) -> Result<Json<Done>, ApiError> {
    change(&deps, ConfigChange::Global(settings(body)?)).await
}

async fn patch_path_defaults(State(deps): State<ApiDeps>, body: Body) -> Result<Json<Done>, ApiError> {
    change(&deps, ConfigChange::PathDefaults(settings(body)?)).await
}

async fn add_path(State(deps): State<ApiDeps>, name: Name, body: Body) -> Result<Json<Done>, ApiError> {
    change(&deps, ConfigChange::AddPath(decoded(name)?, settings(body)?)).await
}

async fn patch_path(State(deps): State<ApiDeps>, name: Name, body: Body) -> Result<Json<Done>, ApiError> {
    change(&deps, ConfigChange::PatchPath(decoded(name)?, settings(body)?)).await
}

async fn replace_path(State(deps): State<ApiDeps>, name: Name, body: Body) -> Result<Json<Done>, ApiError> {
    change(&deps, ConfigChange::ReplacePath(decoded(name)?, settings(body)?)).await
}

async fn delete_path(State(deps): State<ApiDeps>, name: Name) -> Result<Json<Done>, ApiError> {
    change(&deps, ConfigChange::DeletePath(decoded(name)?)).await
}

async fn change(deps: &ApiDeps, change: ConfigChange) -> Result<Json<Done>, ApiError> {
    deps.config.change(change).await?;
    Ok(Json(Done::OK))
}

fn decoded(name: Name) -> Result<String, ApiError> {
    let why = "it can't be decoded";
    name.map(|UrlPath(name)| name).map_err(|_| ApiError::InvalidParameter { name: "name", why })
}

fn settings(body: Body) -> Result<Settings, ApiError> {
    let invalid = |why: String| ApiError::InvalidBody { why };
    let body = body.map_err(|error| invalid(error.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))
}
