//! Fuzz: requests that no client of ours sends. Input: `METHOD URI`, the line's end, the body.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::api;

#[test]
fn fuzz_no_request_is_answered_with_a_fault_of_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    gtvision_fuzz::feed("api_requests", move |input| {
        let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
        let (line, body) = input.split_at(end);
        let line = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
        let Some((method, uri)) = line else { return };
        let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
        let body = body.get(1..).unwrap_or_default().to_vec();
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let Ok(mut request) = request.body(Body::from(body)) else { return };
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        let (parts, body) = runtime.block_on(async {
            let response = api(&["city/cam_1"], &["*"]).oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.unwrap().to_bytes())
        });
        assert!(!parts.status.is_server_error(), "{}", parts.status);
        let is_json = parts.headers.get("content-type").is_some_and(|kind| kind == "application/json");
        assert!(!is_json || body.is_empty() || serde_json::from_slice::<Value>(&body).is_ok());
    });
}
