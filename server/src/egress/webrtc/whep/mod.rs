//! HTTP side: WHEP and WHIP signalling and the pages, as MediaMTX's `:8889`.
//!
//! | request | answer |
//! | --- | --- |
//! | `OPTIONS /{path}/whep` | 204, `Link` per ICE server, `Accept-Post` |
//! | `POST /{path}/whep` (application/sdp) | 201, the answer, `Location: /{path}/whep/{secret}` |
//! | `PATCH /{path}/whep/{secret}` | 204 (trickle), 200 (ICE restart) |
//! | `DELETE /{path}/whep/{secret}` | 200 `{"status":"ok"}` |
//! | the same with `whip` | the same, for who publishes (-> `whip`) |
//! | `GET /{path}`, `GET /{path}/`, `GET /_/...` | 302 to `/{path}/`, the player, its files |
//! | `GET /{path}/publish` | the page that publishes |
//!
//! Errors are `{"status":"error","error":"..."}`; what only WebRTC can't carry has also
//! `"fallback":"hls"`, `"hlsUrl"` and a `Link ... rel="alternate"`.
//!
//! Limits: [`OFFER_BYTES_MAX`], [`BODY_WAIT`], [`TRICKLED_MAX`].
//! Spec: RFC 9725, draft-ietf-wish-whep, RFC 8840 (sdpfrag). Redirects of WHEP itself would be 307 (W4);
//! there are none.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use control_api::proxies::TrustedProxies;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use media_core::egress::webrtc::track_map::{OFFER_BYTES_MAX, Offer, PictureOrder, TrackMap, TrackMapError};
use media_core::gate::{Action, Admission, Basis};
use media_core::path_name::PathName;
use media_core::ring::JoinAt;
use str0m::{Candidate, IceCreds};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use super::candidates::{host_candidates, local_ips};
use super::media::Media;
use super::negotiate::{self, NegotiateError, Negotiated};
use super::resend::{self, Resend};
use super::sender::MediaSender;
use super::session::{COMMANDS, Command, Restarted, SessionParts};
use super::stats::SessionRecord;
use super::{
    HlsListener, IceState, NewViewer, PageRequest, SESSIONS_MAX, SessionHandle, WebRtcServer, ice_servers,
    ports,
};
use crate::access::{Protocol, Refused, Visitor};
use crate::registry::AcquireError;
use crate::runtime::clock;
use crate::runtime::tasks::{Ended, catch_panic};
use crate::stream::{ReaderKind, Stream, TooManyReaders};

/// A request's body must be there by then; a slow sender is cut (correctness: S6).
const BODY_WAIT: Duration = Duration::from_secs(10);
/// Candidates taken from one PATCH; the rest is ignored.
const TRICKLED_MAX: usize = 32;
/// A session that takes longer to answer an ICE restart is ending.
const RESTART_WAIT: Duration = Duration::from_secs(5);
/// When a viewer may ask again for a path without a stream, in seconds.
const RETRY_AFTER_SECS: &str = "2";
/// The most characters of a user agent that are kept.
const USER_AGENT_CHARS_MAX: usize = 200;

const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const SESSION_ID: HeaderName = HeaderName::from_static("id");
const ALLOWED_METHODS: &str = "OPTIONS, GET, POST, PATCH, DELETE";
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, If-Match";

mod whip;

impl WebRtcServer {
    /// All of this listener's pages and WHEP. The connection's peer is taken from
    /// `ConnectInfo<SocketAddr>`, behind a trusted proxy from what that forwards.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new().fallback(handle).with_state(Arc::clone(self))
    }
}

/// Where a request points.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Whep(PathName),
    Whip(PathName),
    Session(PathName, String),
    Player(PathName),
    Publisher(PathName),
    PlayerWithoutSlash(PathName),
    Asset(String),
    Nothing,
}

