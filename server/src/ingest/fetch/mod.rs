//! Fetch: one request after the other to the servers of a source, over a connection that is kept.
//!
//! ```text
//!  address ─► scheme, reach (-> reach) ─► connection ─► answer ─┬─ 200, 206 ─► body, bounded
//!                ▲                                              └─ 3xx ─► next address, REDIRECTS_MAX times
//!                └──────────────────────────────────────────────────┘
//! ```
//!
//! User and password go to the source's own scheme, host and port alone. From https nothing leads back to http (correctness: S2).
//! Limits: each fetch's own bytes and time; [`REDIRECTS_MAX`], [`ADDRESSES_MAX`].

mod reach;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, RANGE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use media_core::hls::ByteRange;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use self::reach::Reach;
use crate::config::pulled::RemoteSource;
use crate::config::source_url::Secret;
use crate::tls_client::{self, SetupError, dialled};

/// Redirections that one fetch follows.
const REDIRECTS_MAX: usize = 5;

/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask<'a> {
    /// A resource, or a part of it.
    Get(Option<ByteRange>),
    /// To take an SDP offer.
    Post(&'a str),
    /// To forget a session.
    Delete,
}

/// What is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// For people: `playlist`, `segment`.
    pub(crate) what: &'static str,
    /// What is asked.
    pub(crate) ask: Ask<'a>,
    /// The longest body taken.
    pub(crate) bytes_max: usize,
    /// From the first packet to the last.
    pub(crate) limit: Duration,
}

/// What was fetched.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// Where it was in the end.
    pub(crate) url: Url,
    /// What it says is elsewhere: a session that was made.
    pub(crate) location: Option<Url>,
    /// The body.
    pub(crate) body: Bytes,
}

/// Why something could not be had. Texts hold nothing of the address but its host.
#[derive(Debug, thiserror::Error)]
#[error("can't get {what} of {host}: {fault}")]
pub(crate) struct FetchError {
    what: &'static str,
    host: String,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("its address begins with {0}:, only http: and https: are fetched, and only https: from https:")]
    Scheme(String),
    #[error("its address is inside of a network that the source is outside of")]
    Inside,
    #[error("its address can't be used")]
    Address,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] SetupError),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("server answered {0}")]
    Status(StatusCode),
    #[error("more than {0} bytes")]
    TooLong(usize),
    #[error("more than {REDIRECTS_MAX} redirections")]
    Redirects,
    #[error("not there within {} s", .0.as_secs_f32())]
    Late(Duration),
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection between two fetches.
struct Kept {
    origin: (String, String, u16),
    sender: SendRequest<Full<Bytes>>,
    /// Reads and writes while it is polled; `None` once it has ended.
    driver: Option<Driver>,
}

/// Fetches for one playlist.
pub(crate) struct Fetcher {
    source: RemoteSource,
    /// The setting that holds the source's fingerprint.
    fingerprint_key: &'static str,
    /// How far inside the source lies, once it was reached.
    reach: Option<Reach>,
    /// Shown in place of user and password.
    bearer: Option<Secret>,
    kept: Option<Kept>,
}

impl Fetcher {
    /// Nothing was fetched yet.
    pub(crate) fn new(source: &RemoteSource) -> Self {
        let fingerprint_key = "sourceFingerprint";
        Self { source: source.clone(), fingerprint_key, reach: None, bearer: None, kept: None }
    }

    /// The same for a server that is sent to.
    pub(crate) fn to_destination(dest: &RemoteSource) -> Self {
        Self { fingerprint_key: "destFingerprint", ..Self::new(dest) }
    }

    /// The same, with a token for the source.
    pub(crate) fn with_bearer(self, bearer: Option<Secret>) -> Self {
        Self { bearer, ..self }
    }

    /// Another one of the same source, with a connection of its own.
    pub(super) fn sibling(&self) -> Self {
        let (source, reach, bearer) = (self.source.clone(), self.reach, self.bearer.clone());
        let fingerprint_key = self.fingerprint_key;
        Self { source, fingerprint_key, reach, bearer, kept: None }
    }

    /// As if the source had been reached there.
    #[cfg(test)]
    fn set_reach(&mut self, reach: Reach) {
        self.reach = Some(reach);
    }

