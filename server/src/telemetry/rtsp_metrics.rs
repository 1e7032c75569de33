//! RTSP metrics: connections and sessions, plain and TLS apart, under MediaMTX's names; and the readers that were cut.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::{Number, Text};
use crate::egress::rtsp::stats::{ConnRecord, Encryption, SessionRecord};

/// All connections and sessions of the RTSP listeners at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RtspMetrics {
    /// Connections, plain and TLS.
    pub(crate) conns: Vec<Arc<ConnRecord>>,
    /// Sessions, plain and TLS.
    pub(crate) sessions: Vec<Arc<SessionRecord>>,
    /// Whether there is a TLS listener.
    pub(crate) has_tls: bool,
    /// Readers cut for being too slow, and the packets that waited for them.
    pub(crate) cut: (u64, u64),
}

/// A connection with its id as a text.
struct Conn {
    id: String,
    of: Arc<ConnRecord>,
}

/// A session with the texts of its labels.
struct Session {
    id: String,
    remote_addr: String,
    of: Arc<SessionRecord>,
}

/// What a request asks for of one listener's objects.
#[derive(Clone, Debug)]
pub(super) struct Chosen<'a> {
    /// Whose.
    pub(super) encryption: Encryption,
    /// The id of the one connection asked for, empty for all; `None` when connections are not asked for.
    pub(super) conn: Option<&'a str>,
    /// The same of sessions.
    pub(super) session: Option<&'a str>,
}

/// Writes what is asked for of one listener.
pub(super) fn write(text: &mut Text, rtsp: &RtspMetrics, chosen: &Chosen<'_>) {
    let (conns_table, sessions_table) = match chosen.encryption {
        Encryption::None => (CONNS, SESSIONS),
        Encryption::Tls => (CONNS_TLS, SESSIONS_TLS),
    };
    if let Some(wanted) = chosen.conn {
        let conns = rtsp.conns.iter().filter(|conn| conn.encryption == chosen.encryption);
        let conns = conns.map(|conn| Conn { id: conn.id.to_string(), of: Arc::clone(conn) });
        let conns: Vec<_> = conns.filter(|conn| wanted.is_empty() || conn.id == wanted).collect();
        let conns: Vec<_> = conns.iter().collect();
        write_columns(text, conns_table, &conns, empty(&conns, wanted), |conn| {
            vec![("id", conn.id.as_str())]
        });
    }
    if let Some(wanted) = chosen.session {
        let sessions = rtsp.sessions.iter().filter(|session| session.facts.encryption == chosen.encryption);
        let sessions = sessions.map(|session| Session {
            id: session.facts.id.to_string(),
            remote_addr: session.facts.remote_addr.to_string(),
            of: Arc::clone(session),
        });
        let sessions: Vec<_> = sessions.filter(|session| wanted.is_empty() || session.id == wanted).collect();
        let sessions: Vec<_> = sessions.iter().collect();
        write_columns(text, sessions_table, &sessions, empty(&sessions, wanted), |session| {
            vec![
                ("id", session.id.as_str()),
                ("path", session.of.facts.path.as_str()),
                ("remoteAddr", session.remote_addr.as_str()),
                ("state", session.of.state()),
            ]
        });
    }
}

/// Writes what is ours.
pub(super) fn write_ours(text: &mut Text, rtsp: &RtspMetrics) {
    write_columns(text, OURS, &[rtsp], Empty::Silent, |_| Vec::new());
}

fn empty<T>(objects: &[T], wanted: &str) -> Empty {
    if objects.is_empty() && wanted.is_empty() { Empty::Zero } else { Empty::Silent }
}

fn total(counter: &AtomicU64) -> Option<Number> {
    whole(counter.load(Relaxed))
}

fn jitter(session: &Session) -> Option<Number> {
    whole(session.of.counters.inbound_rtp_packets_jitter.load(Relaxed).into())
}

const OURS: &[Column<RtspMetrics>] = &[
    counter("gtvision_rtsp_readers_cut_total", "RTSP readers cut since they were too slow.", |r| {
        whole(r.cut.0)
    }),
    counter(
        "gtvision_rtsp_packets_discarded_total",
        "RTP packets that waited for readers that were cut.",
        |r| whole(r.cut.1),
    ),
];

