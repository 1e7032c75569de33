//! Connection: one client's TCP connection, from accept to close, and the session it may make.
//!
//! ```text
//!  socket ─bytes─► ServerConnection (media_core::rtsp::server) ─events─► gate, registry ─► answers ─┐
//!  socket ◄─────────────────────────────── Outbox ◄── Reader ◄── Feed ◄── ring ◄────────────────────┘
//! ```
//!
//! One task: a loop that waits for one thing and applies it. A slow or hostile client delays itself alone.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media_core::gate::{Action, CameraGrant, Challenger, Credentials, Shown};
use media_core::path_name::PathName;
use media_core::ring::JoinAt;
use media_core::rtsp::server::{
    Event, Mode, Refusal, ServerConfig, ServerConnection, ServerError, ServerTransport, SetUpTrack,
    SetupRequest, Target, TransportOffer,
};
use media_core::rtsp::{MediaKind, SdpMedia};
use media_core::track::SharedFormat;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::futures::Notified;
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::RtspServer;
use super::feed::Feed;
use super::multicast::{Group, Member};
use super::out::Out;
use super::publisher::Publisher;
use super::reader::{Reader, ReaderEnd, ReaderParts};
use super::stats::{ConnRecord, Encryption, Role, SessionFacts, SessionRecord};
use super::udp::UdpOut;
use crate::access::Refused;
use crate::config::redirect::Destination;
use crate::events;
use crate::registry::{NotHere, NotPublishable};
use crate::runtime::clock;
use crate::stream::{ReaderKind, Seat, Stream, TooManyReaders};

/// Room for reading: requests and reports are short; a publisher's packets come many at once.
const READ_BYTES: usize = 16 << 10;
/// Less room than this is made more before a read.
const READ_ROOM_MIN: usize = 2 << 10;

