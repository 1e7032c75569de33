//! Client: the dialogue with a server that is asked for a stream, or is to take one, from our handshake to the media.
//!
//! ```text
//!  Hello ─S0 S1─► Echo ─S2─► Connecting ─_result─► Creating ─_result─┬─► Playing ─► Media ...
//!  C0 C1           C2        connect                createStream     │   play        └─► Ended
//!                              │                                     └─► Publishing ─onStatus─► Taken (the shell sends)
//!                              │                                         publish
//!                              └─ _error: authmod=adobe ─► Authenticate: the shell connects again with what it was told
//! ```
//!
//! Before `createStream` a publisher says `releaseStream` and `FCPublish`, as encoders do: some servers wait for them, others call them an
//! error, which is none.
//!
//! Adobe's authentication (`authmod=adobe`) takes up to three connections: without a name, with it, and with the answer to the challenge that
//! this brings. Other servers have user and password in the URL's query.
//!
//! Spec: RTMP s7.2; Enhanced RTMP v2 (`fourCcList`). What a server calls its refusals is told, what it writes beside is not: it may repeat a password.
//! Limits: `COMMAND_BYTES_MAX`, [`CHALLENGE_BYTES_MAX`], those of `chunk` and `amf0`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use md5::{Digest as _, Md5};

use super::amf0::{self, AmfError, Value};
use super::chunk::{ChunkError, Message};
use super::server::{COMMAND_BYTES_MAX, object_of};
use super::wire::Wire;
use super::{handshake, kind};

/// The longest value of a challenge that is answered.
pub const CHALLENGE_BYTES_MAX: usize = 256;

/// The longest name of a refusal that is told.
const CODE_BYTES_MAX: usize = 64;

/// Transactions of ours.
const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const USE_STREAM: f64 = 5.0;
const LEAVE: f64 = 6.0;

/// What is asked for, of whom and by whom.
#[derive(Clone)]
pub struct ClientConfig {
    /// `rtmp://HOST:PORT` or `rtmps://...`.
    pub server: String,
    /// The application: the URL's first two segments, or the first of two.
    pub app: String,
    /// The stream's name: the rest, with the query.
    pub stream: String,
    /// Who we are, for servers that ask.
    pub user: Option<User>,
    /// What the connections before have brought.
    pub authentication: Authentication,
    /// To get it or to send it.
    pub purpose: Purpose,
    /// What we call ourselves.
    pub user_agent: String,
    /// Unlike that of other connections.
    pub nonce: u32,
}

/// What a stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To get its media.
    Play,
    /// To send it.
    Publish,
}

/// User name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

/// How far Adobe's authentication has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// The server has not asked for it.
    #[default]
    None,
    /// It has: this time the name is told.
    Named,
    /// It has sent a challenge.
    Answer(Challenge),
}

/// What the answer is made of, besides the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    salt: String,
    challenge: String,
    opaque: String,
}

/// What a server brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// A message of pictures, sound or metadata.
    Media(Message),
    /// It takes our media now, on this message stream.
    Publishing {
        /// The stream's number.
        stream: u32,
    },
    /// The stream is over.
    Ended,
}

/// Why a server can't be asked any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It does not begin with RTMP's version 3.
    #[error("server does not speak plain RTMP")]
    Version,
    /// Its chunks.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Its commands.
    #[error("command can't be read: {0}")]
    Amf(#[from] AmfError),
    /// A command over `COMMAND_BYTES_MAX`.
    #[error("command of {got} bytes, the limit is {COMMAND_BYTES_MAX}")]
    CommandTooLong {
        /// Its bytes.
        got: usize,
    },
    /// It says no.
    #[error("server refuses: {code}")]
    Refused {
        /// What it calls that.
        code: String,
    },
    /// It wants a name and a password, and there are none.
    #[error("server wants a user and a password; write them into its URL")]
    NoUser,
    /// To be asked once more, with this.
    #[error("server asks who we are")]
    Authenticate(Authentication),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Hello,
    Echo,
    Connecting,
    Creating,
    /// The stream was asked for; some servers send without a word.
    Playing,
    /// It was offered.
    Publishing {
        stream: u32,
    },
    /// It is taken.
    Taken {
        stream: u32,
    },
}

/// One dialogue.
pub struct ClientConnection {
    config: ClientConfig,
    stage: Stage,
    wire: Wire,
}

impl ClientConnection {
    /// A dialogue that begins: poll what is to be sent.
    pub fn new(config: ClientConfig) -> Self {
        let mut wire = Wire::default();
        wire.put(handshake::hello());
        Self { config, stage: Stage::Hello, wire }
    }

