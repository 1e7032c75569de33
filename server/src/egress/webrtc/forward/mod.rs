//! Forward: one session in which a path's media is sent to another WebRTC server (WHIP).
//!
//! ```text
//!  offer (sendonly) ─POST─► answer ─► TrackMap ─► Session (as a viewer's) ◄── datagrams of a socket of its own
//!                             └─ Location ──────────────────────────────────────────────► DELETE at the end
//! ```
//!
//! From the answer on a server that takes media is a viewer: the same session, sender and packets. What it answers is read as a viewer's
//! offer is, and tells which payload type carries which track. AAC is sent as Opus; pictures out of order are not sent, as to viewers.
//! The server's candidates are all in its answer, and we open the way to them: no STUN server is asked.
//!
//! A destination costs half a megabyte of receive buffers (-> udp) besides what a viewer costs.
//! Limits: [`TALLY_EVERY`], those of forward::session and of `ingest::whep`.
//! Spec: RFC 9725 (correctness: W4, W5).

mod offer;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use media_core::egress::webrtc::track_map::{Offer, PictureOrder, TrackMap, TrackMapError};
use media_core::gate::CameraGrant;
use media_core::ring::JoinAt;
use media_core::track::SharedFormat;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::error::{IceError, SdpError};
use str0m::media::{Direction, MediaKind};
use str0m::net::Protocol;
use str0m::{Candidate, Rtc, RtcError};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use url::Url;
use uuid::Uuid;

use super::media::Media;
use super::outbox::Ports;
use super::resend::{self, Resend};
use super::routes::Routes;
use super::sender::MediaSender;
use super::session::{COMMANDS, Closed, Session, SessionParts};
use super::stats::{SessionFacts, SessionRecord};
use super::udp::UdpPort;
use crate::config::pulled::RemoteSource;
use crate::egress::forward::ForwardRecord;
use crate::egress::forward::session::{Absence, CONNECT_MAX, ForwardEnd, Forwarding};
use crate::egress::rtsp::stats::Role;
use crate::ingest::fetch::{Ask, FetchError, Fetcher, Wanted};
use crate::ingest::whep::{ANSWER_BYTES_MAX, GOODBYE_LIMIT, local_ip};
use crate::runtime::clock;

/// How often it is looked at what the session has done, and whether there is still something to send.
const TALLY_EVERY: Duration = Duration::from_secs(1);

