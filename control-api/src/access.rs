//! Access: whether a caller may have what a route gives; who decides is the server's.
//!
//! ```text
//!  request ─► caller behind proxies ─► trait Access ─► handler
//!                                          └─► 401, MediaMTX's: with a challenge when nothing was shown; 429
//! ```

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;

use crate::error::ApiError;
use crate::proxies::TrustedProxies;

/// A caller, with what it shows of itself in its headers and its URL.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whence, behind trusted proxies.
    pub ip: IpAddr,
    /// All of its request's headers.
    pub headers: HeaderMap,
    /// The query of its URL.
    pub query: String,
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It shows nothing: it may not know that it should.
    CredentialsWanted,
    /// What it shows is not enough.
    Wrong,
    /// Its address failed too often; nobody looked.
    TooManyTries {
        /// When somebody will look again.
        again_after: Duration,
    },
}

/// Parts of the server that a caller may be let at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The API.
    Api,
    /// Metrics.
    Metrics,
}

/// Which cameras a caller may watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visible {
    /// Their names.
    pub names: BTreeSet<String>,
    /// What stands in the URLs of those that are not open to anyone, so that a player needs nothing else.
    pub session: Option<String>,
}

/// A decision that may take others.
pub type Decision<'a, T> = Pin<Box<dyn Future<Output = Result<T, Denied>> + Send + 'a>>;

/// Who decides.
pub trait Access: Send + Sync {
    /// Whether a caller may use a part of the server.
    fn may_use(&self, service: Service, caller: Caller) -> Decision<'_, ()>;
    /// Which of these cameras a caller may watch; refused when there are some, and it is none of them.
    fn visible(&self, caller: Caller, cameras: Vec<String>) -> Decision<'_, Visible>;
    /// Has the keys that tokens are checked with fetched anew, where there are tokens.
    fn refresh_keys(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What the check before a router needs.
#[derive(Clone)]
pub struct Guard {
    /// Who decides.
    pub access: Arc<dyn Access>,
    /// Proxies whose word is taken for where a request comes from.
    pub proxies: TrustedProxies,
    /// What the router gives.
    pub service: Service,
}

/// The caller behind a request; `None` without the peer's address (`ConnectInfo`), and when a trusted proxy forwards nonsense.
pub fn caller(request: &Request, proxies: &TrustedProxies) -> Option<Caller> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())?;
    let ip = proxies.caller(peer, request.headers())?;
    let query = request.uri().query().unwrap_or_default().to_owned();
    Some(Caller { ip, headers: request.headers().clone(), query })
}

/// Middleware: lets those through who may use the service.
pub async fn require(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Some(caller) = caller(&request, &guard.proxies) else {
        return ApiError::Denied(Denied::Wrong).into_response();
    };
    match guard.access.may_use(guard.service, caller).await {
        Ok(()) => next.run(request).await,
        Err(denied) => ApiError::Denied(denied).into_response(),
    }
}
