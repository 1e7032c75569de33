//! Server: the dialogue with one client, from its handshake to its media.
//!
//! ```text
//!  Hello ─C0 C1─► Handshake ─C2─► Commands ── publish ─► Publish ─► publishing() ─► Media ...
//!                                 connect,     play ───► Play ────► playing()     (the shell sends)
//!                                 createStream           └─ refuse() ─► said, then the shell closes
//! ```
//!
//! [`ServerConnection::next_event`] takes from the bytes received; its answers are polled ([`ServerConnection::poll_transmit`]). One
//! stream a connection, as encoders and players have it. What a client says besides is passed over.
//!
//! Spec: RTMP s7.2. Limits: [`COMMAND_BYTES_MAX`], [`TEXT_BYTES_MAX`], those of `chunk` and `amf0`.

use bytes::{Bytes, BytesMut};

use super::amf0::{self, AmfError, Value};
use super::chunk::{ChunkError, Message};
use super::wire::{STREAM_BEGIN, WINDOW_BYTES, Wire};
use super::{handshake, kind};

/// The longest command or metadata taken.
pub const COMMAND_BYTES_MAX: usize = 64 << 10;

/// The longest path, query and name of a client; what is longer is refused, or cut.
pub const TEXT_BYTES_MAX: usize = 4096;

/// The only message stream that a client is given.
pub const STREAM: u32 = 1;

/// What a client wants, or brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To send: answer with [`ServerConnection::publishing`] or [`ServerConnection::refuse`].
    Publish(Target),
    /// To watch: answer with [`ServerConnection::playing`] or [`ServerConnection::refuse`].
    Play(Target),
    /// A message of a publisher: pictures, sound or metadata.
    Media(Message),
    /// It has done what it came for.
    Done,
}

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The application and the stream's name, joined by a slash where there are both.
    pub path: String,
    /// The queries of both, joined.
    pub query: String,
}

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such path, or nothing to watch.
    NotFound,
    /// The gate does not let it.
    Unauthorized,
    /// The path is not one to send to now.
    NotPublishable,
}

/// Why a client can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It does not begin with RTMP's version 3.
    #[error("client does not speak plain RTMP")]
    Version,
    /// Its chunks.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Its commands.
    #[error("command can't be read: {0}")]
    Amf(#[from] AmfError),
    /// A command over [`COMMAND_BYTES_MAX`].
    #[error("command of {got} bytes, the limit is {COMMAND_BYTES_MAX}")]
    CommandTooLong {
        /// Its bytes.
        got: usize,
    },
    /// A URL over [`TEXT_BYTES_MAX`].
    #[error("path and query of {got} bytes, the limit is {TEXT_BYTES_MAX}")]
    UrlTooLong {
        /// Its bytes.
        got: usize,
    },
    /// It wants something without `connect` before, or twice.
    #[error("client says {0:?} out of turn")]
    OutOfTurn(Command),
}

/// The commands that have their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as in the specification")]
pub enum Command {
    Connect,
    Publish,
    Play,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Hello,
    Handshake,
    Commands,
    /// The shell has been asked and has not answered yet.
    Asked(Command),
    Publishing,
    Playing,
}

/// One client's dialogue.
#[derive(Debug)]
pub struct ServerConnection {
    stage: Stage,
    wire: Wire,
    app: Option<String>,
    user_agent: String,
}

impl Default for ServerConnection {
    fn default() -> Self {
        Self { stage: Stage::Hello, wire: Wire::default(), app: None, user_agent: String::new() }
    }
}

