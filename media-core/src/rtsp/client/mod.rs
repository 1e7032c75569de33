//! RTSP client: the dialogue with one camera, as a machine without sockets or clocks.
//!
//! ```text
//!  OPTIONS ─► DESCRIBE ─► Described ─(driver: setup.., play)─► SETUP.. ─► PLAY ─► Playing ─► keep-alive.. ─► TEARDOWN
//!                 └─ 401: answer the challenge, once per request
//!  OPTIONS ─► ANNOUNCE ─► Announced ─(driver: setup_recorded.., record)─► SETUP.. ─► RECORD ─► Recording (Client::publish)
//! ```
//!
//! The driver reads the socket into a buffer and calls [`Client::next_event`] until it is `None`, writes what
//! [`Client::poll_transmit`] gives, and calls [`Client::handle_timeout`] when [`Client::poll_timeout`] has come.
//!
//! Limits: one request is under way at a time; each has `request_timeout`; messages are bounded by framing.
//! Spec: RFC 2326; RFC 7616 for Digest. Deviations, for real cameras: a reply with a wrong CSeq is taken as the
//! answer to the one request under way (counted), a failed keep-alive is no failure, data on a channel that was not set up is dropped
//! (counted), controls are appended to the base rather than resolved.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http_auth::digest::Algorithm;
use http_auth::{PasswordClient, PasswordParams};
use rtsp_types::headers::{self, HeaderName};
use rtsp_types::{Method, Request, Response, StatusCode, Version};
use url::Url;

use super::framing::{Frame, Framer, FramingError};
use super::sdp::{self, SdpError, SdpMedia};
use super::server::Mode;
use super::transport::{LowerTransport, TransportReply};

/// Session time-out where the camera names none (RFC 2326 s12.37).
const SESSION_TIMEOUT_DEFAULT_S: u64 = 60;

/// The longest time between keep-alives, for the firewalls in between.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(30);

/// Answers to challenges per request: one for the challenge, one for a nonce that went stale meanwhile.
const AUTH_TRIES_MAX: u8 = 2;

/// What the dialogue needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where to, without credentials.
    pub url: Url,
    /// User and password.
    pub credentials: Option<Credentials>,
    /// User-Agent header.
    pub user_agent: String,
    /// How long a request may stay unanswered.
    pub request_timeout: Duration,
    /// PLAY's Range header: `npt=0.000-` for all there is.
    pub range: String,
    /// PLAY's Scale header, where one is wanted.
    pub scale: Option<String>,
}

/// User and password; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(hidden)")
    }
}

/// RTP or RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Media.
    Rtp,
    /// Reports.
    Rtcp,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The camera told its tracks: choose, [`Client::setup`] each, then [`Client::play`].
    Described(Vec<SdpMedia>),
    /// Our tracks were taken: [`Client::setup_recorded`] each, then [`Client::record`].
    Announced,
    /// A track was set up.
    SetUp {
        /// The number given to [`Client::setup`].
        track: usize,
        /// What the camera answered.
        reply: TransportReply,
    },
    /// PLAY was accepted.
    Playing,
    /// RECORD was accepted: media may be sent.
    Recording,
    /// An interleaved packet.
    Media {
        /// The number given to [`Client::setup`].
        track: usize,
        /// RTP or RTCP.
        kind: MediaKind,
        /// The packet.
        packet: Bytes,
    },
}

