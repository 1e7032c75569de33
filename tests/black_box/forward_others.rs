//! Forward over RTMP and WHIP: nginx, ffmpeg and aiortc as servers, and another server of ours for what they can't do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::bitstream::{self, UnitHash};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::fmp4::Kind;
use gtvision_tests::nginx::Nginx;
use gtvision_tests::process::Process;
use gtvision_tests::{Server, Simulator, ffmpeg, http, machine, peers, ports, wait};
use serde_json::json;

use crate::forward::{PATIENCE, dests, wait_state};
use crate::pulled_rtmp::{fingerprint, hides};
use crate::rtmp::{CLIP, make_certificate};

/// ffmpeg as a server: takes one publisher, and writes the pictures as they come.
fn listener(url: &str, file: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-y", "-v", "error", "-listen", "1", "-i", url]);
    command.args(["-map", "0:v", "-c", "copy", "-f", "h264", "-flush_packets", "1"]);
    Process::start("ffmpeg", command.arg(file))
}

/// A player of a server that begins with whatever comes next: the pictures are the clip's from their first key frame on, and there is
/// sound.
async fn plays(url: &str, clip: &[UnitHash]) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (video, sound) = (dir.path().join("video"), dir.path().join("sound.mka"));
    let (video_text, sound_text) = (video.to_string_lossy(), sound.to_string_lossy());
    let output = |map, format| ["-t", "5", "-map", map, "-c", "copy", "-f", format];
    let video_output = [&output("0:v", "h264")[..], &[&*video_text]].concat();
    let sound_output = [&output("0:a", "matroska")[..], &[&*sound_text]].concat();
    let output = ffmpeg::ffmpeg(&[&["-i", url][..], &video_output, &sound_output].concat()).await?;
    ensure!(output.success, "ffmpeg {url}: {}", output.stderr);
    let received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&video)?);
    bitstream::check_same(clip, &received).with_context(|| url.to_owned())?;
    let frames = ffmpeg::packets(&sound, &[]).await?.len();
    ensure!(received.len() >= 40 && frames >= 80, "{} units, {frames} frames of sound", received.len());
    Ok(())
}

#[tokio::test]
async fn media_is_sent_over_rtmp_to_nginx_and_ffmpeg_and_enhanced_over_rtmps() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let (file, h265) = (CLIP.file().await?, Clip { codec: "h265", audio: "opus", ..CLIP }.file().await?);
    let clip = bitstream::of_clip(&file).await?;
    let simulator = Simulator::start(&[("cam", &file), ("new", &h265)]).await?;
    let dir = tempfile::tempdir()?;
    let secure = make_certificate(dir.path()).await?;
    let there = Server::start(&(secure + "paths:\n  copy/new: {}\n")).await?;
    let (port, listening, written) = (ports::free()?, ports::free()?, dir.path().join("video"));
    let nginx = Nginx::rtmp(port).await?;
    let _ffmpeg = listener(&format!("rtmp://127.0.0.1:{listening}/live/x"), &written)?;
    wait::until("ffmpeg's listener", PATIENCE, async || ports::is_listened(listening)).await?;
    let there_url = format!("rtmps://127.0.0.1:{}/copy/new?user=u&pass=hunter2", there.ports.rtmps);
    let print = fingerprint(&dir.path().join("certificate.pem")).await?;
    let server = Server::start(&format!(
        "pathDefaults: {{rtspTransport: tcp}}\npaths:\n  cam:\n    source: {}\n    forward:\n    \
         - dest: rtmp://ana:hunter2@127.0.0.1:{port}/live/cam?token=hunter2\n    \
         - dest: rtmp://127.0.0.1:{listening}/live/x\n  new:\n    source: {}\n    forward:\n    \
         - {{dest: '{there_url}', destFingerprint: {print}}}\n    \
         - {{dest: '{there_url}', destFingerprint: {}}}\n",
        simulator.url("cam"),
        simulator.url("new"),
        "0".repeat(64)
    ))
    .await?;
    let dest = wait_state(&server, 0, "forwarding").await?;
    ensure!(dest["protocol"] == "rtmp" && dest["lastError"] == "", "{dest}");
    wait_state(&server, 1, "forwarding").await?;
    plays(&format!("rtmp://127.0.0.1:{port}/live/cam"), &clip).await?;
    wait::until("two seconds of pictures", PATIENCE, async || {
        let received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&written).unwrap_or_default());
        Ok((received.len() >= 60).then_some(()))
    })
    .await?;
    let mut received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&written)?);
    // The last one may be half written.
    received.pop();
    bitstream::check_same(&clip, &received)?;

    let copy = there.wait_online("copy/new").await?;
    ensure!(copy["tracks"] == json!(["H265", "Opus"]) && copy["source"]["type"] == "rtmpsConn", "{copy}");
    let distrusted = wait::until("a refused certificate", PATIENCE, async || {
        let list = http::get(&server.api("paths/forward/list?path=new")).await?.ok()?.json()?;
        Ok(list["items"]
            .as_array()
            .and_then(|dests| dests.get(1))
            .cloned()
            .filter(|dest| dest["state"] == "error"))
    });
    let distrusted = distrusted.await?["lastError"].to_string();
    ensure!(distrusted.contains("destFingerprint"), "{distrusted}");

    // One that goes away is sent to once it is back; the others go on.
    nginx.stop()?;
    let dest = wait_state(&server, 0, "error").await?;
    ensure!(dest["lastError"].as_str().is_some_and(|error| !error.is_empty()), "{dest}");
    ensure!(dests(&server).await?[1]["state"] == "forwarding");
    let _nginx = Nginx::rtmp(port).await?;
    wait_state(&server, 0, "forwarding").await?;
    // correctness: S5
    hides(&server, "hunter2")
}

