//! Jitter and loss: what the server tells of a bad network, to operators and to who sends; through relays that hold and
//! lose packets, with a camera that is pulled and ffmpeg as publisher.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::process::Process;
use gtvision_tests::relay::{TcpRelay, UdpRelay};
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, http, machine, wait};
use serde_json::Value;

const CLIP: Clip = Clip { seconds: 4, ..USUAL };

/// Counters are shown every 5 s.
const PATIENCE: Duration = Duration::from_secs(40);

/// A wait of 30 ms every third picture is some milliseconds, and less behind the many packets of a key frame.
const JITTER_SECONDS_MIN: f64 = 0.000_2;

/// What a jitter that was measured can't be.
const JITTER_SECONDS_MAX: f64 = 1.0;

/// The clock of video in RTP (RFC 6184 s5.1).
const TICKS_PER_SECOND: f64 = 90_000.0;

fn is_told(jitter_seconds: f64) -> bool {
    (JITTER_SECONDS_MIN..JITTER_SECONDS_MAX).contains(&jitter_seconds)
}

#[tokio::test]
async fn jitter_and_loss_of_a_bad_network_are_told() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = CLIP.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let camera = simulator.ready["rtsp"].as_str().and_then(|address| address.rsplit_once(':'));
    let relay = TcpRelay::start(camera.context("the camera's port")?.1.parse()?).await?;
    let source = format!("rtsp://127.0.0.1:{}/cam", relay.port);
    let config = format!("paths:\n  pushed: {{}}\n  pulled:\n    source: {source}\n    rtspTransport: tcp\n");
    let server = Server::start(&config).await?;
    tokio::try_join!(of_a_camera(&server), of_a_publisher(&server, &clip))?;
    Ok(())
}

/// A camera that is pulled.
async fn of_a_camera(server: &Server) -> anyhow::Result<()> {
    server.wait_online("pulled").await?;
    let path = server
        .wait_path("pulled", "jitter", PATIENCE, |path| path["jitterSeconds"].as_f64().is_some_and(is_told))
        .await?;
    ensure!(path["lostPackets"] == 0, "TCP loses nothing: {path}");
    let metrics = server.metrics().await?;
    let shown = metrics.sum("gtvision_source_jitter_seconds", &[("name", "pulled")]);
    ensure!(shown.is_some_and(is_told), "{shown:?}");
    Ok(())
}

/// ffmpeg's packets, through the relay into a session of ours.
async fn of_a_publisher(server: &Server, clip: &Path) -> anyhow::Result<()> {
    let relay = UdpRelay::start((server.ports.rtp, server.ports.rtcp)).await?;
    let dir = tempfile::tempdir()?;
    let sdp = dir.path().join("stream.sdp");
    let _encoder = send(clip, &sdp, relay.inner)?;
    let sdp = wait::until("the encoder's SDP", PATIENCE, async || {
        let text = std::fs::read_to_string(&sdp).unwrap_or_default();
        Ok((text.contains("a=fmtp:") && text.ends_with('\n')).then_some(text))
    })
    .await?;
    let mut client = RawClient::connect(server.ports.rtsp).await?;
    let session = publish(server, &mut client, (&sdp, relay.outer)).await?;
    server.wait_online("pushed").await?;
    relay.lose();
    let id = session["id"].as_str().context("id")?;
    // What is no RTP, and what is no RTCP.
    relay.rtp.send_to(b"???", ("127.0.0.1", server.ports.rtp)).await?;
    relay.rtcp.send_to(&[0x80, 201, 0, 9, 0, 0], ("127.0.0.1", server.ports.rtcp)).await?;

    // correctness: R2
    let report = report_of_losses(&relay).await?;
    ensure!(report.lost <= relay.lost(), "{report:?}, but {} were lost", relay.lost());
    // A twentieth is lost, for most of the time that it covers.
    ensure!((2..64).contains(&report.fraction_lost), "{report:?}");
    ensure!(is_told(f64::from(report.jitter) / TICKS_PER_SECOND), "{report:?}");

    let told = wait::until("jitter and loss of the session", PATIENCE, async || {
        let session = http::get(&server.api(&format!("rtspsessions/get/{id}"))).await?.ok()?.json()?;
        let path = server.path("pushed").await?;
        let ticks = session["inboundRTPPacketsJitter"].as_f64().unwrap_or(0.0);
        let seconds = path["jitterSeconds"].as_f64().unwrap_or(0.0);
        // They are of the same report, unless one just fell due.
        let is_same = (seconds * TICKS_PER_SECOND - ticks).abs() < 2.0;
        let has_lost = session["inboundRTPPacketsLost"].as_u64() >= Some(report.lost);
        let was_reported_to = session["inboundRTCPPackets"].as_u64() > Some(0);
        ensure!(is_told(seconds) && is_same && has_lost && was_reported_to, "{session}, {path}");
        Ok(Some(session))
    })
    .await?;
    for (name, older) in [
        ("inboundRTPPacketsJitter", "rtpPacketsJitter"),
        ("inboundRTPPacketsLost", "rtpPacketsLost"),
        ("inboundRTPPacketsInError", "rtpPacketsInError"),
        ("inboundRTCPPacketsInError", "rtcpPacketsInError"),
    ] {
        ensure!(told[name] == told[older], "{name}: {told}");
    }
    ensure!(told["inboundRTPPacketsLost"].as_u64() <= Some(relay.lost()), "{told}");
    ensure!(told["inboundRTPPacketsInError"] == 1 && told["inboundRTCPPacketsInError"] == 1, "{told}");
    check_metrics(server, id).await?;

    // Ended through the API, and then there is nothing to tell.
    let kick = server.api(&format!("rtspsessions/kick/{id}"));
    http::send(http::Method::POST, &kick, &[], bytes::Bytes::new()).await?.ok()?;
    client.drain(PATIENCE).await?;
    let left = server.wait_path("pushed", "offline", PATIENCE, |path| path["online"] == false).await?;
    ensure!(left["jitterSeconds"].is_null() && left["lostPackets"].as_u64() > Some(0), "{left}");
    Ok(())
}

