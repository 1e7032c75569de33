//! Sources over RTMP: nginx and ffmpeg as servers that were not written here, RTMPS, and servers that mean no good.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::nginx::Nginx;
use gtvision_tests::process::Process;
use gtvision_tests::{Server, bitstream, machine, peers, ports, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::rtmp::{CLIP, copies, hls_shows, make_certificate, publish};

const PATIENCE: Duration = Duration::from_secs(45);

/// Until a path is back after its server was: three quick tries, then one after five seconds.
pub(crate) async fn wait_back(server: &Server, path: &str) -> anyhow::Result<()> {
    server.wait_path(path, "back", PATIENCE, |state| state["online"] == true).await.map(drop)
}

pub(crate) fn hides(server: &Server, secret: &str) -> anyhow::Result<()> {
    let leak = server.log_lines().into_iter().find(|line| line.contains(secret));
    ensure!(leak.is_none(), "a password in the log: {leak:?}");
    Ok(())
}

#[tokio::test]
async fn nginx_is_pulled_over_rtmp_and_again_when_it_is_back() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let port = ports::free()?;
    let (nginx, address) = (Nginx::rtmp(port).await?, format!("127.0.0.1:{port}/live/cam"));
    let mut encoder = publish(&file, &format!("rtmp://{address}"))?;
    let config = format!("paths:\n  cam: {{source: 'rtmp://ana:hunter2@{address}?token=hunter2'}}\n");
    let server = Server::start(&config).await?;
    let state = server.wait_online("cam").await?;
    ensure!(state["source"]["type"] == "rtmpSource", "{state}");
    ensure!(state["tracks"] == serde_json::json!(["H264", "MPEG-4 Audio"]), "{state}");
    let rtsp = server.rtsp("cam");
    tokio::try_join!(copies(&rtsp, &["-rtsp_transport", "tcp"], &clip), hls_shows(&server, "cam", &clip))?;
    nginx.stop()?;
    server.wait_path("cam", "offline", PATIENCE, |path| path["online"] == false).await?;
    encoder.kill()?;
    let _nginx = Nginx::rtmp(port).await?;
    let _encoder = publish(&file, &format!("rtmp://{address}"))?;
    wait_back(&server, "cam").await?;
    // correctness: S5
    hides(&server, "hunter2")
}

/// What a server says to whoever has said something; then it waits.
pub(crate) async fn answering(bytes: Vec<u8>) -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut heard = [0; 4096];
                // One that hangs up early has had enough.
                if socket.read(&mut heard).await.is_ok() && socket.write_all(&bytes).await.is_ok() {
                    while socket.read(&mut heard).await.is_ok_and(|read| read > 0) {}
                }
            });
        }
    });
    Ok(port)
}

pub(crate) async fn fingerprint(certificate: &std::path::Path) -> anyhow::Result<String> {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(certificate);
    let output = peers::run(command, Duration::from_secs(20)).await?;
    let (_, hex) = output.stdout.trim().split_once('=').context("no fingerprint")?;
    Ok(hex.replace(':', "").to_lowercase())
}

#[tokio::test]
async fn rtmps_and_ffmpeg_are_pulled_while_hostile_servers_do_no_harm() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let dir = tempfile::tempdir()?;
    let secure = make_certificate(dir.path()).await?;
    let studio = Server::start(&(secure + "paths:\n  studio/a: {}\n")).await?;
    let _encoder = publish(&file, &studio.rtmp("studio/a"))?;
    studio.wait_online("studio/a").await?;
    // A handshake, and then a message of 16 MiB.
    let hello = [&[3][..], &[0; 2 * 1536]].concat();
    let endless = [&hello[..], &[4, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0]].concat();
    let hostile = [
        ("http", answering(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await?, "does not speak plain RTMP"),
        ("endless", answering(endless).await?, "message of 16777215 bytes"),
        ("mute", answering(Vec::new()).await?, "no picture within 10 s"),
    ];
    let (listening, print) = (ports::free()?, fingerprint(&dir.path().join("certificate.pem")).await?);
    let secure = format!("rtmps://127.0.0.1:{}/studio/a?user=u&pass=hunter2", studio.ports.rtmps);
    let mut config = format!(
        "paths:\n  secure: {{source: '{secure}', sourceFingerprint: {print}}}\n  \
         distrusted: {{source: '{secure}', sourceFingerprint: {}}}\n  \
         asked: {{source: 'rtmp://127.0.0.1:{listening}/live/x', sourceOnDemand: yes, sourceOnDemandCloseAfter: 1s}}\n",
        "0".repeat(64)
    );
    for (name, port, _) in &hostile {
        config += &format!("  {name}: {{source: 'rtmp://127.0.0.1:{port}/live/x'}}\n");
    }
    let server = Server::start(&config).await?;
    server.wait_online("secure").await?;
    hls_shows(&server, "secure", &clip).await?;
    for (name, expected) in hostile
        .iter()
        .map(|(name, _, expected)| (*name, *expected))
        .chain([("distrusted", "certificate is refused")])
    {
        server
            .wait_path(name, expected, PATIENCE, |path| {
                path["stateReason"].as_str().is_some_and(|reason| reason.contains(expected))
            })
            .await?;
    }
    // ffmpeg serves one client, who comes when somebody watches.
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(&file);
    command.args([
        "-c",
        "copy",
        "-f",
        "flv",
        "-listen",
        "1",
        &format!("rtmp://127.0.0.1:{listening}/live/x"),
    ]);
    let _listener = Process::start("ffmpeg", &mut command)?;
    wait::until("ffmpeg's listener", PATIENCE, async || ports::is_listened(listening)).await?;
    ensure!(server.path("asked").await?["state"] == "idle", "{}", server.path("asked").await?);
    copies(&server.rtsp("asked"), &["-rtsp_transport", "tcp"], &clip).await?;
    server.wait_state("asked", "idle", PATIENCE).await?;
    let secure = server.path("secure").await?;
    ensure!(secure["online"] == true && secure["reconnects"].as_u64().unwrap_or(0) == 0, "{secure}");
    hides(&server, "hunter2")
}
