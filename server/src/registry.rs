//! Registry: from a path's name to its stream.
//!
//! The table is an immutable map swapped whole, so that a look-up never waits for a change. A name that is not in it may
//! be one that a pattern of the configuration stands for; its path is made when somebody wants it (-> `paths`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use media_core::gate::CameraGrant;
use media_core::path_name::PathName;
use media_core::time::WallTime;

use crate::config::pulled::SourceKind;
use crate::config::redirect::{Destination, SentOn};
use crate::egress::forward::Forwards;
use crate::ingest::publish::PublishPoint;
use crate::stream::{ReaderKind, SourceStatus, Stream};

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

/// Why an RTSP reader can't have a stream here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotHere {
    /// There is none.
    #[error(transparent)]
    Unavailable(#[from] AcquireError),
    /// It is to ask there instead.
    #[error("readers of path '{path}' are sent elsewhere")]
    Elsewhere {
        /// The path it asked for.
        path: PathName,
        /// Where.
        to: Destination,
    },
}

/// Why nobody can publish to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPublishable {
    /// No such path in the configuration, or no room for one more.
    Unknown,
    /// Its media comes from a camera.
    Pulled,
}

/// One path.
#[derive(Debug)]
pub(crate) struct PathEntry {
    /// Its stream; lives as long as the path.
    pub(crate) stream: Arc<Stream>,
    /// How long a reader waits for its source to start.
    pub(crate) start_timeout: Duration,
    /// The name of its entry in the configuration.
    pub(crate) conf_name: Arc<str>,
    /// It is connected only while there are readers.
    pub(crate) is_on_demand: bool,
    /// How its media is asked for, if it is.
    pub(crate) pulled: Option<SourceKind>,
    /// Where else its media is sent.
    pub(crate) forwards: Arc<Forwards>,
    /// Since when it is available whether its source is there or not; it is not when there is no slate.
    pub(crate) always_since: Option<WallTime>,
    /// Set when RTSP readers may be sent elsewhere.
    pub(crate) sent_on: Option<SentOn>,
    /// Where publishers come, if they do.
    pub(crate) point: Option<Arc<PublishPoint>>,
}

impl PathEntry {
    /// Whether somebody sends; where it is connected on demand, after waiting for that.
    async fn is_sending(&self, query: &str) -> bool {
        let mut states = self.stream.state_changes();
        if states.borrow_and_update().status == SourceStatus::Online {
            return true;
        }
        if !self.is_on_demand {
            return false;
        }
        self.stream.note_query(query);
        let _seat = self.stream.take_seat(ReaderKind::Waiting);
        let online = states.wait_for(|state| state.status == SourceStatus::Online);
        tokio::time::timeout(self.start_timeout, online).await.is_ok_and(|state| state.is_ok())
    }

    /// A source that we connect or have started gets there or says why; whether somebody comes to publish, nobody knows.
    fn is_worth_waiting_for(&self) -> bool {
        self.point.is_none() || self.is_on_demand || self.stream.state().status != SourceStatus::Idle
    }

    /// A pulled path that is always connected.
    #[cfg(test)]
    pub(crate) fn pulled(stream: &Arc<Stream>, start_timeout: Duration) -> Arc<Self> {
        let (stream, conf_name) = (Arc::clone(stream), stream.name().as_str().into());
        Arc::new(Self {
            stream,
            start_timeout,
            conf_name,
            is_on_demand: false,
            pulled: Some(SourceKind::Rtsp),
            forwards: Arc::default(),
            always_since: None,
            sent_on: None,
            point: None,
        })
    }
}

fn not_ready(path: &PathName, stream: &Stream) -> AcquireError {
    let state = stream.state();
    let reason = format!("source is {}: {}", state.status.as_str(), state.reason);
    AcquireError::NotReady { path: path.clone(), reason }
}

/// What somebody wants a path for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To watch.
    Read,
    /// To send.
    Publish,
}

/// Why no path is made of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoInstance {
    /// None stands for this name.
    #[error("no pattern stands for it")]
    NoPattern,
    /// The one that does is published to, and nobody publishes.
    #[error("nobody publishes")]
    NobodyPublishes {
        /// Where RTSP readers are sent meanwhile.
        fallback: Option<Destination>,
    },
    /// The one that does is pulled.
    #[error("its media comes from a camera")]
    Pulled,
    /// Why it can't be had now.
    #[error("{0}")]
    Refused(String),
}

/// Makes paths of patterns.
pub(crate) trait Instances: Send + Sync {
    /// Whether a pattern stands for a name.
    fn stands_for(&self, name: &PathName) -> bool;

    /// The path of a name, made if it is not there.
    ///
    /// # Errors
    /// [`NoInstance`].
    fn instance(&self, name: &PathName, purpose: Purpose) -> Result<Arc<PathEntry>, NoInstance>;
}

/// All paths that exist.
#[derive(Default)]
pub(crate) struct Registry {
    paths: ArcSwap<BTreeMap<PathName, Arc<PathEntry>>>,
    instances: OnceLock<Weak<dyn Instances>>,
}

impl Registry {
    /// Has names that are not in the table made by `instances`; once.
    pub(crate) fn make_by(&self, instances: Weak<dyn Instances>) {
        self.instances.get_or_init(|| instances);
    }

