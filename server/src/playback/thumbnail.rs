//! Thumbnail: `GET /thumbnail?path=&time=&width=`, the recorded picture that is shown at a time, as a small JPEG.
//!
//! It is the newest key frame at or before the time: the picture that was kept of it (`recordThumbnails`) where that has the asked
//! width, else one that is made now. `Picture-Time` says when it was taken; `/timeline` lists times that a page of them can be asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use control_api::snapshot::PICTURE_TIME;
use http::{HeaderMap, HeaderValue, header};
use media_core::gate::CameraGrant;
use media_core::key_frame::KeyFrame;
use storage::{PicturePlace, PlaybackError, Recordings};

use super::request::{ThumbnailRequest, rfc3339};
use super::{Asker, PlaybackDeps, Refusal};
use crate::decode::cache::{PictureKey, Pictures};
use crate::decode::pool::{DecodePool, Purpose};
use crate::decode::{Jpeg, NotNow, PictureError, Wanted};

/// A picture that was asked for by its own time stays what it is.
const FOR_EVER: HeaderValue = HeaderValue::from_static("private, max-age=86400, immutable");
/// For other times a newer picture may come.
const ONCE: HeaderValue = HeaderValue::from_static("no-store");

/// Makes thumbnails of recordings.
pub(crate) struct Thumbnails {
    pub(super) recordings: Recordings,
    pool: Arc<DecodePool>,
    pictures: Pictures,
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
enum ThumbnailError {
    #[error(transparent)]
    Playback(#[from] PlaybackError),
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// The file went meanwhile, or holds sound only.
    #[error("there is no picture")]
    NoPicture,
}

impl Thumbnails {
    /// Of what is recorded.
    pub(crate) fn new(recordings: Recordings, pool: &Arc<DecodePool>) -> Arc<Self> {
        Arc::new(Self { recordings, pool: Arc::clone(pool), pictures: Pictures::default() })
    }

    async fn jpeg(
        &self,
        grant: &CameraGrant,
        place: PicturePlace,
        wanted: Wanted,
    ) -> Result<Result<Jpeg, PictureError>, ThumbnailError> {
        let key = PictureKey { path: grant.path().clone(), taken: place.wall, wanted };
        self.pictures.get(key, self.make(grant, place, wanted)).await
    }

    async fn make(
        &self,
        grant: &CameraGrant,
        place: PicturePlace,
        wanted: Wanted,
    ) -> Result<Result<Jpeg, PictureError>, ThumbnailError> {
        let grant = grant.clone();
        let read = tokio::task::spawn_blocking(move || read(&grant, &place, wanted)).await;
        match read.map_err(|_| PlaybackError::Panicked)?? {
            Found::Kept(jpeg) => Ok(Ok(jpeg)),
            Found::Frame(frame) => Ok(self.pool.jpeg(frame, wanted, Purpose::Thumbnail).await?),
            Found::Nothing => Err(ThumbnailError::NoPicture),
        }
    }
}

/// What there is of a recorded picture.
enum Found {
    Kept(Jpeg),
    Frame(KeyFrame),
    Nothing,
}

fn read(grant: &CameraGrant, place: &PicturePlace, wanted: Wanted) -> Result<Found, PlaybackError> {
    if wanted == Wanted::THUMBNAIL
        && let Some(bytes) = place.kept(grant)
    {
        return Ok(Found::Kept(Jpeg { bytes, taken: place.wall }));
    }
    Ok(place.read(grant)?.map_or(Found::Nothing, Found::Frame))
}

pub(super) async fn thumbnail(State(deps): State<PlaybackDeps>, asker: Asker) -> Result<Response, Refusal> {
    let request = ThumbnailRequest::parse(&asker.query)?;
    let grant = deps.authorize(&request.path, &asker).await?;
    let place = deps.thumbnails.recordings.picture_at(&grant, request.time).await;
    let place = place.map_err(|error| Refusal::failed(&error))?.ok_or(Refusal::NotFound)?;
    let caching = if place.wall == request.time { FOR_EVER } else { ONCE };
    let wanted = Wanted { width: request.width, ..Wanted::THUMBNAIL };
    let jpeg = match deps.thumbnails.jpeg(&grant, place, wanted).await {
        Ok(made) => made.map_err(|error| Refusal::NoPicture(error.to_string()))?,
        Err(ThumbnailError::Playback(error)) => return Err(Refusal::failed(&error)),
        Err(ThumbnailError::NotNow(error)) => return Err(Refusal::Full(error.to_string())),
        Err(ThumbnailError::NoPicture) => return Err(Refusal::NotFound),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    headers.insert(header::CACHE_CONTROL, caching);
    headers.extend(HeaderValue::from_str(&rfc3339(jpeg.taken)).ok().map(|taken| (PICTURE_TIME, taken)));
    Ok((headers, jpeg.bytes).into_response())
}
