//! Routes: from a request to an answer.
//!
//! ```text
//!  /{path}              302 /{path}/          /{path}/                   the player page
//!  /{path}/index.m3u8   multivariant          /{path}/main_stream.m3u8   media playlist, blocking
//!  /{path}/{prefix}_{init,seg,part}...mp4     media                      /_/{asset}
//!  /{path}/index.m3u8?start=                  what is recorded           /{path}/recorded{,_init}.mp4?file=
//!  /{path}/index.m3u8?dvr=                    up to now                  /{path}/recorded.m3u8?dvr=&first=
//!  /{path}/session={key}/{any of these}       the same for a viewer who was let in before
//! ```
//!
//! A viewer whose credentials were needed is sent from a playlist to its session's folder: what the playlist names lies there
//! too, so players need not know, and the playlist stays the same bytes for all.
//!
//! Playlists may wait for a camera on demand, for a first segment and for the part asked for; a camera that was ever
//! seen gets 503 when nothing comes, never 404 or 401.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, AUTHORIZATION, ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use media_core::egress::hls::multivariant::MEDIA_PLAYLIST;
use media_core::egress::hls::{Answer, Directives, MediaAnswer, MediaName};
use media_core::gate::{Action, Admission, Basis, CameraGrant, Gate, SessionKey};
use media_core::path_name::PathName;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::HlsServer;
use super::body::ChunkBody;
use super::cors;
use super::muxer::{self, Muxer};
use super::muxers::FIRST_PLAYLIST_WAIT;
use super::recorded::{self, RecordedMedia};
use super::response::{self, PlaylistCache, Retry};
use super::viewers::{Caller, Kicked, NotLetIn, Viewer};
use crate::access::{Protocol, Refused, Visitor, session_of};
use crate::registry::AcquireError;

/// The longest request target answered.
const TARGET_BYTES_MAX: usize = 4096;

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Asset(&'a str),
    /// A path without its last slash.
    Redirect,
    Page(PathName),
    Multivariant(PathName),
    Playlist(PathName),
    Media(PathName, String),
    /// A playlist of what is recorded.
    Recorded(PathName),
    /// Live with the past behind it: the multivariant playlist.
    Dvr(PathName),
    /// Its media playlist.
    DvrWindow(PathName),
    /// Init segments and segments of recordings.
    RecordedMedia(PathName, RecordedMedia),
    Unknown,
}

impl Target<'_> {
    /// Whether players begin here.
    fn is_playlist(&self) -> bool {
        matches!(self, Self::Multivariant(_) | Self::Recorded(_) | Self::Dvr(_))
    }
}

/// How a caller was let in.
struct Way {
    remote_addr: SocketAddr,
    session: Option<SessionKey>,
    is_cdn: bool,
}

