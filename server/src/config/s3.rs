//! S3: the section `s3`: which bucket recordings are copied to.
//!
//! Secrets stand in no configuration file of ours: `credentialsFile` is AWS's own format, and without it the variables
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` are read. No fault shows one (correctness: S5).

use std::time::Duration;

use storage::{Addressing, BucketConfig, BucketCredentials, HAS_BUCKETS, ObjectEncryption};
use url::Url;

use super::fault::{FaultKind, Faults};
use super::reader::Reader;
use super::resolved::S3Config;
use super::tree::{Node, Value};
use super::values::{self, Expected};

/// The slowest `bandwidth`: below it a request would look as if it stood still.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;
/// The most files at once: each takes the memory of a part, 8 MiB.
const UPLOADS_MAX: usize = 16;
/// The longest prefix; a key has room for 1024 bytes, a path's name among them.
const PREFIX_BYTES_MAX: usize = 256;
/// The largest file of credentials.
const CREDENTIALS_BYTES_MAX: usize = 64 << 10;
/// A century.
const LOCAL_RETENTION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The section, if there is one.
pub(crate) fn resolve(root: &Node, variables: &[(String, String)], faults: &mut Faults) -> Option<S3Config> {
    // What is no map was refused already.
    let node = root.get("s3").filter(|node| matches!(node.value, Value::Map(_)))?;
    if !HAS_BUCKETS {
        let message = "this program was built without S3: build it with the feature \"s3\"";
        faults.add(&node.place, FaultKind::Conflict(message.to_owned()));
        return None;
    }
    let mut reader = Reader::new(node, None, faults);
    let endpoint = reader.value("endpoint", None, |text| endpoint(text).map(Some));
    let bucket = reader.value("bucket", None, |text| bucket_name(text).map(Some));
    if bucket.is_none() && reader.find("bucket").is_none() {
        let message = "\"s3\" needs \"bucket\", the name of a bucket that is there";
        reader.faults().add(&node.place, FaultKind::Conflict(message.to_owned()));
    }
    let path_style = reader.value("pathStyle", endpoint.is_some(), values::boolean);
    let retention = reader.duration("localRetention", Duration::ZERO, Duration::ZERO..=LOCAL_RETENTION_MAX);
    let encryption = encryption(&mut reader);
    let bandwidth = reader.value("bandwidth", 0, bandwidth);
    let credentials = credentials(&mut reader, node, variables);
    let config = BucketConfig {
        region: reader.value("region", "us-east-1".to_owned(), region),
        prefix: reader.value("prefix", String::new(), prefix),
        addressing: if path_style { Addressing::Path } else { Addressing::Host },
        encryption,
        bytes_per_second_max: (bandwidth > 0).then_some(bandwidth),
        uploads_max: reader.number("concurrency", 2, 1..=UPLOADS_MAX),
        endpoint,
        bucket: bucket?,
        credentials: credentials?,
    };
    Some(S3Config { bucket: config, local_retention: (!retention.is_zero()).then_some(retention) })
}

fn endpoint(text: &str) -> Result<String, Expected> {
    let url = Url::parse(text).map_err(|_| Expected::Url("it must begin with https:// or http://"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(Expected::Url("it must begin with https:// or http:// and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Expected::Url("credentials belong into \"credentialsFile\""));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(Expected::Url(
            "nothing may follow the host and port; \"bucket\" and \"prefix\" say the rest",
        ));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn bucket_name(text: &str) -> Result<String, Expected> {
    let is_usual =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if (3..=63).contains(&text.len()) && text.bytes().all(is_usual) {
        Ok(text.to_owned())
    } else {
        Err(Expected::Other("the name of a bucket: 3 to 63 lower-case letters, digits, - and ."))
    }
}

fn region(text: &str) -> Result<String, Expected> {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !text.is_empty() && text.bytes().all(is_usual) {
        Ok(text.to_owned())
    } else {
        Err(Expected::Other("the name of a region, such as us-east-1"))
    }
}

/// Ends with a slash, unless it is empty.
fn prefix(text: &str) -> Result<String, Expected> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(String::new());
    }
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    if text.len() <= PREFIX_BYTES_MAX && text.bytes().all(is_usual) && text.split('/').all(is_name) {
        Ok(format!("{text}/"))
    } else {
        Err(Expected::Other("the beginning of a key: names of letters, digits and - _ . ~ with / between"))
    }
}

fn bandwidth(text: &str) -> Result<u64, Expected> {
    match values::size_bytes(text)? {
        bytes if bytes == 0 || bytes >= BYTES_PER_SECOND_MIN => Ok(bytes),
        _ => Err(Expected::Other("0 or at least 64K, bytes a second of all uploads together")),
    }
}

fn encryption(reader: &mut Reader<'_>) -> ObjectEncryption {
    let key_id = reader.value("kmsKeyId", None, |text| Ok((!text.is_empty()).then(|| text.to_owned())));
    let chosen = reader.value("serverSideEncryption", ObjectEncryption::BucketDefault, |text| match text {
        "AES256" => Ok(ObjectEncryption::Aes256),
        "aws:kms" => Ok(ObjectEncryption::Kms { key_id: key_id.clone() }),
        text if values::boolean(text) == Ok(false) => Ok(ObjectEncryption::BucketDefault),
        _ => Err(Expected::OneOf(&["no", "AES256", "aws:kms"])),
    });
    if key_id.is_some()
        && !matches!(chosen, ObjectEncryption::Kms { .. })
        && let Some(node) = reader.find("kmsKeyId")
    {
        let message = "\"kmsKeyId\" needs \"serverSideEncryption: aws:kms\"";
        reader.faults().add(&node.place, FaultKind::Conflict(message.to_owned()));
    }
    chosen
}

/// From the file where one is named, else from the environment.
fn credentials(
    reader: &mut Reader<'_>,
    section: &Node,
    variables: &[(String, String)],
) -> Option<BucketCredentials> {
    if reader.find("credentialsFile").is_some() {
        return reader.value("credentialsFile", None, |file| read(file).map(Some));
    }
    let of = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.trim());
        found.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let (id, secret) = (of("AWS_ACCESS_KEY_ID"), of("AWS_SECRET_ACCESS_KEY"));
    let found = id.zip(secret).map(|(access_key_id, secret_access_key)| BucketCredentials {
        access_key_id,
        secret_access_key,
        session_token: of("AWS_SESSION_TOKEN"),
    });
    if found.is_none() {
        let message = "\"s3\" has no credentials: write \"credentialsFile\", or set AWS_ACCESS_KEY_ID and \
                       AWS_SECRET_ACCESS_KEY";
        reader.faults().add(&section.place, FaultKind::Conflict(message.to_owned()));
    }
    found
}

fn read(file: &str) -> Result<BucketCredentials, Expected> {
    let unreadable = |error: std::io::Error| Expected::Within(format!("a readable file: {error}"));
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    credentials_of(&text).ok_or(Expected::Other(
        "a file with \"aws_access_key_id = ...\" and \"aws_secret_access_key = ...\" in its section [default]",
    ))
}

/// The default profile of AWS's shared credentials file.
fn credentials_of(text: &str) -> Option<BucketCredentials> {
    let (mut id, mut secret, mut session_token) = (None, None, None);
    let mut is_meant = true;
    for line in text.get(..text.len().min(CREDENTIALS_BYTES_MAX))?.lines().map(str::trim) {
        if let Some(profile) = line.strip_prefix('[') {
            is_meant = profile.trim_end_matches(']').trim() == "default";
        }
        let Some((name, value)) = line.split_once('=').filter(|_| is_meant && !line.starts_with('#')) else {
            continue;
        };
        let place = match name.trim() {
            "aws_access_key_id" => &mut id,
            "aws_secret_access_key" => &mut secret,
            "aws_session_token" => &mut session_token,
            _ => continue,
        };
        *place = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
    }
    Some(BucketCredentials { access_key_id: id?, secret_access_key: secret?, session_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hush")];

    fn resolved(yaml: &str, variables: &[(&str, &str)]) -> (Option<S3Config>, Vec<String>) {
        let root = Node::parse(yaml).unwrap();
        let mut faults = Faults::default();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = resolve(&root, &variables, &mut faults);
        (config, faults.into_sorted().iter().map(|fault| format!("{:?} {fault}", fault.place)).collect())
    }

    #[test]
    fn a_section_is_a_bucket_with_defaults_that_fit_its_endpoint() {
        assert_eq!(resolved("api: yes\ns3:\n", &VARIABLES), (None, Vec::new()));
        let (config, faults) = resolved("s3:\n  bucket: archive\n", &VARIABLES);
        assert_eq!(faults, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!((config.bucket.addressing, config.bucket.endpoint.as_deref()), (Addressing::Host, None));
        assert_eq!((config.bucket.uploads_max, config.bucket.bytes_per_second_max), (2, None));
        assert_eq!(config.local_retention, None);
        let printed = format!("{config:?}");
        assert!(!printed.contains("hush"), "{printed}");
        let yaml = "s3: {bucket: a-b.c, endpoint: 'http://127.0.0.1:9000/', prefix: /x, region: r}";
        let (_, faults) = resolved(yaml, &VARIABLES);
        assert!(faults.iter().all(|fault| fault.contains("\"prefix\"")) && faults.len() == 1, "{faults:?}");
        let yaml = "s3: {bucket: a-b.c, endpoint: 'http://127.0.0.1:9000/', prefix: x/y, localRetention: 1d, \
                    bandwidth: 1M, concurrency: 4, serverSideEncryption: 'aws:kms', kmsKeyId: k}";
        let (config, faults) = resolved(yaml, &VARIABLES);
        assert_eq!(faults, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!(config.bucket.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!((config.bucket.addressing, config.bucket.prefix.as_str()), (Addressing::Path, "x/y/"));
        assert_eq!(config.bucket.encryption, ObjectEncryption::Kms { key_id: Some("k".to_owned()) });
        assert_eq!(config.bucket.bytes_per_second_max, Some(1 << 20));
        assert_eq!(config.local_retention, Some(Duration::from_secs(86_400)));
    }

    // correctness: S5
    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_a_secret() {
        for (yaml, expected) in [
            ("s3:\n  region: r\n", "line: 2, column: 3 } \"s3\" needs \"bucket\""),
            ("s3:\n  bucket: Archive\n", "line: 2, column: 11 } \"bucket\": \"Archive\" is not the name"),
            ("s3:\n  bucket: abc\n  endpoint: minio:9000\n", "line: 3, column: 13 } \"endpoint\""),
            ("s3:\n  bucket: abc\n  endpoint: https://h/abc\n", "nothing may follow the host"),
            ("s3:\n  bucket: abc\n  bandwidth: 1K\n", "at least 64K"),
            ("s3:\n  bucket: abc\n  concurrency: 0\n", "a number from 1 to 16"),
            ("s3:\n  bucket: abc\n  kmsKeyId: k\n", "\"kmsKeyId\" needs"),
            ("s3:\n  bucket: abc\n  serverSideEncryption: rot13\n", "one of no, AES256, aws:kms"),
            ("s3:\n  bucket: abc\n  credentialsFile: /nowhere\n", "a readable file"),
        ] {
            let (_, faults) = resolved(yaml, &VARIABLES);
            assert!(faults.len() == 1 && faults[0].contains(expected), "{yaml}: {faults:?}");
        }
        let (config, faults) = resolved("s3: {bucket: abc}", &[("AWS_SECRET_ACCESS_KEY", "hush")]);
        assert!(config.is_none() && faults[0].contains("no credentials"), "{faults:?}");
        assert!(!faults[0].contains("hush"));
    }

    #[test]
    fn a_credentials_file_is_aws_own() {
        let text = "# mine\n[other]\naws_access_key_id=no\n\n[default]\naws_access_key_id = AKIA\n\
                    aws_secret_access_key = a/b+c=\n";
        let found = credentials_of(text).unwrap();
        assert_eq!((found.access_key_id.as_str(), found.secret_access_key.as_str()), ("AKIA", "a/b+c="));
        assert_eq!(found.session_token, None);
        assert!(credentials_of("aws_access_key_id = x\n").is_none());
    }
}
