//! Pace: when the next bytes may be sent, so that all uploads together stay below a limit; and how many were.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What was not sent while nobody had anything may be made up for, up to this much time.
const SAVED_UP_MAX: Duration = Duration::from_millis(250);

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    /// When all that was let go will be due.
    due: Mutex<Option<Instant>>,
    sent_bytes: AtomicU64,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second, due: Mutex::default(), sent_bytes: AtomicU64::new(0) }
    }

    /// When so many bytes may be sent; `None` for now.
    pub(crate) fn turn(&self, bytes: usize) -> Option<Instant> {
        self.turn_at(bytes, Instant::now())
    }

    fn turn_at(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let bytes_per_second = self.bytes_per_second?;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let us = bytes.saturating_mul(1_000_000) / bytes_per_second.max(1);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(SAVED_UP_MAX).unwrap_or(now);
        let turn = due.map_or(earliest, |due| due.max(earliest));
        *due = Some(turn + Duration::from_micros(us));
        (turn > now).then_some(turn)
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// Bytes handed to connections so far, those sent again too.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn uploads_together_keep_to_the_limit_and_make_up_for_little_idle_time() {
        let pace = Pace::new(Some(1_000_000));
        let begin = Instant::now();
        let mut last = begin;
        for _ in 0..100 {
            last = pace.turn_at(50_000, begin).unwrap_or(begin);
        }
        // 5 MB take 5 s, less the last one's own time and what may be made up for.
        assert_eq!(last - begin, Duration::from_millis(4950) - SAVED_UP_MAX);
        let later = begin + Duration::from_secs(3600);
        assert_eq!(pace.turn_at(250_000, later), None, "idle time lets a little go at once");
        assert_eq!(pace.turn_at(1, later), None);
        assert!(pace.turn_at(1, later).is_some(), "and no more");
        assert_eq!(Pace::new(None).turn_at(1 << 30, begin), None);
    }
}
