//! HLS metrics: muxers and viewers' sessions under MediaMTX's names.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::columns::{Column, Empty, chosen, counter, gauge, none_at_all, whole, write_columns};
use super::metrics_text::Text;
use crate::egress::hls::viewers::Viewer;

/// One HLS muxer.
#[derive(Clone, Debug, Default)]
pub(crate) struct HlsMuxerMetrics {
    /// Its path.
    pub(crate) path: String,
    /// Bytes sent to viewers.
    pub(crate) outbound_bytes: u64,
    /// Access units left out because the muxer came late.
    pub(crate) outbound_frames_discarded: u64,
    /// Bytes of media kept for viewers.
    pub(crate) window_bytes: u64,
    /// Times the muxer was started again after a panic.
    pub(crate) restarts: u64,
    /// Requests answered.
    pub(crate) requests: u64,
}

/// A session with the texts of its labels.
struct Session {
    id: String,
    remote_addr: String,
    of: Arc<Viewer>,
}

/// Writes all muxers, or the one of the path that is `wanted` (empty for all).
pub(super) fn write_muxers(text: &mut Text, muxers: &[HlsMuxerMetrics], wanted: &str) {
    let muxers: Vec<_> = muxers.iter().filter(|muxer| chosen(wanted, &muxer.path)).collect();
    let empty = none_at_all(&muxers, wanted);
    write_columns(text, HLS_MUXERS, &muxers, empty, |muxer| vec![("name", muxer.path.as_str())]);
    write_columns(text, HLS_MUXERS_OURS, &muxers, Empty::Silent, |muxer| vec![("name", muxer.path.as_str())]);
}

/// Writes all sessions, or the one that is `wanted` (empty for all).
pub(super) fn write(text: &mut Text, viewers: &[Arc<Viewer>], wanted: &str) {
    let sessions = viewers.iter().map(|viewer| Session {
        id: viewer.id.to_string(),
        remote_addr: viewer.remote_addr.to_string(),
        of: Arc::clone(viewer),
    });
    let sessions: Vec<_> = sessions.filter(|session| wanted.is_empty() || session.id == wanted).collect();
    let sessions: Vec<_> = sessions.iter().collect();
    let empty = if sessions.is_empty() && wanted.is_empty() { Empty::Zero } else { Empty::Silent };
    write_columns(text, SESSIONS, &sessions, empty, |session| {
        vec![
            ("id", session.id.as_str()),
            ("path", session.of.path.as_str()),
            ("remoteAddr", session.remote_addr.as_str()),
        ]
    });
}

const SESSIONS: &[Column<Session>] = &[
    gauge("hls_sessions", "HLS sessions, each 1.", |_| whole(1)),
    counter("hls_sessions_outbound_bytes", "Bytes sent.", |session: &Session| {
        whole(session.of.outbound_bytes.load(Relaxed))
    }),
];

const HLS_MUXERS: &[Column<HlsMuxerMetrics>] = &[
    gauge("hls_muxers", "HLS muxers, each 1.", |_| whole(1)),
    counter("hls_muxers_outbound_bytes", "Bytes sent.", |muxer| whole(muxer.outbound_bytes)),
    counter("hls_muxers_outbound_frames_discarded", "Frames left out.", |muxer| {
        whole(muxer.outbound_frames_discarded)
    }),
    counter("hls_muxers_bytes_sent", "Older name of hls_muxers_outbound_bytes.", |muxer| {
        whole(muxer.outbound_bytes)
    }),
];

const HLS_MUXERS_OURS: &[Column<HlsMuxerMetrics>] = &[
    gauge("gtvision_hls_window_bytes", "Media bytes kept for HLS viewers.", |muxer| {
        whole(muxer.window_bytes)
    }),
    counter("gtvision_hls_muxer_restarts_total", "Times a muxer was started again.", |muxer| {
        whole(muxer.restarts)
    }),
    counter("gtvision_hls_requests_total", "HLS requests answered.", |muxer| whole(muxer.requests)),
];
