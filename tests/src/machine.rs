//! The machine: two cores that tests share; a test that measures has it alone.
//!
//! Those that measure wait until no other is running, and those that share do not wait for the waiting: else the machine would
//! stand half idle before each measurement, until the longest of the others has ended. As each waiting one holds a thread of
//! the test runner, they get their turn in batches.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
        let is_free = !machine.is_alone;
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
