//! Session counters: what one WebRTC session did so far, for the API and metrics.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, PoisonError};

use media_core::path_name::PathName;
use media_core::time::WallTime;
use uuid::Uuid;

use crate::egress::rtsp::stats::Role;

/// What is known of a session from its start.
#[derive(Clone, Debug)]
pub(crate) struct SessionFacts {
    /// Public id (MediaMTX's `id`).
    pub(crate) id: Uuid,
    /// To watch or to send.
    pub(crate) role: Role,
    /// The path watched or published to.
    pub(crate) path: PathName,
    /// When the offer came.
    pub(crate) created: WallTime,
    /// Whence it came.
    pub(crate) remote_addr: SocketAddr,
    /// The query of the request, without the question mark.
    pub(crate) query: String,
    /// Who signed in; empty where nobody has to.
    pub(crate) user: String,
    /// The viewer's user agent; may be empty.
    pub(crate) user_agent: String,
}

/// A session's record, shared between its task and those who look at it.
#[derive(Debug)]
pub(crate) struct SessionRecord {
    /// Fixed at the start.
    pub(crate) facts: SessionFacts,
    /// ICE and DTLS are through.
    pub(crate) established: AtomicBool,
    /// Monotonic counters.
    pub(crate) counters: SessionCounters,
    selected: Mutex<Option<SelectedPair>>,
}

/// Counters of one session; all monotonic but the jitter.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    /// Bytes sent to the viewer: all datagrams.
    pub(crate) outbound_bytes: AtomicU64,
    /// RTP packets sent, retransmissions included.
    pub(crate) outbound_rtp_packets: AtomicU64,
    /// RTCP packets sent.
    pub(crate) outbound_rtcp_packets: AtomicU64,
    /// RTP packets sent again after a NACK.
    pub(crate) retransmitted_packets: AtomicU64,
    /// RTP packets received of a publisher.
    pub(crate) inbound_rtp_packets: AtomicU64,
    /// RTP packets of a publisher that never came.
    pub(crate) inbound_rtp_packets_lost: AtomicU64,
    /// Jitter of a publisher's RTP packets, in ticks.
    pub(crate) inbound_rtp_packets_jitter: AtomicU32,
    /// Bytes received.
    pub(crate) inbound_bytes: AtomicU64,
    /// RTCP packets received.
    pub(crate) inbound_rtcp_packets: AtomicU64,
    /// Datagrams that came faster than the session could read them.
    pub(crate) inbox_overflows: AtomicU64,
    /// PLI and FIR received.
    pub(crate) key_frame_requests: AtomicU64,
    /// Times the viewer was started again from a random access point.
    pub(crate) restarts: AtomicU64,
    /// Access units the ring had dropped before the session read them.
    pub(crate) discarded_units: AtomicU64,
    /// Datagrams that the kernel did not take.
    pub(crate) send_errors: AtomicU64,
}

/// The addresses in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SelectedPair {
    /// `udp` or `tcp`.
    pub(crate) protocol: &'static str,
    /// Ours.
    pub(crate) local: SocketAddr,
    /// The viewer's.
    pub(crate) remote: SocketAddr,
}

impl SessionRecord {
    /// A record with nothing counted.
    pub(crate) fn new(facts: SessionFacts) -> Self {
        Self {
            facts,
            established: AtomicBool::new(false),
            counters: SessionCounters::default(),
            selected: Mutex::new(None),
        }
    }

    /// MediaMTX's `WebRTCSessionState`.
    pub(crate) fn state(&self) -> &'static str {
        match self.facts.role {
            Role::Read => "read",
            Role::Publish => "publish",
        }
    }

    /// The candidate pair in use, once there is one.
    pub(crate) fn selected_pair(&self) -> Option<SelectedPair> {
        *self.selected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the candidate pair in use.
    pub(crate) fn set_selected_pair(&self, pair: SelectedPair) {
        *self.selected.lock().unwrap_or_else(PoisonError::into_inner) = Some(pair);
    }
}
