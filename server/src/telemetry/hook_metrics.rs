//! Hook metrics: commands that run on events.

use super::metrics::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::Text;

/// Commands since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HookMetrics {
    /// Those that run now, or are about to.
    pub(crate) running: u64,
    /// Those that were started.
    pub(crate) started: u64,
    /// Those that could not be, or ended with another status than 0 by themselves.
    pub(crate) failed: u64,
    /// Those that were not run because too many waited.
    pub(crate) refused: u64,
}

const COLUMNS: &[Column<HookMetrics>] = &[
    gauge("gtvision_hooks_running", "Commands of hooks that run now.", |of| whole(of.running)),
    counter("gtvision_hooks_started_total", "Commands of hooks that were started.", |of| whole(of.started)),
    counter("gtvision_hooks_failed_total", "Commands of hooks that could not be started or failed.", |of| {
        whole(of.failed)
    }),
    counter("gtvision_hooks_refused_total", "Commands of hooks that were not run: too many waited.", |of| {
        whole(of.refused)
    }),
];

/// Writes all of it.
pub(super) fn write(text: &mut Text, hooks: &HookMetrics) {
    write_columns(text, COLUMNS, &[hooks], Empty::Silent, |_| Vec::new());
}
