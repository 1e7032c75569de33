//! WHEP: one session with a WebRTC server that is asked for a stream: our offer, its answer, its media, and a goodbye.
//!
//! ```text
//!  offer (recvonly) ─POST─► answer ─► ICE, DTLS ─► packets ─ held until it is known which tracks come ─► RtpTracks ─► Ingest
//!                              └─ Location ────────────────────────────────────────────────────────► DELETE at the end
//! ```
//!
//! The payload types are ours, so a packet's says what is in it. Over UDP alone, from an address of its own beside the viewers' socket; the
//! server's candidates are all in its answer, and we open the way to them.
//! Limits: [`HELD_MAX`] packets, [`ANSWER_BYTES_MAX`], [`BATCH`]. Times: `whepHandshakeTimeout`, `whepTrackGatherTimeout`.
//! Spec: the WHEP draft; RFC 9725 for what both have in common (correctness: W1, W4, W5).

mod offer;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use media_core::rtsp::MediaKind;
use media_core::time::{NtpTime, WallTime};
use socket2::SockRef;
use str0m::change::SdpAnswer;
use str0m::error::{IceError, SdpError};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind as SectionKind, Mid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpPacket;
use str0m::rtp::rtcp::SenderInfo;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcError};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout, timeout_at};
use tracing::{debug, info};
use url::Url;

use offer::{accepted_sections, config, tracks_of};

use super::arrivals::{Arrivals, Progress};
use super::fetch::{Ask, FetchError, Fetcher, Wanted};
use super::rtp_tracks::RtpTracks;
use super::session::{SessionContext, SessionEnd, SessionError};
use crate::config::pulled::WhepSource;
use crate::egress::webrtc::receiver::as_received;
use crate::runtime::clock;
use crate::tls_client::dialled;

/// The longest answer, MediaMTX's limit of an offer.
pub(crate) const ANSWER_BYTES_MAX: usize = 128 << 10;

/// Packets that wait until it is known which tracks come; with more, those that are known are all.
const HELD_MAX: usize = 2048;

/// Datagrams taken in before anything else has its turn.
const BATCH: usize = 64;

/// The largest datagram of WebRTC.
const DATAGRAM_BYTES_MAX: usize = 2000;

/// A key frame comes at once, and the thread may just be napping. The kernel's own limit may cut it.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Between two requests for a key frame, and after packets that are gone for good.
const KEY_FRAME_REQUESTS_EVERY: Duration = Duration::from_secs(1);

