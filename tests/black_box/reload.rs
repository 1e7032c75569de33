//! Reload: the configuration changes while people watch.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::llhls;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, http, machine, server, wait};
use tokio::task::JoinSet;

/// Pictures a second of the clips.
const FPS: u32 = 25;
/// How long the viewers of other paths watch; all changes happen meanwhile.
const WATCHED: Duration = Duration::from_secs(14);
/// Viewers of each kind.
const VIEWERS: usize = 25;

/// Reads over RTSP for a while: no packet is missing.
async fn reads_every_packet(port: u16, url: String) -> anyhow::Result<u64> {
    let mut client = RawClient::connect(port).await?;
    client.play(&url).await?;
    let start = std::time::Instant::now();
    let (mut packets, mut last) = (0, None);
    while start.elapsed() < WATCHED {
        let (channel, packet) = client.packet().await?;
        if channel != 0 {
            continue;
        }
        let seq = packet.get(2..4).and_then(|seq| seq.first_chunk()).context("sequence number")?;
        let seq = u16::from_be_bytes(*seq);
        if let Some(last) = last {
            ensure!(seq == u16::wrapping_add(last, 1), "{url}: packet {seq} comes after {last}");
        }
        last = Some(seq);
        packets += 1;
    }
    Ok(packets)
}

fn entry(name: &str, source: &str) -> String {
    format!("  {name}:\n    source: {source}\n    rtspTransport: tcp\n")
}

async fn width(server: &Server, path: &str, width: u64) -> anyhow::Result<()> {
    let is_so = |path: &serde_json::Value| path["tracks2"][0]["codecProps"]["width"] == width;
    server.wait_path(path, "has another picture", Duration::from_secs(30), is_so).await?;
    Ok(())
}

/// One path gets another camera, one comes, one goes with `cut`, its viewer; then a broken file is saved.
async fn change(server: &Server, after: &str, cut: RawClient) -> anyhow::Result<()> {
    // Who watches the path that changes has seen some of it.
    let is_watched = |path: &serde_json::Value| path["outboundBytes"].as_u64() > Some(150_000);
    server.wait_path("changed", "is watched", Duration::from_secs(20), is_watched).await?;
    server.reconfigure(after).await?;
    width(server, "changed", 480).await?;
    server.wait_online("added").await?;
    ensure!(http::get(&server.api("paths/get/removed")).await?.status == 404);
    cut.drain(Duration::from_secs(20)).await.context("who watched what is gone")?;
    // A broken file changes nothing, and that can be seen.
    server.configure("paths:\n  left:\n    sorce: rtsp://127.0.0.1/x\n")?;
    wait::until("the refusal", Duration::from_secs(20), async || {
        let metrics = server.metrics().await?;
        Ok((metrics.sum("gtvision_config_refused_total", &[]) >= Some(1.0)).then_some(()))
    })
    .await?;
    ensure!(server.metrics().await?.sum("gtvision_config_last_change_failed", &[]) == Some(1.0));
    server.wait_log("unknown key \"sorce\"", 1).await?;
    ensure!(server.path("left").await?["online"] == true);
    Ok(())
}

