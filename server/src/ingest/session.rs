//! Session: one connection to a camera, from the TCP connect to whatever ends it.
//!
//! ```text
//!  connect ─► Client (media_core::rtsp) ─► RtpReceiver per track ─► Ingest (media_core::ingest) ─► Publisher
//!     │            ▲ bytes, UDP packets, time
//!     └────────────┴── select loop: wait for one thing, apply it, write what the machine wants to send
//! ```
//!
//! Times: see [`SessionTimes`]. Limits: media_core::rtsp's for messages; one read buffer (-> read_buffer).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::ingest::{Ingest, TrackSetup};
use media_core::rtmp::{ClientError as RtmpClientError, IncomingError};
use media_core::rtp::RtpPacket;
use media_core::rtsp::{
    Client, ClientConfig, ClientError, Credentials, Event, LowerTransport, MediaKind, ReceivedRtp,
    RtpReceiver, SdpMedia, TransportReply, parse_sender_report,
};
use media_core::time::WallTime;
use tokio::io::AsyncWriteExt;
use tokio::time::{Sleep, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tracing::{debug, info};

use super::connect::{self, ConnectError, Connected};
use super::hls::HlsError;
use super::output::Output;
use super::read_buffer::ReadBuffer;
use super::rtp_tracks::{REPORTER_SSRC, Received};
use super::udp::UdpPair;
use super::whep::WhepError;
use crate::config::resolved::RtspSource;
use crate::runtime::{clock, nap};
use crate::stream::{SourceStatus, Stream};

/// Time between receiver reports (RFC 3550 s6.2 minimum).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// With `automatic`, how long UDP may stay silent after PLAY before TCP is tried.
const UDP_SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionTimes {
    /// From the first packet to an accepted PLAY.
    pub(crate) connect: Duration,
    /// A request's answer, a write (`readTimeout`).
    pub(crate) request: Duration,
    /// Without an access unit the camera is frozen.
    pub(crate) frozen: Duration,
}

impl Default for SessionTimes {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { connect: ten, request: ten, frozen: Duration::from_secs(15) }
    }
}

/// The transport of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TryTransport {
    /// Interleaved.
    Tcp,
    /// Datagrams, whatever happens.
    Udp,
    /// Datagrams, but end with [`SessionError::UdpSilent`] when nothing comes.
    UdpFirst,
}

/// Why a session ended. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Rtsp(#[from] ClientError),
    #[error(transparent)]
    RtmpDialogue(#[from] RtmpClientError),
    #[error(transparent)]
    RtmpMedia(#[from] IncomingError),
    #[error(transparent)]
    Hls(#[from] HlsError),
    #[error(transparent)]
    Whep(#[from] WhepError),
    #[error("no picture within {} s of connecting", .0.as_secs_f32())]
    ConnectTimeout(Duration),
    #[error("camera closed the connection")]
    Closed,
    #[error("the stream is over there")]
    Ended,
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("frozen: no picture for {} s", .0.as_secs_f32())]
    Frozen(Duration),
    #[error("camera offers no track that we know; it has {offered}")]
    NoTracks { offered: String },
    #[error("nothing came over udp")]
    UdpSilent,
    #[error("tracks can't be used: {0}")]
    Tracks(String),
}

/// What a session works with; lent by the supervisor.
pub(super) struct SessionContext<'a> {
    pub(super) stream: &'a Arc<Stream>,
    pub(super) output: &'a mut Output,
    pub(super) ingest: &'a mut Ingest,
    pub(super) times: SessionTimes,
    pub(super) token: &'a CancellationToken,
}

/// How a session that did not fail ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// It was cancelled.
    Cancelled,
}

/// Runs one session until it ends. `online` is called at the first access unit.
pub(super) async fn run(
    source: &RtspSource,
    context: SessionContext<'_>,
    transport: TryTransport,
    online: impl FnMut(),
) -> Result<SessionEnd, SessionError> {
    let begun = clock::now();
    let deadline = begun + context.times.connect;
    let connected = timeout_at(deadline.into(), connect::connect(&source.url, source.fingerprint)).await;
    let connected = connected.map_err(|_| SessionError::ConnectTimeout(context.times.connect))??;
    Session::new(source, context, transport, connected, begun).run(online).await
}

/// One set-up track.
struct Track {
    media: SdpMedia,
    receiver: RtpReceiver,
    udp: Option<UdpPair>,
    reply: TransportReply,
}

/// What the loop waits for besides the camera, made once: a wait that is set up for each packet costs more than the packet.
struct Waits<'a, 'token> {
    /// Rings at the next deadline or before.
    alarm: Pin<&'a mut Sleep>,
    cancelled: Pin<&'a mut WaitForCancellationFuture<'token>>,
}

