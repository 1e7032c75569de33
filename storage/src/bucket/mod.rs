//! Bucket: one request to an S3 store, and what came of it.
//!
//! Bytes that are sent carry their SHA-256, which the store compares before it says yes. Nothing is tried again here: who
//! asks knows what that costs (-> `upload`). A request that makes no progress ends after [`STALL_AFTER`].
//! Without the feature `s3` there is no bucket, and everything around it stays as it is.

#[cfg(not(feature = "s3"))]
mod absent;
#[cfg(feature = "s3")]
mod paced_body;
#[cfg(feature = "s3")]
mod s3;

use bytes::Bytes;

#[cfg(not(feature = "s3"))]
pub(crate) use absent::Bucket;
#[cfg(feature = "s3")]
pub(crate) use s3::Bucket;

/// Whether this build can use a bucket at all.
pub const HAS_BUCKETS: bool = cfg!(feature = "s3");

/// A request that neither sends nor receives for so long is given up.
#[cfg(feature = "s3")]
const STALL_AFTER: std::time::Duration = std::time::Duration::from_secs(20);

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

/// What the store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectFacts {
    pub(crate) bytes: u64,
    pub(crate) etag: String,
}