impl Target {
    fn parse(path: &str) -> Self {
        let name = |text: &str| PathName::parse(text).ok();
        let Some(path) = path.strip_prefix('/') else { return Self::Nothing };
        if let Some(asset) = path.strip_prefix("_/") {
            return Self::Asset(asset.to_owned());
        }
        if let Some((path, secret)) = path.rsplit_once("/whep/").or_else(|| path.rsplit_once("/whip/")) {
            return name(path).map_or(Self::Nothing, |path| Self::Session(path, secret.to_owned()));
        }
        if let Some(path) = path.strip_suffix("/whep") {
            return name(path).map_or(Self::Nothing, Self::Whep);
        }
        if let Some(path) = path.strip_suffix("/whip") {
            return name(path).map_or(Self::Nothing, Self::Whip);
        }
        // A camera with such a name has its player behind the slash.
        if let Some(path) = path.strip_suffix("/publish") {
            return name(path).map_or(Self::Nothing, Self::Publisher);
        }
        match path.strip_suffix('/') {
            Some(path) => name(path).map_or(Self::Nothing, Self::Player),
            None => name(path).map_or(Self::Nothing, Self::PlayerWithoutSlash),
        }
    }
}

async fn handle(State(server): State<Arc<WebRtcServer>>, request: Request) -> Response {
    let origin = allowed_origin(&server.config.http.allow_origins, request.headers());
    let mut response = route(&server, request).await;
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        if origin != "*" {
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    response
}

async fn route(server: &Arc<WebRtcServer>, request: Request) -> Response {
    let method = request.method().clone();
    let is_preflight =
        method == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if is_preflight {
        return preflight();
    }
    let (head, body) = request.into_parts();
    match (Target::parse(head.uri.path()), &method) {
        (Target::Whep(path), &Method::OPTIONS) => offer_options(server, &path, Action::Read, &head).await,
        (Target::Whip(path), &Method::OPTIONS) => offer_options(server, &path, Action::Publish, &head).await,
        (Target::Whep(path), &Method::POST) => {
            post(server, path, &head, body).await.unwrap_or_else(Into::into)
        }
        (Target::Whip(path), &Method::POST) => {
            whip::post(server, path, &head, body).await.unwrap_or_else(Into::into)
        }
        (Target::Session(path, secret), &Method::PATCH) => {
            patch(server, (&path, &secret), &head.headers, body).await.unwrap_or_else(Into::into)
        }
        (Target::Session(path, secret), &Method::DELETE) => {
            delete(server, &path, &secret).await.unwrap_or_else(Into::into)
        }
        (Target::Whep(_) | Target::Whip(_), _) => method_not_allowed("OPTIONS, POST"),
        (Target::Session(..), _) => method_not_allowed("PATCH, DELETE"),
        (Target::PlayerWithoutSlash(path), &Method::GET | &Method::HEAD) => {
            let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            with_header(empty(StatusCode::FOUND), header::LOCATION, &format!("/{path}/{query}"))
        }
        (Target::Player(path), &Method::GET | &Method::HEAD) => {
            gated_page(server, (&path, Action::Read), &head, PageRequest::Player).await
        }
        (Target::Publisher(path), &Method::GET | &Method::HEAD) => {
            gated_page(server, (&path, Action::Publish), &head, PageRequest::Publisher).await
        }
        (Target::Asset(asset), &Method::GET | &Method::HEAD) => page(server, PageRequest::Asset(&asset)),
        _ => Refusal::new(StatusCode::NOT_FOUND, "page not found").into(),
    }
}

fn page(server: &WebRtcServer, wanted: PageRequest<'_>) -> Response {
    let not_found = || Refusal::new(StatusCode::NOT_FOUND, "page not found").into();
    (server.deps.pages)(wanted).unwrap_or_else(not_found)
}

/// A page for whom the gate lets do there what it is for.
async fn gated_page(
    server: &WebRtcServer,
    (path, action): (&PathName, Action),
    head: &Parts,
    wanted: PageRequest<'_>,
) -> Response {
    let (visitor, _) = match visitor(server, head) {
        Ok(found) => found,
        Err(refusal) => return refusal.into(),
    };
    match server.deps.access.camera(&visitor, action, path).await {
        Ok(_) => page(server, wanted),
        Err(refused) => {
            let mut response: Response = Refusal::new(refused.status(), refused.to_string()).into();
            response.headers_mut().extend(refused.page_header());
            response
        }
    }
}

fn preflight() -> Response {
    let response = empty(StatusCode::NO_CONTENT);
    let response = with_header(response, header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    with_header(response, header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS)
}

fn options(server: &WebRtcServer) -> Response {
    let response = with_header(empty(StatusCode::NO_CONTENT), ACCEPT_POST, SDP);
    let response = with_header(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, "Accept-Post, Link");
    with_ice_servers(response, server)
}

fn method_not_allowed(allowed: &str) -> Response {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    with_header(refusal.into(), header::ALLOW, allowed)
}

async fn post(
    server: &Arc<WebRtcServer>,
    path: PathName,
    head: &Parts,
    body: Body,
) -> Result<Response, Refusal> {
    if !is_content_type(&head.headers, SDP) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "content type must be application/sdp"));
    }
    let viewer = admit(server, (path, Action::Read), head).await?;
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let offer = read_body(body).await?;
    let stream = server.deps.registry.acquire(&viewer.grant, &viewer.query).await?;
    let (offer, map) = choose(&offer, &stream).map_err(|error| {
        let hls = (server.deps.hls)();
        Refusal::unservable(&error, hls.and_then(|hls| hls_url(hls, host, &viewer)))
    })?;
    let media = async || {
        let subscription = stream.subscribe(&viewer.grant, JoinAt::LiveEdge, ReaderKind::WebRtcSession)?;
        let (packets, seed) = (server.packets.of(&stream), Uuid::new_v4().as_u128());
        Ok(Media::Viewer(Box::new(MediaSender::new(subscription, packets, &map, seed))))
    };
    let opened = open(server, &viewer, (&offer, &map), media).await?;
    Ok(created(server, &viewer, "whep", opened))
}

