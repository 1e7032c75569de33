//! Multicast: one copy of a stream for all readers of a network, here the loopback interface, with GStreamer.

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, gstreamer, http, machine, ports};

async fn gstreamer_reads(url: &str) -> anyhow::Result<()> {
    gstreamer::reads(url, "udp-mcast", &[gstreamer::DECODED]).await
}

#[tokio::test]
async fn readers_in_one_network_get_one_copy_and_each_is_counted() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { seconds: 4, audio: "aac", ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam", &clip)]).await?;
    let config = format!(
        "multicastIPRange: 239.77.0.0/24\nmulticastRTPPort: {}\nmulticastRTCPPort: {}\npaths:\n  cam:\n    source: {}\n    \
         rtspTransport: tcp\n    maxReaders: 3\n",
        ports::free()?,
        ports::free()?,
        simulator.url("cam")
    );
    let server = Server::start(&config).await?;
    server.wait_online("cam").await?;
    let url = server.rtsp("cam");
    // One who is told of a group, and stays.
    let mut first = RawClient::connect(server.ports.rtsp).await?;
    let set_up = first.ask("SETUP", &format!("{url}/trackID=0"), "Transport: RTP/AVP;multicast\r\n").await?;
    let transport = set_up.text.lines().find(|line| line.starts_with("Transport: ")).context("transport")?;
    ensure!(set_up.status == 200 && transport.contains("multicast;destination=239.77.0."), "{transport}");
    ensure!(first.ask("PLAY", &url, "").await?.status == 200);
    tokio::try_join!(gstreamer_reads(&url), gstreamer_reads(&url))?;
    let sessions = http::get(&server.api("rtspsessions/list")).await?.ok()?.json()?;
    ensure!(sessions["items"][0]["transport"] == "UDP-multicast", "{sessions}");
    ensure!(sessions["items"][0]["state"] == "read", "{sessions}");
    let metrics = server.metrics().await?;
    ensure!(metrics.sum("paths_readers", &[("name", "cam"), ("readerType", "rtspSession")]) >= Some(1.0));
    // With the last reader the sending ends.
    first.ask("TEARDOWN", &url, "").await?;
    server.wait_log("nobody reads any more", 1).await?;
    let readers =
        server.metrics().await?.sum("paths_readers", &[("name", "cam"), ("readerType", "rtspSession")]);
    ensure!(readers == Some(0.0), "{readers:?}");
    Ok(())
}
