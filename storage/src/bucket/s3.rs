//! S3: the bucket's requests, made with the AWS SDK.
//!
//! The SDK signs, writes and reads XML; it does not try again, choose credentials or sum on its own here. Payloads go out as
//! `UNSIGNED-PAYLOAD` with their SHA-256 in a header that is signed: the store refuses bytes that do not match it.

use std::pin::pin;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::paced_body::PacedBody;
use super::{BucketError, Listed, ListedObject, ObjectFacts, PartToSend, STALL_AFTER, SentPart};
use crate::bucket_config::{Addressing, BucketConfig, ObjectEncryption};
use crate::upload::Pace;

/// Until a connection stands.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);
/// Of a store's own words, in a log line.
const MESSAGE_CHARS_MAX: usize = 300;

/// A bucket. Cheap to clone; printing it shows its name only.
#[derive(Clone)]
pub(crate) struct Bucket {
    client: Client,
    name: Arc<str>,
    prefix: Arc<str>,
    encryption: ObjectEncryption,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Bucket").field(&self.name).finish()
    }
}

impl Bucket {
    /// Prepares requests; none is made yet.
    pub(crate) fn new(config: &BucketConfig) -> Option<Self> {
        let credentials = &config.credentials;
        let credentials = Credentials::new(
            credentials.access_key_id.clone(),
            credentials.secret_access_key.clone(),
            credentials.session_token.clone(),
            None,
            "gtvision",
        );
        let http = aws_smithy_http_client::Builder::new();
        // Without TLS no certificates of the system are needed, which a small container may lack.
        let http = match &config.endpoint {
            Some(endpoint) if endpoint.starts_with("http://") => http.build_http(),
            _ => http.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https(),
        };
        let mut sdk = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(config.region.clone()))
            .force_path_style(config.addressing == Addressing::Path)
            .credentials_provider(credentials)
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        sdk.set_endpoint_url(config.endpoint.clone());
        let client = Client::from_conf(sdk.build());
        Some(Self {
            client,
            name: config.bucket.as_str().into(),
            prefix: config.prefix.as_str().into(),
            encryption: config.encryption.clone(),
        })
    }

    /// What keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.encryption {
            ObjectEncryption::BucketDefault => (None, None),
            ObjectEncryption::Aes256 => (Some(ServerSideEncryption::Aes256), None),
            ObjectEncryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }

    /// Stores an object in one request; its ETag comes back.
    pub(crate) async fn put(
        &self,
        key: &str,
        part: PartToSend,
        pace: &Arc<Pace>,
    ) -> Result<String, BucketError> {
        let progress = Arc::new(Notify::new());
        let (encryption, kms_key) = self.encryption();
        let request = self
            .client
            .put_object()
            .bucket(&*self.name)
            .key(key)
            .content_type("video/mp4")
            .content_length(len_of(&part.bytes))
            .checksum_sha256(base64(&part.sha256))
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key)
            .body(body(part.bytes, pace, &progress));
        let answer = watched("put object", &progress, Box::pin(request.send())).await?;
        Ok(answer.e_tag().unwrap_or_default().to_owned())
    }

    /// Begins an object of several parts; the upload's id comes back.
    pub(crate) async fn begin(&self, key: &str) -> Result<String, BucketError> {
        let (encryption, kms_key) = self.encryption();
        let request = self
            .client
            .create_multipart_upload()
            .bucket(&*self.name)
            .key(key)
            .content_type("video/mp4")
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(kms_key);
        const REQUEST: &str = "begin upload";
        let answer = watched(REQUEST, &Notify::new(), Box::pin(request.send())).await?;
        answer.upload_id.ok_or(BucketError::Unreachable {
            request: REQUEST,
            reason: "the answer has no id of an upload".to_owned(),
        })
    }

    /// Sends one part of an object.
    pub(crate) async fn put_part(
        &self,
        (key, upload): (&str, &str),
        part: PartToSend,
        pace: &Arc<Pace>,
    ) -> Result<SentPart, BucketError> {
        let progress = Arc::new(Notify::new());
        let request = self
            .client
            .upload_part()
            .bucket(&*self.name)
            .key(key)
            .upload_id(upload)
            .part_number(part.number.into())
            .content_length(len_of(&part.bytes))
            .checksum_sha256(base64(&part.sha256))
            .body(body(part.bytes, pace, &progress));
        let answer = watched("put part", &progress, Box::pin(request.send())).await?;
        let etag = answer.e_tag().unwrap_or_default().to_owned();
        Ok(SentPart { number: part.number, etag, sha256: part.sha256 })
    }

    /// Makes an object of its parts.
    pub(crate) async fn complete(
        &self,
        (key, upload): (&str, &str),
        parts: &[SentPart],
    ) -> Result<(), BucketError> {
        let completed = |part: &SentPart| {
            CompletedPart::builder()
                .part_number(part.number.into())
                .e_tag(&part.etag)
                .checksum_sha256(base64(&part.sha256))
                .build()
        };
        let parts = parts.iter().map(completed).collect();
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(&*self.name)
            .key(key)
            .upload_id(upload)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        watched("complete upload", &Notify::new(), Box::pin(request.send())).await.map(drop)
    }

    /// Drops what was sent of an object; that there is nothing any more is fine.
    pub(crate) async fn abort(&self, (key, upload): (&str, &str)) -> Result<(), BucketError> {
        let request = self.client.abort_multipart_upload().bucket(&*self.name).key(key).upload_id(upload);
        let answer = watched("abort upload", &Notify::new(), Box::pin(request.send())).await;
        gone_is_fine(answer.map(drop))
    }

    /// What the store says of an object.
    pub(crate) async fn facts(&self, key: &str) -> Result<ObjectFacts, BucketError> {
        let request = self.client.head_object().bucket(&*self.name).key(key);
        let answer = watched("look at object", &Notify::new(), Box::pin(request.send())).await?;
        let bytes = answer.content_length().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        Ok(ObjectFacts { bytes, etag: answer.e_tag().unwrap_or_default().to_owned() })
    }

    /// Bytes of an object, from one offset to before another; all of them or an error.
    pub(crate) async fn read(&self, key: &str, from: u64, to: u64) -> Result<Bytes, BucketError> {
        const REQUEST: &str = "read object";
        let range = format!("bytes={from}-{}", to.saturating_sub(1));
        let request = self.client.get_object().bucket(&*self.name).key(key).range(range);
        let progress = Notify::new();
        let answer = watched(REQUEST, &progress, Box::pin(request.send())).await?;
        let collected = async { answer.body.collect().await.map_err(|error| unreached(REQUEST, &error)) };
        let bytes = stopped_when_stalled(REQUEST, &progress, collected).await?.into_bytes();
        let want_bytes = to.saturating_sub(from);
        let got_bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if got_bytes != want_bytes {
            return Err(BucketError::Differs { key: key.to_owned(), got_bytes, want_bytes });
        }
        Ok(bytes)
    }

    /// Objects below the prefix whose keys follow `after`, a page of them.
    pub(crate) async fn list(&self, after: &str) -> Result<Listed, BucketError> {
        let after = Some(after).filter(|after| !after.is_empty()).map(str::to_owned);
        let request =
            self.client.list_objects_v2().bucket(&*self.name).prefix(&*self.prefix).set_start_after(after);
        let answer = watched("list objects", &Notify::new(), Box::pin(request.send())).await?;
        let is_last = !answer.is_truncated().unwrap_or(false);
        let listed = |object: aws_sdk_s3::types::Object| {
            let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            Some(ListedObject { key: object.key?, bytes })
        };
        let objects = answer.contents.unwrap_or_default().into_iter().filter_map(listed).collect();
        Ok(Listed { objects, is_last })
    }

    /// Deletes an object; that it is not there is fine.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), BucketError> {
        let request = self.client.delete_object().bucket(&*self.name).key(key);
        let answer = watched("delete object", &Notify::new(), Box::pin(request.send())).await;
        gone_is_fine(answer.map(drop))
    }
}

