//! The routes of recordings as a client sees them: parameters, statuses and JSON.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use control_api::forward::ForwardDest;
use control_api::model::{Camera, Info};
use control_api::paging::Piece;
use control_api::proxies::TrustedProxies;
use control_api::{ApiDeps, Cameras, router};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::fake::{Door, Fake, TIME};

struct NoCameras;

impl Cameras for NoCameras {
    fn list(&self, _: usize, _: usize) -> Piece<Camera> {
        Piece { total: 0, items: Vec::new() }
    }

    fn get(&self, _name: &str) -> Option<Camera> {
        None
    }

    fn forwards(&self, _name: &str) -> Option<Vec<ForwardDest>> {
        None
    }
}

pub(crate) async fn ask(fake: &Fake, method: Method, uri: &str, body: Option<Value>) -> (StatusCode, Value) {
    let router = router(ApiDeps {
        access: Arc::new(Door),
        cameras: Arc::new(NoCameras),
        storage: Arc::new(fake.clone()),
        config: Arc::new(fake.clone()),
        snapshots: Arc::new(crate::snapshot::Pictures),
        info: Info { version: "1.2.3".to_owned(), started: TIME },
        allow_origins: Arc::new(["*".to_owned()]),
        trusted_proxies: TrustedProxies::default(),
        hls: None,
        webrtc: None,
        rtsp: None,
        rtsps: None,
        rtmp: None,
        rtmps: None,
    });
    let text = body.map(|body| body.to_string()).unwrap_or_default();
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    let mut request = request.body(Body::from(text)).unwrap();
    request.extensions_mut().insert(ConnectInfo::<SocketAddr>("127.0.0.1:1".parse().unwrap()));
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status, serde_json::from_slice(&body).unwrap())
}

async fn get(fake: &Fake, uri: &str) -> (StatusCode, Value) {
    ask(fake, Method::GET, uri, None).await
}

#[tokio::test]
async fn a_hold_is_placed_listed_and_released() {
    let fake = Fake::default();
    let wanted = json!({
        "path": "city/cam_1", "start": "2026-01-02T00:04:05.5-03:00", "end": "2026-01-02T03:04:06.5Z",
        "reason": "case 12", "by": "ana",
    });
    let (status, hold) = ask(&fake, Method::POST, "/v1/holds", Some(wanted)).await;
    let expected = json!({
        "id": 7, "path": "city/cam_1", "start": "2026-01-02T03:04:05.5Z", "end": "2026-01-02T03:04:06.5Z",
        "reason": "case 12", "by": "ana", "created": "2026-01-02T03:04:05.5Z", "released": null,
        "releasedBy": null, "files": 2, "bytes": 300,
    });
    assert_eq!((status, &hold), (StatusCode::CREATED, &expected));
    let (_, list) = get(&fake, "/v1/holds?active=true&path=city/cam_1&page=1&itemsPerPage=2").await;
    assert_eq!(list, json!({ "itemCount": 3, "pageCount": 2, "items": [expected] }));
    assert_eq!(get(&fake, "/v1/holds/7").await.1["id"], 7);
    let (status, released) = ask(&fake, Method::DELETE, "/v1/holds/7?by=rui", None).await;
    assert_eq!((status, &released["releasedBy"]), (StatusCode::OK, &json!("rui")));
    let asked = fake.asked();
    assert!(asked[0].contains("1767323045500000") && asked[0].contains("\"ana\""), "{}", asked[0]);
    assert!(
        asked[1].contains("is_active: Some(true)") && asked[1].contains("page: 1, per_page: 2"),
        "{}",
        asked[1]
    );
    assert_eq!(asked[3], "release 7 by rui");
    for uri in ["/v1/holds/8", "/v1/holds/x"] {
        let answer = get(&fake, uri).await;
        assert_eq!(answer, (StatusCode::NOT_FOUND, json!({ "status": "error", "error": "hold not found" })));
    }
}