impl ServerConnection {
    /// The next bytes to be written, in order.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.wire.poll_transmit()
    }

    /// What the client calls itself.
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// Whether it has neither published nor watched yet.
    pub fn is_undecided(&self) -> bool {
        !matches!(self.stage, Stage::Publishing | Stage::Playing)
    }

    /// Takes what was received; call it until `None`, and answer each event before the next call.
    ///
    /// # Errors
    /// [`ServerError`]: the connection is to be closed.
    pub fn next_event(&mut self, buf: &mut BytesMut) -> Result<Option<Event>, ServerError> {
        if self.stage == Stage::Hello {
            if buf.first().is_some_and(|version| *version != handshake::VERSION) {
                return Err(ServerError::Version);
            }
            let Some(hello) = self.wire.take_block(buf, handshake::HELLO_BYTES) else { return Ok(None) };
            self.wire.put(handshake::answer(&hello).ok_or(ServerError::Version)?);
            self.stage = Stage::Handshake;
        }
        if self.stage == Stage::Handshake {
            if self.wire.take_block(buf, handshake::BLOCK_BYTES).is_none() {
                return Ok(None);
            }
            self.stage = Stage::Commands;
        }
        while let Some(message) = self.wire.next_message(buf)? {
            if let Some(event) = self.message(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, ServerError> {
        match message.kind {
            kind::AUDIO | kind::VIDEO | kind::DATA | kind::DATA_AMF3 => {
                Ok((self.stage == Stage::Publishing).then_some(Event::Media(message)))
            }
            kind::COMMAND => self.command(&message.payload),
            kind::COMMAND_AMF3 => self.command(message.payload.get(1..).unwrap_or_default()),
            _ => Ok(None),
        }
    }

    fn command(&mut self, payload: &[u8]) -> Result<Option<Event>, ServerError> {
        if payload.len() > COMMAND_BYTES_MAX {
            return Err(ServerError::CommandTooLong { got: payload.len() });
        }
        let values = amf0::read_all(payload)?;
        let name = values.first().and_then(Value::as_text).unwrap_or_default();
        let transaction = values.get(1).cloned().unwrap_or(Value::Null);
        let stream_name = values.get(3).and_then(Value::as_text).unwrap_or_default();
        match name {
            "connect" => {
                self.connect(values.get(2).unwrap_or(&Value::Null), transaction)?;
                Ok(None)
            }
            "createStream" => {
                self.reply(&[Value::text("_result"), transaction, Value::Null, Value::Number(STREAM.into())]);
                Ok(None)
            }
            "releaseStream" | "FCPublish" | "getStreamLength" => {
                self.reply(&[Value::text("_result"), transaction, Value::Null, Value::Null]);
                Ok(None)
            }
            "publish" => self.ask(Command::Publish, stream_name).map(|target| Some(Event::Publish(target))),
            "play" => self.ask(Command::Play, stream_name).map(|target| Some(Event::Play(target))),
            "FCUnpublish" | "deleteStream" | "closeStream" => Ok(Some(Event::Done)),
            _ => Ok(None),
        }
    }

    fn connect(&mut self, object: &Value, transaction: Value) -> Result<(), ServerError> {
        if self.stage != Stage::Commands || self.app.is_some() {
            return Err(ServerError::OutOfTurn(Command::Connect));
        }
        let text = |name| object.get(name).and_then(Value::as_text).unwrap_or_default();
        self.app = Some(text("app").to_owned());
        self.user_agent = text("flashVer").chars().take(256).collect();
        self.wire.set_chunk_size();
        self.wire.control(kind::WINDOW_SIZE, &WINDOW_BYTES.to_be_bytes());
        // 2: whichever of the limits is used.
        self.wire.control(kind::PEER_BANDWIDTH, &[&WINDOW_BYTES.to_be_bytes()[..], &[2]].concat());
        let encoding = object.get("objectEncoding").cloned().unwrap_or(Value::Number(0.0));
        let properties =
            object_of([("fmsVer", Value::text("FMS/3,0,1,123")), ("capabilities", Value::Number(31.0))]);
        let information = object_of([
            ("level", Value::text("status")),
            ("code", Value::text("NetConnection.Connect.Success")),
            ("description", Value::text("connected")),
            ("objectEncoding", encoding),
        ]);
        self.reply(&[Value::text("_result"), transaction, properties, information]);
        Ok(())
    }

    fn ask(&mut self, command: Command, stream_name: &str) -> Result<Target, ServerError> {
        let app = self.app.as_deref().filter(|_| self.stage == Stage::Commands);
        let app = app.ok_or(ServerError::OutOfTurn(command))?;
        let target = Target::of(app, stream_name);
        let got = target.path.len() + target.query.len();
        if got > TEXT_BYTES_MAX {
            return Err(ServerError::UrlTooLong { got });
        }
        self.stage = Stage::Asked(command);
        Ok(target)
    }

    /// It may send.
    pub fn publishing(&mut self) {
        self.stage = Stage::Publishing;
        self.wire.user_control(STREAM_BEGIN, STREAM);
        self.status("status", "NetStream.Publish.Start", "publishing");
    }

    /// It may watch: media follows.
    pub fn playing(&mut self) {
        self.stage = Stage::Playing;
        self.wire.user_control(STREAM_BEGIN, STREAM);
        self.status("status", "NetStream.Play.Reset", "begins anew");
        self.status("status", "NetStream.Play.Start", "playing");
    }

    /// It may not; close once that is written.
    pub fn refuse(&mut self, refusal: Refusal) {
        let is_publisher = self.stage == Stage::Asked(Command::Publish);
        let (code, why) = match (refusal, is_publisher) {
            (Refusal::NotFound, false) => ("NetStream.Play.StreamNotFound", "there is no such stream"),
            (Refusal::NotFound, true) => ("NetStream.Publish.BadName", "there is no such path"),
            (Refusal::Unauthorized, false) => ("NetStream.Play.Failed", "not authorized"),
            (Refusal::Unauthorized, true) => ("NetStream.Publish.Denied", "not authorized"),
            (Refusal::NotPublishable, _) => {
                ("NetStream.Publish.BadName", "the path has another source, or another publisher")
            }
        };
        self.stage = Stage::Commands;
        self.status("error", code, why);
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        let information = object_of([
            ("level", Value::text(level)),
            ("code", Value::text(code)),
            ("description", Value::text(description)),
        ]);
        let values = [Value::text("onStatus"), Value::Number(0.0), Value::Null, information];
        self.wire.command(STREAM, &values);
    }

    fn reply(&mut self, values: &[Value]) {
        self.wire.command(0, values);
    }
}

impl Target {
    /// `rtmp://host/app/name`: who cuts a URL into the two, and where the query goes, is up to the client.
    fn of(app: &str, name: &str) -> Self {
        let (app_path, app_query) = app.split_once('?').unwrap_or((app, ""));
        let (name_path, name_query) = name.split_once('?').unwrap_or((name, ""));
        let join = |parts: [&str; 2], with: &str| {
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(with)
        };
        Self {
            path: join([app_path.trim_matches('/'), name_path.trim_matches('/')], "/"),
            query: join([app_query, name_query], "&"),
        }
    }
}

/// An object of these entries.
pub(crate) fn object_of<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