#[tokio::test]
async fn media_is_sent_over_whip_to_aiortc_and_another_server_and_both_are_left_in_order()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = Clip { seconds: 4, audio: "aac", ..USUAL }.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let simulator = Simulator::start(&[("cam", &file)]).await?;
    let (peer, ready) = peers::serve("whip_server.py", &["--token", "hunter2"], PATIENCE).await?;
    let endpoint = ready["whip"].as_str().context("endpoint")?;
    let there = Server::start("paths:\n  copy: {}\n").await?;
    let pulled = format!("paths:\n  cam:\n    source: {}\n    rtspTransport: tcp\n", simulator.url("cam"));
    let whip = endpoint.replace("http://", "whip://");
    let forward = format!(
        "    forward:\n    - {{dest: '{whip}', whipBearerToken: hunter2}}\n    - dest: whip://127.0.0.1:{}/copy/whip\n    \
         - {{dest: '{whip}', whipBearerToken: hunter3}}\n",
        there.ports.webrtc
    );
    let server = Server::start(&(pulled.clone() + &forward)).await?;
    let dest = wait_state(&server, 0, "forwarding").await?;
    ensure!(dest["protocol"] == "whip" && dest["lastError"] == "", "{dest}");
    ensure!(!dest.to_string().contains("hunter2"), "{dest}");
    let dest = wait_state(&server, 2, "error").await?;
    ensure!(dest["lastError"].to_string().contains("server answered 401"), "{dest}");

    // A stranger decodes pictures and sound: AAC has become Opus.
    let frames = wait::until("decoded pictures and sound", PATIENCE, async || {
        let frames = http::get(&endpoint.replace("/cam", "/frames")).await?.ok()?.json()?;
        let enough = frames["video"].as_u64() >= Some(25) && frames["audio"].as_u64() >= Some(25);
        Ok(enough.then_some(frames))
    });
    let frames = frames.await.with_context(|| server.log_tail())?;
    ensure!(frames["size"] == "640x360", "{frames}");
    let copy = there.wait_online("copy").await?;
    ensure!(copy["tracks"] == json!(["H264", "Opus"]), "{copy}");
    ensure!(copy["source"]["type"] == "webRTCSession", "{copy}");
    let dir = tempfile::tempdir()?;
    let copied = dir.path().join("video");
    let (url, text) = (there.rtsp("copy"), copied.to_string_lossy());
    let args =
        ["-rtsp_transport", "tcp", "-i", &url, "-t", "4", "-map", "0:v", "-c", "copy", "-f", "h264", &*text];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "ffmpeg: {}", output.stderr);
    let received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&copied)?);
    bitstream::check_same(&clip, &received)?;
    ensure!(received.len() >= 50, "{} units", received.len());
    let labels = [("path", "cam"), ("protocol", "whip"), ("state", "forwarding")];
    let sent = server.metrics().await?.sum("forward_dests_outbound_bytes", &labels);
    ensure!(sent > Some(50_000.0), "{sent:?} bytes");
    ensure!(server.path("cam").await?["readers"] == json!([]));

    // Who goes says so: a vanished publisher would be missed after 25 s.
    server.reconfigure(&pulled).await?;
    there.wait_path("copy", "is left", Duration::from_secs(15), |path| path["online"] == false).await?;
    wait::until("DELETE", PATIENCE, async || {
        let deleted =
            |line: &String| line.contains("DELETE") && line.contains("/session/") && line.contains("200");
        Ok(peer.log.lines().iter().any(deleted).then_some(()))
    })
    .await?;
    // correctness: S5
    hides(&server, "hunter2")
}
