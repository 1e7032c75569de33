//! Driver: the one task of this crate: it writes the catalogue, keeps the rules and uploads.
//!
//! The owner runs it where its database work belongs. It ends when the disks are stopped and all they said is
//! written. The rules are kept beside the writing, so that neither waits for the other.
//! Limits: [`UPDATES_WAITING_MAX`]: beyond it the syncers wait, and what they would say gathers in memory as one
//! entry a file.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::catalogue::{Catalogue, Update};
use crate::check::Checks;
use crate::keeper::Keeper;
use crate::listener::{RecordingListener, Telling};
use crate::upload::Uploads;

/// Rounds of syncing that wait for the database.
pub(crate) const UPDATES_WAITING_MAX: usize = 4;
/// Between two tries of the same updates: a full disk, a locked database, one that is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The last updates are tried so long when the server stops.
const LAST_TRY: Duration = Duration::from_secs(1);
/// Between two passes of the rules: a disk that fills up at 1 Gbit/s gains 125 MB.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// See the module's header.
#[derive(Debug)]
pub struct Driver {
    pub(crate) catalogue: Catalogue,
    pub(crate) updates: mpsc::Receiver<Vec<Update>>,
    pub(crate) keeper: Keeper,
    pub(crate) checks: Checks,
    /// Where a bucket is configured.
    pub(crate) uploads: Option<Uploads>,
    pub(crate) telling: Telling,
}

impl Driver {
    /// Tells somebody of what is recorded from now on.
    pub fn tell(&mut self, listener: Arc<dyn RecordingListener>) {
        self.keeper.listener = Some(Arc::clone(&listener));
        self.telling = Telling::to(listener);
    }

    /// Works until the disks are stopped.
    pub async fn run(self) {
        let Self { catalogue, mut updates, keeper, checks, uploads, mut telling } = self;
        tokio::select! {
            () = write_all(&catalogue, &mut updates, &mut telling) => {}
            () = keep(keeper, checks) => {}
            () = upload(uploads) => {}
        }
        catalogue.close().await;
    }
}

/// Never ends. What is under way when the server stops is begun anew at the next start.
async fn upload(uploads: Option<Uploads>) {
    match uploads {
        // Boxed: the SDK's requests are large.
        Some(uploads) => Box::pin(uploads.run()).await,
        None => std::future::pending().await,
    }
}

/// Never ends.
async fn keep(mut keeper: Keeper, checks: Checks) {
    let rules = async {
        let mut ticks = interval(KEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            keeper.pass().await;
        }
    };
    // An archive takes hours to be looked through; the rules go on.
    tokio::join!(rules, checks.run());
}

async fn write_all(catalogue: &Catalogue, updates: &mut mpsc::Receiver<Vec<Update>>, telling: &mut Telling) {
    while let Some(some) = updates.recv().await {
        // What the catalogue did not take keeps its markers: by them the next start finds it.
        if write(catalogue, &some, updates).await {
            telling.tell(&some);
            remove_markers(some).await;
        }
    }
}

/// Writes updates, for as long as it takes while the server runs; whether that was done.
async fn write(catalogue: &Catalogue, updates: &[Update], queue: &mpsc::Receiver<Vec<Update>>) -> bool {
    let mut over = pin!(last_try(queue));
    let mut told: Option<String> = None;
    loop {
        let attempt = async {
            if told.is_some() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            catalogue.apply(updates).await
        };
        let applied = tokio::select! {
            applied = attempt => applied,
            // A database that is away takes its time to be so; the server's end does not wait for that.
            () = &mut over, if told.is_some() => {
                tracing::error!("catalogue is left behind; start-up repair will bring it up to date");
                return false;
            }
        };
        match applied {
            Ok(()) => {
                if told.is_some() {
                    tracing::info!("catalogue takes updates again");
                }
                return true;
            }
            // Once, and not each second of an hour.
            Err(error) if told.as_ref() != Some(&error.to_string()) => {
                tracing::error!(%error, "catalogue does not take updates; trying again");
                told = Some(error.to_string());
            }
            Err(_) => {}
        }
    }
}

/// Ends when the disks have been stopped for [`LAST_TRY`].
async fn last_try(queue: &mpsc::Receiver<Vec<Update>>) {
    let mut looks = interval(LAST_TRY / 10);
    while !queue.is_closed() {
        looks.tick().await;
    }
    tokio::time::sleep(LAST_TRY).await;
}

async fn remove_markers(updates: Vec<Update>) {
    for update in updates {
        if let Update::File(file) = update
            && let Some(marker) = file.marker
            && let Err(error) = tokio::fs::remove_file(&marker).await
        {
            tracing::warn!(marker = %marker.display(), %error, "marker can't be removed");
        }
    }
}
