//! Registry: from a path's name to its stream.
//!
//! The table is an immutable map swapped whole, so that a look-up never waits for a change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use media_core::gate::CameraGrant;
use media_core::path_name::PathName;

use crate::stream::{ReaderKind, Stream};

/// How long a reader of a configured path waits for a first picture before it is told to come
/// back, where the path's own `sourceOnDemandStartTimeout` does not say otherwise.
pub(crate) const FIRST_PICTURE_WAIT: Duration = Duration::from_secs(10);

/// Why a stream could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AcquireError {
    /// No such path in the configuration.
    #[error("path '{path}' is not configured")]
    NotConfigured {
        /// Its name.
        path: PathName,
    },
    /// The path is there, but its source has not sent a picture yet.
    #[error("no stream is available on path '{path}': {reason}")]
    NotReady {
        /// Its name.
        path: PathName,
        /// The source's state, for a person.
        reason: String,
    },
}

/// One configured path.
#[derive(Debug)]
pub(crate) struct PathEntry {
    /// Its stream; lives as long as the path.
    pub(crate) stream: Arc<Stream>,
    /// How long a reader waits for an on-demand source to start.
    pub(crate) start_timeout: Duration,
    /// When its source runs.
    pub(crate) start: SourceStart,
}

impl PathEntry {
    /// A path whose source always runs.
    #[cfg(test)]
    pub(crate) fn always(stream: Arc<Stream>, start_timeout: Duration) -> Self {
        Self { stream, start_timeout, start: SourceStart::Always }
    }
}

/// When a path's source runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceStart {
    /// Always, as far as it can.
    Always,
    /// While it has readers.
    OnDemand,
}

/// All configured paths.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    paths: ArcSwap<BTreeMap<PathName, Arc<PathEntry>>>,
}

impl Registry {
    /// Adds a path or replaces it.
    pub(crate) fn insert(&self, name: &PathName, entry: PathEntry) {
        let entry = Arc::new(entry);
        self.paths.rcu(|paths| {
            let mut paths = BTreeMap::clone(paths);
            paths.insert(name.clone(), Arc::clone(&entry));
            paths
        });
    }

    /// All paths in the order of their names.
    pub(crate) fn snapshot(&self) -> Arc<BTreeMap<PathName, Arc<PathEntry>>> {
        self.paths.load_full()
    }

    /// A configured path.
    pub(crate) fn entry(&self, name: &PathName) -> Option<Arc<PathEntry>> {
        self.paths.load().get(name).map(Arc::clone)
    }

    /// The stream of a configured path, whatever its state.
    pub(crate) fn get(&self, name: &PathName) -> Option<Arc<Stream>> {
        self.paths.load().get(name).map(|entry| Arc::clone(&entry.stream))
    }

    /// The stream that a grant is for, once it has sent something: at once for a stream that has
    /// ever been online, else after waiting for its first access unit, which starts an on-demand source.
    ///
    /// # Errors
    /// [`AcquireError`] when the path is unknown or nothing came in time.
    pub(crate) async fn acquire(&self, grant: &CameraGrant) -> Result<Arc<Stream>, AcquireError> {
        let path = grant.path();
        let entry = self.paths.load().get(path).map(Arc::clone);
        let entry = entry.ok_or_else(|| AcquireError::NotConfigured { path: path.clone() })?;
        let stream = Arc::clone(&entry.stream);
        if stream.format().is_some() {
            return Ok(stream);
        }
        let seat = stream.take_seat(ReaderKind::Waiting);
        let waited = tokio::time::timeout(entry.start_timeout, stream.wait_for_format()).await;
        drop(seat);
        match waited {
            Ok(_) => Ok(stream),
            Err(_) => {
                let state = stream.state();
                let reason = format!("source is {}: {}", state.status.as_str(), state.reason);
                Err(AcquireError::NotReady { path: path.clone(), reason })
            }
        }
    }
}
