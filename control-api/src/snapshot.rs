//! Snapshot: `GET /v3/paths/get/{name}/snapshot?width=`, the newest key frame of a live stream as a JPEG.
//!
//! A path may itself be called `.../snapshot`: then the answer is about that path.
//! `Picture-Time` says when the picture was taken.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use crate::access::Caller;
use crate::error::ApiError;
use crate::model::Time;
use crate::storage::Answer;
use crate::v3::ApiDeps;

/// The end of the URL.
pub(crate) const SUFFIX: &str = "/snapshot";

/// When the picture was taken, RFC 3339.
pub const PICTURE_TIME: HeaderName = HeaderName::from_static("picture-time");

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The file.
    pub jpeg: Bytes,
    /// When it was taken.
    pub taken: Time,
}

/// What the route asks of the server.
pub trait Snapshots: Send + Sync {
    /// The newest picture of a path, at most so wide, for a caller who may watch it.
    fn newest(&self, path: String, width: Option<u32>, caller: Caller) -> Answer<'_, Snapshot>;
}

/// The parameters as texts: their faults are ours to word.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct SnapshotQuery {
    width: Option<String>,
}

/// The snapshot of a path.
pub(crate) async fn snapshot(
    deps: &ApiDeps,
    path: &str,
    wanted: SnapshotQuery,
    caller: Caller,
) -> Result<Response, ApiError> {
    let width = match wanted.width.as_deref().filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let why = "it must be a number of pixels";
            Some(text.parse().map_err(|_| ApiError::InvalidParameter { name: "width", why })?)
        }
    };
    Ok(deps.snapshots.newest(path.to_owned(), width, caller).await?.into_response())
}

impl IntoResponse for Snapshot {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
        // The next one is another.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let taken = HeaderValue::from_str(&self.taken.to_string());
        headers.extend(taken.ok().map(|taken| (PICTURE_TIME, taken)));
        (headers, self.jpeg).into_response()
    }
}