    /// The next bytes to be written, in order.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.wire.poll_transmit()
    }

    /// Takes what was received; call it until `None`.
    ///
    /// # Errors
    /// [`ClientError`]: the connection is to be closed.
    pub fn next_event(&mut self, buf: &mut BytesMut) -> Result<Option<ClientEvent>, ClientError> {
        if self.stage == Stage::Hello {
            if buf.first().is_some_and(|version| *version != handshake::VERSION) {
                return Err(ClientError::Version);
            }
            let Some(mut hello) = self.wire.take_block(buf, handshake::HELLO_BYTES) else { return Ok(None) };
            self.wire.put(hello.split_off(1).freeze());
            self.stage = Stage::Echo;
        }
        if self.stage == Stage::Echo {
            if self.wire.take_block(buf, handshake::BLOCK_BYTES).is_none() {
                return Ok(None);
            }
            self.connect();
        }
        while let Some(message) = self.wire.next_message(buf)? {
            if let Some(event) = self.message(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn connect(&mut self) {
        let config = &self.config;
        let proof = config.proof();
        let app = format!("{}{proof}", config.app);
        let object = object_of([
            ("tcUrl", Value::Text(format!("{}/{app}", config.server))),
            ("app", Value::Text(app)),
            ("flashVer", Value::text(&config.user_agent)),
            ("fpad", Value::Boolean(false)),
            ("capabilities", Value::Number(15.0)),
            ("audioCodecs", Value::Number(4071.0)),
            ("videoCodecs", Value::Number(252.0)),
            ("videoFunction", Value::Number(1.0)),
            ("objectEncoding", Value::Number(0.0)),
            ("fourCcList", Value::Array(["avc1", "hvc1", "mp4a", "Opus"].map(Value::text).to_vec())),
        ]);
        self.wire.set_chunk_size();
        self.wire.command(0, &[Value::text("connect"), Value::Number(CONNECT), object]);
        self.stage = Stage::Connecting;
    }

    fn message(&mut self, message: Message) -> Result<Option<ClientEvent>, ClientError> {
        match message.kind {
            kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 => {
                Ok((self.stage == Stage::Playing).then_some(ClientEvent::Media(message)))
            }
            kind::COMMAND => self.command(&message.payload),
            kind::COMMAND_AMF3 => self.command(message.payload.get(1..).unwrap_or_default()),
            _ => Ok(None),
        }
    }

    fn command(&mut self, payload: &[u8]) -> Result<Option<ClientEvent>, ClientError> {
        if payload.len() > COMMAND_BYTES_MAX {
            return Err(ClientError::CommandTooLong { got: payload.len() });
        }
        let values = amf0::read_all(payload)?;
        let name = values.first().and_then(Value::as_text).unwrap_or_default();
        let transaction = values.get(1).unwrap_or(&Value::Null);
        let information = values.get(3).unwrap_or(&Value::Null);
        match (name, self.stage) {
            ("_result", Stage::Connecting) if *transaction == Value::Number(CONNECT) => {
                self.create();
                Ok(None)
            }
            ("_result", Stage::Creating) if *transaction == Value::Number(CREATE_STREAM) => {
                self.use_stream(stream_number(information));
                Ok(None)
            }
            // It does not know what encoders say first, or has nothing to release.
            ("_error", _) if [RELEASE_STREAM, FC_PUBLISH].map(Value::Number).contains(transaction) => {
                Ok(None)
            }
            ("_error", _) => Err(self.refusal(information)),
            ("onStatus", Stage::Playing) => self.status(information),
            ("onStatus", Stage::Publishing { stream } | Stage::Taken { stream }) => {
                self.publish_status(information, stream)
            }
            // A server that hangs up says so.
            ("close", _) => Ok(Some(ClientEvent::Ended)),
            _ => Ok(None),
        }
    }

    fn create(&mut self) {
        if self.config.purpose == Purpose::Publish {
            for (name, transaction) in [("releaseStream", RELEASE_STREAM), ("FCPublish", FC_PUBLISH)] {
                let stream = Value::text(&self.config.stream);
                self.wire.command(0, &[Value::text(name), Value::Number(transaction), Value::Null, stream]);
            }
        }
        self.wire.command(0, &[Value::text("createStream"), Value::Number(CREATE_STREAM), Value::Null]);
        self.stage = Stage::Creating;
    }

    fn use_stream(&mut self, stream: u32) {
        let name = Value::text(&self.config.stream);
        let transaction = Value::Number(USE_STREAM);
        match self.config.purpose {
            Purpose::Play => {
                self.wire.command(stream, &[Value::text("play"), transaction, Value::Null, name]);
                self.stage = Stage::Playing;
            }
            Purpose::Publish => {
                let live = Value::text("live");
                self.wire.command(stream, &[Value::text("publish"), transaction, Value::Null, name, live]);
                self.stage = Stage::Publishing { stream };
            }
        }
    }

    /// Says that no more media follows.
    pub fn leave(&mut self) {
        let Stage::Taken { stream } = self.stage else { return };
        let (transaction, name) = (Value::Number(LEAVE), Value::text(&self.config.stream));
        self.wire.command(0, &[Value::text("FCUnpublish"), transaction.clone(), Value::Null, name]);
        let number = Value::Number(stream.into());
        self.wire.command(0, &[Value::text("deleteStream"), transaction, Value::Null, number]);
    }

    fn publish_status(
        &mut self,
        information: &Value,
        stream: u32,
    ) -> Result<Option<ClientEvent>, ClientError> {
        let text = |name| information.get(name).and_then(Value::as_text).unwrap_or_default();
        match (text("level"), text("code")) {
            (_, "NetStream.Publish.Start") if self.stage != (Stage::Taken { stream }) => {
                self.stage = Stage::Taken { stream };
                Ok(Some(ClientEvent::Publishing { stream }))
            }
            (_, "NetStream.Unpublish.Success") => Ok(Some(ClientEvent::Ended)),
            ("error", code) => Err(ClientError::Refused { code: shown(code) }),
            _ => Ok(None),
        }
    }

    fn status(&mut self, information: &Value) -> Result<Option<ClientEvent>, ClientError> {
        let text = |name| information.get(name).and_then(Value::as_text).unwrap_or_default();
        match (text("level"), text("code")) {
            (_, "NetStream.Play.Stop" | "NetStream.Play.Complete" | "NetStream.Play.UnpublishNotify") => {
                Ok(Some(ClientEvent::Ended))
            }
            ("error", code) => Err(ClientError::Refused { code: shown(code) }),
            (_, code @ ("NetStream.Play.StreamNotFound" | "NetStream.Play.Failed")) => {
                Err(ClientError::Refused { code: shown(code) })
            }
            _ => Ok(None),
        }
    }

    /// What follows from an error: mostly nothing but the end.
    fn refusal(&self, information: &Value) -> ClientError {
        let text = |name| information.get(name).and_then(Value::as_text).unwrap_or_default();
        let description = text("description");
        if !description.contains("authmod=adobe") {
            return ClientError::Refused { code: shown(text("code")) };
        }
        let challenge = Challenge::read(description);
        match (&self.config.user, &self.config.authentication, challenge) {
            (None, ..) => ClientError::NoUser,
            (Some(_), Authentication::None, None) => ClientError::Authenticate(Authentication::Named),
            (Some(_), Authentication::None | Authentication::Named, Some(challenge)) => {
                ClientError::Authenticate(Authentication::Answer(challenge))
            }
            _ => ClientError::Refused { code: "user or password is wrong".to_owned() },
        }
    }
}

impl ClientConfig {
    /// What is asked for by a URL's path and query, as encoders cut them: two segments are the application where there are more.
    pub fn cut(target: &str) -> (String, String) {
        let target = target.trim_start_matches('/');
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (target, String::new()),
        };
        let segments: Vec<&str> = path.split('/').collect();
        let (app, stream) = segments.split_at(segments.len().saturating_sub(1).clamp(1, 2));
        match stream {
            [] => (format!("{}{query}", app.join("/")), String::new()),
            stream => (app.join("/"), format!("{}{query}", stream.join("/"))),
        }
    }

    /// What is said of us behind the application's name.
    fn proof(&self) -> String {
        let Some(User { name, password }) = &self.user else { return String::new() };
        match &self.authentication {
            Authentication::None => String::new(),
            Authentication::Named => format!("?authmod=adobe&user={name}"),
            Authentication::Answer(Challenge { salt, challenge, opaque }) => {
                let ours = format!("{:08x}", self.nonce);
                let secret = digest(&[name, salt, password]);
                // The challenge where the server has nothing opaque.
                let theirs = if opaque.is_empty() { challenge } else { opaque };
                let response = digest(&[&secret, theirs, &ours]);
                format!("?authmod=adobe&user={name}&challenge={ours}&response={response}&opaque={opaque}")
            }
        }
    }
}

impl Challenge {
    /// Reads it out of `... ?reason=needauth&user=U&salt=S&challenge=C&opaque=O`.
    fn read(description: &str) -> Option<Self> {
        let (_, query) = description.split_once("?reason=needauth")?;
        let value = |name: &str| {
            let value = query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            value
                .map(str::trim)
                .filter(|value| value.len() <= CHALLENGE_BYTES_MAX)
                .unwrap_or_default()
                .to_owned()
        };
        let (salt, challenge, opaque) = (value("salt"), value("challenge"), value("opaque"));
        (!salt.is_empty()).then_some(Self { salt, challenge, opaque })
    }
}

fn digest(parts: &[&str]) -> String {
    let mut md5 = Md5::new();
    parts.iter().for_each(|part| md5.update(part));
    STANDARD.encode(md5.finalize())
}

/// Servers count their streams from 1.
fn stream_number(value: &Value) -> u32 {
    match value {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number that is none stays within bounds: it is only sent back"
        )]
        Value::Number(number) => *number as u32,
        _ => super::server::STREAM,
    }
}

/// A code as it may be logged: names with dots.
fn shown(code: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '.';
    let code: String = code.chars().filter(plain).take(CODE_BYTES_MAX).collect();
    if code.is_empty() { "without a reason".to_owned() } else { code }
}

#[cfg(test)]
mod tests;
