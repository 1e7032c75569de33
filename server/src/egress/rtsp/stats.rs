//! Records: what connections and sessions did so far, for the API and metrics.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use media_core::path_name::PathName;
use media_core::rtsp::{is_well_formed, parse_losses};
use media_core::time::WallTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::stream::ReaderKind;

/// Plain or TLS: MediaMTX lists them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encryption {
    /// `rtsp://`
    None,
    /// `rtsps://`
    Tls,
}

impl Encryption {
    /// MediaMTX's type of such a connection.
    pub(super) fn conn_type(self) -> &'static str {
        match self {
            Self::None => "rtspConn",
            Self::Tls => "rtspsConn",
        }
    }

    /// MediaMTX's type of such a session.
    pub(super) fn session_type(self) -> &'static str {
        match self {
            Self::None => "rtspSession",
            Self::Tls => "rtspsSession",
        }
    }

    /// The kind of such a reader.
    pub(super) fn reader_kind(self) -> ReaderKind {
        match self {
            Self::None => ReaderKind::RtspSession,
            Self::Tls => ReaderKind::RtspsSession,
        }
    }
}

/// A connection, shared between its task and those who look at it.
#[derive(Debug)]
pub(crate) struct ConnRecord {
    /// Public id.
    pub(crate) id: Uuid,
    /// Plain or TLS.
    pub(crate) encryption: Encryption,
    /// When it was accepted.
    pub(crate) created: WallTime,
    /// Ours that it came to.
    pub(super) local_ip: IpAddr,
    /// Whence it came.
    pub(crate) remote_addr: SocketAddr,
    /// Bytes received; monotonic.
    pub(crate) inbound_bytes: AtomicU64,
    /// Bytes sent; monotonic.
    pub(crate) outbound_bytes: AtomicU64,
    session: Mutex<Option<Uuid>>,
}

impl ConnRecord {
    /// A connection just accepted.
    pub(super) fn new(
        encryption: Encryption,
        (local_ip, remote_addr): (IpAddr, SocketAddr),
        created: WallTime,
    ) -> Self {
        Self {
            id: Uuid::new_v4(),
            encryption,
            created,
            local_ip,
            remote_addr,
            inbound_bytes: AtomicU64::new(0),
            outbound_bytes: AtomicU64::new(0),
            session: Mutex::new(None),
        }
    }

