//! Report: what a floor says on standard output, when it is steady, and when it ends.

use std::future::Future;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What has been moved so far, by all tasks of a floor.
#[derive(Debug, Default)]
pub(super) struct Counters {
    bytes: AtomicU64,
    frames: AtomicU64,
}

impl Counters {
    pub(super) fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    }

    pub(super) fn add_frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

/// Whether a floor knows frames: one that does not look at its bytes has none to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    Counted,
    Unseen,
}

/// The signals that end a floor.
#[derive(Debug)]
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on the signals are waited for.
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Ends when a signal has come.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One task's word that its media flows, given once.
#[derive(Debug)]
pub(super) struct Steady {
    said: Option<mpsc::Sender<()>>,
    bytes_left: usize,
}

impl Steady {
    /// To be said after `bytes_left` bytes have been seen.
    pub(super) fn after(bytes_left: usize, said: mpsc::Sender<()>) -> Self {
        Self { said: Some(said), bytes_left }
    }

    /// Notes bytes that were moved.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub(super) async fn saw(&mut self, bytes: usize) -> anyhow::Result<()> {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        if self.bytes_left == 0
            && let Some(said) = self.said.take()
        {
            said.send(()).await.context("floor has gone")?;
        }
        Ok(())
    }
}

/// Floors are compared with the server's media runtime, which has a worker for each core.
pub(super) fn require_worker_threads() -> anyhow::Result<()> {
    if Handle::current().runtime_flavor() != RuntimeFlavor::MultiThread {
        bail!("a floor needs the server's kind of runtime: multi-thread with default workers");
    }
    Ok(())
}

/// Waits until each of `count` tasks has said through `steady` that its media flows.
///
/// # Errors
/// When a task ends before.
pub(super) async fn all_steady(
    count: usize,
    mut steady: mpsc::Receiver<()>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut seen = 0;
    while seen < count {
        tokio::select! {
            biased;
            Some(()) = steady.recv() => seen += 1,
            ended = tasks.join_next() => return Err(lost(ended)),
        }
    }
    Ok(())
}

/// Says that the floor is steady, waits for the end, and says what was moved in between.
///
/// # Errors
/// When a task ends before the floor is told to stop.
pub(super) async fn measure(
    pid: u32,
    counters: &Counters,
    frames: Frames,
    mut stop: Stop,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let since = (Instant::now(), counters.bytes(), counters.frames());
    say(&json!({ "ready": true, "pid": pid }))?;
    tokio::select! {
        () = stop.wait() => {}
        ended = tasks.join_next() => return Err(lost(ended)),
    }
    let frames = (frames == Frames::Counted).then(|| counters.frames() - since.2);
    let secs = since.0.elapsed().as_secs_f64();
    say(&json!({ "bytes": counters.bytes() - since.1, "frames": frames, "secs": secs }))?;
    Ok(())
}

/// One line of JSON on standard output.
pub(super) fn say(line: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

type Ended = Option<Result<anyhow::Result<()>, tokio::task::JoinError>>;

fn lost(ended: Ended) -> anyhow::Error {
    match ended {
        Some(Ok(Ok(()))) => anyhow::anyhow!("a peer closed its connection"),
        Some(Ok(Err(error))) => error.context("a peer was lost"),
        Some(Err(error)) => anyhow::Error::new(error).context("a task of the floor failed"),
        None => anyhow::anyhow!("the floor has no peers"),
    }
}

/// Runs `tasks` to their first end, for sinks: they end with their sender.
pub(super) async fn until_stdin_closes(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut sink = tokio::io::sink();
    tokio::select! {
        ended = work => ended,
        closed = tokio::io::copy(&mut stdin, &mut sink) => closed.map(drop).context("read standard input"),
    }
}
