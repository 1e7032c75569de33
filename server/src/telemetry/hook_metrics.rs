//! Hook metrics: commands that run on events, and webhooks.

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
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

/// Events sent since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebhookMetrics {
    /// Those that wait now.
    pub(crate) queued: u64,
    /// Those that were taken.
    pub(crate) delivered: u64,
    /// Attempts after a first one.
    pub(crate) retried: u64,
    /// Those that nobody took in time, or for which there was no room.
    pub(crate) dropped: u64,
}

const WEBHOOK_COLUMNS: &[Column<WebhookMetrics>] = &[
    gauge("gtvision_webhooks_queued", "Events that wait for a webhook.", |of| whole(of.queued)),
    counter("gtvision_webhooks_delivered_total", "Events that a webhook took.", |of| whole(of.delivered)),
    counter("gtvision_webhooks_retried_total", "Attempts to deliver an event once more.", |of| {
        whole(of.retried)
    }),
    counter("gtvision_webhooks_dropped_total", "Events that a webhook did not get.", |of| whole(of.dropped)),
];

/// Writes all of it.
pub(super) fn write(text: &mut Text, hooks: &HookMetrics, webhooks: &WebhookMetrics) {
    write_columns(text, COLUMNS, &[hooks], Empty::Silent, |_| Vec::new());
    write_columns(text, WEBHOOK_COLUMNS, &[webhooks], Empty::Silent, |_| Vec::new());
}
