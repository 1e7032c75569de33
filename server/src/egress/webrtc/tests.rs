//! Tests of the WHEP side without a peer: statuses, headers, limits.

use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use media_core::access_unit::AccessUnit;
use media_core::path_name::PathName;
use media_core::ring::Retention;
use media_core::time::{Timescale, WallTime};
use media_core::track::{CodecConfig, H264Config, SharedFormat, StreamFormat, TrackId, TrackInfo};
use tower::ServiceExt as _;

use super::*;
use crate::config::resolved::{HttpConfig, IceServer, InterfaceIps};
use crate::config::source_url::Secret;
use crate::registry::PathEntry;
use crate::stream::{HasBFrames, Publisher, Stream};

/// A real browser's offer (origin: `media-core/src/egress/webrtc/track_map/offers/README.md`).
const OFFER: &str = include_str!("../../../../media-core/src/egress/webrtc/track_map/offers/chromium.sdp");
pub(super) const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const FRAGMENT_OF_A_RESTART: &str = "a=ice-ufrag:anew\r\na=ice-pwd:anewpasswordof24characters\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 2122260223 127.0.0.1 50000 typ host\r\n";

pub(super) fn config_for_tests() -> WebRtcConfig {
    WebRtcConfig {
        http: HttpConfig {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            allow_origins: vec!["*".to_owned()],
            trusted_proxies: Vec::new(),
        },
        local_udp_address: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        local_tcp_address: None,
        interface_ips: InterfaceIps::All,
        additional_hosts: Vec::new(),
        ice_servers: Vec::new(),
        handshake_timeout: Duration::from_secs(10),
    }
}

pub(super) struct Answered {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    pub(super) text: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A server with `cam_1` (H.264), `reordered` (H.264 with B-frames) and `dark` (no picture yet).
pub(super) async fn server_with(config: WebRtcConfig) -> Arc<WebRtcServer> {
    let registry = Arc::new(Registry::default());
    for name in ["cam_1", "reordered", "dark"] {
        let name = PathName::parse(name).unwrap();
        let stream = Stream::new(name.clone(), Retention::default(), WallTime(0));
        let publisher = Publisher::new(&stream);
        if name.as_str() == "reordered" {
            publisher.set_has_b_frames(HasBFrames::Yes);
        }
        if name.as_str() != "dark" {
            publish_key_frame(&publisher);
        }
        registry.insert(&name, PathEntry::pulled(&stream, Duration::ZERO));
    }
    let deps = WebRtcDeps {
        registry,
        access: Access::open(),
        pages: Box::new(|wanted| {
            let text = match wanted {
                PageRequest::Player => "player",
                PageRequest::Publisher => "publisher",
                PageRequest::Asset(_) => return None,
            };
            Some(Response::new(text.into()))
        }),
        hls: Box::new(|| Some(HlsListener { scheme: HttpScheme::Https, port: 8888 })),
        tasks: TaskSet::new("test"),
    };
    WebRtcServer::start(config, deps).await.unwrap()
}

fn publish_key_frame(publisher: &Publisher) {
    publisher.publish(&h264_format(), key_frame(0));
}

pub(super) fn h264_format() -> SharedFormat {
    let (sps, pps) = (Bytes::from_static(&[0x67, 0x42, 0xe0, 0x1f]), Bytes::from_static(&[0x68]));
    let codec = CodecConfig::H264(H264Config {
        sps,
        pps,
        width: 640,
        height: 360,
        profile_idc: 66,
        constraint_flags: 0xe0,
        level_idc: 31,
    });
    let track = TrackInfo { id: TrackId(0), timescale: Timescale::VIDEO, codec, transcoded_from: None };
    Arc::new(StreamFormat { generation: 0, is_slate: false, tracks: vec![track] })
}

/// The `n`-th picture of a camera with 25 a second, all of them key frames.
pub(super) fn key_frame(n: i64) -> AccessUnit {
    AccessUnit {
        track: TrackId(0),
        dts_ticks: n * 3600,
        pts_ticks: n * 3600,
        wall: WallTime(n * 40_000),
        is_random_access: true,
        payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
    }
}

async fn ask(server: &Arc<WebRtcServer>, request: Request<Body>) -> Answered {
    let mut request = request;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
    let response = server.router().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answered { status: parts.status, headers: parts.headers, text }
}

fn request(method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(uri).header("host", "cameras.example:8889");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body.to_owned())).unwrap()
}

