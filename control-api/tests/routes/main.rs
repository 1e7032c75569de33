//! The routers as a client sees them: statuses, headers and JSON.
#![expect(clippy::unwrap_used, reason = "helpers of tests; a failure here is a failed test")]

mod config;
mod fake;
mod fuzz;
mod openapi;
mod snapshot;
mod storage;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use control_api::forward::{ForwardConf, ForwardDest};
use control_api::host_guard::HostGuard;
use control_api::model::{
    Camera, CameraCounters, CameraState, CodecProps, Info, PathReader, PathReaderType, PathSource,
    PathSourceType, PathTrack, Time,
};
use control_api::paging::Piece;
use control_api::proxies::TrustedProxies;
use control_api::{ApiDeps, Asset, Assets, Cameras, ControlDeps, ListenerUrl, control_router, router};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// 2026-01-02T03:04:05.5Z by `date -ud 2026-01-02T03:04:05 +%s`.
const SINCE: Time = Time { unix_us: 1_767_323_045_500_000 };

struct Fixed(Vec<Camera>);

impl Cameras for Fixed {
    fn list(&self, skipped: usize, most: usize) -> Piece<Camera> {
        let items = self.0.iter().skip(skipped).take(most).cloned().collect();
        Piece { total: self.0.len(), items }
    }

    fn get(&self, name: &str) -> Option<Camera> {
        self.0.iter().find(|camera| camera.name == name).cloned()
    }

    fn forwards(&self, name: &str) -> Option<Vec<ForwardDest>> {
        let dest = ForwardDest {
            id: "6a3f8a10-1b2c-4d5e-8f90-0123456789ab".to_owned(),
            pos: 1,
            created: SINCE,
            conf: ForwardConf {
                dest: "rtsp://h/x".to_owned(),
                dest_fingerprint: String::new(),
                whip_bearer_token: String::new(),
            },
            protocol: "rtsp",
            state: "error",
            last_error: "nobody there".to_owned(),
            outbound_bytes: 3,
        };
        self.get(name).map(|_| vec![dest])
    }
}

struct Page;

impl Assets for Page {
    fn get(&self, path: &str) -> Option<Asset> {
        let (bytes, content_type) = match path {
            "index.html" => ("<!doctype html>", "text/html; charset=utf-8"),
            "grid/tile.js" => ("export {}", "text/javascript; charset=utf-8"),
            _ => return None,
        };
        Some(Asset { bytes: Bytes::from_static(bytes.as_bytes()), content_type: content_type.into() })
    }
}

fn camera(name: &str) -> Camera {
    Camera {
        name: name.to_owned(),
        conf_name: name.to_owned(),
        source: Some(PathSource { kind: PathSourceType::RtspSource, id: String::new() }),
        state: CameraState::Online,
        state_reason: String::new(),
        state_since: SINCE,
        available_since: Some(SINCE),
        online_since: Some(SINCE),
        tracks: vec![
            PathTrack {
                codec: "H264",
                codec_props: Some(CodecProps::Video {
                    width: 1920,
                    height: 1080,
                    profile: "High".to_owned(),
                    level: "4.1".to_owned(),
                }),
            },
            PathTrack {
                codec: "G711",
                codec_props: Some(CodecProps::G711 { mu_law: false, sample_rate: 8000, channel_count: 1 }),
            },
        ],
        readers: vec![PathReader { kind: PathReaderType::WebRtcSession, id: "r1".to_owned() }],
        counters: CameraCounters {
            inbound_bytes: 10,
            outbound_bytes: 20,
            reconnects: 3,
            ..Default::default()
        },
    }
}

fn api(names: &[&str], origins: &[&str]) -> Router {
    router(ApiDeps {
        access: Arc::new(fake::Door),
        cameras: Arc::new(Fixed(names.iter().map(|name| camera(name)).collect())),
        storage: Arc::new(fake::Fake::default()),
        config: Arc::new(fake::Fake::default()),
        snapshots: Arc::new(snapshot::Pictures),
        hls: None,
        webrtc: None,
        rtsp: None,
        rtsps: None,
        rtmp: None,
        rtmps: None,
        info: Info { version: "1.2.3".to_owned(), started: SINCE },
        allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        trusted_proxies: TrustedProxies::default(),
    })
}

