//! Authority: the server that decides with `authMethod: http`, asked as MediaMTX asks.
//!
//! ```text
//!  POST {user, password, token, ip, action, path, protocol, id, query, userAgent} ─► 2xx: yes, anything else: no
//! ```
//!
//! A yes holds for [`YES_LIFETIME`] for the same question (`id` and `userAgent` apart), so that a player that shows its credentials
//! with each request does not have each of them asked about. A no does not hold.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;

use super::Asked;
use super::memory::Memory;
use super::outbound::{NoAnswer, Outbound};
use super::visitor::{Protocol, Visitor};
use crate::config::access::Peer;
use crate::runtime::tasks::TaskSet;
use crate::tls_client::SetupError;

/// A yes is not asked for again for so long.
const YES_LIFETIME: Duration = Duration::from_secs(5);

/// The server.
pub(super) struct Authority {
    outbound: Outbound,
    yes: Memory,
}

/// MediaMTX's payload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    ip: String,
    user: &'a str,
    password: &'a str,
    token: &'a str,
    action: &'a str,
    path: &'a str,
    protocol: &'a str,
    id: Option<String>,
    query: &'a str,
    user_agent: &'a str,
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Yes,
    No,
}

impl Authority {
    /// The server at `peer`.
    ///
    /// # Errors
    /// [`SetupError`] when it is encrypted and nothing can be trusted.
    pub(super) fn new(peer: &Peer, timeout: Duration, tasks: &TaskSet) -> Result<Self, SetupError> {
        let outbound = Outbound::new(peer, "authHTTPFingerprint", timeout, tasks)?;
        Ok(Self { outbound, yes: Memory::new(YES_LIFETIME) })
    }

    /// Asks about a visitor; `None` when there is no answer.
    pub(super) async fn ask(&self, visitor: &Visitor<'_>, asked: Asked<'_>) -> Option<Said> {
        let ip = visitor.ip.to_string();
        let (credentials, protocol) = (&visitor.credentials, visitor.protocol.map_or("", Protocol::as_str));
        let (user, password) = (credentials.user.as_str(), credentials.plain_password());
        let (token, action, path) = (credentials.token(), asked.action(), asked.path());
        let question = [&ip, user, password, token, action, path, protocol, visitor.query];
        let tag = self.yes.tag(&question);
        if self.yes.knows(&tag) {
            return Some(Said::Yes);
        }
        let (query, user_agent) = (visitor.query, visitor.user_agent);
        let id = visitor.id.map(|id| id.to_string());
        let payload =
            Payload { ip: ip.clone(), user, password, token, action, path, protocol, id, query, user_agent };
        let json = Bytes::from(serde_json::to_vec(&payload).ok()?);
        match self.outbound.ask(Method::POST, json).await {
            Ok(answer) if answer.status.is_success() => {
                self.yes.note(tag);
                Some(Said::Yes)
            }
            Ok(answer) => {
                if answer.status.is_server_error() || answer.status.is_redirection() {
                    self.outbound.complain(&NoAnswer::Status(answer.status));
                }
                Some(Said::No)
            }
            Err(error) => {
                self.outbound.complain(&error);
                None
            }
        }
    }
}
