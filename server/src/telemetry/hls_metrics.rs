//! HLS metrics: viewers' sessions under MediaMTX's names.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::metrics::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::Text;
use crate::egress::hls::viewers::Viewer;

/// A session with the texts of its labels.
struct Session {
    id: String,
    remote_addr: String,
    of: Arc<Viewer>,
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
