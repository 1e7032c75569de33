//! Assets: the pages of `web/`, inside the binary, for every listener that shows one.

use std::borrow::Cow;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use rust_embed::RustEmbed;

use crate::egress::{hls, webrtc};

/// The pages load their own scripts and nobody else's. Playlists and WHEP may be on another port of the same
/// host, and a player falls back from one to the other.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; connect-src *; \
    media-src * blob:; img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'";

#[derive(RustEmbed)]
#[folder = "../web"]
#[exclude = "test/*"]
#[exclude = "README.md"]
#[exclude = "package.json"]
struct Files;

/// All pages and what they load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assets;

impl Assets {
    /// A file of `web/` by its path there.
    fn file(name: &str) -> Option<(&'static str, Bytes)> {
        let bytes = match Files::get(name)?.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Some((content_type(name), bytes))
    }
}

impl control_api::Assets for Assets {
    fn get(&self, path: &str) -> Option<control_api::Asset> {
        let (content_type, bytes) = Self::file(path)?;
        Some(control_api::Asset { bytes, content_type: content_type.into() })
    }
}

impl hls::Pages for Assets {
    fn player(&self) -> Option<hls::Asset> {
        hls::Pages::asset(self, "player/hls.html")
    }

    fn asset(&self, name: &str) -> Option<hls::Asset> {
        let (content_type, body) = Self::file(name)?;
        Some(hls::Asset { content_type, body })
    }
}

/// What the WebRTC listener shows.
pub(crate) fn webrtc_page(request: webrtc::PageRequest<'_>) -> Option<Response> {
    let name = match request {
        webrtc::PageRequest::Player => "player/webrtc.html",
        webrtc::PageRequest::Publisher => "publisher/publish.html",
        webrtc::PageRequest::Asset(name) => name,
    };
    let (content_type, bytes) = Assets::file(name)?;
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().extend(security_headers());
    for (name, value) in [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}

/// The headers that keep a browser from doing what no page here needs.
pub(crate) fn security_headers() -> HeaderMap {
    [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ]
    .into_iter()
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .collect()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_their_scripts_are_inside_and_tests_are_not() {
        for name in [
            "index.html",
            "player/hls.html",
            "player/webrtc.html",
            "publisher/publish.html",
            "vendor/hls.min.js",
            "player/player.js",
        ] {
            assert!(Assets::file(name).is_some(), "{name}");
        }
        assert_eq!(Assets::file("player/player.js").unwrap().0, "text/javascript; charset=utf-8");
        assert!(Files::iter().all(|name| !name.starts_with("test/")));
        assert!(Assets::file("../server/Cargo.toml").is_none());
    }
}