/// A session that was made, as its client is told (RFC 9725 s4.2).
fn created(
    server: &WebRtcServer,
    viewer: &NewViewer,
    endpoint: &str,
    (secret, answer, handle): (Uuid, String, Arc<SessionHandle>),
) -> Response {
    let ufrag = handle.ice.lock().unwrap_or_else(PoisonError::into_inner).local_ufrag.clone();
    let query = if viewer.query.is_empty() { String::new() } else { format!("?{}", viewer.query) };
    let location = format!("/{}/{endpoint}/{secret}{query}", viewer.grant.path());
    let response = with_body(StatusCode::CREATED, SDP, answer);
    let response = with_header(response, header::LOCATION, &location);
    let response = with_header(response, header::ETAG, &entity_tag(&ufrag));
    let response = with_header(response, SESSION_ID, &handle.record.facts.id.to_string());
    let response = with_header(response, ACCEPT_PATCH, SDP_FRAGMENT);
    let exposed = "ETag, ID, Accept-Patch, Link, Location";
    let response = with_header(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    with_ice_servers(response, server)
}

/// Who asks, and whence.
fn visitor<'a>(server: &WebRtcServer, head: &'a Parts) -> Result<(Visitor<'a>, SocketAddr), Refusal> {
    let remote_addr = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let peer = remote_addr.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    let proxies = TrustedProxies(server.config.http.trusted_proxies.clone().into());
    let bad_proxy = || Refusal::new(StatusCode::BAD_REQUEST, "X-Forwarded-For is not a list of addresses");
    let ip = proxies.caller(peer.ip(), &head.headers).ok_or_else(bad_proxy)?;
    let remote_addr = if ip == peer.ip().to_canonical() { peer } else { SocketAddr::new(ip, 0) };
    let query = head.uri.query().unwrap_or_default();
    let visitor = server.deps.access.http_visitor(ip, Some(Protocol::WebRtc), &head.headers, query);
    Ok((visitor, remote_addr))
}

/// Answers who asks what may be offered, if the gate lets them.
async fn offer_options(server: &WebRtcServer, path: &PathName, action: Action, head: &Parts) -> Response {
    let asking = async {
        let (visitor, _) = visitor(server, head)?;
        Ok::<_, Refusal>(server.deps.access.camera(&visitor, action, path).await?)
    };
    match asking.await {
        Ok(_) => options(server),
        Err(refusal) => refusal.into(),
    }
}

