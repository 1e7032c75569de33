//! Connection: one client's TCP connection, from accept to close.
//!
//! ```text
//!  socket ─bytes─► ServerConnection (media_core::rtmp::server) ─events─► gate, registry ─┬► Publisher ─► PublishPoint
//!  socket ◄──────────────────── Outbox ◄── answers; Muxer ◄── ring ◄────────── Reader ◄──┘
//! ```
//!
//! One task: a loop that waits for one thing and applies it. A slow or hostile client delays itself alone.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media_core::egress::rtmp::is_carried;
use media_core::gate::{Action, CameraGrant};
use media_core::path_name::PathName;
use media_core::ring::JoinAt;
use media_core::rtmp::{Event, Refusal, ServerConnection, ServerError, Target};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::futures::Notified;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::RtmpServer;
use super::publisher::{Publisher, PublisherEnd};
use super::reader::{Reader, TooSlow};
use super::stats::{ConnRecord, Purpose, shown};
use crate::egress::outbox::Outbox;
use crate::egress::rtsp::stats::Role;
use crate::events::{self, Origin};
use crate::runtime::clock;

/// Room for reading: a publisher's pictures come many packets at once.
const READ_BYTES: usize = 64 << 10;
/// Less room than this is made more before a read.
const READ_ROOM_MIN: usize = 4 << 10;

