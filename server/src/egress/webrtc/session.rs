//! Session: one WebRTC viewer or publisher: drives its peer connection until either side has enough.
//!
//! ```text
//!  offer answered ─► connecting ─ICE, DTLS─► connected ─► closed
//!                        └─ handshake time-out ─┘ └─ disconnected, silent, kicked, DELETE, codec change
//! ```
//!
//! One task per session owns the peer connection, its media sender and its place in the routes; all else
//! reaches it by messages. str0m is drained to its timeout after every mutation.
//!
//! Limits: [`COMMANDS`], [`PEER_SILENCE_MAX`], [`INBOX_BATCH`].
//! Spec: RFC 7675 (consent freshness, correctness: W5).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RawPacket;
use str0m::rtp::rtcp::{Nack, Rtcp};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::keys::Tap;
use super::media::Media;
use super::negotiate::{self, NegotiateError};
use super::outbox::{Outbox, Ports};
use super::resend::Resend;
use super::routes::{Incoming, Route};
use super::sender::Step;
use super::stats::{SelectedPair, SessionRecord};
use crate::events::Reader;
use crate::runtime::clock;

/// Requests (trickle, restart, close) that may wait for a session; the HTTP handler waits when full.
pub(crate) const COMMANDS: usize = 8;
/// A viewer from whom nothing came for so long is gone, whatever ICE thinks: consent expires after 30 s
/// (RFC 7675 s5.1), and browsers report at least every few seconds.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(25);
/// Datagrams taken in before media gets its turn again.
const INBOX_BATCH: usize = 32;

/// What the HTTP side asks of a session.
#[derive(Debug)]
pub(crate) enum Command {
    /// Further candidates of the viewer.
    Trickle(Vec<Candidate>),
    /// New ICE credentials and candidates of the viewer.
    Restart {
        /// The viewer's new credentials.
        credentials: IceCreds,
        /// Its candidates.
        candidates: Vec<Candidate>,
        /// Where the new answer goes.
        reply: oneshot::Sender<Result<Restarted, NegotiateError>>,
    },
    /// Ends the session.
    Close,
}

