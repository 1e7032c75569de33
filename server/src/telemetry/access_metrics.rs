//! Access metrics: who was refused and slowed.

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::Text;
use crate::access::AccessSnapshot;

/// Writes them all.
pub(super) fn write(text: &mut Text, access: &AccessSnapshot) {
    write_columns(text, ACCESS, &[access], Empty::Silent, |_| Vec::new());
}

const ACCESS: &[Column<AccessSnapshot>] = &[
    counter("gtvision_auth_denied_total", "Requests whose credentials were not enough.", |a| whole(a.denied)),
    counter("gtvision_auth_challenged_total", "Requests that needed credentials and had none.", |a| {
        whole(a.challenged)
    }),
    counter(
        "gtvision_auth_slowed_total",
        "Tries that had to wait, their address having failed often.",
        |a| whole(a.slowed),
    ),
    counter("gtvision_auth_refused_unseen_total", "Tries refused without a look at them.", |a| {
        whole(a.refused_unseen)
    }),
    counter("gtvision_auth_unanswered_total", "Tries refused because whoever decides did not answer.", |a| {
        whole(a.unanswered)
    }),
    counter("gtvision_auth_hashes_total", "Slow password hashes computed.", |a| whole(a.hashes)),
    gauge("gtvision_auth_slowed_addresses", "Addresses whose next try waits.", |a| whole(a.slowed_addresses)),
    gauge("gtvision_auth_sessions", "Sessions of viewers who showed credentials.", |a| whole(a.sessions)),
];
