//! Forward: a path's media is sent to other servers: ffmpeg that listens, and a server that wants a password.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::bitstream;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::fmp4::Kind;
use gtvision_tests::process::Process;
use gtvision_tests::{Server, Simulator, http, machine, ports, wait};
use serde_json::Value;

/// Until a server that is back is sent to: quick tries, and one after the first back-off.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// ffmpeg as a server: takes what is announced to it, and writes the pictures as they come.
fn listener(url: &str, file: &str) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-y", "-v", "error", "-rtsp_flags", "listen", "-i", url]);
    Process::start(
        "ffmpeg",
        command.args(["-map", "0:v", "-c", "copy", "-f", "h264", "-flush_packets", "1", file]),
    )
}

pub(crate) async fn dests(server: &Server) -> anyhow::Result<Vec<Value>> {
    let list = http::get(&server.api("paths/forward/list?path=cam")).await?.ok()?.json()?;
    Ok(list["items"].as_array().context("items")?.clone())
}

pub(crate) async fn wait_state(server: &Server, pos: usize, state: &str) -> anyhow::Result<Value> {
    let what = format!("{state} of destination {pos}");
    let waited = wait::until(&what, PATIENCE, async || {
        let dest = dests(server).await?.into_iter().nth(pos).context("destination")?;
        Ok((dest["state"] == state).then_some(dest))
    });
    waited.await.with_context(|| server.log_tail())
}

#[tokio::test]
async fn media_is_sent_to_other_servers_byte_for_byte_and_again_once_they_are_back() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { seconds: 4, audio: "aac", ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let mut there = Server::start(
        "rtspAuthMethods: [digest]\nauthInternalUsers:\n- user: cam\n  pass: hunter2\n  permissions: [{action: publish}]\n\
         - user: any\n  permissions: [{action: read}, {action: api}, {action: metrics}]\npaths:\n  copy:\n",
    )
    .await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("video");
    let file_text = file.to_string_lossy().into_owned();
    let listened = format!("rtsp://127.0.0.1:{}/listen", ports::free()?);
    let mut ffmpeg = listener(&listened, &file_text)?;
    let forward = format!(
        "    maxReaders: 1\n    forward:\n    - dest: {listened}\n    - dest: rtsp://cam:hunter2@127.0.0.1:{}/copy\n",
        there.ports.rtsp
    );
    let pulled = format!("paths:\n  cam:\n    source: {}\n    rtspTransport: tcp\n", simulator.url("cam"));
    let server = Server::start(&(pulled.clone() + &forward)).await?;
    wait_state(&server, 0, "forwarding").await?;
    let dest = wait_state(&server, 1, "forwarding").await?;
    ensure!(dest["protocol"] == "rtsp" && dest["pos"] == 2 && dest["lastError"] == "", "{dest}");
    let copy = there.wait_online("copy").await?;
    ensure!(copy["tracks"] == serde_json::json!(["H264", "MPEG-4 Audio"]), "{copy}");
    ensure!(copy["source"]["type"] == "rtspSession", "{copy}");

    // What the other servers get is what the camera sends.
    let sent = bitstream::of_clip(&clip).await?;
    wait::until("two seconds of pictures", PATIENCE, async || {
        let received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&file)?);
        Ok((received.len() >= 60).then_some(()))
    })
    .await?;
    let mut received = bitstream::of_byte_stream(Kind::H264, &std::fs::read(&file)?);
    // The last one may be half written.
    received.pop();
    bitstream::check_same(&sent, &received)?;
    let metrics = server.metrics().await?;
    let labels = [("path", "cam"), ("protocol", "rtsp"), ("state", "forwarding")];
    ensure!(metrics.sum("forward_dests", &labels) == Some(2.0));
    ensure!(metrics.sum("forward_dests_outbound_bytes", &labels) > Some(50_000.0));
    // It is no reader, and takes no reader's place.
    ensure!(server.path("cam").await?["readers"] == serde_json::json!([]));

    // One that goes away is told, and sent to once it is back; the other goes on.
    ffmpeg.kill()?;
    let dest = wait_state(&server, 0, "error").await?;
    ensure!(dest["lastError"].as_str().is_some_and(|error| !error.is_empty()), "{dest}");
    ensure!(dests(&server).await?[1]["state"] == "forwarding");
    let mut ffmpeg = listener(&listened, &file_text)?;
    wait_state(&server, 0, "forwarding").await?;
    there.restart().await?;
    there.wait_path("copy", "again", PATIENCE, |path| path["online"] == true).await?;

    // A destination that is taken away is told goodbye; the camera and the other destination stay.
    let kept = dests(&server).await?[0]["id"].clone();
    let one = format!("    maxReaders: 1\n    forward:\n    - dest: {listened}\n");
    server.reconfigure(&(pulled + &one)).await?;
    there.wait_path("copy", "is left", PATIENCE, |path| path["online"] == false).await?;
    let left = dests(&server).await?;
    ensure!(left.len() == 1 && left[0]["id"] == kept && left[0]["state"] == "forwarding", "{left:?}");
    let leak = server.log_lines().into_iter().find(|line| line.contains("hunter2"));
    ensure!(leak.is_none(), "a password in the log: {leak:?}");
    ffmpeg.kill()
}
