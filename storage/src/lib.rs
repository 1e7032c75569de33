//! Storage: recordings on disk, their catalogue, retention and playback.
//!
//! ```text
//!  media_core::egress::recorder ─commands─► disk: writer ─► segment files
//!                                             └─ syncer ─► Driver ─► catalogue (SQL) ────► Recordings: spans, clips
//!                                                            ├─ Keeper: holds, age, quotas, space; disks that come and go
//!                                                            └─ Uploads: closed files ─► bucket (S3), which playback reads too
//!  start-up, and when a disk is back: repair of what was open
//!  Ledger: holds, deletions, figures, for those who administer
//! ```
//!
//! It spawns no task: the disks' threads are owned by [`Storage`] and joined by [`Storage::stop`]; the one task is the
//! [`Driver`], which the owner runs. It reads no clock: see [`Clock`].
//!
//! Belongs here: files and rows. Does not: when a file begins and ends (-> `media_core::egress::recorder`), HTTP
//! (-> server).
#![deny(clippy::indexing_slicing)]

mod adopt;
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "there is no bucket to use it for"))]
mod bucket;
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "there is no bucket to use it for"))]
mod bucket_check;
mod bucket_config;
mod catalogue;
mod check;
mod clock;
mod continuity;
mod deletion;
mod disk;
mod driver;
mod durable;
pub mod export;
mod figures;
#[cfg(test)]
mod fuzz;
mod holds;
mod keeper;
mod ledger;
mod levels;
mod listener;
mod marker;
mod paging;
mod playback;
mod record_path;
mod repair;
mod reserve;
mod root;
mod seal;
mod segment_file;
mod settings;
mod source;
#[cfg(test)]
mod test_database;
#[cfg(test)]
mod tests;
mod thumbnails;
#[cfg_attr(not(feature = "s3"), allow(dead_code, reason = "there is no bucket to use it for"))]
mod upload;
mod walk;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use media_core::path_name::PathName;
use tokio::sync::mpsc;

pub use bucket::HAS_BUCKETS;
pub use bucket_config::{Addressing, BucketConfig, BucketCredentials, ObjectEncryption, PART_BYTES};
pub use catalogue::{CatalogueError, DatabaseUrl, DatabaseUrlError};
pub use check::{CheckReport, CheckState, Depth, Finding};
pub use clock::Clock;
pub use deletion::{DeletedFigures, Deletion, DeletionFilter, Rule};
pub use disk::{DiskSnapshot, Failure, Refused, StreamSnapshot, StreamWriter};
pub use driver::Driver;
pub use figures::{Forecast, PathFigures, PathRule, RootFigures, StorageFigures};
pub use holds::{ACTOR_BYTES_MAX, HOLD_REASON_BYTES_MAX, Hold, HoldFilter, NewHold, Release};
pub use keeper::RetentionConfig;
pub use ledger::{Ledger, Ordered};
pub use levels::{DiskLevels, Space};
pub use listener::{DiskAlarm, RecordingListener};
pub use media_core::remux::fmp4::progressive::TooMany;
pub use paging::{Paged, Paging};
pub use playback::{
    Clip, ClipFormat, ClipPlan, ClipReader, ClipRequest, GapRule, OpenGop, PicturePlace, PlaybackError,
    Recordings, Span,
};
pub use record_path::{RecordPath, RecordPathError};
pub use repair::RepairReport;
pub use root::Condition;
pub use settings::{SettingsRow, SettingsStore};
pub use thumbnails::{ThumbnailMaker, ThumbnailPlace};
pub use upload::BucketFigures;

use bucket::Bucket;
use catalogue::{Catalogue, Update};
use check::{Checker, Checks};
use deletion::Deleter;
use disk::Disk;
use keeper::{InForce, Keeper, Premises};
use listener::Telling;
use root::Roots;
use upload::{Uploads, UploadsSetup};

/// What is stored where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// The catalogue.
    pub database: DatabaseUrl,
    /// The folders that may hold recordings: those of all `recordPath`s.
    pub roots: Vec<PathBuf>,
    /// What is kept.
    pub retention: RetentionConfig,
    /// The bucket that closed files are copied to.
    pub bucket: Option<BucketConfig>,
}

/// A disk's threads can't be started.
#[derive(Debug, thiserror::Error)]
#[error("threads for {} can't be started: {error}", root.display())]
pub struct DiskError {
    root: PathBuf,
    error: std::io::Error,
}

/// The disks that are written to.
#[derive(Debug)]
pub struct Storage {
    ledger: Ledger,
    updates: mpsc::Sender<Vec<Update>>,
    disks: BTreeMap<PathBuf, Disk>,
    maker: Option<Arc<dyn ThumbnailMaker>>,
}

