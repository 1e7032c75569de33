//! HLS sessions and the other lists of MediaMTX's API that tell who watches: fields, metrics, and the way to end one.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::{Server, Simulator, http, machine, wait};
use serde_json::Value;

const OFFER: &str = include_str!("chromium_offer.sdp");

/// The schemas of MediaMTX 1.20's openapi.yaml.
const SESSION: &str = "created id isCDN outboundBytes path query remoteAddr user userAgent";
const MUXER: &str = "bytesSent created lastRequest outboundBytes outboundFramesDiscarded path";
const WEBRTC: &str = "bytesReceived bytesSent created id inboundBytes inboundRTCPPackets inboundRTPPackets \
    inboundRTPPacketsJitter inboundRTPPacketsLost localCandidate outboundBytes outboundFramesDiscarded outboundRTCPPackets \
    outboundRTPPackets path peerConnectionEstablished query remoteAddr remoteCandidate rtcpPacketsReceived rtcpPacketsSent \
    rtpPacketsJitter rtpPacketsLost rtpPacketsReceived rtpPacketsSent state user userAgent";

fn check_fields(object: &Value, schema: &str) -> anyhow::Result<()> {
    let expected: BTreeSet<&str> = schema.split_whitespace().collect();
    let found: BTreeSet<&str> = object.as_object().context("an object")?.keys().map(String::as_str).collect();
    ensure!(found == expected, "{found:?} are not {expected:?}");
    Ok(())
}

async fn only(server: &Server, list: &str) -> anyhow::Result<Value> {
    let list = http::get(&server.api(list)).await?.ok()?.json()?;
    ensure!(list["itemCount"] == 1 && list["pageCount"] == 1, "{list}");
    Ok(list["items"][0].clone())
}

async fn post(url: &str) -> anyhow::Result<u16> {
    Ok(http::send(http::Method::POST, url, &[], bytes::Bytes::new()).await?.status.as_u16())
}

/// Watches as a player that calls itself so: the media playlist's address, once it was got.
async fn watch(playlist: &str, agent: &str) -> anyhow::Result<String> {
    let headers = [("user-agent", agent)];
    let mut url = playlist.to_owned();
    let mut answer = http::send(http::Method::GET, &url, &headers, bytes::Bytes::new()).await?;
    if answer.status.is_redirection() {
        url = http::join(&url, answer.header("location"))?;
        answer = http::send(http::Method::GET, &url, &headers, bytes::Bytes::new()).await?;
    }
    let text = answer.ok()?.text();
    let media = text.lines().find(|line| line.contains(".m3u8")).context("a media playlist")?;
    let media = http::join(&url, media)?;
    http::send(http::Method::GET, &media, &headers, bytes::Bytes::new()).await?.ok()?;
    Ok(media)
}

async fn status(url: &str, agent: &str) -> anyhow::Result<u16> {
    let answer = http::send(http::Method::GET, url, &[("user-agent", agent)], bytes::Bytes::new()).await?;
    Ok(answer.status.as_u16())
}

