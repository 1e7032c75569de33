//! Records: what RTMP connections did so far, for the API and metrics.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use media_core::path_name::PathName;
use media_core::time::WallTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::egress::rtsp::stats::{Encryption, Role};
use crate::stream::ReaderKind;

/// A connection, shared between its task and those who look at it.
#[derive(Debug)]
pub(crate) struct ConnRecord {
    /// Public id.
    pub(crate) id: Uuid,
    /// Plain or TLS: MediaMTX lists them apart.
    pub(crate) encryption: Encryption,
    /// When it was accepted.
    pub(crate) created: WallTime,
    /// Whence it came.
    pub(crate) remote_addr: SocketAddr,
    /// Bytes received; monotonic.
    pub(crate) inbound_bytes: AtomicU64,
    /// Bytes sent; monotonic.
    pub(crate) outbound_bytes: AtomicU64,
    /// Access units that waited when the reader was cut.
    pub(crate) outbound_frames_discarded: AtomicU64,
    /// Cancelled to end it.
    pub(crate) kick: CancellationToken,
    purpose: OnceLock<Purpose>,
}

/// What a connection is for, once it was let in.
#[derive(Debug)]
pub(crate) struct Purpose {
    /// To take media or to send it.
    pub(crate) role: Role,
    /// Its path.
    pub(crate) path: PathName,
    /// The query of its URL, without what is secret in it.
    pub(crate) query: String,
    /// Who signed in; empty where nobody has to.
    pub(crate) user: String,
    /// What the client calls itself.
    pub(crate) user_agent: String,
}

impl ConnRecord {
    /// A connection just accepted.
    pub(super) fn new(encryption: Encryption, remote_addr: SocketAddr, created: WallTime) -> Self {
        Self {
            id: Uuid::new_v4(),
            encryption,
            created,
            remote_addr,
            inbound_bytes: AtomicU64::new(0),
            outbound_bytes: AtomicU64::new(0),
            outbound_frames_discarded: AtomicU64::new(0),
            kick: CancellationToken::new(),
            purpose: OnceLock::new(),
        }
    }

    /// What it is for; `None` while it has not said so, or was not let in.
    pub(crate) fn purpose(&self) -> Option<&Purpose> {
        self.purpose.get()
    }

    /// It was let in. The first purpose stays: a connection has one.
    pub(super) fn set_purpose(&self, purpose: Purpose) {
        self.purpose.get_or_init(|| purpose);
    }

    /// Whether it does this at this path.
    pub(crate) fn is_at(&self, path: &PathName, role: Role) -> bool {
        self.purpose().is_some_and(|purpose| purpose.path == *path && purpose.role == role)
    }

    /// MediaMTX's type of such a connection.
    pub(super) fn conn_type(&self) -> &'static str {
        match self.encryption {
            Encryption::None => "rtmpConn",
            Encryption::Tls => "rtmpsConn",
        }
    }

    /// The kind of such a reader.
    pub(super) fn reader_kind(&self) -> ReaderKind {
        match self.encryption {
            Encryption::None => ReaderKind::RtmpConn,
            Encryption::Tls => ReaderKind::RtmpsConn,
        }
    }

    /// MediaMTX's `RTMPConnState`.
    pub(crate) fn state(&self) -> &'static str {
        match self.purpose().map(|purpose| purpose.role) {
            None => "idle",
            Some(Role::Read) => "read",
            Some(Role::Publish) => "publish",
        }
    }
}

/// A query as it may be shown: the values of what lets somebody in are left out.
pub(crate) fn shown(query: &str) -> String {
    const SECRET: [&str; 4] = ["pass", "password", "token", "jwt"];
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if SECRET.contains(&name.to_ascii_lowercase().as_str()) => format!("{name}=***"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_shown_without_its_secrets() {
        assert_eq!(shown("user=u&pass=hunter2&x=1&JWT=e.y.J"), "user=u&pass=***&x=1&JWT=***");
        assert_eq!(shown(""), "");
    }
}
