//! Redirect: where a path's RTSP readers are sent on to: `source: redirect` with `sourceRedirect`, and `fallback`.
//!
//! An address may hold credentials: those that a reader is to show there. They are told to readers, and to nobody else.

use media_core::path_name::PathName;

use super::reader::Reader;
use super::source_url::{Secret, SourceUrl, split_scheme};
use super::values::Expected;

/// Where readers are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Another path of this server, under the name that the reader knows it by.
    Path(PathName),
    /// An RTSP server's address, as it is told.
    Url(Secret),
}

/// When readers are sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SentOn {
    /// Whatever happens: the path has no media of its own.
    Always(Destination),
    /// While nobody sends.
    WhileOffline(Destination),
}

const EXPECTED: Expected = Expected::Other(
    "where readers can be sent: write /another_path or a URL that begins with rtsp:// or rtsps://",
);

/// The destination that a key names, if it does.
pub(super) fn destination(reader: &mut Reader<'_>, key: &str) -> Option<Destination> {
    reader.secret(key, None, |text| match text.trim() {
        "" => Ok(None),
        text => parse(text).map(Some),
    })
}

fn parse(text: &str) -> Result<Destination, Expected> {
    if let Some(path) = text.strip_prefix('/') {
        return PathName::parse(path).map(Destination::Path).map_err(|_| EXPECTED);
    }
    let scheme = split_scheme(text).map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_told_in_a_header = !text.contains(char::is_whitespace) && text.is_ascii();
    match scheme.as_deref() {
        Some("rtsp" | "rtsps") if is_told_in_a_header => {
            SourceUrl::parse(text).map(|_| Destination::Url(Secret::new(text)))
        }
        _ => Err(EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_rtsp_addresses_are_destinations() {
        assert_eq!(parse("/city/out").unwrap(), Destination::Path(PathName::parse("city/out").unwrap()));
        assert_eq!(
            parse("rtsp://u:p@h:8554/x").unwrap(),
            Destination::Url(Secret::new("rtsp://u:p@h:8554/x"))
        );
        for text in ["out", "/", "/../x", "http://h/x", "rtsp://", "rtsp://h/a b", "rtsp://h/x\r\nSession: 1"]
        {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    // correctness: S5
    #[test]
    fn nothing_printed_holds_the_credentials_of_a_destination() {
        let shown = format!("{:?}", parse("rtsp://u:hunter2@h/x").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