/// The outcome of an ICE restart.
#[derive(Debug)]
pub(crate) struct Restarted {
    /// The whole new answer.
    pub(crate) answer: String,
    /// Our new user name fragment.
    pub(crate) ufrag: String,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    /// DELETE or kick.
    #[error("closed on request")]
    Requested,
    /// The server stops.
    #[error("server is shutting down")]
    Shutdown,
    /// ICE and DTLS did not come through in time.
    #[error("no connection within the handshake time-out")]
    HandshakeTimeout,
    /// ICE lost the viewer, or it fell silent (correctness: W5).
    #[error("viewer is gone")]
    PeerGone,
    /// The viewer closed.
    #[error("closed by the viewer")]
    ByPeer,
    /// Another publisher came, or the path is published to no more.
    #[error("replaced by another publisher, or its path is gone")]
    Replaced,
    /// The stream can't be carried any more.
    #[error("{0}")]
    Stream(&'static str),
    /// str0m gave up.
    #[error("peer connection failed: {0}")]
    Failed(#[from] RtcError),
}

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct SessionParts {
    /// The answered peer connection.
    pub(crate) rtc: Box<Rtc>,
    /// What it encrypts with.
    pub(crate) tap: Arc<Tap>,
    /// The offer that it answered.
    pub(crate) narrowed_offer: String,
    /// Our candidates' addresses, best first.
    pub(crate) local: Vec<(Protocol, SocketAddr)>,
    /// The payload type of retransmitted video.
    pub(crate) rtx_pt: Option<u8>,
    /// Answers NACKs where there is none.
    pub(crate) resend: Option<Resend>,
    /// What the session is for.
    pub(crate) media: Media,
    /// The session's entries in the routes.
    pub(crate) route: Route,
    /// Datagrams from the viewer.
    pub(crate) inbox: mpsc::Receiver<Incoming>,
    /// Requests from the HTTP side.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// The way out.
    pub(crate) ports: Ports,
    /// What others see of this session.
    pub(crate) record: Arc<SessionRecord>,
}

/// A session being driven.
#[derive(Debug)]
pub(crate) struct Session {
    parts: SessionParts,
    outbox: Outbox,
    handshake_deadline: Instant,
    rtc_deadline: Instant,
    media_deadline: Option<Instant>,
    first_heard_at: Option<Instant>,
    last_heard_at: Instant,
    is_connected: bool,
    ended: Option<Closed>,
}

/// What woke a session.
#[derive(Debug)]
enum Wake {
    Shutdown,
    Command(Option<Command>),
    Incoming(Option<Incoming>),
    Media(media_core::ring::Read),
    Replaced,
    Timer,
}

impl Session {
    /// A session that must be connected `handshake_timeout` from `now`.
    pub(crate) fn new(parts: SessionParts, handshake_timeout: Duration, now: Instant) -> Self {
        let segments_max = parts.ports.udp.as_ref().map_or(1, |udp| udp.segments_max());
        Self {
            parts,
            outbox: Outbox::new(segments_max),
            handshake_deadline: now + handshake_timeout,
            rtc_deadline: now,
            media_deadline: None,
            first_heard_at: None,
            last_heard_at: now,
            is_connected: false,
            ended: None,
        }
    }

    /// Drives the session to its end; says which that was.
    pub(crate) async fn run(mut self, token: CancellationToken) -> Closed {
        info!("session opened");
        let closed = match self.drive(&token).await {
            Ok(closed) => closed,
            Err(error) => Closed::Failed(error),
        };
        let now = clock::now();
        // BYE and close_notify tell the viewer at once; without a connection there is nobody to tell.
        if self.is_connected && self.parts.rtc.close().is_ok() && self.drain(now).is_ok() {
            self.outbox.flush(&self.parts.ports, &self.parts.record.counters).await;
        }
        info!(reason = %closed, "session closed");
        closed
    }

    async fn drive(&mut self, token: &CancellationToken) -> Result<Closed, RtcError> {
        self.drain(clock::now())?;
        loop {
            self.outbox.flush(&self.parts.ports, &self.parts.record.counters).await;
            let now = clock::now();
            if let Some(closed) = self.ended.take().or_else(|| self.expired(now)) {
                return Ok(closed);
            }
            self.take_waiting_datagrams()?;
            match self.parts.media.step(&mut self.parts.rtc, &mut self.outbox, now) {
                Step::Wrote => {
                    self.parts.rtc.handle_input(Input::Timeout(now))?;
                    self.drain(now)?;
                    continue;
                }
                Step::Sent(packets) => {
                    self.parts.record.counters.outbound_rtp_packets.fetch_add(packets, Ordering::Relaxed);
                    if now >= self.rtc_deadline {
                        self.parts.rtc.handle_input(Input::Timeout(now))?;
                        self.drain(now)?;
                    }
                    continue;
                }
                Step::WaitUntil(later) => self.media_deadline = Some(later),
                Step::Idle => self.media_deadline = None,
                Step::Close(reason) => return Ok(Closed::Stream(reason)),
            }
            self.outbox.flush(&self.parts.ports, &self.parts.record.counters).await;
            let wake = self.wait(token).await;
            self.handle(wake)?;
        }
    }

    async fn wait(&mut self, token: &CancellationToken) -> Wake {
        let mut until = self.rtc_deadline.min(self.last_heard_at + PEER_SILENCE_MAX);
        if !self.is_connected {
            until = until.min(self.handshake_deadline);
        }
        if let Some(media) = self.media_deadline {
            until = until.min(media);
        }
        let is_hungry = self.parts.media.is_hungry();
        tokio::select! {
            biased;
            () = token.cancelled() => Wake::Shutdown,
            command = self.parts.commands.recv() => Wake::Command(command),
            incoming = self.parts.inbox.recv() => Wake::Incoming(incoming),
            moved = self.parts.media.next(), if is_hungry => moved.map_or(Wake::Replaced, Wake::Media),
            () = tokio::time::sleep_until(until.into()) => Wake::Timer,
        }
    }

    fn handle(&mut self, wake: Wake) -> Result<(), RtcError> {
        let now = clock::now();
        match wake {
            Wake::Shutdown => self.ended = Some(Closed::Shutdown),
            // The senders live as long as the session is listed and its route registered.
            Wake::Command(None) | Wake::Incoming(None) => self.ended = Some(Closed::Requested),
            Wake::Command(Some(command)) => self.obey(command, now)?,
            Wake::Incoming(Some(incoming)) => self.receive(&incoming)?,
            Wake::Media(read) => self.parts.media.take(read, now),
            Wake::Replaced => self.ended = Some(Closed::Replaced),
            Wake::Timer => {
                self.parts.rtc.handle_input(Input::Timeout(now))?;
                self.drain(now)?;
            }
        }
        let discarded = self.parts.media.take_discarded_units();
        let counters = &self.parts.record.counters;
        counters.discarded_units.fetch_add(discarded, Ordering::Relaxed);
        if let Some(received) = self.parts.media.received() {
            counters.inbound_rtp_packets_lost.store(received.lost, Ordering::Relaxed);
            counters.inbound_rtp_packets_jitter.store(received.jitter_ticks, Ordering::Relaxed);
        }
        Ok(())
    }

    fn expired(&self, now: Instant) -> Option<Closed> {
        if !self.is_connected && now >= self.handshake_deadline {
            return Some(Closed::HandshakeTimeout);
        }
        let is_silent = now.saturating_duration_since(self.last_heard_at) >= PEER_SILENCE_MAX;
        (self.is_connected && is_silent).then_some(Closed::PeerGone)
    }

    fn take_waiting_datagrams(&mut self) -> Result<(), RtcError> {
        for _ in 0..INBOX_BATCH {
            match self.parts.inbox.try_recv() {
                Ok(incoming) => self.receive(&incoming)?,
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn receive(&mut self, incoming: &Incoming) -> Result<(), RtcError> {
        let counters = &self.parts.record.counters;
        let bytes = u64::try_from(incoming.bytes.len()).unwrap_or(0);
        counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
        counters.inbox_overflows.store(self.parts.route.overflows(), Ordering::Relaxed);
        if is_rtcp(&incoming.bytes) {
            counters.inbound_rtcp_packets.fetch_add(1, Ordering::Relaxed);
        }
        let Ok(contents) = incoming.bytes[..].try_into() else { return Ok(()) };
        let destination = self.candidate_for(incoming);
        let (proto, source) = (incoming.protocol, incoming.source);
        let input = Input::Receive(incoming.received_at, Receive { proto, source, destination, contents });
        if !self.parts.rtc.accepts(&input) {
            return Ok(());
        }
        self.parts.route.bind(proto, source);
        self.first_heard_at.get_or_insert(incoming.received_at);
        self.last_heard_at = incoming.received_at;
        self.parts.rtc.handle_input(input)?;
        self.drain(incoming.received_at)
    }

    /// Our candidate at which a datagram came in. Behind a NAT the socket sees another address than
    /// the one announced; then the first of the protocol stands for it.
    fn candidate_for(&self, incoming: &Incoming) -> SocketAddr {
        let of_protocol = || self.parts.local.iter().filter(|(protocol, _)| *protocol == incoming.protocol);
        let exact = of_protocol().find(|(_, address)| *address == incoming.destination);
        let family = |(_, address): &&(Protocol, SocketAddr)| address.is_ipv4() == incoming.source.is_ipv4();
        exact.or_else(|| of_protocol().find(family)).map_or(incoming.destination, |(_, address)| *address)
    }

    fn obey(&mut self, command: Command, now: Instant) -> Result<(), RtcError> {
        match command {
            Command::Close => self.ended = Some(Closed::Requested),
            Command::Trickle(candidates) => {
                for candidate in candidates {
                    self.parts.rtc.add_remote_candidate(candidate);
                    self.drain(now)?;
                }
            }
            Command::Restart { credentials, candidates, reply } => {
                let restarted = self.restart(&credentials, candidates, now);
                if reply.send(restarted).is_err() {
                    debug!("the request for an ICE restart was given up");
                }
            }
        }
        self.parts.rtc.handle_input(Input::Timeout(now))?;
        self.drain(now)
    }

    fn restart(
        &mut self,
        credentials: &IceCreds,
        candidates: Vec<Candidate>,
        now: Instant,
    ) -> Result<Restarted, NegotiateError> {
        let offer = with_credentials(&self.parts.narrowed_offer, credentials);
        let (answer, ufrag) = negotiate::answer(&mut self.parts.rtc, &offer)?;
        self.parts.route.add_ufrag(&ufrag);
        self.parts.narrowed_offer = offer;
        let failed = |error: RtcError| NegotiateError::Offer(error.to_string());
        self.drain(now).map_err(failed)?;
        for candidate in candidates {
            self.parts.rtc.add_remote_candidate(candidate);
            self.drain(now).map_err(failed)?;
        }
        Ok(Restarted { answer, ufrag })
    }

    /// Takes everything out of str0m; what is to be sent waits in the outbox.
    fn drain(&mut self, now: Instant) -> Result<(), RtcError> {
        loop {
            match self.parts.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.rtc_deadline = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => self.transmit(&transmit, now),
                Output::Event(event) => self.event(event, now),
            }
        }
    }

    fn transmit(&mut self, transmit: &Transmit, now: Instant) {
        let counters = &self.parts.record.counters;
        match transmit.contents.get(..2) {
            // RFC 7983 s7, RFC 5761 s4: 128..=191 is RTP or RTCP, RTCP's types are 192..=223.
            Some([128..=191, 192..=223]) => {
                counters.outbound_rtcp_packets.fetch_add(1, Ordering::Relaxed);
            }
            Some([128..=191, kind]) => {
                counters.outbound_rtp_packets.fetch_add(1, Ordering::Relaxed);
                if self.parts.rtx_pt == Some(kind & 0x7f) {
                    counters.retransmitted_packets.fetch_add(1, Ordering::Relaxed);
                    self.parts.media.lost(now);
                }
                if let Some(resend) = &mut self.parts.resend {
                    resend.keep(transmit, now);
                }
            }
            // STUN checks go out before the viewer was heard from there.
            _ => self.parts.route.bind_if_free(transmit.proto, transmit.destination),
        }
        self.outbox.push(transmit);
    }

    /// Answers a NACK that str0m leaves unanswered.
    fn send_again(&mut self, nack: &Nack, now: Instant) {
        let answered = match (self.parts.media.answer(nack, &mut self.outbox, now), &mut self.parts.resend) {
            (Some(packets), _) => packets,
            (None, Some(resend)) => {
                let answers = resend.answer(*nack.ssrc, nack.reports.iter().copied(), now);
                answers.iter().for_each(|answer| self.outbox.push(answer));
                u64::try_from(answers.len()).unwrap_or(0)
            }
            (None, None) => 0,
        };
        let counters = &self.parts.record.counters;
        counters.outbound_rtp_packets.fetch_add(answered, Ordering::Relaxed);
        counters.retransmitted_packets.fetch_add(answered, Ordering::Relaxed);
        if answered > 0 {
            self.parts.media.lost(now);
        }
    }

    /// RTCP of the viewer, as str0m took it.
    fn control(&mut self, packet: &Rtcp, now: Instant) {
        match packet {
            Rtcp::Nack(nack) => self.send_again(nack, now),
            Rtcp::ReceiverReport(report) => {
                report.reports.iter().for_each(|block| self.parts.media.reported(*block.ssrc));
            }
            _ => {}
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.is_connected = true;
                self.parts.record.established.store(true, Ordering::Relaxed);
                // The ICE check and DTLS 1.2 take about three round trips.
                let handshake =
                    self.first_heard_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
                info!(handshake_ms = handshake.as_millis(), "connected");
                self.parts.media.start(&mut self.parts.rtc, &self.parts.tap, handshake / 3, now);
                let facts = &self.parts.record.facts;
                let (id, query) = (facts.id.to_string(), facts.query.clone());
                self.parts.media.tell(&Reader { kind: "webRTCSession", id, query });
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.ended = Some(Closed::PeerGone);
            }
            Event::Closed => self.ended = Some(Closed::ByPeer),
            Event::KeyframeRequest(request) => {
                let counters = &self.parts.record.counters;
                counters.key_frame_requests.fetch_add(1, Ordering::Relaxed);
                let restarted = self.parts.media.key_frame_requested(now);
                debug!(kind = ?request.kind, restarted, "key frame requested");
                counters.restarts.fetch_add(u64::from(restarted), Ordering::Relaxed);
            }
            Event::RtpPacket(packet) => {
                self.parts.record.counters.inbound_rtp_packets.fetch_add(1, Ordering::Relaxed);
                self.parts.media.packet(&packet);
            }
            Event::RawPacket(packet) => {
                if let RawPacket::RtcpRx(packet) = &*packet {
                    self.control(packet, now);
                }
            }
            Event::PeerStats(stats) => {
                if let Some(pair) = stats.selected_candidate_pair {
                    let protocol = if pair.protocol == Protocol::Udp { "udp" } else { "tcp" };
                    let (local, remote) = (pair.local.addr, pair.remote.addr);
                    self.parts.record.set_selected_pair(SelectedPair { protocol, local, remote });
                }
            }
            _ => {}
        }
    }
}

fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(..2), Some([128..=191, 192..=223]))
}

/// The offer as after an ICE restart: new credentials, no candidates of the old ones.
fn with_credentials(offer: &str, credentials: &IceCreds) -> String {
    let mut out = String::with_capacity(offer.len());
    for line in offer.lines().filter(|line| !line.starts_with("a=candidate:")) {
        if line.starts_with("a=ice-ufrag:") {
            out.push_str("a=ice-ufrag:");
            out.push_str(&credentials.ufrag);
        } else if line.starts_with("a=ice-pwd:") {
            out.push_str("a=ice-pwd:");
            out.push_str(&credentials.pass);
        } else {
            out.push_str(line);
        }
        out.push_str("\r\n");
    }
    out
}
