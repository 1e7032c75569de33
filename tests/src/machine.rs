//! The machine: two cores that tests share; a test that measures has it alone.
//!
//! Those that share go first, [`SHARED_MAX`] at a time; those that measure wait, each on a thread of the test runner, until none
//! is left, and then go one by one. Taking turns, the machine would stand half idle before each measurement, until the
//! longest of the others has ended. The runner needs a thread for each that waits and some more (`RUST_TEST_THREADS`).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// More at once than there are cores: most of them wait for cameras in real time.
pub const SHARED_MAX: usize = 6;

static USE: Mutex<Use> = Mutex::new(Use { shared: 0, is_alone: false });
static FREED: Notify = Notify::const_new();

struct Use {
    shared: usize,
    is_alone: bool,
}

/// The machine, beside others; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Shared(());

/// The machine, alone; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Alone(());

/// Taken by a test that checks behaviour: others may run beside it.
pub async fn shared() -> Shared {
    take(|machine| {
        let is_free = !machine.is_alone && machine.shared < SHARED_MAX;
        machine.shared += usize::from(is_free);
        is_free
    })
    .await;
    Shared(())
}

/// Taken by a test that measures time or load: nothing else runs meanwhile.
pub async fn alone() -> Alone {
    take(|machine| {
        let is_free = !machine.is_alone && machine.shared == 0;
        machine.is_alone |= is_free;
        is_free
    })
    .await;
    Alone(())
}

async fn take(mut try_take: impl FnMut(&mut Use) -> bool) {
    loop {
        let freed = FREED.notified();
        tokio::pin!(freed);
        // Registered before the look: what is given back in between still wakes us.
        freed.as_mut().enable();
        if try_take(&mut lock()) {
            return;
        }
        freed.await;
    }
}

fn lock() -> MutexGuard<'static, Use> {
    USE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        lock().shared -= 1;
        FREED.notify_waiters();
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        lock().is_alone = false;
        FREED.notify_waiters();
    }
}
