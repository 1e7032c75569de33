//! Forward: MediaMTX's list of the servers that a path's media is sent to.
//!
//! ```text
//!  /v3/paths/forward/list?path=      /v3/paths/forward/get?path=&id=
//! ```

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::model::{Page, Time};
use crate::paging::{Paging, query};
use crate::session_id;
use crate::v3::ApiDeps;

/// MediaMTX's `ForwardDest`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardDest {
    /// Its id.
    pub id: String,
    /// Its place in the configuration, from 1.
    pub pos: usize,
    /// When it was configured.
    pub created: Time,
    /// As it is configured.
    pub conf: ForwardConf,
    /// `rtsp`, `rtsps`, `rtmp`, `rtmps`, `whip` or `whips`.
    pub protocol: &'static str,
    /// `idle`, `forwarding` or `error`.
    pub state: &'static str,
    /// Why the last try failed; empty when it did not.
    pub last_error: String,
    /// Bytes sent.
    pub outbound_bytes: u64,
}

/// MediaMTX's `PathConfForwardDest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardConf {
    /// Where to.
    pub dest: String,
    /// SHA-256 of the certificate that it must show.
    pub dest_fingerprint: String,
    /// Empty whatever it is: it is a secret.
    pub whip_bearer_token: String,
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    path: Option<String>,
    id: Option<String>,
}

pub(crate) fn routes() -> Router<ApiDeps> {
    Router::new().route("/v3/paths/forward/list", get(list)).route("/v3/paths/forward/get", get(get_one))
}

async fn list(
    State(deps): State<ApiDeps>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<ForwardDest>>, ApiError> {
    let dests = of_path(&deps, &query(wanted)?)?;
    Ok(Json(query(paging)?.wanted()?.of(dests)))
}

async fn get_one(
    State(deps): State<ApiDeps>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<ForwardDest>, ApiError> {
    let wanted = query(wanted)?;
    let id =
        wanted.id.as_deref().ok_or(ApiError::InvalidParameter { name: "id", why: "it must be given" })?;
    session_id::check(id)?;
    let found = of_path(&deps, &wanted)?.into_iter().find(|dest| dest.id == id);
    found.map(Json).ok_or(ApiError::ForwardNotFound)
}

fn of_path(deps: &ApiDeps, wanted: &Wanted) -> Result<Vec<ForwardDest>, ApiError> {
    let missing = ApiError::InvalidParameter { name: "path", why: "it must be given" };
    let path = wanted.path.as_deref().ok_or(missing)?;
    deps.cameras.forwards(path).ok_or(ApiError::PathNotFound)
}
