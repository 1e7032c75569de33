//! Playback: `/list` and `/get`, MediaMTX's parameters and answers, read by ffprobe.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::recording::{Archive, check_plays};
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

    async fn get(&self, from: f64, duration: &str, into: &Path) -> anyhow::Result<()> {
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

/// Presentation times of the pictures that a player shows, in ms, in order: those that are only decoded from come
/// before 0, or are marked.
async fn shown_ms(file: &Path) -> anyhow::Result<Vec<i64>> {
    let packets = ffmpeg::packets(file, &["-select_streams", "v"]).await?;
    let mut times = Vec::new();
    for packet in packets.into_iter().filter(|packet| !packet.flags.contains('D')) {
        let seconds: f64 = packet.pts_time.context("a packet without time")?.parse()?;
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a short clip")]
        times.push(if seconds < -0.000_01 { -1 } else { (seconds * 1000.0).round() as i64 });
    }
    times.retain(|time| *time >= 0);
    times.sort_unstable();
    Ok(times)
}

// correctness: F1, F2, F5
#[tokio::test]
async fn get_shows_exactly_what_was_asked_in_both_formats() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { bframes: 2, audio: "aac", ..USUAL }.file().await?;
    let recording = recording(&clip).await?;
    let dir = tempfile::tempdir()?;
    for format in ["fmp4", "mp4"] {
        let file = dir.path().join(format);
        // In the middle of a GOP of 2 s, over the ends of two files.
        recording.get(2.4, &format!("5&format={format}"), &file).await?;
        check_plays(&file).await?;
        let shown = shown_ms(&file).await?;
        ensure!(shown.first() == Some(&0), "{format}: the first picture is shown at {:?} ms", shown.first());
        // 5 s of 25 pictures, one that began before; one more may be decoded because others are predicted from it.
        ensure!((125..=127).contains(&shown.len()), "{format}: {} pictures are shown", shown.len());
        for pair in shown.windows(2).take(120) {
            ensure!(
                (39..=41).contains(&(pair[1] - pair[0])),
                "{format}: {} ms, then {} ms",
                pair[0],
                pair[1]
            );
        }
        let probed = ffmpeg::probe(&file.to_string_lossy(), &["-show_format"]).await?;
        let seconds = |name: &str| probed["format"][name].as_str().and_then(|text| text.parse::<f64>().ok());
        let (start, duration) = (seconds("start_time"), seconds("duration"));
        ensure!(start.is_some_and(|start| start.abs() < 0.003), "{format} starts at {start:?} s");
        ensure!(duration.is_some_and(|secs| (secs - 5.0).abs() < 0.05), "{format} lasts {duration:?} s");
    }
    recording.check_ranges().await?;
    recording.check_edges(&dir.path().join("edge")).await
}

impl Recording {
    /// RFC 9110: ranges are the bytes that the whole answer has there.
    async fn check_ranges(&self) -> anyhow::Result<()> {
        for format in ["fmp4", "mp4"] {
            let url = self
                .server
                .playback(&format!("get?path=cam_1&start={}&duration=4&format={format}", self.at(1.3)));
            let whole = http::get(&url).await?.ok()?;
            let (total, tag) = (whole.body.len(), whole.header("etag").to_owned());
            ensure!(whole.header("accept-ranges") == "bytes" && tag.starts_with('"'), "{:?}", whole.headers);
            let head = http::send(http::Method::HEAD, &url, &[], Bytes::new()).await?;
            ensure!(head.header("content-length") == total.to_string(), "HEAD: {:?}", head.headers);
            ensure!(head.body.is_empty(), "HEAD with a body");
            let mut froms: Vec<usize> = (0..total).step_by(total / 23).collect();
            froms.extend([1, 17, total - 1]);
            for from in froms {
                let to = (from + 40_000).min(total);
                let range = format!("bytes={from}-{}", to - 1);
                let part = http::send(http::Method::GET, &url, &[("range", &range)], Bytes::new()).await?;
                ensure!(part.status == 206, "{range}: {}", part.status);
                ensure!(
                    part.header("content-range") == format!("bytes {from}-{}/{total}", to - 1),
                    "{range}"
                );
                ensure!(part.body == whole.body.slice(from..to), "{format}: {range} are other bytes");
            }
            let suffix =
                http::send(http::Method::GET, &url, &[("range", "bytes=-500")], Bytes::new()).await?;
            ensure!(suffix.status == 206 && suffix.body == whole.body.slice(total - 500..), "suffix");
            let beyond = format!("bytes={total}-");
            let beyond = http::send(http::Method::GET, &url, &[("range", &beyond)], Bytes::new()).await?;
            ensure!(beyond.status == 416, "beyond the end: {}", beyond.status);
            ensure!(beyond.header("content-range") == format!("bytes */{total}"), "{:?}", beyond.headers);
            for (condition, status) in [(tag.as_str(), 206), ("\"another\"", 200)] {
                let headers = [("range", "bytes=0-9"), ("if-range", condition)];
                let answer = http::send(http::Method::GET, &url, &headers, Bytes::new()).await?;
                ensure!(answer.status == status, "If-Range {condition}: {}", answer.status);
            }
        }
        Ok(())
    }

    /// MediaMTX's own cases: within one picture, and before the first.
    async fn check_edges(&self, file: &Path) -> anyhow::Result<()> {
        // 10 ms into a picture, for less than it lasts: that picture, and those that it is predicted from.
        self.get(3.13, "0.02", file).await?;
        let shown = shown_ms(file).await?;
        ensure!(shown.first() == Some(&0) && shown.len() <= 3, "within one picture: {shown:?}");
        self.get(-3.0, "4", file).await?;
        let shown = shown_ms(file).await?;
        ensure!(shown.first() == Some(&0) && (25..=26).contains(&shown.len()), "from before: {shown:?}");
        self.get(-3.0, "4&gaps=time", file).await?;
        let first = shown_ms(file).await?.first().copied();
        ensure!(first == Some(3000), "3 s before the first picture, true time: {first:?}");
        Ok(())
    }
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
        (format!("get?path=cam_1&start={start}&duration=1&gaps=fill"), 400),
        (format!("timeline?path=cam_1&start={before}&end={start}&limits=1"), 400),
        // Before the first picture, but not all of it: from the first picture on.
        (format!("get?path=cam_1&start={before}&duration=63"), 200),
        (format!("get?path=cam_1&start={start}&duration=1.5"), 200),
        // As in MediaMTX: an authentication server may know it.
        (format!("get?path=cam_1&start={start}&duration=1.5&ticket=1"), 200),
    ] {
        let got = recording.status(&query).await?;
        ensure!(got == status, "{query} answered {got}, not {status}");
    }
    Ok(())
}