impl HlsServer {
    /// Answers one request; `peer` is the socket's address.
    pub(super) async fn answer<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<ChunkBody> {
        let headers = request.headers();
        let mut response = match *request.method() {
            Method::GET | Method::HEAD => self.get(request, peer).await,
            Method::OPTIONS if headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) => {
                let mut response = response::no_content();
                cors::preflight(response.headers_mut());
                response
            }
            _ => method_not_allowed(),
        };
        cors::allow(response.headers_mut(), &self.config.http.allow_origins, headers.get(ORIGIN));
        if request.method() == Method::HEAD {
            *response.body_mut() = ChunkBody::default();
        }
        response
    }

    async fn get<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<ChunkBody> {
        let uri = request.uri();
        if uri.path().len() > TARGET_BYTES_MAX {
            return response::error(StatusCode::URI_TOO_LONG, "request target is too long", Retry::Never);
        }
        let query = uri.query().unwrap_or_default();
        let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
        let (decoded, session) = session_of(&decoded);
        let target = recorded::target(target(&decoded), query);
        let path = match &target {
            Target::Asset(name) => return self.asset(name),
            Target::Redirect => return redirect_to_page(uri),
            Target::Unknown => return not_found("not found"),
            Target::Page(path)
            | Target::Multivariant(path)
            | Target::Playlist(path)
            | Target::Media(path, _)
            | Target::Recorded(path)
            | Target::Dvr(path)
            | Target::DvrWindow(path)
            | Target::RecordedMedia(path, _) => path,
        };
        let action = match &target {
            Target::Recorded(_) | Target::Dvr(_) | Target::DvrWindow(_) | Target::RecordedMedia(..) => {
                Action::Playback
            }
            _ => Action::Read,
        };
        let remote_addr = caller_address(request.headers(), peer, &self.config.http.trusted_proxies);
        let ip = remote_addr.ip();
        let access = &self.deps.access;
        let of_cdn = self.grant_of_cdn(request.headers(), action, path);
        let is_cdn = of_cdn.is_some();
        let of_session = || session.and_then(|key| access.of_session(key, ip, (action, path)));
        let grant = match of_cdn.or_else(of_session) {
            Some(grant) => grant,
            None => {
                let visitor = access.http_visitor(ip, Some(Protocol::Hls), request.headers(), query);
                match access.camera(&visitor, action, path).await {
                    Ok(Admission { grant, basis: Basis::Known(_) }) if target.is_playlist() => {
                        return self.to_session(&visitor, grant);
                    }
                    Ok(admission) => admission.grant,
                    Err(refused) => return refusal(refused, &target),
                }
            }
        };
        self.give(target, &grant, &Way { remote_addr, session, is_cdn }, request).await
    }

    /// Gives a caller that was let in what it asks for.
    async fn give<B>(
        &self,
        target: Target<'_>,
        grant: &CameraGrant,
        way: &Way,
        request: &Request<B>,
    ) -> Response<ChunkBody> {
        let Way { remote_addr, session, is_cdn } = *way;
        let user_agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = user_agent.unwrap_or_default();
        let user = match (&target, session) {
            (Target::Multivariant(_) | Target::Playlist(_), Some(session)) => {
                self.deps.access.user_of(session)
            }
            _ => String::new(),
        };
        let query = request.uri().query().unwrap_or_default();
        let caller =
            Caller { path: grant.path(), remote_addr, session, user: &user, user_agent, is_cdn, query };
        match target {
            Target::Multivariant(_) => self.multivariant(grant, &caller, request).await,
            Target::Playlist(_) => self.playlist(grant, &caller, request).await,
            Target::Recorded(_) => self.recorded(grant, request).await,
            Target::Dvr(_) => self.dvr(grant, request).await,
            Target::DvrWindow(_) => self.dvr_window(grant, request).await,
            Target::RecordedMedia(_, kind) => self.recorded_media(grant, kind, request).await,
            Target::Media(_, file) => self.media(grant, &caller, &file, request.headers()).await,
            _ => self.page(grant),
        }
    }

    /// What a CDN is let at that shows `hlsCDNSecret`.
    fn grant_of_cdn(&self, headers: &HeaderMap, action: Action, path: &PathName) -> Option<CameraGrant> {
        let secret = self.config.cdn_secret.as_ref().filter(|_| action == Action::Read)?;
        let shown = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        Gate::of_cdn(secret.expose(), shown, path)
    }

    /// Sends a viewer to its session's folder.
    fn to_session(&self, visitor: &Visitor<'_>, grant: CameraGrant) -> Response<ChunkBody> {
        let path = grant.path().clone();
        match self.deps.access.open_session(visitor, grant) {
            Ok(key) => {
                let query = if visitor.query.is_empty() { "" } else { "?" };
                response::redirect(&format!("/{path}/session={key}/index.m3u8{query}{}", visitor.query))
            }
            Err(full) => response::error(StatusCode::SERVICE_UNAVAILABLE, &full.to_string(), Retry::Soon),
        }
    }

    fn asset(&self, name: &str) -> Response<ChunkBody> {
        self.deps.pages.asset(name).map_or_else(|| not_found("not found"), response::asset)
    }

    fn page(&self, grant: &CameraGrant) -> Response<ChunkBody> {
        let path = grant.path();
        if !self.deps.registry.is_configured(path) {
            return not_found(&AcquireError::NotConfigured { path: path.clone() }.to_string());
        }
        self.deps.pages.player().map_or_else(|| not_found("not found"), response::asset)
    }

    async fn multivariant<B>(
        &self,
        grant: &CameraGrant,
        caller: &Caller<'_>,
        request: &Request<B>,
    ) -> Response<ChunkBody> {
        let muxer = match self.ready_muxer(grant, caller.query).await {
            Ok(muxer) => muxer,
            Err(response) => return response,
        };
        let viewer = match self.viewers.begin(caller, &muxer.stream) {
            Ok(viewer) => viewer,
            Err(error) => return not_let_in(NotLetIn::TooMany(error)),
        };
        match muxer.multivariant(request.uri().query()) {
            Some(text) => {
                let encoding = response::encoding(request.headers());
                let body = muxer::encoded(text.into(), encoding);
                counted(&muxer, viewer.as_deref(), response::playlist(body, encoding, PlaylistCache::No))
            }
            None => unavailable(),
        }
    }

    async fn playlist<B>(
        &self,
        grant: &CameraGrant,
        caller: &Caller<'_>,
        request: &Request<B>,
    ) -> Response<ChunkBody> {
        let directives = match Directives::parse(request.uri().query().unwrap_or_default()) {
            Ok(directives) => directives,
            Err(error) => return bad_request(&error.to_string()),
        };
        let muxer = match self.ready_muxer(grant, "").await {
            Ok(muxer) => muxer,
            Err(response) => return response,
        };
        let viewer = match self.viewers.go_on(caller, &muxer.stream) {
            Ok(viewer) => viewer,
            Err(error) => return not_let_in(error),
        };
        if let Err(response) = hold(&muxer, |held| muxer.answer(&directives, held)).await {
            return response;
        }
        let encoding = response::encoding(request.headers());
        let cache = if directives.msn.is_some() { PlaylistCache::Second } else { PlaylistCache::No };
        match muxer.playlist(&directives, encoding) {
            Some(bytes) => counted(&muxer, viewer.as_deref(), response::playlist(bytes, encoding, cache)),
            None => unavailable(),
        }
    }

    /// Init segments, segments and parts: media bytes, so only with a grant (correctness: S1).
    async fn media(
        &self,
        grant: &CameraGrant,
        caller: &Caller<'_>,
        file: &str,
        request: &HeaderMap,
    ) -> Response<ChunkBody> {
        let Some((prefix, name)) = MediaName::parse(file) else { return not_found("not found") };
        let viewer = match self.viewers.find(caller) {
            Ok(viewer) => viewer,
            Err(Kicked) => return not_let_in(NotLetIn::Kicked),
        };
        let Some(muxer) = self.muxers.get(grant) else { return not_found("no such file in the window") };
        muxer.touch();
        let mut found = None;
        let held = hold(&muxer, |held| match muxer.media(grant, prefix, name, held) {
            MediaAnswer::Now(media) => {
                found = Some(media);
                Answer::Now
            }
            MediaAnswer::Wait { left } => Answer::Wait { left },
            MediaAnswer::Unavailable => Answer::Unavailable,
            MediaAnswer::NotFound => Answer::Now,
        })
        .await;
        match (held, found) {
            (Err(response), _) => response,
            (Ok(()), Some(media)) => counted(&muxer, viewer.as_deref(), response::media(&media, request)),
            (Ok(()), None) => not_found("no such file in the window"),
        }
    }

    /// The path's muxer with a playlist in it; waits for a source on demand and for a first segment.
    async fn ready_muxer(&self, grant: &CameraGrant, query: &str) -> Result<Arc<Muxer>, Response<ChunkBody>> {
        let muxer = self.muxers.acquire(grant, query).await.map_err(|error| match &error {
            AcquireError::NotConfigured { .. } => not_found(&error.to_string()),
            AcquireError::NotReady { .. } => {
                response::error(StatusCode::NOT_FOUND, &error.to_string(), Retry::Soon)
            }
        })?;
        muxer.touch();
        let mut changes = muxer.changes();
        let ready = changes.wait_for(|_| muxer.answer(&Directives::default(), Duration::ZERO) == Answer::Now);
        tokio::select! {
            ready = tokio::time::timeout(FIRST_PLAYLIST_WAIT, ready) => match ready {
                Ok(Ok(_)) => {}
                _ => return Err(unavailable()),
            },
            () = muxer.token.cancelled() => return Err(unavailable()),
        }
        // It may have waited longer than `hlsMuxerCloseAfter`.
        muxer.touch();
        Ok(muxer)
    }
}