    /// Fetches, or does what is asked. Cancel-safe: a connection in use is given up.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(crate) async fn fetch(&mut self, url: &Url, wanted: Wanted<'_>) -> Result<Fetched, FetchError> {
        let mut url = url.clone();
        let fetched = tokio::time::timeout(wanted.limit, self.follow(&mut url, wanted)).await;
        let fetched = fetched.unwrap_or(Err(Fault::Late(wanted.limit)));
        let host = url.host_str().unwrap_or_default().to_owned();
        match fetched {
            Ok((body, location)) => Ok(Fetched { url, location, body }),
            Err(fault) => Err(FetchError { what: wanted.what, host, fault }),
        }
    }

    async fn follow(&mut self, url: &mut Url, wanted: Wanted<'_>) -> Result<(Bytes, Option<Url>), Fault> {
        for _ in 0..=REDIRECTS_MAX {
            self.check_scheme(url)?;
            let mut connection = None;
            let response = self.ask(url, wanted, &mut connection).await?;
            let Some(mut connection) = connection else { return Err(Fault::Address) };
            let status = response.status();
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.and_then(|location| url.join(location).ok());
            if wanted.ask.follows(status) {
                *url = location.ok_or(Fault::Status(status))?;
                continue;
            }
            if !status.is_success() {
                return Err(Fault::Status(status));
            }
            let body = connection.driven(read_body(response.into_body(), wanted.bytes_max)).await?;
            self.kept = Some(connection);
            return match wanted.ask {
                // A server that knows no ranges sent all of it.
                Ask::Get(Some(range)) if status == StatusCode::OK => Ok((cut(&body, range)?, location)),
                _ => Ok((body, location)),
            };
        }
        Err(Fault::Redirects)
    }

    fn check_scheme(&self, url: &Url) -> Result<(), Fault> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if !self.source.url.scheme().is_tls() => Ok(()),
            other => Err(Fault::Scheme(other.chars().take(16).collect())),
        }
    }

    /// Sends a request over the connection that is kept, if it is the right one and still there, or over a new one, and gives that
    /// connection out with the head of the answer.
    async fn ask(
        &mut self,
        url: &Url,
        wanted: Wanted<'_>,
        used: &mut Option<Kept>,
    ) -> Result<Response<Incoming>, Fault> {
        let origin = origin(url)?;
        if let Some(mut kept) = self.kept.take().filter(|kept| kept.origin == origin) {
            let request = self.request(url, wanted)?;
            let Kept { sender, driver, .. } = &mut kept;
            let asking = async {
                sender.ready().await?;
                sender.send_request(request).await
            };
            if let Ok(response) = drive(driver, asking).await {
                *used = Some(kept);
                return Ok(response);
            }
        }
        let mut made = self.connect(url, origin).await?;
        let request = self.request(url, wanted)?;
        let response = drive(&mut made.driver, made.sender.send_request(request)).await?;
        *used = Some(made);
        Ok(response)
    }

    fn request(&self, url: &Url, wanted: Wanted<'_>) -> Result<Request<Full<Bytes>>, Fault> {
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let (method, body) = match wanted.ask {
            Ask::Get(_) => (Method::GET, Bytes::new()),
            Ask::Post(offer) => (Method::POST, Bytes::copy_from_slice(offer.as_bytes())),
            Ask::Delete => (Method::DELETE, Bytes::new()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, url[url::Position::BeforeHost..url::Position::AfterPort].to_owned())
            .header(USER_AGENT, concat!("GT-Vision/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*");
        if let Ask::Get(Some(ByteRange { start, bytes })) = wanted.ask {
            let end = start.saturating_add(bytes.saturating_sub(1));
            request = request.header(RANGE, format!("bytes={start}-{end}"));
        }
        if matches!(wanted.ask, Ask::Post(_)) {
            request = request.header(CONTENT_TYPE, "application/sdp");
        }
        if let Some(proof) = self.proof().filter(|_| self.is_home(url)) {
            let mut value = HeaderValue::from_str(&proof).map_err(|_| Fault::Address)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body)).map_err(|_| Fault::Address)
    }

    /// Who we are.
    fn proof(&self) -> Option<String> {
        if let Some(bearer) = &self.bearer {
            return Some(format!("Bearer {}", bearer.expose()));
        }
        let credentials = self.source.url.credentials()?;
        let pair = format!("{}:{}", credentials.username, credentials.password.expose());
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }

    /// Whether it is at the source's own scheme, host and port.
    fn is_home(&self, url: &Url) -> bool {
        let home = self.source.url.url();
        (url.scheme(), url.host_str(), url.port_or_known_default())
            == (home.scheme(), home.host_str(), home.port_or_known_default())
    }

    async fn connect(&mut self, url: &Url, origin: (String, String, u16)) -> Result<Kept, Fault> {
        let (host, port) = (dialled(&origin.1).to_owned(), origin.2);
        let is_home = self.is_home(url);
        let mut fault = Fault::Address;
        // What was looked at is what is connected to: no second look-up in between.
        for address in tokio::net::lookup_host((host.as_str(), port)).await?.take(ADDRESSES_MAX) {
            let reach = Reach::of(address.ip());
            if !is_home && self.reach.is_none_or(|home| reach > home) {
                fault = Fault::Inside;
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    if is_home {
                        self.reach = Some(reach);
                    }
                    // The certificate that is named is the source's own.
                    let fingerprint = (self.source.fingerprint.filter(|_| is_home), self.fingerprint_key);
                    let (sender, driver) = handshake(tcp, (url.scheme(), host.as_str()), fingerprint).await?;
                    return Ok(Kept { origin, sender, driver: Some(driver) });
                }
                Err(error) => fault = error.into(),
            }
        }
        Err(fault)
    }
}

