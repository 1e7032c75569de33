//! RTSP: MediaMTX's lists of RTSP connections and sessions, and the way to end a session.
//!
//! ```text
//!  /v3/rtspconns/list, /get/{id}      /v3/rtspsessions/list, /get/{id}, /kick/{id}      (rtsps... for TLS)
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

/// The RTSP clients of one listener, plain or TLS. The answers are snapshots.
pub trait RtspClients: Send + Sync {
    /// All connections, the oldest first.
    fn conns(&self) -> Vec<RtspConn>;
    /// All sessions, the oldest first.
    fn sessions(&self) -> Vec<RtspSession>;
    /// Ends a session; says whether there is one with this id.
    fn kick(&self, id: &str) -> bool;
}

/// MediaMTX's `RTSPConn`, its deprecated fields included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RtspConn {
    /// Its id.
    pub id: String,
    /// When it was accepted.
    pub created: Time,
    /// Whence it came.
    pub remote_addr: String,
    /// Bytes received.
    pub inbound_bytes: u64,
    /// Bytes sent.
    pub outbound_bytes: u64,
    /// Older name of `inbound_bytes`.
    pub bytes_received: u64,
    /// Older name of `outbound_bytes`.
    pub bytes_sent: u64,
    /// Its session's id.
    pub session: Option<String>,
    /// `none`: tunnels through HTTP are not implemented.
    pub tunnel: &'static str,
}

/// MediaMTX's `RTSPSession`, its deprecated fields included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RtspSession {
    /// Its id.
    pub id: String,
    /// When its first track was set up.
    pub created: Time,
    /// Whence it came.
    pub remote_addr: String,
    /// `idle`, `read` or `publish`.
    pub state: &'static str,
    /// Its path.
    pub path: String,
    /// The query of its URL, without what is secret in it.
    pub query: String,
    /// Who signed in; empty where nobody has to.
    pub user: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// `TCP` or `UDP`.
    pub transport: Option<&'static str>,
    /// `AVP`.
    pub profile: Option<&'static str>,
    /// Its connections: one.
    pub conns: Vec<String>,
    /// What was counted.
    #[serde(flatten)]
    pub counters: RtspCounters,
}

/// What is counted of an RTSP session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RtspCounters {
    /// Bytes of media received.
    pub inbound_bytes: u64,
    /// RTP packets received.
    pub inbound_rtp_packets: u64,
    /// RTP packets that never came.
    pub inbound_rtp_packets_lost: u64,
    /// RTP packets that could not be read.
    pub inbound_rtp_packets_in_error: u64,
    /// RTCP packets received.
    pub inbound_rtcp_packets: u64,
    /// Bytes of media sent.
    pub outbound_bytes: u64,
    /// RTP packets sent.
    pub outbound_rtp_packets: u64,
    /// RTCP packets sent.
    pub outbound_rtcp_packets: u64,
    /// RTP packets that were not sent since the reader was too slow.
    pub outbound_rtp_packets_discarded: u64,
    /// RTP packets that the reader says it missed.
    pub outbound_rtp_packets_reported_lost: u64,
}

impl Serialize for RtspCounters {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        for (name, older_name, value) in [
            ("inboundBytes", Some("bytesReceived"), self.inbound_bytes),
            ("inboundRTPPackets", Some("rtpPacketsReceived"), self.inbound_rtp_packets),
            ("inboundRTPPacketsLost", Some("rtpPacketsLost"), self.inbound_rtp_packets_lost),
            ("inboundRTPPacketsInError", Some("rtpPacketsInError"), self.inbound_rtp_packets_in_error),
            ("inboundRTCPPackets", Some("rtcpPacketsReceived"), self.inbound_rtcp_packets),
            ("inboundRTCPPacketsInError", Some("rtcpPacketsInError"), 0),
            ("outboundBytes", Some("bytesSent"), self.outbound_bytes),
            ("outboundRTPPackets", Some("rtpPacketsSent"), self.outbound_rtp_packets),
            ("outboundRTCPPackets", Some("rtcpPacketsSent"), self.outbound_rtcp_packets),
            ("outboundRTPPacketsDiscarded", None, self.outbound_rtp_packets_discarded),
            ("outboundRTPPacketsReportedLost", None, self.outbound_rtp_packets_reported_lost),
        ] {
            map.serialize_entry(name, &value)?;
            if let Some(older_name) = older_name {
                map.serialize_entry(older_name, &value)?;
            }
        }
        // Not measured.
        map.serialize_entry("inboundRTPPacketsJitter", &0.0)?;
        map.serialize_entry("rtpPacketsJitter", &0.0)?;
        map.end()
    }
}

/// The routes of one listener; `prefix` is `rtsp` or `rtsps`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(
    prefix: &str,
    clients: Arc<dyn RtspClients>,
) -> Router<S> {
    Router::new()
        .route(&format!("/v3/{prefix}conns/list"), get(list_conns))
        .route(&format!("/v3/{prefix}conns/get/{{id}}"), get(get_conn))
        .route(&format!("/v3/{prefix}sessions/list"), get(list_sessions))
        .route(&format!("/v3/{prefix}sessions/get/{{id}}"), get(get_session))
        .route(&format!("/v3/{prefix}sessions/kick/{{id}}"), post(kick_session))
        .with_state(clients)
}

type Clients = State<Arc<dyn RtspClients>>;

async fn list_conns(
    State(clients): Clients,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<RtspConn>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(clients.conns())))
}

async fn list_sessions(
    State(clients): Clients,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<RtspSession>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(clients.sessions())))
}

async fn get_conn(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<RtspConn>, ApiError> {
    let found = clients.conns().into_iter().find(|conn| conn.id == id);
    found.map(Json).ok_or(ApiError::ConnectionNotFound)
}

async fn get_session(
    State(clients): Clients,
    SessionId(id): SessionId,
) -> Result<Json<RtspSession>, ApiError> {
    let found = clients.sessions().into_iter().find(|session| session.id == id);
    found.map(Json).ok_or(ApiError::SessionNotFound)
}

async fn kick_session(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<Value>, ApiError> {
    match clients.kick(&id) {
        true => Ok(Json(json!({ "status": "ok" }))),
        false => Err(ApiError::SessionNotFound),
    }
}
