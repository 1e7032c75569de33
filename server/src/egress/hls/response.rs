//! Response: the headers of playlists, media, pages and errors; ranges; conditional compression.
//!
//! Caching (correctness: H15): media never changes under its name; a playlist that was asked for by number may be
//! shared for a second by a CDN, any other not at all; errors never.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use media_core::egress::hls::Media;

use super::Asset;
use super::body::ChunkBody;
use super::muxer::Encoding;
use crate::assets;

/// Immutable media: an hour is longer than any window.
const MEDIA_CACHE: &str = "public, max-age=3600, immutable";
const PAGE_CACHE: &str = "no-cache";
const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";
const MEDIA_TYPE: &str = "video/mp4";

/// How a playlist may be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlaylistCache {
    /// The newest, each time.
    No,
    /// A second: it was asked for by number (rfc8216bis s6.2.5.2: the URI is unique).
    Second,
}

/// What a request without success is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Never,
    Soon,
}

fn with(
    status: StatusCode,
    content_type: &'static str,
    cache: &'static str,
    body: ChunkBody,
) -> Response<ChunkBody> {
    let length = HeaderValue::from(body.len_bytes());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(CONTENT_LENGTH, length);
    response
}

/// A playlist, already encoded.
pub(super) fn playlist(bytes: Bytes, encoding: Encoding, cache: PlaylistCache) -> Response<ChunkBody> {
    let cache = match cache {
        PlaylistCache::No => "no-cache",
        PlaylistCache::Second => "public, max-age=1",
    };
    let mut response = with(StatusCode::OK, PLAYLIST_TYPE, cache, ChunkBody::whole(bytes));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    if encoding == Encoding::Gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A file or the range of it that was asked for.
pub(super) fn media(media: &Media, request: &HeaderMap) -> Response<ChunkBody> {
    let total = media.len_bytes;
    let mut response = match range(request, total) {
        Range::Whole => with(StatusCode::OK, MEDIA_TYPE, MEDIA_CACHE, ChunkBody::range(media, 0, total)),
        Range::Part { from, to } => {
            let body = ChunkBody::range(media, from, to);
            let mut response = with(StatusCode::PARTIAL_CONTENT, MEDIA_TYPE, MEDIA_CACHE, body);
            content_range(&mut response, &format!("bytes {from}-{}/{total}", to - 1));
            response
        }
        Range::Unsatisfiable => {
            let mut response =
                error(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable", Retry::Never);
            content_range(&mut response, &format!("bytes */{total}"));
            response
        }
    };
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

fn content_range(response: &mut Response<ChunkBody>, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
}

/// A page or script.
pub(super) fn asset(asset: Asset) -> Response<ChunkBody> {
    let mut response = with(StatusCode::OK, asset.content_type, PAGE_CACHE, ChunkBody::whole(asset.body));
    response.headers_mut().extend(assets::security_headers());
    response
}

/// MediaMTX's error body.
pub(super) fn error(status: StatusCode, reason: &str, retry: Retry) -> Response<ChunkBody> {
    let body = serde_json::json!({ "status": "error", "error": reason }).to_string();
    let mut response = with(status, "application/json", "no-store", ChunkBody::whole(body.into()));
    if retry == Retry::Soon {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// 302 within this server.
pub(super) fn redirect(location: &str) -> Response<ChunkBody> {
    let mut response = with(StatusCode::FOUND, "text/plain", "no-store", ChunkBody::default());
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// 204.
pub(super) fn no_content() -> Response<ChunkBody> {
    let mut response = Response::new(ChunkBody::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The encoding a client takes: gzip where it is named and not refused.
pub(super) fn encoding(request: &HeaderMap) -> Encoding {
    let accepts = request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let gzip = accepts.flat_map(|value| value.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused = parts
            .any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q <= 0.0)));
        name.eq_ignore_ascii_case("gzip") && !refused
    });
    if gzip { Encoding::Gzip } else { Encoding::Identity }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    /// `from..to`, not empty.
    Part {
        from: usize,
        to: usize,
    },
    Unsatisfiable,
}

/// RFC 9110 s14.2: a range that can't be read is ignored; several at once are answered with the whole.
fn range(request: &HeaderMap, total: usize) -> Range {
    let text = request.get(RANGE).and_then(|value| value.to_str().ok());
    let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Range::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<usize>().ok()).flatten();
    let bounds = match (first, last) {
        ("", suffix) => number(suffix).map(|count| (total.saturating_sub(count), total)),
        (first, "") => number(first).map(|from| (from, total)),
        (first, last) => {
            number(first).zip(number(last)).map(|(from, last)| (from, last.saturating_add(1).min(total)))
        }
    };
    match bounds {
        None => Range::Whole,
        Some((from, to)) if from < to => Range::Part { from, to },
        // "5-2" is not a range at all; past the end is one that can't be met.
        Some((from, _)) if from < total && !first.is_empty() => Range::Whole,
        Some(_) => Range::Unsatisfiable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    // correctness: H15
    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-3", Range::Part { from: 0, to: 4 }),
            ("bytes=5-", Range::Part { from: 5, to: 10 }),
            ("bytes=-3", Range::Part { from: 7, to: 10 }),
            ("bytes=-30", Range::Part { from: 0, to: 10 }),
            ("bytes=8-99", Range::Part { from: 8, to: 10 }),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes=a-", Range::Whole),
        ] {
            assert_eq!(range(&headers(RANGE, text), 10), expected, "{text}");
        }
        assert_eq!(range(&HeaderMap::new(), 10), Range::Whole);
    }

    // correctness: H15
    #[test]
    fn gzip_is_chosen_only_where_it_is_accepted() {
        for (text, expected) in [
            ("gzip", Encoding::Gzip),
            ("br, GZIP;q=0.5", Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity),
            ("identity", Encoding::Identity),
        ] {
            assert_eq!(encoding(&headers(ACCEPT_ENCODING, text)), expected, "{text}");
        }
    }
}