    /// Its session, if it has one.
    pub(crate) fn session(&self) -> Option<Uuid> {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_session(&self, session: Option<Uuid>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

/// What is known of a session from its start.
#[derive(Clone, Debug)]
pub(crate) struct SessionFacts {
    /// Public id; the session's id on the wire is another, which would let anyone end it.
    pub(crate) id: Uuid,
    /// Its connection.
    pub(crate) conn: Uuid,
    /// Plain or TLS.
    pub(crate) encryption: Encryption,
    /// When its first track was set up.
    pub(crate) created: WallTime,
    /// Whence it came.
    pub(crate) remote_addr: SocketAddr,
    /// Its path.
    pub(crate) path: PathName,
    /// The query of its URL.
    pub(crate) query: String,
    /// Who signed in; empty where nobody has to.
    pub(crate) user: String,
    /// What the client calls itself.
    pub(crate) user_agent: String,
    /// `TCP`, `UDP` or `UDP-multicast`.
    pub(crate) transport: &'static str,
    /// To take media or to send it.
    pub(crate) role: Role,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Takes media.
    Read,
    /// Sends media.
    Publish,
}

/// A session, shared between its connection's task and those who look at it.
#[derive(Debug)]
pub(crate) struct SessionRecord {
    /// Fixed at the start.
    pub(crate) facts: SessionFacts,
    /// Media flows.
    pub(crate) is_active: AtomicBool,
    /// Monotonic counters.
    pub(crate) counters: SessionCounters,
    /// Cancelled to end the session and its connection.
    pub(crate) kick: CancellationToken,
    /// What the reader said it missed, by track.
    reported_lost: Mutex<BTreeMap<usize, u32>>,
}

/// Counters of one session; all monotonic but the jitter.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    /// Bytes received of a publisher's media, or of a reader's reports.
    pub(crate) inbound_bytes: AtomicU64,
    /// RTP packets received.
    pub(crate) inbound_rtp_packets: AtomicU64,
    /// RTP packets that never came.
    pub(crate) inbound_rtp_packets_lost: AtomicU64,
    /// RTP packets that could not be read.
    pub(crate) inbound_rtp_packets_in_error: AtomicU64,
    /// Jitter of the RTP packets received, in ticks, as of the last report to the publisher.
    pub(crate) inbound_rtp_packets_jitter: AtomicU32,
    /// RTCP packets received.
    pub(crate) inbound_rtcp_packets: AtomicU64,
    /// RTCP packets that could not be read.
    pub(crate) inbound_rtcp_packets_in_error: AtomicU64,
    /// Bytes of media sent.
    pub(crate) outbound_bytes: AtomicU64,
    /// RTP packets sent, or queued to be.
    pub(crate) outbound_rtp_packets: AtomicU64,
    /// RTCP packets sent.
    pub(crate) outbound_rtcp_packets: AtomicU64,
    /// RTP packets that were queued when the session was cut.
    pub(crate) outbound_rtp_packets_discarded: AtomicU64,
    /// RTP packets that the reader says it missed, of all tracks.
    pub(crate) outbound_rtp_packets_reported_lost: AtomicU64,
}

impl SessionRecord {
    /// A reader of some path, for tests.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        let remote_addr = SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), 1);
        Self::new(SessionFacts {
            id: Uuid::nil(),
            conn: Uuid::nil(),
            encryption: Encryption::None,
            created: WallTime(0),
            remote_addr,
            path: PathName::parse("cam_1").unwrap(),
            query: String::new(),
            user: String::new(),
            user_agent: String::new(),
            transport: "UDP",
            role: Role::Read,
        })
    }

    /// A session just set up.
    pub(super) fn new(facts: SessionFacts) -> Self {
        Self {
            facts,
            is_active: AtomicBool::new(false),
            counters: SessionCounters::default(),
            kick: CancellationToken::new(),
            reported_lost: Mutex::default(),
        }
    }

    /// Counts a report of the reader on a track, and what it says it missed of it in all.
    pub(super) fn count_report(&self, track: usize, packet: &[u8]) {
        let bytes = u64::try_from(packet.len()).unwrap_or(0);
        self.counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        if !is_well_formed(packet) {
            self.counters.inbound_rtcp_packets_in_error.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.counters.inbound_rtcp_packets.fetch_add(1, Ordering::Relaxed);
        if let Some(lost) = parse_losses(packet) {
            let mut of_tracks = self.reported_lost.lock().unwrap_or_else(PoisonError::into_inner);
            let most = of_tracks.entry(track).or_default();
            *most = lost.max(*most);
            let sum = of_tracks.values().copied().map(u64::from).sum();
            self.counters.outbound_rtp_packets_reported_lost.store(sum, Ordering::Relaxed);
        }
    }

    /// MediaMTX's `RTSPSessionState`.
    pub(crate) fn state(&self) -> &'static str {
        match (self.is_active.load(Ordering::Relaxed), self.facts.role) {
            (false, _) => "idle",
            (true, Role::Read) => "read",
            (true, Role::Publish) => "publish",
        }
    }
}

#[cfg(test)]
mod tests {
    use media_core::rtsp::ReceiverReport;

    use super::*;

    #[test]
    fn what_a_reader_missed_is_the_sum_of_its_tracks_and_never_falls() {
        let record = SessionRecord::example();
        let report = |lost| ReceiverReport {
            reporter_ssrc: 1,
            ssrc: 2,
            fraction_lost: 0,
            lost,
            highest_seq: 9,
            jitter: 0,
        };
        for (track, lost) in [(0, 5), (1, 2), (0, 7), (1, 1)] {
            record.count_report(track, &report(lost).to_bytes());
        }
        record.count_report(0, b"no report");
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &record.counters;
        assert_eq!(total(&counters.outbound_rtp_packets_reported_lost), 7 + 2);
        assert_eq!(total(&counters.inbound_rtcp_packets), 4);
        assert_eq!(total(&counters.inbound_rtcp_packets_in_error), 1);
        assert_eq!(total(&counters.inbound_bytes), 4 * 52 + 9);
    }
}
