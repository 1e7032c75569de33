//! RTMP: MediaMTX's lists of RTMP connections, and the way to end one.
//!
//! ```text
//!  /v3/rtmpconns/list, /get/{id}, /kick/{id}      (rtmps... for TLS)
//! ```

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::model::{Page, Time};
use crate::paging::{Paging, query};
use crate::session_id::SessionId;

/// The RTMP clients of one listener, plain or TLS. The answers are snapshots.
pub trait RtmpClients: Send + Sync {
    /// All connections, the oldest first.
    fn conns(&self) -> Vec<RtmpConn>;
    /// Ends a connection; says whether there is one with this id.
    fn kick(&self, id: &str) -> bool;
}

/// MediaMTX's `RTMPConn`, its deprecated fields included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RtmpConn {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub created: Time,
    /// Whence it came.
    pub remote_addr: String,
    /// `idle`, `read` or `publish`.
    pub state: &'static str,
    /// Its path; empty while it is idle.
    pub path: String,
    /// The query of its URL, without what is secret in it.
    pub query: String,
    /// Who signed in; empty where nobody has to.
    pub user: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// Bytes received.
    pub inbound_bytes: u64,
    /// Bytes sent.
    pub outbound_bytes: u64,
    /// Access units that were not sent since the reader was too slow.
    pub outbound_frames_discarded: u64,
    /// Older name of `inbound_bytes`.
    pub bytes_received: u64,
    /// Older name of `outbound_bytes`.
    pub bytes_sent: u64,
}

/// The routes of one listener; `prefix` is `rtmp` or `rtmps`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    prefix: &str,
    clients: Arc<dyn RtmpClients>,
) -> Router<S> {
    Router::new()
        .route(&format!("/v3/{prefix}conns/list"), get(list))
        .route(&format!("/v3/{prefix}conns/get/{{id}}"), get(get_one))
        .route(&format!("/v3/{prefix}conns/kick/{{id}}"), post(kick))
        .with_state(clients)
}

type Clients = State<Arc<dyn RtmpClients>>;

async fn list(
    State(clients): Clients,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<RtmpConn>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(clients.conns())))
}

async fn get_one(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<RtmpConn>, ApiError> {
    let found = clients.conns().into_iter().find(|conn| conn.id == id);
    found.map(Json).ok_or(ApiError::ConnectionNotFound)
}

async fn kick(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<Value>, ApiError> {
    match clients.kick(&id) {
        true => Ok(Json(json!({ "status": "ok" }))),
        false => Err(ApiError::ConnectionNotFound),
    }
}
