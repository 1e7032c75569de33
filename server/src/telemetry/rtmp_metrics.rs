//! RTMP metrics: connections, plain and TLS apart, under MediaMTX's names; and the readers that were cut.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::{Number, Text};
use crate::egress::rtmp::stats::ConnRecord;
use crate::egress::rtsp::stats::Encryption;

/// All connections of the RTMP listeners at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct RtmpMetrics {
    /// Connections, plain and TLS.
    pub(crate) conns: Vec<Arc<ConnRecord>>,
    /// Whether there is a TLS listener.
    pub(crate) has_tls: bool,
    /// Readers cut for being too slow, and the access units that waited for them.
    pub(crate) cut: (u64, u64),
}

/// A connection with the texts of its labels.
struct Conn {
    id: String,
    path: String,
    remote_addr: String,
    of: Arc<ConnRecord>,
}

/// Writes one listener's connections, or the one that is `wanted` (empty for all).
pub(super) fn write(text: &mut Text, rtmp: &RtmpMetrics, encryption: Encryption, wanted: &str) {
    let conns = rtmp.conns.iter().filter(|conn| conn.encryption == encryption);
    let conns = conns.map(|conn| Conn {
        id: conn.id.to_string(),
        path: conn.purpose().map(|purpose| purpose.path.to_string()).unwrap_or_default(),
        remote_addr: conn.remote_addr.to_string(),
        of: Arc::clone(conn),
    });
    let conns: Vec<_> = conns.filter(|conn| wanted.is_empty() || conn.id == wanted).collect();
    let conns: Vec<_> = conns.iter().collect();
    let empty = if conns.is_empty() && wanted.is_empty() { Empty::Zero } else { Empty::Silent };
    let table = match encryption {
        Encryption::None => CONNS,
        Encryption::Tls => CONNS_TLS,
    };
    write_columns(text, table, &conns, empty, |conn| {
        vec![
            ("id", conn.id.as_str()),
            ("path", conn.path.as_str()),
            ("remoteAddr", conn.remote_addr.as_str()),
            ("state", conn.of.state()),
        ]
    });
}

/// Writes what is ours.
pub(super) fn write_ours(text: &mut Text, rtmp: &RtmpMetrics) {
    write_columns(text, OURS, &[rtmp], Empty::Silent, |_| Vec::new());
}

fn total(counter: &AtomicU64) -> Option<Number> {
    whole(counter.load(Relaxed))
}

const OURS: &[Column<RtmpMetrics>] = &[
    counter("gtvision_rtmp_readers_cut_total", "RTMP readers cut since they were too slow.", |r| {
        whole(r.cut.0)
    }),
    counter(
        "gtvision_rtmp_access_units_discarded_total",
        "Access units that waited for readers that were cut.",
        |r| whole(r.cut.1),
    ),
];

/// The same table under two prefixes.
macro_rules! conns {
    ($prefix:literal) => {
        &[
            gauge(concat!($prefix, "_conns"), "RTMP connections, each 1.", |_| whole(1)),
            counter(concat!($prefix, "_conns_inbound_bytes"), "Bytes received.", |c: &Conn| {
                total(&c.of.inbound_bytes)
            }),
            counter(concat!($prefix, "_conns_outbound_bytes"), "Bytes sent.", |c: &Conn| {
                total(&c.of.outbound_bytes)
            }),
            counter(
                concat!($prefix, "_conns_outbound_frames_discarded"),
                "Access units that waited when the reader was cut.",
                |c: &Conn| total(&c.of.outbound_frames_discarded),
            ),
            counter(concat!($prefix, "_conns_bytes_received"), "Older name of inbound_bytes.", |c: &Conn| {
                total(&c.of.inbound_bytes)
            }),
            counter(concat!($prefix, "_conns_bytes_sent"), "Older name of outbound_bytes.", |c: &Conn| {
                total(&c.of.outbound_bytes)
            }),
        ]
    };
}

const CONNS: &[Column<Conn>] = conns!("rtmp");
const CONNS_TLS: &[Column<Conn>] = conns!("rtmps");
