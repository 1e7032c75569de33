//! RTMP: serves players and takes encoders, plain and over TLS.
//!
//! ```text
//!  listener ─► connection (one task) ─┬─ publisher ─► ingest::publish
//!                                     └─ reader ◄── ring; its queue is handles of shared bytes
//! ```
//!
//! What is said when is decided by media_core::rtmp, what a reader is sent by media_core::egress::rtmp.
//! Limits: [`CONNECTIONS_MAX`], [`TLS_TIMEOUT`], `readTimeout`, `writeTimeout`, `writeQueueSize`.

mod connection;
pub(crate) mod forward;
mod publisher;
mod reader;
pub(crate) mod stats;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::path_name::PathName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, debug_span, info, info_span, warn};
use uuid::Uuid;

use self::connection::Connection;
use self::stats::ConnRecord;
use super::rtsp::stats::Encryption;
use crate::access::Access;
use crate::config::resolved::RtmpConfig;
use crate::events::{Events, Lasting};
use crate::http_listener::{self, ListenError};
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// Connections at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// A TLS handshake must be complete within this time; closed beyond.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
            server.listen("rtmp", address, None).await?;
        }
        if let Some(tls) = &server.config.tls {
            // No application protocol is registered for RTMP.
            let acceptor = http_listener::acceptor(&tls.files, Vec::new())?;
            server.listen("rtmps", tls.address, Some(acceptor)).await?;
        }
        Ok(server)
    }

    async fn listen(
        self: &Arc<Self>,
        name: &'static str,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) -> Result<(), ListenError> {
        let bind = |error| ListenError::Bind { name, address, error };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        info!(server = name, address = %bound, "listening");
        let accepting = Arc::clone(self).accept(listener, tls);
        self.deps.tasks.spawn(info_span!("listen", server = name, address = %bound), accepting);
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let token = self.deps.tasks.token().clone();
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let next = async {
                let seat = Arc::clone(&seats).acquire_owned().await.ok()?;
                match listener.accept().await {
                    Ok((socket, peer)) => Some((socket, peer, seat)),
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
                Some((socket, peer, seat)) => self.spawn_connection((socket, peer), tls.clone(), seat),
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn spawn_connection(
        self: &Arc<Self>,
        (socket, peer): (TcpStream, SocketAddr),
        tls: Option<TlsAcceptor>,
        seat: OwnedSemaphorePermit,
    ) {
        // IPv4 where it is.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        // A picture is wanted at once.
        if let Err(error) = socket.set_nodelay(true) {
            debug!(%error, "socket option refused");
        }
        let encryption = if tls.is_some() { Encryption::Tls } else { Encryption::None };
        let record = Arc::new(ConnRecord::new(encryption, peer, clock::wall_now()));
        self.lock_conns().insert(record.id, Arc::clone(&record));
        let told = self.deps.events.connected(record.conn_type(), record.id);
        let listed = Listed { server: Arc::clone(self), id: record.id, _seat: seat, _told: told };
        let span = debug_span!(parent: None, "rtmp", id = %record.id, %peer);
        let server = Arc::clone(self);
        self.deps.tasks.spawn(span, async move {
            let _listed = listed;
            match tls {
                None => server.serve(socket, &record).await,
                Some(tls) => match tokio::time::timeout(TLS_TIMEOUT, tls.accept(socket)).await {
                    Ok(Ok(socket)) => server.serve(socket, &record).await,
                    Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
                    Err(_) => debug!("TLS handshake took too long"),
                },
            }
        });
    }

    async fn serve(
        self: &Arc<Self>,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send,
        record: &Arc<ConnRecord>,
    ) {
        Connection::new(socket, self, record).run(self.deps.tasks.token().clone()).await;
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

/// Takes a connection off the list when its task ends, however it ends.
struct Listed {
    server: Arc<RtmpServer>,
    id: Uuid,
    _seat: OwnedSemaphorePermit,
    _told: Lasting,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.server.lock_conns().remove(&self.id);
    }
}
