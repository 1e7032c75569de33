//! WebRTC metrics: sessions under MediaMTX's names, and what is ours of them.

use super::columns::{Column, Empty, chosen, counter, gauge, none_at_all, whole, write_columns};
use super::metrics_text::Text;

/// One WebRTC session.
#[derive(Clone, Debug, Default)]
pub(crate) struct WebRtcSessionMetrics {
    /// Its id.
    pub(crate) id: String,
    /// Its path.
    pub(crate) path: String,
    /// Its client's address.
    pub(crate) remote_addr: String,
    /// MediaMTX's state of it.
    pub(crate) state: &'static str,
    /// RTP packets received.
    pub(crate) inbound_rtp_packets: u64,
    /// RTP packets of a publisher that never came.
    pub(crate) inbound_rtp_packets_lost: u64,
    /// Jitter of a publisher's RTP packets, in ticks.
    pub(crate) inbound_rtp_packets_jitter: u32,
    /// Bytes received.
    pub(crate) inbound_bytes: u64,
    /// Bytes sent.
    pub(crate) outbound_bytes: u64,
    /// RTCP packets received.
    pub(crate) inbound_rtcp_packets: u64,
    /// RTCP packets sent.
    pub(crate) outbound_rtcp_packets: u64,
    /// RTP packets sent.
    pub(crate) outbound_rtp_packets: u64,
    /// Access units left out because the viewer was slow.
    pub(crate) outbound_frames_discarded: u64,
    /// RTP packets sent again after a NACK.
    pub(crate) retransmitted_packets: u64,
    /// PLI and FIR received.
    pub(crate) key_frame_requests: u64,
    /// Times the viewer was started again from a random access point.
    pub(crate) restarts: u64,
    /// Datagrams that came faster than the session could read them.
    pub(crate) inbox_overflows: u64,
    /// Datagrams that the kernel did not take.
    pub(crate) send_errors: u64,
}

/// Writes all sessions, or the one that is `wanted` (empty for all).
pub(super) fn write(text: &mut Text, sessions: &[WebRtcSessionMetrics], wanted: &str) {
    let sessions: Vec<_> = sessions.iter().filter(|session| chosen(wanted, &session.id)).collect();
    let empty = none_at_all(&sessions, wanted);
    write_columns(text, WEBRTC_SESSIONS, &sessions, empty, labels);
    write_columns(text, OURS, &sessions, Empty::Silent, labels);
}

fn labels(session: &WebRtcSessionMetrics) -> Vec<(&'static str, &str)> {
    vec![
        ("id", &session.id),
        ("path", &session.path),
        ("remoteAddr", &session.remote_addr),
        ("state", session.state),
    ]
}

const OURS: &[Column<WebRtcSessionMetrics>] = &[
    counter("gtvision_webrtc_session_retransmitted_packets_total", "RTP packets sent again.", |s| {
        whole(s.retransmitted_packets)
    }),
    counter("gtvision_webrtc_session_key_frame_requests_total", "Requests for a key frame.", |s| {
        whole(s.key_frame_requests)
    }),
    counter(
        "gtvision_webrtc_session_restarts_total",
        "Times the viewer was started again from a key frame.",
        |s| whole(s.restarts),
    ),
    counter(
        "gtvision_webrtc_session_datagrams_lost_total",
        "Datagrams that came faster than the session could read them.",
        |s| whole(s.inbox_overflows),
    ),
    counter("gtvision_webrtc_session_send_errors_total", "Datagrams that the kernel did not take.", |s| {
        whole(s.send_errors)
    }),
];

/// A viewer sends no media: what is counted of a publisher's stays 0.
const WEBRTC_SESSIONS: &[Column<WebRtcSessionMetrics>] = &[
    gauge("webrtc_sessions", "WebRTC sessions, each 1.", |_| whole(1)),
    counter("webrtc_sessions_inbound_bytes", "Bytes received.", |s| whole(s.inbound_bytes)),
    counter("webrtc_sessions_inbound_rtp_packets", "RTP packets received.", |s| whole(s.inbound_rtp_packets)),
    counter("webrtc_sessions_inbound_rtp_packets_lost", "RTP packets lost.", |s| {
        whole(s.inbound_rtp_packets_lost)
    }),
    gauge(
        "webrtc_sessions_inbound_rtp_packets_jitter",
        "Jitter of RTP packets received, in ticks of their clock.",
        |s| whole(s.inbound_rtp_packets_jitter.into()),
    ),
    counter("webrtc_sessions_inbound_rtcp_packets", "RTCP packets received.", |s| {
        whole(s.inbound_rtcp_packets)
    }),
    counter("webrtc_sessions_outbound_bytes", "Bytes sent.", |s| whole(s.outbound_bytes)),
    counter("webrtc_sessions_outbound_rtp_packets", "RTP packets sent.", |s| whole(s.outbound_rtp_packets)),
    counter("webrtc_sessions_outbound_rtcp_packets", "RTCP packets sent.", |s| {
        whole(s.outbound_rtcp_packets)
    }),
    counter("webrtc_sessions_outbound_frames_discarded", "Frames left out.", |s| {
        whole(s.outbound_frames_discarded)
    }),
    counter("webrtc_sessions_bytes_received", "Older name of webrtc_sessions_inbound_bytes.", |s| {
        whole(s.inbound_bytes)
    }),
    counter("webrtc_sessions_bytes_sent", "Older name of webrtc_sessions_outbound_bytes.", |s| {
        whole(s.outbound_bytes)
    }),
    counter(
        "webrtc_sessions_rtp_packets_received",
        "Older name of webrtc_sessions_inbound_rtp_packets.",
        |s| whole(s.inbound_rtp_packets),
    ),
    counter("webrtc_sessions_rtp_packets_sent", "Older name of webrtc_sessions_outbound_rtp_packets.", |s| {
        whole(s.outbound_rtp_packets)
    }),
    counter(
        "webrtc_sessions_rtp_packets_lost",
        "Older name of webrtc_sessions_inbound_rtp_packets_lost.",
        |s| whole(s.inbound_rtp_packets_lost),
    ),
    gauge(
        "webrtc_sessions_rtp_packets_jitter",
        "Older name of webrtc_sessions_inbound_rtp_packets_jitter.",
        |s| whole(s.inbound_rtp_packets_jitter.into()),
    ),
    counter(
        "webrtc_sessions_rtcp_packets_received",
        "Older name of webrtc_sessions_inbound_rtcp_packets.",
        |s| whole(s.inbound_rtcp_packets),
    ),
    counter(
        "webrtc_sessions_rtcp_packets_sent",
        "Older name of webrtc_sessions_outbound_rtcp_packets.",
        |s| whole(s.outbound_rtcp_packets),
    ),
];
