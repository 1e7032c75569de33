//! RTMP clients, as MediaMTX's API lists them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use control_api::RtmpClients;
use control_api::rtmp::RtmpConn;
use uuid::Uuid;

use super::{Observer, time};
use crate::egress::rtmp::RtmpServer;
use crate::egress::rtmp::stats::ConnRecord;
use crate::egress::rtsp::stats::Encryption;

/// Looks at the clients of one listener.
pub(crate) struct RtmpObserver {
    server: Arc<RtmpServer>,
    encryption: Encryption,
}

impl RtmpObserver {
    /// An observer of this listener's clients; `None` when it is off.
    pub(crate) fn of(observer: &Observer, encryption: Encryption) -> Option<Arc<dyn RtmpClients>> {
        let server = observer.egress.rtmp().filter(|rtmp| rtmp.listens(encryption))?;
        Some(Arc::new(Self { server, encryption }))
    }

    fn records(&self) -> Vec<Arc<ConnRecord>> {
        let mut conns = self.server.conns();
        conns.retain(|conn| conn.encryption == self.encryption);
        conns.sort_by_key(|conn| (conn.created, conn.id));
        conns
    }
}

impl RtmpClients for RtmpObserver {
    fn conns(&self) -> Vec<RtmpConn> {
        self.records().iter().map(|conn| conn_of(conn)).collect()
    }

    fn kick(&self, id: &str) -> bool {
        let Ok(id) = Uuid::try_parse(id) else { return false };
        // One that is ending already is nobody's to end.
        let found = self.records().into_iter().find(|conn| conn.id == id && !conn.kick.is_cancelled());
        found.inspect(|conn| conn.kick.cancel()).is_some()
    }
}

fn conn_of(conn: &ConnRecord) -> RtmpConn {
    let (inbound_bytes, outbound_bytes) =
        (conn.inbound_bytes.load(Relaxed), conn.outbound_bytes.load(Relaxed));
    let purpose = conn.purpose();
    let said = |text: Option<&str>| text.unwrap_or_default().to_owned();
    RtmpConn {
        id: conn.id.to_string(),
        created: time(conn.created),
        remote_addr: conn.remote_addr.to_string(),
        state: conn.state(),
        path: said(purpose.map(|purpose| purpose.path.as_str())),
        query: said(purpose.map(|purpose| purpose.query.as_str())),
        user: said(purpose.map(|purpose| purpose.user.as_str())),
        user_agent: said(purpose.map(|purpose| purpose.user_agent.as_str())),
        inbound_bytes,
        outbound_bytes,
        outbound_frames_discarded: conn.outbound_frames_discarded.load(Relaxed),
        bytes_received: inbound_bytes,
        bytes_sent: outbound_bytes,
    }
}