/// Asks `look` now and at each change of the playlist until it says something other than to wait.
async fn hold(muxer: &Muxer, mut look: impl FnMut(Duration) -> Answer) -> Result<(), Response<ChunkBody>> {
    // tokio's clock, which tests can move: nothing is computed from it but how long to wait.
    let since = Instant::now();
    let mut changes = muxer.changes();
    loop {
        // Marked as seen before the look, so that a change in between still wakes us.
        changes.mark_unchanged();
        let left = match look(since.elapsed()) {
            Answer::Now => return Ok(()),
            Answer::BadRequest(error) => return Err(bad_request(&error.to_string())),
            Answer::Unavailable => return Err(unavailable()),
            Answer::Wait { left } => left,
        };
        tokio::select! {
            // Either way the next look decides.
            _ = tokio::time::timeout(left, changes.changed()) => {}
            () = muxer.token.cancelled() => return Err(unavailable()),
        }
    }
}

fn target(path: &str) -> Target<'_> {
    let Some(path) = path.strip_prefix('/') else { return Target::Unknown };
    if let Some(asset) = path.strip_prefix("_/") {
        return Target::Asset(asset);
    }
    let Some((folder, file)) = path.rsplit_once('/') else {
        return if PathName::parse(path).is_ok() { Target::Redirect } else { Target::Unknown };
    };
    let is_media = file.ends_with(".mp4") || file.ends_with(".m3u8");
    if !is_media && !file.is_empty() {
        return if PathName::parse(path).is_ok() { Target::Redirect } else { Target::Unknown };
    }
    let Ok(name) = PathName::parse(folder) else { return Target::Unknown };
    match file {
        "" => Target::Page(name),
        "index.m3u8" => Target::Multivariant(name),
        MEDIA_PLAYLIST => Target::Playlist(name),
        _ => Target::Media(name, file.to_owned()),
    }
}

