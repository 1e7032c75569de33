//! Export jobs: evidence that is made while its caller waits for something else.
//!
//! ```text
//!  POST /export {cameras, start, end, operator, unit, reason} ─► 202 {id}     one is made at a time
//!  GET /export/{id} ─► state, progress     GET /export/{id}/result ─► zip     DELETE /export/{id}     GET /export/key
//!
//!  queued ─► running ─► done │ failed
//! ```
//!
//! Finished ones lie beside the catalogue, in `exports`, with a note of what they are; they are there after a restart, and
//! for [`KEPT_US`]. What a restart interrupts is gone. Every request is authorized for all cameras of its job.
//!
//! Belongs here: jobs, HTTP. Does not: what an export is made of (-> `storage::export`).
//! Limits: [`CAMERAS_MAX`], [`TEXT_BYTES_MAX`], [`WAITING_MAX`], [`JOBS_MAX`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use media_core::gate::CameraGrant;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use storage::Recordings;
use storage::export::{ExportError, ExportFacts, KeyError, Progress, SigningKey};
use tokio::sync::Semaphore;
use tracing::info_span;
use uuid::Uuid;

use super::request::{rfc3339, wall_time};
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// Cameras of one export.
const CAMERAS_MAX: usize = 64;
/// Operator, unit, reason.
const TEXT_BYTES_MAX: usize = 1000;
/// Exports that are not finished; at the limit a request is told to come again.
const WAITING_MAX: usize = 16;
/// Exports known; at the limit a request is told to delete some.
const JOBS_MAX: usize = 1000;
/// Exports are kept 90 days.
const KEPT_US: i64 = 90 * 86_400 * 1_000_000;

/// All exports.
pub(crate) struct Exports {
    dir: PathBuf,
    key: Arc<SigningKey>,
    recordings: Recordings,
    tasks: TaskSet,
    one_at_a_time: Arc<Semaphore>,
    jobs: Mutex<BTreeMap<Uuid, Job>>,
}

/// What is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportRequest {
    pub(super) cameras: Vec<String>,
    start: String,
    end: String,
    operator: String,
    #[serde(default)]
    unit: String,
    reason: String,
}

/// A request that was parsed.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) cameras: Vec<PathName>,
    start: WallTime,
    end: WallTime,
}

impl ExportRequest {
    pub(super) fn parse(&self) -> Result<Parsed, String> {
        if self.cameras.is_empty() || self.cameras.len() > CAMERAS_MAX {
            return Err(format!("cameras: name 1 to {CAMERAS_MAX}"));
        }
        for (name, text) in [("operator", &self.operator), ("unit", &self.unit), ("reason", &self.reason)] {
            if text.len() > TEXT_BYTES_MAX || (text.trim().is_empty() && name != "unit") {
                return Err(format!("{name}: write 1 to {TEXT_BYTES_MAX} bytes"));
            }
        }
        let time = |name: &str, text: &str| {
            wall_time(text).ok_or_else(|| format!("invalid {name}: {text:?} is no RFC 3339 time"))
        };
        let (start, end) = (time("start", &self.start)?, time("end", &self.end)?);
        if end <= start {
            return Err("end is not after start".to_owned());
        }
        let cameras = self.cameras.iter().map(|name| PathName::parse(name)).collect::<Result<_, _>>();
        Ok(Parsed { cameras: cameras.map_err(|error| format!("cameras: {error}"))?, start, end })
    }
}

/// How far a job is.
#[derive(Clone, Debug)]
enum State {
    Queued,
    Running,
    Done { bytes: u64 },
    Failed { error: String },
}

#[derive(Clone, Debug)]
struct Job {
    request: ExportRequest,
    created: WallTime,
    state: State,
    progress: Arc<Progress>,
}

/// What lies beside a finished export.
#[derive(Debug, Deserialize, Serialize)]
struct Note {
    request: ExportRequest,
    created_us: i64,
}

