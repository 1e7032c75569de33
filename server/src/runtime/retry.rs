//! Retry: when to try a camera again after a failure. The one owner of this decision.
//!
//! ```text
//!  failure 1..=3 ─► quick tries ─► failure 4 ─► back-off 5 s, 10 s .. 30 s, ±20 %
//!                                  failure 5 ─► circuit open 60 s ─► one trial ─► failure: open again
//!  success at any time ─► all forgotten
//! ```
//!
//! Units: `Duration`. No clock here: the caller waits.

use std::time::Duration;

/// The numbers of [`RetryPolicy`]; see the constants for the defaults and their reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryConfig {
    /// Failures in a row that are answered by a quick try.
    pub(crate) quick_tries: u32,
    /// Wait before a quick try: a camera that was restarted by its watchdog is back at once.
    pub(crate) quick_delay: Duration,
    /// First back-off after the quick tries; doubles each time.
    pub(crate) backoff_first: Duration,
    /// The longest back-off.
    pub(crate) backoff_max: Duration,
    /// Failures in a row that open the circuit.
    pub(crate) breaker_failures: u32,
    /// How long an open circuit waits before its one trial.
    pub(crate) breaker_open: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            quick_tries: 3,
            quick_delay: Duration::from_millis(500),
            backoff_first: Duration::from_secs(5),
            backoff_max: Duration::from_secs(30),
            breaker_failures: 5,
            breaker_open: Duration::from_secs(60),
        }
    }
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Wait so long, then try again.
    BackOff(Duration),
    /// The circuit is open: wait so long, then make one trial.
    OpenCircuit(Duration),
}

impl Wait {
    /// How long to wait, either way.
    pub(crate) fn duration(self) -> Duration {
        match self {
            Self::BackOff(wait) | Self::OpenCircuit(wait) => wait,
        }
    }
}

/// Failures in a row and what follows from them.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    config: RetryConfig,
    failures: u32,
    random: u64,
}

impl RetryPolicy {
    /// A policy with no failure yet; `seed` varies the jitter so that 250 cameras behind one dead
    /// switch do not come back in the same instant.
    pub(crate) fn new(config: RetryConfig, seed: u64) -> Self {
        Self { config, failures: 0, random: seed | 1 }
    }

    /// Forgets all failures.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure and says how long to wait.
    pub(crate) fn failed(&mut self) -> Wait {
        self.failures = self.failures.saturating_add(1);
        let config = self.config;
        if self.failures >= config.breaker_failures {
            return Wait::OpenCircuit(self.jittered(config.breaker_open));
        }
        if self.failures <= config.quick_tries {
            return Wait::BackOff(self.jittered(config.quick_delay));
        }
        let doublings = (self.failures - config.quick_tries - 1).min(16);
        let wait = config.backoff_first.saturating_mul(1 << doublings).min(config.backoff_max);
        Wait::BackOff(self.jittered(wait))
    }

    /// `wait` plus or minus up to a fifth, never above `wait` for the circuit's sake of being
    /// documented: the jitter only shortens.
    fn jittered(&mut self, wait: Duration) -> Duration {
        // xorshift64: evenly spread is all that is needed.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let per_mille = u32::try_from(self.random % 200).unwrap_or(0);
        wait.saturating_sub(wait.saturating_mul(per_mille) / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(wait: Duration, nominal_ms: u64) -> bool {
        let nominal = Duration::from_millis(nominal_ms);
        wait <= nominal && wait >= nominal * 4 / 5
    }

    #[test]
    fn three_quick_tries_then_back_off_then_an_open_circuit() {
        let mut policy = RetryPolicy::new(RetryConfig::default(), 42);
        for _ in 0..3 {
            assert!(matches!(policy.failed(), Wait::BackOff(wait) if within(wait, 500)));
        }
        assert!(matches!(policy.failed(), Wait::BackOff(wait) if within(wait, 5_000)));
        for _ in 0..3 {
            assert!(matches!(policy.failed(), Wait::OpenCircuit(wait) if within(wait, 60_000)));
        }
        policy.succeeded();
        assert!(matches!(policy.failed(), Wait::BackOff(wait) if within(wait, 500)));
    }

    #[test]
    fn back_off_doubles_up_to_its_limit_when_the_circuit_is_far() {
        let config = RetryConfig { breaker_failures: 100, ..RetryConfig::default() };
        let mut policy = RetryPolicy::new(config, 7);
        let waits: Vec<Duration> = (0..12).map(|_| policy.failed().duration()).collect();
        assert!(within(waits[3], 5_000) && within(waits[4], 10_000) && within(waits[5], 20_000));
        assert!(within(waits[6], 30_000) && within(waits[11], 30_000));
    }

    #[test]
    fn cameras_of_one_switch_do_not_come_back_in_the_same_instant() {
        let mut waits: Vec<Duration> = (0..50)
            .map(|seed| RetryPolicy::new(RetryConfig::default(), seed * 7919).failed().duration())
            .collect();
        waits.sort();
        waits.dedup();
        assert!(waits.len() > 25, "only {} different waits", waits.len());
    }
}
