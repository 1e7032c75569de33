//! Patterns: entries of the configuration that stand for many paths, and MediaMTX's own file, whole.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use gtvision_tests::clips::USUAL;
use gtvision_tests::process::Process;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, http, machine, peers, wait, workspace};

/// Until a path that nobody uses is gone: its source's close-after, the muxer's, and looks once a second.
const GONE_LIMIT: Duration = Duration::from_secs(40);

const STOCK: &str = include_str!("configurations/mediamtx.yml");

async fn wait_gone(server: &Server, path: &str) -> anyhow::Result<()> {
    let url = server.api(&format!("paths/get/{path}"));
    wait::until(&format!("the end of {path}"), GONE_LIMIT, async || {
        Ok((http::get(&url).await?.status == 404).then_some(()))
    })
    .await
}

/// A pattern's camera is connected for whoever asks, under the name it asked for, and let go of afterwards; whoever wants
/// may publish to any other name.
#[tokio::test]
async fn paths_of_patterns_exist_while_they_are_used() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("street_1", &clip), ("street_2", &clip)]).await?;
    let config = format!(
        "hlsMuxerCloseAfter: 2s\npaths:\n  '~^street/(\\d+)$':\n    source: {}_$G1\n    rtspTransport: tcp\n    \
         sourceOnDemand: yes\n    sourceOnDemandCloseAfter: 2s\n  all_others:\n",
        simulator.url("street")
    );
    let server = Server::start(&config).await?;
    let list = http::get(&server.api("paths/list")).await?.ok()?.json()?;
    ensure!(list["itemCount"] == 0, "a path without a user: {list}");

    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    reader.play(&server.rtsp("street/1")).await?;
    reader.packet().await?;
    http::get(&server.hls("street/2")).await?.ok()?;
    for path in ["street/1", "street/2"] {
        let path = server.path(path).await?;
        ensure!(path["online"] == true && path["confName"] == "~^street/(\\d+)$", "{path}");
    }
    // Nobody publishes there, and no camera stands behind it.
    ensure!(http::get(&server.hls("street/x")).await?.status == 404);
    let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    let headers = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", sdp.len());
    let mut client = RawClient::connect(server.ports.rtsp).await?;
    let answer = client.ask_with("ANNOUNCE", &server.rtsp("street/9"), &headers, sdp).await?;
    ensure!(answer.status == 405, "to a pulled path: {}", answer.text);

    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(&clip);
    let mut publisher = Process::start(
        "ffmpeg",
        command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", &server.rtsp("any/thing")]),
    )?;
    wait::until("the published path", Duration::from_secs(30), async || {
        let answer = http::get(&server.api("paths/get/any/thing")).await?;
        Ok((answer.is_ok() && answer.json()?["online"] == true).then_some(()))
    })
    .await?;
    let path = server.path("any/thing").await?;
    ensure!(path["confName"] == "all_others" && path["source"]["type"] == "rtspSession", "{path}");
    let mut viewer = RawClient::connect(server.ports.rtsp).await?;
    viewer.play(&server.rtsp("any/thing")).await?;
    viewer.packet().await?;

    publisher.stop()?;
    drop((reader, viewer, client));
    for path in ["street/1", "street/2", "any/thing"] {
        wait_gone(&server, path).await?;
    }
    Ok(())
}

/// What MediaMTX ships starts this server; what has no effect is said once.
#[tokio::test]
async fn mediamtxs_own_file_starts_the_server_with_one_warning() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("mediamtx.yml");
    std::fs::write(&file, STOCK)?;
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.arg("check-config").arg(&file);
    let checked = peers::run(command, Duration::from_secs(10)).await?;
    ensure!(checked.success, "{checked:?}");
    let warnings: Vec<_> = checked.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    ensure!(warnings.len() == 1 && warnings[0].contains("these settings have no effect: "), "{warnings:?}");
    for setting in ["srt", "moq"] {
        ensure!(warnings[0].contains(setting), "{setting} is not named: {warnings:?}");
    }
    // Its addresses may be taken on this machine: the harness gives others.
    let harness = ["api:", "metrics:", "webrtcIPsFromInterfaces:", "webrtcAdditionalHosts:"];
    let is_kept = |line: &&str| {
        let key = line.split(' ').next().unwrap_or_default();
        !key.ends_with("Address:") && !harness.contains(&key)
    };
    let kept: Vec<_> = STOCK.lines().filter(is_kept).collect();
    let server = Server::start(&(kept.join("\n") + "\n")).await?;
    let warned = server.wait_log("WARN", 1).await?;
    ensure!(warned.len() == 1, "{warned:?}");
    Ok(())
}
