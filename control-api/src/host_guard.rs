//! Host guard: a page on loopback answers to its own names only.
//!
//! Without it, a web site that the operator visits could point its own name at 127.0.0.1 (DNS
//! rebinding) and read the cameras' list through the operator's browser.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header;
use http::uri::Authority;

use crate::error::ApiError;

/// Which `Host` headers are answered.
#[derive(Clone, Debug)]
pub enum HostGuard {
    /// The listener is on loopback: addresses of loopback, `localhost`, and these names.
    Loopback {
        /// Further names, without port.
        names: Arc<[String]>,
    },
    /// The listener is meant for others, who know it by names we don't.
    Anyone,
}

impl HostGuard {
    /// Whether a request for this host (without port) is answered.
    pub fn allows(&self, host: &str) -> bool {
        let Self::Loopback { names } = self else { return true };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let by_address = bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        let lower = host.trim_end_matches('.').to_ascii_lowercase();
        let by_name = lower == "localhost" || lower.ends_with(".localhost");
        by_address || by_name || names.iter().any(|name| name.eq_ignore_ascii_case(&lower))
    }
}

/// The host that a request is for: HTTP/2's authority, or the `Host` header.
pub fn requested(request: &Request) -> Option<Authority> {
    let from_uri = request.uri().authority().cloned();
    let from_header = || request.headers().get(header::HOST)?.to_str().ok()?.parse().ok();
    from_uri.or_else(from_header)
}

/// Middleware: answers 421 to requests that name another host.
pub async fn require(State(guard): State<HostGuard>, request: Request, next: Next) -> Response {
    let host = requested(&request);
    let allowed = match &host {
        Some(host) => guard.allows(host.host()),
        None => matches!(guard, HostGuard::Anyone),
    };
    if allowed {
        return next.run(request).await;
    }
    tracing::debug!(?host, "request for another host refused");
    ApiError::WrongHost.into_response()
}
