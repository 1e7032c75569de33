//! Recorders: one task for each recorded path, from its stream's ring to its disk's queue.
//!
//! ```text
//!  Stream ─subscription─► Segmenter ─events─► media_core::egress::recorder ─commands─► storage (disk threads)
//!                                                    ▲ refused: queue full     │
//!                                                    └──── failed: disk ◄──────┘
//! ```
//!
//! A recorder takes no seat at its stream and holds no one up: what the disk does not take is a gap.
//! It has a segmenter of its own for now, with the HLS muxer's part duration; what it consumes is the event stream, so
//! that one remuxer can feed both.
//!
//! Belongs here: tasks and their order of start and stop. Does not: when files begin and end
//! (-> `media_core::egress::recorder`), writing (-> storage).

mod session;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use media_core::egress::recorder::{Recorder, RecorderStats};
use media_core::gate::{Action, Caller, Gate};
use media_core::path_name::PathName;
use media_core::remux::fmp4::SegmenterConfig;
use storage::{
    AgeRule, CatalogueError, Clock, DiskSnapshot, Driver, Recordings, Storage, StorageConfig, StreamSnapshot,
};
use tracing::Instrument as _;

use self::session::{Session, SessionStats};
use crate::config::resolved::{Config, RecordConfig};
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::{Ended, TaskSet, catch_panic};

/// Between a recorder's panic and its next start.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Segments of recorders; files are cut where one begins. HLS's own default.
const SEGMENT: Duration = Duration::from_secs(1);

/// The clocks as storage reads them.
const CLOCK: Clock = Clock { wall: clock::wall_now, monotonic: clock::now };

/// All recorders and the storage they write to.
pub(crate) struct Recorders {
    inner: Mutex<Option<Inner>>,
    recordings: Recordings,
}

struct Inner {
    storage: Storage,
    recorded: Vec<Recorded>,
}

/// What runs for one path.
struct Recorded {
    path: PathName,
    writer: storage::StreamWriter,
    stats: Arc<SessionStats>,
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
    /// Its queue and what was written.
    pub(crate) stream: StreamSnapshot,
    /// Times it was started again after a panic.
    pub(crate) restarts: u64,
}

/// Whether a configuration needs storage at all.
pub(crate) fn is_wanted(config: &Config) -> bool {
    config.playback.is_some() || config.paths.values().any(|path| path.record.is_some())
}

/// Opens storage: catalogue, repair. To be awaited where the driver will run.
///
/// # Errors
/// [`CatalogueError`].
pub(crate) async fn open(config: &Config) -> Result<(Storage, Driver), CatalogueError> {
    let recorded = || config.paths.iter().filter_map(|(name, path)| Some((name, path.record.as_ref()?)));
    let mut roots: Vec<PathBuf> = recorded().map(|(_, record)| record.path.root().to_owned()).collect();
    roots.sort_unstable();
    roots.dedup();
    let rule = |(name, record): (&PathName, &RecordConfig)| {
        let root = record.path.root().to_owned();
        Some(AgeRule { path: name.clone(), delete_after: record.delete_after?, root })
    };
    let rules = recorded().filter_map(rule).collect();
    Storage::open(StorageConfig { database: config.database.clone(), roots, rules }, CLOCK).await
}

impl Recorders {
    /// Starts a recorder for each path that has `record`.
    ///
    /// # Errors
    /// [`CatalogueError`] when the catalogue can't say where the last recording ended.
    pub(crate) async fn start(
        config: &Config,
        mut storage: Storage,
        registry: &Registry,
        tasks: &TaskSet,
    ) -> Result<Arc<Self>, CatalogueError> {
        let mut recorded = Vec::new();
        for (path, path_config) in &config.paths {
            let Some(record) = &path_config.record else { continue };
            let left = storage.left_gap(path).await?;
            let (writer, failures) = match storage.stream(path, record.path.clone()) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::error!(%path, %error, "path is not recorded");
                    continue;
                }
            };
            let Some(stream) = registry.get(path) else { continue };
            let stats = Arc::new(SessionStats::default());
            recorded.push(Recorded { path: path.clone(), writer: writer.clone(), stats: Arc::clone(&stats) });
            let recorder = Recorder::new(record.segment_duration, left);
            let config = segmenter_config(config, record);
            let tasks = tasks.on(registry.home(path));
            spawn(Session { stream, config, recorder, writer, failures, stats }, &tasks);
        }
        let recordings = storage.recordings();
        Ok(Arc::new(Self { inner: Mutex::new(Some(Inner { storage, recorded })), recordings }))
    }

    /// For the playback server.
    pub(crate) fn recordings(&self) -> Recordings {
        self.recordings.clone()
    }

    /// What every recorder and every disk did so far.
    pub(crate) fn snapshot(&self) -> (Vec<RecorderSnapshot>, Vec<DiskSnapshot>) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(inner) = inner.as_ref() else { return (Vec::new(), Vec::new()) };
        let recorders = inner.recorded.iter().map(|recorded| RecorderSnapshot {
            path: recorded.path.clone(),
            recorder: recorded.stats.recorder(),
            is_recording: recorded.stats.is_recording(),
            stream: recorded.writer.snapshot(),
            restarts: recorded.stats.restarts(),
        });
        (recorders.collect(), inner.storage.disks())
    }

    /// Closes all files and syncs them, once the recorders' tasks have ended; gives up after `patience`.
    pub(crate) async fn stop(&self, patience: Duration) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Inner { storage, recorded }) = inner else { return };
        drop(recorded);
        let stopped = tokio::task::spawn_blocking(move || storage.stop());
        if tokio::time::timeout(patience, stopped).await.is_err() {
            tracing::warn!("recordings could not be closed in time; the next start repairs them");
        }
    }
}

/// The parts are those that HLS serves, where it is on.
fn segmenter_config(config: &Config, record: &RecordConfig) -> SegmenterConfig {
    let hls = config.hls.as_ref();
    SegmenterConfig {
        segment_duration: hls.map_or(SEGMENT, |hls| hls.segment_duration),
        part_duration: hls.map_or(record.part_duration, |hls| hls.part_duration),
        segment_bytes_max: usize::try_from(record.part_bytes_max).unwrap_or(usize::MAX),
        first_msn: 0,
    }
}

fn spawn(session: Session, tasks: &TaskSet) {
    let path = session.stream.name().clone();
    let span = tracing::info_span!("recorder", %path);
    // The recorder reads on the server's own behalf; who plays recordings back passes the gate then.
    let caller = Caller { ip: std::net::Ipv4Addr::LOCALHOST.into() };
    let Ok(grant) = Gate::default().authorize(&caller, Action::Read, &path) else { return };
    let (token, own) = (tasks.token().clone(), tasks.clone());
    let task = async move {
        let mut session = session;
        while let Ended::Panicked(message) = catch_panic(session.run(&grant, &token)).await {
            own.count_panic();
            tracing::error!(message, "recorder panicked; it begins a new file");
            session.restarted();
            tokio::select! {
                () = tokio::time::sleep(RESTART_PAUSE) => {}
                () = token.cancelled() => return,
            }
        }
    };
    tasks.spawn(span.clone(), task.instrument(span));
}