/// ffmpeg sends a clip without end, and says what in a file.
fn send(clip: &Path, sdp: &Path, (rtp, rtcp): (u16, u16)) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    command.args(["-map", "0:v", "-c", "copy", "-f", "rtp", "-sdp_file"]).arg(sdp);
    let url = format!("rtp://127.0.0.1:{rtp}?rtcpport={rtcp}&pkt_size=1200");
    Process::start("ffmpeg", command.arg(url))
}

/// Announces what the encoder sends, as coming from these ports; gives the session as the API lists it.
async fn publish(
    server: &Server,
    client: &mut RawClient,
    (sdp, ports): (&str, (u16, u16)),
) -> anyhow::Result<Value> {
    let url = server.rtsp("pushed");
    let about = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", sdp.len());
    let answer = client.ask_with("ANNOUNCE", &url, &about, sdp).await?;
    ensure!(answer.status == 200, "{}", answer.text);
    let transport =
        format!("Transport: RTP/AVP/UDP;unicast;client_port={}-{};mode=record\r\n", ports.0, ports.1);
    for (method, headers) in [("SETUP", transport.as_str()), ("RECORD", "")] {
        let answer = client.ask(method, &url, headers).await?;
        ensure!(answer.status == 200, "{method}: {}", answer.text);
    }
    let list = http::get(&server.api("rtspsessions/list")).await?.ok()?.json()?;
    ensure!(list["itemCount"] == 1 && list["items"][0]["state"] == "publish", "{list}");
    ensure!(list["items"][0]["transport"] == "UDP", "{list}");
    Ok(list["items"][0].clone())
}

/// What a receiver report says of its first source (RFC 3550 s6.4.2).
#[derive(Debug)]
struct Report {
    fraction_lost: u8,
    lost: u64,
    jitter: u32,
}

/// So many losses take longer than a report's interval is off by.
const LOSSES_MIN: u32 = 10;

/// The first report to the encoder that tells of [`LOSSES_MIN`].
async fn report_of_losses(relay: &UdpRelay) -> anyhow::Result<Report> {
    let mut buf = [0; 2048];
    let next = async {
        loop {
            let (length, _) = relay.rtcp.recv_from(&mut buf).await?;
            let packet = &buf[..length];
            let word = |at: usize| {
                packet
                    .get(at..at + 4)
                    .and_then(|word| word.first_chunk())
                    .map(|word| u32::from_be_bytes(*word))
            };
            ensure!(packet.starts_with(&[0x81, 201, 0, 7]), "no receiver report of one source: {packet:?}");
            let (losses, jitter) = (word(12).context("losses")?, word(20).context("jitter")?);
            let [fraction_lost, ..] = losses.to_be_bytes();
            if losses & 0xff_ffff >= LOSSES_MIN {
                return Ok(Report { fraction_lost, lost: u64::from(losses & 0xff_ffff), jitter });
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.context("no report of a loss")?
}

async fn check_metrics(server: &Server, id: &str) -> anyhow::Result<()> {
    let metrics = server.metrics().await?;
    let of_session = |name: &str| metrics.sum(&format!("rtsp_sessions_{name}"), &[("id", id)]);
    for name in [
        "inbound_rtp_packets_jitter",
        "rtp_packets_jitter",
        "inbound_rtp_packets_lost",
        "inbound_rtp_packets_in_error",
        "inbound_rtcp_packets_in_error",
        "rtcp_packets_in_error",
    ] {
        ensure!(of_session(name) > Some(0.0), "{name}: {:?}", of_session(name));
    }
    let of_path = |name: &str| metrics.sum(&format!("gtvision_source_{name}"), &[("name", "pushed")]);
    ensure!(of_path("jitter_seconds").is_some_and(is_told), "{:?}", of_path("jitter_seconds"));
    ensure!(of_path("lost_packets_total") > Some(0.0), "{:?}", of_path("lost_packets_total"));
    Ok(())
}
