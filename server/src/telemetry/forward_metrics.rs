//! Forward metrics: the servers that media is sent to, under MediaMTX's names.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::Text;
use crate::egress::forward::ForwardRecord;

/// One destination.
#[derive(Clone, Debug)]
pub(crate) struct ForwardMetrics {
    /// Its path.
    pub(crate) path: String,
    /// The destination.
    pub(crate) record: Arc<ForwardRecord>,
}

/// One with the texts of its labels.
struct Dest {
    id: String,
    state: &'static str,
    of: ForwardMetrics,
}

/// Writes all, or the one that is `wanted` (empty for all).
pub(super) fn write(text: &mut Text, forwards: &[ForwardMetrics], wanted: &str) {
    let dests = forwards.iter().map(|of| Dest {
        id: of.record.id.to_string(),
        state: of.record.status().0.as_str(),
        of: of.clone(),
    });
    let dests: Vec<_> = dests.filter(|dest| wanted.is_empty() || dest.id == wanted).collect();
    let dests: Vec<_> = dests.iter().collect();
    let empty = if dests.is_empty() && wanted.is_empty() { Empty::Zero } else { Empty::Silent };
    write_columns(text, DESTS, &dests, empty, |dest| {
        vec![
            ("id", dest.id.as_str()),
            ("path", dest.of.path.as_str()),
            ("protocol", dest.of.record.protocol()),
            ("state", dest.state),
        ]
    });
}

const DESTS: &[Column<Dest>] = &[
    gauge("forward_dests", "Servers that media is sent to, each 1.", |_| whole(1)),
    counter("forward_dests_outbound_bytes", "Bytes sent.", |dest: &Dest| {
        whole(dest.of.record.outbound_bytes.load(Relaxed))
    }),
];
