//! Webhooks: events posted to addresses of the operator's, signed.
//!
//! ```text
//!  events ─tell─► queue of each webhook that wants it ─► its task ─POST─► receiver
//!                   └─ full: dropped, counted              └─ not taken: the same again, later and later
//! ```
//!
//! One task a webhook sends one event at a time, so that a receiver gets them in their order, path by path and in all. An event
//! that is not taken holds up those behind it until it is [`GIVE_UP_AFTER`] old. What is queued is in memory: it is lost with
//! the process, but for what can be sent in [`GRACE_AT_END`]. An event may come twice, with the same id.
//!
//! Belongs here: who is told. Does not: what happens (-> `events`).
//! Limits: [`QUEUE_EVENTS`].

mod client;
mod notice;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use media_core::path_name::PathName;
use serde_json::Value as Json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, info_span, warn};

use self::notice::Notice;
use crate::config::webhooks::WebhookConfig;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::telemetry::hook_metrics::WebhookMetrics;

/// Events that wait for one webhook, half a kilobyte each; a further one is dropped.
const QUEUE_EVENTS: usize = 4096;

/// From an attempt to the next; doubles up to the longest.
const BACK_OFF_FIRST: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(60);

/// An event that nobody took for so long is dropped.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3600);

/// What waits when the server ends is sent in this time, or never.
const GRACE_AT_END: Duration = Duration::from_secs(2);

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventKind {
    /// A path's media comes.
    PathOnline,
    /// It comes no more.
    PathOffline,
    /// Somebody reads a path; all HLS viewers are one.
    ReaderConnected,
    /// And does not any more.
    ReaderDisconnected,
    /// A recorded file is complete, on the disk and in the catalogue.
    SegmentCompleted,
    /// Nothing is recorded of a path that should be.
    GapOpened,
    /// It is recorded again.
    GapClosed,
    /// A disk of recordings is too full, or not any more.
    DiskAlarm,
}

impl EventKind {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::PathOnline,
        Self::PathOffline,
        Self::ReaderConnected,
        Self::ReaderDisconnected,
        Self::SegmentCompleted,
        Self::GapOpened,
        Self::GapClosed,
        Self::DiskAlarm,
    ];

    /// Its name in the configuration and in what is sent.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PathOnline => "path.online",
            Self::PathOffline => "path.offline",
            Self::ReaderConnected => "reader.connected",
            Self::ReaderDisconnected => "reader.disconnected",
            Self::SegmentCompleted => "recording.segment.completed",
            Self::GapOpened => "recording.gap.opened",
            Self::GapClosed => "recording.gap.closed",
            Self::DiskAlarm => "disk.alarm",
        }
    }
}

/// All webhooks.
pub(crate) struct Webhooks {
    tasks: TaskSet,
    outlets: ArcSwap<Vec<Arc<Outlet>>>,
    counters: Arc<Counters>,
}

/// One webhook as those see it who tell.
struct Outlet {
    config: WebhookConfig,
    queue: mpsc::Sender<Arc<Notice>>,
    is_full_told: AtomicBool,
    /// Cancelled when it is configured no more.
    removed: CancellationToken,
}

/// Of all webhooks since the server's start.
#[derive(Default)]
struct Counters {
    delivered: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
}

impl Webhooks {
    /// None yet. Those to come are tasks of `tasks`, on a runtime where they hold up no media.
    pub(crate) fn new(tasks: &TaskSet, home: &Handle) -> Self {
        let (outlets, counters) = (ArcSwap::default(), Arc::default());
        Self { tasks: tasks.on(Some(home.clone())), outlets, counters }
    }

    /// Makes the webhooks those of a configuration; one that stays keeps its queue.
    pub(crate) fn configure(&self, wanted: &[WebhookConfig]) {
        let before = self.outlets.load_full();
        let of = |config: &WebhookConfig| before.iter().find(|outlet| outlet.config == *config).cloned();
        let outlets: Vec<_> =
            wanted.iter().map(|config| of(config).unwrap_or_else(|| self.start(config))).collect();
        for gone in before.iter().filter(|outlet| !wanted.contains(&outlet.config)) {
            gone.removed.cancel();
        }
        self.outlets.store(Arc::new(outlets));
    }

