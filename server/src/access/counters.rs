//! Counters: how access went, for metrics.

use std::sync::atomic::AtomicU64;

/// How access went so far; all monotonic.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) denied: AtomicU64,
    pub(super) challenged: AtomicU64,
    pub(super) slowed: AtomicU64,
    pub(super) refused_unseen: AtomicU64,
    pub(super) unanswered: AtomicU64,
}

/// How access went so far, and how it stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AccessSnapshot {
    /// Requests whose credentials were not enough.
    pub(crate) denied: u64,
    /// Requests without credentials where some are needed.
    pub(crate) challenged: u64,
    /// Tries that had to wait.
    pub(crate) slowed: u64,
    /// Tries that were refused without a look.
    pub(crate) refused_unseen: u64,
    /// Tries refused because whoever decides did not answer.
    pub(crate) unanswered: u64,
    /// Slow hashes computed.
    pub(crate) hashes: u64,
    /// Addresses whose next try waits.
    pub(crate) slowed_addresses: u64,
    /// Sessions.
    pub(crate) sessions: u64,
}
