//! Poller: asks the API at a steady rate, and how long each answer took.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

/// What was asked and answered since the last [`Poller::take`].
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// From the request to the last byte, milliseconds.
    pub(crate) took_ms: Vec<f64>,
    /// Requests that were not answered well.
    pub(crate) failed: u64,
}

/// A poller at work; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Poller {
    answers: Arc<Mutex<Answers>>,
    task: JoinHandle<()>,
}

impl Poller {
    /// Begins asking `url`, `per_s` times a second.
    pub(crate) fn start(url: String, per_s: u32) -> Self {
        let answers = Arc::new(Mutex::new(Answers::default()));
        let task = tokio::spawn(poll(url, Duration::from_secs(1) / per_s.max(1), Arc::clone(&answers)));
        Self { answers, task }
    }

    /// The answers since the last call.
    pub(crate) fn take(&self) -> Answers {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn poll(url: String, every: Duration, answers: Arc<Mutex<Answers>>) {
    let client = reqwest::Client::new();
    let mut due = tokio::time::interval(every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let asked = Instant::now();
        let took = ask(&client, &url).await.map(|()| asked.elapsed().as_secs_f64() * 1000.0);
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        match took {
            Ok(took_ms) => answers.took_ms.push(took_ms),
            Err(_) => answers.failed += 1,
        }
    }
}

async fn ask(client: &reqwest::Client, url: &str) -> reqwest::Result<()> {
    client.get(url).send().await?.error_for_status()?.bytes().await.map(|_| ())
}
