//! Memory: what a camera costs is counted in bytes, follows its GOPs and has a bound.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::{Server, Simulator, ffmpeg, latency, machine, peers, server, wait};

/// The most payload bytes that a camera's ring may hold (ARCHITECTURE.md, Limits: 32 MiB).
const RING_BYTES_MAX: f64 = 33_554_432.0;
/// The resident set may be larger than the rings by the program itself and what is on its way.
const RSS_BESIDES_BYTES_MAX: u64 = 96 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(50);

async fn ring_bytes(server: &Server, camera: &str) -> anyhow::Result<f64> {
    let metrics = server.metrics().await?;
    metrics.sum("gtvision_ring_bytes", &[("name", camera)]).context("no gtvision_ring_bytes")
}

/// What the metric says in the time, from each look.
async fn watch(server: &Server, camera: &str, length: Duration) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let mut seen = Vec::new();
    while start.elapsed() < length {
        seen.push(ring_bytes(server, camera).await?);
        wait::run_for(LOOK_EVERY).await;
    }
    Ok(seen)
}

/// Payload bytes of each GOP of a clip, as ffprobe counts them.
async fn gop_bytes(clip: &Path) -> anyhow::Result<Vec<f64>> {
    let packets = ffmpeg::packets(clip, &[]).await?;
    let mut gops: Vec<f64> = Vec::new();
    for packet in packets.iter().filter(|packet| packet.codec_type == "video") {
        if packet.flags.starts_with('K') {
            gops.push(0.0);
        }
        *gops.last_mut().context("the first picture is a key frame")? += packet.size.parse::<f64>()?;
    }
    Ok(gops)
}

/// The ring holds the open GOP and the whole one before it: no less, so that a viewer can join, and no more.
#[tokio::test]
async fn a_cameras_ring_holds_between_one_gop_and_two() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    // Two GOPs of 2 s fill it.
    watch(&server, "cam_1", Duration::from_secs(5)).await?;
    let seen = watch(&server, "cam_1", Duration::from_secs(8)).await?;
    let gops = gop_bytes(&clip).await?;
    let smallest = gops.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = gops.iter().copied().fold(0.0, f64::max);
    let (least, most) =
        (seen.iter().copied().fold(f64::INFINITY, f64::min), seen.iter().copied().fold(0.0, f64::max));
    latency::note(
        "ring of one camera, bytes",
        &serde_json::json!({ "least": least, "most": most, "gop": largest }),
    )?;
    // Parameter sets travel in the SDP, so a picture may be counted with some bytes less or more.
    ensure!(least >= smallest * 0.95, "{least} bytes of a GOP of {smallest}");
    ensure!(most <= largest * 2.1, "{most} bytes, the largest GOP has {largest}");
    ensure!(most >= smallest * 1.7, "it never held two GOPs: {most} of {smallest} each");
    let falls = seen.windows(2).filter(|pair| pair[1] < pair[0]).count();
    ensure!((3..=5).contains(&falls), "a GOP leaves each 2 s: {falls} in 8 s");
    Ok(())
}

/// A GOP that alone is larger than the bound: the ring goes without it, and the camera beside it does not notice.
#[tokio::test]
async fn a_camera_with_an_endless_gop_stays_under_its_bound() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let dir = tempfile::tempdir()?;
    let noise = dir.path().join("noise.mp4");
    // 9 MB a second, and a key frame each 5 s.
    let mut command = Command::new("ffmpeg");
    command.args([
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "color=gray:size=640x360:rate=25,noise=alls=100:allf=t+u",
    ]);
    command.args([
        "-t",
        "5",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-qp",
        "8",
        "-g",
        "1000",
        "-sc_threshold",
        "0",
    ]);
    let made = peers::run(
        {
            command.arg("-bf").arg("0").arg("-pix_fmt").arg("yuv420p").arg(&noise);
            command
        },
        Duration::from_secs(60),
    )
    .await?;
    ensure!(made.success, "{}", made.stderr);
    let usual = USUAL.file().await?;
    let simulator = Simulator::start(&[("huge", &noise), ("usual", &usual)]).await?;
    let sources = ["huge", "usual"].map(|name| (name, simulator.url(name)));
    let server = Server::start(&server::pull(&sources)).await?;
    server.wait_online("huge").await?;
    server.wait_online("usual").await?;
    let before = server.usage()?.rss_bytes;
    let (seen, beside) = tokio::try_join!(
        watch(&server, "huge", Duration::from_secs(11)),
        watch(&server, "usual", Duration::from_secs(11)),
    )?;
    let most = seen.iter().copied().fold(0.0, f64::max);
    let rss = server.usage()?.rss_bytes;
    latency::note(
        "ring of a camera with 9 MB/s and a GOP of 5 s, bytes",
        &serde_json::json!({ "most": most, "rss_before": before, "rss": rss }),
    )?;
    ensure!(most <= RING_BYTES_MAX, "{most} bytes are above the bound");
    ensure!(most > RING_BYTES_MAX * 0.9, "the bound was not met: {most} bytes");
    ensure!(rss <= 33_554_432 + RSS_BESIDES_BYTES_MAX, "{rss} bytes resident");
    ensure!(seen.iter().any(|bytes| *bytes < RING_BYTES_MAX / 4.0), "a GOP too large is let go whole");
    ensure!(beside.last().is_some_and(|bytes| *bytes > 0.0), "the camera beside it has nothing");
    server.wait_state("usual", "online", Duration::from_secs(1)).await?;
    server.wait_state("huge", "online", Duration::from_secs(1)).await?;
    Ok(())
}