/// Fifty people watch two paths, while another path gets another camera, one is added, one is removed and a broken file is
/// saved: none of the fifty loses a picture, nor does the one who watches the path that changes have to start again.
#[tokio::test]
async fn fifty_viewers_of_other_paths_lose_nothing_while_one_path_changes() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let other = Clip { size: "480x272", ..USUAL }.file().await?;
    let simulator =
        Simulator::start(&[("cam_1", &clip), ("cam_2", &clip), ("cam_3", &clip), ("small", &other)]).await?;
    let [one, two, three, small] = ["cam_1", "cam_2", "cam_3", "small"].map(|name| simulator.url(name));
    let watched = entry("left", &one) + &entry("right", &two);
    let before = format!("paths:\n{watched}{}{}", entry("changed", &three), entry("removed", &three));
    let mut server = Server::start(&before).await?;
    server.expect_error("configuration is not changed, it is wrong");
    for path in ["left", "right", "changed", "removed"] {
        server.wait_online(path).await?;
    }
    let mut viewers = JoinSet::new();
    for index in 0..VIEWERS {
        let path = if index % 2 == 0 { "left" } else { "right" };
        viewers.spawn(reads_every_packet(server.ports.rtsp, server.rtsp(path)));
        let url = server.hls(path);
        viewers.spawn(async move { Ok(llhls::count(&url, WATCHED, FPS).await?.frames) });
    }
    let mut cut = RawClient::connect(server.ports.rtsp).await?;
    cut.play(&server.rtsp("removed")).await?;
    cut.packet().await?;
    let after = format!("paths:\n{watched}{}{}", entry("changed", &small), entry("added", &three));
    let stays = server.hls("changed");
    // The viewer of the changed path goes on in the same playlist, with a discontinuity.
    let (run, ()) = tokio::try_join!(llhls::follow(&stays, WATCHED), change(&server, &after, cut))?;
    let video = run.video()?;
    ensure!(video.inits.len() == 2, "{} init segments", video.inits.len());
    llhls::rules::h14_sequences(video)?;

    while let Some(watched) = viewers.join_next().await {
        let seen = watched?.with_context(|| format!("log:\n{}", server.log_tail()))?;
        ensure!(seen > u64::from(FPS) * 5, "a viewer saw {seen} pictures or packets");
    }
    for path in ["left", "right"] {
        ensure!(server.path(path).await?["reconnects"] == 0, "{path} was connected again");
    }
    Ok(())
}

/// A listener moves, recording begins and moves to another folder, while an RTSP viewer goes on; SIGHUP does what a change of
/// the file does.
#[tokio::test]
async fn listeners_and_recordings_change_while_a_viewer_goes_on() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let pulled = server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let server = Server::start(&pulled).await?;
    server.wait_online("cam_1").await?;
    let viewer = tokio::spawn(reads_every_packet(server.ports.rtsp, server.rtsp("cam_1")));

    let moved = gtvision_tests::ports::free()?;
    let recorded = |folder: &str| {
        format!(
            "hlsAddress: 127.0.0.1:{moved}\nplayback: yes\n{pulled}    maxReaders: 2\n    record: yes\n    \
             recordPath: {folder}/%path/%Y-%m-%d_%H-%M-%S-%f\n"
        )
    };
    server.reconfigure(&recorded("./first")).await?;
    // The viewer, HLS, and no third.
    http::get(&format!("http://127.0.0.1:{moved}/cam_1/index.m3u8")).await?.ok()?;
    let mut third = RawClient::connect(server.ports.rtsp).await?;
    ensure!(third.play(&server.rtsp("cam_1")).await.is_err(), "one reader too many");
    ensure!(http::get(&server.hls("cam_1")).await.is_err(), "the old address still answers");
    let files = async || -> anyhow::Result<usize> {
        let list = http::get(&server.api("recordings/get/cam_1")).await?.ok()?.json()?;
        Ok(list["segments"].as_array().map_or(0, Vec::len))
    };
    wait::until("a recording", Duration::from_secs(30), async || Ok((files().await? == 1).then_some(())))
        .await?;
    server.reconfigure(&recorded("./second")).await?;
    wait::until("a recording elsewhere", Duration::from_secs(30), async || {
        Ok((files().await? == 2).then_some(()))
    })
    .await?;
    let spans = wait::until("both recordings", Duration::from_secs(30), async || {
        let list = http::get(&server.playback("list?path=cam_1")).await?;
        let spans = if list.is_ok() { list.json()? } else { serde_json::Value::Null };
        Ok(spans.as_array().filter(|spans| spans.len() == 2).cloned())
    })
    .await?;
    ensure!(spans.len() == 2, "{spans:?}");

    // The same file again: nothing to do, and that is no fault.
    server.hang_up()?;
    server.wait_log("says the same", 1).await.context("the look at the file")?;
    let packets = viewer.await?.with_context(|| format!("log:\n{}", server.log_tail()))?;
    ensure!(packets > 100, "{packets} packets");
    ensure!(server.path("cam_1").await?["reconnects"] == 0, "the camera was connected again");
    Ok(())
}
