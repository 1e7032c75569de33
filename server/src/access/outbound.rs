//! Outbound: requests to the one server that is asked about callers, over connections that are kept.
//!
//! Limits: [`AT_ONCE_MAX`] requests, [`BODY_BYTES_MAX`]; a request with all that it waits for takes no longer than `readTimeout`.
//! Redirections are not followed: they are no answer.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tracing::{debug_span, warn};

use crate::config::access::Peer;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::tls_client::{self, SetupError, dialled};

/// Requests at once; further ones wait for their turn.
const AT_ONCE_MAX: usize = 32;
/// The longest answer that is read, MediaMTX's.
const BODY_BYTES_MAX: usize = 128 << 10;
/// A complaint about the server is logged once in so long.
const COMPLAINT_EVERY: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body.
    pub(super) body: Bytes,
}

/// Why there is no answer. Texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("can't connect: {0}")]
    Connect(#[from] io::Error),
    #[error("request failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("answer is longer than {BODY_BYTES_MAX} bytes or was cut off")]
    Body,
    #[error("address is not usable")]
    Address,
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error("answer makes no sense: {0}")]
    Nonsense(String),
}

type Sender = SendRequest<Full<Bytes>>;

/// The way to one server.
pub(super) struct Outbound {
    peer: Peer,
    timeout: Duration,
    tls: Option<TlsConnector>,
    tasks: TaskSet,
    turns: Semaphore,
    idle: Mutex<Vec<Sender>>,
    complained: Mutex<Option<Instant>>,
}

impl Outbound {
    /// The way to `peer`; `key` is the setting that its certificate's fingerprint may stand in.
    ///
    /// # Errors
    /// [`SetupError`] when it is encrypted and nothing can be trusted.
    pub(super) fn new(
        peer: &Peer,
        key: &'static str,
        timeout: Duration,
        tasks: &TaskSet,
    ) -> Result<Self, SetupError> {
        let is_tls = peer.url.0.scheme() == "https";
        let config = || tls_client::client_config(default_provider(), peer.fingerprint, key);
        let config = is_tls.then(config).transpose()?;
        Ok(Self {
            peer: peer.clone(),
            timeout,
            tls: config.map(|config| TlsConnector::from(Arc::new(config))),
            tasks: tasks.clone(),
            turns: Semaphore::new(AT_ONCE_MAX),
            idle: Mutex::default(),
            complained: Mutex::default(),
        })
    }

    /// Sends a request and waits for its answer, whatever status that has.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(super) async fn ask(&self, method: Method, json: Bytes) -> Result<Answer, NoAnswer> {
        let exchange = async {
            let _turn = self.turns.acquire().await.map_err(|_| NoAnswer::Address)?;
            self.exchange(method, json).await
        };
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(NoAnswer::Late(self.timeout)))
    }

    /// Says in the log that the server does not do its part, though not each time.
    pub(super) fn complain(&self, error: &NoAnswer) {
        let now = clock::now();
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| now >= at + COMPLAINT_EVERY) {
            *complained = Some(now);
            warn!(server = %self.peer.url, %error, "callers can't be authenticated");
        }
    }

    async fn exchange(&self, method: Method, json: Bytes) -> Result<Answer, NoAnswer> {
        // A connection that was kept may be closed by now: then the next one is tried, and at last a new one.
        while let Some(mut sender) = self.idle_sender() {
            if sender.ready().await.is_ok()
                && let Ok(response) = sender.send_request(self.request(&method, &json)?).await
            {
                return self.finish(sender, response).await;
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(self.request(&method, &json)?).await?;
        self.finish(sender, response).await
    }

    fn request(&self, method: &Method, json: &Bytes) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let url = &self.peer.url.0;
        let host = url.host_str().unwrap_or_default();
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let target =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("GT-Vision/", env!("CARGO_PKG_VERSION")));
        if !json.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if !url.username().is_empty() {
            let decoded =
                |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let mut value = HeaderValue::from_str(&value).map_err(|_| NoAnswer::Address)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::new(json.clone())).map_err(|_| NoAnswer::Address)
    }

    async fn connect(&self) -> Result<Sender, NoAnswer> {
        let url = &self.peer.url.0;
        let host = dialled(url.host_str().unwrap_or_default()).to_owned();
        let port = url.port_or_known_default().ok_or(NoAnswer::Address)?;
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => {
                let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
                self.drive(connection);
                Ok(sender)
            }
            Some(tls) => {
                let name = ServerName::try_from(host).map_err(|_| NoAnswer::Address)?;
                let stream = tls.connect(name, tcp).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                self.drive(connection);
                Ok(sender)
            }
        }
    }

    /// A connection reads and writes as a task of its own until either side ends it.
    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let token = self.tasks.token().clone();
        self.tasks.spawn(debug_span!("access_outbound"), async move {
            tokio::select! {
                ended = connection => drop(ended),
                () = token.cancelled() => {}
            }
        });
    }

    async fn finish(&self, sender: Sender, response: http::Response<Incoming>) -> Result<Answer, NoAnswer> {
        let status = response.status();
        let collected = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = collected.map_err(|_| NoAnswer::Body)?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < AT_ONCE_MAX {
            idle.push(sender);
        }
        Ok(Answer { status, body })
    }

    fn idle_sender(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }
}