/// The same table under two prefixes.
macro_rules! conns {
    ($prefix:literal) => {
        &[
            gauge(concat!($prefix, "_conns"), "RTSP connections, each 1.", |_| whole(1)),
            counter(concat!($prefix, "_conns_inbound_bytes"), "Bytes received.", |c: &Conn| {
                total(&c.of.inbound_bytes)
            }),
            counter(concat!($prefix, "_conns_outbound_bytes"), "Bytes sent.", |c: &Conn| {
                total(&c.of.outbound_bytes)
            }),
            counter(concat!($prefix, "_conns_bytes_received"), "Older name of inbound_bytes.", |c: &Conn| {
                total(&c.of.inbound_bytes)
            }),
            counter(concat!($prefix, "_conns_bytes_sent"), "Older name of outbound_bytes.", |c: &Conn| {
                total(&c.of.outbound_bytes)
            }),
        ]
    };
}

/// One counter of a session under its name and, where there is one, its older name.
macro_rules! sessions {
    ($prefix:literal) => {
        &[
            gauge(concat!($prefix, "_sessions"), "RTSP sessions, each 1.", |_| whole(1)),
            sessions!($prefix, "inbound_bytes", "Bytes received.", inbound_bytes),
            sessions!($prefix, "inbound_rtp_packets", "RTP packets received.", inbound_rtp_packets),
            sessions!($prefix, "inbound_rtp_packets_lost", "RTP packets lost.", inbound_rtp_packets_lost),
            sessions!(
                $prefix,
                "inbound_rtp_packets_in_error",
                "RTP packets not understood.",
                inbound_rtp_packets_in_error
            ),
            gauge(
                concat!($prefix, "_sessions_inbound_rtp_packets_jitter"),
                "Jitter of RTP packets received, in ticks of their clock.",
                |s: &Session| jitter(s),
            ),
            sessions!($prefix, "inbound_rtcp_packets", "RTCP packets received.", inbound_rtcp_packets),
            sessions!(
                $prefix,
                "inbound_rtcp_packets_in_error",
                "RTCP packets not understood.",
                inbound_rtcp_packets_in_error
            ),
            sessions!($prefix, "outbound_bytes", "Bytes sent.", outbound_bytes),
            sessions!($prefix, "outbound_rtp_packets", "RTP packets sent.", outbound_rtp_packets),
            sessions!(
                $prefix,
                "outbound_rtp_packets_reported_lost",
                "RTP packets that readers say they missed.",
                outbound_rtp_packets_reported_lost
            ),
            sessions!(
                $prefix,
                "outbound_rtp_packets_discarded",
                "RTP packets that waited when the reader was cut.",
                outbound_rtp_packets_discarded
            ),
            sessions!($prefix, "outbound_rtcp_packets", "RTCP packets sent.", outbound_rtcp_packets),
            sessions!($prefix, "bytes_received", "Older name of inbound_bytes.", inbound_bytes),
            sessions!($prefix, "bytes_sent", "Older name of outbound_bytes.", outbound_bytes),
            sessions!(
                $prefix,
                "rtp_packets_received",
                "Older name of inbound_rtp_packets.",
                inbound_rtp_packets
            ),
            sessions!(
                $prefix,
                "rtp_packets_sent",
                "Older name of outbound_rtp_packets.",
                outbound_rtp_packets
            ),
            sessions!(
                $prefix,
                "rtp_packets_lost",
                "Older name of inbound_rtp_packets_lost.",
                inbound_rtp_packets_lost
            ),
            sessions!(
                $prefix,
                "rtp_packets_in_error",
                "Older name of inbound_rtp_packets_in_error.",
                inbound_rtp_packets_in_error
            ),
            gauge(
                concat!($prefix, "_sessions_rtp_packets_jitter"),
                "Older name of inbound_rtp_packets_jitter.",
                |s: &Session| jitter(s),
            ),
            sessions!(
                $prefix,
                "rtcp_packets_received",
                "Older name of inbound_rtcp_packets.",
                inbound_rtcp_packets
            ),
            sessions!(
                $prefix,
                "rtcp_packets_sent",
                "Older name of outbound_rtcp_packets.",
                outbound_rtcp_packets
            ),
            sessions!(
                $prefix,
                "rtcp_packets_in_error",
                "Older name of inbound_rtcp_packets_in_error.",
                inbound_rtcp_packets_in_error
            ),
        ]
    };
    ($prefix:literal, $name:literal, $help:literal, $counter:ident) => {
        counter(concat!($prefix, "_sessions_", $name), $help, |s: &Session| total(&s.of.counters.$counter))
    };
}

const CONNS: &[Column<Conn>] = conns!("rtsp");
const CONNS_TLS: &[Column<Conn>] = conns!("rtsps");
const SESSIONS: &[Column<Session>] = sessions!("rtsp");
const SESSIONS_TLS: &[Column<Session>] = sessions!("rtsps");
