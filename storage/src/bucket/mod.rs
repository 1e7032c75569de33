//! Bucket: one request to an S3 store, and what came of it.
//!
//! Bytes that are sent carry their SHA-256, which the store compares before it says yes. A request that makes no progress
//! ends after [`STALL_AFTER`]; one that failed for a reason that may pass is made again by [`tried`], and nowhere else.
//! Without the feature `s3` there is no bucket, and everything around it stays as it is.

#[cfg(not(feature = "s3"))]
mod absent;
#[cfg(feature = "s3")]
mod paced_body;
#[cfg(feature = "s3")]
mod s3;

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

#[cfg(not(feature = "s3"))]
pub(crate) use absent::Bucket;
#[cfg(feature = "s3")]
pub(crate) use s3::Bucket;

/// Whether this build can use a bucket at all.
pub const HAS_BUCKETS: bool = cfg!(feature = "s3");

/// A request that neither sends nor receives for so long is given up.
#[cfg(feature = "s3")]
const STALL_AFTER: Duration = Duration::from_secs(20);
/// Tries of one request: a store that fails one in twenty is not noticed.
const TRIES: u32 = 4;
/// Before the second try; doubles each time.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A request to the bucket failed. No variant shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BucketError {
    /// The store said no.
    #[error("{request}: the store answers {status} {code}: {message}")]
    Refused { request: &'static str, status: u16, code: String, message: String },
    /// The store can't be reached, or does not speak S3.
    #[error("{request}: {reason}")]
    Unreachable { request: &'static str, reason: String },
    /// Nothing moved.
    #[error("{request}: the store does not go on")]
    Stalled { request: &'static str },
    /// The object is not what was sent.
    #[error("object {key}: {got_bytes} bytes are stored, {want_bytes} were sent")]
    Differs { key: String, got_bytes: u64, want_bytes: u64 },
}

impl BucketError {
    /// Whether the same request, made again at once, would be refused again: wrong credentials, no such bucket.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            // 408 and 429 ask for patience; what is in the way of 409 passes.
            Self::Refused { status, .. } => matches!(status, 400..=499) && !matches!(status, 408 | 409 | 429),
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Differs { .. } => false,
        }
    }

    /// Whether the store does not have what was asked for.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, code, .. } if code != "NoSuchBucket")
    }
}

/// Makes a request, again when it fails for a reason that may pass; tells each failure.
pub(crate) async fn tried<T, F>(
    request: impl Fn() -> F,
    failed: impl Fn(&BucketError),
) -> Result<T, BucketError>
where
    F: Future<Output = Result<T, BucketError>>,
{
    let (mut wait, mut tries) = (TRY_AGAIN_AFTER, 1);
    loop {
        let error = match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        failed(&error);
        if tries == TRIES || error.is_lasting() {
            return Err(error);
        }
        tracing::debug!(%error, tries, "bucket is asked again");
        sleep(wait).await;
        wait *= 2;
        tries += 1;
    }
}

/// Bytes to be sent.
#[derive(Clone, Debug)]
pub(crate) struct PartToSend {
    /// From 1.
    pub(crate) number: u16,
    pub(crate) bytes: Bytes,
    pub(crate) sha256: [u8; 32],
}

/// A part that the store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentPart {
    pub(crate) number: u16,
    pub(crate) etag: String,
    pub(crate) sha256: [u8; 32],
}

/// One page of the keys below the prefix, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) objects: Vec<ListedObject>,
    pub(crate) is_last: bool,
}

/// An object that the store lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedObject {
    pub(crate) key: String,
    pub(crate) bytes: u64,
}

/// What the store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectFacts {
    pub(crate) bytes: u64,
    pub(crate) etag: String,
}
