//! Forward: one session in which a path's media is sent to another RTMP server, in its connection.
//!
//! ```text
//!  connect ─► ClientConnection (media_core::rtmp, publish) ─► Publishing ─► Reader ─► Outbox ─► socket
//!     └─ asked who we are: once more with what was learned, three connections in all
//! ```
//!
//! What is sent is what a reader gets; so is what happens to one that is too slow.
//! Limits: those of forward::session and forward::line, and those of its `ForwardLimits`.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media_core::egress::rtmp::is_carried;
use media_core::ring::JoinAt;
use media_core::rtmp::client::{Authentication, Purpose};
use media_core::rtmp::{ClientConnection, ClientError, ClientEvent};
use tokio::time::{sleep_until, timeout_at};
use tracing::debug;

use super::reader::{Reader, TooSlow};
use crate::egress::forward::line::{Line, Woken};
use crate::egress::forward::session::{Absence, CONNECT_MAX, ForwardEnd, Forwarding};
use crate::egress::outbox::Outbox;
use crate::ingest::connect::{self, ConnectError, Connected, Connection};
use crate::ingest::rtmp::asking;
use crate::runtime::clock;

/// Why a session ended. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RtmpForwardError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Dialogue(#[from] ClientError),
    #[error("server did not take the media within {} s", CONNECT_MAX.as_secs())]
    ConnectTimeout,
    #[error("stream has no track that RTMP can carry")]
    NoTracks,
    #[error("server closed the connection")]
    Closed,
    #[error("server ended the stream")]
    Ended,
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("server is too slow: {0}")]
    TooSlow(#[from] TooSlow),
    #[error("server took nothing for {} s", .0.as_secs())]
    WriteTimeout(Duration),
}

/// Runs one session until it ends.
///
/// # Errors
/// [`RtmpForwardError`].
pub(crate) async fn run(forwarding: Forwarding<'_>) -> Result<ForwardEnd, RtmpForwardError> {
    let must_publish_by = clock::now() + CONNECT_MAX;
    if !forwarding.stream.format().is_some_and(|format| is_carried(&format)) {
        return Err(RtmpForwardError::NoTracks);
    }
    let dest = &forwarding.record.dest;
    let mut authentication = Authentication::None;
    loop {
        let connecting = connect::connect_to(&dest.url, dest.fingerprint, "destFingerprint");
        let connected = tokio::select! {
            connected = timeout_at(must_publish_by.into(), connecting) => connected,
            () = forwarding.token.cancelled() => return Ok(ForwardEnd::Cancelled),
        };
        let connected = connected.map_err(|_| RtmpForwardError::ConnectTimeout)??;
        let session = Session {
            forwarding: &forwarding,
            connected,
            client: ClientConnection::new(asking(&dest.url, Purpose::Publish, authentication)),
            buf: BytesMut::new(),
            out: Outbox::default(),
            reader: None,
            must_publish_by,
            absence: Absence::default(),
        };
        match session.run().await {
            Err(RtmpForwardError::Dialogue(ClientError::Authenticate(next))) => {
                debug!("server asks who we are");
                authentication = next;
            }
            ended => return ended,
        }
    }
}

struct Session<'a> {
    forwarding: &'a Forwarding<'a>,
    connected: Connected,
    client: ClientConnection,
    buf: BytesMut,
    out: Outbox,
    /// Set once the server takes media.
    reader: Option<Reader>,
    must_publish_by: Instant,
    absence: Absence,
}

impl Session<'_> {
    async fn run(mut self) -> Result<ForwardEnd, RtmpForwardError> {
        let stream = Arc::clone(self.forwarding.stream);
        let mut states = stream.state_changes();
        let mut alarm = pin!(sleep_until(self.next_deadline().into()));
        loop {
            let now = clock::now();
            self.absence.note(&states.borrow_and_update(), now);
            self.transmit(now);
            let mut published = pin!(self.reader.is_some().then(|| stream.published()));
            // Registered before the look, so that a unit pushed in between still wakes us.
            if let Some(published) = published.as_mut().as_pin_mut() {
                published.enable();
            }
            if let Some(reader) = &mut self.reader {
                reader.pull(&mut self.out, now)?;
            }
            let (token, timer) = (self.forwarding.token, (self.next_deadline(), alarm.as_mut()));
            let woken = self.line().wait(token, &mut states, published, timer).await;
            let now = clock::now();
            match woken {
                Woken::Cancelled => return Ok(self.say_goodbye(ForwardEnd::Cancelled).await),
                Woken::State | Woken::Published => {}
                Woken::Read(read) => {
                    if read? == 0 {
                        return Err(RtmpForwardError::Closed);
                    }
                    self.apply_bytes()?;
                }
                Woken::Written(written) => self.forwarding.record.count(written?),
                Woken::Timer => {
                    self.check_deadlines(now)?;
                    if self.absence.is_over(now) {
                        return Ok(self.say_goodbye(ForwardEnd::SourceGone).await);
                    }
                    alarm.as_mut().reset(self.next_deadline().into());
                }
            }
        }
    }

    fn check_deadlines(&self, now: Instant) -> Result<(), RtmpForwardError> {
        if self.reader.is_none() && now >= self.must_publish_by {
            return Err(RtmpForwardError::ConnectTimeout);
        }
        let limit = self.forwarding.limits.write_timeout;
        match self.out.blocked_since().is_some_and(|since| now >= since + limit) {
            true => Err(RtmpForwardError::WriteTimeout(limit)),
            false => Ok(()),
        }
    }

    fn next_deadline(&self) -> Instant {
        let limit = self.forwarding.limits.write_timeout;
        let blocked = self.out.blocked_since().map(|since| since + limit);
        let connecting = self.reader.is_none().then_some(self.must_publish_by);
        let deadlines = [blocked, connecting, self.absence.ends_at()];
        // Nothing is awaited of a server that takes what it gets: a look now and then costs nothing.
        deadlines.into_iter().flatten().min().unwrap_or_else(|| clock::now() + limit)
    }

    fn apply_bytes(&mut self) -> Result<(), RtmpForwardError> {
        while let Some(event) = self.client.next_event(&mut self.buf)? {
            match event {
                ClientEvent::Publishing { stream } => self.begin(stream),
                ClientEvent::Media(_) => debug!("server sends what was not asked for"),
                ClientEvent::Ended => return Err(RtmpForwardError::Ended),
            }
        }
        Ok(())
    }

    /// The server takes media from now on: from the newest random access point.
    fn begin(&mut self, stream: u32) {
        let Forwarding { stream: source, record, limits, .. } = self.forwarding;
        let subscription = source.follow(&self.forwarding.grant(), JoinAt::NewestRandomAccess);
        self.reader = Some(Reader::publishing(subscription, limits.queue_packets, stream));
        record.begun();
    }

    fn transmit(&mut self, now: Instant) {
        while let Some(bytes) = self.client.poll_transmit() {
            self.out.push(bytes, 0, now);
        }
    }

    async fn say_goodbye(mut self, end: ForwardEnd) -> ForwardEnd {
        let now = clock::now();
        self.client.leave();
        self.transmit(now);
        self.line().finish(now).await;
        end
    }

    fn line(&mut self) -> Line<'_, Box<dyn Connection>> {
        Line { socket: &mut self.connected.stream, out: &mut self.out, buf: &mut self.buf }
    }
}