/// Lets a viewer or publisher in: authorized, and not one too many.
async fn admit(
    server: &WebRtcServer,
    (path, action): (PathName, Action),
    head: &Parts,
) -> Result<NewViewer, Refusal> {
    let (mut visitor, remote_addr) = visitor(server, head)?;
    let id = Uuid::new_v4();
    visitor.id = Some(id);
    let Admission { grant, basis } = server.deps.access.camera(&visitor, action, &path).await?;
    if server.lock_sessions().len() >= SESSIONS_MAX {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many WebRTC sessions");
        return Err(refusal.with(header::RETRY_AFTER, RETRY_AFTER_SECS));
    }
    let user = basis.user().to_owned();
    let session = match (action, basis) {
        // Should WebRTC not do, the viewer is let in over HLS too: its credentials are for this port.
        (Action::Read, Basis::Known(_)) => server.deps.access.open_session(&visitor, grant.clone()).ok(),
        _ => None,
    };
    Ok(NewViewer {
        id,
        grant,
        session,
        remote_addr,
        query: visitor.query.to_owned(),
        user,
        user_agent: visitor.user_agent.chars().take(USER_AGENT_CHARS_MAX).collect(),
    })
}

fn choose(offer: &str, stream: &Stream) -> Result<(Offer, TrackMap), TrackMapError> {
    let offer = Offer::parse(offer)?;
    let order = if stream.has_b_frames() { PictureOrder::Reordered } else { PictureOrder::InOrder };
    // `acquire` waited for a format.
    let format = stream.format().ok_or(TrackMapError::NothingToReceive)?;
    let map = offer.choose(&format, order)?;
    Ok((offer, map))
}

/// Answers the offer and starts the session with its media, which are made last.
async fn open(
    server: &Arc<WebRtcServer>,
    viewer: &NewViewer,
    (offer, map): (&Offer, &TrackMap),
    media: impl AsyncFnOnce() -> Result<Media, Refusal>,
) -> Result<(Uuid, String, Arc<SessionHandle>), Refusal> {
    let bound = server.bound_ip().ok_or(NegotiateError::NoCandidates)?;
    let ips = local_ips(&server.config, bound, viewer.remote_addr.ip()).await;
    let udp_port = server.udp.as_ref().map(|udp| udp.local().port());
    let tcp_port = server.tcp.as_ref().map(|tcp| tcp.local().port());
    let candidates = host_candidates(&ips, udp_port, tcp_port);
    let local = candidates.iter().map(|candidate| (candidate.proto(), candidate.addr())).collect();
    // str0m calls a panic a bug of its own, and offers come from strangers.
    let negotiating = async { negotiate::negotiate(&server.identity, offer, map, candidates, clock::now()) };
    let Negotiated { rtc, tap, answer, ufrag, narrowed_offer } = match catch_panic(negotiating).await {
        Ended::Done(negotiated) => negotiated?,
        Ended::Panicked(message) => {
            server.deps.tasks.count_panic();
            warn!(message, "an offer made the WebRTC stack panic; refused");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "offer is not usable"));
        }
    };
    let (route, inbox) = server.routes.register(&ufrag);
    let (commands, commanded) = mpsc::channel(COMMANDS);
    let remote_ufrag = attribute(&narrowed_offer, "a=ice-ufrag:").unwrap_or_default().to_owned();
    let media = media().await?;
    let record = Arc::new(SessionRecord::new(viewer.facts()));
    let parts = SessionParts {
        rtc,
        tap,
        narrowed_offer,
        local,
        rtx_pt: map.video.as_ref().and_then(|video| video.payload.rtx_pt),
        resend: resend::payload_type(map).map(Resend::new),
        media,
        route,
        inbox,
        commands: commanded,
        ports: ports(server, ips),
        record: Arc::clone(&record),
    };
    let ice = IceState { local_ufrag: ufrag, remote_ufrag }.into();
    let handle = Arc::new(SessionHandle { record, commands, ice });
    // Knowing it is what lets a client end the session: 122 random bits.
    let secret = Uuid::new_v4();
    server.spawn_session(secret, Arc::clone(&handle), parts);
    Ok((secret, answer, handle))
}

async fn patch(
    server: &Arc<WebRtcServer>,
    (path, secret): (&PathName, &str),
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    if !is_content_type(headers, SDP_FRAGMENT) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "content type must be application/trickle-ice-sdpfrag",
        ));
    }
    let handle = find_session(server, path, secret)?;
    let if_match = headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok());
    let fragment = read_body(body).await?;
    let ice = handle.ice.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let current = entity_tag(&ice.local_ufrag);
    // RFC 9725 s4.3.1: "*" is what a client sends that wants a restart whatever the state.
    if if_match.is_some_and(|tag| tag != "*" && tag != current) {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "If-Match names another ICE session"));
    }
    let ufrag = attribute(&fragment, "a=ice-ufrag:").unwrap_or_default();
    let candidates = candidates_of(&fragment);
    if ufrag.is_empty() || ufrag == ice.remote_ufrag {
        handle.commands.send(Command::Trickle(candidates)).await.map_err(|_| no_session())?;
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    if if_match.is_none() {
        return Err(Refusal::new(StatusCode::PRECONDITION_REQUIRED, "an ICE restart needs If-Match"));
    }
    let pass = attribute(&fragment, "a=ice-pwd:").unwrap_or_default().to_owned();
    let credentials = IceCreds { ufrag: ufrag.to_owned(), pass };
    restart(&handle, credentials, candidates).await
}

