//! RTSP egress: the listener, its connections and their sessions; media straight from the ring.
//!
//! ```text
//!  accept ─► Connection task ─┬─ ServerConnection (media_core): requests, states
//!                             ├─ Reader ─► Outbox ─► socket
//!                             └─ Feed (one per stream): packets shared by all its readers
//! ```
//!
//! One task per connection, on the media runtime. A reader holds a place in the ring and writes shared bytes, one write for
//! all that is there: what it costs is the write.
//!
//! Limits: [`CONNECTIONS_MAX`], and those named in the modules.
//! Spec: RFC 2326, RFC 3550, RFC 3551.

mod connection;
mod feed;
mod outbox;
mod reader;
pub(crate) mod stats;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::gate::Gate;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, debug_span, info, info_span, warn};
use uuid::Uuid;

use self::connection::{Connection, canonical};
use self::feed::Feeds;
use self::stats::{ConnRecord, Encryption, SessionRecord};
use crate::config::resolved::RtspConfig;
use crate::http_listener::ListenError;
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// Connections at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// After a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the RTSP egress needs of the rest of the server.
pub(crate) struct RtspDeps {
    /// Where streams are found.
    pub(crate) registry: Arc<Registry>,
    /// Who may read.
    pub(crate) gate: Gate,
    /// Owns the listener's and the connections' tasks.
    pub(crate) tasks: TaskSet,
}

/// The RTSP egress.
pub(crate) struct RtspServer {
    config: RtspConfig,
    deps: RtspDeps,
    feeds: Feeds,
    conns: Mutex<HashMap<Uuid, Arc<ConnRecord>>>,
    sessions: Mutex<HashMap<Uuid, Arc<SessionRecord>>>,
    cut: CutReaders,
}

/// Readers that were cut because they were too slow; monotonic.
#[derive(Debug, Default)]
struct CutReaders {
    readers: AtomicU64,
    packets: AtomicU64,
}

impl RtspServer {
    /// Opens the listener and starts answering.
    ///
    /// # Errors
    /// [`ListenError`] when the address can't be used.
    pub(crate) async fn start(config: RtspConfig, deps: RtspDeps) -> Result<Arc<Self>, ListenError> {
        let feeds = Feeds::new(config.packet_bytes_max);
        let (conns, sessions, cut) = (Mutex::default(), Mutex::default(), CutReaders::default());
        let server = Arc::new(Self { config, deps, feeds, conns, sessions, cut });
        server.listen().await?;
        Ok(server)
    }

    async fn listen(self: &Arc<Self>) -> Result<(), ListenError> {
        let address = self.config.address;
        let bind = |error| ListenError::Bind { name: "rtsp", address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        info!(server = "rtsp", address = %bound, "listening");
        let accepting = Arc::clone(self).accept(listener);
        self.deps.tasks.spawn(info_span!("listen", server = "rtsp", address = %bound), accepting);
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let token = self.deps.tasks.token().clone();
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let next = async {
                let seat = Arc::clone(&seats).acquire_owned().await.ok()?;
                match listener.accept().await {
                    Ok((socket, _)) => Some((socket, seat)),
                    Err(error) => {
                        warn!(%error, "connection not accepted");
                        None
                    }
                }
            };
            let accepted = tokio::select! {
                accepted = next => accepted,
                () = token.cancelled() => return,
            };
            match accepted {
                Some((socket, seat)) => self.spawn_connection(socket, seat),
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn spawn_connection(self: &Arc<Self>, socket: TcpStream, seat: OwnedSemaphorePermit) {
        let Ok(peer) = socket.peer_addr().map(canonical) else { return };
        // A picture is wanted at once.
        if let Err(error) = socket.set_nodelay(true) {
            debug!(%error, "socket option refused");
        }
        let record = Arc::new(ConnRecord::new(Encryption::None, peer, clock::wall_now()));
        self.lock_conns().insert(record.id, Arc::clone(&record));
        let listed = Listed { server: Arc::clone(self), id: record.id, _seat: seat };
        let connection = Connection::new(socket, self, &record);
        let token = self.deps.tasks.token().clone();
        let span = debug_span!(parent: None, "rtsp", id = %record.id, %peer);
        self.deps.tasks.spawn(span, async move {
            let _listed = listed;
            connection.run(token).await;
        });
    }

    /// The records of all connections, in no order.
    pub(crate) fn conns(&self) -> Vec<Arc<ConnRecord>> {
        self.lock_conns().values().cloned().collect()
    }

    /// The records of all sessions, in no order.
    pub(crate) fn sessions(&self) -> Vec<Arc<SessionRecord>> {
        self.lock_sessions().values().cloned().collect()
    }

    /// Readers cut for being too slow so far, and the packets that waited for them.
    pub(crate) fn cut_readers(&self) -> (u64, u64) {
        (self.cut.readers.load(Ordering::Relaxed), self.cut.packets.load(Ordering::Relaxed))
    }

    fn count_cut_reader(&self, packets: u64) {
        self.cut.readers.fetch_add(1, Ordering::Relaxed);
        self.cut.packets.fetch_add(packets, Ordering::Relaxed);
    }

    fn list_session(&self, record: &Arc<SessionRecord>) {
        self.lock_sessions().insert(record.facts.id, Arc::clone(record));
    }

    fn unlist_session(&self, id: Uuid) {
        self.lock_sessions().remove(&id);
    }

    fn lock_conns(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<ConnRecord>>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_sessions(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<SessionRecord>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a connection, and what session it has, off the lists when its task ends, however it ends.
struct Listed {
    server: Arc<RtspServer>,
    id: Uuid,
    _seat: OwnedSemaphorePermit,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let record = self.server.lock_conns().remove(&self.id);
        if let Some(session) = record.and_then(|record| record.session()) {
            self.server.unlist_session(session);
        }
    }
}
