//! Day: a browser goes anywhere in 24 hours of recordings, and a picture is there at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::recording::Archive;
use gtvision_tests::{Server, Simulator, http, latency, machine, peers, server, wait};
use jiff::Timestamp;
use serde_json::{Value, json};

/// From a start to a closed file of 4 s.
const RECORDED: Duration = Duration::from_secs(40);
/// A browser's start and some seeks.
const BROWSER_LIMIT: Duration = Duration::from_secs(120);
/// Where to: minute of the day, piece of the minute, pictures into the piece. Each shows another picture than the one before.
const PLACES: [(i64, i64, i64); 8] = [
    (1438, 3, 13),
    (0, 2, 25),
    (720, 7, 37),
    (60, 0, 65),
    (1200, 14, 81),
    (333, 5, 5),
    (334, 5, 44),
    (1001, 9, 70),
];
/// The most that a seek may take; a test fails beyond twice that.
const SEEK_MS: f64 = 1000.0;

/// Records one file and makes a day of it.
async fn day(archive: &Archive) -> anyhow::Result<Value> {
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let config =
        archive.config(&["recordSegmentDuration: 4s"]) + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let server = Server::start(&config).await?;
    wait::until("a closed file", RECORDED, async || {
        let closed = archive.ask("SELECT name FROM files WHERE state = 'closed'").await?;
        Ok((!closed.is_empty()).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    drop(server);
    let mut args = vec![archive.folder().join("catalogue.db").to_string_lossy().into_owned()];
    args.extend(PLACES.iter().map(|(minute, ..)| minute.to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    peers::script("record_day.py", &args, Duration::from_secs(60)).await
}

#[tokio::test]
async fn in_a_day_of_recordings_hls_js_shows_any_picture_at_once() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let archive = Archive::new()?;
    let day = day(&archive).await?;
    let us = |name: &str| day[name].as_i64().with_context(|| name.to_owned());
    let (start_us, piece_us, file_us, files) =
        (us("start_us")?, us("piece_us")?, us("file_us")?, us("files")?);
    let server = Server::start(&(archive.config(&["recordDeleteAfter: 7d"]) + "paths:\n  cam_1:\n")).await?;
    let time = |us: i64| Timestamp::from_microsecond(us);
    let (start, end) = (time(start_us)?, time(start_us + files * file_us)?);
    let url = format!("{}?start={start}&end={end}", server.hls("cam_1"));
    let asked = Instant::now();
    let playlist = http::get(&url).await?.ok()?.text();
    let took = asked.elapsed();
    let segments = playlist.matches("#EXTINF").count();
    ensure!(segments >= 1440 * 10 && !playlist.contains("#EXT-X-DISCONTINUITY\n"), "{playlist:.1000}");

    let picture_us = 1_000_000 / i64::from(USUAL.fps);
    let mut steps = vec![json!({ "hls": url })];
    steps.extend(PLACES.map(|(minute, piece, picture)| {
        let us = start_us + minute * file_us + piece * piece_us + picture * picture_us;
        json!({ "date": us / 1000 })
    }));
    let report =
        peers::script("recorded.mjs", &["--steps", &serde_json::to_string(&steps)?], BROWSER_LIMIT).await?;
    ensure!(report["errors"].as_array().is_some_and(Vec::is_empty), "{report}");
    let results = report["results"].as_array().context("results")?;
    let (opened, shown) = results.split_first().context("the playlist's result")?;
    ensure!(opened["fragments"].as_u64() == Some(u64::try_from(segments)?), "{opened}: {segments} segments");
    check_pictures(shown)?;
    let mut seeks_ms: Vec<f64> = shown.iter().filter_map(|shown| shown["ms"].as_f64()).collect();
    seeks_ms.sort_by(f64::total_cmp);
    let figures = json!({
        "segments": segments, "playlist_bytes": playlist.len(), "playlist_ms": took.as_secs_f64() * 1000.0,
        "first_picture_ms": opened["ms"], "seeks_ms": seeks_ms,
    });
    latency::note("a day of recordings in a browser", &figures)?;
    let slowest = seeks_ms.last().copied().context("no seek")?;
    latency::report("a day of recordings/the slowest seek", slowest, SEEK_MS)
}

/// Each place shows the picture that was recorded there: all pieces begin with the same one.
fn check_pictures(shown: &[Value]) -> anyhow::Result<()> {
    ensure!(shown.len() == PLACES.len(), "{} pictures", shown.len());
    let loop_frames = i64::from(USUAL.fps * USUAL.seconds);
    let mut firsts = Vec::new();
    for ((.., picture), shown) in PLACES.iter().zip(shown) {
        let frame = shown["frame"].as_i64().with_context(|| format!("no picture: {shown}"))?;
        firsts.push((frame - picture).rem_euclid(loop_frames));
    }
    ensure!(firsts.iter().all(|first| *first == firsts[0]), "pieces begin with {firsts:?}: {shown:?}");
    Ok(())
}
