//! HTTP listener: sockets, TLS and HTTP framing with their limits; one task a connection.
//!
//! HTTP/1.1, and HTTP/2 over TLS by ALPN (correctness: H15).
//! Limits: [`CONNECTIONS_MAX`], [`HEADER_BYTES_MAX`], [`HEADERS_MAX`], [`HEADER_TIMEOUT`], [`TLS_TIMEOUT`],
//! [`WRITE_STALL_MAX`], [`HTTP2_STREAMS_MAX`].

mod stall;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::config::resolved::TlsFiles;
use crate::runtime::tasks::TaskSet;
use crate::tls_client::SetupError;
use stall::StallGuard;

/// Connections at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 10_000;
/// The longest request head of HTTP/1.1, and header list of HTTP/2; 431 beyond.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// The most headers in a request; 431 beyond.
const HEADERS_MAX: usize = 64;
/// A request head must be complete, and an idle connection used again, within this time; closed beyond.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A TLS handshake must be complete within this time; closed beyond.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that takes no byte of an answer for so long is cut.
const WRITE_STALL_MAX: Duration = Duration::from_secs(10);
/// Requests at once on an HTTP/2 connection: a player holds a playlist and a part, a page has a grid of players.
const HTTP2_STREAMS_MAX: u32 = 128;
/// After a failed accept (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections end within this time of a shutdown, or are dropped.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// The listener can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The address is taken or not ours.
    #[error("{name} cannot listen on {address}: {error}")]
    Bind {
        /// What wanted to.
        name: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: std::io::Error,
    },
    /// A certificate or key can't be read.
    #[error("cannot read {}: {error}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: rustls_pki_types::pem::Error,
    },
    /// Its start panicked; the log says where.
    #[error("{name} cannot be started: an internal error, see the log")]
    Panicked {
        /// What wanted to listen.
        name: &'static str,
    },
    /// Whoever is to be asked about callers can't be.
    #[error("access rules cannot be in force: {0}")]
    Access(#[from] SetupError),
    /// Certificate and key don't fit together or are not usable.
    #[error("certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

impl ListenError {
    /// Whether somebody else listens there, perhaps for a moment only.
    pub(crate) fn is_address_in_use(&self) -> bool {
        matches!(self, Self::Bind { error, .. } if error.kind() == std::io::ErrorKind::AddrInUse)
    }
}

/// Answers requests. Each connection's task calls it; it must not block.
pub(crate) trait Answer: Send + Sync + 'static {
    /// The body of its answers.
    type Body: Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + 'static;

    /// Answers one request of `peer`.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Where and how to listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint<'a> {
    /// What listens, for log lines.
    pub(crate) name: &'static str,
    /// Where.
    pub(crate) address: SocketAddr,
    /// Certificate and key when encrypted.
    pub(crate) tls: Option<&'a TlsFiles>,
}

/// Opens the listener and starts answering as tasks of `tasks`; the address it listens on comes back.
///
/// # Errors
/// [`ListenError`] when the address or the certificate can't be used.
pub(crate) async fn serve<A: Answer>(
    endpoint: Endpoint<'_>,
    answer: Arc<A>,
    tasks: &TaskSet,
) -> Result<SocketAddr, ListenError> {
    let Endpoint { name, address, tls } = endpoint;
    let protocols = || vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = tls.map(|files| acceptor(files, protocols())).transpose()?;
    let bind = |error| ListenError::Bind { name, address, error };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let accepting = Accept { answer, tasks: tasks.clone(), listener, tls };
    tasks.spawn(tracing::info_span!("listen", server = name, address = %bound), accepting.run());
    tracing::info!(server = name, address = %bound, "listening");
    Ok(bound)
}

/// An axum router as an [`Answer`]; the peer's address is its `ConnectInfo`.
#[derive(Debug)]
pub(crate) struct RouterAnswer(pub(crate) axum::Router);

impl Answer for RouterAnswer {
    type Body = axum::body::Body;

    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Self::Body> {
        request.extensions_mut().insert(ConnectInfo(peer));
        match self.0.clone().oneshot(request.map(axum::body::Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Takes TLS connections with this certificate, for these application protocols (ALPN; none for any).
///
/// # Errors
/// [`ListenError`] when the certificate can't be used.
pub(crate) fn acceptor(files: &TlsFiles, protocols: Vec<Vec<u8>>) -> Result<TlsAcceptor, ListenError> {
    let fault = |file: &PathBuf, error| ListenError::Pem { file: file.clone(), error };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| fault(&files.certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fault(&files.key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocols;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct Accept<A> {
    answer: Arc<A>,
    tasks: TaskSet,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl<A: Answer> Accept<A> {
    async fn run(self) {
        let tasks = self.tasks.clone();
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&seats) => accepted,
                () = tasks.token().cancelled() => return,
            };
            let Some((socket, peer, seat)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let connection =
                Connection { answer: Arc::clone(&self.answer), peer, token: tasks.token().clone() };
            let tls = self.tls.clone();
            let span = tracing::debug_span!("connection", %peer);
            tasks.spawn(span, async move {
                connection.run(socket, tls).await;
                drop(seat);
            });
        }
    }

    async fn accept(&self, seats: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let seat = Arc::clone(seats).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((socket, peer)) => Some((socket, peer, seat)),
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                None
            }
        }
    }
}

struct Connection<A> {
    answer: Arc<A>,
    peer: SocketAddr,
    token: CancellationToken,
}

impl<A: Answer> Connection<A> {
    async fn run(self, socket: TcpStream, tls: Option<TlsAcceptor>) {
        // Playlists and parts are small and wanted at once.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "socket option refused");
        }
        let socket = StallGuard::new(socket, WRITE_STALL_MAX);
        match tls {
            None => self.http(socket).await,
            Some(tls) => match tokio::time::timeout(TLS_TIMEOUT, tls.accept(socket)).await {
                Ok(Ok(socket)) => self.http(socket).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            },
        }
    }

    async fn http(self, socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { answer, peer, token } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = Arc::clone(&answer);
            async move { Ok::<_, Infallible>(answer.answer(request, peer).await) }
        });
        let builder = builder();
        let connection = builder.serve_connection(TokioIo::new(socket), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = token.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(GOODBYE_MAX, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error = %error, "connection ended");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HEADER_TIMEOUT);
    builder
}
