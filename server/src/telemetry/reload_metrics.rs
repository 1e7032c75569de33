//! Reload metrics: whether the configuration that was written is the one in force.

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::Text;

/// Changes of the configuration since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReloadMetrics {
    /// Those in force.
    pub(crate) applied: u64,
    /// Those that were wrong, or could not be done in full.
    pub(crate) refused: u64,
    /// 1 when the last one was.
    pub(crate) last_failed: u64,
}

const COLUMNS: &[Column<ReloadMetrics>] = &[
    counter("gtvision_config_applied_total", "Changed configurations that are in force.", |of| {
        whole(of.applied)
    }),
    counter(
        "gtvision_config_refused_total",
        "Changed configurations that were wrong or could not be applied in full.",
        |of| whole(of.refused),
    ),
    gauge("gtvision_config_last_change_failed", "1 when what was configured last is not in force.", |of| {
        whole(of.last_failed)
    }),
];

/// Writes all of it.
pub(super) fn write(text: &mut Text, reloads: &ReloadMetrics) {
    write_columns(text, COLUMNS, &[reloads], Empty::Silent, |_| Vec::new());
}
