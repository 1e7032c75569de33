//! Tasks: the only spawner. Every task has a name and a span, is owned, cancelled and joined.
//!
//! A panic ends its task only: it is counted in [`TaskSet::panics`], logged once with the task's
//! name, and the owner decides whether to start again.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, error, warn};

/// How a supervised future ended.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    /// It returned.
    Done(T),
    /// It panicked with this message.
    Panicked(String),
}

/// Tasks with one owner: spawned here, cancelled together, joined together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TaskSet {
    name: &'static str,
    tracker: TaskTracker,
    token: CancellationToken,
    panics: Arc<AtomicU64>,
    /// Where tasks run; `None` for the runtime of whoever spawns.
    home: Option<Handle>,
}

impl TaskSet {
    /// An empty set that nobody above cancels.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
            panics: Arc::default(),
            home: None,
        }
    }

    /// The same set, whose tasks run on `home` (`None`: on the runtime of whoever spawns).
    pub(crate) fn on(&self, home: Option<Handle>) -> Self {
        Self { home, ..self.clone() }
    }

    /// Some of this set's tasks, which can be cancelled by themselves (by their token); joined with all others.
    pub(crate) fn branch(&self) -> Self {
        Self { token: self.token.child_token(), ..self.clone() }
    }

    /// Cancelled when the set is shut down.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Spawns `task` under `span`; a panic in it is logged and counted, nothing else.
    pub(crate) fn spawn(&self, span: Span, task: impl Future<Output = ()> + Send + 'static) {
        let panics = Arc::clone(&self.panics);
        let task = async move {
            if let Ended::Panicked(message) = catch_panic(task).await {
                panics.fetch_add(1, Ordering::Relaxed);
                error!(message, "task panicked; its work ends, all other tasks go on");
            }
        };
        // The only spawn of the program: the tracker owns the task until `shutdown` joins it.
        drop(match &self.home {
            Some(home) => self.tracker.spawn_on(task.instrument(span), home),
            None => self.tracker.spawn(task.instrument(span)),
        });
    }

    /// Counts a panic that the caller caught itself.
    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Panics caught since the start, in this set and those it shares the count with.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Cancels every task and waits for them to end, `patience` at most.
    pub(crate) async fn shutdown(&self, patience: Duration) {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            warn!(
                set = self.name,
                tasks = self.tracker.len(),
                "tasks did not end in time and are left behind"
            );
        }
        if self.panics() > 0 {
            warn!(set = self.name, panics = self.panics(), "tasks panicked while the server ran");
        }
    }
}

/// Runs `future` to its end, turning a panic into a value.
pub(crate) async fn catch_panic<T>(future: impl Future<Output = T>) -> Ended<T> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(value) => Ended::Done(value),
        Err(payload) => Ended::Panicked(panic_message(payload.as_ref())),
    }
}

/// What a caught panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_ends_its_own_task_and_is_counted() {
        let tasks = TaskSet::new("test");
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tasks.spawn(Span::none(), async { panic!("broken camera") });
        tasks.spawn(Span::none(), async move { sender.send(7).expect("receiver lives") });
        assert_eq!(receiver.await, Ok(7));
        tasks.shutdown(Duration::from_secs(5)).await;
        assert_eq!(tasks.panics(), 1);
    }

    #[tokio::test]
    async fn shutdown_cancels_and_joins() {
        let tasks = TaskSet::new("test");
        let token = tasks.token().clone();
        tasks.spawn(Span::none(), async move { token.cancelled().await });
        tasks.shutdown(Duration::from_secs(5)).await;
        assert!(tasks.tracker.is_empty());
    }
}