/// Why the dialogue ended. Holds no secret: URLs are without credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The byte stream makes no sense any more.
    #[error("camera sent bytes that are not rtsp: {0}")]
    Framing(#[from] FramingError),
    /// A request was refused.
    #[error("camera answered {status} {reason} to {method}")]
    Refused {
        /// Request method.
        method: String,
        /// Status code.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The camera wants credentials and the source URL has none.
    #[error("camera asks for user and password, the source url has none")]
    CredentialsMissing,
    /// The camera does not accept the credentials.
    #[error("camera refused user and password (401 to {method})")]
    CredentialsRefused {
        /// Request method.
        method: String,
    },
    /// A challenge that can't be answered.
    #[error("camera's authentication challenge can't be answered: {reason}")]
    Challenge {
        /// Why.
        reason: String,
    },
    /// The DESCRIBE answer is no use.
    #[error(transparent)]
    Sdp(#[from] SdpError),
    /// No answer in time.
    #[error("no answer to {method} within {} s", timeout.as_secs_f32())]
    Timeout {
        /// Request method.
        method: String,
        /// The time it had.
        timeout: Duration,
    },
    /// The camera points elsewhere. Not followed: the source URL is the only address the operator allowed.
    #[error("camera redirects ({status}); redirects are not followed, set the source to the new address")]
    Redirected {
        /// Status code.
        status: u16,
    },
    /// The camera does not do the asked transport.
    #[error("camera does not support this transport (461)")]
    UnsupportedTransport,
    /// The camera ended the session.
    #[error("camera ended the session ({method})")]
    EndedByCamera {
        /// Its request.
        method: String,
    },
    /// A URL from the camera that can't be used.
    #[error("camera gave an unusable control url: {url}")]
    ControlUrl {
        /// As given.
        url: String,
    },
}

/// The dialogue with one camera.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    framer: Framer,
    base: String,
    auth: Option<PasswordClient>,
    session: Option<String>,
    queue: VecDeque<Exchange>,
    pending: Option<Pending>,
    out: VecDeque<Bytes>,
    next_cseq: u32,
    keep_alive: KeepAlive,
    channels: Vec<(u8, usize)>,
    /// What is announced by a client that publishes.
    announcement: String,
    stats: ClientStats,
}

/// Oddities seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Replies whose CSeq was not the request's.
    pub wrong_cseqs: u64,
    /// Packets on channels that were not set up.
    pub unknown_channel_packets: u64,
    /// Keep-alives that were refused or not answered.
    pub failed_keep_alives: u64,
}

#[derive(Debug)]
struct KeepAlive {
    method: Method,
    interval: Duration,
    next: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Exchange {
    purpose: Purpose,
    url: Url,
    auth_tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Options,
    Describe,
    Announce,
    Setup { track: usize, transport: LowerTransport, mode: Mode },
    Play,
    Record,
    KeepAlive,
    Teardown,
}

#[derive(Debug)]
struct Pending {
    exchange: Exchange,
    cseq: u32,
    deadline: Instant,
}

impl Client {
    /// Begins a dialogue; the first requests are ready in [`Client::poll_transmit`].
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        Self::begin(config, Purpose::Describe, String::new(), now)
    }

    /// Begins one in which we send: `sdp` describes our tracks.
    pub fn publish(config: ClientConfig, sdp: String, now: Instant) -> Self {
        Self::begin(config, Purpose::Announce, sdp, now)
    }

    fn begin(config: ClientConfig, purpose: Purpose, announcement: String, now: Instant) -> Self {
        let mut client = Self {
            framer: Framer::default(),
            base: config.url.to_string(),
            auth: None,
            session: None,
            queue: VecDeque::new(),
            pending: None,
            out: VecDeque::new(),
            next_cseq: 1,
            keep_alive: KeepAlive {
                method: Method::Options,
                interval: Duration::from_secs(SESSION_TIMEOUT_DEFAULT_S / 2),
                next: None,
            },
            channels: Vec::new(),
            announcement,
            stats: ClientStats::default(),
            config,
        };
        let url = client.config.url.clone();
        client.enqueue(Purpose::Options, url.clone(), now);
        client.enqueue(purpose, url, now);
        client
    }

    /// Oddities seen so far.
    pub fn stats(&self) -> ClientStats {
        self.stats
    }

    /// Sets up one track; `track` is the caller's number for it.
    ///
    /// # Errors
    /// [`ClientError::ControlUrl`] when the camera's control URL can't be used.
    pub fn setup(
        &mut self,
        track: usize,
        media: &SdpMedia,
        transport: LowerTransport,
        now: Instant,
    ) -> Result<(), ClientError> {
        let url = parse_control(&media.control)?;
        self.enqueue(Purpose::Setup { track, transport, mode: Mode::Play }, url, now);
        Ok(())
    }

    /// Sets up a track that was announced under this control.
    ///
    /// # Errors
    /// [`ClientError::ControlUrl`] when our own URL can't be used.
    pub fn setup_recorded(
        &mut self,
        track: usize,
        control: &str,
        transport: LowerTransport,
        now: Instant,
    ) -> Result<(), ClientError> {
        let url = parse_control(&format!("{}/{control}", self.base.trim_end_matches('/')))?;
        self.enqueue(Purpose::Setup { track, transport, mode: Mode::Record }, url, now);
        Ok(())
    }

    /// Asks to send once the tracks are set up.
    ///
    /// # Errors
    /// [`ClientError::ControlUrl`] when our own URL can't be used.
    pub fn record(&mut self, now: Instant) -> Result<(), ClientError> {
        let url = parse_control(&self.base)?;
        self.enqueue(Purpose::Record, url, now);
        Ok(())
    }

