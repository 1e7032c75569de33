//! Recorders: from the remuxer of each recorded path to its disk's queue.
//!
//! ```text
//!  Remuxer ─events─► media_core::egress::recorder ─commands─► storage (disk threads)
//!                           ▲ refused: queue full     │
//!                           └──── failed: disk ◄──────┘
//! ```
//!
//! A recorder takes no seat at its stream (as in MediaMTX, an on-demand source runs for viewers, and is recorded meanwhile)
//! and holds no one up: what the disk does not take is a gap.
//!
//! Belongs here: who is recorded, changes of that, the order of stop. Does not: when files begin and end
//! (-> `media_core::egress::recorder`), writing (-> storage).

mod opening;
mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use control_api::storage::Switch;
use media_core::egress::recorder::{Gap, GapReason, Recorder, RecorderStats};
use media_core::gate::{Action, CameraGrant, Gate};
use media_core::path_name::PathName;
use media_core::remux::fmp4::SegmenterConfig;
use storage::{
    CatalogueError, CheckReport, Clock, Depth, DiskSnapshot, Driver, Ledger, PathRule, Recordings,
    RetentionConfig, Storage, StorageConfig, StreamSnapshot,
};

pub(crate) use self::opening::Recording;
use self::session::Session;
use crate::config::pattern::PathPattern;
use crate::config::resolved::{Config, HlsConfig, RecordConfig};
use crate::paths::Paths;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::stream::{Attachment, Sink, Stream};

/// Segments of recorders; files are cut where one begins. HLS's own default.
const SEGMENT: Duration = Duration::from_secs(1);

/// The clocks as storage reads them.
const CLOCK: Clock = Clock { wall: clock::wall_now, monotonic: clock::now };

/// Recording, once it could be started: a catalogue that can't be opened is tried again. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct RecordersSlot(Arc<OnceLock<Arc<Recorders>>>);

impl RecordersSlot {
    /// What records, if it could be started.
    pub(crate) fn get(&self) -> Option<&Arc<Recorders>> {
        self.0.get()
    }

    /// Fills the slot, once.
    pub(crate) fn set(&self, recorders: Arc<Recorders>) {
        self.0.get_or_init(|| recorders);
    }
}

/// All recorders and the storage they write to.
pub(crate) struct Recorders {
    inner: Mutex<Option<Inner>>,
    /// Held by whoever changes who is recorded.
    changing: tokio::sync::Mutex<()>,
    recordings: Recordings,
    ledger: Ledger,
    tasks: TaskSet,
}

/// Paths to be recorded: their streams, and how.
type RecordedPaths = BTreeMap<PathName, (Arc<Stream>, RecordConfig)>;

struct Inner {
    storage: Storage,
    recorded: Vec<Recorded>,
}

/// What runs for one path.
struct Recorded {
    path: PathName,
    record: RecordConfig,
    writer: storage::StreamWriter,
    session: Arc<Session>,
    stream: Arc<Stream>,
    grant: CameraGrant,
    segmenter: SegmenterConfig,
    /// `None` while an operator does not want it.
    attachment: Option<Attachment>,
}

/// What one recorder did so far.
#[derive(Clone, Debug)]
pub(crate) struct RecorderSnapshot {
    /// The path.
    pub(crate) path: PathName,
    /// Files, parts and gaps.
    pub(crate) recorder: RecorderStats,
    /// A file is open.
    pub(crate) is_recording: bool,
    /// It is to be recorded; an operator may have turned it off.
    pub(crate) is_wanted: bool,
    /// Its queue and what was written.
    pub(crate) stream: StreamSnapshot,
    /// Times it was started again after a panic.
    pub(crate) restarts: u64,
}

impl Recorded {
    /// Begins with the next random access point, or ends with the last whole part; live goes on as it did.
    fn switch(&mut self, wanted: Switch) {
        match wanted {
            Switch::On if self.attachment.is_none() => self.attach(),
            Switch::Off if self.attachment.take().is_some() => self.session.stop(GapReason::Operator),
            Switch::On | Switch::Off => {}
        }
    }

    fn attach(&mut self) {
        let sink: Arc<dyn Sink> = Arc::<Session>::clone(&self.session);
        self.attachment = Some(self.stream.attach(&self.grant, sink, self.segmenter));
    }

    /// Does what another configuration says, where that can be done here.
    fn change(&mut self, record: &RecordConfig, segmenter: SegmenterConfig, storage: &mut Storage) {
        if self.record.path != record.path {
            match storage.stream(&self.path, record.path.clone()) {
                Ok(stream) => {
                    self.writer = stream.0.clone();
                    self.session.move_to(stream, record.segment_duration);
                }
                Err(error) => {
                    tracing::error!(path = %self.path, %error, "path is recorded where it was");
                    return;
                }
            }
        } else if self.record.segment_duration != record.segment_duration {
            self.session.set_segment_duration(record.segment_duration);
        }
        self.writer.keep_thumbnails(record.thumbnails_every);
        self.record.clone_from(record);
        if self.segmenter != segmenter {
            self.segmenter = segmenter;
            if self.attachment.take().is_some() {
                self.session.stop(GapReason::Operator);
                self.attach();
            }
        }
    }
}