/// How long a server is waited for when we leave.
pub(crate) const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// Why a session failed. Texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhepError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("peer connection failed: {0}")]
    Rtc(#[from] RtcError),
    #[error("answer is no usable SDP: {0}")]
    Answer(#[from] SdpError),
    #[error("no address to be reached at: {0}")]
    Ice(#[from] IceError),
    #[error("no connection within {} s (whepHandshakeTimeout)", .0.as_secs_f32())]
    Handshake(Duration),
    #[error("server is gone")]
    Gone,
    #[error("no offer can be made")]
    Offer,
}

/// Runs one session until it ends. `online` is called at the first access unit.
pub(super) async fn run(
    source: &WhepSource,
    context: SessionContext<'_>,
    mut online: impl FnMut(),
) -> Result<SessionEnd, SessionError> {
    let token = context.token;
    let mut arrivals = Arrivals::new(context, clock::now());
    let opening =
        timeout_at(arrivals.connect_deadline().into(), Session::open(source, arrivals.request_limit()));
    let mut session = tokio::select! {
        opened = opening => opened.map_err(|_| arrivals.connect_timeout())??,
        () = token.cancelled() => return Ok(SessionEnd::Cancelled),
    };
    let ended = tokio::select! {
        error = session.run(&mut arrivals, &mut online) => Err(error),
        () = token.cancelled() => Ok(SessionEnd::Cancelled),
    };
    session.leave().await;
    ended
}

/// Packets, until it is known which tracks come.
#[derive(Debug)]
struct Gathering {
    held: Vec<(u8, Bytes)>,
    /// Set with the first packet.
    until: Option<Instant>,
    /// Sections that the server accepted.
    sections: usize,
}

struct Session {
    rtc: Box<Rtc>,
    socket: UdpSocket,
    local: SocketAddr,
    fetcher: Fetcher,
    location: Option<Url>,
    video: Mid,
    handshake_timeout: Duration,
    handshake_deadline: Instant,
    gather_timeout: Duration,
    rtc_deadline: Instant,
    is_connected: bool,
    gathering: Option<Gathering>,
    /// By track.
    payload_types: Vec<u8>,
    tracks: RtpTracks,
    /// The latest sender report of each track.
    reported: Vec<Option<SystemTime>>,
    asked_at: Option<Instant>,
    lost: u64,
}

impl Session {
    /// Offers, and takes the answer, which may take `limit`.
    async fn open(source: &WhepSource, limit: Duration) -> Result<Self, SessionError> {
        let url = source.remote.url.url();
        let ip = local_ip(url).await?;
        let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).await?;
        if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES) {
            debug!(%error, "socket buffer stays at the system's size");
        }
        let local = socket.local_addr()?;
        let now = clock::now();
        let mut rtc = Box::new(config().build(now));
        rtc.add_local_candidate(Candidate::host(local, "udp").map_err(WhepError::from)?);
        let mut changes = rtc.sdp_api();
        let video = changes.add_media(SectionKind::Video, Direction::RecvOnly, None, None, None);
        changes.add_media(SectionKind::Audio, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().ok_or(WhepError::Offer)?;
        let mut fetcher = Fetcher::new(&source.remote).with_bearer(source.bearer_token.clone());
        let offer = offer.to_sdp_string();
        let wanted = Wanted { what: "answer", ask: Ask::Post(&offer), bytes_max: ANSWER_BYTES_MAX, limit };
        let answered = fetcher.fetch(url, wanted).await.map_err(WhepError::from)?;
        let answer = String::from_utf8_lossy(&answered.body).into_owned();
        let sections = accepted_sections(&answer);
        let answer = SdpAnswer::from_sdp_string(&answer).map_err(WhepError::from)?;
        rtc.sdp_api().accept_answer(pending, answer).map_err(WhepError::from)?;
        Ok(Self {
            rtc,
            socket,
            local,
            fetcher,
            location: answered.location,
            video,
            handshake_timeout: source.handshake_timeout,
            handshake_deadline: now + source.handshake_timeout,
            gather_timeout: source.track_gather_timeout,
            rtc_deadline: now,
            is_connected: false,
            gathering: Some(Gathering { held: Vec::new(), until: None, sections }),
            payload_types: Vec::new(),
            tracks: RtpTracks::default(),
            reported: Vec::new(),
            asked_at: None,
            lost: 0,
        })
    }

    /// Drives the peer connection until something ends it; says what.
    async fn run(&mut self, arrivals: &mut Arrivals<'_>, online: &mut impl FnMut()) -> SessionError {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            if let Err(error) = self.turn(&mut buffer, arrivals, online).await {
                return error;
            }
        }
    }

    async fn turn(
        &mut self,
        buffer: &mut [u8],
        arrivals: &mut Arrivals<'_>,
        online: &mut impl FnMut(),
    ) -> Result<(), SessionError> {
        let now = clock::now();
        self.drain(arrivals, now)?;
        self.gathered(arrivals, now)?;
        if arrivals.publish(now) == Progress::Online {
            online();
        }
        self.ask_for_key_frame(arrivals, now)?;
        if !self.is_connected && now >= self.handshake_deadline {
            return Err(WhepError::Handshake(self.handshake_timeout).into());
        }
        if self.is_connected && now >= arrivals.deadline() {
            arrivals.note_jitter(self.tracks.received().jitter_us);
            arrivals.check(now)?;
        }
        tokio::select! {
            received = self.socket.recv_from(buffer) => {
                let (bytes, source) = received?;
                self.datagram(buffer.get(..bytes).unwrap_or_default(), source)?;
                self.waiting_datagrams(buffer, arrivals)?;
            }
            () = sleep_until(self.deadline(arrivals).into()) => {
                self.rtc.handle_input(Input::Timeout(clock::now())).map_err(WhepError::from)?;
            }
        }
        Ok(())
    }

    fn deadline(&self, arrivals: &Arrivals<'_>) -> Instant {
        let ours = if self.is_connected { arrivals.deadline() } else { self.handshake_deadline };
        let gathering = self.gathering.as_ref().and_then(|gathering| gathering.until);
        let key_frame = self.asked_at.map(|at| at + KEY_FRAME_REQUESTS_EVERY);
        let key_frame = key_frame.filter(|_| !arrivals.is_online());
        [Some(ours), gathering, key_frame].into_iter().flatten().fold(self.rtc_deadline, Instant::min)
    }

    fn waiting_datagrams(
        &mut self,
        buffer: &mut [u8],
        arrivals: &mut Arrivals<'_>,
    ) -> Result<(), SessionError> {
        for _ in 0..BATCH {
            // str0m wants its output taken after each input.
            self.drain(arrivals, clock::now())?;
            match self.socket.try_recv_from(buffer) {
                Ok((bytes, source)) => self.datagram(buffer.get(..bytes).unwrap_or_default(), source)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn datagram(&mut self, datagram: &[u8], source: SocketAddr) -> Result<(), SessionError> {
        // Whatever is no STUN, DTLS or SRTP is from nobody that we know.
        let Ok(contents) = datagram.try_into() else { return Ok(()) };
        let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
        let input = Input::Receive(clock::now(), receive);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).map_err(WhepError::from)?;
        }
        Ok(())
    }

    /// Takes everything out of str0m.
    fn drain(&mut self, arrivals: &mut Arrivals<'_>, now: Instant) -> Result<(), SessionError> {
        loop {
            match self.rtc.poll_output().map_err(WhepError::from)? {
                Output::Timeout(at) => {
                    self.rtc_deadline = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Event(event) => self.event(&event, arrivals, now)?,
            }
        }
    }

    fn transmit(&self, transmit: &Transmit) {
        if let Err(error) = self.socket.try_send_to(&transmit.contents, transmit.destination) {
            // Lost like any datagram.
            debug!(%error, destination = %transmit.destination, "datagram not sent");
        }
    }

    fn event(
        &mut self,
        event: &Event,
        arrivals: &mut Arrivals<'_>,
        now: Instant,
    ) -> Result<(), SessionError> {
        match event {
            Event::Connected => {
                debug!("connected");
                self.is_connected = true;
                arrivals.reached(now);
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                return Err(WhepError::Gone.into());
            }
            Event::Closed => return Err(SessionError::Ended),
            Event::RtpPacket(packet) => self.packet(packet, arrivals, now),
            _ => {}
        }
        Ok(())
    }

    fn packet(&mut self, packet: &RtpPacket, arrivals: &mut Arrivals<'_>, now: Instant) {
        let (payload_type, bytes) = (*packet.header.payload_type, as_received(packet));
        arrivals.count_bytes(bytes.len());
        match &mut self.gathering {
            Some(gathering) => {
                gathering.until.get_or_insert(now + self.gather_timeout);
                if gathering.held.len() < HELD_MAX {
                    gathering.held.push((payload_type, bytes));
                }
            }
            None => {
                self.track_packet(payload_type, bytes, arrivals);
                if let Some(report) = &packet.last_sender_info {
                    self.report(payload_type, report, arrivals);
                }
            }
        }
    }

    /// Tells when pictures were taken, by the server's clock, once a report.
    fn report(&mut self, payload_type: u8, report: &SenderInfo, arrivals: &mut Arrivals<'_>) {
        let track = self.payload_types.iter().position(|known| *known == payload_type);
        let Some(track) = track else { return };
        let Some(reported) = self.reported.get_mut(track) else { return };
        if reported.replace(report.ntp_time) == Some(report.ntp_time) {
            return;
        }
        let since_epoch = report.ntp_time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = WallTime(i64::try_from(since_epoch.as_micros()).unwrap_or(0));
        let low = report.rtp_time.numer() & u64::from(u32::MAX);
        arrivals.sender_report(track, NtpTime::from_wall(wall), u32::try_from(low).unwrap_or(0));
    }

    fn track_packet(&mut self, payload_type: u8, packet: Bytes, arrivals: &mut Arrivals<'_>) {
        let track = self.payload_types.iter().position(|known| *known == payload_type);
        if let Some(track) = track {
            arrivals.packet(&mut self.tracks, (track, MediaKind::Rtp), packet);
        }
    }

    /// Begins, once all accepted tracks have sent something or were waited for.
    fn gathered(&mut self, arrivals: &mut Arrivals<'_>, now: Instant) -> Result<(), SessionError> {
        let Some(gathering) = &self.gathering else { return Ok(()) };
        let is_late = gathering.until.is_some_and(|until| now >= until) || gathering.held.len() == HELD_MAX;
        let offered = tracks_of(&gathering.held);
        if offered.is_empty() || (offered.len() < gathering.sections && !is_late) {
            return Ok(());
        }
        let setups: Vec<_> = offered.iter().map(|offered| offered.setup()).collect();
        self.payload_types = offered.iter().map(|offered| offered.pt).collect();
        self.tracks = RtpTracks::new(offered.iter().map(|offered| (offered.pt, offered.clock_rate)));
        self.reported = vec![None; self.payload_types.len()];
        arrivals.start(&setups)?;
        let held = self.gathering.take().map(|gathering| gathering.held).unwrap_or_default();
        for (payload_type, packet) in held {
            self.track_packet(payload_type, packet, arrivals);
        }
        Ok(())
    }

    /// Asks for a key frame until there is one, and after a loss.
    fn ask_for_key_frame(&mut self, arrivals: &Arrivals<'_>, now: Instant) -> Result<(), SessionError> {
        let lost = self.tracks.received().lost;
        let is_wanted = self.is_connected && (!arrivals.is_online() || lost != self.lost);
        if !is_wanted || self.asked_at.is_some_and(|at| now < at + KEY_FRAME_REQUESTS_EVERY) {
            return Ok(());
        }
        (self.asked_at, self.lost) = (Some(now), lost);
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(self.video, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.rtc.handle_input(Input::Timeout(now)).map_err(WhepError::from)?;
        }
        Ok(())
    }

    /// Says goodbye: best effort, the server's own time-out ends what this does not reach.
    async fn leave(mut self) {
        let Some(location) = self.location.take() else { return };
        let wanted = Wanted {
            what: "end of session",
            ask: Ask::Delete,
            bytes_max: ANSWER_BYTES_MAX,
            limit: GOODBYE_LIMIT,
        };
        if let Ok(Err(error)) = timeout(GOODBYE_LIMIT, self.fetcher.fetch(&location, wanted)).await {
            info!(%error, "server was not told that we leave");
        }
    }
}

/// Our address toward a server.
pub(crate) async fn local_ip(url: &Url) -> io::Result<IpAddr> {
    let host = dialled(url.host_str().unwrap_or_default());
    let port = url.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host, port)).await?.next();
    let server = found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "host has no address"))?;
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Nothing is sent: the system only says which way it would go.
    let probe = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    probe.connect(server).await?;
    Ok(probe.local_addr()?.ip())
}
