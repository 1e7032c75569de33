//! HTTP: a plain client that keeps everything that a check may want to see.
//!
//! HTTP/1.1 without TLS, decompression or redirects: what the server sent is what the
//! test sees. HTTP/2 and TLS are asked with curl.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
pub use reqwest::{Method, StatusCode};

/// No request of a test takes longer: the longest legal one is a blocking reload, which
/// the server holds for 3 target durations at most (rule H7).
const REQUEST_LIMIT: Duration = Duration::from_secs(90);

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST_LIMIT)
        .build()
        .unwrap_or_default()
});

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The address that was asked.
    pub url: String,
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, as it came over the wire.
    pub body: Bytes,
    /// When the request was sent.
    pub asked: Instant,
    /// When the first byte of the body came; when the header came, for an empty body.
    pub first_byte: Instant,
    /// When the last byte of the body came.
    pub last_byte: Instant,
}

impl Response {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.status.is_success()
    }

    /// Itself, when the status is 2xx.
    ///
    /// # Errors
    /// Any other status, with the address and the body.
    pub fn ok(self) -> anyhow::Result<Self> {
        ensure!(self.is_ok(), "{} answered {}: {}", self.url, self.status, self.text());
        Ok(self)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{}: {}", self.url, self.text()))
    }

    /// A header field as text; empty when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A GET.
///
/// # Errors
/// When there is no answer.
pub async fn get(url: &str) -> anyhow::Result<Response> {
    send(Method::GET, url, &[], Bytes::new()).await
}

/// A GET that follows one redirection, as viewers do: MediaMTX asks for it to test cookies.
///
/// # Errors
/// When there is no answer.
pub async fn get_following(url: &str) -> anyhow::Result<Response> {
    let answer = get(url).await?;
    if !answer.status.is_redirection() {
        return Ok(answer);
    }
    get(&join(url, answer.header("location"))?).await
}

/// Any request.
///
/// # Errors
/// When there is no whole answer.
pub async fn send(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Response> {
    send_with(&CLIENT, (method, url), headers, body.into()).await
}

/// The same from another of this machine's own addresses (127.0.0.0/8), over a connection of its own.
///
/// # Errors
/// As [`send`].
pub async fn send_from(
    source: Ipv4Addr,
    (method, url): (Method, &str),
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> anyhow::Result<Response> {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = builder.timeout(REQUEST_LIMIT).local_address(IpAddr::V4(source)).build()?;
    send_with(&client, (method, url), headers, body.into()).await
}

async fn send_with(
    client: &reqwest::Client,
    (method, url): (Method, &str),
    headers: &[(&str, &str)],
    body: Bytes,
) -> anyhow::Result<Response> {
    let mut request = client.request(method, url).body(reqwest::Body::from(body));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let asked = Instant::now();
    let mut answer = request.send().await.with_context(|| format!("ask {url}"))?;
    let mut first_byte = Instant::now();
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.with_context(|| format!("read {url}"))? {
        if body.is_empty() {
            first_byte = Instant::now();
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        url: url.to_owned(),
        status: answer.status(),
        headers: answer.headers().clone(),
        body: body.freeze(),
        asked,
        first_byte,
        last_byte: Instant::now(),
    })
}

/// A reference in a document at `base`, made absolute (RFC 3986 s5.2).
///
/// # Errors
/// When either is not a URL.
pub fn join(base: &str, reference: &str) -> anyhow::Result<String> {
    Ok(reqwest::Url::parse(base)?.join(reference)?.into())
}