fn control(host_guard: HostGuard) -> Router {
    control_router(ControlDeps {
        access: Arc::new(fake::Door),
        cameras: Arc::new(Fixed(vec![camera("city/cam_1"), camera("vault")])),
        assets: Arc::new(Page),
        hls: Some(ListenerUrl { scheme: "http", port: 8888 }),
        webrtc: None,
        host_guard,
    })
}

fn loopback_guard() -> HostGuard {
    HostGuard::Loopback { names: Arc::new(["cams.example".to_owned()]) }
}

async fn send(router: Router, peer: &str, request: http::request::Builder) -> (StatusCode, HeaderMap, Bytes) {
    let mut request: Request<Body> = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

async fn get_json(router: Router, uri: &str) -> (StatusCode, Value) {
    let (status, _, body) =
        send(router, "127.0.0.1:5", Request::get(uri).header("host", "localhost:8080")).await;
    (status, serde_json::from_slice(&body).unwrap())
}

fn error(text: &str) -> Value {
    json!({ "status": "error", "error": text })
}

#[tokio::test]
async fn info_tells_version_and_start() {
    let answer = get_json(api(&[], &["*"]), "/v3/info").await;
    assert_eq!(answer, (StatusCode::OK, json!({ "version": "1.2.3", "started": "2026-01-02T03:04:05.5Z" })));
}

#[tokio::test]
async fn a_path_has_every_field_of_mediamtx() {
    let (status, path) = get_json(api(&["cam_1"], &["*"]), "/v3/paths/get/cam_1").await;
    assert_eq!(status, StatusCode::OK);
    // The `Path` schema of MediaMTX 1.20's openapi.yaml, then ours.
    let expected = json!({
        "available": true, "availableTime": "2026-01-02T03:04:05.5Z",
        "bytesReceived": 10, "bytesSent": 20, "confName": "cam_1",
        "inboundBytes": 10, "inboundFramesInError": 0, "name": "cam_1",
        "online": true, "onlineTime": "2026-01-02T03:04:05.5Z", "outboundBytes": 20,
        "readers": [{ "type": "webRTCSession", "id": "r1" }],
        "ready": true, "readyTime": "2026-01-02T03:04:05.5Z",
        "source": { "type": "rtspSource", "id": "" },
        "tracks": ["H264", "G711"],
        "tracks2": [
            { "codec": "H264", "codecProps": { "width": 1920, "height": 1080, "profile": "High", "level": "4.1" } },
            { "codec": "G711", "codecProps": { "muLaw": false, "sampleRate": 8000, "channelCount": 1 } },
        ],
        "state": "online", "stateReason": "", "stateSince": "2026-01-02T03:04:05.5Z",
        "reconnects": 3, "frozen": 0, "lostPackets": 0, "repairedTimestamps": 0, "discontinuities": 0,
        "jitterSeconds": null,
        "clockOffsetSeconds": null,
    });
    assert_eq!(path, expected);
}

#[tokio::test]
async fn servers_that_a_path_is_sent_to_are_listed() {
    let ask = async |uri: &str| get_json(api(&["city/cam"], &["*"]), uri).await;
    let (status, list) = ask("/v3/paths/forward/list?path=city/cam").await;
    // The `ForwardDest` schema of MediaMTX 1.20's openapi.yaml.
    let dest = json!({
        "conf": { "dest": "rtsp://h/x", "destFingerprint": "", "whipBearerToken": "" },
        "created": "2026-01-02T03:04:05.5Z", "id": "6a3f8a10-1b2c-4d5e-8f90-0123456789ab", "lastError": "nobody there", "outboundBytes": 3, "pos": 1,
        "protocol": "rtsp", "state": "error",
    });
    assert_eq!(
        (status, list),
        (StatusCode::OK, json!({ "itemCount": 1, "pageCount": 1, "items": [dest.clone()] }))
    );
    assert_eq!(
        ask("/v3/paths/forward/get?path=city/cam&id=6a3f8a10-1b2c-4d5e-8f90-0123456789ab").await,
        (StatusCode::OK, dest)
    );
    for (query, status) in [
        ("list", StatusCode::BAD_REQUEST),
        ("list?path=nope", StatusCode::NOT_FOUND),
        ("get?path=city/cam", StatusCode::BAD_REQUEST),
        ("get?path=city/cam&id=f1", StatusCode::BAD_REQUEST),
        ("get?path=city/cam&id=6a3f8a10-1b2c-4d5e-8f90-0123456789ac", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(ask(&format!("/v3/paths/forward/{query}")).await.0, status, "{query}");
    }
}

#[tokio::test]
async fn path_names_may_have_slashes() {
    let (_, path) = get_json(api(&["city/north/cam_1"], &["*"]), "/v3/paths/get/city/north/cam_1").await;
    assert_eq!(path["name"], "city/north/cam_1");
    let (_, path) = get_json(api(&["city/north"], &["*"]), "/v3/paths/get/city%2Fnorth").await;
    assert_eq!(path["name"], "city/north");
}

#[tokio::test]
async fn what_is_not_there_is_404_in_json() {
    assert_eq!(
        get_json(api(&[], &["*"]), "/v3/paths/get/nope").await,
        (StatusCode::NOT_FOUND, error("path not found"))
    );
    for uri in ["/", "/v3", "/v3/config/global/set", "/v3/paths/get/%ff"] {
        assert_eq!(get_json(api(&[], &["*"]), uri).await.0, StatusCode::NOT_FOUND, "{uri}");
    }
    let (status, _, body) = send(api(&[], &["*"]), "127.0.0.1:5", Request::post("/v3/info")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), error("not found"));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let names: Vec<String> = (0..250).map(|n| format!("cam_{n:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let page = async |query: &str| {
        let (status, list) = get_json(api(&names, &["*"]), &format!("/v3/paths/list{query}")).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let items: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect();
        (list["itemCount"].clone(), list["pageCount"].clone(), items.len(), items.first().cloned())
    };
    let first = |name: &str| Some(name.to_owned());
    assert_eq!(page("").await, (json!(250), json!(3), 100, first("cam_000")));
    assert_eq!(page("?page=2").await, (json!(250), json!(3), 50, first("cam_200")));
    assert_eq!(page("?page=3").await, (json!(250), json!(3), 0, None));
    assert_eq!(page("?page=1&itemsPerPage=7").await, (json!(250), json!(36), 7, first("cam_007")));
    assert_eq!(page("?page=18446744073709551615&itemsPerPage=10000").await.2, 0);
    for query in ["?itemsPerPage=0", "?itemsPerPage=x", "?page=-1", "?page=1.5"] {
        let (status, body) = get_json(api(&names, &["*"]), &format!("/v3/paths/list{query}")).await;
        assert_eq!((status, &body["status"]), (StatusCode::BAD_REQUEST, &json!("error")), "{query}");
    }
}

// correctness: S1
#[tokio::test]
async fn the_api_answers_to_those_who_may_use_it() {
    let ask = async |peer: &str, headers: &[(&str, &str)]| {
        let request = headers
            .iter()
            .fold(Request::get("/v3/info"), |request, (name, value)| request.header(*name, *value));
        let (status, headers, body) = send(api(&[], &["*"]), peer, request).await;
        let text = serde_json::from_slice::<Value>(&body).unwrap()["error"].clone();
        (status.as_u16(), headers, text)
    };
    for peer in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(ask(peer, &[]).await.0, 200, "{peer}");
    }
    let (status, headers, text) = ask("192.0.2.1:1", &[("x-forwarded-for", "127.0.0.1")]).await;
    assert_eq!((status, text), (401, json!("authentication error")));
    assert_eq!(headers["www-authenticate"], "Basic realm=\"mediamtx\"");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(ask("192.0.2.1:1", &[("authorization", fake::RIGHT)]).await.0, 200);
    let (status, headers, _) = ask("192.0.2.1:1", &[("authorization", "Basic x")]).await;
    assert!(status == 401 && !headers.contains_key("www-authenticate"));
    let (status, headers, _) = ask("192.0.2.9:1", &[("authorization", "Basic x")]).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "7"));
    let without_peer = Request::get("/v3/info").body(Body::empty()).unwrap();
    assert_eq!(api(&[], &["*"]).oneshot(without_peer).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

// correctness: S1
#[tokio::test]
async fn the_page_is_for_those_who_may_watch_and_shows_what_they_may() {
    let ask = async |uri: &str, authorization: Option<&str>| {
        let request = Request::get(uri).header("host", "localhost:8080");
        let request = match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        };
        send(control(loopback_guard()), "192.0.2.1:5", request).await
    };
    for uri in ["/", "/api/cameras"] {
        let (status, headers, _) = ask(uri, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{uri}");
        assert_eq!(headers["www-authenticate"], "Basic realm=\"mediamtx\"");
    }
    let (status, headers, _) = ask("/", Some("Basic x")).await;
    assert!(status == StatusCode::UNAUTHORIZED && headers.contains_key("www-authenticate"), "asked again");
    assert!(!ask("/api/cameras", Some("Basic x")).await.1.contains_key("www-authenticate"));
    assert_eq!(ask("/_/grid/tile.js", None).await.0, StatusCode::OK);
    assert_eq!(ask("/", Some(fake::RIGHT)).await.0, StatusCode::OK);
    let (_, _, body) = ask("/api/cameras", Some(fake::RIGHT)).await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&list["items"][0]["name"], &list["session"]), (&json!("city/cam_1"), &json!("c0ffee")));
}

