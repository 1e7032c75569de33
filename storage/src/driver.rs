//! Driver: the one task of this crate: it writes the catalogue and keeps the rules.
//!
//! The owner runs it where its database work belongs. It ends when the disks are stopped and all they said is
//! written.
//! Limits: [`UPDATES_WAITING_MAX`]: beyond it the syncers wait, and what they would say gathers in memory as one
//! entry a file.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::catalogue::{Catalogue, Update};
use crate::clock::Clock;
use crate::retention::{self, AgeRule};

/// Rounds of syncing that wait for the database.
pub(crate) const UPDATES_WAITING_MAX: usize = 4;
/// Between two tries of the same updates: a full disk, a locked database.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The last updates are tried so long when the server stops.
const LAST_TRY: Duration = Duration::from_secs(1);
/// How often retention looks, at most: MediaMTX's half an hour would leave an hour's recordings half an hour too long.
const RETENTION_EVERY_MAX: Duration = Duration::from_secs(60);
/// And at least, however short the retention is.
const RETENTION_EVERY_MIN: Duration = Duration::from_secs(1);

/// See the module's header.
#[derive(Debug)]
pub struct Driver {
    pub(crate) catalogue: Catalogue,
    pub(crate) updates: mpsc::Receiver<Vec<Update>>,
    pub(crate) rules: Vec<AgeRule>,
    pub(crate) clock: Clock,
}

impl Driver {
    /// Works until the disks are stopped.
    pub async fn run(mut self) {
        let mut ticks = interval(self.retention_every());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                updates = self.updates.recv() => match updates {
                    Some(updates) => self.write(updates).await,
                    None => break,
                },
                _ = ticks.tick() => self.retain().await,
            }
        }
        self.catalogue.close().await;
    }

    fn retention_every(&self) -> Duration {
        let shortest = self.rules.iter().map(|rule| rule.delete_after / 2).min();
        shortest.unwrap_or(RETENTION_EVERY_MAX).clamp(RETENTION_EVERY_MIN, RETENTION_EVERY_MAX)
    }

    /// Writes updates, for as long as it takes while the server runs.
    async fn write(&mut self, updates: Vec<Update>) {
        let mut closing: Option<Instant> = None;
        loop {
            match self.catalogue.apply(&updates).await {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, "catalogue does not take updates; trying again"),
            }
            // Retention may be what makes room.
            self.retain().await;
            if self.updates.is_closed() {
                let since = *closing.get_or_insert_with(Instant::now);
                if since.elapsed() >= LAST_TRY {
                    tracing::error!("catalogue is left behind; start-up repair will bring it up to date");
                    break;
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        for update in updates {
            if let Update::File(file) = update
                && let Some(marker) = file.marker
                && let Err(error) = tokio::fs::remove_file(&marker).await
            {
                tracing::warn!(marker = %marker.display(), %error, "marker can't be removed");
            }
        }
    }

    async fn retain(&self) {
        if let Err(error) = retention::pass(&self.catalogue, &self.rules, (self.clock.wall)()).await {
            tracing::error!(%error, "old recordings can't be deleted");
        }
    }
}