/// The time at which something was read, on both clocks.
#[derive(Clone, Copy)]
struct Moment {
    now: Instant,
    wall: WallTime,
}

impl Moment {
    fn read() -> Self {
        Self { now: clock::now(), wall: clock::wall_now() }
    }
}

/// What woke the loop.
enum Woken {
    Read(io::Result<usize>),
    Datagram(io::Result<(usize, MediaKind, Bytes)>),
    Timer,
    Cancelled,
}

struct Session<'a> {
    context: SessionContext<'a>,
    transport: TryTransport,
    connected: Connected,
    client: Client,
    buf: ReadBuffer,
    tracks: Vec<Track>,
    set_up: usize,
    playing_since: Option<Instant>,
    connect_deadline: Instant,
    last_packet: Option<Instant>,
    /// When the camera last sent a whole picture or sound, also one that nobody can decode yet: a camera in the
    /// middle of a long GOP is not frozen.
    last_unit: Option<Instant>,
    units_seen: u64,
    is_online: bool,
    next_report: Option<Instant>,
    in_order: Vec<ReceivedRtp>,
}

impl<'a> Session<'a> {
    fn new(
        source: &RtspSource,
        context: SessionContext<'a>,
        transport: TryTransport,
        connected: Connected,
        begun: Instant,
    ) -> Self {
        let credentials = source.url.credentials().map(|credentials| Credentials {
            user: credentials.username.clone(),
            password: credentials.password.expose().to_owned(),
        });
        let config = ClientConfig {
            url: source.url.url().clone(),
            credentials,
            user_agent: concat!("GT-Vision/", env!("CARGO_PKG_VERSION")).to_owned(),
            request_timeout: context.times.request,
            range: source.play.range.to_string(),
            scale: source.play.scale.as_deref().map(str::to_owned),
        };
        let units_seen = units_seen(context.ingest);
        Self {
            client: Client::new(config, begun),
            connect_deadline: begun + context.times.connect,
            context,
            transport,
            connected,
            buf: ReadBuffer::default(),
            tracks: Vec::new(),
            set_up: 0,
            playing_since: None,
            last_packet: None,
            last_unit: None,
            units_seen,
            is_online: false,
            next_report: None,
            in_order: Vec::new(),
        }
    }

