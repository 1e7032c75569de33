//! RTMP: one connection to a server that is asked for a stream, from the TCP connect to whatever ends it.
//!
//! ```text
//!  connect ─► ClientConnection ─messages─► Incoming (media_core::rtmp) ─► Arrivals ─► Ingest ─► Output
//!     └─ asked who we are: once more with what was learned, three connections in all
//! ```
//!
//! Limits: media_core::rtmp's; one read buffer (-> read_buffer).

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use media_core::rtmp::client::{Authentication, Purpose, User};
use media_core::rtmp::{
    ClientConfig, ClientConnection, ClientError, ClientEvent, Incoming, IncomingError, IncomingEvent, Message,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep_until, timeout_at};
use tracing::debug;
use uuid::Uuid;

use super::arrivals::{Arrivals, Progress};
use super::connect::{self, Connected};
use super::read_buffer::ReadBuffer;
use super::session::{SessionContext, SessionEnd, SessionError};
use crate::config::pulled::RemoteSource;
use crate::config::source_url::SourceUrl;
use crate::runtime::clock;

/// Runs one session until it ends. `online` is called at the first access unit.
pub(super) async fn run(
    source: &RemoteSource,
    context: SessionContext<'_>,
    mut online: impl FnMut(),
) -> Result<SessionEnd, SessionError> {
    let (token, times) = (context.token, context.times);
    let mut arrivals = Arrivals::new(context, clock::now());
    let mut authentication = Authentication::None;
    loop {
        let connecting = connect::connect(&source.url, source.fingerprint);
        let connected = tokio::select! {
            connected = timeout_at(arrivals.connect_deadline().into(), connecting) => connected,
            () = token.cancelled() => return Ok(SessionEnd::Cancelled),
        };
        let connected = connected.map_err(|_| SessionError::ConnectTimeout(times.connect))??;
        let session = Session {
            connected,
            client: ClientConnection::new(asking(&source.url, Purpose::Play, authentication)),
            buf: ReadBuffer::default(),
            incoming: Incoming::default(),
            events: Vec::new(),
        };
        let running = session.run(&mut arrivals, &mut online);
        let ended = tokio::select! {
            ended = running => ended,
            () = token.cancelled() => return Ok(SessionEnd::Cancelled),
        };
        match ended {
            SessionError::RtmpDialogue(ClientError::Authenticate(next)) => {
                debug!("server asks who we are");
                authentication = next;
            }
            error => return Err(error),
        }
    }
}

/// What a server is asked for.
pub(crate) fn asking(source: &SourceUrl, purpose: Purpose, authentication: Authentication) -> ClientConfig {
    let url = source.url();
    let (app, stream) = ClientConfig::cut(&url[url::Position::BeforePath..]);
    let user = source.credentials().map(|credentials| User {
        name: credentials.username.clone(),
        password: credentials.password.expose().to_owned(),
    });
    ClientConfig {
        server: format!("{}://{}:{}", source.scheme().name(), source.host(), source.port()),
        app,
        stream,
        user,
        authentication,
        purpose,
        user_agent: concat!("GT-Vision/", env!("CARGO_PKG_VERSION")).to_owned(),
        nonce: Uuid::new_v4().as_fields().0,
    }
}

/// What woke the loop.
enum Woken {
    Read(io::Result<usize>),
    Timer,
}

struct Session {
    connected: Connected,
    client: ClientConnection,
    buf: ReadBuffer,
    incoming: Incoming,
    events: Vec<IncomingEvent>,
}

impl Session {
    /// Reads until something ends it; says what.
    async fn run(mut self, arrivals: &mut Arrivals<'_>, online: &mut impl FnMut()) -> SessionError {
        loop {
            if let Err(error) = self.turn(arrivals, online).await {
                return error;
            }
        }
    }

    async fn turn(
        &mut self,
        arrivals: &mut Arrivals<'_>,
        online: &mut impl FnMut(),
    ) -> Result<(), SessionError> {
        self.transmit(arrivals.request_limit()).await?;
        let (buf, stream) = (&mut self.buf, &mut self.connected.stream);
        let woken = tokio::select! {
            biased;
            read = poll_fn(|cx| buf.poll_fill(cx, Pin::new(&mut **stream))) => Woken::Read(read),
            () = sleep_until(arrivals.deadline().into()) => Woken::Timer,
        };
        match woken {
            Woken::Timer => return arrivals.check(clock::now()),
            Woken::Read(read) => {
                let read = read?;
                if read == 0 {
                    return Err(SessionError::Closed);
                }
                arrivals.count_bytes(read);
            }
        }
        let is_more_waiting = self.buf.is_full();
        while let Some(event) = self.client.next_event(self.buf.bytes())? {
            match event {
                ClientEvent::Media(message) => self.apply(&message, arrivals)?,
                ClientEvent::Ended => return Err(SessionError::Ended),
                ClientEvent::Publishing { .. } => debug!("server takes what was not offered"),
            }
        }
        if arrivals.publish(clock::now()) == Progress::Online {
            online();
        }
        if is_more_waiting {
            // The readers on this thread have their turn first, as of RTSP.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Takes a message. One that can't be read is counted; the next is welcome.
    fn apply(&mut self, message: &Message, arrivals: &mut Arrivals<'_>) -> Result<(), SessionError> {
        arrivals.reached(clock::now());
        match self.incoming.handle(message, &mut self.events) {
            Ok(()) => {}
            Err(error @ IncomingError::NoTracks) => return Err(error.into()),
            Err(error) => {
                debug!(%error, "message can't be used");
                arrivals.count_malformed();
            }
        }
        for event in self.events.drain(..) {
            match event {
                IncomingEvent::Tracks(setups) => arrivals.start(&setups)?,
                IncomingEvent::ParameterSets { track, nals } => arrivals.parameter_sets(track, &nals),
                IncomingEvent::Unit { track, rtp_timestamp, payload } => {
                    arrivals.unit(track, rtp_timestamp, payload);
                }
            }
        }
        Ok(())
    }

    /// Writes what the machine wants to send, each piece within `limit`.
    async fn transmit(&mut self, limit: Duration) -> Result<(), SessionError> {
        while let Some(bytes) = self.client.poll_transmit() {
            let deadline = clock::now() + limit;
            let written = timeout_at(deadline.into(), self.connected.stream.write_all(&bytes)).await;
            written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "source does not read"))??;
        }
        Ok(())
    }
}
