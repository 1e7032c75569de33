//! WebRTC: MediaMTX's list of WebRTC sessions, and the way to end one.
//!
//! ```text
//!  /v3/webrtcsessions/list, /get/{id}, /kick/{id}
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

/// The WebRTC sessions. The answers are snapshots.
pub trait WebRtcClients: Send + Sync {
    /// All sessions, the oldest first.
    fn sessions(&self) -> Vec<WebRtcSession>;
    /// Ends a session; says whether there is one with this id.
    fn kick(&self, id: &str) -> bool;
}

/// MediaMTX's `WebRTCSession`, its deprecated fields included.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebRtcSession {
    /// Its id.
    pub id: String,
    /// When the offer came.
    pub created: Time,
    /// Whence it came.
    pub remote_addr: String,
    /// ICE and DTLS are through.
    pub peer_connection_established: bool,
    /// Our address in use, `host/udp/192.0.2.1/8189`; empty until then.
    pub local_candidate: String,
    /// The client's.
    pub remote_candidate: String,
    /// `read` or `publish`.
    pub state: &'static str,
    /// Its path.
    pub path: String,
    /// The query of its URL.
    pub query: String,
    /// Who signed in; empty where nobody has to.
    pub user: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// What was counted.
    #[serde(flatten)]
    pub counters: WebRtcCounters,
}

/// What is counted of a WebRTC session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WebRtcCounters {
    /// Bytes received.
    pub inbound_bytes: u64,
    /// RTP packets received.
    pub inbound_rtp_packets: u64,
    /// RTCP packets received.
    pub inbound_rtcp_packets: u64,
    /// Bytes sent.
    pub outbound_bytes: u64,
    /// RTP packets sent.
    pub outbound_rtp_packets: u64,
    /// RTCP packets sent.
    pub outbound_rtcp_packets: u64,
    /// Access units left out because the viewer was slow.
    pub outbound_frames_discarded: u64,
}

impl Serialize for WebRtcCounters {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        for (name, older_name, value) in [
            ("inboundBytes", Some("bytesReceived"), self.inbound_bytes),
            ("inboundRTPPackets", Some("rtpPacketsReceived"), self.inbound_rtp_packets),
            // Not measured.
            ("inboundRTPPacketsLost", Some("rtpPacketsLost"), 0),
            ("inboundRTCPPackets", Some("rtcpPacketsReceived"), self.inbound_rtcp_packets),
            ("outboundBytes", Some("bytesSent"), self.outbound_bytes),
            ("outboundRTPPackets", Some("rtpPacketsSent"), self.outbound_rtp_packets),
            ("outboundRTCPPackets", Some("rtcpPacketsSent"), self.outbound_rtcp_packets),
            ("outboundFramesDiscarded", None, self.outbound_frames_discarded),
        ] {
            map.serialize_entry(name, &value)?;
            if let Some(older_name) = older_name {
                map.serialize_entry(older_name, &value)?;
            }
        }
        // Not measured either.
        map.serialize_entry("inboundRTPPacketsJitter", &0.0)?;
        map.serialize_entry("rtpPacketsJitter", &0.0)?;
        map.end()
    }
}

/// The routes of the WebRTC listener.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(clients: Arc<dyn WebRtcClients>) -> Router<S> {
    Router::new()
        .route("/v3/webrtcsessions/list", get(list))
        .route("/v3/webrtcsessions/get/{id}", get(get_one))
        .route("/v3/webrtcsessions/kick/{id}", post(kick))
        .with_state(clients)
}

type Clients = State<Arc<dyn WebRtcClients>>;

async fn list(
    State(clients): Clients,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Page<WebRtcSession>>, ApiError> {
    Ok(Json(query(paging)?.wanted()?.of(clients.sessions())))
}

async fn get_one(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<WebRtcSession>, ApiError> {
    let found = clients.sessions().into_iter().find(|session| session.id == id);
    found.map(Json).ok_or(ApiError::SessionNotFound)
}

async fn kick(State(clients): Clients, SessionId(id): SessionId) -> Result<Json<Value>, ApiError> {
    match clients.kick(&id) {
        true => Ok(Json(json!({ "status": "ok" }))),
        false => Err(ApiError::SessionNotFound),
    }
}
