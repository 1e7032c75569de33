//! RTSP clients, as MediaMTX's API lists them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use control_api::RtspClients;
use control_api::rtsp::{RtspConn, RtspCounters, RtspSession};
use uuid::Uuid;

use super::{Observer, time};
use crate::egress::rtmp::stats::shown;
use crate::egress::rtsp::stats::{ConnRecord, Encryption, SessionRecord};
use crate::listeners::Egress;

/// Looks at the clients of one listener.
pub(crate) struct RtspObserver {
    egress: Arc<Egress>,
    encryption: Encryption,
}

impl RtspObserver {
    /// An observer of this listener's clients; `None` when it is off.
    pub(crate) fn of(observer: &Observer, encryption: Encryption) -> Option<Arc<dyn RtspClients>> {
        observer.egress.rtsp().filter(|rtsp| rtsp.listens(encryption))?;
        Some(Arc::new(Self { egress: Arc::clone(&observer.egress), encryption }))
    }

    fn records(&self) -> Vec<Arc<SessionRecord>> {
        let mut sessions = self.egress.rtsp().map(|rtsp| rtsp.sessions()).unwrap_or_default();
        sessions.retain(|session| session.facts.encryption == self.encryption);
        sessions.sort_by_key(|session| (session.facts.created, session.facts.id));
        sessions
    }
}

impl RtspClients for RtspObserver {
    fn conns(&self) -> Vec<RtspConn> {
        let mut conns = self.egress.rtsp().map(|rtsp| rtsp.conns()).unwrap_or_default();
        conns.retain(|conn| conn.encryption == self.encryption);
        conns.sort_by_key(|conn| (conn.created, conn.id));
        conns.iter().map(|conn| conn_of(conn)).collect()
    }

    fn sessions(&self) -> Vec<RtspSession> {
        self.records().iter().map(|session| session_of(session)).collect()
    }

    fn kick(&self, id: &str) -> bool {
        let Ok(id) = Uuid::try_parse(id) else { return false };
        // One that is ending already is nobody's to end.
        let found =
            self.records().into_iter().find(|session| session.facts.id == id && !session.kick.is_cancelled());
        found.inspect(|session| session.kick.cancel()).is_some()
    }
}

fn conn_of(conn: &ConnRecord) -> RtspConn {
    let (inbound_bytes, outbound_bytes) =
        (conn.inbound_bytes.load(Relaxed), conn.outbound_bytes.load(Relaxed));
    RtspConn {
        id: conn.id.to_string(),
        created: time(conn.created),
        remote_addr: conn.remote_addr.to_string(),
        inbound_bytes,
        outbound_bytes,
        bytes_received: inbound_bytes,
        bytes_sent: outbound_bytes,
        session: conn.session().map(|id| id.to_string()),
        tunnel: "none",
    }
}

fn session_of(session: &SessionRecord) -> RtspSession {
    let facts = &session.facts;
    let counters = &session.counters;
    let total = |counter: &AtomicU64| counter.load(Relaxed);
    RtspSession {
        id: facts.id.to_string(),
        created: time(facts.created),
        remote_addr: facts.remote_addr.to_string(),
        state: session.state(),
        path: facts.path.to_string(),
        query: shown(&facts.query),
        user: facts.user.clone(),
        user_agent: facts.user_agent.clone(),
        transport: Some(facts.transport),
        profile: Some("AVP"),
        conns: vec![facts.conn.to_string()],
        counters: RtspCounters {
            inbound_bytes: total(&counters.inbound_bytes),
            inbound_rtp_packets: total(&counters.inbound_rtp_packets),
            inbound_rtp_packets_lost: total(&counters.inbound_rtp_packets_lost),
            inbound_rtp_packets_in_error: total(&counters.inbound_rtp_packets_in_error),
            inbound_rtp_packets_jitter: counters.inbound_rtp_packets_jitter.load(Relaxed).into(),
            inbound_rtcp_packets: total(&counters.inbound_rtcp_packets),
            inbound_rtcp_packets_in_error: total(&counters.inbound_rtcp_packets_in_error),
            outbound_bytes: total(&counters.outbound_bytes),
            outbound_rtp_packets: total(&counters.outbound_rtp_packets),
            outbound_rtcp_packets: total(&counters.outbound_rtcp_packets),
            outbound_rtp_packets_discarded: total(&counters.outbound_rtp_packets_discarded),
            outbound_rtp_packets_reported_lost: total(&counters.outbound_rtp_packets_reported_lost),
        },
    }
}