    /// Adds a path or replaces it.
    pub(crate) fn insert(&self, name: &PathName, entry: Arc<PathEntry>) {
        self.edit(|paths| drop(paths.insert(name.clone(), Arc::clone(&entry))));
    }

    /// Takes a path away.
    pub(crate) fn remove(&self, name: &PathName) {
        self.edit(|paths| drop(paths.remove(name)));
    }

    /// Puts all paths in the place of those before.
    pub(crate) fn replace(&self, paths: BTreeMap<PathName, Arc<PathEntry>>) {
        self.paths.store(Arc::new(paths));
    }

    fn edit(&self, change: impl Fn(&mut BTreeMap<PathName, Arc<PathEntry>>)) {
        self.paths.rcu(|paths| {
            let mut paths = BTreeMap::clone(paths);
            change(&mut paths);
            paths
        });
    }

    /// All paths in the order of their names.
    pub(crate) fn snapshot(&self) -> Arc<BTreeMap<PathName, Arc<PathEntry>>> {
        self.paths.load_full()
    }

    /// A path that exists.
    pub(crate) fn entry(&self, name: &PathName) -> Option<Arc<PathEntry>> {
        self.paths.load().get(name).map(Arc::clone)
    }

    /// The stream of a path that exists, whatever its state.
    pub(crate) fn get(&self, name: &PathName) -> Option<Arc<Stream>> {
        self.paths.load().get(name).map(|entry| Arc::clone(&entry.stream))
    }

    /// Whether a path exists or would be made if somebody wanted it.
    pub(crate) fn is_configured(&self, name: &PathName) -> bool {
        self.paths.load().contains_key(name)
            || self.instances().is_some_and(|instances| instances.stands_for(name))
    }

    /// Where a path's publishers come.
    ///
    /// # Errors
    /// [`NotPublishable`].
    pub(crate) fn publish_point(&self, name: &PathName) -> Result<Arc<PublishPoint>, NotPublishable> {
        match self.find(name, Purpose::Publish) {
            Ok(entry) => entry.point.clone().ok_or(NotPublishable::Pulled),
            Err(NoInstance::Pulled) => Err(NotPublishable::Pulled),
            Err(refused) => {
                tracing::debug!(path = %name, %refused, "nobody can publish here");
                Err(NotPublishable::Unknown)
            }
        }
    }

    fn find(&self, name: &PathName, purpose: Purpose) -> Result<Arc<PathEntry>, NoInstance> {
        match (self.entry(name), self.instances()) {
            (Some(entry), _) => Ok(entry),
            (None, Some(instances)) => instances.instance(name, purpose),
            (None, None) => Err(NoInstance::NoPattern),
        }
    }

    fn instances(&self) -> Option<Arc<dyn Instances>> {
        self.instances.get().and_then(Weak::upgrade)
    }

    /// As [`Registry::acquire`], for a reader that can be told to ask elsewhere.
    ///
    /// # Errors
    /// [`NotHere`].
    pub(crate) async fn acquire_or_send_on(
        &self,
        grant: &CameraGrant,
        query: &str,
    ) -> Result<Arc<Stream>, NotHere> {
        let path = grant.path();
        let entry = self.find(path, Purpose::Read);
        let sent_on = match &entry {
            Ok(entry) => entry.sent_on.clone(),
            Err(NoInstance::NobodyPublishes { fallback }) => fallback.clone().map(SentOn::WhileOffline),
            Err(_) => None,
        };
        let elsewhere = match sent_on {
            None => None,
            Some(SentOn::Always(to)) => Some(to),
            Some(SentOn::WhileOffline(to)) => match entry {
                Ok(entry) if entry.is_sending(query).await => None,
                _ => Some(to),
            },
        };
        match elsewhere {
            Some(to) => Err(NotHere::Elsewhere { path: path.clone(), to }),
            None => Ok(self.acquire(grant, query).await?),
        }
    }

    /// The stream that a grant is for, once it has sent something: at once for a stream that has
    /// ever been online, else after waiting for its first access unit, which starts an on-demand source. Who has that
    /// published is told of `query`.
    ///
    /// # Errors
    /// [`AcquireError`] when the path is unknown, nobody publishes to it, or nothing came in time.
    pub(crate) async fn acquire(
        &self,
        grant: &CameraGrant,
        query: &str,
    ) -> Result<Arc<Stream>, AcquireError> {
        let path = grant.path();
        let entry = self.find(path, Purpose::Read).map_err(|none| match none {
            NoInstance::NoPattern => AcquireError::NotConfigured { path: path.clone() },
            other => AcquireError::NotReady { path: path.clone(), reason: other.to_string() },
        })?;
        let stream = Arc::clone(&entry.stream);
        if matches!(entry.sent_on, Some(SentOn::Always(_))) {
            let reason =
                "it has none of its own, and its readers are sent elsewhere over RTSP only".to_owned();
            return Err(AcquireError::NotReady { path: path.clone(), reason });
        }
        stream.note_query(query);
        if stream.format().is_some() {
            return Ok(stream);
        }
        if !entry.is_worth_waiting_for() {
            return Err(not_ready(path, &stream));
        }
        let seat = stream.take_seat(ReaderKind::Waiting);
        let waited = tokio::time::timeout(entry.start_timeout, stream.wait_for_format()).await;
        drop(seat);
        match waited {
            Ok(_) => Ok(stream),
            Err(_) => Err(not_ready(path, &stream)),
        }
    }
}