/// Why a session ended. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhipError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("no socket: {0}")]
    Io(#[from] io::Error),
    #[error("peer connection failed: {0}")]
    Rtc(#[from] RtcError),
    #[error("answer is no usable SDP: {0}")]
    Answer(#[from] SdpError),
    #[error("no address to be reached at: {0}")]
    Ice(#[from] IceError),
    #[error("server did not answer within {} s", CONNECT_MAX.as_secs())]
    ConnectTimeout,
    #[error("stream has no track that WebRTC can carry")]
    NoTracks,
    #[error("stream has B-frames, which WebRTC can't carry; forward it over RTSP or RTMP")]
    HasBFrames,
    #[error("server does not take the pictures: {0}")]
    NotTaken(&'static str),
    #[error("server's answer fits nothing of the stream: {0}")]
    Unmapped(#[from] TrackMapError),
    #[error("no connection within {} s", CONNECT_MAX.as_secs())]
    HandshakeTimeout,
    #[error("server is gone")]
    Gone,
    #[error("server closed the session")]
    ByServer,
    #[error(transparent)]
    Session(Closed),
}

/// Runs one session until it ends.
///
/// # Errors
/// [`WhipError`].
pub(crate) async fn run(forwarding: Forwarding<'_>) -> Result<ForwardEnd, WhipError> {
    let mut endpoint = Endpoint::of(&forwarding);
    let opening = timeout(CONNECT_MAX, open(&forwarding, &mut endpoint));
    let opened = tokio::select! {
        opened = opening => opened.unwrap_or(Err(WhipError::ConnectTimeout)),
        () = forwarding.token.cancelled() => return Ok(ForwardEnd::Cancelled),
    };
    let ended = match opened {
        Ok(opened) => Box::pin(drive(&forwarding, opened)).await,
        Err(error) => Err(error),
    };
    endpoint.leave().await;
    ended
}

/// The server's side of HTTP.
struct Endpoint {
    fetcher: Fetcher,
    url: Url,
    /// The session's own address, once there is one.
    location: Option<Url>,
}

impl Endpoint {
    fn of(forwarding: &Forwarding<'_>) -> Self {
        let dest = &forwarding.record.dest;
        let remote = RemoteSource { url: dest.url.clone(), fingerprint: dest.fingerprint };
        let fetcher = Fetcher::to_destination(&remote).with_bearer(dest.bearer_token.clone());
        Self { fetcher, url: dest.url.url().clone(), location: None }
    }

    /// Makes an offer; gives the answer.
    async fn post(&mut self, offer: &str) -> Result<String, FetchError> {
        let ask = Ask::Post(offer);
        let wanted = Wanted { what: "answer", ask, bytes_max: ANSWER_BYTES_MAX, limit: CONNECT_MAX };
        let answered = self.fetcher.fetch(&self.url, wanted).await?;
        self.location = answered.location;
        Ok(String::from_utf8_lossy(&answered.body).into_owned())
    }

    /// Says goodbye: best effort, the server's own time-out ends what this does not reach.
    async fn leave(mut self) {
        let Some(location) = self.location.take() else { return };
        let ask = Ask::Delete;
        let wanted =
            Wanted { what: "end of session", ask, bytes_max: ANSWER_BYTES_MAX, limit: GOODBYE_LIMIT };
        if let Err(error) = self.fetcher.fetch(&location, wanted).await {
            // One that ended the session itself does not know it any more.
            debug!(%error, "server was not told that we leave");
        }
    }
}

/// A session that the server has answered.
struct Opened {
    session: Session,
    record: Arc<SessionRecord>,
    udp: Arc<UdpPort>,
    routes: Arc<Routes>,
    /// Held, since a session that nobody can command ends; nobody does.
    _commands: mpsc::Sender<super::session::Command>,
}

/// Offers what the stream has, and makes a session of the answer.
async fn open(forwarding: &Forwarding<'_>, endpoint: &mut Endpoint) -> Result<Opened, WhipError> {
    let stream = forwarding.stream;
    let format = stream.format().ok_or(WhipError::NoTracks)?;
    if stream.has_b_frames() {
        return Err(WhipError::HasBFrames);
    }
    let udp = Arc::new(UdpPort::bind(SocketAddr::new(local_ip(&endpoint.url).await?, 0))?);
    let (mut rtc, offer, pending) = offered(&format, udp.local())?;
    let routes = Arc::new(Routes::default());
    let (route, inbox) = routes.register(&rtc.direct_api().local_ice_credentials().ufrag);
    let answer = endpoint.post(&offer).await?;
    let map = accept(&mut rtc, pending, &answer, &format)?;
    let grant = forwarding.grant();
    let subscription = stream.follow(&grant, JoinAt::LiveEdge);
    let sender = MediaSender::new(subscription, Arc::default(), &map, Uuid::new_v4().as_u128());
    let record = Arc::new(SessionRecord::new(facts(forwarding.record, &grant, udp.local())));
    let (commands, commanded) = mpsc::channel(COMMANDS);
    let parts = SessionParts {
        rtc,
        // Without keys str0m sends: a destination is one, not a crowd of viewers.
        tap: Arc::default(),
        // There is no ICE restart: a session that fails is made anew.
        narrowed_offer: String::new(),
        local: vec![(Protocol::Udp, udp.local())],
        rtx_pt: map.video.as_ref().and_then(|video| video.payload.rtx_pt),
        resend: resend::payload_type(&map).map(Resend::new),
        media: Media::Viewer(Box::new(sender)),
        route,
        inbox,
        commands: commanded,
        ports: Ports { udp: Some(Arc::clone(&udp)), tcp: None, source_ips: Vec::new() },
        record: Arc::clone(&record),
    };
    let session = Session::new(parts, CONNECT_MAX, clock::now());
    Ok(Opened { session, record, udp, routes, _commands: commands })
}

/// A peer connection at this address, with its offer of what a format has.
fn offered(
    format: &SharedFormat,
    local: SocketAddr,
) -> Result<(Box<Rtc>, String, SdpPendingOffer), WhipError> {
    let payloads = offer::payloads(format);
    let mut rtc = Box::new(offer::config(&payloads).build(clock::now()));
    rtc.add_local_candidate(Candidate::host(local, "udp")?);
    let mut changes = rtc.sdp_api();
    for kind in [MediaKind::Video, MediaKind::Audio] {
        if payloads.iter().any(|payload| payload.kind() == kind) {
            changes.add_media(kind, Direction::SendOnly, None, None, None);
        }
    }
    let (offer, pending) = changes.apply().ok_or(WhipError::NoTracks)?;
    Ok((rtc, offer.to_sdp_string(), pending))
}

/// Takes the answer; says what goes out as what.
fn accept(
    rtc: &mut Rtc,
    pending: SdpPendingOffer,
    answer: &str,
    format: &SharedFormat,
) -> Result<TrackMap, WhipError> {
    rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(answer)?)?;
    let map = Offer::parse(answer)?.choose(format, PictureOrder::InOrder)?;
    match format.video() {
        // Sound alone of a camera would look like a stream that is there.
        Some(video) if map.video.is_none() => Err(WhipError::NotTaken(video.codec.api_name())),
        _ => Ok(map),
    }
}

/// A session keeps a record; this one's is shown to nobody.
fn facts(record: &ForwardRecord, grant: &CameraGrant, local: SocketAddr) -> SessionFacts {
    SessionFacts {
        id: record.id,
        role: Role::Read,
        path: grant.path().clone(),
        created: clock::wall_now(),
        remote_addr: local,
        query: String::new(),
        user: String::new(),
        user_agent: String::new(),
    }
}

/// Sends until something ends it.
async fn drive(forwarding: &Forwarding<'_>, opened: Opened) -> Result<ForwardEnd, WhipError> {
    let Opened { session, record, udp, routes, _commands } = opened;
    let token = forwarding.token.child_token();
    // Read until the session has ended: it says goodbye when it is cancelled.
    let reading = udp.receive_into(routes, CancellationToken::new());
    let running = async {
        tokio::select! {
            closed = session.run(token.clone()) => closed,
            () = reading => Closed::Shutdown,
        }
    };
    let mut running = pin!(running);
    let mut absence = Absence::default();
    let mut tally = Tally { forward: forwarding.record, record: &record, bytes: 0, is_begun: false };
    let mut ticks = interval(TALLY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end = ForwardEnd::Cancelled;
    let closed = loop {
        tokio::select! {
            closed = &mut running => break closed,
            _ = ticks.tick() => {
                let now = clock::now();
                absence.note(&forwarding.stream.state(), now);
                if absence.is_over(now) {
                    end = ForwardEnd::SourceGone;
                    token.cancel();
                }
                tally.take();
            }
        }
    };
    tally.take();
    match closed {
        Closed::Shutdown => Ok(end),
        Closed::HandshakeTimeout => Err(WhipError::HandshakeTimeout),
        Closed::PeerGone => Err(WhipError::Gone),
        Closed::ByPeer => Err(WhipError::ByServer),
        other => Err(WhipError::Session(other)),
    }
}

/// Carries what a session did over to its destination.
struct Tally<'a> {
    forward: &'a ForwardRecord,
    record: &'a SessionRecord,
    bytes: u64,
    is_begun: bool,
}

impl Tally<'_> {
    fn take(&mut self) {
        if !self.is_begun && self.record.established.load(Ordering::Relaxed) {
            self.is_begun = true;
            self.forward.begun();
        }
        let bytes = self.record.counters.outbound_bytes.load(Ordering::Relaxed);
        self.forward.outbound_bytes.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests;
