//! Path settings: who is sent elsewhere, and how many may read; with ffmpeg, GStreamer and requests by hand.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, ffmpeg, gstreamer, http, machine, wait};

const OFFER: &str = include_str!("chromium_offer.sdp");

/// Long enough for a reader that is gone to be noticed.
const PATIENCE: Duration = Duration::from_secs(60);

const SETUP_TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

async fn ffmpeg_reads(url: &str) -> anyhow::Result<()> {
    let args =
        ["-rtsp_transport", "tcp", "-i", url, "-t", "1", "-map", "0:v", "-c", "copy", "-f", "null", "-"];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "{url}: {}", output.stderr);
    Ok(())
}

async fn gstreamer_reads(url: &str) -> anyhow::Result<()> {
    gstreamer::reads(url, "tcp", &[gstreamer::PACKETS]).await
}

/// The status of a DESCRIBE, and where it sends to.
async fn described(server: &Server, path: &str) -> anyhow::Result<(u16, String)> {
    let mut client = RawClient::connect(server.ports.rtsp).await?;
    let answer = client.ask("DESCRIBE", &server.rtsp(path), "").await?;
    let location = answer.text.lines().find_map(|line| line.strip_prefix("Location: "));
    Ok((answer.status, location.unwrap_or_default().trim().to_owned()))
}

/// `fallback` while nobody sends, `source: redirect` always; over RTSP alone, as in MediaMTX.
#[tokio::test]
async fn readers_of_a_path_without_media_are_sent_elsewhere() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { seconds: 4, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let camera = simulator.url("cam");
    let config = format!(
        "pathDefaults:\n  rtspTransport: tcp\npaths:\n  live: {{source: '{camera}', fallback: /live}}\n  \
         away: {{fallback: /live}}\n  dead: {{source: 'rtsp://127.0.0.1:1/x', fallback: /live}}\n  \
         late: {{source: '{camera}', sourceOnDemand: yes, fallback: /away}}\n  \
         out: {{source: redirect, sourceRedirect: '{camera}'}}\n  round: {{fallback: /round}}\n  \
         '~^any/': {{fallback: /live}}\n"
    );
    let server = Server::start(&config).await?;
    server.wait_online("live").await?;
    let live = server.rtsp("live");
    for path in ["away", "dead", "any/thing"] {
        ensure!(described(&server, path).await? == (302, live.clone()), "{path}");
    }
    ensure!(described(&server, "out").await? == (302, camera));
    // Nobody is sent away from what is there, or will be; nor round in a circle.
    for path in ["live", "late"] {
        ensure!(described(&server, path).await?.0 == 200, "{path}");
    }
    ensure!(described(&server, "round").await?.0 == 404);
    let (away, out) = (server.rtsp("away"), server.rtsp("out"));
    tokio::try_join!(ffmpeg_reads(&away), gstreamer_reads(&away), ffmpeg_reads(&out))?;
    let path = server.path("out").await?;
    ensure!(path["source"]["type"] == "redirect" && path["ready"] == false, "{path}");
    for path in ["away", "out"] {
        ensure!(http::get(&server.hls(path)).await?.status == 404, "{path} over HLS");
    }
    Ok(())
}

/// Each way to read takes a seat, and the one too many is told so in MediaMTX's statuses.
#[tokio::test]
async fn one_reader_too_many_is_refused_whatever_it_speaks() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { seconds: 4, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let config = format!(
        "hlsAlwaysRemux: yes\npaths:\n  cam: {{source: '{}', rtspTransport: tcp, maxReaders: 1}}\n",
        simulator.url("cam")
    );
    let server = Server::start(&config).await?;
    server.wait_online("cam").await?;
    let url = server.rtsp("cam");
    let set_up = async || {
        let mut client = RawClient::connect(server.ports.rtsp).await?;
        anyhow::Ok(client.ask("SETUP", &format!("{url}/trackID=0"), SETUP_TCP).await?.status)
    };
    let offer = async || {
        let headers = [("content-type", "application/sdp")];
        http::send(http::Method::POST, &server.whep("cam"), &headers, OFFER).await
    };
    // A muxer that runs ahead of viewers is none.
    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    reader.play(&url).await?;
    ensure!(set_up().await? == 400, "a second RTSP reader");
    let answer = http::get(&server.hls("cam")).await?;
    ensure!(answer.status == 500 && answer.text().contains("maximum reader count"), "{}", answer.text());
    let answer = offer().await?;
    ensure!(answer.status == 400 && answer.text().contains("maximum reader count"), "{}", answer.text());
    let rtmp = ffmpeg::ffmpeg(&["-i", &server.rtmp("cam"), "-t", "1", "-f", "null", "-"]).await?;
    ensure!(!rtmp.success, "a second reader over RTMP");
    drop(reader);
    // An HLS viewer's seat is its session's.
    let master = wait::until("the seat of who left", PATIENCE, async || {
        let answer = http::get(&server.hls("cam")).await?;
        Ok(answer.is_ok().then_some(answer))
    })
    .await?;
    ensure!(master.text().contains("main_stream.m3u8"), "{}", master.text());
    ensure!(set_up().await? == 400 && offer().await?.status == 400, "beside an HLS viewer");
    ensure!(http::get(&server.hls("cam")).await?.is_ok(), "the viewer that is there already");
    let sessions = http::get(&server.api("hlssessions/list")).await?.ok()?.json()?;
    let id = sessions["items"][0]["id"].as_str().context("id")?.to_owned();
    let kick = server.api(&format!("hlssessions/kick/{id}"));
    http::send(http::Method::POST, &kick, &[], bytes::Bytes::new()).await?.ok()?;
    ensure!(offer().await?.status == 201, "after the viewer was kicked");
    Ok(())
}