/// Whether a configuration needs storage at all.
pub(crate) fn is_wanted(config: &Config) -> bool {
    let is_recorded = config.paths.values().any(|path| path.record.is_some());
    config.playback.is_some() || is_recorded || config.patterns.iter().any(PathPattern::is_recorded)
}

/// Opens storage: catalogue, repair. To be awaited where the driver will run.
///
/// # Errors
/// [`CatalogueError`].
pub(crate) async fn open(config: &Config) -> Result<(Storage, Driver), CatalogueError> {
    Storage::open(storage_config(config, named(config)), CLOCK).await
}

/// Compares the recordings of a configuration with their catalogue.
///
/// # Errors
/// [`CatalogueError`].
pub(crate) async fn check(config: &Config) -> Result<CheckReport, CatalogueError> {
    storage::check(storage_config(config, named(config)), CLOCK, Depth::Parts).await
}

/// The recorded paths that have an entry of their own.
fn named(config: &Config) -> impl Iterator<Item = (&PathName, &RecordConfig)> + Clone {
    config.paths.iter().filter_map(|(name, path)| Some((name, path.record.as_ref()?)))
}

/// Storage's settings, for paths that are recorded so.
fn storage_config<'a>(
    config: &Config,
    recorded: impl Iterator<Item = (&'a PathName, &'a RecordConfig)> + Clone,
) -> StorageConfig {
    let patterns = config.patterns.iter().filter_map(PathPattern::record);
    let records = recorded.clone().map(|(_, record)| record).chain(patterns);
    let mut templates: Vec<_> = records.map(|record| record.path.clone()).collect();
    // Mostly one for all.
    templates.dedup();
    let mut roots: Vec<PathBuf> = templates.iter().map(|template| template.root().to_owned()).collect();
    roots.sort_unstable();
    roots.dedup();
    let rule = |(name, record): (&PathName, &RecordConfig)| PathRule {
        path: name.clone(),
        delete_after: record.delete_after,
        quota_bytes: record.quota_bytes,
        root: record.path.root().to_owned(),
    };
    let retention = RetentionConfig {
        paths: recorded.map(rule).collect(),
        templates,
        quota_total_bytes: config.retention.quota_total_bytes,
        levels: config.retention.disk_levels,
        local_retention: config.s3.as_ref().and_then(|s3| s3.local_retention),
    };
    let bucket = config.s3.as_ref().map(|s3| s3.bucket.clone());
    StorageConfig { database: config.database.clone(), roots, retention, bucket }
}

impl Recorders {
    /// Takes storage into use; nothing is recorded yet.
    pub(crate) fn new(storage: Storage, tasks: &TaskSet) -> Arc<Self> {
        let (recordings, ledger) = (storage.recordings(), storage.ledger());
        let inner = Mutex::new(Some(Inner { storage, recorded: Vec::new() }));
        Arc::new(Self {
            inner,
            changing: tokio::sync::Mutex::default(),
            recordings,
            ledger,
            tasks: tasks.clone(),
        })
    }

