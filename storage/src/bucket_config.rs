//! Bucket configuration: which S3 bucket recordings are copied to, and how.

use std::fmt;

/// A bucket and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// `scheme://host[:port]`; `None` for AWS's own of the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket, which must be there.
    pub bucket: String,
    /// What all keys begin with: empty, or with a `/` at its end.
    pub prefix: String,
    /// Where a request names the bucket.
    pub addressing: Addressing,
    /// Who asks.
    pub credentials: BucketCredentials,
    /// How the bucket's owner encrypts objects.
    pub encryption: ObjectEncryption,
    /// Uploads together send no more than this in a second; `None` for as fast as it goes.
    pub bytes_per_second_max: Option<u64>,
    /// Files uploaded at the same time; each takes the memory of one part ([`PART_BYTES`]).
    pub uploads_max: usize,
}

/// A file is sent in parts of this size, so it is also what a failed request sends again.
pub const PART_BYTES: usize = 8 << 20;

/// Where a request names the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// `https://bucket.host/key`
    Host,
    /// `https://host/bucket/key`
    Path,
}

/// How objects are encrypted where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEncryption {
    /// As the bucket is set up.
    BucketDefault,
    /// With the store's own key (SSE-S3).
    Aes256,
    /// With a key of a key management service (SSE-KMS); the account's default key when it is not named.
    Kms {
        /// The key's id or ARN.
        key_id: Option<String>,
    },
}

/// An access key; printing it shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketCredentials {
    /// Whose key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// Comes with temporary keys.
    pub session_token: Option<String>,
}

impl fmt::Debug for BucketCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}