#[tokio::test]
async fn browsers_may_call_from_allowed_origins() {
    let origin = "https://ops.example";
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/v3/paths/list")
        .header("origin", origin)
        .header("access-control-request-method", "GET");
    let (status, headers, _) = send(api(&[], &[origin]), "127.0.0.1:1", preflight).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(headers["access-control-allow-origin"], origin);
    assert_eq!(headers["access-control-allow-methods"], "OPTIONS, GET, POST, PATCH, DELETE");
    assert_eq!(headers["access-control-allow-headers"], "Authorization, Content-Type");
    let other = Request::get("/v3/info").header("origin", "https://evil.example");
    let (_, headers, _) = send(api(&[], &[origin]), "127.0.0.1:1", other).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
    let (_, headers, _) = send(api(&[], &["*"]), "127.0.0.1:1", Request::get("/v3/info")).await;
    assert_eq!(headers["access-control-allow-origin"], "*");
}

#[tokio::test]
async fn the_page_lists_cameras_with_their_addresses() {
    let (status, list) = get_json(control(loopback_guard()), "/api/cameras").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        list,
        json!({
            "items": [{
                "name": "city/cam_1", "state": "online", "stateReason": "",
                "stateSince": "2026-01-02T03:04:05.5Z", "online": true, "tracks": ["H264", "G711"],
                "readers": 1, "hlsUrl": "http://localhost:8888/city/cam_1/", "webrtcUrl": null,
            }],
            "hlsPort": 8888, "webrtcPort": null,
        })
    );
}