impl Storage {
    /// Opens the catalogue, takes the disks that are there into use, repairs what was open on them and finishes what was
    /// being deleted. Nothing may be recorded yet. A disk that is not there is taken into use once it is.
    ///
    /// # Errors
    /// [`CatalogueError`] when the catalogue can't be used; without it nothing is recorded.
    pub async fn open(config: StorageConfig, clock: Clock) -> Result<(Self, Driver), CatalogueError> {
        let bucket = config.bucket.as_ref().and_then(Bucket::new);
        let catalogue = Catalogue::open(&config.database).await?.with_bucket(bucket.clone());
        let roots = Roots::new(config.roots);
        let deleter = Deleter { catalogue: catalogue.clone(), roots: roots.clone(), counts: Arc::default() };
        let local_retention = config.retention.local_retention;
        let uploads = bucket.zip(config.bucket).map(|(bucket, config)| {
            let setup = UploadsSetup {
                bucket,
                uploads_max: config.uploads_max,
                bytes_per_second_max: config.bytes_per_second_max,
                local_retention,
            };
            Uploads::new(deleter.clone(), setup, clock)
        });
        let in_force = InForce::new(config.retention, roots.clone());
        let (retention, _) = in_force.get();
        let premises = Premises { deleter, config: retention, in_force, clock, kept: Arc::default() };
        let mut keeper = Keeper::new(premises.clone());
        catalogue.keep_reserve();
        keeper.adopt_absent((clock.wall)()).await?;
        // Of folders that are configured no more: what was open there is closed all the same.
        let report =
            repair::repair(&catalogue, &[], |name| roots.of(name).is_none() && name.exists()).await?;
        if report != RepairReport::default() {
            tracing::info!(?report, "recordings repaired");
        }
        premises.deleter.finish().await?;
        let (sender, receiver) = mpsc::channel(driver::UPDATES_WAITING_MAX);
        let (orders, ordered) = mpsc::channel(1);
        let checker =
            Checker { deleter: premises.deleter.clone(), config: Arc::clone(&premises.config), clock };
        let in_force = premises.in_force.clone();
        let checks = Checks { checker, in_force, orders: ordered, state: Arc::default() };
        let seen = uploads.as_ref().map(Uploads::state);
        let ledger = Ledger { premises, orders, checks: Arc::clone(&checks.state), uploads: seen };
        let telling = Telling::default();
        let driver = Driver { catalogue, updates: receiver, keeper, checks, uploads, telling };
        Ok((Self { ledger, updates: sender, disks: BTreeMap::new(), maker: None }, driver))
    }

    /// Has thumbnails made by somebody, for what is recorded to disks that are first used from now on.
    pub fn make_thumbnails(&mut self, maker: Arc<dyn ThumbnailMaker>) {
        self.maker = Some(maker);
    }

    /// For those who administer.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// For those who read.
    pub fn recordings(&self) -> Recordings {
        Recordings { catalogue: self.ledger.premises.deleter.catalogue.clone() }
    }

    /// Changes what is kept, and adds folders that may hold recordings. The rules notice with their next pass.
    pub fn reconfigure(&self, retention: RetentionConfig, roots: Vec<PathBuf>) {
        self.ledger.premises.in_force.change(retention, roots);
    }

    /// A writer for one stream, and where its failures come; starts the disk's threads when it is the first there.
    ///
    /// # Errors
    /// [`DiskError`] when the system has no more threads.
    pub fn stream(
        &mut self,
        path: &PathName,
        template: RecordPath,
    ) -> Result<(StreamWriter, mpsc::Receiver<Failure>), DiskError> {
        let folder = template.root().to_owned();
        let (_, roots) = self.ledger.premises.in_force.get();
        let known = roots.iter().find(|root| root.folder == folder).map(Arc::clone);
        let disk = match self.disks.entry(folder) {
            Entry::Occupied(disk) => disk.into_mut(),
            Entry::Vacant(place) => {
                let folder = place.key().clone();
                let failed = |error| DiskError { root: folder.clone(), error };
                let root = known.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
                let disk =
                    Disk::start(root, self.ledger.premises.clock, self.updates.clone(), self.maker.clone());
                place.insert(disk.map_err(failed)?)
            }
        };
        Ok(disk.stream(path.clone(), template))
    }

    /// Counters of all disks.
    pub fn disks(&self) -> Vec<DiskSnapshot> {
        self.disks.values().map(Disk::snapshot).collect()
    }

    /// Writes what is queued, closes and syncs all files, and ends the threads; the driver ends then. All stream writers
    /// must be gone. Blocks.
    pub fn stop(self) {
        drop(self.updates);
        self.disks.into_values().for_each(Disk::stop);
    }
}

/// Compares catalogue, disks and bucket and puts right what can be; a server may run beside it.
///
/// # Errors
/// [`CatalogueError`] when the catalogue can't be used.
pub async fn check(config: StorageConfig, clock: Clock, depth: Depth) -> Result<CheckReport, CatalogueError> {
    let bucket = config.bucket.as_ref().and_then(Bucket::new);
    let catalogue = Catalogue::open(&config.database).await?.with_bucket(bucket);
    let roots = Roots::new(config.roots);
    for root in roots.iter() {
        match adopt::adopt(&catalogue, root, (clock.wall)()).await? {
            Ok(()) => root.set_condition(Condition::Usable),
            Err(refusal) => tracing::error!(root = %root.folder.display(), %refusal, "folder is passed over"),
        }
    }
    let deleter = Deleter { catalogue: catalogue.clone(), roots, counts: Arc::default() };
    let report = Checker { deleter, config: Arc::new(config.retention), clock }.run(depth).await;
    catalogue.close().await;
    report
}
