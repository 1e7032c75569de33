//! CORS as MediaMTX does it: allowed origins, and preflight requests answered before anything else.
//!
//! Spec: Fetch Standard, "CORS protocol". The list of origins holds exact ones, ones with `*` for
//! part of the host (`https://*.example.com`), or `*` for all.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// What one listener allows browsers to do from elsewhere.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Allowed origins.
    pub origins: Arc<[String]>,
    /// `Access-Control-Allow-Methods` of a preflight answer.
    pub methods: &'static str,
    /// `Access-Control-Allow-Headers` of a preflight answer.
    pub headers: &'static str,
}

impl Cors {
    /// The value of `Access-Control-Allow-Origin` for a request from `origin`.
    pub fn allow(&self, origin: Option<&str>) -> Option<HeaderValue> {
        if self.origins.iter().any(|allowed| allowed == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = origin?;
        let allowed = self.origins.iter().any(|allowed| origin_matches(allowed, origin));
        allowed.then(|| HeaderValue::from_str(origin).ok()).flatten()
    }

    fn add(&self, origin: Option<&str>, headers: &mut HeaderMap) {
        if let Some(value) = self.allow(origin) {
            if value != "*" {
                headers.append(header::VARY, HeaderValue::from_static("Origin"));
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        }
    }
}

/// Whether `origin` is `allowed`, where a `*` stands for at least one character of the host.
fn origin_matches(allowed: &str, origin: &str) -> bool {
    let Some((before, after)) = allowed.split_once('*') else { return allowed == origin };
    origin
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
        .is_some_and(|host| !host.is_empty() && !host.contains(['/', ':']))
}

/// Middleware: answers preflight requests with 204 and marks every other answer.
pub async fn apply(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let origin =
        request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).map(str::to_owned);
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    cors.add(origin.as_deref(), headers);
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(cors.methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(cors.headers));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], origin: &str) -> Option<String> {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let cors = Cors { origins, methods: "", headers: "" };
        cors.allow(Some(origin)).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn origins_match_exactly_or_by_host_wildcard() {
        let list = ["https://a.example", "https://*.city.example"];
        assert_eq!(allowed(&list, "https://a.example").as_deref(), Some("https://a.example"));
        assert_eq!(allowed(&list, "https://x.city.example").as_deref(), Some("https://x.city.example"));
        assert_eq!(allowed(&list, "https://x.y.city.example").as_deref(), Some("https://x.y.city.example"));
        for other in [
            "http://a.example",
            "https://city.example",
            "https://.city.example",
            "https://evil/.city.example",
        ] {
            assert_eq!(allowed(&list, other), None, "{other}");
        }
        assert_eq!(allowed(&["*"], "https://any").as_deref(), Some("*"));
    }
}
