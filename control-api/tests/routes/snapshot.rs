//! Snapshots as a client sees them.

use bytes::Bytes;
use control_api::access::Caller;
use control_api::{ApiError, Snapshot, Snapshots};
use http::{Request, StatusCode};

use crate::{SINCE, api, error, get_json, send};

/// A server whose camera `cam_1` is online and whose camera `cam_2` is not; a picture says what was asked.
pub(crate) struct Pictures;

impl Snapshots for Pictures {
    fn newest(
        &self,
        path: String,
        width: Option<u32>,
        caller: Caller,
    ) -> control_api::storage::Answer<'_, Snapshot> {
        Box::pin(async move {
            match path.as_str() {
                "city/cam_1" => {
                    let jpeg = Bytes::from(format!("{path} {width:?} {} {}", caller.ip, caller.query));
                    Ok(Snapshot { jpeg, taken: SINCE })
                }
                "cam_2" => Err(ApiError::Offline { why: "path is offline".to_owned() }),
                _ => Err(ApiError::PathNotFound),
            }
        })
    }
}

#[tokio::test]
async fn a_snapshot_is_a_picture_with_its_time() {
    let uri = "/v3/paths/get/city/cam_1/snapshot?width=640";
    let (status, headers, body) = send(api(&["city/cam_1"], &["*"]), "127.0.0.1:5", Request::get(uri)).await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &b"city/cam_1 Some(640) 127.0.0.1 width=640"[..]));
    assert_eq!(headers["content-type"], "image/jpeg");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["picture-time"], "2026-01-02T03:04:05.5Z");
}

#[tokio::test]
async fn what_has_no_snapshot_says_why() {
    let get = async |uri: &str| get_json(api(&["city/cam_1"], &["*"]), uri).await;
    let offline = get("/v3/paths/get/cam_2/snapshot").await;
    assert_eq!(offline, (StatusCode::NOT_FOUND, error("path is offline")));
    let unknown = get("/v3/paths/get/nope/snapshot").await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, error("path not found")));
    let wrong = get("/v3/paths/get/city/cam_1/snapshot?width=wide").await;
    assert_eq!(wrong, (StatusCode::BAD_REQUEST, error("invalid width: it must be a number of pixels")));
}

#[tokio::test]
async fn a_path_may_be_called_snapshot() {
    let (_, path) = get_json(api(&["cam_1/snapshot"], &["*"]), "/v3/paths/get/cam_1/snapshot").await;
    assert_eq!(path["name"], "cam_1/snapshot");
}