/// Why a connection ended. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("server stops")]
    Shutdown,
    #[error("closed by the client")]
    ByClient,
    #[error("ended through the API, replaced by another publisher, or its path is gone")]
    Kicked,
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Dialogue(#[from] ServerError),
    #[error(transparent)]
    Reader(#[from] ReaderEnd),
    #[error("client took nothing for {} s", .0.as_secs())]
    WriteTimeout(Duration),
}

/// A stream that the client was told of or has set up.
struct Source {
    target: Target,
    grant: CameraGrant,
    stream: Arc<Stream>,
    /// What DESCRIBE said, or would have.
    format: SharedFormat,
    feed: Arc<Feed>,
    /// An on-demand camera goes on while the client makes up its mind.
    _seat: Seat,
}

/// One client's connection.
pub(super) struct Connection<S> {
    socket: S,
    server: Arc<RtspServer>,
    record: Arc<ConnRecord>,
    dialogue: ServerConnection,
    challenger: Challenger,
    buf: BytesMut,
    out: Out,
    source: Option<Source>,
    session: Option<Arc<SessionRecord>>,
    reader: Option<Reader>,
    /// Where its media goes instead, once it is set up so; and that it plays.
    group: Option<Arc<Group>>,
    member: Option<Member>,
    publisher: Option<Publisher>,
    kick: CancellationToken,
    /// Who signed in last; empty where nobody has to.
    user: String,
}

/// What woke a connection.
enum Woken {
    Shutdown,
    Kicked,
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Published,
    Datagrams,
    Timer,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// A connection just accepted.
    pub(super) fn new(socket: S, server: &Arc<RtspServer>, record: &Arc<ConnRecord>) -> Self {
        let config = ServerConfig {
            server: concat!("GT-Vision/", env!("CARGO_PKG_VERSION")).to_owned(),
            session_id: Uuid::new_v4().simple().to_string(),
            idle_timeout: server.config.read_timeout,
        };
        Self {
            socket,
            server: Arc::clone(server),
            record: Arc::clone(record),
            dialogue: ServerConnection::new(config, clock::now()),
            challenger: Challenger::new(server.config.digest, nonce(), clock::now()),
            buf: BytesMut::new(),
            out: Out::new(record.remote_addr.ip()),
            source: None,
            session: None,
            reader: None,
            group: None,
            member: None,
            publisher: None,
            kick: CancellationToken::new(),
            user: String::new(),
        }
    }

    /// Serves the client to its end.
    pub(super) async fn run(mut self, token: CancellationToken) {
        debug!("connection opened");
        let closed = match self.serve(&token).await {
            Ok(closed) | Err(closed) => closed,
        };
        if let Some(session) = self.session.take() {
            self.end_session(&session, &closed);
        }
        debug!(reason = %closed, "connection closed");
    }

    async fn serve(&mut self, token: &CancellationToken) -> Result<Closed, Closed> {
        let mut alarm = pin!(sleep_until(self.next_deadline().into()));
        loop {
            let now = clock::now();
            self.collect_answers(now);
            let stream = self.reader.as_ref().map(|reader| Arc::clone(reader.stream()));
            let mut published = pin!(stream.as_ref().map(|stream| stream.published()));
            // Registered before the look, so that a unit pushed in between still wakes us.
            if let Some(published) = published.as_mut().as_pin_mut() {
                published.enable();
            }
            if let Some(reader) = &mut self.reader {
                reader.pull(&mut self.out, now)?;
            }
            if let Some(udp) = &mut self.out.udp {
                udp.send(now);
            }
            let woken = self.select(token, published, alarm.as_mut()).await;
            let now = clock::now();
            match woken {
                Woken::Shutdown => return Ok(Closed::Shutdown),
                Woken::Kicked => return Ok(Closed::Kicked),
                Woken::Read(read) => {
                    if self.count_read(read?) == 0 {
                        return Ok(Closed::ByClient);
                    }
                    self.apply_bytes(now, token).await?;
                }
                Woken::Written(written) => {
                    self.count_written(written?);
                    self.dialogue.note_alive(now);
                }
                Woken::Published => {}
                Woken::Datagrams => {
                    self.dialogue.note_alive(now);
                    self.publish(now);
                }
                Woken::Timer => {
                    if self.out.udp.as_ref().is_some_and(UdpOut::was_heard) {
                        self.dialogue.note_alive(now);
                    }
                    self.dialogue.handle_timeout(now)?;
                    if self
                        .out
                        .tcp
                        .blocked_since()
                        .is_some_and(|since| now >= since + self.server.config.write_timeout)
                    {
                        return Ok(Closed::WriteTimeout(self.server.config.write_timeout));
                    }
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
        let kick = self.kick.clone();
        let mut kicked = pin!(kick.cancelled());
        let now = clock::now();
        poll_fn(|cx| {
            if cancelled.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Shutdown);
            }
            if kicked.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Kicked);
            }
            if let Poll::Ready(written) = self.out.tcp.poll_write_all(&mut self.socket, now, cx) {
                return Poll::Ready(Woken::Written(written));
            }
            if let Poll::Ready(read) = self.poll_read(cx) {
                return Poll::Ready(Woken::Read(read));
            }
            if let (Some(publisher), Some(session)) = (&mut self.publisher, &self.session)
                && publisher.poll_datagrams(cx, session).is_ready()
            {
                return Poll::Ready(Woken::Datagrams);
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

    fn next_deadline(&self) -> Instant {
        let blocked = self.out.tcp.blocked_since().map(|since| since + self.server.config.write_timeout);
        let sending = self.out.udp.as_ref().and_then(UdpOut::wake_at);
        [blocked, sending].into_iter().flatten().fold(self.dialogue.poll_timeout(), Instant::min)
    }

    fn collect_answers(&mut self, now: Instant) {
        while let Some(bytes) = self.dialogue.poll_transmit() {
            self.out.tcp.push(bytes, 0, now);
        }
    }

    fn count_read(&self, read: usize) -> usize {
        self.record.inbound_bytes.fetch_add(u64::try_from(read).unwrap_or(0), Ordering::Relaxed);
        read
    }

    fn count_written(&self, written: usize) {
        self.record.outbound_bytes.fetch_add(u64::try_from(written).unwrap_or(0), Ordering::Relaxed);
    }

    async fn apply_bytes(&mut self, now: Instant, token: &CancellationToken) -> Result<(), Closed> {
        while let Some(event) = self.dialogue.next_event(&mut self.buf, now)? {
            tokio::select! {
                () = self.apply(event) => {}
                () = token.cancelled() => return Err(Closed::Shutdown),
            }
        }
        self.publish(now);
        Ok(())
    }

    async fn apply(&mut self, event: Event) {
        let answer = match event {
            Event::Describe(target) => self.describe(target).await,
            Event::Setup(request) => self.set_up(request).await,
            Event::Play => self.play(),
            Event::Pause => {
                self.reader = None;
                self.member = None;
                if let Some(udp) = &mut self.out.udp {
                    udp.clear();
                }
                self.note_activity();
                self.dialogue.done();
                Ok(())
            }
            Event::Teardown => {
                self.reader = None;
                self.member = None;
                self.group = None;
                self.source = None;
                self.publisher = None;
                if let Some(session) = self.session.take() {
                    self.end_session(&session, &Closed::ByClient);
                }
                Ok(())
            }
            Event::Announce { target, medias } => self.announce(target, medias).await,
            Event::Record => self.record().await,
            Event::Data { track, kind, packet } => {
                match (&mut self.publisher, &self.session) {
                    (Some(publisher), Some(session)) => publisher.packet((track, kind, packet), session),
                    _ => self.report(track, kind, &packet),
                }
                Ok(())
            }
        };
        if let Err(refusal) = answer {
            self.dialogue.refuse(&refusal);
        }
    }

    async fn describe(&mut self, target: Target) -> Result<(), Refusal> {
        let source = self.acquire(target).await?;
        let sdp = media_core::egress::rtsp::describe(source.grant.path().as_str(), &source.format);
        // A session goes on with what it was set up for.
        if self.session.is_none() {
            self.source = Some(source);
        }
        self.dialogue.described(&sdp);
        Ok(())
    }

    async fn set_up(&mut self, request: SetupRequest) -> Result<(), Refusal> {
        if request.mode == Mode::Record {
            return self.set_up_published(&request);
        }
        let is_described = |source: &Source| {
            source.target.path == request.target.path && source.target.query == request.target.query
        };
        if !self.source.as_ref().is_some_and(is_described) {
            self.source = Some(self.acquire(request.target.clone()).await?);
        }
        let Some(source) = &self.source else { return Err(Refusal::NotFound) };
        if self.session.is_none() {
            source.stream.has_room().map_err(|error| too_many(&error))?;
        }
        let count = source.format.source_tracks().count();
        let track = match request.target.track {
            Some(track) => track,
            // correctness: R1
            None if count > 1 => return Err(Refusal::AggregateNotAllowed),
            None => 0,
        };
        let info = source.format.source_tracks().nth(track).ok_or(Refusal::NotFound)?;
        let ssrc = Some(source.feed.ssrc(info.id));
        let transport = self.choose_transport(&request.offers, track).ok_or(Refusal::UnsupportedTransport)?;
        if self.session.is_none()
            && let Some(source) = &self.source
        {
            let path = source.grant.path().clone();
            self.begin_session(path, request.target.query.clone(), transport, Role::Read);
        }
        self.expect_datagrams(transport, track);
        self.dialogue.set_up(SetUpTrack { track, transport, ssrc });
        Ok(())
    }

    /// The first of the client's transports that is served. Without encryption of its own, media does not leave an encrypted
    /// connection.
    fn choose_transport(&mut self, offers: &[TransportOffer], track: usize) -> Option<ServerTransport> {
        let is_plain = self.record.encryption == Encryption::None;
        offers.iter().find_map(|offer| match *offer {
            TransportOffer::Tcp { channels } if self.server.config.transports.tcp => self.channels(channels),
            TransportOffer::Tcp { .. } => None,
            TransportOffer::Udp { client_ports } => {
                let udp = self.server.udp.as_ref().filter(|_| is_plain)?;
                Some(ServerTransport::Udp { client_ports, server_ports: udp.ports() })
            }
            TransportOffer::Multicast if is_plain && self.publisher.is_none() => self.multicast(track),
            TransportOffer::Multicast => None,
        })
    }

    /// The stream's group on the interface that the client came in by.
    fn multicast(&mut self, track: usize) -> Option<ServerTransport> {
        let IpAddr::V4(local) = self.record.local_ip else { return None };
        let (groups, source) = (self.server.groups.as_ref()?, self.source.as_ref()?);
        if self.group.is_none() {
            self.group = groups.of(&source.stream, (&source.format, &source.feed), local);
        }
        self.group.as_ref()?.transport(track)
    }

    /// The channels that the client wants, or the next free ones where it wants none or such as are taken.
    fn channels(&self, wanted: Option<(u8, u8)>) -> Option<ServerTransport> {
        let taken = |channel: u8| {
            self.dialogue.tracks().iter().any(|track| match track.transport {
                ServerTransport::Tcp { rtp_channel, rtcp_channel } => {
                    rtp_channel == channel || rtcp_channel == channel
                }
                ServerTransport::Udp { .. } | ServerTransport::Multicast { .. } => false,
            })
        };
        let free = |(rtp, rtcp): &(u8, u8)| rtp != rtcp && !taken(*rtp) && !taken(*rtcp);
        let next = || (0..=u8::MAX - 1).step_by(2).map(|channel| (channel, channel + 1)).find(free);
        let (rtp_channel, rtcp_channel) = wanted.filter(free).or_else(next)?;
        Some(ServerTransport::Tcp { rtp_channel, rtcp_channel })
    }

    /// Somebody wants to send: asks the gate, and whether the path is one to send to.
    async fn announce(&mut self, target: Target, medias: Vec<SdpMedia>) -> Result<(), Refusal> {
        let path = PathName::parse(&target.path).map_err(|_| Refusal::NotFound)?;
        let grant = self.authorize(Action::Publish, &path, &target.query).await?;
        let point = self.server.deps.registry.publish_point(&path).map_err(|refused| match refused {
            NotPublishable::Pulled => Refusal::MethodNotAllowed,
            NotPublishable::Unknown => Refusal::NotFound,
        })?;
        self.publisher = Some(Publisher::new(target, grant, point, medias));
        self.dialogue.done();
        Ok(())
    }

    fn set_up_published(&mut self, request: &SetupRequest) -> Result<(), Refusal> {
        let Some(publisher) = &self.publisher else { return Err(Refusal::BadRequest) };
        let track = publisher.track(&request.url).ok_or(Refusal::NotFound)?;
        if self.dialogue.tracks().iter().any(|known| known.track == track) {
            return Err(Refusal::BadRequest);
        }
        let (path, query) = (publisher.grant.path().clone(), publisher.target.query.clone());
        let chosen = self.choose_transport(&request.offers, track);
        let transport = chosen.ok_or(Refusal::UnsupportedTransport)?;
        if self.session.is_none() {
            self.begin_session(path, query, transport, Role::Publish);
        }
        self.expect_datagrams(transport, track);
        self.dialogue.set_up(SetUpTrack { track, transport, ssrc: None });
        Ok(())
    }

    async fn record(&mut self) -> Result<(), Refusal> {
        let (Some(publisher), Some(session)) = (&mut self.publisher, &self.session) else {
            return Err(Refusal::BadRequest);
        };
        publisher.record(session).await.map_err(|_| Refusal::BadRequest)?;
        self.note_activity();
        self.dialogue.done();
        Ok(())
    }

    /// What a publisher sent goes to the readers.
    fn publish(&mut self, now: Instant) {
        if let (Some(publisher), Some(session)) = (&mut self.publisher, &self.session) {
            publisher.publish(self.dialogue.tracks(), session, &mut self.out, now);
        }
    }

    /// A client over UDP gets its way out with its first track, and is heard from each one's ports.
    fn expect_datagrams(&mut self, transport: ServerTransport, track: usize) {
        let ServerTransport::Udp { client_ports, .. } = transport else { return };
        let (Some(ports), Some(record)) = (&self.server.udp, &self.session) else { return };
        let udp = self.out.udp.get_or_insert_with(|| UdpOut::new(ports, record, clock::now()));
        let from = |port| SocketAddr::new(self.record.remote_addr.ip(), port);
        match &self.publisher {
            None => udp.expect_reports(from(client_ports.1), track),
            Some(publisher) => {
                let ports = (from(client_ports.0), from(client_ports.1));
                udp.expect_media(ports, track, publisher.sender());
            }
        }
    }

    fn begin_session(&mut self, path: PathName, query: String, transport: ServerTransport, role: Role) {
        let record = Arc::new(SessionRecord::new(SessionFacts {
            id: Uuid::new_v4(),
            conn: self.record.id,
            encryption: self.record.encryption,
            created: clock::wall_now(),
            remote_addr: self.record.remote_addr,
            path,
            query,
            user: self.user.clone(),
            user_agent: self.dialogue.user_agent().to_owned(),
            transport: match transport {
                ServerTransport::Tcp { .. } => "TCP",
                ServerTransport::Udp { .. } => "UDP",
                ServerTransport::Multicast { .. } => "UDP-multicast",
            },
            role,
        }));
        let facts = &record.facts;
        info!(session = %facts.id, path = %facts.path, transport = facts.transport, "RTSP session opened");
        self.kick = record.kick.clone();
        self.record.set_session(Some(facts.id));
        self.server.list_session(&record);
        self.session = Some(record);
    }

    fn end_session(&mut self, session: &SessionRecord, closed: &Closed) {
        self.reader = None;
        self.publisher = None;
        self.out.udp = None;
        self.kick = CancellationToken::new();
        let facts = &session.facts;
        if let Closed::Reader(ReaderEnd::TooSlow { packets, .. }) = closed {
            let packets = u64::try_from(*packets).unwrap_or(0);
            session.counters.outbound_rtp_packets_discarded.fetch_add(packets, Ordering::Relaxed);
            self.server.count_cut_reader(packets);
            warn!(session = %facts.id, path = %facts.path, reader = %facts.remote_addr, reason = %closed, "RTSP reader cut");
        } else {
            info!(session = %facts.id, path = %facts.path, reason = %closed, "RTSP session closed");
        }
        self.record.set_session(None);
        self.server.unlist_session(facts.id);
    }

    fn play(&mut self) -> Result<(), Refusal> {
        let (Some(source), Some(record)) = (&self.source, &self.session) else {
            return Err(Refusal::BadRequest);
        };
        let kind = record.facts.encryption.reader_kind();
        let (id, query) = (record.facts.id.to_string(), record.facts.query.clone());
        let teller = events::Reader { kind: record.facts.encryption.session_type(), id, query };
        if let Some(group) = &self.group {
            let seat = source.stream.take_readers_seat(kind);
            let seat = seat.map_err(|error| too_many(&error))?;
            let told = source.stream.events().map(|events| events.read(&teller));
            self.member = Some(group.join(&source.grant, record, (seat, told)));
            // Where others are at is nobody's beginning.
            self.dialogue.playing(&[]);
            self.note_activity();
            return Ok(());
        }
        let at = JoinAt::NewestRandomAccess;
        let subscribed = source.stream.subscribe(&source.grant, at, kind);
        let mut subscription = subscribed.map_err(|error| too_many(&error))?;
        subscription.tell(&teller);
        let parts = ReaderParts {
            subscription,
            feed: Arc::clone(&source.feed),
            record: Arc::clone(record),
            format: Arc::clone(&source.format),
            queue_packets_max: self.server.config.write_queue_packets,
        };
        let reader = Reader::new(parts, self.dialogue.tracks());
        self.dialogue.playing(&reader.begin());
        self.reader = Some(reader);
        self.note_activity();
        Ok(())
    }

    fn note_activity(&self) {
        if let Some(session) = &self.session {
            let publishes = self.publisher.as_ref().is_some_and(Publisher::is_active);
            let reads = self.reader.is_some() || self.member.is_some();
            session.is_active.store(reads || publishes, Ordering::Relaxed);
        }
    }

    fn report(&self, track: usize, kind: MediaKind, packet: &[u8]) {
        let Some(session) = self.session.as_ref().filter(|_| kind == MediaKind::Rtcp) else { return };
        session.count_report(track, packet);
    }

    /// Sends the client on: to a path of this server under the host that it knows it by. A path that falls back to itself
    /// would send it round for ever.
    fn elsewhere(&self, from: &PathName, to: &Destination) -> Refusal {
        let asked = self.dialogue.signature().map(|signed| signed.url.clone());
        let location = match (to, asked) {
            (Destination::Url(url), _) => Some(url.expose().to_owned()),
            (Destination::Path(to), _) if to == from => None,
            (Destination::Path(to), Some(mut url)) => {
                url.set_path(&format!("/{to}"));
                url.set_query(None);
                Some(url.to_string())
            }
            (Destination::Path(_), None) => None,
        };
        location.map_or(Refusal::NotFound, |location| Refusal::Elsewhere { location })
    }

    /// Asks the gate with what the request shows of its sender.
    async fn authorize(
        &mut self,
        action: Action,
        path: &PathName,
        query: &str,
    ) -> Result<CameraGrant, Refusal> {
        let now = clock::now();
        let shown = match self.dialogue.signature() {
            Some(signed) => {
                let authorization = signed.authorization.as_deref();
                self.challenger.read(authorization, signed.method, &signed.url, now)
            }
            None => Shown::Credentials(Credentials::default()),
        };
        if self.challenger.is_over(now) {
            self.challenger.renew(nonce(), now);
        }
        let challenges = self.challenger.challenges(&shown);
        let Shown::Credentials(credentials) = shown else {
            return Err(Refusal::Unauthorized { challenges });
        };
        let about = (self.record.id, query, self.dialogue.user_agent());
        let access = &self.server.deps.access;
        let visitor = access.rtsp_visitor(self.record.remote_addr.ip(), credentials, about);
        let admitted = access.camera(&visitor, action, path).await;
        let admission = admitted.map_err(|refused| {
            debug!(%refused, %path, "client refused");
            match refused {
                Refused::CredentialsWanted => Refusal::Unauthorized { challenges },
                Refused::Wrong => Refusal::Unauthorized { challenges: Vec::new() },
                Refused::TooManyTries(_) => Refusal::Unavailable,
            }
        })?;
        admission.basis.user().clone_into(&mut self.user);
        Ok(admission.grant)
    }

    /// The stream that a URL names, once it is there: asks the gate, and starts an on-demand camera.
    async fn acquire(&mut self, target: Target) -> Result<Source, Refusal> {
        let path = PathName::parse(&target.path).map_err(|_| Refusal::NotFound)?;
        let grant = self.authorize(Action::Read, &path, &target.query).await?;
        let acquired = self.server.deps.registry.acquire_or_send_on(&grant, &target.query).await;
        let stream = acquired.map_err(|error| {
            debug!(%error, "nothing to read");
            match error {
                NotHere::Unavailable(_) => Refusal::NotFound,
                NotHere::Elsewhere { to, .. } => self.elsewhere(&path, &to),
            }
        })?;
        let seat = stream.take_seat(ReaderKind::Waiting);
        let format = stream.format().ok_or(Refusal::NotFound)?;
        let feed = self.server.feeds.of(&stream);
        Ok(Source { target, grant, stream, format, feed, _seat: seat })
    }
}

/// As MediaMTX refuses one reader too many.
fn too_many(error: &TooManyReaders) -> Refusal {
    debug!(%error, "reader refused");
    Refusal::BadRequest
}

/// A challenge's nonce: 122 random bits.
fn nonce() -> String {
    Uuid::new_v4().simple().to_string()
}
