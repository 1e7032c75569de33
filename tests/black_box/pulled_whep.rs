//! Sources over WHEP: aiortc, another server of ours, and servers that mean no good.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::{Server, Simulator, bitstream, ffmpeg, http, machine, peers, wait};

use crate::pulled_rtmp::{answering, hides, wait_back};
use crate::rtmp::hls_shows;

const PATIENCE: Duration = Duration::from_secs(45);

const CLIP: Clip = Clip { seconds: 4, audio: "opus", ..USUAL };

async fn has_no_session(server: &Server) -> anyhow::Result<Option<()>> {
    let list = http::get(&server.api("webrtcsessions/list")).await?.ok()?.json()?;
    Ok((list["itemCount"] == 0).then_some(()))
}

#[tokio::test]
async fn a_webrtc_server_is_pulled_and_left_in_order() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let simulator = Simulator::start(&[("cam", &file)]).await?;
    let users = "authInternalUsers:\n  - {user: ana, pass: hunter2, permissions: [{action: read}]}\n  \
                 - {user: any, ips: [127.0.0.1], permissions: [{action: api}, {action: metrics}]}\n";
    let origin =
        format!("{users}paths:\n  cam: {{source: '{}', rtspTransport: tcp}}\n", simulator.url("cam"));
    let mut origin = Server::start(&origin).await?;
    origin.wait_online("cam").await?;
    let endpoint = format!("127.0.0.1:{}/cam/whep", origin.ports.webrtc);
    let answer = |head: &str, body: &str| {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let hostile = [
        ("gone", answering(answer("404 Not Found", "")).await?, "server answered 404"),
        ("words", answering(answer("201 Created", "hello")).await?, "answer is no usable SDP"),
        ("long", answering(answer("201 Created", &"x".repeat(200_000))).await?, "more than 131072 bytes"),
        ("moved", answering(answer("302 Found\r\nLocation: /x", "")).await?, "server answered 302"),
    ];
    // With a token in place of user and password, too.
    let good = format!(
        "  cam: {{source: 'whep://ana:hunter2@{endpoint}'}}\n  \
         token: {{source: 'whep://{endpoint}', whepBearerToken: 'ana:hunter2'}}\n"
    );
    let mut config = format!("paths:\n{good}  stranger: {{source: 'whep://ana:hunter3@{endpoint}'}}\n");
    for (name, port, _) in &hostile {
        config += &format!("  {name}: {{source: 'whep://127.0.0.1:{port}/x/whep'}}\n");
    }
    let server = Server::start(&config).await?;
    let state = server.wait_online("cam").await?;
    ensure!(state["source"]["type"] == "webRTCSource", "{state}");
    ensure!(state["tracks"] == serde_json::json!(["H264", "Opus"]), "{state}");
    server.wait_online("token").await?;
    hls_shows(&server, "cam", &clip).await?;
    for (name, expected) in hostile
        .iter()
        .map(|(name, _, expected)| (*name, *expected))
        .chain([("stranger", "server answered 401")])
    {
        let says =
            |path: &serde_json::Value| path["stateReason"].as_str().is_some_and(|why| why.contains(expected));
        server.wait_path(name, expected, PATIENCE, says).await?;
    }
    origin.restart().await?;
    server.wait_path("cam", "offline", PATIENCE, |path| path["online"] == false).await?;
    wait_back(&server, "cam").await?;
    // Who goes says so: a vanished viewer would be missed after 25 s.
    server.reconfigure("paths: {}\n").await?;
    wait::until("the session's end", Duration::from_secs(15), async || has_no_session(&origin).await).await?;
    // correctness: S5
    hides(&server, "hunter2")
}

/// The clip as aiortc wants it: a byte stream.
async fn as_ts(clip: &Path, ts: &Path) -> anyhow::Result<()> {
    let (clip, ts) = (clip.display().to_string(), ts.display().to_string());
    let cut = ffmpeg::ffmpeg(&["-v", "error", "-i", &clip, "-map", "0:v", "-c", "copy", "-f", "mpegts", &ts])
        .await?;
    ensure!(cut.success, "ffmpeg: {}", cut.stderr);
    Ok(())
}

#[tokio::test]
async fn aiortc_is_pulled() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = USUAL.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let dir = tempfile::tempdir()?;
    let ts = dir.path().join("clip.ts");
    as_ts(&file, &ts).await?;
    let args = ["--clip", &*ts.to_string_lossy()];
    let (peer, ready) = peers::serve("whep_server.py", &args, PATIENCE).await?;
    let endpoint = ready["whep"].as_str().context("endpoint")?.replace("http://", "whep://");
    let server = Server::start(&format!("paths:\n  cam: {{source: '{endpoint}'}}\n")).await?;
    let state = server.wait_online("cam").await?;
    ensure!(state["tracks"] == serde_json::json!(["H264"]), "{state}");
    hls_shows(&server, "cam", &clip).await?;
    server.reconfigure("paths: {}\n").await?;
    wait::until("DELETE", PATIENCE, async || {
        Ok(peer
            .log
            .lines()
            .iter()
            .any(|line| line.contains("DELETE") && line.contains("/session/1"))
            .then_some(()))
    })
    .await
}
