//! RTSP: the listener, its connections and their sessions; readers get media straight from the ring, publishers put it there.
//!
//! ```text
//!  door ───► Connection task ─┬─ ServerConnection (media_core): requests, states
//!                             ├─ Reader ─► Outbox ─► socket, or UdpOut ─► UDP
//!                             ├─ Publisher ─► ingest::publish
//!                             └─ Feed (one per stream): packets shared by all its readers
//! ```
//!
//! One task per connection, on the media runtime. A reader holds a place in the ring and writes shared bytes, one write for
//! all that is there: what it costs is the write.
//!
//! Limits: the door's, and those named in the modules.
//! Spec: RFC 2326, RFC 3550, RFC 3551.

mod connection;
mod feed;
pub(crate) mod forward;
mod multicast;
mod out;
mod publisher;
mod reader;
mod source_clock;
pub(crate) mod stats;
mod udp;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use media_core::path_name::PathName;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{Span, debug_span, info_span};
use uuid::Uuid;

use self::connection::Connection;
use self::feed::Feeds;
use self::multicast::Groups;
use self::stats::{ConnRecord, Encryption, SessionRecord};
use self::udp::UdpPorts;
use super::door::{self, Caller, Host};
use crate::access::Access;
use crate::config::resolved::RtspConfig;
use crate::events::{Events, Lasting};
use crate::http_listener::{self, ListenError};
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// What the RTSP egress needs of the rest of the server.
pub(crate) struct RtspDeps {
    /// Where streams are found.
    pub(crate) registry: Arc<Registry>,
    /// Who may read and publish.
    pub(crate) access: Access,
    /// Who wants to know of connections.
    pub(crate) events: Events,
    /// Owns the listener's and the connections' tasks.
    pub(crate) tasks: TaskSet,
}

/// The RTSP egress.
pub(crate) struct RtspServer {
    config: RtspConfig,
    deps: RtspDeps,
    feeds: Feeds,
    /// Set when media may go over UDP.
    udp: Option<Arc<UdpPorts>>,
    /// Set when media may go to groups.
    groups: Option<Arc<Groups>>,
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
    /// Opens the listeners and starts answering.
    ///
    /// # Errors
    /// [`ListenError`] when an address or the certificate can't be used.
    pub(crate) async fn start(config: RtspConfig, deps: RtspDeps) -> Result<Arc<Self>, ListenError> {
        let feeds = Feeds::new(config.packet_bytes_max);
        let udp = match config.transports.udp.filter(|_| config.address.is_some()) {
            Some(udp) => {
                let name = "rtsp media";
                let bound = UdpPorts::bind(udp).await;
                Some(Arc::new(bound.map_err(|(address, error)| ListenError::Bind {
                    name,
                    address,
                    error,
                })?))
            }
            None => None,
        };
        let multicast = config.transports.multicast.filter(|_| config.address.is_some());
        let queue = config.write_queue_packets;
        let groups = multicast.map(|multicast| Groups::new(multicast, &deps.tasks, queue));
        let (conns, sessions, cut) = (Mutex::default(), Mutex::default(), CutReaders::default());
        let server = Arc::new(Self { config, deps, feeds, udp, groups, conns, sessions, cut });
        if let Some(udp) = &server.udp {
            let receiving = Arc::clone(udp).receive(server.deps.tasks.token().clone());
            server.deps.tasks.spawn(info_span!("rtsp_udp"), receiving);
        }
        if let Some(address) = server.config.address {
            door::open(&server, "rtsp", address, None).await?;
        }
        if let Some(tls) = &server.config.tls {
            // No application protocol is registered for RTSP.
            let acceptor = http_listener::acceptor(&tls.files, Vec::new())?;
            door::open(&server, "rtsps", tls.address, Some(acceptor)).await?;
        }
        Ok(server)
    }

    /// Whether there is a listener for such clients.
    pub(crate) fn listens(&self, encryption: Encryption) -> bool {
        match encryption {
            Encryption::None => self.config.address.is_some(),
            Encryption::Tls => self.config.tls.is_some(),
        }
    }

    /// Ends all sessions of a path that is gone.
    pub(crate) fn end_sessions_of(&self, path: &PathName) {
        let sessions = self.sessions();
        sessions
            .iter()
            .filter(|session| session.facts.path == *path)
            .for_each(|session| session.kick.cancel());
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

impl Host for RtspServer {
    type Client = Listed;

    fn tasks(&self) -> &TaskSet {
        &self.deps.tasks
    }

    fn list(self: &Arc<Self>, caller: Caller) -> (Listed, Span) {
        let Caller { peer, local, encryption } = caller;
        let record = Arc::new(ConnRecord::new(encryption, (local.ip(), peer), clock::wall_now()));
        self.lock_conns().insert(record.id, Arc::clone(&record));
        let told = self.deps.events.connected(encryption.conn_type(), record.id);
        let span = debug_span!(parent: None, "rtsp", id = %record.id, %peer);
        (Listed { server: Arc::clone(self), record, _told: told }, span)
    }

    async fn serve<S>(client: &Listed, socket: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let token = client.server.deps.tasks.token().clone();
        Connection::new(socket, &client.server, &client.record).run(token).await;
    }
}

/// Takes a connection, and what session it has, off the lists when its task ends, however it ends.
pub(super) struct Listed {
    server: Arc<RtspServer>,
    record: Arc<ConnRecord>,
    _told: Lasting,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.server.lock_conns().remove(&self.record.id);
        if let Some(session) = self.record.session() {
            self.server.unlist_session(session);
        }
    }
}