    fn start(&self, config: &WebhookConfig) -> Arc<Outlet> {
        let (queue, notices) = mpsc::channel(QUEUE_EVENTS);
        let removed = CancellationToken::new();
        let courier = Courier {
            config: config.clone(),
            notices,
            counters: Arc::clone(&self.counters),
            removed: removed.clone(),
            ended: self.tasks.token().clone(),
            current: None,
            is_failing: false,
        };
        self.tasks.spawn(info_span!("webhook", host = config.url.host()), courier.run());
        Arc::new(Outlet { config: config.clone(), queue, is_full_told: AtomicBool::new(false), removed })
    }

    /// Tells whoever wants to know; never waits.
    pub(crate) fn tell(&self, kind: EventKind, path: Option<&PathName>, data: impl FnOnce() -> Json) {
        let outlets = self.outlets.load();
        let mut wanting = outlets.iter().filter(|outlet| outlet.config.events.contains(&kind)).peekable();
        if wanting.peek().is_none() {
            return;
        }
        let notice = Arc::new(Notice::new(kind, path, &data(), clock::wall_now()));
        for outlet in wanting {
            if outlet.queue.try_send(Arc::clone(&notice)).is_ok() {
                outlet.is_full_told.store(false, Ordering::Relaxed);
                continue;
            }
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if !outlet.is_full_told.swap(true, Ordering::Relaxed) {
                let host = outlet.config.url.host();
                warn!(host, max = QUEUE_EVENTS, "webhook's queue is full: events are dropped");
            }
        }
    }

    /// For the metrics.
    pub(crate) fn snapshot(&self) -> WebhookMetrics {
        let outlets = self.outlets.load();
        let queued: usize = outlets.iter().map(|outlet| QUEUE_EVENTS - outlet.queue.capacity()).sum();
        WebhookMetrics {
            queued: u64::try_from(queued).unwrap_or(u64::MAX),
            delivered: self.counters.delivered.load(Ordering::Relaxed),
            retried: self.counters.retried.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Sends one webhook's events, one after the other.
struct Courier {
    config: WebhookConfig,
    notices: mpsc::Receiver<Arc<Notice>>,
    counters: Arc<Counters>,
    removed: CancellationToken,
    ended: CancellationToken,
    /// Not taken yet.
    current: Option<Arc<Notice>>,
    is_failing: bool,
}

impl Courier {
    async fn run(mut self) {
        let (removed, ended) = (self.removed.clone(), self.ended.clone());
        tokio::select! {
            () = self.deliver_all() => {}
            () = removed.cancelled() => {}
            () = ended.cancelled() => {
                let rest = tokio::time::timeout(GRACE_AT_END, self.deliver_rest());
                if rest.await.is_err() {
                    warn!("webhook does not take its last events in time");
                }
            }
        }
    }

    async fn deliver_all(&mut self) {
        while let Some(notice) = self.notices.recv().await {
            self.current = Some(Arc::clone(&notice));
            self.deliver(&notice).await;
            self.current = None;
        }
    }

    /// What is there, once each; that too which was under way, and may have been taken.
    async fn deliver_rest(&mut self) {
        self.notices.close();
        if let Some(notice) = self.current.take() {
            self.deliver_once(&notice).await;
        }
        while let Some(notice) = self.notices.recv().await {
            self.deliver_once(&notice).await;
        }
    }

    async fn deliver_once(&mut self, notice: &Notice) {
        if !self.attempt(notice).await {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn deliver(&mut self, notice: &Notice) {
        let mut back_off = BACK_OFF_FIRST;
        while !self.attempt(notice).await {
            let age_us = clock::wall_now().us_since(notice.at);
            if u128::try_from(age_us).unwrap_or(0) >= GIVE_UP_AFTER.as_micros() {
                self.counters.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.counters.retried.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(back_off).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// Sends an event; whether it was taken.
    async fn attempt(&mut self, notice: &Notice) -> bool {
        const SECOND_US: i64 = 1_000_000;
        let timestamp = clock::wall_now().unix_us() / SECOND_US;
        match client::post(&self.config, notice, timestamp).await {
            Ok(()) => {
                self.counters.delivered.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut self.is_failing) {
                    info!("webhook takes events again");
                }
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(%error, "webhook does not take events; they are tried again");
                }
                false
            }
        }
    }
}