impl Ask<'_> {
    /// Whether a redirection with this status is one to follow: an offer only to where it is to be sent as it is (correctness: W4).
    fn follows(self, status: StatusCode) -> bool {
        match self {
            Self::Get(_) => status.is_redirection(),
            Self::Post(_) => {
                matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT)
            }
            Self::Delete => false,
        }
    }
}

impl Kept {
    /// Does something that the connection brings.
    async fn driven<T>(&mut self, work: impl Future<Output = T>) -> T {
        drive(&mut self.driver, work).await
    }
}

/// Speaks HTTP over a connection, within TLS where the scheme says so.
async fn handshake(
    tcp: TcpStream,
    (scheme, host): (&str, &str),
    (fingerprint, key): (Option<[u8; 32]>, &'static str),
) -> Result<(SendRequest<Full<Bytes>>, Driver), Fault> {
    tcp.set_nodelay(true)?;
    if scheme == "http" {
        let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
        return Ok((sender, Box::pin(connection)));
    }
    let config = tls_client::client_config(default_provider(), fingerprint, key)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Fault::Address)?;
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
    Ok((sender, Box::pin(connection)))
}

/// Polls a connection beside what waits for it: it is no task of its own, and ends with its session.
async fn drive<T>(driver: &mut Option<Driver>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if driver.as_mut().is_some_and(|running| running.as_mut().poll(cx).is_ready()) {
            // What it brought is still to be read; who waits for more is told.
            *driver = None;
        }
        match work.as_mut().poll(cx) {
            // Work may have given the connection something to do.
            Poll::Pending if driver.as_mut().is_some_and(|running| running.as_mut().poll(cx).is_ready()) => {
                *driver = None;
                work.as_mut().poll(cx)
            }
            polled => polled,
        }
    })
    .await
}

async fn read_body(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Fault> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if read.len() + data.len() > bytes_max {
            return Err(Fault::TooLong(bytes_max));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

fn cut(body: &Bytes, range: ByteRange) -> Result<Bytes, Fault> {
    let start = usize::try_from(range.start).ok();
    let end = start.and_then(|start| start.checked_add(usize::try_from(range.bytes).ok()?));
    match (start, end) {
        (Some(start), Some(end)) if end <= body.len() => Ok(body.slice(start..end)),
        _ => Err(Fault::Status(StatusCode::RANGE_NOT_SATISFIABLE)),
    }
}

fn origin(url: &Url) -> Result<(String, String, u16), Fault> {
    let host = url.host_str().ok_or(Fault::Address)?.to_owned();
    let port = url.port_or_known_default().ok_or(Fault::Address)?;
    Ok((url.scheme().to_owned(), host, port))
}
