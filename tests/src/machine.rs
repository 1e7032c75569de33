//! The machine: two cores that tests share; a test that measures has it alone.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::const_new(());

/// Taken by a test that checks behaviour: others may run beside it.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Taken by a test that measures time or load: nothing else runs meanwhile.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}