/// Adds the slash; the path was parsed, so it can't begin with a second one and lead away (correctness: S3).
fn redirect_to_page(uri: &http::Uri) -> Response<ChunkBody> {
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    response::redirect(&format!("{}/{query}", uri.path()))
}

/// The address behind trusted proxies: the last one in `X-Forwarded-For` that is not a proxy itself.
fn caller_ip(headers: &HeaderMap, peer: IpAddr, trusted: &[ipnet::IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip.to_canonical()));
    let mut ip = peer.to_canonical();
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.iter().rev() {
        if !is_trusted(ip) {
            break;
        }
        let Ok(before) = hop.parse::<IpAddr>() else { break };
        ip = before.to_canonical();
    }
    ip
}

/// What goes to a viewer is counted, and that it was there until now.
fn counted(muxer: &Muxer, viewer: Option<&Viewer>, response: Response<ChunkBody>) -> Response<ChunkBody> {
    let viewers = viewer.map(|viewer| {
        viewer.answered();
        Arc::clone(&viewer.outbound_bytes)
    });
    response.map(|body| body.counted([Arc::clone(&muxer.sent_bytes)].into_iter().chain(viewers)))
}

/// As MediaMTX: 401 without a session, 500 for one reader too many.
fn not_let_in(why: NotLetIn) -> Response<ChunkBody> {
    match why {
        NotLetIn::Kicked => {
            response::error(StatusCode::UNAUTHORIZED, &Refused::Wrong.to_string(), Retry::Never)
        }
        NotLetIn::TooMany(error) => {
            response::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), Retry::Never)
        }
    }
}

/// The same with the port, where that is the caller's own.
fn caller_address(headers: &HeaderMap, peer: SocketAddr, trusted: &[ipnet::IpNet]) -> SocketAddr {
    let ip = caller_ip(headers, peer.ip(), trusted);
    SocketAddr::new(ip, if ip == peer.ip().to_canonical() { peer.port() } else { 0 })
}

fn refusal(refused: Refused, target: &Target<'_>) -> Response<ChunkBody> {
    let mut response = response::error(refused.status(), &refused.to_string(), Retry::Never);
    let header = match target {
        Target::Page(_) => refused.page_header(),
        _ => refused.header(),
    };
    response.headers_mut().extend(header);
    response
}

pub(super) fn not_found(reason: &str) -> Response<ChunkBody> {
    response::error(StatusCode::NOT_FOUND, reason, Retry::Never)
}

pub(super) fn bad_request(reason: &str) -> Response<ChunkBody> {
    response::error(StatusCode::BAD_REQUEST, reason, Retry::Never)
}

fn unavailable() -> Response<ChunkBody> {
    response::error(StatusCode::SERVICE_UNAVAILABLE, "nothing new from the camera", Retry::Soon)
}

fn method_not_allowed() -> Response<ChunkBody> {
    let mut response = response::error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", Retry::Never);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS, GET, HEAD"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PathName {
        PathName::parse(text).unwrap()
    }

    #[test]
    fn targets_are_told_apart() {
        for (path, expected) in [
            ("/cam", Target::Redirect),
            ("/city/cam", Target::Redirect),
            ("/cam/", Target::Page(name("cam"))),
            ("/city/cam/index.m3u8", Target::Multivariant(name("city/cam"))),
            ("/cam/main_stream.m3u8", Target::Playlist(name("cam"))),
            ("/cam/a_seg1.mp4", Target::Media(name("cam"), "a_seg1.mp4".to_owned())),
            ("/_/player/page.js", Target::Asset("player/page.js")),
            ("/", Target::Unknown),
            ("//evil.example", Target::Unknown),
            ("//evil.example/index.m3u8", Target::Unknown),
            ("/a/../b/index.m3u8", Target::Unknown),
            ("/a\\b/", Target::Unknown),
        ] {
            assert_eq!(target(path), expected, "{path}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_about_the_caller() {
        let proxy: IpAddr = "10.0.0.1".parse().unwrap();
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 203.0.113.9, 10.0.0.2"));
        let client: IpAddr = "203.0.113.9".parse().unwrap();
        assert_eq!(caller_ip(&headers, proxy, &trusted), client);
        assert_eq!(caller_ip(&headers, client, &trusted), client, "not through a proxy");
        assert_eq!(caller_ip(&headers, proxy, &[]), proxy);
    }
}
