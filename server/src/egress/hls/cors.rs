//! CORS: which web pages may read the answers (`hlsAllowOrigins`), MediaMTX's rules.
//!
//! An entry is `*`, an exact origin, or an origin with one `*` in its host. Spec: Fetch s3.2.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, VARY,
};
use http::{HeaderMap, HeaderValue};

/// Puts the headers of any answer.
pub(super) fn allow(headers: &mut HeaderMap, allowed: &[String], origin: Option<&HeaderValue>) {
    let any = allowed.iter().any(|entry| entry == "*");
    let value = if any {
        HeaderValue::from_static("*")
    } else {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        let Ok(text) = origin.to_str() else { return };
        if !allowed.iter().any(|entry| matches(entry, text)) {
            return;
        }
        origin.clone()
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Content-Length, Content-Range, Retry-After"),
    );
}

/// Adds what a preflight asks for.
pub(super) fn preflight(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("OPTIONS, GET, HEAD"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Range"));
}

fn matches(entry: &str, origin: &str) -> bool {
    match entry.split_once('*') {
        None => entry == origin,
        Some((before, after)) => {
            let middle = origin.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            // The star stands for labels of a host name, never for a way out of it.
            middle.is_some_and(|labels| {
                !labels.is_empty()
                    && labels.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // correctness: H15
    #[test]
    fn origins_are_allowed_exactly_or_by_a_star_in_the_host() {
        for (entry, origin, expected) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.a.example", "https://x.y.a.example", true),
            ("https://*.a.example", "https://evil/.a.example", false),
            ("https://*.a.example", "https://.a.example", false),
            ("https://*.a.example", "http://x.a.example", false),
        ] {
            assert_eq!(matches(entry, origin), expected, "{entry} {origin}");
        }
    }
}
