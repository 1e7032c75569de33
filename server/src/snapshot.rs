//! Snapshot: the newest key frame of a live stream as a JPEG.
//!
//! A path whose source runs only for readers is started as for a viewer. Pictures of an earlier time are not live: a path
//! that is offline has no snapshot, whatever its ring still holds.

use std::sync::Arc;
use std::time::Duration;

use control_api::ApiError;
use control_api::access::Caller;
use control_api::model::Time;
use control_api::storage::Answer;
use media_core::gate::{Action, CameraGrant};
use media_core::key_frame::KeyFrame;
use media_core::path_name::PathName;

use crate::access::Access;
use crate::control::access::denied;
use crate::decode::cache::{PictureKey, Pictures};
use crate::decode::pool::{DecodePool, Purpose};
use crate::decode::{Jpeg, NotNow, PictureError, Wanted, Width};
use crate::registry::Registry;
use crate::stream::{ReaderKind, SourceStatus, Stream};

/// Of JPEG: no difference is seen at arm's length.
const QUALITY: u8 = 85;
/// The longest wait for a source and its first key frame: less than the API waits for an answer.
const WAIT_MAX: Duration = Duration::from_secs(9);

const _: () = assert!(WAIT_MAX.as_secs() < control_api::REQUEST_TIME_MAX.as_secs());

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error("path not found")]
    NotConfigured,
    #[error("path is offline: {0}")]
    Offline(String),
    #[error(transparent)]
    NotNow(#[from] NotNow),
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// Makes snapshots.
pub(crate) struct Snapshots {
    registry: Arc<Registry>,
    access: Access,
    pool: Arc<DecodePool>,
    pictures: Pictures,
}

impl Snapshots {
    /// Of the paths of a registry.
    pub(crate) fn new(registry: &Arc<Registry>, access: Access, pool: &Arc<DecodePool>) -> Arc<Self> {
        let (registry, pool) = (Arc::clone(registry), Arc::clone(pool));
        Arc::new(Self { registry, access, pool, pictures: Pictures::default() })
    }

    /// The newest picture; media bytes, so only with a grant (correctness: S1).
    async fn jpeg(&self, grant: &CameraGrant, width: Width) -> Result<Jpeg, SnapshotError> {
        let frame = self.key_frame(grant).await?;
        let wanted = Wanted { width, quality: QUALITY };
        let key = PictureKey { path: grant.path().clone(), taken: frame.wall, wanted };
        let made = self.pictures.get(key, self.pool.jpeg(frame, wanted, Purpose::Snapshot)).await;
        Ok(made??)
    }

    async fn key_frame(&self, grant: &CameraGrant) -> Result<KeyFrame, SnapshotError> {
        let entry = self.registry.entry(grant.path()).ok_or(SnapshotError::NotConfigured)?;
        let stream = &entry.stream;
        let is_online = stream.state().status == SourceStatus::Online;
        if !is_online && !entry.is_on_demand {
            return Err(offline(stream));
        }
        let from_seq = if is_online { 0 } else { stream.next_seq() };
        // As a viewer: an on-demand source runs while the seat is taken, and for its closing time.
        let _seat = stream.take_seat(ReaderKind::Waiting);
        let patience = entry.start_timeout.min(WAIT_MAX);
        let waited = tokio::time::timeout(patience, published(stream, grant, from_seq)).await;
        waited.map_err(|_| offline(stream))
    }
}

/// Waits for a key frame at or behind a place.
async fn published(stream: &Stream, grant: &CameraGrant, from_seq: u64) -> KeyFrame {
    loop {
        let published = stream.published();
        tokio::pin!(published);
        // Registered before the look, so that one published in between still wakes us.
        published.as_mut().enable();
        if let Some(frame) = stream.newest_key_frame(grant, from_seq) {
            return frame;
        }
        published.await;
    }
}

fn offline(stream: &Stream) -> SnapshotError {
    let state = stream.state();
    SnapshotError::Offline(match state.reason.as_str() {
        "" => format!("source is {}", state.status.as_str()),
        reason => format!("source is {}: {reason}", state.status.as_str()),
    })
}

impl control_api::Snapshots for Snapshots {
    fn newest(&self, path: String, width: Option<u32>, caller: Caller) -> Answer<'_, control_api::Snapshot> {
        Box::pin(async move {
            let path = PathName::parse(&path).map_err(|_| ApiError::PathNotFound)?;
            let why = "write a number of pixels from 16 to 1920";
            let width = width.map_or(Some(Width::MAX), Width::new);
            let width = width.ok_or(ApiError::InvalidParameter { name: "width", why })?;
            let visitor = self.access.http_visitor(caller.ip, None, &caller.headers, &caller.query);
            let admitted = self.access.camera(&visitor, Action::Read, &path).await;
            let admitted = admitted.map_err(|refused| ApiError::Denied(denied(refused)))?;
            let jpeg = self.jpeg(&admitted.grant, width).await.map_err(api_error)?;
            let taken = Time { unix_us: jpeg.taken.unix_us() };
            Ok(control_api::Snapshot { jpeg: jpeg.bytes, taken })
        })
    }
}

fn api_error(error: SnapshotError) -> ApiError {
    let why = error.to_string();
    match error {
        SnapshotError::NotConfigured => ApiError::PathNotFound,
        SnapshotError::Offline(_) => ApiError::Offline { why },
        SnapshotError::NotNow(_) => ApiError::Busy { why },
        SnapshotError::Picture(_) => ApiError::NoPicture { why },
    }
}
