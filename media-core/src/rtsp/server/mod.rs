//! RTSP server: the dialogue with one client on one connection, as a machine without sockets or clocks.
//!
//! ```text
//!  DESCRIBE ─► Event::Describe ─(driver: described | refuse)
//!
//!          SETUP              PLAY                        TEARDOWN, the connection's end, silence
//!   none ─────────► Ready ◄──────────► Playing ─────────────────────────────► none
//!                     │      PAUSE
//!                     └── RECORD ──► Recording (after ANNOUNCE)
//! ```
//!
//! The driver reads the socket into a buffer and calls [`ServerConnection::next_event`] until it is `None`. An event
//! that asks for something is answered by the method that its doc names, or by [`ServerConnection::refuse`]; until then
//! nothing further is read, so answers keep the order of the requests. What stands in no need of the driver (OPTIONS,
//! GET_PARAMETER, everything that is wrong in itself) is answered here. It writes what
//! [`ServerConnection::poll_transmit`] gives and calls [`ServerConnection::handle_timeout`] when
//! [`ServerConnection::poll_timeout`] has come.
//!
//! Belongs here: messages, states, which status is due. Does not: who may do what (-> gate), which paths there are,
//! media (-> egress::rtsp).
//! Invariants: a session belongs to the connection that made it and ends with it, whatever it is set up for: an id from
//! elsewhere is not found (correctness: R1, S4). Its tracks are set up once each and travel all the same way.
//! Limits: framing's for messages; [`CSEQ_BYTES_MAX`]; one session a connection; [`SESSION_TIMEOUT`].
//! Spec: RFC 2326. Deviations: a TCP reader that takes its media counts as alive ([`ServerConnection::note_alive`]):
//! cheap players send no keep-alives, and one that is gone takes nothing.

mod check;
mod exchange;
mod request;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtsp_types::headers::{self, HeaderName};
use rtsp_types::{Request, Response, ResponseBuilder, StatusCode, Version};
use url::Url;

use self::check::Checked;
pub use self::exchange::{Refusal, RtpInfo, ServerTransport, SetUpTrack, SetupRequest, Signature};
pub use self::request::{Mode, TRANSPORT_OFFERS_MAX, Target, TransportOffer, track_control};
use super::client::MediaKind;
use super::framing::{Frame, Framer, FramingError};
use super::sdp::SdpMedia;

/// A session that is not heard of for so long ends (RFC 2326 s12.37's default, and what is announced).
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest CSeq taken, in bytes; a request with a longer one, or one of several lines, is answered 400 without it.
pub const CSEQ_BYTES_MAX: usize = 32;

/// What the dialogue needs to know.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Server header.
    pub server: String,
    /// The id of the session, should one be made: random, not to be guessed.
    pub session_id: String,
    /// How long a client may be silent that has asked nothing yet, and a publisher that records. Who has asked something
    /// has [`SESSION_TIMEOUT`]: a player on a loaded machine takes its time from one request to the next.
    pub idle_timeout: Duration,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To know the tracks: [`ServerConnection::described`].
    Describe(Target),
    /// A track: [`ServerConnection::set_up`].
    Setup(SetupRequest),
    /// The media of all set-up tracks: [`ServerConnection::playing`].
    Play,
    /// No media for now: [`ServerConnection::done`].
    Pause,
    /// The end: nothing to answer, the session is gone.
    Teardown,
    /// To send media that looks so: [`ServerConnection::done`].
    Announce {
        /// Where.
        target: Target,
        /// Its tracks.
        medias: Vec<SdpMedia>,
    },
    /// To send it now: [`ServerConnection::done`].
    Record,
    /// An interleaved packet of a set-up track; nothing to answer.
    Data {
        /// Which track.
        track: usize,
        /// RTP or RTCP.
        kind: MediaKind,
        /// The packet.
        packet: Bytes,
    },
}

/// Why the dialogue is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The byte stream makes no sense any more.
    #[error("client sent bytes that are not rtsp: {0}")]
    Framing(#[from] FramingError),
    /// Neither request nor report within [`SESSION_TIMEOUT`].
    #[error("session timed out: nothing heard for {} s", SESSION_TIMEOUT.as_secs())]
    SessionTimeout,
    /// A publisher that sent nothing within the idle time-out.
    #[error("publisher sent nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// No session, and no request in time.
    #[error("client without a session was silent for {} s", .0.as_secs())]
    Idle(Duration),
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Playing,
    Recording,
}

