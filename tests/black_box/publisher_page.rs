//! Publisher page: a browser opens it, and its camera is a path of the server.

use std::time::Duration;

use anyhow::ensure;
use gtvision_tests::http::{self, Method};
use gtvision_tests::{Server, machine, peers};
use serde_json::json;

/// A browser starts, on two cores that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_browser_publishes_from_the_page_and_reads_what_is_wrong() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let server = Server::start(
        "authInternalUsers:\n- {user: any, permissions: [{action: publish, path: city/desk}, {action: publish, path: pulled}]}\n\
         - {user: any, ips: [127.0.0.1], permissions: [{action: api}, {action: metrics}, {action: read}]}\n\
         paths:\n  city/desk: {}\n  hall: {}\n  pulled: {source: 'rtsp://127.0.0.1:1/x'}\n",
    )
    .await?;
    let page = |path: &str| format!("{}publish", server.webrtc_page(path));
    // Who may not publish gets no page, and is asked who it is.
    let refused = http::send(Method::GET, &page("hall"), &[], "").await?;
    ensure!(refused.status == 401 && !refused.header("www-authenticate").is_empty(), "{}", refused.status);
    let given = http::get(&page("city/desk")).await?.ok()?;
    ensure!(given.header("content-security-policy").contains("default-src 'self'"));
    let args = ["--url", &page("city/desk"), "--refused", &page("pulled")];
    let (mut browser, ready) = peers::serve("publish_page.mjs", &args, PATIENCE).await?;
    ensure!(ready["state"] == "live" && ready["broken"] == json!([]), "{ready}");
    ensure!(ready["title"] == "Publicar: city/desk", "{ready}");
    ensure!(ready["codecs"][0] == "H264", "{ready}");
    ensure!(ready["said"].as_str().is_some_and(|said| said.starts_with("No ar")), "{ready}");
    ensure!(ready["trouble"] == "closed", "{ready}");
    ensure!(ready["refused"].as_str().is_some_and(|said| said.contains("outra fonte")), "{ready}");
    let state = server.wait_online("city/desk").await?;
    ensure!(state["source"]["type"] == "webRTCSession", "{state}");
    ensure!(state["tracks"] == json!(["H264", "Opus"]), "{state}");
    // Its button again: it says DELETE.
    browser.stop()?;
    server.wait_path("city/desk", "nobody", PATIENCE, |path| path["online"] == false).await?;
    Ok(())
}