    async fn run(mut self, mut online: impl FnMut()) -> Result<SessionEnd, SessionError> {
        let token = self.context.token;
        let alarm = pin!(sleep_until(self.next_deadline().into()));
        let cancelled = pin!(token.cancelled());
        let mut waits = Waits { alarm, cancelled };
        loop {
            let mut more_waits = false;
            self.transmit().await?;
            match self.select(&mut waits).await {
                Woken::Read(read) => {
                    if read? == 0 {
                        return Err(SessionError::Closed);
                    }
                    nap::count_read();
                    more_waits = self.buf.is_full();
                    self.apply_bytes(Moment::read()).await?;
                }
                Woken::Datagram(datagram) => {
                    let (track, kind, packet) = datagram?;
                    self.apply_packet(track, kind, packet, Moment::read());
                }
                Woken::Timer => {
                    self.apply_timer().await?;
                    waits.alarm.as_mut().reset(self.next_deadline().into());
                }
                Woken::Cancelled => {
                    self.client.teardown(clock::now());
                    // Best effort: the camera's own time-out ends what this does not reach.
                    let _sent = tokio::time::timeout(Duration::from_millis(200), self.transmit()).await;
                    return Ok(SessionEnd::Cancelled);
                }
            }
            if self.context.output.drain(self.context.ingest) > 0 && !self.is_online {
                self.is_online = true;
                online();
            }
            let units_seen = units_seen(self.context.ingest);
            if units_seen != self.units_seen {
                self.units_seen = units_seen;
                self.last_unit = Some(clock::now());
            }
            if more_waits {
                // The readers on this thread have their turn first: seconds that came at once would push out of the
                // ring what they have not had yet.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits for one thing; changes nothing but buffers. Cancel-safe.
    async fn select(&mut self, waits: &mut Waits<'_, '_>) -> Woken {
        // Deadlines mostly move away, with each picture. The alarm is left where it is, rings too early now and then,
        // and is set anew.
        let deadline = self.next_deadline().into();
        if deadline < waits.alarm.deadline() {
            waits.alarm.as_mut().reset(deadline);
        }
        let tracks = &mut self.tracks;
        let datagram = poll_fn(|cx| {
            for (index, track) in tracks.iter_mut().enumerate() {
                if let Some(udp) = &mut track.udp
                    && let std::task::Poll::Ready(packet) = udp.poll_packet(cx)
                {
                    return std::task::Poll::Ready(packet.map(|(kind, packet)| (index, kind, packet)));
                }
            }
            std::task::Poll::Pending
        });
        let (buf, stream) = (&mut self.buf, &mut self.connected.stream);
        tokio::select! {
            // The camera first, since it is what nearly always comes. tokio's budget for a task's reads sees to it that
            // one that never stops can't keep the others from being looked at.
            biased;
            read = poll_fn(|cx| buf.poll_fill(cx, Pin::new(&mut **stream))) => Woken::Read(read),
            datagram = datagram => Woken::Datagram(datagram),
            () = waits.cancelled.as_mut() => Woken::Cancelled,
            () = waits.alarm.as_mut() => Woken::Timer,
        }
    }

    /// The next instant at which something is due.
    fn next_deadline(&self) -> Instant {
        let frozen = match (self.last_unit, self.playing_since) {
            (Some(at), _) | (None, Some(at)) => at + self.context.times.frozen,
            (None, None) => self.connect_deadline,
        };
        let silent = match (self.transport, self.playing_since, self.last_packet) {
            (TryTransport::UdpFirst, Some(since), None) => Some(since + UDP_SILENCE_MAX),
            _ => None,
        };
        [self.client.poll_timeout(), self.next_report, silent]
            .into_iter()
            .flatten()
            .fold(frozen, Instant::min)
    }

    async fn apply_timer(&mut self) -> Result<(), SessionError> {
        let now = clock::now();
        self.client.handle_timeout(now)?;
        match (self.last_unit, self.playing_since) {
            (None, None) if now >= self.connect_deadline => {
                return Err(SessionError::ConnectTimeout(self.context.times.connect));
            }
            (Some(at), _) | (None, Some(at)) if now >= at + self.context.times.frozen => {
                self.context.stream.counters.frozen.fetch_add(1, Ordering::Relaxed);
                let error = SessionError::Frozen(self.context.times.frozen);
                self.context.stream.set_state(SourceStatus::Frozen, error.to_string(), clock::wall_now());
                return Err(error);
            }
            _ => {}
        }
        let silent_since = self.playing_since.filter(|_| self.last_packet.is_none());
        if self.transport == TryTransport::UdpFirst
            && silent_since.is_some_and(|at| now >= at + UDP_SILENCE_MAX)
        {
            return Err(SessionError::UdpSilent);
        }
        if self.next_report.is_some_and(|at| now >= at) {
            self.next_report = Some(now + REPORT_INTERVAL);
            let received = Received::of(self.tracks.iter().map(|track| &track.receiver));
            self.context.output.report(self.context.ingest, received.jitter_us);
            self.send_receiver_reports().await;
        }
        Ok(())
    }

    async fn apply_bytes(&mut self, at: Moment) -> Result<(), SessionError> {
        let before = self.buf.bytes().len();
        while let Some(event) = self.client.next_event(self.buf.bytes(), at.now)? {
            match event {
                Event::Described(medias) => self.choose_tracks(&medias).await?,
                Event::SetUp { track, reply } => self.track_is_set_up(track, reply).await?,
                Event::Playing => {
                    let now = clock::now();
                    self.playing_since = Some(now);
                    self.next_report = Some(now + REPORT_INTERVAL);
                    debug!("camera plays");
                }
                Event::Media { track, kind, packet } => self.apply_packet(track, kind, packet, at),
                Event::Announced | Event::Recording => debug!("camera answers what was not asked"),
            }
        }
        let consumed = before.saturating_sub(self.buf.bytes().len());
        let consumed = u64::try_from(consumed).unwrap_or(0);
        self.context.stream.counters.inbound_bytes.fetch_add(consumed, Ordering::Relaxed);
        Ok(())
    }

    async fn choose_tracks(&mut self, medias: &[SdpMedia]) -> Result<(), SessionError> {
        let chosen: Vec<&SdpMedia> = choose(medias);
        if chosen.is_empty() {
            let offered: Vec<&str> = medias.iter().map(|m| m.encoding_name.as_str()).collect();
            return Err(SessionError::NoTracks { offered: offered.join(", ") });
        }
        info!(tracks = ?chosen.iter().map(|m| &m.encoding_name).collect::<Vec<_>>(), "camera described its tracks");
        let setups: Vec<TrackSetup> = chosen.iter().map(|media| track_setup(media)).collect();
        let SessionContext { ingest, output, .. } = &mut self.context;
        let started = output.admit(&setups).and_then(|()| ingest.start(&setups, clock::now()));
        started.map_err(|err| SessionError::Tracks(err.to_string()))?;
        // The jitter of the session before is nobody's.
        self.context.output.report(self.context.ingest, None);
        for (index, media) in chosen.into_iter().enumerate() {
            let udp = match self.transport {
                TryTransport::Tcp => None,
                TryTransport::Udp | TryTransport::UdpFirst => {
                    Some(UdpPair::bind(self.connected.local.ip(), self.connected.peer.ip()).await?)
                }
            };
            let lower = match &udp {
                Some(udp) => LowerTransport::Udp { rtp_port: udp.rtp_port() },
                None => LowerTransport::Tcp { channel: u8::try_from(index * 2).unwrap_or(u8::MAX) },
            };
            self.client.setup(index, media, lower, clock::now())?;
            let receiver = RtpReceiver::new(media.payload_type, media.clock_rate);
            self.tracks.push(Track { media: media.clone(), receiver, udp, reply: TransportReply::default() });
        }
        Ok(())
    }

    async fn track_is_set_up(&mut self, index: usize, reply: TransportReply) -> Result<(), SessionError> {
        if let Some(track) = self.tracks.get_mut(index) {
            track.reply = reply;
            if let Some(udp) = &track.udp {
                udp.punch(&reply).await;
            }
            self.set_up += 1;
        }
        if self.set_up == self.tracks.len() {
            self.client.play(clock::now())?;
        }
        Ok(())
    }

    fn apply_packet(&mut self, index: usize, kind: MediaKind, packet: Bytes, at: Moment) {
        let Some(track) = self.tracks.get_mut(index) else { return };
        if track.udp.is_some() {
            let bytes = u64::try_from(packet.len()).unwrap_or(0);
            self.context.stream.counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        // A report proves that datagrams get through, even while the camera waits for its next key frame.
        self.last_packet = Some(at.now);
        match kind {
            MediaKind::Rtp => {
                track.receiver.handle(packet, at.now, &mut self.in_order);
                for rtp in self.in_order.drain(..) {
                    let packet = RtpPacket {
                        seq: rtp.seq,
                        rtp_timestamp: rtp.rtp_timestamp,
                        marker: rtp.marker,
                        payload: rtp.payload,
                        arrival: at.now,
                        arrival_wall: at.wall,
                        lost_before: rtp.lost_before,
                    };
                    if let Err(err) = self.context.ingest.handle_rtp(index, &packet) {
                        debug!(track = %track.media.encoding_name, error = %err, "packet can't be used");
                    }
                }
            }
            MediaKind::Rtcp => {
                if let Some(report) = parse_sender_report(&packet) {
                    self.context.ingest.handle_sender_report(index, report.ntp, report.rtp_timestamp);
                }
            }
        }
    }

    async fn send_receiver_reports(&mut self) {
        for (index, track) in self.tracks.iter_mut().enumerate() {
            let Some(report) = track.receiver.report(REPORTER_SSRC) else { continue };
            let packet = report.to_bytes();
            match &track.udp {
                Some(udp) => udp.send_rtcp(&track.reply, &packet).await,
                None => self.client.send_rtcp(index, &packet),
            }
        }
    }

    /// Writes what the machine wants to send.
    async fn transmit(&mut self) -> Result<(), SessionError> {
        while let Some(bytes) = self.client.poll_transmit() {
            let deadline = clock::now() + self.context.times.request;
            let written = timeout_at(deadline.into(), self.connected.stream.write_all(&bytes)).await;
            written.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "camera does not read"))??;
        }
        Ok(())
    }
}

/// Units that arrived whole since the stream was made.
pub(super) fn units_seen(ingest: &Ingest) -> u64 {
    let counters = ingest.counters();
    counters.units + counters.undecodable_units + counters.late_parameter_sets
}

/// The first video and the first audio track that we know; the rest (second video, ONVIF metadata, back
/// channels) is not set up, so that it can do no harm.
fn choose(medias: &[SdpMedia]) -> Vec<&SdpMedia> {
    let known = |media: &&SdpMedia| {
        let name = media.encoding_name.as_str();
        matches!(
            (media.media.as_str(), name),
            ("video", "H264" | "H265") | ("audio", "MPEG4-GENERIC" | "OPUS" | "PCMA" | "PCMU")
        )
    };
    let usable = |media: &&SdpMedia| known(media) && !media.is_back_channel;
    let of_kind = |kind: &str| medias.iter().filter(usable).find(|media| media.media == kind);
    of_kind("video").into_iter().chain(of_kind("audio")).collect()
}

pub(super) fn track_setup(media: &SdpMedia) -> TrackSetup {
    TrackSetup {
        encoding: media.encoding_name.clone(),
        clock_rate: media.clock_rate,
        channels: Some(media.channels),
        fmtp: Some(media.fmtp.clone()).filter(|fmtp| !fmtp.is_empty()),
        // Hikvision and others state it wrongly; arrival and sender reports align the tracks.
        rtp_info_timestamp: None,
    }
}
