//! Reloads: how changes of the configuration went, for the metrics.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::telemetry::reload_metrics::ReloadMetrics;

/// Counters since the server's start.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
    has_failed: AtomicBool,
}

impl Reloads {
    /// A changed configuration is in force, all of it.
    pub(super) fn applied(&self) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
    }

    /// The configuration before stays in force, or a part of it.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.has_failed.store(true, Ordering::Relaxed);
    }

    /// For the metrics.
    pub(crate) fn snapshot(&self) -> ReloadMetrics {
        ReloadMetrics {
            applied: self.applied.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            last_failed: u64::from(self.has_failed.load(Ordering::Relaxed)),
        }
    }
}