/// Why a connection ended. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("server stops")]
    Shutdown,
    #[error("closed by the client")]
    ByClient,
    #[error("ended through the API, replaced by another publisher, or its path is gone")]
    Kicked,
    #[error("client was refused")]
    Refused,
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Dialogue(#[from] ServerError),
    #[error(transparent)]
    Publisher(#[from] PublisherEnd),
    #[error(transparent)]
    Reader(#[from] TooSlow),
    #[error("client said nothing for {} s", .0.as_secs())]
    ReadTimeout(Duration),
    #[error("client took nothing for {} s", .0.as_secs())]
    WriteTimeout(Duration),
}

/// What a connection does.
enum Doing {
    /// It has not said what it wants.
    Nothing,
    Publishing(Box<Publisher>),
    Reading(Box<Reader>),
    /// It is told so, then closed.
    Refused,
}

/// One client's connection.
pub(super) struct Connection<S> {
    socket: S,
    server: Arc<RtmpServer>,
    record: Arc<ConnRecord>,
    dialogue: ServerConnection,
    buf: BytesMut,
    out: Outbox,
    doing: Doing,
    heard_at: Instant,
}

/// What woke a connection.
enum Woken {
    Shutdown,
    Kicked,
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Published,
    Timer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection just accepted.
    pub(super) fn new(socket: S, server: &Arc<RtmpServer>, record: &Arc<ConnRecord>) -> Self {
        Self {
            socket,
            server: Arc::clone(server),
            record: Arc::clone(record),
            dialogue: ServerConnection::default(),
            buf: BytesMut::new(),
            out: Outbox::default(),
            doing: Doing::Nothing,
            heard_at: clock::now(),
        }
    }

    /// Serves the client to its end.
    pub(super) async fn run(mut self, token: CancellationToken) {
        debug!("connection opened");
        let closed = match self.serve(&token).await {
            Ok(closed) | Err(closed) => closed,
        };
        // Before the log: who sees the line may publish here next.
        self.doing = Doing::Nothing;
        let Some(purpose) = self.record.purpose() else {
            debug!(reason = %closed, "connection closed");
            return;
        };
        let (id, path) = (self.record.id, &purpose.path);
        if let Closed::Reader(TooSlow { units, .. }) = closed {
            let units = u64::try_from(units).unwrap_or(0);
            self.record.outbound_frames_discarded.fetch_add(units, Ordering::Relaxed);
            self.server.count_cut_reader(units);
            warn!(conn = %id, %path, reader = %self.record.remote_addr, reason = %closed, "RTMP reader cut");
        } else {
            info!(conn = %id, %path, reason = %closed, "RTMP connection closed");
        }
    }

    async fn serve(&mut self, token: &CancellationToken) -> Result<Closed, Closed> {
        let mut alarm = pin!(sleep_until(self.next_deadline().into()));
        loop {
            let now = clock::now();
            while let Some(bytes) = self.dialogue.poll_transmit() {
                self.out.push(bytes, 0, now);
            }
            if matches!(self.doing, Doing::Refused) && self.out.is_empty() {
                return Ok(Closed::Refused);
            }
            let stream = match &self.doing {
                Doing::Reading(reader) => Some(Arc::clone(reader.stream())),
                _ => None,
            };
            let mut published = pin!(stream.as_ref().map(|stream| stream.published()));
            // Registered before the look, so that a unit pushed in between still wakes us.
            if let Some(published) = published.as_mut().as_pin_mut() {
                published.enable();
            }
            if let Doing::Reading(reader) = &mut self.doing {
                reader.pull(&mut self.out, now)?;
            }
            let woken = self.select(token, published, alarm.as_mut()).await;
            let now = clock::now();
            match woken {
                Woken::Shutdown => return Ok(Closed::Shutdown),
                Woken::Kicked => return Ok(Closed::Kicked),
                Woken::Published => {}
                Woken::Read(read) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(Closed::ByClient);
                    }
                    self.heard_at = now;
                    count(&self.record.inbound_bytes, read);
                    if let Some(closed) = self.apply_bytes(now, token).await? {
                        return Ok(closed);
                    }
                }
                Woken::Written(written) => count(&self.record.outbound_bytes, written?),
                Woken::Timer => {
                    self.check_deadlines(now)?;
                    alarm.as_mut().reset(self.next_deadline().into());
                }
            }
        }
    }

    /// Waits for one thing. What is written and read by then is accounted for by the value returned. Cancel-safe.
    async fn select(
        &mut self,
        token: &CancellationToken,
        mut published: Pin<&mut Option<Notified<'_>>>,
        mut alarm: Pin<&mut Sleep>,
    ) -> Woken {
        // Deadlines mostly move away; the alarm is left where it is, rings too early now and then, and is set anew.
        let deadline = self.next_deadline().into();
        if deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        let mut cancelled = pin!(token.cancelled());
        let kick = self.record.kick.clone();
        let mut kicked = pin!(kick.cancelled());
        let now = clock::now();
        poll_fn(|cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Shutdown);
            }
            if kicked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Kicked);
            }
            if let Poll::Ready(written) = self.out.poll_write_all(&mut self.socket, now, cx) {
                return Poll::Ready(Woken::Written(written));
            }
            if let Poll::Ready(read) = self.poll_read(cx) {
                return Poll::Ready(Woken::Read(read));
            }
            if let Some(published) = published.as_mut().as_pin_mut()
                && published.poll(cx).is_ready()
            {
                return Poll::Ready(Woken::Published);
            }
            alarm.as_mut().poll(cx).map(|()| Woken::Timer)
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buf.capacity() - self.buf.len() < READ_ROOM_MIN {
            self.buf.reserve(READ_BYTES);
        }
        tokio_util::io::poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.buf)
    }

    /// Who sends must go on sending, and who has not said what it wants must say so; a reader may be silent.
    fn must_be_heard_by(&self) -> Option<Instant> {
        let is_reading = matches!(self.doing, Doing::Reading(_));
        (!is_reading).then(|| self.heard_at + self.server.config.read_timeout)
    }

    fn must_take_by(&self) -> Option<Instant> {
        self.out.blocked_since().map(|since| since + self.server.config.write_timeout)
    }

    fn next_deadline(&self) -> Instant {
        let deadlines = [self.must_be_heard_by(), self.must_take_by()].into_iter().flatten();
        // Nothing is awaited of a reader that takes what it gets: a look now and then costs nothing.
        deadlines.min().unwrap_or_else(|| clock::now() + self.server.config.read_timeout)
    }

    fn check_deadlines(&self, now: Instant) -> Result<(), Closed> {
        if self.must_be_heard_by().is_some_and(|by| now >= by) {
            return Err(Closed::ReadTimeout(self.server.config.read_timeout));
        }
        match self.must_take_by().is_some_and(|by| now >= by) {
            true => Err(Closed::WriteTimeout(self.server.config.write_timeout)),
            false => Ok(()),
        }
    }

    /// What the client said; why the connection is to be closed if it is.
    async fn apply_bytes(
        &mut self,
        now: Instant,
        token: &CancellationToken,
    ) -> Result<Option<Closed>, Closed> {
        while let Some(event) = self.dialogue.next_event(&mut self.buf)? {
            let answered = match event {
                Event::Media(message) => {
                    if let Doing::Publishing(publisher) = &mut self.doing {
                        publisher.message(&message)?;
                    }
                    continue;
                }
                Event::Done => return Ok(Some(Closed::ByClient)),
                Event::Publish(target) => tokio::select! {
                    answered = self.publish(&target) => answered,
                    () = token.cancelled() => return Ok(Some(Closed::Shutdown)),
                },
                Event::Play(target) => tokio::select! {
                    answered = self.play(&target) => answered,
                    () = token.cancelled() => return Ok(Some(Closed::Shutdown)),
                },
            };
            if let Err(refusal) = answered {
                self.dialogue.refuse(refusal);
                self.doing = Doing::Refused;
            }
        }
        if let Doing::Publishing(publisher) = &mut self.doing {
            publisher.publish(now);
        }
        Ok(None)
    }

    /// Somebody wants to send: asks the gate, and whether the path is one to send to.
    async fn publish(&mut self, target: &Target) -> Result<(), Refusal> {
        let (grant, user) = self.authorize(target, Action::Publish).await?;
        let point = self.server.deps.registry.publish_point(grant.path()).map_err(|refused| {
            debug!(path = %grant.path(), ?refused, "publisher refused");
            Refusal::NotPublishable
        })?;
        let seat = point.take_seat();
        let facts = self.facts(target);
        let origin = Origin { kind: facts.kind, id: facts.id, query: facts.query };
        let publication = point.claim(&grant, origin, &self.record.kick).await.map_err(|error| {
            debug!(path = %grant.path(), %error, "publisher refused");
            Refusal::NotPublishable
        })?;
        self.begin(&grant, (target, user), Role::Publish);
        self.doing = Doing::Publishing(Box::new(Publisher::new(publication, seat)));
        self.dialogue.publishing();
        Ok(())
    }

    /// Somebody wants to watch: asks the gate, and starts an on-demand camera.
    async fn play(&mut self, target: &Target) -> Result<(), Refusal> {
        let (grant, user) = self.authorize(target, Action::Read).await?;
        let stream = self.server.deps.registry.acquire(&grant, &target.query).await.map_err(|error| {
            debug!(%error, "nothing to read");
            Refusal::NotFound
        })?;
        if !stream.format().is_some_and(|format| is_carried(&format)) {
            return Err(Refusal::NotFound);
        }
        let kind = self.record.reader_kind();
        let subscribed = stream.subscribe(&grant, JoinAt::NewestRandomAccess, kind);
        let mut subscription = subscribed.map_err(|error| {
            debug!(%error, "reader refused");
            Refusal::NotFound
        })?;
        subscription.tell(&self.facts(target));
        self.begin(&grant, (target, user), Role::Read);
        let reader = Reader::new(subscription, self.server.config.write_queue_units);
        self.doing = Doing::Reading(Box::new(reader));
        self.dialogue.playing();
        Ok(())
    }

    /// Asks the gate with what the URL shows of its sender; who that is comes along.
    async fn authorize(&mut self, target: &Target, action: Action) -> Result<(CameraGrant, String), Refusal> {
        let path = PathName::parse(&target.path).map_err(|_| Refusal::NotFound)?;
        let about = (self.record.id, target.query.as_str(), self.dialogue.user_agent());
        let access = &self.server.deps.access;
        let visitor = access.rtmp_visitor(self.record.remote_addr.ip(), about);
        let admission = access.camera(&visitor, action, &path).await.map_err(|refused| {
            debug!(%refused, %path, "client refused");
            Refusal::Unauthorized
        })?;
        Ok((admission.grant, admission.basis.user().to_owned()))
    }

    /// This client, as events name it.
    fn facts(&self, target: &Target) -> events::Reader {
        let query = target.query.clone();
        events::Reader { kind: self.record.conn_type(), id: self.record.id.to_string(), query }
    }

    fn begin(&self, grant: &CameraGrant, (target, user): (&Target, String), role: Role) {
        let path = grant.path().clone();
        info!(conn = %self.record.id, %path, ?role, "RTMP connection opened");
        let (query, user_agent) = (shown(&target.query), self.dialogue.user_agent().to_owned());
        self.record.set_purpose(Purpose { role, path, query, user, user_agent });
    }
}

fn count(counter: &std::sync::atomic::AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}
