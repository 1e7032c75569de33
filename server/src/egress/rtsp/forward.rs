//! Forward: one session in which a path's media is sent to another RTSP server (ANNOUNCE, RECORD), in its connection.
//!
//! ```text
//!  connect ─► Client::publish (media_core::rtsp) ─► Announced ─► SETUP.. ─► RECORD ─► Reader ─► Outbox ─► socket
//! ```
//!
//! What is sent is what a reader gets, in the same packets; so is what happens to one that is too slow.
//! Limits: those of forward::session and forward::line, and those of its `ForwardLimits`.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media_core::egress::rtsp::describe;
use media_core::gate::CameraGrant;
use media_core::ring::JoinAt;
use media_core::rtsp::server::{ServerTransport, SetUpTrack, track_control};
use media_core::rtsp::{
    Client, ClientConfig, ClientError, Credentials, Event, LowerTransport, TransportReply,
};
use media_core::track::SharedFormat;
use tokio::time::{sleep_until, timeout_at};
use tracing::debug;
use uuid::Uuid;

use super::feed::{Feed, Feeds};
use super::out::Out;
use super::reader::{Reader, ReaderEnd, ReaderParts};
use super::stats::{Encryption, Role, SessionFacts, SessionRecord};
use crate::egress::forward::line::{Line, Woken};
use crate::egress::forward::session::{Absence, CONNECT_MAX, ForwardEnd, Forwarding};
use crate::ingest::connect::{self, ConnectError, Connected, Connection};
use crate::runtime::clock;

/// Why a session ended. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Rtsp(#[from] ClientError),
    #[error("server did not take the media within {} s", CONNECT_MAX.as_secs())]
    ConnectTimeout,
    #[error("stream has no track that can be sent")]
    NoTracks,
    #[error("server closed the connection")]
    Closed,
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("server is too slow: {0}")]
    TooSlow(ReaderEnd),
    #[error("server took nothing for {} s", .0.as_secs())]
    WriteTimeout(Duration),
}

/// Runs one session until it ends.
///
/// # Errors
/// [`ForwardError`].
pub(crate) async fn run(forwarding: Forwarding<'_>) -> Result<ForwardEnd, ForwardError> {
    let begun = clock::now();
    let deadline = begun + CONNECT_MAX;
    let format = forwarding.stream.format().ok_or(ForwardError::NoTracks)?;
    let dest = &forwarding.record.dest;
    let connecting = connect::connect_to(&dest.url, dest.fingerprint, "destFingerprint");
    let connected = tokio::select! {
        connected = timeout_at(deadline.into(), connecting) => connected,
        () = forwarding.token.cancelled() => return Ok(ForwardEnd::Cancelled),
    };
    let connected = connected.map_err(|_| ForwardError::ConnectTimeout)??;
    Session::new(forwarding, connected, format, deadline).run().await
}

struct Session<'a> {
    forwarding: Forwarding<'a>,
    connected: Connected,
    client: Client,
    buf: BytesMut,
    out: Out,
    grant: CameraGrant,
    feed: Arc<Feed>,
    /// As it was announced.
    format: SharedFormat,
    /// By track; set up once the server has answered.
    tracks: Vec<SetUpTrack>,
    reader: Option<Reader>,
    must_record_by: Instant,
    absence: Absence,
}

impl<'a> Session<'a> {
    fn new(
        forwarding: Forwarding<'a>,
        connected: Connected,
        format: SharedFormat,
        must_record_by: Instant,
    ) -> Self {
        let (stream, url) = (forwarding.stream, &forwarding.record.dest.url);
        let credentials = url.credentials().map(|credentials| Credentials {
            user: credentials.username.clone(),
            password: credentials.password.expose().to_owned(),
        });
        let config = ClientConfig {
            url: url.url().clone(),
            credentials,
            user_agent: concat!("GT-Vision/", env!("CARGO_PKG_VERSION")).to_owned(),
            request_timeout: forwarding.limits.read_timeout,
            range: String::new(),
            scale: None,
        };
        let sdp = describe(stream.name().as_str(), &format);
        let grant = forwarding.grant();
        Self {
            client: Client::publish(config, sdp, clock::now()),
            buf: BytesMut::new(),
            out: Out::new(connected.peer.ip()),
            grant,
            feed: Feeds::new(forwarding.limits.packet_bytes).of(stream),
            format,
            tracks: Vec::new(),
            reader: None,
            must_record_by,
            absence: Absence::default(),
            forwarding,
            connected,
        }
    }

