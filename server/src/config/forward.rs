//! Forward: where else a path's media is sent to (`forward`).
//!
//! Limits: [`FORWARDS_MAX`].

use std::fmt;

use super::fault::FaultKind;
use super::reader::Reader;
use super::source_url::{Secret, SourceScheme, SourceUrl, split_scheme};
use super::tree::{Node, Value};
use super::values::{self, Expected};

/// Destinations of one path.
pub(crate) const FORWARDS_MAX: usize = 16;

/// What media is sent over.
const SCHEMES: [&str; 6] = ["rtsp", "rtsps", "rtmp", "rtmps", "whip", "whips"];

/// What MediaMTX sends to, and this server does not yet.
const LATER_SCHEMES: [&str; 1] = ["srt"];

const KEYS: [&str; 3] = ["dest", "destFingerprint", "whipBearerToken"];

/// A server that a path's media is sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForwardDest {
    /// Its address; printing it shows no password.
    pub(crate) url: SourceUrl,
    /// `destFingerprint`: SHA-256 of the certificate that a server must show where TLS is spoken.
    pub(crate) fingerprint: Option<[u8; 32]>,
    /// `whipBearerToken`, shown in place of user and password.
    pub(crate) bearer_token: Option<Secret>,
    /// `dest` and `destFingerprint` as they are written, for the API.
    pub(crate) written: (Secret, String),
}

impl fmt::Display for ForwardDest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.url.scheme() {
            // Streaming services have a key for the stream's name.
            scheme @ (SourceScheme::Rtmp | SourceScheme::Rtmps) => {
                write!(f, "{}://{}:{}/***", scheme.name(), self.url.host(), self.url.port())
            }
            _ => self.url.fmt(f),
        }
    }
}

/// The destinations of a path that can be served.
pub(super) fn resolve(reader: &mut Reader<'_>) -> Vec<ForwardDest> {
    const KEY: &str = "forward";
    let Some(list) = reader.find(KEY) else { return Vec::new() };
    if !matches!(list.value, Value::List(_)) && list.text() != Some("") {
        reader.wrong_shape(list, KEY, "a list of destinations, each with a \"dest\"");
    }
    if list.items().len() > FORWARDS_MAX {
        let kind = FaultKind::TooMany {
            what: "destinations of \"forward\"",
            got: list.items().len(),
            max: FORWARDS_MAX,
        };
        reader.faults().add(&list.place, kind);
    }
    list.items().iter().take(FORWARDS_MAX).filter_map(|item| destination(item, reader)).collect()
}

fn destination(item: &Node, reader: &mut Reader<'_>) -> Option<ForwardDest> {
    if let Some(unknown) = item.entries().iter().find(|entry| !KEYS.contains(&entry.key.as_str())) {
        let kind = FaultKind::UnknownKey { key: unknown.key.clone(), suggestion: None };
        reader.faults().add(&unknown.place, kind);
    }
    if later_scheme(item).is_some() {
        return None;
    }
    let text = |key: &str| item.get(key).and_then(Node::text).unwrap_or_default().trim();
    let (dest, written_fingerprint) = (text("dest"), text("destFingerprint"));
    let mut wrong = |key: &str, expected: Expected| {
        let place = item.get(key).map_or(&item.place, |node| &node.place);
        reader.faults().add(place, FaultKind::BadSecret { key: key.to_owned(), expected });
    };
    let is_known = split_scheme(dest)
        .is_some_and(|(scheme, _)| SCHEMES.into_iter().any(|known| scheme.eq_ignore_ascii_case(known)));
    let expected =
        Expected::Url("it must begin with rtsp, rtmp or whip, or one of these with an s behind it, and ://");
    let url = if is_known { SourceUrl::parse(dest) } else { Err(expected) };
    let url = url.map_err(|expected| wrong("dest", expected)).ok()?;
    let fingerprint = match written_fingerprint {
        "" => None,
        text => Some(values::fingerprint(text).map_err(|expected| wrong("destFingerprint", expected)).ok()?),
    };
    let bearer_token = Some(text("whipBearerToken")).filter(|token| !token.is_empty()).map(Secret::new);
    let written = (Secret::new(dest), written_fingerprint.to_owned());
    Some(ForwardDest { url, fingerprint, bearer_token, written })
}

fn later_scheme(item: &Node) -> Option<&'static str> {
    let (scheme, _) = split_scheme(item.get("dest")?.text()?.trim())?;
    LATER_SCHEMES.into_iter().find(|later| scheme.eq_ignore_ascii_case(later))
}

/// The protocols of those that can't be served yet.
pub(super) fn left_out(node: &Node, defaults: Option<&Node>) -> Vec<&'static str> {
    let list = node.get("forward").or_else(|| defaults?.get("forward"));
    list.map(|list| list.items().iter().filter_map(later_scheme).collect()).unwrap_or_default()
}