#[tokio::test]
async fn the_page_and_its_files_are_served_with_a_strict_policy() {
    let get = async |uri: &str| {
        send(control(loopback_guard()), "127.0.0.1:1", Request::get(uri).header("host", "127.0.0.1:8080"))
            .await
    };
    let (status, headers, body) = get("/").await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"<!doctype html>"[..]));
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'self'"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert_eq!(get("/_/grid/tile.js").await.1["content-type"], "text/javascript; charset=utf-8");
    for uri in ["/_/nope.js", "/nope", "/_/", "/_/../secret", "/_/%ff"] {
        let (status, headers, _) = get(uri).await;
        assert!(status.is_client_error(), "{uri} {status}");
        assert!(headers.contains_key("content-security-policy"), "{uri}");
    }
    assert_eq!(get_json(control(loopback_guard()), "/api/health").await.1, json!({ "status": "ok" }));
    let post = Request::post("/api/cameras").header("host", "localhost");
    assert_eq!(send(control(loopback_guard()), "127.0.0.1:1", post).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_page_on_loopback_answers_to_its_own_names_only() {
    let status = async |guard: HostGuard, host: &str| {
        send(control(guard), "127.0.0.1:1", Request::get("/api/cameras").header("host", host)).await.0
    };
    for host in [
        "localhost",
        "localhost:8080",
        "LOCALHOST.",
        "a.localhost",
        "127.0.0.1:8080",
        "[::1]:1",
        "cams.example",
    ] {
        assert_eq!(status(loopback_guard(), host).await, StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "192.0.2.1", "127.0.0.1.evil.example:8080", ""] {
        assert_eq!(status(loopback_guard(), host).await, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
    assert_eq!(status(HostGuard::Anyone, "cams.city.example").await, StatusCode::OK);
    let without = Request::get("/api/cameras");
    assert_eq!(
        send(control(loopback_guard()), "127.0.0.1:1", without).await.0,
        StatusCode::MISDIRECTED_REQUEST
    );
}
