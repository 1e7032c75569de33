//! Export routes: from a request to a job and its file.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use media_core::gate::CameraGrant;
use media_core::path_name::PathName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::export::{ExportRequest, Exports};
use super::request::BadRequest;
use super::{Asker, PlaybackDeps, Refusal};
use crate::byte_range::ByteRange;

/// The routes of `/export`.
pub(super) fn routes() -> Router<PlaybackDeps> {
    Router::new()
        .route("/export", post(begin))
        .route("/export/key", get(key))
        .route("/export/{id}", get(describe).delete(delete))
        .route("/export/{id}/result", get(result))
}

impl PlaybackDeps {
    fn exports(&self) -> Result<&Arc<Exports>, Refusal> {
        self.exports.as_ref().ok_or(Refusal::NoExports)
    }

    async fn authorize_all(&self, cameras: &[PathName], asker: &Asker) -> Result<Vec<CameraGrant>, Refusal> {
        let mut grants = Vec::with_capacity(cameras.len());
        for path in cameras {
            grants.push(self.authorize(path, asker).await?);
        }
        Ok(grants)
    }

    /// A job that the caller may know of.
    async fn job(&self, id: &str, asker: &Asker) -> Result<(Uuid, &Arc<Exports>), Refusal> {
        let exports = self.exports()?;
        let id = Uuid::parse_str(id).map_err(|_| Refusal::NoJob)?;
        let cameras = exports.cameras(id).ok_or(Refusal::NoJob)?;
        self.authorize_all(&cameras, asker).await?;
        Ok((id, exports))
    }
}

async fn begin(State(deps): State<PlaybackDeps>, asker: Asker, body: Bytes) -> Result<Response, Refusal> {
    // A page of another site can't send this type without asking first.
    let kind =
        asker.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(BadRequest::Body("send application/json".to_owned()).into());
    }
    let request: ExportRequest =
        serde_json::from_slice(&body).map_err(|error| BadRequest::Body(error.to_string()))?;
    let parsed = request.parse().map_err(BadRequest::Body)?;
    let grants = deps.authorize_all(&parsed.cameras, &asker).await?;
    let exports = deps.exports()?;
    let id = exports.begin(request, &parsed, grants).map_err(|full| Refusal::Full(full.to_string()))?;
    let location = HeaderValue::from_str(&format!("/export/{id}")).map_err(|_| Refusal::Failed)?;
    let answer = (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(exports.describe(id)));
    Ok(answer.into_response())
}

async fn describe(
    State(deps): State<PlaybackDeps>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<Response, Refusal> {
    let (id, exports) = deps.job(&id, &asker).await?;
    Ok(Json(exports.describe(id).ok_or(Refusal::NoJob)?).into_response())
}

async fn delete(
    State(deps): State<PlaybackDeps>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<Response, Refusal> {
    let (id, exports) = deps.job(&id, &asker).await?;
    exports.delete(id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn key(State(deps): State<PlaybackDeps>) -> Result<Response, Refusal> {
    let key = deps.exports()?.public_key();
    Ok(Json(json!({ "algorithm": "Ed25519", "publicKey": key })).into_response())
}

async fn result(
    State(deps): State<PlaybackDeps>,
    Path(id): Path<String>,
    asker: Asker,
) -> Result<Response, Refusal> {
    let (id, exports) = deps.job(&id, &asker).await?;
    let name = exports.result(id).ok_or(Refusal::NoJob)?;
    let failed = |error: std::io::Error| {
        tracing::error!(%id, %error, "export can't be read");
        Refusal::Failed
    };
    let mut file = tokio::fs::File::open(name).await.map_err(failed)?;
    let total = file.metadata().await.map_err(failed)?.len();
    let mut answer = Response::new(Body::empty());
    let (from, to) = match ByteRange::asked(&asker.headers, total) {
        ByteRange::Whole => (0, total),
        ByteRange::Part { from, to } => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = HeaderValue::from_str(&format!("bytes {from}-{}/{total}", to - 1));
            answer.headers_mut().extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
            (from, to)
        }
        ByteRange::Unsatisfiable => {
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            (0, 0)
        }
    };
    file.seek(std::io::SeekFrom::Start(from)).await.map_err(failed)?;
    *answer.body_mut() = Body::from_stream(ReaderStream::new(file.take(to - from)));
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{id}.zip\""));
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.extend(disposition.ok().map(|value| (header::CONTENT_DISPOSITION, value)));
    Ok(answer)
}