    async fn run(mut self) -> Result<ForwardEnd, ForwardError> {
        let mut states = self.forwarding.stream.state_changes();
        let mut alarm = pin!(sleep_until(self.next_deadline().into()));
        let stream = Arc::clone(self.forwarding.stream);
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
                reader.pull(&mut self.out, now).map_err(ForwardError::TooSlow)?;
            }
            let (token, timer) = (self.forwarding.token, (self.next_deadline(), alarm.as_mut()));
            let woken = self.line().wait(token, &mut states, published, timer).await;
            let now = clock::now();
            match woken {
                Woken::Cancelled => return Ok(self.say_goodbye(ForwardEnd::Cancelled).await),
                Woken::State | Woken::Published => {}
                Woken::Read(read) => {
                    if read? == 0 {
                        return Err(ForwardError::Closed);
                    }
                    self.apply_bytes(now)?;
                }
                Woken::Written(written) => self.forwarding.record.count(written?),
                Woken::Timer => {
                    self.client.handle_timeout(now)?;
                    self.check_deadlines(now)?;
                    if self.absence.is_over(now) {
                        return Ok(self.say_goodbye(ForwardEnd::SourceGone).await);
                    }
                    alarm.as_mut().reset(self.next_deadline().into());
                }
            }
        }
    }

    fn check_deadlines(&self, now: Instant) -> Result<(), ForwardError> {
        if self.reader.is_none() && now >= self.must_record_by {
            return Err(ForwardError::ConnectTimeout);
        }
        let limit = self.forwarding.limits.write_timeout;
        match self.out.tcp.blocked_since().is_some_and(|since| now >= since + limit) {
            true => Err(ForwardError::WriteTimeout(limit)),
            false => Ok(()),
        }
    }

    fn next_deadline(&self) -> Instant {
        let limit = self.forwarding.limits.write_timeout;
        let blocked = self.out.tcp.blocked_since().map(|since| since + limit);
        let connecting = self.reader.is_none().then_some(self.must_record_by);
        let deadlines = [self.client.poll_timeout(), blocked, connecting, self.absence.ends_at()];
        deadlines.into_iter().flatten().min().unwrap_or_else(|| clock::now() + limit)
    }

    fn apply_bytes(&mut self, now: Instant) -> Result<(), ForwardError> {
        while let Some(event) = self.client.next_event(&mut self.buf, now)? {
            match event {
                Event::Announced => self.set_up_tracks(now)?,
                Event::SetUp { track, reply } => self.track_is_set_up(track, reply, now)?,
                Event::Recording => self.begin(),
                // What a server reports of what it got; nothing here depends on it.
                Event::Media { .. } => {}
                Event::Described(_) | Event::Playing => debug!("server answers what was not asked"),
            }
        }
        Ok(())
    }

    fn set_up_tracks(&mut self, now: Instant) -> Result<(), ForwardError> {
        let count = self.format.source_tracks().count();
        if count == 0 {
            return Err(ForwardError::NoTracks);
        }
        for track in 0..count {
            let lower = LowerTransport::Tcp { channel: channel_of(track) };
            self.client.setup_recorded(track, &track_control(track), lower, now)?;
        }
        Ok(())
    }

    fn track_is_set_up(
        &mut self,
        track: usize,
        reply: TransportReply,
        now: Instant,
    ) -> Result<(), ForwardError> {
        let rtp_channel = reply.channel.unwrap_or_else(|| channel_of(track));
        let rtcp_channel = rtp_channel.saturating_add(1);
        let transport = ServerTransport::Tcp { rtp_channel, rtcp_channel };
        self.tracks.push(SetUpTrack { track, transport, ssrc: None });
        if self.tracks.len() == self.format.source_tracks().count() {
            self.client.record(now)?;
        }
        Ok(())
    }

    /// The server takes media from now on: from the newest random access point.
    fn begin(&mut self) {
        let stream = self.forwarding.stream;
        let parts = ReaderParts {
            subscription: stream.follow(&self.grant, JoinAt::NewestRandomAccess),
            feed: Arc::clone(&self.feed),
            record: Arc::new(SessionRecord::new(self.facts())),
            format: Arc::clone(&self.format),
            queue_packets_max: self.forwarding.limits.queue_packets,
        };
        self.reader = Some(Reader::new(parts, &self.tracks));
        self.forwarding.record.begun();
    }

    /// A reader keeps a record; this one's is shown to nobody.
    fn facts(&self) -> SessionFacts {
        SessionFacts {
            id: self.forwarding.record.id,
            conn: Uuid::nil(),
            encryption: Encryption::None,
            created: clock::wall_now(),
            remote_addr: self.connected.peer,
            path: self.grant.path().clone(),
            query: String::new(),
            user: String::new(),
            user_agent: String::new(),
            transport: "TCP",
            role: Role::Read,
        }
    }

    fn transmit(&mut self, now: Instant) {
        while let Some(bytes) = self.client.poll_transmit() {
            self.out.tcp.push(bytes, 0, now);
        }
    }

    async fn say_goodbye(mut self, end: ForwardEnd) -> ForwardEnd {
        let now = clock::now();
        self.client.teardown(now);
        self.transmit(now);
        self.line().finish(now).await;
        end
    }

    fn line(&mut self) -> Line<'_, Box<dyn Connection>> {
        Line { socket: &mut self.connected.stream, out: &mut self.out.tcp, buf: &mut self.buf }
    }
}

/// The channel of a track's RTP: the one that its packets are made with.
fn channel_of(track: usize) -> u8 {
    u8::try_from(track * 2).unwrap_or(u8::MAX)
}