#[derive(Debug)]
struct Session {
    mode: Mode,
    state: State,
    /// The presentation; its `track` means nothing.
    target: Target,
    tracks: Vec<SetUpTrack>,
}

/// A request that the driver has not answered yet.
#[derive(Debug)]
struct Pending {
    cseq: String,
    /// As it was written, without credentials: the base of what is described.
    url: String,
    purpose: Purpose,
    signature: Signature,
}

#[derive(Debug, PartialEq, Eq)]
enum Purpose {
    Describe,
    Setup { target: Target, mode: Mode },
    Play,
    Pause,
    Announce { target: Target },
    Record,
}

/// The machine.
#[derive(Debug)]
pub struct ServerConnection {
    config: ServerConfig,
    framer: Framer,
    out: VecDeque<Bytes>,
    session: Option<Session>,
    /// Announced and not yet set up.
    announced: Option<Target>,
    pending: Option<Pending>,
    heard: Instant,
    has_asked: bool,
    user_agent: String,
}

impl Purpose {
    fn method(&self) -> &'static str {
        match self {
            Self::Describe => "DESCRIBE",
            Self::Setup { .. } => "SETUP",
            Self::Play => "PLAY",
            Self::Pause => "PAUSE",
            Self::Announce { .. } => "ANNOUNCE",
            Self::Record => "RECORD",
        }
    }
}

impl ServerConnection {
    /// A connection just accepted.
    pub fn new(config: ServerConfig, now: Instant) -> Self {
        Self {
            config,
            framer: Framer::default(),
            out: VecDeque::new(),
            session: None,
            announced: None,
            pending: None,
            heard: now,
            has_asked: false,
            user_agent: String::new(),
        }
    }

    /// What the client calls itself; empty until it does.
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// The set-up tracks of the session.
    pub fn tracks(&self) -> &[SetUpTrack] {
        self.session.as_ref().map_or(&[], |session| &session.tracks)
    }

