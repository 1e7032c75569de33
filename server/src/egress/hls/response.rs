//! Response: the headers of playlists, media, pages and errors; ranges; conditional compression.
//!
//! Caching (correctness: H15): media never changes under its name; a playlist that was asked for by number may be
//! shared for a second by a CDN, any other not at all; errors never.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, LOCATION, RETRY_AFTER, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use media_core::egress::hls::Media;

use super::Asset;
use super::body::ChunkBody;
use super::muxer::Encoding;
use crate::assets;
use crate::byte_range::ByteRange;

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
    let total = u64::try_from(media.len_bytes).unwrap_or(u64::MAX);
    let index = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut response = match ByteRange::asked(request, total) {
        ByteRange::Whole => {
            with(StatusCode::OK, MEDIA_TYPE, MEDIA_CACHE, ChunkBody::range(media, 0, media.len_bytes))
        }
        ByteRange::Part { from, to } => {
            let body = ChunkBody::range(media, index(from), index(to));
            let mut response = with(StatusCode::PARTIAL_CONTENT, MEDIA_TYPE, MEDIA_CACHE, body);
            content_range(&mut response, &format!("bytes {from}-{}/{total}", to - 1));
            response
        }
        ByteRange::Unsatisfiable => {
            let mut response =
                error(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable", Retry::Never);
            content_range(&mut response, &format!("bytes */{total}"));
            response
        }
    };
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// A range of a recorded file, or the range of that which was asked for; `body` makes the bytes of one.
pub(super) async fn recorded<E>(
    total: u64,
    request: &HeaderMap,
    body: impl AsyncFnOnce(u64, u64) -> Result<ChunkBody, E>,
) -> Result<Response<ChunkBody>, E> {
    let mut response = match ByteRange::asked(request, total) {
        ByteRange::Whole => with(StatusCode::OK, MEDIA_TYPE, MEDIA_CACHE, body(0, total).await?),
        ByteRange::Part { from, to } => {
            let mut response =
                with(StatusCode::PARTIAL_CONTENT, MEDIA_TYPE, MEDIA_CACHE, body(from, to).await?);
            content_range(&mut response, &format!("bytes {from}-{}/{total}", to - 1));
            response
        }
        ByteRange::Unsatisfiable => {
            let mut response =
                error(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable", Retry::Never);
            content_range(&mut response, &format!("bytes */{total}"));
            response
        }
    };
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
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
