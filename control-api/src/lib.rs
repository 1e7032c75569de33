//! Control API: HTTP routers that tell what the cameras do, with the types they answer in.
//!
//! ```text
//!  :9997 ─► router ─────────► CORS ─► may it? ─► /v3/... (MediaMTX's API), /v1/... (ours)
//!  :8080 ─► control_router ─► Host check ─► what may it watch? ─► /api/..., / and /_/... (the page)
//!                                             │
//!      trait Access, trait Cameras, trait Storage, trait Snapshots, trait ConfigStore, trait Assets (the server's)
//! ```
//!
//! Belongs here: routes, answers, their errors and headers. Does not: sockets, TLS, connection
//! limits (-> `server`), the rules of who may do what (-> the gate in `media-core`, by [`access::Access`]).
//!
//! The listener must put the peer's address into each request as `ConnectInfo<SocketAddr>`;
//! without it everybody is refused.
//! Limits: [`BODY_BYTES_MAX`], [`REQUEST_TIME_MAX`], `paging::ITEMS_PER_PAGE_MAX`.

pub mod access;
pub mod config;
pub mod control;
pub mod cors;
mod error;
pub mod forward;
pub mod hls;
pub mod host_guard;
mod listed;
pub mod model;
pub mod paging;
pub mod proxies;
pub mod rtmp;
pub mod rtsp;
mod session_id;
pub mod snapshot;
pub mod storage;
pub mod storage_model;
pub mod v3;
pub mod webrtc;

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, header};

pub use access::Access;
pub use config::{ConfigChange, ConfigStore, Settings};
pub use control::{Asset, Assets, ControlDeps, ListenerUrl, control_router};
pub use error::ApiError;
pub use hls::HlsClients;
pub use rtmp::RtmpClients;
pub use rtsp::RtspClients;
pub use snapshot::{Snapshot, Snapshots};
pub use storage::Storage;
pub use v3::{ApiDeps, router};
pub use webrtc::WebRtcClients;

use forward::ForwardDest;
use model::Camera;
use paging::Piece;

/// The OpenAPI document of [`router`], for those who write clients; it is served nowhere, as in MediaMTX.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// The largest request body, MediaMTX's; a larger one is answered 413.
pub const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// The longest a request is worked on; then it is answered 504.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// What the routes ask of the server. The answers are snapshots.
pub trait Cameras: Send + Sync {
    /// So many cameras, those after the first `skipped` in the order of their names; and how many there are.
    fn list(&self, skipped: usize, most: usize) -> Piece<Camera>;
    /// One camera.
    fn get(&self, name: &str) -> Option<Camera>;
    /// Where a camera's media is sent, in the order of the configuration; `None` without such a camera.
    fn forwards(&self, name: &str) -> Option<Vec<ForwardDest>>;
}

/// Answers 504 when a request takes too long, and names the server.
async fn bound_and_sign(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| ApiError::TooSlow.into_response());
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("gtvision"));
    response
}