    /// Records what is to be recorded now, as it is to be recorded, and nothing else; and keeps what is to be kept.
    ///
    /// # Errors
    /// [`CatalogueError`] when the catalogue can't say where the last recording of a path ended; that one is not recorded.
    pub(crate) async fn apply(&self, config: &Config, paths: &Paths) -> Result<(), CatalogueError> {
        let _one_at_a_time = self.changing.lock().await;
        let wanted = paths.recorded();
        self.keep(config, paths, &wanted).await?;
        let new: Vec<PathName> = {
            let mut inner = self.lock();
            let Some(Inner { storage, recorded }) = inner.as_mut() else { return Ok(()) };
            recorded.retain_mut(|one| {
                let wanted = wanted.get(&one.path).filter(|(stream, _)| Arc::ptr_eq(stream, &one.stream));
                if wanted.is_none() {
                    one.switch(Switch::Off);
                }
                wanted.is_some()
            });
            for one in recorded.iter_mut() {
                if let Some((_, record)) = wanted.get(&one.path) {
                    one.change(record, segmenter_config(config, record), storage);
                }
            }
            let is_new = |path: &&PathName| recorded.iter().all(|one| one.path != **path);
            wanted.keys().filter(is_new).cloned().collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let off = self.ledger.switched_off().await?;
        for path in new {
            let left = self.ledger.left_gap(&path).await?;
            let Some((stream, record)) = wanted.get(&path) else { continue };
            let wanted = if off.contains(&path) { Switch::Off } else { Switch::On };
            self.start(stream, record, segmenter_config(config, record), (left, wanted));
        }
        Ok(())
    }

    /// Has storage keep what the paths' settings say, those of paths too that a pattern stands for and that do not exist now.
    async fn keep(
        &self,
        config: &Config,
        paths: &Paths,
        wanted: &RecordedPaths,
    ) -> Result<(), CatalogueError> {
        let mut kept: BTreeMap<PathName, RecordConfig> =
            wanted.iter().map(|(path, (_, record))| (path.clone(), record.clone())).collect();
        if !config.patterns.is_empty() {
            for path in self.ledger.recorded_paths().await? {
                if let Some(record) = paths.record_of(&path) {
                    kept.insert(path, record);
                }
            }
        }
        let StorageConfig { roots, retention, .. } = storage_config(config, kept.iter());
        if let Some(inner) = self.lock().as_ref() {
            inner.storage.reconfigure(retention, roots);
        }
        Ok(())
    }

    fn start(
        &self,
        stream: &Arc<Stream>,
        record: &RecordConfig,
        segmenter: SegmenterConfig,
        (left, wanted): (Option<Gap>, Switch),
    ) {
        let path = stream.name();
        let mut inner = self.lock();
        let Some(Inner { storage, recorded }) = inner.as_mut() else { return };
        let (writer, failures) = match storage.stream(path, record.path.clone()) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::error!(%path, %error, "path is not recorded");
                return;
            }
        };
        writer.keep_thumbnails(record.thumbnails_every);
        // The recorder reads on the server's own behalf; who plays recordings back passes the gate then.
        let grant = Gate::on_own_behalf(Action::Read, path);
        let recorder = Recorder::new(record.segment_duration, left);
        let session = Session::new(path, recorder, (writer.clone(), failures), &self.tasks);
        let (path, stream, record) = (path.clone(), Arc::clone(stream), record.clone());
        let mut one = Recorded { path, record, writer, session, stream, grant, segmenter, attachment: None };
        one.switch(wanted);
        recorded.push(one);
    }

    /// For the playback server.
    pub(crate) fn recordings(&self) -> Recordings {
        self.recordings.clone()
    }

    /// For the API.
    pub(crate) fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Whether a path has a recorder.
    pub(crate) fn records(&self, path: &PathName) -> bool {
        self.lock().as_ref().is_some_and(|inner| inner.recorded.iter().any(|one| one.path == *path))
    }

    /// Lets a path's recorder work or pause.
    pub(crate) fn switch(&self, path: &PathName, wanted: Switch) {
        let mut inner = self.lock();
        let recorded = inner.iter_mut().flat_map(|inner| &mut inner.recorded);
        recorded.filter(|one| one.path == *path).for_each(|one| one.switch(wanted));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Inner>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every recorder and every disk did so far.
    pub(crate) fn snapshot(&self) -> (Vec<RecorderSnapshot>, Vec<DiskSnapshot>) {
        let inner = self.lock();
        let Some(inner) = inner.as_ref() else { return (Vec::new(), Vec::new()) };
        let recorders = inner.recorded.iter().map(|recorded| RecorderSnapshot {
            path: recorded.path.clone(),
            recorder: recorded.session.stats.recorder(),
            is_recording: recorded.session.stats.is_recording(),
            is_wanted: recorded.attachment.is_some(),
            stream: recorded.writer.snapshot(),
            restarts: recorded.session.stats.restarts(),
        });
        (recorders.collect(), inner.storage.disks())
    }

    /// Records what was received so far, closes all files and syncs them; gives up after `patience`.
    pub(crate) async fn stop(&self, patience: Duration) {
        let inner = self.lock().take();
        let Some(Inner { storage, recorded }) = inner else { return };
        let stopped = tokio::task::spawn_blocking(move || {
            for Recorded { session, attachment, .. } in recorded {
                if let Some(attachment) = attachment {
                    attachment.finish();
                    session.stop(GapReason::Server);
                }
            }
            storage.stop();
        });
        if tokio::time::timeout(patience, stopped).await.is_err() {
            tracing::warn!("recordings could not be closed in time; the next start repairs them");
        }
    }
}

/// The parts are those that HLS serves, where it is on.
fn segmenter_config(config: &Config, record: &RecordConfig) -> SegmenterConfig {
    config.hls.as_ref().map_or_else(
        || SegmenterConfig {
            segment_duration: SEGMENT,
            part_duration: record.part_duration,
            segment_bytes_max: usize::try_from(record.part_bytes_max).unwrap_or(usize::MAX),
            first_msn: 0,
        },
        HlsConfig::segmenter,
    )
}
