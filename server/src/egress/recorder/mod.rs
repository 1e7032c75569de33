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
//! Belongs here: who is recorded, the order of start and stop. Does not: when files begin and end
//! (-> `media_core::egress::recorder`), writing (-> storage).

mod session;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::session::Session;
use crate::config::resolved::{Config, HlsConfig, RecordConfig};
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::stream::{Attachment, Sink};
use media_core::egress::recorder::{Recorder, RecorderStats};
use media_core::gate::{Action, Caller, Gate};
use media_core::path_name::PathName;
use media_core::remux::fmp4::SegmenterConfig;
use storage::{
    AgeRule, CatalogueError, Clock, DiskSnapshot, Driver, Recordings, Storage, StorageConfig, StreamSnapshot,
};

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
    session: Arc<Session>,
    attachment: Attachment,
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
            // The recorder reads on the server's own behalf; who plays recordings back passes the gate then.
            let caller = Caller { ip: std::net::Ipv4Addr::LOCALHOST.into() };
            let Ok(grant) = Gate::default().authorize(&caller, Action::Read, path) else { continue };
            let recorder = Recorder::new(record.segment_duration, left);
            let session = Session::new(path, recorder, (writer.clone(), failures), tasks);
            let sink: Arc<dyn Sink> = Arc::<Session>::clone(&session);
            let attachment = stream.attach(&grant, sink, segmenter_config(config, record));
            recorded.push(Recorded { path: path.clone(), writer, session, attachment });
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
            recorder: recorded.session.stats.recorder(),
            is_recording: recorded.session.stats.is_recording(),
            stream: recorded.writer.snapshot(),
            restarts: recorded.session.stats.restarts(),
        });
        (recorders.collect(), inner.storage.disks())
    }

    /// Records what was received so far, closes all files and syncs them; gives up after `patience`.
    pub(crate) async fn stop(&self, patience: Duration) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Inner { storage, recorded }) = inner else { return };
        let stopped = tokio::task::spawn_blocking(move || {
            for Recorded { session, attachment, .. } in recorded {
                attachment.finish();
                session.stop();
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
