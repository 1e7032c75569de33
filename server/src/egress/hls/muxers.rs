//! Muxers: which streams have one; made at the first request, closed when nobody asks any more.
//!
//! ```text
//!  request ─► none? acquire stream ─► attach to its remuxer
//!                                        └─ idle for hlsMuxerCloseAfter ─► gone, numbers remembered
//! ```
//!
//! Limits: one muxer and one remembered number a configured path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::egress::hls::SequenceStart;
use media_core::gate::{Action, CameraGrant, Gate};
use media_core::path_name::PathName;

use super::HlsDeps;
use super::muxer::{Muxer, MuxerSnapshot};
use super::viewers::Viewers;
use crate::config::resolved::{HlsConfig, HlsMuxers};
use crate::registry::AcquireError;
use crate::runtime::clock;
use crate::stream::{SourceStatus, Stream};

/// How long a first request waits for a playlist: a GOP of 4 s and a camera that connects meanwhile.
pub(super) const FIRST_PLAYLIST_WAIT: Duration = Duration::from_secs(10);
/// How often idle muxers are looked for, and paths that should always have one.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// All muxers.
pub(super) struct Muxers {
    config: HlsConfig,
    deps: HlsDeps,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    running: BTreeMap<PathName, Arc<Muxer>>,
    /// Where the next muxer of a path begins.
    sequences: BTreeMap<PathName, SequenceStart>,
}

impl Muxers {
    pub(super) fn new(config: HlsConfig, deps: HlsDeps) -> Self {
        Self { config, deps, table: Mutex::default() }
    }

    /// The muxer of a path, made if there is none; waits for a source on demand, which is told of the query.
    ///
    /// # Errors
    /// As [`crate::registry::Registry::acquire`].
    pub(super) async fn acquire(&self, grant: &CameraGrant, query: &str) -> Result<Arc<Muxer>, AcquireError> {
        // It reads already, for any number of viewers.
        if let Some(muxer) = self.get(grant) {
            return Ok(muxer);
        }
        let stream = self.deps.registry.acquire(grant, query).await?;
        Ok(self.get_or_start(grant, &stream))
    }

    /// The muxer of a path, if it runs and the path is still configured.
    pub(super) fn get(&self, grant: &CameraGrant) -> Option<Arc<Muxer>> {
        let stream = self.deps.registry.get(grant.path())?;
        let muxer = self.lock().running.get(grant.path()).cloned()?;
        Arc::ptr_eq(&muxer.stream, &stream).then_some(muxer)
    }

    pub(super) fn snapshot(&self) -> Vec<MuxerSnapshot> {
        let running: Vec<Arc<Muxer>> = self.lock().running.values().cloned().collect();
        running.iter().map(|muxer| muxer.snapshot()).collect()
    }

    /// Closes idle muxers and starts those that always run, until the server ends; lets go of viewers that are gone.
    pub(super) async fn tend(&self, viewers: &Viewers) {
        let mut ticks = tokio::time::interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.deps.tasks.token().cancelled() => return,
            }
            self.close_idle();
            viewers.let_go(|path| self.lock().running.contains_key(path));
            if self.config.muxers == HlsMuxers::Always {
                self.start_always();
            }
        }
    }

    pub(super) fn close_idle(&self) {
        let now = clock::wall_now();
        let mut table = self.lock();
        let Table { running, sequences } = &mut *table;
        running.retain(|path, muxer| {
            let current = self.deps.registry.get(path);
            let replaced = current.is_none_or(|stream| !Arc::ptr_eq(&stream, &muxer.stream));
            let idle = !self.is_always(path) && muxer.idle(now) >= self.config.muxer_close_after;
            if replaced || idle {
                sequences.insert(path.clone(), muxer.sequence_after());
                muxer.close();
                tracing::info!(%path, replaced, "HLS muxer closed");
            }
            !(replaced || idle)
        });
        sequences.retain(|path, _| self.deps.registry.get(path).is_some());
    }

    fn start_always(&self) {
        for (path, entry) in self.deps.registry.snapshot().iter() {
            let is_online = entry.stream.state().status == SourceStatus::Online;
            if !is_online || !self.is_always(path) || self.lock().running.contains_key(path) {
                continue;
            }
            // The muxer reads on the server's own behalf; each viewer still passes the gate.
            let grant = Gate::on_own_behalf(Action::Read, path);
            self.get_or_start(&grant, &entry.stream);
        }
    }

    /// Closes all, for good.
    pub(super) fn close_all(&self) {
        let running = std::mem::take(&mut self.lock().running);
        running.values().for_each(|muxer| muxer.close());
    }

    /// Not those on demand, which would never sleep again.
    fn is_always(&self, path: &PathName) -> bool {
        let is_pulled_always = || self.deps.registry.entry(path).is_some_and(|entry| !entry.is_on_demand);
        self.config.muxers == HlsMuxers::Always && is_pulled_always()
    }

    fn get_or_start(&self, grant: &CameraGrant, stream: &Arc<Stream>) -> Arc<Muxer> {
        let path = grant.path();
        let mut table = self.lock();
        if let Some(muxer) = table.running.get(path) {
            if Arc::ptr_eq(&muxer.stream, stream) {
                return Arc::clone(muxer);
            }
            muxer.close();
            let next = muxer.sequence_after();
            table.sequences.insert(path.clone(), next);
        }
        let first = table.sequences.get(path).copied().unwrap_or(SequenceStart { msn: 0, discontinuity: 0 });
        let muxer = Muxer::new(&self.config, stream, first, &self.deps.tasks);
        table.running.insert(path.clone(), Arc::clone(&muxer));
        drop(table);
        tracing::info!(%path, "HLS muxer started");
        muxer.start(grant);
        muxer
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
