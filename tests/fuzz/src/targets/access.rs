//! Access: who a request says it is, and what it asks for.

use std::path::{Component, Path};
use std::time::Instant;

use media_core::gate::{Challenger, Credentials, Digest, Shown};
use media_core::path_name::{PATH_NAME_BYTES_MAX, PathName};
use url::Url;

/// An `Authorization` header and a query: read, and never shown.
pub(super) fn authorization(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let from_header = Credentials::from_authorization([&*text]);
    let from_query = Credentials::from_query(&text).or_token_of(&text);
    for credentials in [&from_header, &from_query] {
        let shown = format!("{credentials:?}");
        assert!(["Credentials(none)", "Credentials(***)"].contains(&shown.as_str()), "{shown}");
    }
    let (now, url) = (Instant::now(), Url::parse("rtsp://192.0.2.1/cam").expect("a url"));
    for digest in [Digest::No, Digest::Offered, Digest::Only] {
        let challenger = Challenger::new(digest, "0123456789abcdef".to_owned(), now);
        let shown = challenger.read(Some(&text), "DESCRIBE", &url, now);
        if let (Shown::Credentials(credentials), Digest::Only) = (&shown, digest) {
            assert_eq!(credentials.plain_password(), "", "a password that travelled, where it may not");
        }
        challenger.challenges(&shown);
    }
}

/// A name that was let in stays below the folder that it is put in (correctness: S3).
pub(super) fn path_name(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(name) = PathName::parse(text) else { return };
    assert_eq!(name.as_str(), text);
    assert!(text.len() <= PATH_NAME_BYTES_MAX);
    assert!(Path::new(text).components().all(|part| matches!(part, Component::Normal(_))), "{text:?}");
}