/// A viewer is a session: listed with what it took, counted in metrics, ended through the API; it may begin anew.
#[tokio::test]
async fn hls_viewers_are_sessions_that_can_be_seen_and_ended() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { seconds: 4, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let config = format!(
        "authInternalUsers:\n- user: ana\n  pass: hunter2\n  permissions: [{{action: read, path: closed}}]\n\
         - user: any\n  permissions: [{{action: read, path: open}}, {{action: api}}, {{action: metrics}}]\n\
         hlsCDNSecret: cdn-hunter2\npaths:\n  open: {{source: '{0}', rtspTransport: tcp}}\n  \
         closed: {{source: '{0}', rtspTransport: tcp}}\n",
        simulator.url("cam")
    );
    let server = Server::start(&config).await?;
    server.wait_online("open").await?;
    server.wait_online("closed").await?;
    let media = watch(&format!("{}?camera=7&token=hunter2", server.hls("open")), "player/1").await?;
    let session = only(&server, "hlssessions/list").await?;
    check_fields(&session, SESSION)?;
    ensure!(session["path"] == "open" && session["userAgent"] == "player/1", "{session}");
    ensure!(session["user"] == "" && session["isCDN"] == false, "{session}");
    ensure!(session["query"] == "camera=7&token=***", "{session}");
    ensure!(session["outboundBytes"].as_u64() > Some(0), "{session}");
    let id = session["id"].as_str().context("id")?;
    let one = http::get(&server.api(&format!("hlssessions/get/{id}"))).await?.ok()?.json()?;
    ensure!(one["id"] == id, "{one}");
    let path = server.path("open").await?;
    ensure!(path["readers"][0]["type"] == "hlsSession" && path["readers"][0]["id"] == id, "{path}");
    let metrics = server.metrics().await?;
    let sent = metrics.sum("hls_sessions_outbound_bytes", &[("id", id), ("path", "open")]);
    ensure!(sent > Some(0.0), "{sent:?}");
    ensure!(metrics.sum("paths_readers", &[("name", "open"), ("readerType", "hlsSession")]) == Some(1.0));
    let muxers = http::get(&server.api("hlsmuxers/list")).await?.ok()?.json()?;
    check_fields(&muxers["items"][0], MUXER)?;
    ensure!(http::get(&server.api("hlsmuxers/get/open")).await?.ok()?.json()?["path"] == "open");
    ensure!(http::get(&server.api("hlsmuxers/get/nothing")).await?.status == 404);

    // Another player behind the same address goes on.
    let beside = watch(&server.hls("open"), "player/2").await?;
    let kick = server.api(&format!("hlssessions/kick/{id}"));
    ensure!(post(&kick).await? == 200 && post(&kick).await? == 404);
    ensure!(status(&media, "player/1").await? == 401 && status(&beside, "player/2").await? == 200);
    let again = watch(&server.hls("open"), "player/1").await?;
    ensure!(status(&again, "player/1").await? == 200, "who begins anew is let in");

    // Who had to sign in is named, and a CDN is one viewer that is let in by its secret.
    let credentials = [("authorization", "Basic YW5hOmh1bnRlcjI="), ("user-agent", "player/3")];
    let closed = server.hls("closed");
    let sent = http::send(http::Method::GET, &closed, &credentials, bytes::Bytes::new()).await?;
    watch(&http::join(&closed, sent.header("location"))?, "player/3").await?;
    let cdn = [("authorization", "Bearer cdn-hunter2"), ("user-agent", "cdn")];
    http::send(http::Method::GET, &closed, &cdn, bytes::Bytes::new()).await?.ok()?;
    let wrong = [("authorization", "Bearer cdn-hunter3")];
    ensure!(http::send(http::Method::GET, &closed, &wrong, bytes::Bytes::new()).await?.status == 401);
    let list = http::get(&server.api("hlssessions/list")).await?.ok()?.json()?;
    let of = |name: &str, value: Value| {
        list["items"].as_array().is_some_and(|items| items.iter().any(|item| item[name] == value))
    };
    ensure!(list["itemCount"] == 4 && of("user", "ana".into()) && of("isCDN", true.into()), "{list}");
    let leak = server.log_lines().into_iter().find(|line| line.contains("hunter2"));
    ensure!(leak.is_none(), "a secret in the log: {leak:?}");
    Ok(())
}

#[tokio::test]
async fn webrtc_sessions_are_listed_and_can_be_ended() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { seconds: 4, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let config = format!("paths:\n  cam: {{source: '{}', rtspTransport: tcp}}\n", simulator.url("cam"));
    let server = Server::start(&config).await?;
    server.wait_online("cam").await?;
    let headers = [("content-type", "application/sdp"), ("user-agent", "offerer")];
    let answer = http::send(http::Method::POST, &server.whep("cam"), &headers, OFFER).await?.ok()?;
    let session = only(&server, "webrtcsessions/list").await?;
    check_fields(&session, WEBRTC)?;
    ensure!(session["id"] == answer.header("id") && session["userAgent"] == "offerer", "{session}");
    ensure!(session["state"] == "read" && session["peerConnectionEstablished"] == false, "{session}");
    let id = session["id"].as_str().context("id")?;
    http::get(&server.api(&format!("webrtcsessions/get/{id}"))).await?.ok()?;
    let kick = server.api(&format!("webrtcsessions/kick/{id}"));
    ensure!(post(&kick).await? == 200 && post(&kick).await? == 404);
    wait::until("the end of the session", Duration::from_secs(20), async || {
        let path = server.path("cam").await?;
        Ok(path["readers"].as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .await
}