async fn restart(
    handle: &SessionHandle,
    credentials: IceCreds,
    candidates: Vec<Candidate>,
) -> Result<Response, Refusal> {
    let (reply, replied) = oneshot::channel();
    let remote_ufrag = credentials.ufrag.clone();
    let command = Command::Restart { credentials, candidates, reply };
    handle.commands.send(command).await.map_err(|_| no_session())?;
    let waited = tokio::time::timeout(RESTART_WAIT, replied).await;
    let Restarted { answer, ufrag } = waited.map_err(|_| no_session())?.map_err(|_| no_session())??;
    let tag = entity_tag(&ufrag);
    *handle.ice.lock().unwrap_or_else(PoisonError::into_inner) =
        IceState { local_ufrag: ufrag, remote_ufrag };
    let response = with_body(StatusCode::OK, SDP_FRAGMENT, fragment_of(&answer));
    let response = with_header(response, header::ACCESS_CONTROL_EXPOSE_HEADERS, "ETag");
    Ok(with_header(response, header::ETAG, &tag))
}

async fn delete(server: &WebRtcServer, path: &PathName, secret: &str) -> Result<Response, Refusal> {
    let handle = find_session(server, path, secret)?;
    // Gone from the list at once: whoever asks again is told so, however long the task takes to end.
    server.unlist(&handle);
    handle.commands.send(Command::Close).await.map_err(|_| no_session())?;
    Ok(with_body(StatusCode::OK, "application/json", "{\"status\":\"ok\"}".to_owned()))
}

fn find_session(server: &WebRtcServer, path: &PathName, secret: &str) -> Result<Arc<SessionHandle>, Refusal> {
    let bad = |_| Refusal::new(StatusCode::BAD_REQUEST, "invalid session secret");
    let secret: Uuid = secret.parse().map_err(bad)?;
    let handle = server.lock_sessions().get(&secret).cloned();
    handle.filter(|handle| handle.record.facts.path == *path).ok_or_else(no_session)
}

fn no_session() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "session not found")
}

async fn read_body(body: Body) -> Result<String, Refusal> {
    let collecting = Limited::new(body, OFFER_BYTES_MAX).collect();
    let collected = tokio::time::timeout(BODY_WAIT, collecting).await;
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "body did not arrive in time");
    let too_large =
        |_| Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body is larger than 128 KiB or was cut off");
    let bytes = collected.map_err(late)?.map_err(too_large)?.to_bytes();
    String::from_utf8(bytes.into()).map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "body is not UTF-8"))
}

fn candidates_of(fragment: &str) -> Vec<Candidate> {
    let lines = fragment.lines().filter_map(|line| line.strip_prefix("a=")).map(str::trim_end);
    let candidates = lines.filter(|line| line.starts_with("candidate:"));
    // Names under .local (mDNS) can't be resolved here; such a viewer's checks reach us all the same.
    candidates.take(TRICKLED_MAX).filter_map(|line| Candidate::from_sdp_string(line).ok()).collect()
}

