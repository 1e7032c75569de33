//! Back-off: when to try a store again after a failure.
//!
//! 1 s, 2 s, 4 s .. [`WAIT_MAX`], each between half and the whole of that, so that servers which lost the same store do not
//! come back to it in the same instant.

use std::time::Duration;

/// The first wait.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest: a store that is back after hours is found within a minute.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Failures in a row. No clock here: the caller waits.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed | 1 }
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// How long to wait after one more failure.
    pub(crate) fn failed(&mut self) -> Duration {
        let whole =
            WAIT_FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        // xorshift64: spreads, and need not do more.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random % 1024).unwrap_or(0);
        whole / 2 + whole / 2048 * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(7);
        let waits: Vec<Duration> = (0..40).map(|_| backoff.failed()).collect();
        for (failures, wait) in (0..).zip(&waits) {
            let whole = Duration::from_secs(1 << failures.min(6)).min(WAIT_MAX);
            assert!((whole / 2..=whole).contains(wait), "{wait:?} after {failures} failures");
        }
        assert!(waits[20..].windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
        backoff.succeeded();
        assert!(backoff.failed() <= Duration::from_secs(1));
    }
}
