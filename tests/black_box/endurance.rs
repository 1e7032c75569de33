//! Endurance: many cameras for a while. Shown by 7: flat memory, no lost frame, the
//! processor's share noted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use gtvision_tests::clips::USUAL;
use gtvision_tests::server::Usage;
use gtvision_tests::{Server, Simulator, latency, llhls, machine, server, wait, workspace};
use serde_json::json;

const CAMERAS: u32 = 50;
/// Until every ring and playlist is as long as it gets.
const FILLING: Duration = Duration::from_secs(40);
/// How much the resident set may differ between the second quarter and the last.
const MEMORY_DRIFT_MAX: f64 = 0.10;

#[tokio::test]
async fn fifty_cameras_lose_no_frame_and_memory_stays_flat() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let length = Duration::from_secs(if workspace::long() { 300 } else { 40 });
    let clip = USUAL.file().await?;
    let names: Vec<String> = (1..=CAMERAS).map(|number| format!("cam_{number}")).collect();
    let cameras: Vec<_> = names.iter().map(|name| (name.as_str(), clip.as_path())).collect();
    let simulator = Simulator::start(&cameras).await?;
    let sources: Vec<_> = names.iter().map(|name| (name.as_str(), simulator.url(name))).collect();
    let server = Server::start(&server::pull(&sources)).await?;
    try_join_all(names.iter().map(|name| server.wait_online(name))).await?;

    let urls: Vec<String> = names.iter().map(|name| server.hls(name)).collect();
    // Rings and playlists fill first: that growth is not a leak.
    try_join_all(urls.iter().map(|url| llhls::count(url, FILLING, USUAL.fps))).await?;
    let before = (server.usage()?, Instant::now());
    let viewers = try_join_all(urls.iter().map(|url| llhls::count(url, length, USUAL.fps)));
    let (counted, memory) = tokio::try_join!(viewers, sample_memory(&server, length))?;
    let cpu = server.usage()?.cpu - before.0.cpu;
    let wall = before.1.elapsed();

    for (name, counted) in names.iter().zip(&counted) {
        // The first segment waited for and the last one not yet whole are not counted.
        let due = length.as_secs_f64() * f64::from(USUAL.fps);
        let missing = due - f64::from(u32::try_from(counted.frames)?);
        let slack = f64::from(USUAL.gop) * 3.0;
        ensure!(missing.abs() <= slack, "{name}: {} frames, {due} are due", counted.frames);
        ensure!(counted.discontinuities == 0, "{name}: {counted:?}");
    }
    let second = mean_mib(&memory, 1).context("no sample")?;
    let last = mean_mib(&memory, 3).context("no sample")?;
    latency::note(
        "50 cameras, 50 LL-HLS viewers",
        &json!({
            "seconds": length.as_secs(),
            "cores": cpu.as_secs_f64() / wall.as_secs_f64(),
            "rss_mib_second_quarter": second,
            "rss_mib_last_quarter": last,
            "rss_mib": eighths(&memory),
            "frames": counted.iter().map(|one| one.frames).sum::<u64>(),
        }),
    )?;
    let drift = (last - second).abs() / second;
    ensure!(drift <= MEMORY_DRIFT_MAX, "resident set went from {second} to {last} MiB");
    Ok(())
}

/// The counter that the run above trusts: a camera that loses packets must not pass it.
#[tokio::test]
async fn a_lost_frame_does_not_pass_the_counter() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start_with(&[("cam_1", &clip)], &["--seed", "3"]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    simulator.fault("cam_1", "lose", json!({ "percent": 5 })).await?;
    let counted = llhls::count(&server.hls("cam_1"), Duration::from_secs(10), USUAL.fps).await;
    let error = counted.err().context("lost frames were not seen")?;
    ensure!(format!("{error:#}").contains("ticks"), "{error:#}");
    Ok(())
}

/// Longer than a ring of these cameras keeps at most moments (a whole GOP of 2 s and the open one), shorter than what is left of
/// a held request's 6 s after the 2 s that it waits for its segment anyway.
const STANDSTILL: Duration = Duration::from_millis(3500);

/// The machine stood still (a snapshot, a swap storm): what the cameras sent meanwhile waits in their connections, and all
/// of it comes out.
#[tokio::test]
async fn a_server_that_stood_still_loses_no_frame() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let clip = USUAL.file().await?;
    let names = ["cam_1", "cam_2", "cam_3", "cam_4"];
    let simulator = Simulator::start(&names.map(|name| (name, clip.as_path()))).await?;
    let server = Server::start(&server::pull(&names.map(|name| (name, simulator.url(name))))).await?;
    try_join_all(names.iter().map(|name| server.wait_online(name))).await?;
    let urls = names.map(|name| server.hls(name));
    let viewers = try_join_all(urls.iter().map(|url| llhls::count(url, Duration::from_secs(18), USUAL.fps)));
    let standstill = async {
        wait::run_for(Duration::from_secs(6)).await;
        server.stand_still()?;
        wait::run_for(STANDSTILL).await;
        server.go_on()
    };
    let (counted, ()) = tokio::try_join!(viewers, standstill)?;
    for (name, counted) in names.iter().zip(counted) {
        ensure!(counted.discontinuities == 0, "{name}: {counted:?}");
    }
    Ok(())
}

async fn sample_memory(server: &Server, length: Duration) -> anyhow::Result<Vec<Usage>> {
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < length {
        samples.push(server.usage()?);
        wait::run_for(Duration::from_millis(500)).await;
    }
    Ok(samples)
}

fn mean_mib(samples: &[Usage], quarter: usize) -> Option<f64> {
    let size = samples.len() / 4;
    let part = samples.get(quarter * size..(quarter + 1) * size)?;
    let count = f64::from(u32::try_from(part.len()).ok()?);
    (!part.is_empty()).then(|| part.iter().map(mib).sum::<f64>() / count)
}

fn mib(usage: &Usage) -> f64 {
    f64::from(u32::try_from(usage.rss_bytes >> 10).unwrap_or(0)) / 1024.0
}

/// Eight values over the run, whole MiB, to see where it went.
fn eighths(samples: &[Usage]) -> Vec<f64> {
    samples.iter().step_by((samples.len() / 8).max(1)).map(|usage| mib(usage).round()).collect()
}
