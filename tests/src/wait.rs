//! Waiting: for a condition, with a deadline; never for a length of time alone.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How often a condition is looked at; short against every deadline in use.
const POLL_EVERY: Duration = Duration::from_millis(25);

/// Asks `condition` until it gives a value, and gives that value.
///
/// # Errors
/// After `limit`: says what was waited for and what the condition said last.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let last = match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= limit {
            match last {
                Some(error) => return Err(error.context(format!("no {what} in {limit:?}"))),
                None => bail!("no {what} in {limit:?}"),
            }
        }
        pause(POLL_EVERY).await;
    }
}

/// Lets the system under test run for a stated time while it is being watched: load
/// and endurance runs only, where the length of the run is the point.
pub async fn run_for(length: Duration) {
    pause(length).await;
}

#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

/// The same for a thread without a runtime (drop).
#[expect(clippy::disallowed_methods, reason = "the one place that waits")]
pub(crate) fn pause_thread() {
    std::thread::sleep(POLL_EVERY);
}
