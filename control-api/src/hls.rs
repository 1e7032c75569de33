//! HLS: MediaMTX's lists of HLS muxers and sessions, and the way to end a session.
//!
//! ```text
//!  /v3/hlsmuxers/list, /get/{name}      /v3/hlssessions/list, /get/{id}, /kick/{id}
//! ```

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path as UrlPath, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::model::{Page, Time};
use crate::paging::{Paging, query};
use crate::session_id::SessionId;

/// What the HLS listener does. The answers are snapshots.
pub trait HlsClients: Send + Sync {
    /// All muxers, in the order of their paths.
    fn muxers(&self) -> Vec<HlsMuxer>;
    /// All sessions, the oldest first.
    fn sessions(&self) -> Vec<HlsSession>;
    /// Ends a session; says whether there is one with this id.
    fn kick(&self, id: &str) -> bool;
}

/// MediaMTX's `HLSMuxer`, its deprecated field included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HlsMuxer {
    /// Its path.
    pub path: String,
    /// When it was made.
    pub created: Time,
    /// When it was last asked for something.
    pub last_request: Time,
    /// Bytes sent.
    pub outbound_bytes: u64,
    /// Access units left out.
    pub outbound_frames_discarded: u64,
    /// Older name of `outbound_bytes`.
    pub bytes_sent: u64,
}

/// MediaMTX's `HLSSession`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HlsSession {
    /// Its id.
    pub id: String,
    /// When it began.
    pub created: Time,
    /// Whence it came.
    pub remote_addr: String,
    /// What is watched.
    pub path: String,
    /// The query of its playlist's URL.
    pub query: String,
    /// Who signed in; empty where anyone may watch.
    pub user: String,
    /// What the player calls itself.
    pub user_agent: String,
    /// It stands for the viewers behind a CDN.
    #[serde(rename = "isCDN")]
    pub is_cdn: bool,
    /// Bytes sent.
    pub outbound_bytes: u64,
}

/// The routes of the HLS listener.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(clients: Arc<dyn HlsClients>) -> Router<S> {
    Router::new()
        .route("/v3/hlsmuxers/list", get(list_muxers))
        .route("/v3/hlsmuxers/get/{*name}", get(get_muxer))
        .route("/v3/hlssessions/list", get(list_sessions))
        .route("/v3/hlssessions/get/{id}", get(get_session))
        .route("/v3/hlssessions/kick/{id}", post(kick_session))
        .with_state(clients)
}

type Clients = State<Arc<dyn HlsClients>>;

async fn list_muxers(
    State(clients): Clients,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<HlsMuxer>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(clients.muxers())))
}

async fn get_muxer(
    State(clients): Clients,
    name: Result<UrlPath<String>, PathRejection>,
) -> Result<Json<HlsMuxer>, ApiError> {
    let UrlPath(name) = name.map_err(|_| ApiError::MuxerNotFound)?;
    let found = clients.muxers().into_iter().find(|muxer| muxer.path == name);
    found.map(Json).ok_or(ApiError::MuxerNotFound)
}

async fn list_sessions(
    State(clients): Clients,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<HlsSession>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(clients.sessions())))
}

async fn get_session(
    State(clients): Clients,
    SessionId(id): SessionId,
) -> Result<Json<HlsSession>, ApiError> {
    let found = clients.sessions().into_iter().find(|session| session.id == id);
    found.map(Json).ok_or(ApiError::SessionNotFound)
}

async fn kick_session(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<Value>, ApiError> {
    match clients.kick(&id) {
        true => Ok(Json(json!({ "status": "ok" }))),
        false => Err(ApiError::SessionNotFound),
    }
}
