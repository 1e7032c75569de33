//! Playback: `/list` and `/get`, MediaMTX's parameters and answers, read by ffprobe.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::bitstream;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::recording::{Archive, Recorded, check_plays};
use gtvision_tests::{Server, Simulator, ffmpeg, http, machine, server, wait};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Recorded before anything is asked.
const RECORDED_S: f64 = 9.0;

struct Recording {
    server: Server,
    _archive: Archive,
    start: Timestamp,
    _simulator: Simulator,
}

async fn recording(clip: &Path) -> anyhow::Result<Recording> {
    let simulator = Simulator::start(&[("cam_1", clip)]).await?;
    let archive = Archive::new()?;
    let config = archive.config(&["recordSegmentDuration: 3s"]);
    let server = Server::start(&(config + &server::pull(&[("cam_1", simulator.url("cam_1"))]))).await?;
    let list = wait::until("a list of 9 s", Duration::from_secs(30), async || {
        let list = http::get(&server.playback("list?path=cam_1")).await?;
        let list = if list.is_ok() { list.json()? } else { return Ok(None) };
        let long = list[0]["duration"].as_f64().is_some_and(|duration| duration >= RECORDED_S);
        Ok(long.then_some(list))
    })
    .await?;
    ensure!(list.as_array().is_some_and(|spans| spans.len() == 1), "one run is one span: {list}");
    ensure!(archive.files("cam_1")?.len() >= 3, "the run is of several files");
    let start = list[0]["start"].as_str().context("start")?.parse()?;
    Ok(Recording { server, _archive: archive, start, _simulator: simulator })
}

impl Recording {
    fn at(&self, seconds: f64) -> Timestamp {
        self.start + SignedDuration::from_secs_f64(seconds)
    }

    async fn get(&self, from: f64, duration: f64, into: &Path) -> anyhow::Result<()> {
        let query = format!("get?path=cam_1&start={}&duration={duration}", self.at(from));
        let answer = http::get(&self.server.playback(&query)).await?.ok()?;
        ensure!(answer.header("content-type") == "video/mp4", "{:?}", answer.headers);
        ensure!(answer.header("content-length") == answer.body.len().to_string(), "{:?}", answer.headers);
        std::fs::write(into, &answer.body)?;
        Ok(())
    }

    async fn status(&self, query: &str) -> anyhow::Result<u16> {
        Ok(http::get(&self.server.playback(query)).await?.status.as_u16())
    }
}

/// Presentation times of the pictures that a player shows, in ms, in order.
async fn shown_ms(file: &Path) -> anyhow::Result<Vec<i64>> {
    let packets = ffmpeg::packets(file, &["-select_streams", "v"]).await?;
    let mut times = Vec::new();
    for packet in packets {
        let seconds: f64 = packet.pts_time.context("a packet without time")?.parse()?;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a short clip")]
        times.push((seconds * 1000.0).round() as i64);
    }
    times.retain(|time| *time >= 0);
    times.sort_unstable();
    Ok(times)
}

#[tokio::test]
async fn get_starts_at_the_exact_time_and_crosses_files() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { bframes: 2, ..USUAL }.file().await?;
    let recording = recording(&clip).await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("clip.mp4");
    // In the middle of a GOP of 2 s, over the ends of two files.
    recording.get(2.4, 5.0, &file).await?;
    ffmpeg::probe(&file.to_string_lossy(), &["-show_streams", "-show_packets"]).await?;
    let complaints = ffmpeg::decode_errors(&file).await?;
    ensure!(complaints.is_empty(), "ffmpeg decoding: {complaints}");
    let shown = shown_ms(&file).await?;
    ensure!(shown.first() == Some(&0), "the first picture is shown at {:?} ms", shown.first());
    // The end is a part's: pictures of the last reordering may be missing there.
    for pair in shown.windows(2).take(shown.len().saturating_sub(5)) {
        ensure!(pair[1] - pair[0] == 40, "from {} ms to {} ms", pair[0], pair[1]);
    }
    // To the end of the part that holds the end.
    let last = shown.last().context("no picture")?;
    ensure!((4_960..5_400).contains(last), "the last picture is shown at {last} ms");
    // The pictures before are there, to decode from: what was recorded, unchanged.
    let recorded = Recorded::read(&file)?;
    bitstream::check_same(&bitstream::of_clip(&clip).await?, &recorded.units()?)?;
    ensure!(recorded.samples[0].sync, "begins without a random access point");
    ensure!(recorded.pictures()? == shown.len() + 10, "{} pictures", recorded.pictures()?);
    Ok(())
}

#[tokio::test]
async fn list_trims_to_what_is_asked_and_its_urls_play() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let recording = recording(&USUAL.file().await?).await?;
    let (from, to) = (recording.at(1.5), recording.at(4.0));
    let query = format!("list?path=cam_1&start={from}&end={to}");
    let list: Value = http::get(&recording.server.playback(&query)).await?.ok()?.json()?;
    ensure!(list[0]["start"].as_str() == Some(from.to_string().as_str()), "{list}");
    ensure!(list[0]["duration"].as_f64() == Some(2.5), "{list}");
    let url = list[0]["url"].as_str().context("url")?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("clip.mp4");
    std::fs::write(&file, http::get(url).await?.ok()?.body)?;
    check_plays(&file).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_not_recorded_is_404_and_what_makes_no_sense_is_400() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let recording = recording(&USUAL.file().await?).await?;
    let (start, before) = (recording.at(0.0), recording.at(-60.0));
    for (query, status) in [
        ("list?path=cam_9".to_owned(), 404),
        (format!("list?path=cam_1&end={before}"), 404),
        ("list".to_owned(), 400),
        ("list?path=../etc".to_owned(), 400),
        ("list?path=cam_1&start=yesterday".to_owned(), 400),
        (format!("list?path=cam_1&start={start}&end={before}"), 400),
        (format!("get?path=cam_1&start={before}&duration=10"), 404),
        (format!("get?path=cam_9&start={start}&duration=10"), 404),
        (format!("get?path=cam_1&start={start}"), 400),
        (format!("get?path=cam_1&start={start}&duration=-1"), 400),
        (format!("get?path=cam_1&start={start}&duration=1&format=avi"), 400),
        // Before the first picture, but not all of it: from the first picture on.
        (format!("get?path=cam_1&start={before}&duration=63"), 200),
        (format!("get?path=cam_1&start={start}&duration=1.5"), 200),
    ] {
        let got = recording.status(&query).await?;
        ensure!(got == status, "{query} answered {got}, not {status}");
    }
    Ok(())
}