/// The part of an answer that an ICE restart changes (RFC 8840 s9).
fn fragment_of(answer: &str) -> String {
    let mut out = String::new();
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        if let Some(value) = attribute(answer, name) {
            out.push_str(&format!("{name}{value}\r\n"));
        }
    }
    let is_served = |line: &&str| line.starts_with("m=") && line.split_ascii_whitespace().nth(1) != Some("0");
    let section = answer.lines().skip_while(|line| !is_served(line));
    let is_wanted = |line: &&str| {
        ["m=", "a=mid:", "a=candidate:", "a=end-of-candidates"].iter().any(|prefix| line.starts_with(prefix))
    };
    let mut sections = 0;
    for line in section.filter(is_wanted) {
        sections += usize::from(line.starts_with("m="));
        if sections > 1 {
            break;
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn entity_tag(ufrag: &str) -> String {
    format!("\"{ufrag}\"")
}

fn is_content_type(headers: &HeaderMap, wanted: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case(wanted)
}

/// The HLS playlist of a viewer's path, at the host that the viewer itself named.
fn hls_url(hls: HlsListener, host: Option<&str>, viewer: &NewViewer) -> Option<String> {
    let authority: http::uri::Authority = host?.parse().ok()?;
    let session = viewer.session.map(|key| format!("session={key}/")).unwrap_or_default();
    let (scheme, host, port) = (hls.scheme.as_str(), authority.host(), hls.port);
    Some(format!("{scheme}://{host}:{port}/{}/{session}index.m3u8", viewer.grant.path()))
}

/// The value for Access-Control-Allow-Origin, if the origin is allowed.
fn allowed_origin(allowed: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    if allowed.iter().any(|origin| origin == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let origin = headers.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    allowed.iter().any(|pattern| origin_matches(pattern, text)).then(|| origin.clone())
}

fn origin_matches(pattern: &str, origin: &str) -> bool {
    match pattern.split_once("://*.") {
        None => pattern == origin,
        Some((scheme, host)) => {
            let rest = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
            let sub = rest.and_then(|rest| rest.strip_suffix(host)).and_then(|rest| rest.strip_suffix('.'));
            sub.is_some_and(|sub| !sub.is_empty() && !sub.contains('/'))
        }
    }
}

fn with_ice_servers(mut response: Response, server: &WebRtcServer) -> Response {
    let now = clock::wall_now();
    for ice_server in &server.config.ice_servers {
        let nonce = Uuid::new_v4().simple().to_string();
        if let Ok(link) = HeaderValue::from_str(&ice_servers::link(ice_server, &nonce, now)) {
            response.headers_mut().append(header::LINK, link);
        }
    }
    response
}

fn with_header(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
    response
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn with_body(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A request that is not served, with what the viewer is told.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
    headers: Vec<(HeaderName, String)>,
    hls_url: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), headers: Vec::new(), hls_url: None }
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// 400 as MediaMTX; where the stream, not the offer, is the reason, HLS is named instead.
    fn unservable(error: &TrackMapError, hls_url: Option<String>) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, error.to_string());
        match error {
            // MediaMTX's answer to a publisher.
            TrackMapError::TooManyTracks => Self { status: StatusCode::NOT_ACCEPTABLE, ..refusal },
            TrackMapError::BadOffer(_) | TrackMapError::NothingToReceive | TrackMapError::NothingToSend => {
                refusal
            }
            TrackMapError::HasBFrames | TrackMapError::CodecNotOffered { .. } => Self { hls_url, ..refusal },
        }
    }
}

impl From<TooManyReaders> for Refusal {
    fn from(error: TooManyReaders) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<AcquireError> for Refusal {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::NotConfigured { .. } => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
            AcquireError::NotReady { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string())
                .with(header::RETRY_AFTER, RETRY_AFTER_SECS),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let header = refused.header();
        let headers =
            header.iter().filter_map(|(name, value)| Some((name.clone(), value.to_str().ok()?.to_owned())));
        Self { headers: headers.collect(), ..Self::new(refused.status(), refused.to_string()) }
    }
}

impl From<NegotiateError> for Refusal {
    fn from(error: NegotiateError) -> Self {
        let status = match error {
            NegotiateError::Offer(_) => StatusCode::BAD_REQUEST,
            NegotiateError::NoCandidates => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let mut json = serde_json::json!({ "status": "error", "error": refusal.error });
        let mut headers = refusal.headers;
        if let (Some(url), Some(object)) = (refusal.hls_url, json.as_object_mut()) {
            object.insert("fallback".to_owned(), "hls".into());
            object.insert("hlsUrl".to_owned(), url.clone().into());
            let link = format!("<{url}>; rel=\"alternate\"; type=\"application/vnd.apple.mpegurl\"");
            headers.push((header::LINK, link));
            headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, "Link".to_owned()));
        }
        let response = with_body(refusal.status, "application/json", json.to_string());
        headers.into_iter().fold(response, |response, (name, value)| with_header(response, name, &value))
    }
}
