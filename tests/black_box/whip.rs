//! WHIP: a browser that publishes its camera.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::http::{self, Method};
use gtvision_tests::{Server, ffmpeg, machine, peers};
use serde_json::json;

/// A browser starts, on two cores that others use too.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_browser_publishes_its_camera_and_others_watch_it() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let server = Server::start("paths:\n  desk: {}\n  pulled: {source: 'rtsp://127.0.0.1:1/x'}\n").await?;
    let (endpoint, page) = (server.whip("desk"), server.webrtc_page("desk").replace("/desk/", "/"));
    let sdp = [("content-type", "application/sdp")];
    let no_media = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=recvonly\r\na=rtpmap:96 H264/90000\r\n";
    let two = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=sendonly\r\na=rtpmap:96 H264/90000\r\n".repeat(2);
    for (method, url, headers, body, status) in [
        (Method::OPTIONS, &endpoint, &[][..], "", 204),
        (Method::GET, &endpoint, &[], "", 405),
        (Method::POST, &endpoint, &[], "v=0\r\n", 400),
        (Method::POST, &endpoint, &sdp, no_media, 400),
        (Method::POST, &endpoint, &sdp, &format!("v=0\r\n{two}"), 406),
        (Method::POST, &server.whip("pulled"), &sdp, no_media, 400),
        (Method::POST, &server.whip("nobody"), &sdp, no_media, 400),
    ] {
        let answer = http::send(method.clone(), url, headers, body.to_owned()).await?;
        ensure!(answer.status == status, "{method} {url}: {} instead of {status}", answer.status);
    }
    let args = ["--page", &page, "--url", &endpoint];
    let (mut browser, ready) = peers::serve("whip.mjs", &args, PATIENCE).await?;
    // correctness: W1
    let answer = ready["sdp"].as_str().context("sdp")?;
    ensure!(answer.matches("a=recvonly").count() == 2 && answer.contains("a=candidate:"), "{answer}");
    let state = server.wait_online("desk").await?;
    ensure!(state["source"]["type"] == "webRTCSession", "{state}");
    ensure!(state["tracks"] == json!(["H264", "Opus"]), "{state}");
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("desk.mkv");
    let (url, text) = (server.rtsp("desk"), file.to_string_lossy());
    let args = ["-rtsp_transport", "tcp", "-i", &url, "-t", "6", "-map", "0", "-c", "copy", &text];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "ffmpeg: {}", output.stderr);
    let complaints = ffmpeg::decode_errors(&file).await?;
    ensure!(complaints.is_empty(), "{complaints}");
    let packets = ffmpeg::packets(&file, &[]).await?;
    let pictures = packets.iter().filter(|packet| packet.codec_type == "video").count();
    ensure!(pictures > 30 && packets.len() - pictures > 50, "{pictures} of {} packets", packets.len());
    // A browser paces what it sends; its packets are never evenly apart.
    let sessions = http::get(&server.api("webrtcsessions/list")).await?.ok()?.json()?;
    let session = &sessions["items"][0];
    let jitter = session["inboundRTPPacketsJitter"].as_f64();
    ensure!(jitter.is_some_and(|ticks| (1.0..90_000.0).contains(&ticks)), "{session}");
    let id = session["id"].as_str().context("id")?;
    let shown = server.metrics().await?.sum("webrtc_sessions_inbound_rtp_packets_jitter", &[("id", id)]);
    ensure!(shown > Some(0.0), "{shown:?}");
    // It says DELETE.
    browser.stop()?;
    server.wait_path("desk", "nobody", PATIENCE, |path| path["online"] == false).await?;
    Ok(())
}