/// Why no export is begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum Full {
    #[error("{WAITING_MAX} exports are waiting; come again later")]
    Waiting,
    #[error("{JOBS_MAX} exports are kept; delete some")]
    Kept,
}

impl Exports {
    /// Makes the folder and the key where they are not there yet, and finds what was exported before.
    pub(crate) fn open(beside: &Path, recordings: Recordings, tasks: TaskSet) -> Result<Arc<Self>, KeyError> {
        let dir = beside.join("exports");
        let io = |error| KeyError::Io { file: dir.display().to_string(), error };
        std::fs::create_dir_all(&dir).map_err(io)?;
        let key = Arc::new(SigningKey::open(&beside.join("gtvision-export.key"))?);
        let jobs = Mutex::new(found(&dir).map_err(io)?);
        let one_at_a_time = Arc::new(Semaphore::new(1));
        Ok(Arc::new(Self { dir, key, recordings, tasks, one_at_a_time, jobs }))
    }

    /// The key that signs.
    pub(super) fn public_key(&self) -> String {
        self.key.public()
    }

    fn jobs(&self) -> MutexGuard<'_, BTreeMap<Uuid, Job>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, id: Uuid, extension: &str) -> PathBuf {
        self.dir.join(format!("{id}.{extension}"))
    }

    /// Begins a job.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: ExportRequest,
        parsed: &Parsed,
        grants: Vec<CameraGrant>,
    ) -> Result<Uuid, Full> {
        let now = clock::wall_now();
        self.expire(now);
        let id = Uuid::new_v4();
        let job = Job { request, created: now, state: State::Queued, progress: Arc::default() };
        {
            let mut jobs = self.jobs();
            let is_waiting = |job: &&Job| matches!(job.state, State::Queued | State::Running);
            if jobs.values().filter(is_waiting).count() >= WAITING_MAX {
                return Err(Full::Waiting);
            }
            if jobs.len() >= JOBS_MAX {
                return Err(Full::Kept);
            }
            jobs.insert(id, job.clone());
        }
        let facts = ExportFacts {
            start: parsed.start,
            end: parsed.end,
            operator: job.request.operator.clone(),
            unit: job.request.unit.clone(),
            reason: job.request.reason.clone(),
            created: now,
            made_by: format!("gtvision {}", env!("CARGO_PKG_VERSION")),
        };
        tracing::info!(%id, operator = facts.operator, cameras = grants.len(), "export begins");
        let exports = Arc::clone(self);
        self.tasks.spawn(info_span!("export", %id), async move { exports.run(id, facts, grants).await });
        Ok(id)
    }

    async fn run(&self, id: Uuid, facts: ExportFacts, grants: Vec<CameraGrant>) {
        let Ok(_turn) = Arc::clone(&self.one_at_a_time).acquire_owned().await else { return };
        let Some(job) = self.change(id, State::Running) else { return };
        let state = match self.make(id, facts, grants, &job).await {
            Ok(bytes) => State::Done { bytes },
            Err(error) => {
                tracing::warn!(%error, "export failed");
                State::Failed { error: error.to_string() }
            }
        };
        if matches!(state, State::Failed { .. }) || self.change(id, state.clone()).is_none() {
            self.remove_files(id);
        }
        self.change(id, state);
    }

    /// Its new state; `None` when it was deleted.
    fn change(&self, id: Uuid, state: State) -> Option<Job> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(&id)?;
        job.state = state;
        Some(job.clone())
    }

    async fn make(
        &self,
        id: Uuid,
        facts: ExportFacts,
        grants: Vec<CameraGrant>,
        job: &Job,
    ) -> Result<u64, ExportError> {
        let plan = self.recordings.plan_export(grants, facts.start, facts.end).await;
        let plan = plan.map_err(storage::PlaybackError::from)?;
        let (unfinished, finished) = (self.file(id, "unfinished"), self.file(id, "zip"));
        let note = Note { request: job.request.clone(), created_us: job.created.unix_us() };
        let note_file = self.file(id, "json");
        let (key, progress) = (Arc::clone(&self.key), Arc::clone(&job.progress));
        let mut work = tokio::task::spawn_blocking(move || {
            plan.write(&unfinished, &facts, &key, &progress)?;
            std::fs::write(note_file, serde_json::to_vec(&note)?)?;
            std::fs::rename(&unfinished, &finished)?;
            Ok(std::fs::metadata(&finished)?.len())
        });
        let stopped = self.tasks.token().cancelled();
        let ended = tokio::select! {
            ended = &mut work => ended,
            () = stopped => {
                job.progress.is_cancelled.store(true, Ordering::Relaxed);
                work.await
            }
        };
        ended.map_err(io::Error::other)?
    }

    /// The cameras of a job.
    pub(super) fn cameras(&self, id: Uuid) -> Option<Vec<PathName>> {
        self.jobs().get(&id)?.request.parse().ok().map(|parsed| parsed.cameras)
    }

    /// What there is to say of a job.
    pub(super) fn describe(&self, id: Uuid) -> Option<Value> {
        let job = self.jobs().get(&id)?.clone();
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let total = load(&job.progress.total_bytes);
        let (state, bytes, error) = match &job.state {
            State::Queued => ("queued", None, None),
            State::Running => ("running", None, None),
            State::Done { bytes } => ("done", Some(*bytes), None),
            State::Failed { error } => ("failed", None, Some(error.clone())),
        };
        Some(json!({
            "id": id.to_string(),
            "state": state,
            "error": error,
            "bytes": bytes,
            // Of video: heads and the manifest follow.
            "writtenBytes": load(&job.progress.written_bytes).min(total),
            "totalBytes": total,
            "created": rfc3339(job.created),
            "request": job.request,
        }))
    }

    /// The file of a finished job.
    pub(super) fn result(&self, id: Uuid) -> Option<PathBuf> {
        matches!(self.jobs().get(&id)?.state, State::Done { .. }).then(|| self.file(id, "zip"))
    }

    /// Ends a job and removes what there is of it.
    pub(super) fn delete(&self, id: Uuid) {
        let Some(job) = self.jobs().remove(&id) else { return };
        job.progress.is_cancelled.store(true, Ordering::Relaxed);
        tracing::info!(%id, "export deleted");
        self.remove_files(id);
    }

    fn expire(&self, now: WallTime) {
        let is_old = |job: &Job| now.us_since(job.created) > KEPT_US;
        let old: Vec<Uuid> = self.jobs().iter().filter(|(_, job)| is_old(job)).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.delete(id));
    }

    fn remove_files(&self, id: Uuid) {
        for extension in ["unfinished", "zip", "json"] {
            let file = self.file(id, extension);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "export can't be removed");
                }
                _ => {}
            }
        }
    }
}

/// Finished exports of a folder; unfinished ones are removed.
fn found(dir: &Path) -> io::Result<BTreeMap<Uuid, Job>> {
    let mut jobs = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let file = entry?.path();
        let id = file.file_stem().and_then(|stem| Uuid::parse_str(stem.to_str()?).ok());
        let Some(id) = id else { continue };
        if file.extension().is_some_and(|extension| extension == "unfinished") {
            std::fs::remove_file(&file)?;
        }
        let is_note = file.extension().is_some_and(|extension| extension == "json");
        let Ok(bytes) = std::fs::metadata(dir.join(format!("{id}.zip"))).map(|found| found.len()) else {
            continue;
        };
        if let Some(note) = is_note.then(|| std::fs::read(&file)).transpose()?
            && let Ok(note) = serde_json::from_slice::<Note>(&note)
        {
            let (request, created) = (note.request, WallTime(note.created_us));
            let state = State::Done { bytes };
            jobs.insert(id, Job { request, created, state, progress: Arc::default() });
        }
    }
    Ok(jobs)
}