#[tokio::test]
async fn a_hold_that_makes_no_sense_is_refused_with_what_is_wrong() {
    let good = json!({
        "path": "a", "start": "2026-01-02T03:04:05Z", "end": "2026-01-02T03:04:06Z", "reason": "case 12",
    });
    let long = "x".repeat(2001);
    for (key, value, says) in [
        ("end", json!("2026-01-02T03:04:05Z"), "invalid end: it must be later"),
        ("start", json!("yesterday"), "invalid start: it must be an RFC 3339 time"),
        ("reason", json!(" "), "invalid reason"),
        ("reason", json!(long), "invalid reason"),
        ("by", json!("x".repeat(201)), "invalid by"),
        ("path", json!(7), "invalid body"),
        ("more", json!(7), "unknown field"),
    ] {
        let mut body = good.clone();
        body[key] = value;
        let fake = Fake::default();
        let (status, answer) = ask(&fake, Method::POST, "/v1/holds", Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{key}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{key}: {answer}");
        assert!(fake.asked().is_empty());
    }
}

#[tokio::test]
async fn deletions_are_listed_by_path_and_time_of_their_media() {
    let fake = Fake::default();
    let (_, list) = get(&fake, "/v1/deletions?path=cam_1&start=2026-01-02T03:04:05.5Z").await;
    let expected = json!({
        "id": 1, "at": "2026-01-02T03:04:05.5Z", "rule": "quota", "by": null, "path": "cam_1",
        "file": "/r/cam_1/1.mp4", "start": "2026-01-02T03:04:05.5Z", "end": "2026-01-02T03:04:05.5Z", "bytes": 10,
    });
    assert_eq!(list, json!({ "itemCount": 1, "pageCount": 1, "items": [expected] }));
    let asked = &fake.asked()[0];
    assert!(asked.contains("end: None") && asked.contains("per_page: 100"), "{asked}");
    assert_eq!(get(&fake, "/v1/deletions?end=soon").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get(&fake, "/v1/deletions?itemsPerPage=0").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn storage_says_what_will_not_fit() {
    let (_, status) = get(&Fake::default(), "/v1/storage").await;
    let disk = &status["disks"][0];
    assert_eq!(disk["forecast"]["says"], "does not fit by 2.5 days");
    assert_eq!((&disk["totalBytes"], &disk["condition"]), (&json!(2000), &json!("usable")));
    assert_eq!(status["levels"], json!({ "alarm": 85, "delete": 90, "stop": 95 }));
    assert_eq!(status["paths"][0]["bytesPerDay"], 400);
}

#[tokio::test]
async fn recording_is_switched_by_path_whose_name_may_have_slashes() {
    let fake = Fake::default();
    let off = Some(json!({ "enabled": false, "by": "ana" }));
    let (status, answer) = ask(&fake, Method::POST, "/v1/paths/city/cam_1/record", off.clone()).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "name": "city/cam_1", "enabled": false })));
    assert_eq!(fake.asked(), ["city/cam_1 Off by ana"]);
    assert_eq!(ask(&fake, Method::POST, "/v1/paths/city/cam_1", off).await.0, StatusCode::NOT_FOUND);
    let wrong = Some(json!({ "enabled": "no" }));
    assert_eq!(ask(&fake, Method::POST, "/v1/paths/a/record", wrong).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(&fake, Method::POST, "/v1/storage/check", None).await.0, StatusCode::ACCEPTED);
    assert_eq!(get(&fake, "/v1/storage/check").await.1, json!({ "running": false, "last": null }));
}

#[tokio::test]
async fn recordings_are_listed_and_deleted_as_mediamtx_does_but_held_ones_stay() {
    let fake = Fake::default();
    let (_, list) = get(&fake, "/v3/recordings/list?itemsPerPage=5").await;
    let segments = json!([{ "start": "2026-01-02T03:04:05.5Z" }]);
    let items = json!([{ "name": "city/cam_1", "segments": segments }]);
    assert_eq!(list, json!({ "itemCount": 1, "pageCount": 1, "items": items }));
    assert_eq!(get(&fake, "/v3/recordings/get/city/cam_1").await.1["name"], "city/cam_1");
    let remove = async |path: &str| {
        let uri = format!("/v3/recordings/deletesegment?path={path}&start=2026-01-02T03:04:05.5Z");
        ask(&fake, Method::DELETE, &uri, None).await
    };
    assert_eq!(remove("city/cam_1").await, (StatusCode::OK, json!({ "status": "ok" })));
    assert_eq!(fake.asked()[2], "city/cam_1 1767323045500000 by api");
    let (status, answer) = remove("held").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["error"], "hold 7 keeps this file; release it first");
    assert_eq!(remove("none").await.0, StatusCode::NOT_FOUND);
    let (status, _) = ask(&fake, Method::DELETE, "/v3/recordings/deletesegment?path=a", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