    /// Starts the media after the tracks are set up.
    ///
    /// # Errors
    /// [`ClientError::ControlUrl`] when the camera's base URL can't be used.
    pub fn play(&mut self, now: Instant) -> Result<(), ClientError> {
        let url = parse_control(&self.base)?;
        self.enqueue(Purpose::Play, url, now);
        Ok(())
    }

    /// Ends the session politely; nothing is waited for.
    pub fn teardown(&mut self, now: Instant) {
        if self.session.is_some()
            && let Ok(url) = parse_control(&self.base)
        {
            self.pending = None;
            self.queue.clear();
            self.enqueue(Purpose::Teardown, url, now);
        }
    }

    /// Sends an RTCP packet for a track that is interleaved; nothing happens for others.
    pub fn send_rtcp(&mut self, track: usize, packet: &[u8]) {
        let channel =
            self.channels.iter().find(|(_, t)| *t == track).map(|(channel, _)| channel.saturating_add(1));
        if let (Some(channel), Ok(len)) = (channel, u16::try_from(packet.len())) {
            let mut out = BytesMut::with_capacity(4 + packet.len());
            out.put_slice(&[b'$', channel]);
            out.put_u16(len);
            out.put_slice(packet);
            self.out.push_back(out.freeze());
        }
    }

    /// Bytes to write next.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// When to call [`Client::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.pending.as_ref().map(|pending| pending.deadline);
        [deadline, self.keep_alive.next].into_iter().flatten().min()
    }

    /// Sends the keep-alive that is due; notices an unanswered request.
    ///
    /// # Errors
    /// [`ClientError::Timeout`], except for keep-alives.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if let Some(pending) = self.pending.take_if(|pending| pending.deadline <= now) {
            if pending.exchange.purpose == Purpose::KeepAlive {
                self.stats.failed_keep_alives += 1;
            } else {
                let method = pending.exchange.purpose.method(&self.keep_alive).to_string_lossless();
                return Err(ClientError::Timeout { method, timeout: self.config.request_timeout });
            }
        }
        if self.keep_alive.next.is_some_and(|next| next <= now) {
            self.keep_alive.next = Some(now + self.keep_alive.interval);
            let url = parse_control(&self.base)?;
            self.enqueue(Purpose::KeepAlive, url, now);
        }
        Ok(())
    }

    /// Takes the next event out of the bytes received; `None` when more bytes are needed.
    ///
    /// # Errors
    /// Any [`ClientError`] ends the dialogue.
    pub fn next_event(&mut self, buf: &mut BytesMut, now: Instant) -> Result<Option<Event>, ClientError> {
        while let Some(frame) = self.framer.next(buf)? {
            let event = match frame {
                Frame::Data { channel, payload } => self.handle_data(channel, payload),
                Frame::Response(response) => self.handle_response(&response, now)?,
                Frame::Request(request) => self.handle_request(&request)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    fn handle_data(&mut self, channel: u8, packet: Bytes) -> Option<Event> {
        let found =
            self.channels.iter().find(|(rtp, _)| *rtp == channel || rtp.checked_add(1) == Some(channel));
        let Some((rtp, track)) = found else {
            self.stats.unknown_channel_packets += 1;
            return None;
        };
        let kind = if *rtp == channel { MediaKind::Rtp } else { MediaKind::Rtcp };
        Some(Event::Media { track: *track, kind, packet })
    }

    fn handle_response(
        &mut self,
        response: &Response<Vec<u8>>,
        now: Instant,
    ) -> Result<Option<Event>, ClientError> {
        let Some(pending) = self.pending.take() else {
            self.stats.wrong_cseqs += 1;
            return Ok(None);
        };
        if header(response, &headers::CSEQ).and_then(|cseq| cseq.parse().ok()) != Some(pending.cseq) {
            self.stats.wrong_cseqs += 1;
        }
        let status = response.status();
        let event = if status == StatusCode::Unauthorized {
            self.answer_challenge(response, pending.exchange, now)?;
            None
        } else if status.is_success() {
            self.accepted(pending.exchange.purpose, response, now)?
        } else {
            self.refused(pending.exchange.purpose, response)?;
            None
        };
        self.send_next(now);
        Ok(event)
    }

    fn answer_challenge(
        &mut self,
        response: &Response<Vec<u8>>,
        exchange: Exchange,
        now: Instant,
    ) -> Result<(), ClientError> {
        if self.config.credentials.is_none() {
            return Err(ClientError::CredentialsMissing);
        }
        if exchange.auth_tries >= AUTH_TRIES_MAX {
            let method = exchange.purpose.method(&self.keep_alive).to_string_lossless();
            return Err(ClientError::CredentialsRefused { method });
        }
        let challenges = header(response, &headers::WWW_AUTHENTICATE).unwrap_or_default();
        let client = PasswordClient::builder().challenges(challenges).build();
        self.auth = Some(client.map_err(|reason| ClientError::Challenge { reason })?);
        self.queue.push_front(Exchange { auth_tries: exchange.auth_tries + 1, ..exchange });
        self.send_next(now);
        Ok(())
    }

    fn accepted(
        &mut self,
        purpose: Purpose,
        response: &Response<Vec<u8>>,
        now: Instant,
    ) -> Result<Option<Event>, ClientError> {
        match purpose {
            Purpose::Options => {
                let public = header(response, &headers::PUBLIC).unwrap_or_default().to_ascii_uppercase();
                if public.split(',').any(|method| method.trim() == "GET_PARAMETER") {
                    self.keep_alive.method = Method::GetParameter;
                }
                Ok(None)
            }
            Purpose::Describe => {
                let base = header(response, &headers::CONTENT_BASE);
                let base = base.or_else(|| header(response, &headers::CONTENT_LOCATION));
                let usable = base.map(str::trim).filter(|base| Url::parse(base).is_ok());
                if let Some(base) = usable {
                    self.base = base.to_owned();
                }
                Ok(Some(Event::Described(sdp::parse(response.body(), &self.base)?)))
            }
            Purpose::Announce => Ok(Some(Event::Announced)),
            Purpose::Setup { track, transport, .. } => Ok(Some(self.set_up(track, transport, response))),
            Purpose::Play | Purpose::Record => {
                self.keep_alive.next = Some(now + self.keep_alive.interval);
                Ok(Some(if purpose == Purpose::Record { Event::Recording } else { Event::Playing }))
            }
            Purpose::KeepAlive | Purpose::Teardown => Ok(None),
        }
    }

    fn set_up(&mut self, track: usize, asked: LowerTransport, response: &Response<Vec<u8>>) -> Event {
        if let Some(session) = header(response, &headers::SESSION) {
            let mut parts = session.split(';');
            self.session = parts.next().map(|id| id.trim().to_owned());
            let timeout =
                parts.find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse::<u64>().ok());
            let timeout = Duration::from_secs(timeout.unwrap_or(SESSION_TIMEOUT_DEFAULT_S).max(2));
            self.keep_alive.interval = (timeout / 2).min(KEEP_ALIVE_MAX);
        }
        let reply = TransportReply::parse(header(response, &headers::TRANSPORT).unwrap_or_default());
        let channel = match asked {
            // A camera that leaves the channel out means the one asked for.
            LowerTransport::Tcp { channel } => Some(reply.channel.unwrap_or(channel)),
            LowerTransport::Udp { .. } => reply.channel,
        };
        self.channels.extend(channel.map(|channel| (channel, track)));
        Event::SetUp { track, reply: TransportReply { channel, ..reply } }
    }

    fn refused(&mut self, purpose: Purpose, response: &Response<Vec<u8>>) -> Result<(), ClientError> {
        let status = u16::from(response.status());
        match (purpose, status) {
            (Purpose::Options | Purpose::Teardown, _) => Ok(()),
            (Purpose::KeepAlive, _) => {
                self.stats.failed_keep_alives += 1;
                // RFC 2326 s10.8: a server may not know GET_PARAMETER; OPTIONS it must.
                self.keep_alive.method = Method::Options;
                Ok(())
            }
            (_, 300..=399) => Err(ClientError::Redirected { status }),
            (Purpose::Setup { .. }, 461) => Err(ClientError::UnsupportedTransport),
            _ => Err(ClientError::Refused {
                method: purpose.method(&self.keep_alive).to_string_lossless(),
                status,
                reason: response.reason_phrase().chars().take(80).collect(),
            }),
        }
    }

    /// Requests from the camera: answered, so that it does not give up on us.
    fn handle_request(&mut self, request: &Request<Vec<u8>>) -> Result<Option<Event>, ClientError> {
        let method = request.method().to_string_lossless();
        let status = match request.method() {
            Method::Options | Method::GetParameter | Method::SetParameter => StatusCode::Ok,
            Method::Teardown | Method::Redirect => return Err(ClientError::EndedByCamera { method }),
            _ => StatusCode::NotImplemented,
        };
        let cseq = request.header(&headers::CSEQ).map_or("0", |cseq| cseq.as_str()).to_owned();
        let response = Response::builder(Version::V1_0, status).header(headers::CSEQ, cseq).empty();
        let mut bytes = Vec::new();
        if response.write(&mut bytes).is_ok() {
            self.out.push_back(bytes.into());
        }
        Ok(None)
    }

    fn enqueue(&mut self, purpose: Purpose, url: Url, now: Instant) {
        self.queue.push_back(Exchange { purpose, url, auth_tries: 0 });
        self.send_next(now);
    }

    /// Writes the next request unless one is under way.
    fn send_next(&mut self, now: Instant) {
        if self.pending.is_some() {
            return;
        }
        let Some(exchange) = self.queue.pop_front() else { return };
        let cseq = self.next_cseq;
        self.next_cseq = self.next_cseq.wrapping_add(1);
        let request = self.request(&exchange, cseq);
        let mut bytes = Vec::with_capacity(256);
        if request.write(&mut bytes).is_ok() {
            self.out.push_back(bytes.into());
        }
        self.pending = Some(Pending { exchange, cseq, deadline: now + self.config.request_timeout });
    }

    fn request(&mut self, exchange: &Exchange, cseq: u32) -> Request<Vec<u8>> {
        let method = exchange.purpose.method(&self.keep_alive);
        let method_name = method.to_string_lossless();
        let mut request = Request::builder(method, Version::V1_0)
            .request_uri(exchange.url.clone())
            .header(headers::CSEQ, cseq.to_string())
            .header(headers::USER_AGENT, self.config.user_agent.clone());
        match exchange.purpose {
            Purpose::Describe => request = request.header(headers::ACCEPT, "application/sdp"),
            Purpose::Announce => request = request.header(headers::CONTENT_TYPE, "application/sdp"),
            Purpose::Setup { transport, mode, .. } => {
                request = request.header(headers::TRANSPORT, transport.header(mode));
            }
            Purpose::Play => {
                request = request.header(headers::RANGE, self.config.range.clone());
                if let Some(scale) = &self.config.scale {
                    request = request.header(headers::SCALE, scale.clone());
                }
            }
            Purpose::Options | Purpose::Record | Purpose::KeepAlive | Purpose::Teardown => {}
        }
        if let Some(session) = &self.session {
            request = request.header(headers::SESSION, session.clone());
        }
        if let (Some(auth), Some(credentials)) = (&mut self.auth, &self.config.credentials) {
            let params = PasswordParams {
                username: &credentials.user,
                password: &credentials.password,
                uri: exchange.url.as_str(),
                method: &method_name,
                body: Some(&[]),
            };
            if let Ok(answer) = auth.respond(&params) {
                request = request.header(headers::AUTHORIZATION, with_algorithm(auth, answer));
            }
        }
        let body = match exchange.purpose {
            Purpose::Announce => self.announcement.clone().into_bytes(),
            _ => Vec::new(),
        };
        request.build(body)
    }
}

/// An answer to a challenge without qop leaves the algorithm out (RFC 2069 knew one only), which then reads as MD5
/// (RFC 7616 s3.4): cameras that ask for SHA-256 that way refuse it.
fn with_algorithm(auth: &PasswordClient, answer: String) -> String {
    match auth {
        PasswordClient::Digest(digest)
            if digest.rfc2069_compat() && digest.algorithm() == Algorithm::Sha256 =>
        {
            answer + ", algorithm=SHA-256"
        }
        _ => answer,
    }
}

impl Purpose {
    fn method(self, keep_alive: &KeepAlive) -> Method {
        match self {
            Self::Options => Method::Options,
            Self::Describe => Method::Describe,
            Self::Announce => Method::Announce,
            Self::Record => Method::Record,
            Self::Setup { .. } => Method::Setup,
            Self::Play => Method::Play,
            Self::KeepAlive => keep_alive.method.clone(),
            Self::Teardown => Method::Teardown,
        }
    }
}

/// The method's name on the wire.
trait MethodName {
    fn to_string_lossless(&self) -> String;
}

impl MethodName for Method {
    fn to_string_lossless(&self) -> String {
        <&str>::from(self).to_owned()
    }
}

fn header<'a>(response: &'a Response<Vec<u8>>, name: &HeaderName) -> Option<&'a str> {
    response.header(name).map(|value| value.as_str())
}

/// Only RTSP URLs, and never one with another scheme that a camera slips in (correctness: S2).
fn parse_control(control: &str) -> Result<Url, ClientError> {
    let url = Url::parse(control).ok().filter(|url| matches!(url.scheme(), "rtsp" | "rtsps"));
    let mut url = url.ok_or_else(|| ClientError::ControlUrl { url: control.chars().take(200).collect() })?;
    // A Content-Base may repeat the credentials; they travel in Authorization only.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(ClientError::ControlUrl { url: String::new() });
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