fn body(bytes: Bytes, pace: &Arc<Pace>, progress: &Arc<Notify>) -> ByteStream {
    let paced = PacedBody::new(bytes, Arc::clone(pace), Arc::clone(progress));
    ByteStream::new(SdkBody::from_body_1_x(paced))
}

fn len_of(bytes: &Bytes) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}

fn base64(sha256: &[u8; 32]) -> String {
    aws_smithy_types::base64::encode(sha256)
}

fn gone_is_fine(answer: Result<(), BucketError>) -> Result<(), BucketError> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer,
    }
}

/// Makes a request, and gives it up when nothing moves.
async fn watched<T, E>(
    request: &'static str,
    progress: &Notify,
    sent: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, BucketError>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    stopped_when_stalled(request, progress, async { sent.await.map_err(|error| told(request, &error)) }).await
}

async fn stopped_when_stalled<T>(
    request: &'static str,
    progress: &Notify,
    work: impl Future<Output = Result<T, BucketError>>,
) -> Result<T, BucketError> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = progress.notified() => {}
            () = sleep(STALL_AFTER) => return Err(BucketError::Stalled { request }),
        }
    }
}

/// What went wrong, in the store's words where it has any.
fn told<E>(request: &'static str, error: &SdkError<E, HttpResponse>) -> BucketError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (SdkError::ServiceError(_) | SdkError::ResponseError(_)) = error else {
        return unreached(request, error);
    };
    let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
    let text = |text: Option<&str>| text.unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect();
    BucketError::Refused { request, status, code: text(error.code()), message: text(error.message()) }
}

/// The reasons, from the outermost to the first.
fn unreached(request: &'static str, error: &(dyn std::error::Error + 'static)) -> BucketError {
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        reason = format!("{reason}: {cause}");
        next = cause.source();
    }
    BucketError::Unreachable { request, reason: reason.chars().take(MESSAGE_CHARS_MAX).collect() }
}
