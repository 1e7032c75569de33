//! Shards: the threads that take in the cameras, each with its own runtime and its share of them.
//!
//! ```text
//!  camera 1..=128 ─► shard 0 ─┐
//!  camera 129..   ─► shard 1 ─┴─► nothing to do ─► nap ─► epoll: all that came meanwhile ─► tasks, one after the other
//! ```
//!
//! A camera sends a packet every few milliseconds, so 250 of them would wake a thread tens of thousands of times a second;
//! the wake-ups, not the bytes, are what ingest costs. A shard that has nothing to do therefore sleeps (-> nap) before
//! it looks again, and then takes in everything at once. A camera's session and the remuxing that it calls stay on one thread:
//! that wakes nobody and moves no cache line.
//!
//! Belongs here: threads. Does not: what runs on them (-> ingest, egress), who owns it (-> tasks), how long a nap is (-> nap).
//! Limits: [`SHARDS_MAX`], [`CAMERAS_PER_SHARD`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use super::nap;

/// Threads at most, however many cores there are; further cameras share them.
const SHARDS_MAX: usize = 16;

/// Cameras that fill a shard before the next one is used: packed, so that a nap serves many.
const CAMERAS_PER_SHARD: usize = 128;

/// The threads. Dropping them without [`Shards::stop`] leaves them to the process's end.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Shard>,
    stop: CancellationToken,
    placer: Placer,
}

/// Says where the next camera goes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Placer {
    handles: Arc<[Handle]>,
    placed: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Shard {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Shards {
    /// Starts one thread a core.
    ///
    /// # Errors
    /// When the system refuses a thread or its epoll.
    pub(crate) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from).min(SHARDS_MAX);
        let stop = CancellationToken::new();
        let shards: Vec<Shard> =
            (0..count).map(|index| Shard::start(index, stop.clone())).collect::<io::Result<_>>()?;
        let handles = shards.iter().map(|shard| shard.handle.clone()).collect();
        Ok(Self { shards, stop, placer: Placer { handles, placed: Arc::default() } })
    }

    /// For whoever starts cameras.
    pub(crate) fn placer(&self) -> Placer {
        self.placer.clone()
    }

    /// Ends the threads; whoever has tasks on them has joined them before.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        for shard in self.shards {
            if shard.thread.join().is_err() {
                tracing::error!("ingest thread panicked outside of its tasks");
            }
        }
    }
}

impl Placer {
    /// The shard of the next camera.
    pub(crate) fn place(&self) -> Handle {
        let placed = self.placed.fetch_add(1, Ordering::Relaxed);
        let index = placed / CAMERAS_PER_SHARD % self.handles.len().max(1);
        self.handles.get(index).map_or_else(Handle::current, Handle::clone)
    }
}

impl Shard {
    fn start(index: usize, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(sleep_a_while).build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new()
            .name(format!("ingest-{index}"))
            .spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Self { handle, thread })
    }
}

/// Runs on a shard's thread, which has a task for each of its cameras.
fn sleep_a_while() {
    let cameras = Handle::try_current().map_or(0, |shard| shard.metrics().num_alive_tasks());
    std::thread::sleep(nap::next(cameras));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_fill_a_shard_before_the_next_and_their_tasks_run_on_its_thread() {
        let shards = Shards::start().unwrap();
        let names: Vec<String> = (0..CAMERAS_PER_SHARD + 1)
            .map(|_| {
                let handle = shards.placer().place();
                let (sender, receiver) = std::sync::mpsc::sync_channel(1);
                let task = handle.spawn(async move {
                    let name = std::thread::current().name().map(str::to_owned);
                    sender.send(name.unwrap_or_default()).unwrap();
                });
                drop(task);
                receiver.recv().unwrap()
            })
            .collect();
        assert!(names.iter().take(CAMERAS_PER_SHARD).all(|name| name == "ingest-0"), "{names:?}");
        let next = if shards.shards.len() > 1 { "ingest-1" } else { "ingest-0" };
        assert_eq!(names.last().map(String::as_str), Some(next));
        shards.stop();
    }
}