pub(super) async fn post(server: &Arc<WebRtcServer>, uri: &str, content_type: &str, body: &str) -> Answered {
    ask(server, request(Method::POST, uri, &[("content-type", content_type)], body)).await
}

async fn patch(server: &Arc<WebRtcServer>, uri: &str, if_match: Option<&str>, body: &str) -> Answered {
    let mut headers = vec![("content-type", FRAGMENT)];
    headers.extend(if_match.map(|tag| ("if-match", tag)));
    ask(server, request(Method::PATCH, uri, &headers, body)).await
}

/// Waits until no session is listed.
async fn until_all_ended(server: &Arc<WebRtcServer>) {
    let waiting = async {
        while !server.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("the sessions end");
}

fn assert_error(answered: &Answered, status: StatusCode) -> serde_json::Value {
    assert_eq!(answered.status, status, "{}", answered.text);
    let json: serde_json::Value = serde_json::from_str(&answered.text).unwrap();
    assert_eq!(json["status"], "error");
    assert!(!json["error"].as_str().unwrap().is_empty());
    json
}

// correctness: W1
#[tokio::test]
async fn offer_is_answered_sendonly_with_all_candidates_and_a_location() {
    let server = server_with(config_for_tests()).await;
    let answered = post(&server, "/cam_1/whep?user=a", SDP, OFFER).await;
    assert_eq!(answered.status, StatusCode::CREATED, "{}", answered.text);
    assert_eq!(answered.header("content-type"), SDP);
    assert!(answered.header("location").starts_with("/cam_1/whep/"), "{}", answered.header("location"));
    assert!(answered.header("location").ends_with("?user=a"));
    assert_eq!(answered.header("accept-patch"), FRAGMENT);
    let tag = answered.header("etag");
    assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "a strong entity tag: {tag}");
    assert_eq!(answered.header("id").parse::<Uuid>().unwrap(), server.sessions()[0].facts.id);
    let sdp = &answered.text;
    let lines = |wanted: &str| sdp.lines().filter(|line| *line == wanted).count();
    assert_eq!((lines("a=sendonly"), lines("a=inactive"), lines("a=recvonly")), (1, 1, 0), "{sdp}");
    assert_eq!(lines("a=rtcp-mux"), 2, "{sdp}");
    let port = server.udp_address().unwrap().port();
    assert!(sdp.contains(&format!(" 127.0.0.1 {port} typ host")), "{sdp}");
    let video = sdp.find("m=video").unwrap();
    assert!(sdp.find("a=candidate").unwrap() > video && sdp.contains("a=end-of-candidates"), "{sdp}");
    assert!(sdp.contains("a=rtpmap:108 H264/90000"), "Constrained Baseline as offered: {sdp}");
}

