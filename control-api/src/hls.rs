//! HLS: MediaMTX's lists of HLS muxers and sessions, and the way to end a session.
//!
//! ```text
//!  /v3/hlsmuxers/list, /get/{name}      /v3/hlssessions/list, /get/{id}, /kick/{id}
//! ```

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use serde::Serialize;

use crate::error::ApiError;
use crate::listed::{Kicked, Listed, get_one, kick, list};
use crate::model::Time;

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
        .route("/v3/hlsmuxers/list", get(list::<HlsMuxer>))
        .route("/v3/hlsmuxers/get/{*name}", get(get_one::<HlsMuxer>))
        .route("/v3/hlssessions/list", get(list::<HlsSession>))
        .route("/v3/hlssessions/get/{id}", get(get_one::<HlsSession>))
        .route("/v3/hlssessions/kick/{id}", post(kick::<HlsSession>))
        .with_state(clients)
}

impl Listed for HlsMuxer {
    type Owner = dyn HlsClients;

    const MISSING: ApiError = ApiError::MuxerNotFound;

    fn all(clients: &Self::Owner) -> Vec<Self> {
        clients.muxers()
    }

    fn id(&self) -> &str {
        &self.path
    }

    /// A path's name, which may have slashes.
    fn check_id(_: &str) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Listed for HlsSession {
    type Owner = dyn HlsClients;

    const MISSING: ApiError = ApiError::SessionNotFound;

    fn all(clients: &Self::Owner) -> Vec<Self> {
        clients.sessions()
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Kicked for HlsSession {
    fn kick(clients: &Self::Owner, id: &str) -> bool {
        clients.kick(id)
    }
}
