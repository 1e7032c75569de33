//! RTMP: serves players and takes encoders, plain and over TLS.
//!
//! ```text
//!  door ──► connection (one task) ─┬─ publisher ─► ingest::publish
//!                                  └─ reader ◄── ring; its queue is handles of shared bytes
//! ```
//!
//! What is said when is decided by media_core::rtmp, what a reader is sent by media_core::egress::rtmp.
//! Limits: the door's, `readTimeout`, `writeTimeout`, `writeQueueSize`.

mod connection;
pub(crate) mod forward;
mod publisher;
mod reader;
pub(crate) mod stats;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use media_core::path_name::PathName;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{Span, debug_span};
use uuid::Uuid;

use self::connection::Connection;
use self::stats::ConnRecord;
use super::door::{self, Caller, Host};
use super::rtsp::stats::Encryption;
use crate::access::Access;
use crate::config::resolved::RtmpConfig;
use crate::events::{Events, Lasting};
use crate::http_listener::{self, ListenError};
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// What RTMP needs of the rest of the server.
pub(crate) struct RtmpDeps {
    /// Where streams are found.
    pub(crate) registry: Arc<Registry>,
    /// Who may read and publish.
    pub(crate) access: Access,
    /// Who wants to know of connections.
    pub(crate) events: Events,
    /// Owns the listeners' and the connections' tasks.
    pub(crate) tasks: TaskSet,
}

/// RTMP's listeners and their connections.
pub(crate) struct RtmpServer {
    config: RtmpConfig,
    deps: RtmpDeps,
    conns: Mutex<HashMap<Uuid, Arc<ConnRecord>>>,
    cut_readers: AtomicU64,
    discarded_units: AtomicU64,
}

impl RtmpServer {
    /// Opens the listeners and starts answering.
    ///
    /// # Errors
    /// [`ListenError`] when an address or the certificate can't be used.
    pub(crate) async fn start(config: RtmpConfig, deps: RtmpDeps) -> Result<Arc<Self>, ListenError> {
        let (cut_readers, discarded_units) = (AtomicU64::new(0), AtomicU64::new(0));
        let server = Arc::new(Self { config, deps, conns: Mutex::default(), cut_readers, discarded_units });
        if let Some(address) = server.config.address {
            door::open(&server, "rtmp", address, None).await?;
        }
        if let Some(tls) = &server.config.tls {
            // No application protocol is registered for RTMP.
            let acceptor = http_listener::acceptor(&tls.files, Vec::new())?;
            door::open(&server, "rtmps", tls.address, Some(acceptor)).await?;
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

    /// Ends all connections of a path that is gone.
    pub(crate) fn end_conns_of(&self, path: &PathName) {
        let is_at = |conn: &&Arc<ConnRecord>| conn.purpose().is_some_and(|purpose| purpose.path == *path);
        self.conns().iter().filter(is_at).for_each(|conn| conn.kick.cancel());
    }

    /// The records of all connections, in no order.
    pub(crate) fn conns(&self) -> Vec<Arc<ConnRecord>> {
        self.lock_conns().values().cloned().collect()
    }

    /// Readers cut for being too slow so far, and the access units that waited for them.
    pub(crate) fn cut_readers(&self) -> (u64, u64) {
        (self.cut_readers.load(Ordering::Relaxed), self.discarded_units.load(Ordering::Relaxed))
    }

    fn count_cut_reader(&self, units: u64) {
        self.cut_readers.fetch_add(1, Ordering::Relaxed);
        self.discarded_units.fetch_add(units, Ordering::Relaxed);
    }

    fn lock_conns(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<ConnRecord>>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for RtmpServer {
    type Client = Listed;

    fn tasks(&self) -> &TaskSet {
        &self.deps.tasks
    }

    fn list(self: &Arc<Self>, Caller { peer, encryption, .. }: Caller) -> (Listed, Span) {
        let record = Arc::new(ConnRecord::new(encryption, peer, clock::wall_now()));
        self.lock_conns().insert(record.id, Arc::clone(&record));
        let told = self.deps.events.connected(record.conn_type(), record.id);
        let span = debug_span!(parent: None, "rtmp", id = %record.id, %peer);
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

/// Takes a connection off the list when its task ends, however it ends.
pub(super) struct Listed {
    server: Arc<RtmpServer>,
    record: Arc<ConnRecord>,
    _told: Lasting,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.server.lock_conns().remove(&self.record.id);
    }
}
