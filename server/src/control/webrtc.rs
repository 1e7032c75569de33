//! WebRTC sessions, as MediaMTX's API lists them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use control_api::WebRtcClients;
use control_api::webrtc::{WebRtcCounters, WebRtcSession};
use uuid::Uuid;

use super::{Observer, time};
use crate::egress::rtmp::stats::shown;
use crate::egress::webrtc::stats::SessionRecord;
use crate::listeners::Egress;

/// Looks at the WebRTC listener.
pub(crate) struct WebRtcObserver {
    egress: Arc<Egress>,
}

impl WebRtcObserver {
    /// An observer; `None` when WebRTC is off.
    pub(crate) fn of(observer: &Observer) -> Option<Arc<dyn WebRtcClients>> {
        observer.egress.webrtc()?;
        Some(Arc::new(Self { egress: Arc::clone(&observer.egress) }))
    }
}

impl WebRtcClients for WebRtcObserver {
    fn sessions(&self) -> Vec<WebRtcSession> {
        let mut sessions = self.egress.webrtc().map(|webrtc| webrtc.sessions()).unwrap_or_default();
        sessions.sort_by_key(|session| (session.facts.created, session.facts.id));
        sessions.iter().map(|session| session_of(session)).collect()
    }

    fn kick(&self, id: &str) -> bool {
        let Ok(id) = Uuid::try_parse(id) else { return false };
        self.egress.webrtc().is_some_and(|webrtc| webrtc.kick(id))
    }
}

fn session_of(session: &SessionRecord) -> WebRtcSession {
    let facts = &session.facts;
    let counters = &session.counters;
    let total = |counter: &AtomicU64| counter.load(Relaxed);
    let pair = session.selected_pair();
    // Ours are host candidates; a viewer's is told by where it sends from.
    let candidate = |kind: &str, address: Option<SocketAddr>| match (pair, address) {
        (Some(pair), Some(address)) => {
            format!("{kind}/{}/{}/{}", pair.protocol, address.ip(), address.port())
        }
        _ => String::new(),
    };
    WebRtcSession {
        id: facts.id.to_string(),
        created: time(facts.created),
        remote_addr: facts.remote_addr.to_string(),
        peer_connection_established: session.established.load(Relaxed),
        local_candidate: candidate("host", pair.map(|pair| pair.local)),
        remote_candidate: candidate("prflx", pair.map(|pair| pair.remote)),
        state: session.state(),
        path: facts.path.to_string(),
        query: shown(&facts.query),
        user: facts.user.clone(),
        user_agent: facts.user_agent.clone(),
        counters: WebRtcCounters {
            inbound_bytes: total(&counters.inbound_bytes),
            inbound_rtp_packets: total(&counters.inbound_rtp_packets),
            inbound_rtp_packets_lost: total(&counters.inbound_rtp_packets_lost),
            inbound_rtp_packets_jitter: counters.inbound_rtp_packets_jitter.load(Relaxed).into(),
            inbound_rtcp_packets: total(&counters.inbound_rtcp_packets),
            outbound_bytes: total(&counters.outbound_bytes),
            outbound_rtp_packets: total(&counters.outbound_rtp_packets),
            outbound_rtcp_packets: total(&counters.outbound_rtcp_packets),
            outbound_frames_discarded: total(&counters.discarded_units),
        },
    }
}