// correctness: W1
#[tokio::test]
async fn wrong_type_bad_sdp_and_too_long_offers_are_refused_with_a_reason() {
    let server = server_with(config_for_tests()).await;
    assert_error(&post(&server, "/cam_1/whep", "application/json", OFFER).await, StatusCode::BAD_REQUEST);
    assert_error(&post(&server, "/cam_1/whep", SDP, "hello").await, StatusCode::BAD_REQUEST);
    let no_fingerprint = OFFER.replace("a=fingerprint", "a=x-fingerprint");
    assert_error(&post(&server, "/cam_1/whep", SDP, &no_fingerprint).await, StatusCode::BAD_REQUEST);
    let long = "v".repeat(129 << 10);
    assert_error(&post(&server, "/cam_1/whep", SDP, &long).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(server.sessions().is_empty());
}

// correctness: W2
#[tokio::test]
async fn path_without_a_picture_is_404_with_retry_after_and_an_unknown_one_400() {
    let server = server_with(config_for_tests()).await;
    let dark = post(&server, "/dark/whep", SDP, OFFER).await;
    assert_error(&dark, StatusCode::NOT_FOUND);
    assert_eq!(dark.header("retry-after"), "2");
    assert_error(&post(&server, "/nowhere/whep", SDP, OFFER).await, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn stream_that_webrtc_cannot_carry_names_hls_instead() {
    let server = server_with(config_for_tests()).await;
    let refused = post(&server, "/reordered/whep", SDP, OFFER).await;
    let json = assert_error(&refused, StatusCode::BAD_REQUEST);
    assert_eq!(json["fallback"], "hls");
    assert_eq!(json["hlsUrl"], "https://cameras.example:8888/reordered/index.m3u8");
    assert_eq!(
        refused.header("link"),
        "<https://cameras.example:8888/reordered/index.m3u8>; rel=\"alternate\"; \
         type=\"application/vnd.apple.mpegurl\""
    );
    let without_h264 = OFFER.replace("H264/90000", "VP8/90000");
    let json = assert_error(&post(&server, "/cam_1/whep", SDP, &without_h264).await, StatusCode::BAD_REQUEST);
    assert_eq!(json["fallback"], "hls");
}

// correctness: W3
#[tokio::test]
async fn trickled_candidates_are_taken() {
    let server = server_with(config_for_tests()).await;
    let location = post(&server, "/cam_1/whep", SDP, OFFER).await.header("location").to_owned();
    let fragment = "a=ice-ufrag:RbN2\r\na=candidate:1 1 udp 2122260223 127.0.0.1 50000 typ host\r\n\
                    a=candidate:2 1 udp 2122260223 d1f0.local 50000 typ host\r\na=end-of-candidates\r\n";
    for if_match in [None, Some("*")] {
        let answered = patch(&server, &location, if_match, fragment).await;
        assert_eq!(answered.status, StatusCode::NO_CONTENT, "{}", answered.text);
    }
    let typed = request(Method::PATCH, &location, &[("content-type", "text/plain")], fragment);
    assert_error(&ask(&server, typed).await, StatusCode::BAD_REQUEST);
}

// correctness: W3
#[tokio::test]
async fn ice_restart_needs_the_entity_tag_and_gives_a_new_one() {
    let server = server_with(config_for_tests()).await;
    let opened = post(&server, "/cam_1/whep", SDP, OFFER).await;
    let (location, tag) = (opened.header("location"), opened.header("etag"));
    let restart = |if_match| patch(&server, location, if_match, FRAGMENT_OF_A_RESTART);
    assert_error(&restart(None).await, StatusCode::PRECONDITION_REQUIRED);
    assert_error(&restart(Some("\"stale\"")).await, StatusCode::PRECONDITION_FAILED);
    let restarted = restart(Some(tag)).await;
    assert_eq!(restarted.status, StatusCode::OK, "{}", restarted.text);
    let new_tag = restarted.header("etag");
    assert_ne!(new_tag, tag);
    assert!(
        restarted.text.contains(&format!("a=ice-ufrag:{}", new_tag.trim_matches('"'))),
        "{}",
        restarted.text
    );
    assert!(
        restarted.text.contains("a=candidate:") && restarted.text.contains("a=mid:0"),
        "{}",
        restarted.text
    );
    let again = FRAGMENT_OF_A_RESTART.replace("anew", "newer");
    assert_error(&patch(&server, location, Some(tag), &again).await, StatusCode::PRECONDITION_FAILED);
}

// correctness: W3, S4
#[tokio::test]
async fn session_answers_to_its_own_secret_and_path_alone_until_deleted() {
    let server = server_with(config_for_tests()).await;
    let location = post(&server, "/cam_1/whep", SDP, OFFER).await.header("location").to_owned();
    let delete = |uri: String| ask(&server, request(Method::DELETE, &uri, &[], ""));
    assert_error(&delete(format!("/cam_1/whep/{}", Uuid::new_v4())).await, StatusCode::NOT_FOUND);
    assert_error(&delete("/cam_1/whep/1234".into()).await, StatusCode::BAD_REQUEST);
    assert_error(&delete(location.replace("cam_1", "reordered")).await, StatusCode::NOT_FOUND);
    let deleted = delete(location.clone()).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (StatusCode::OK, "{\"status\":\"ok\"}"));
    until_all_ended(&server).await;
    assert_error(&delete(location).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn viewer_who_never_connects_is_dropped_after_the_handshake_time_out() {
    let config = WebRtcConfig { handshake_timeout: Duration::from_millis(50), ..config_for_tests() };
    let server = server_with(config).await;
    assert_eq!(post(&server, "/cam_1/whep", SDP, OFFER).await.status, StatusCode::CREATED);
    assert_eq!(server.sessions().len(), 1);
    until_all_ended(&server).await;
}

#[tokio::test]
async fn session_can_be_kicked_by_its_public_id() {
    let server = server_with(config_for_tests()).await;
    post(&server, "/cam_1/whep", SDP, OFFER).await;
    let id = server.sessions()[0].facts.id;
    assert!(!server.kick(Uuid::new_v4()));
    assert!(server.kick(id));
    until_all_ended(&server).await;
}

#[tokio::test]
async fn options_tells_what_may_be_posted_and_which_ice_servers_there_are() {
    let ice = |url: &str| IceServer {
        url: url.into(),
        username: String::new(),
        password: Secret::new(""),
        client_only: false,
    };
    let ice_servers = vec![ice("stun:a.example:3478"), ice("turn:b.example:3478")];
    let server = server_with(WebRtcConfig { ice_servers, ..config_for_tests() }).await;
    let answered = ask(&server, request(Method::OPTIONS, "/cam_1/whep", &[], "")).await;
    assert_eq!(answered.status, StatusCode::NO_CONTENT);
    assert_eq!(answered.header("accept-post"), SDP);
    let links: Vec<&str> =
        answered.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    assert_eq!(
        links,
        ["<stun:a.example:3478>; rel=\"ice-server\"", "<turn:b.example:3478>; rel=\"ice-server\""]
    );
}

#[tokio::test]
async fn preflight_and_other_methods_are_answered_as_mediamtx_does() {
    let server = server_with(config_for_tests()).await;
    let preflight = [("access-control-request-method", "POST"), ("origin", "https://page.example")];
    let answered = ask(&server, request(Method::OPTIONS, "/cam_1/whep", &preflight, "")).await;
    assert_eq!(answered.status, StatusCode::NO_CONTENT);
    assert_eq!(answered.header("access-control-allow-origin"), "*");
    assert_eq!(answered.header("access-control-allow-methods"), "OPTIONS, GET, POST, PATCH, DELETE");
    assert_eq!(answered.header("access-control-allow-headers"), "Authorization, Content-Type, If-Match");
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        let answered = ask(&server, request(method, "/cam_1/whep", &[], "")).await;
        assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answered.header("allow"), "OPTIONS, POST");
    }
}

#[tokio::test]
async fn page_is_behind_its_slash_and_foreign_names_lead_nowhere() {
    let server = server_with(config_for_tests()).await;
    let get = |uri: &str| ask(&server, request(Method::GET, uri, &[], ""));
    let redirect = get("/city/cam_1?muted=0").await;
    assert_eq!((redirect.status, redirect.header("location")), (StatusCode::FOUND, "/city/cam_1/?muted=0"));
    assert_eq!(get("/cam_1/").await.text, "player");
    assert_eq!(get("/city/cam_1/publish").await.text, "publisher");
    assert_eq!(get("/city/cam_1/publish/").await.text, "player");
    for uri in ["/", "//evil.example", "//evil.example/", "/a/../b", "/_/none.js"] {
        assert_error(&get(uri).await, StatusCode::NOT_FOUND);
    }
}

/// Cuts and changes a real offer in many ways: str0m may refuse it, nothing may panic.
#[tokio::test]
async fn mutilated_offers_are_answered_or_refused_and_never_panic() {
    let server = server_with(config_for_tests()).await;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(n).unwrap()).unwrap()
    };
    for _ in 0..300 {
        let mut lines: Vec<String> = OFFER.lines().map(str::to_owned).collect();
        for _ in 0..=below(4) {
            let (at, other) = (below(lines.len()), below(lines.len()));
            match below(5) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, other),
                2 => lines.insert(at, lines[other].clone()),
                3 => lines[at] = lines[at].replace(['1', '0'], "9"),
                _ => {
                    let keep = lines[at].char_indices().map(|(i, _)| i).nth(below(20)).unwrap_or(1);
                    lines[at].truncate(keep);
                }
            }
        }
        let answered = post(&server, "/cam_1/whep", SDP, &lines.join("\r\n")).await;
        assert!(matches!(answered.status.as_u16(), 201 | 400), "{} {}", answered.status, answered.text);
    }
    assert_eq!(server.deps.tasks.panics(), 0);
    server.deps.tasks.shutdown(Duration::from_secs(5)).await;
}