    /// Whether a session exists.
    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Bytes to write next.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// When to call [`ServerConnection::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Instant {
        self.heard + self.patience()
    }

    fn patience(&self) -> Duration {
        match self.session.as_ref().map(|session| session.state) {
            Some(State::Ready | State::Playing) => SESSION_TIMEOUT,
            // A publisher that sends nothing is gone; viewers are to know.
            Some(State::Recording) => self.config.idle_timeout,
            None if self.has_asked => SESSION_TIMEOUT,
            None => self.config.idle_timeout,
        }
    }

    /// The client showed by other means that it is there: took media, sent a report over UDP.
    pub fn note_alive(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
    }

    /// Notices that the client has fallen silent.
    ///
    /// # Errors
    /// [`ServerError::SessionTimeout`], [`ServerError::Silent`] or [`ServerError::Idle`]: the connection is to be closed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ServerError> {
        // While the driver makes up its mind (an on-demand camera starts), it is not the client who is silent.
        if self.pending.is_some() || now < self.poll_timeout() {
            return Ok(());
        }
        Err(match self.session.as_ref().map(|session| session.state) {
            Some(State::Ready | State::Playing) => ServerError::SessionTimeout,
            Some(State::Recording) => ServerError::Silent(self.config.idle_timeout),
            None => ServerError::Idle(self.patience()),
        })
    }

    /// Takes the next event out of the bytes received; `None` when more bytes, or an answer, are needed.
    ///
    /// # Errors
    /// [`ServerError::Framing`] ends the dialogue.
    pub fn next_event(&mut self, buf: &mut BytesMut, now: Instant) -> Result<Option<Event>, ServerError> {
        while self.pending.is_none() {
            let Some(frame) = self.framer.next(buf)? else { return Ok(None) };
            self.heard = now;
            let event = match frame {
                Frame::Data { channel, payload } => self.data(channel, payload),
                Frame::Request(request) => self.request(&request),
                // We ask nothing.
                Frame::Response(_) => None,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// What the request shows that waits for an answer.
    pub fn signature(&self) -> Option<&Signature> {
        self.pending.as_ref().map(|pending| &pending.signature)
    }

    /// Answers DESCRIBE.
    pub fn described(&mut self, sdp: &str) {
        let Some(pending) = self.pending.take() else { return };
        debug_assert_eq!(pending.purpose, Purpose::Describe);
        let base = format!("{}/", pending.url.trim_end_matches('/'));
        let response = self
            .response(&pending.cseq, StatusCode::Ok)
            .header(headers::CONTENT_BASE, base)
            .header(headers::CONTENT_TYPE, "application/sdp")
            .build(sdp.as_bytes().to_vec());
        self.send(&response);
    }

    /// Answers SETUP: the track is in the session, which begins with the first one.
    pub fn set_up(&mut self, track: SetUpTrack) {
        let Some(pending) = self.pending.take() else { return };
        let Purpose::Setup { target, mode } = pending.purpose else { return };
        let presentation = self.announced.take().unwrap_or(target);
        let session = self.session.get_or_insert(Session {
            mode,
            state: State::Ready,
            target: presentation,
            tracks: Vec::with_capacity(2),
        });
        session.tracks.push(track);
        let id = format!("{};timeout={}", self.config.session_id, SESSION_TIMEOUT.as_secs());
        let response = self
            .response(&pending.cseq, StatusCode::Ok)
            .header(headers::TRANSPORT, track.transport.header(track.ssrc, mode))
            .header(headers::SESSION, id)
            .build(Vec::new());
        self.send(&response);
    }

    /// Answers PLAY; media may follow what [`ServerConnection::poll_transmit`] gives.
    pub fn playing(&mut self, infos: &[RtpInfo]) {
        let Some(pending) = self.pending.take() else { return };
        let base = pending.url.trim_end_matches('/');
        let infos: Vec<String> = infos
            .iter()
            .map(|info| {
                let control = track_control(info.track);
                format!("url={base}/{control};seq={};rtptime={}", info.seq, info.rtp_timestamp)
            })
            .collect();
        self.set_state(State::Playing);
        let mut response = self.session_response(&pending.cseq, StatusCode::Ok);
        if !infos.is_empty() {
            response = response.header(headers::RTP_INFO, infos.join(","));
        }
        let response = response.build(Vec::new());
        self.send(&response);
    }

    /// Answers PAUSE, ANNOUNCE or RECORD.
    pub fn done(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        match pending.purpose {
            Purpose::Pause => self.set_state(State::Ready),
            Purpose::Record => self.set_state(State::Recording),
            Purpose::Announce { target } => self.announced = Some(target),
            Purpose::Describe | Purpose::Setup { .. } | Purpose::Play => {}
        }
        let response = self.session_response(&pending.cseq, StatusCode::Ok).build(Vec::new());
        self.send(&response);
    }

    /// Answers any request with a refusal; nothing else changes.
    pub fn refuse(&mut self, refusal: &Refusal) {
        let Some(pending) = self.pending.take() else { return };
        let mut response = self.response(&pending.cseq, refusal.status());
        if let Refusal::Elsewhere { location } = refusal {
            response = response.header(headers::LOCATION, location.clone());
        }
        let response = response.build(Vec::new());
        let mut bytes = Vec::with_capacity(256);
        if response.write(&mut bytes).is_err() {
            return;
        }
        if let Refusal::Unauthorized { challenges } = refusal {
            // The library joins headers of one name into a list, which most players don't take apart.
            bytes.truncate(bytes.len().saturating_sub(2));
            for challenge in challenges {
                bytes.extend_from_slice(format!("WWW-Authenticate: {challenge}\r\n").as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
        }
        self.out.push_back(bytes.into());
    }

    fn set_state(&mut self, state: State) {
        if let Some(session) = &mut self.session {
            session.state = state;
        }
    }

    fn data(&mut self, channel: u8, packet: Bytes) -> Option<Event> {
        let found = self.tracks().iter().find_map(|track| match track.transport {
            ServerTransport::Tcp { rtp_channel, .. } if rtp_channel == channel => {
                Some((track.track, MediaKind::Rtp))
            }
            ServerTransport::Tcp { rtcp_channel, .. } if rtcp_channel == channel => {
                Some((track.track, MediaKind::Rtcp))
            }
            _ => None,
        });
        found.map(|(track, kind)| Event::Data { track, kind, packet })
    }

    /// Checks a request and turns it into an event, or answers it.
    fn request(&mut self, request: &Request<Vec<u8>>) -> Option<Event> {
        self.has_asked = true;
        let cseq = header(request, &headers::CSEQ);
        let cseq = cseq.filter(|cseq| cseq.len() <= CSEQ_BYTES_MAX && is_one_line(cseq));
        let Some(cseq) = cseq.map(str::to_owned) else {
            self.refuse_with("0", StatusCode::BadRequest);
            return None;
        };
        if let Some(agent) = header(request, &headers::USER_AGENT) {
            self.user_agent = agent.chars().take(200).collect();
        }
        match self.check(request) {
            Ok(Checked::Answered(response)) => {
                let response = response_with(response, &cseq, &self.config.server);
                self.send(&response);
                None
            }
            Ok(Checked::Teardown) => {
                let response = self.session_response(&cseq, StatusCode::Ok).build(Vec::new());
                self.send(&response);
                self.session = None;
                Some(Event::Teardown)
            }
            Ok(Checked::Asks(purpose, event)) => {
                let Some(asked) = request.request_uri() else {
                    self.refuse_with(&cseq, StatusCode::BadRequest);
                    return None;
                };
                let signature = Signature {
                    method: purpose.method(),
                    url: asked.clone(),
                    authorization: header(request, &headers::AUTHORIZATION).map(str::to_owned),
                };
                self.pending = Some(Pending { cseq, url: without_credentials(asked), purpose, signature });
                Some(event)
            }
            Err(status) => {
                let mut response = self.response(&cseq, status);
                if status == StatusCode::OptionNotSupported {
                    let options = header(request, &headers::REQUIRE).filter(|options| is_one_line(options));
                    response = response.header(headers::UNSUPPORTED, options.unwrap_or_default().to_owned());
                }
                let response = response.build(Vec::new());
                self.send(&response);
                None
            }
        }
    }

    fn refuse_with(&mut self, cseq: &str, status: StatusCode) {
        let response = self.response(cseq, status).build(Vec::new());
        self.send(&response);
    }

    fn response(&self, cseq: &str, status: StatusCode) -> ResponseBuilder {
        response_head(with_phrase(status), cseq, &self.config.server)
    }

    fn session_response(&self, cseq: &str, status: StatusCode) -> ResponseBuilder {
        let response = self.response(cseq, status);
        match self.session {
            Some(_) => response.header(headers::SESSION, self.config.session_id.clone()),
            None => response,
        }
    }

    fn send(&mut self, response: &Response<Vec<u8>>) {
        let mut bytes = Vec::with_capacity(256);
        if response.write(&mut bytes).is_ok() {
            self.out.push_back(bytes.into());
        }
    }
}

/// Cheap players compare the whole status line: `200 OK`, in RFC 2326's letters.
fn with_phrase(status: StatusCode) -> ResponseBuilder {
    let response = Response::builder(Version::V1_0, status);
    if status == StatusCode::Ok { response.reason_phrase("OK") } else { response }
}

fn response_head(response: ResponseBuilder, cseq: &str, server: &str) -> ResponseBuilder {
    response.header(headers::CSEQ, cseq).header(headers::SERVER, server)
}

fn response_with(response: ResponseBuilder, cseq: &str, server: &str) -> Response<Vec<u8>> {
    response_head(response, cseq, server).build(Vec::new())
}

fn header<'a>(request: &'a Request<Vec<u8>>, name: &HeaderName) -> Option<&'a str> {
    request.header(name).map(|value| value.as_str())
}

/// Whether a value may be sent back: the parser splits lines at CR LF alone, others do so at either, and would take what follows for a
/// header of ours.
fn is_one_line(value: &str) -> bool {
    !value.contains(char::is_control)
}

fn without_credentials(url: &Url) -> String {
    let mut url = url.clone();
    // An error means a URL that can have none.
    let _cleared = url.set_username("").and_then(|()| url.set_password(None));
    url.into()
}

#[cfg(test)]
mod tests;
