//! Door: a listener for clients that stay, of RTSP and RTMP: takes them in within bounds, and through TLS where it has that.
//!
//! ```text
//!  accept ─► seat ─► Host::list ─► TLS handshake ─► Host::serve, one task each
//! ```
//!
//! Limits: [`CONNECTIONS_MAX`], [`TLS_TIMEOUT`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tracing::{Span, debug, info, info_span, warn};

use super::rtsp::stats::Encryption;
use crate::http_listener::ListenError;
use crate::runtime::tasks::TaskSet;

/// Connections at once through one door; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// A TLS handshake must be complete within this time; closed beyond.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who has just come, with IPv4 addresses where they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Whence.
    pub(super) peer: SocketAddr,
    /// Ours that it came to.
    pub(super) local: SocketAddr,
    /// Whether it came to a door with TLS.
    pub(super) encryption: Encryption,
}

/// Whose clients they are.
pub(super) trait Host: Send + Sync + 'static {
    /// A client that is listed; dropping it takes it off the list.
    type Client: Send + Sync + 'static;

    /// Owns the tasks of doors and clients.
    fn tasks(&self) -> &TaskSet;

    /// Lists a client, in whose span it is served.
    fn list(self: &Arc<Self>, caller: Caller) -> (Self::Client, Span);

    /// Serves a client to its end.
    fn serve<S>(client: &Self::Client, socket: S) -> impl Future<Output = ()> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send;
}

/// Opens a door, and takes in who comes until the host's tasks are cancelled.
///
/// # Errors
/// [`ListenError::Bind`].
pub(super) async fn open<H: Host>(
    host: &Arc<H>,
    name: &'static str,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> Result<(), ListenError> {
    let bind = |error| ListenError::Bind { name, address, error };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    info!(server = name, address = %bound, "listening");
    let accepting = accept(Arc::clone(host), listener, tls);
    host.tasks().spawn(info_span!("listen", server = name, address = %bound), accepting);
    Ok(())
}

async fn accept<H: Host>(host: Arc<H>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let token = host.tasks().token().clone();
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
            Some((socket, peer, seat)) => take_in(&host, (socket, peer), tls.clone(), seat),
            None => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn take_in<H: Host>(
    host: &Arc<H>,
    (socket, peer): (TcpStream, SocketAddr),
    tls: Option<TlsAcceptor>,
    seat: OwnedSemaphorePermit,
) {
    let Ok(local) = socket.local_addr() else { return };
    // A picture is wanted at once.
    if let Err(error) = socket.set_nodelay(true) {
        debug!(%error, "socket option refused");
    }
    let encryption = if tls.is_some() { Encryption::Tls } else { Encryption::None };
    let caller = Caller { peer: canonical(peer), local: canonical(local), encryption };
    let (client, span) = host.list(caller);
    host.tasks().spawn(span, async move {
        let _seat = seat;
        match tls {
            None => H::serve(&client, socket).await,
            Some(tls) => match tokio::time::timeout(TLS_TIMEOUT, tls.accept(socket)).await {
                Ok(Ok(socket)) => H::serve(&client, socket).await,
                Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
                Err(_) => debug!("TLS handshake took too long"),
            },
        }
    });
}

/// An address as IPv4 where it is.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
