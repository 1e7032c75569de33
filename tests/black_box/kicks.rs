//! Kicks: who is ended through the API is gone, whatever it speaks: what the protocols' own tests leave out, which is
//! encrypted ones, and who publishes with WebRTC.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::http::{self, Method};
use gtvision_tests::process::Process;
use gtvision_tests::{Server, machine, wait};
use serde_json::Value;

use crate::rtmp::{CLIP, make_certificate, publish};

const PATIENCE: Duration = Duration::from_secs(40);

/// A viewer's offer; the other way round, a publisher's.
const OFFER: &str = include_str!("chromium_offer.sdp");

/// The one object of a list.
async fn only(server: &Server, list: &str) -> anyhow::Result<Value> {
    let list = http::get(&server.api(list)).await?.ok()?.json()?;
    ensure!(list["itemCount"] == 1, "{list}");
    Ok(list["items"][0].clone())
}

/// Ends an object of a list; a second time there is none, and never was in the list of another protocol.
async fn kick(server: &Server, kind: &str, other: &str, id: &Value) -> anyhow::Result<()> {
    let id = id.as_str().context("id")?;
    let status = async |kind: &str| {
        let url = server.api(&format!("{kind}/kick/{id}"));
        anyhow::Ok(http::send(Method::POST, &url, &[], bytes::Bytes::new()).await?.status)
    };
    ensure!(status(other).await? == 404, "{other} ended one of {kind}");
    ensure!(status(kind).await? == 200, "{kind}/{id}");
    wait::until("no such one", PATIENCE, async || Ok((status(kind).await? == 404).then_some(()))).await
}

#[tokio::test]
async fn encrypted_readers_and_publishers_are_ended_through_the_api() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let dir = tempfile::tempdir()?;
    let rtmp = make_certificate(dir.path()).await?;
    let config = format!("{rtmp}{}paths:\n  cam: {{}}\n", rtmp.replace("rtmp", "rtsp"));
    let server = Server::start(&config).await?;
    let mut publisher = publish(&file, &format!("rtmps://127.0.0.1:{}/cam", server.ports.rtmps))?;
    let state = server.wait_online("cam").await?;
    ensure!(state["source"]["type"] == "rtmpsConn", "{state}");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i"]);
    command.arg(format!("rtsps://127.0.0.1:{}/cam", server.ports.rtsps));
    let mut reader = Process::start("ffmpeg", command.args(["-c", "copy", "-f", "null", "-"]))?;
    let session = wait::until("an encrypted reader", PATIENCE, async || {
        let session = only(&server, "rtspssessions/list").await?;
        Ok((session["state"] == "read").then_some(session))
    })
    .await?;
    let metrics = server.metrics().await?;
    let of_kind = |kind: &str| metrics.sum("paths_readers", &[("name", "cam"), ("readerType", kind)]);
    ensure!(of_kind("rtspsSession") == Some(1.0) && of_kind("rtspSession") == Some(0.0));

    kick(&server, "rtspssessions", "rtspsessions", &session["id"]).await?;
    wait::until("the reader's end", PATIENCE, async || reader.ended()).await?;
    let path = server.path("cam").await?;
    ensure!(path["online"] == true && path["readers"] == serde_json::json!([]), "{path}");
    let conn = only(&server, "rtmpsconns/list").await?;
    ensure!(conn["state"] == "publish", "{conn}");
    kick(&server, "rtmpsconns", "rtmpconns", &conn["id"]).await?;
    wait::until("the publisher's end", PATIENCE, async || publisher.ended()).await?;
    server.wait_path("cam", "offline", PATIENCE, |path| path["online"] == false).await?;
    Ok(())
}

/// One that holds a path makes room for the next.
#[tokio::test]
async fn a_webrtc_publisher_is_ended_through_the_api() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let server = Server::start("paths:\n  desk: {overridePublisher: no}\n").await?;
    let offer = OFFER.replace("a=recvonly", "a=sendonly");
    let sends = async || {
        let headers = [("content-type", "application/sdp")];
        let answer = http::send(Method::POST, &server.whip("desk"), &headers, offer.clone()).await?;
        anyhow::Ok((answer.status.as_u16(), answer.text()))
    };
    let (status, said) = sends().await?;
    ensure!(status == 201, "{status}: {said}");
    let (status, said) = sends().await?;
    ensure!(status == 409, "while another one publishes: {status}: {said}");
    let session = only(&server, "webrtcsessions/list").await?;
    ensure!(session["state"] == "publish" && session["path"] == "desk", "{session}");
    kick(&server, "webrtcsessions", "rtspsessions", &session["id"]).await?;
    wait::until("room for another publisher", PATIENCE, async || Ok((sends().await?.0 == 201).then_some(())))
        .await
}
