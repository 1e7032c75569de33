//! Pictures: snapshots of what is live, thumbnails of what is recorded, and the way back from live in a browser.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::Response;
use gtvision_tests::recording::Archive;
use gtvision_tests::{Server, Simulator, http, machine, peers, server, wait};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The remuxer looks at a stream for up to 4.2 s before its first part; on a machine with other tests.
const LIMIT: Duration = Duration::from_secs(40);
/// A browser's start, and seeks that take a moment each.
const BROWSER_LIMIT: Duration = Duration::from_secs(120);
/// Key frames of the clips are so many pictures apart: a second.
const GOP: u64 = 25;
/// Width of the clips: a bar code can be read in the size that it was drawn in.
const WIDTH: u64 = 640;

/// A picture as it was answered.
struct Picture {
    frame: u64,
    width: u64,
    height: u64,
    taken: Timestamp,
}

/// What pictures show, as ffmpeg decodes them.
async fn shown(answers: Vec<Response>) -> anyhow::Result<Vec<Picture>> {
    let dir = tempfile::tempdir()?;
    let mut files = Vec::new();
    let mut times = Vec::new();
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.ok()?;
        ensure!(answer.header("content-type") == "image/jpeg", "{:?}", answer.headers);
        times.push(answer.header("picture-time").parse::<Timestamp>()?);
        let file = dir.path().join(format!("{number}.jpg"));
        std::fs::write(&file, &answer.body)?;
        files.push(file);
    }
    let files = serde_json::to_string(&files)?;
    let report = peers::script("barcodes.mjs", &["--files", &files], LIMIT).await?;
    let pictures = report["pictures"].as_array().context("pictures")?;
    let picture = |(shown, taken): (&Value, Timestamp)| {
        let number = |key: &str| shown[key].as_u64().with_context(|| format!("no {key}: {report}"));
        // A small one has no readable bar code.
        let frame = if number("width")? == WIDTH { number("frame")? } else { 0 };
        Ok(Picture { frame, width: number("width")?, height: number("height")?, taken })
    };
    pictures.iter().zip(times).map(picture).collect()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[tokio::test]
async fn cameras_show_their_newest_picture_and_recordings_any() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let h265 = Clip { codec: "h265", gop: 25, ..USUAL }.file().await?;
    let cameras: [(&str, &Path); 3] = [("cam_1", &clip), ("cam_2", &h265), ("cam_3", &clip)];
    let simulator = Simulator::start(&cameras).await?;
    let archive = Archive::new()?;
    let paths = server::pull(&[("cam_1", simulator.url("cam_1")), ("cam_2", simulator.url("cam_2"))])
        + &format!(
            "  cam_3:\n    source: {}\n    rtspTransport: tcp\n    sourceOnDemand: yes\n    sourceOnDemandCloseAfter: 1s\n",
            simulator.url("cam_3")
        )
        + "  away:\n    source: rtsp://127.0.0.1:9/nobody\n";
    let server = Server::start(&(archive.config(&["recordSegmentDuration: 3s"]) + &paths)).await?;
    server.wait_online("cam_1").await?;
    server.wait_online("cam_2").await?;
    check_snapshots(&server).await?;
    check_a_crowd(&server).await?;
    check_thumbnails(&server).await?;
    check_way_back(&server).await
}

fn snapshot(server: &Server, name: &str, query: &str) -> String {
    server.api(&format!("paths/get/{name}/snapshot{query}"))
}

/// The newest key frame of each codec, of a source that starts for it, and none of who is away.
async fn check_snapshots(server: &Server) -> anyhow::Result<()> {
    let idle = server.path("cam_3").await?;
    ensure!(idle["state"] == "idle", "{idle}");
    let mut answers = Vec::new();
    for (name, query) in [("cam_1", ""), ("cam_2", ""), ("cam_3", ""), ("cam_1", "?width=320")] {
        answers.push(http::get(&snapshot(server, name, query)).await?);
    }
    let now = Timestamp::now();
    for (number, picture) in shown(answers).await?.into_iter().enumerate() {
        let Picture { frame, width, height, taken } = picture;
        let expected = if number == 3 { (320, 180) } else { (640, 360) };
        ensure!((width, height) == expected, "picture {number}: {width}x{height}");
        ensure!(frame % GOP == 0, "picture {number} shows {frame}, no key frame");
        let age = seconds(taken, now);
        ensure!((-1.0..15.0).contains(&age), "picture {number} is {age} s old");
    }
    // What the ring of an earlier time holds is not live.
    server.wait_state("cam_3", "idle", LIMIT).await?;
    let idle = Timestamp::now();
    let again = shown(vec![http::get(&snapshot(server, "cam_3", "")).await?]).await?;
    let newer = seconds(idle, again.first().context("no picture")?.taken);
    ensure!(newer > -0.5, "a picture taken {} s before the source was started", -newer);
    let away = http::get(&snapshot(server, "away", "")).await?;
    ensure!(away.status == 404 && away.text().contains("offline"), "{}: {}", away.status, away.text());
    for (name, query, status) in [("nobody", "", 404), ("cam_1", "?width=8", 400), ("cam_1", "?width=x", 400)]
    {
        let answer = http::get(&snapshot(server, name, query)).await?;
        ensure!(answer.status == status, "{name}{query}: {}", answer.status);
    }
    Ok(())
}

/// A hundred who ask at once cost a picture, not a hundred.
async fn check_a_crowd(server: &Server) -> anyhow::Result<()> {
    let made = async || {
        let metrics = server.metrics().await?;
        metrics.sum("gtvision_pictures_made_total", &[("purpose", "snapshot")]).context("no metric")
    };
    let before = made().await?;
    let url = snapshot(server, "cam_1", "?width=480");
    let answers = join_all((0..100).map(|_| http::get(&url))).await;
    for answer in answers {
        answer?.ok()?;
    }
    // Key frames come each second; a busy machine takes some seconds for a hundred answers.
    let made = made().await? - before;
    ensure!((1.0..=20.0).contains(&made), "{made} pictures were made for 100 answers");
    Ok(())
}

/// Times of the timeline, each with the key frame that was newest then; gone with the file.
async fn check_thumbnails(server: &Server) -> anyhow::Result<()> {
    let recorded = wait::until("some seconds of recording", LIMIT, async || {
        let answer = http::get(&server.playback("list?path=cam_1")).await?;
        if !answer.is_ok() {
            return Ok(None);
        }
        let spans = answer.json()?;
        let is_long = spans[0]["duration"].as_f64().is_some_and(|duration| duration >= 8.0);
        Ok(is_long.then(|| spans[0].clone()))
    })
    .await?;
    let start: Timestamp = recorded["start"].as_str().context("start")?.parse()?;
    let end = start + jiff::SignedDuration::from_secs(8);
    let timeline = server.playback(&format!("timeline?path=cam_1&start={start}&end={end}"));
    ensure!(http::get(&timeline).await?.ok()?.json()?["thumbnails"].is_null(), "listed unasked");
    let listed = http::get(&format!("{timeline}&thumbnails=2")).await?.ok()?.json()?;
    let listed = listed["thumbnails"].as_array().context("thumbnails")?.clone();
    ensure!((3..=4).contains(&listed.len()), "{listed:?}");
    let mut answers = Vec::new();
    for entry in &listed {
        let url = entry["url"].as_str().context("url")?;
        answers.push(http::get(&format!("{url}&width={WIDTH}")).await?);
    }
    answers.push(http::get(listed[0]["url"].as_str().context("url")?).await?);
    let mut pictures = shown(answers).await?;
    let small = pictures.pop().context("a small one")?;
    ensure!((small.width, small.height) == (320, 180), "{}x{}", small.width, small.height);
    let frames = u64::from(USUAL.fps * USUAL.seconds);
    for (entry, picture) in listed.iter().zip(&pictures) {
        let at: Timestamp = entry["time"].as_str().context("time")?.parse()?;
        let behind = seconds(picture.taken, at);
        ensure!(picture.frame % GOP == 0 && (0.0..1.1).contains(&behind), "{entry}: {behind} s behind");
    }
    for pair in pictures.windows(2) {
        let apart = (pair[1].frame + frames - pair[0].frame) % frames;
        // One more or less where a key frame comes at the very time.
        let is_next = apart % GOP == 0 && (GOP..=3 * GOP).contains(&apart);
        ensure!(is_next, "{} then {}", pair[0].frame, pair[1].frame);
    }
    // By its own time a picture is always the same.
    let own = server.playback(&format!("thumbnail?path=cam_1&time={}", pictures[1].taken));
    let own = http::get(&own).await?.ok()?;
    ensure!(own.header("picture-time") == pictures[1].taken.to_string(), "{:?}", own.headers);
    ensure!(own.header("cache-control").contains("immutable"), "{:?}", own.headers);
    let before = server.playback("thumbnail?path=cam_1&time=2020-01-01T00:00:00Z");
    ensure!(http::get(&before).await?.status == 404, "a picture before the first");
    // H.265, and the newest of what is being written.
    let newest = server.playback(&format!("thumbnail?path=cam_2&time={}&width={WIDTH}", Timestamp::now()));
    let newest = shown(vec![http::get(&newest).await?]).await?;
    ensure!(newest.first().is_some_and(|newest| newest.frame % GOP == 0), "no key frame of cam_2");
    // Deleted with its file.
    let first =
        server.playback(&format!("thumbnail?path=cam_1&time={}", start + jiff::SignedDuration::from_secs(1)));
    http::get(&first).await?.ok()?;
    let segment = server.api(&format!("recordings/deletesegment?path=cam_1&start={start}"));
    http::send(http::Method::DELETE, &segment, &[], "").await?.ok()?;
    ensure!(http::get(&first).await?.status == 404, "a picture of a deleted file");
    Ok(())
}

/// hls.js joins at the live end of a window and goes back in it.
async fn check_way_back(server: &Server) -> anyhow::Result<()> {
    let url = format!("{}?dvr=10m", server.hls("cam_1"));
    let index = http::get(&url).await?.ok()?.text();
    let child = index.lines().last().context("no playlist")?;
    ensure!(index.contains("CODECS=\"avc1.") && child.starts_with("recorded.m3u8?dvr=600&"), "{index}");
    let media = http::join(&url, child)?;
    let before = http::get(&media).await?.ok()?.text();
    ensure!(
        before.contains("#EXT-X-MEDIA-SEQUENCE:0\n")
            && !before.contains("PLAYLIST-TYPE")
            && !before.contains("ENDLIST"),
        "{before}"
    );
    let date = before.lines().find_map(|line| line.strip_prefix("#EXT-X-PROGRAM-DATE-TIME:"));
    let begin: Timestamp = date.context("no time")?.parse()?;
    let steps = json!([{ "hls": url }, { "date": begin.as_millisecond() + 2_100 }, { "play": 1.0 }]);
    let report = peers::script("recorded.mjs", &["--steps", &steps.to_string()], BROWSER_LIMIT).await?;
    let results = report["results"].as_array().context("results")?;
    ensure!(report["errors"].as_array().is_some_and(Vec::is_empty), "{report}");
    ensure!(results[0]["live"] == true && results[1]["frame"].is_u64(), "{report}");
    ensure!(results[2]["pictures"].as_array().is_some_and(|played| played.len() >= 5), "{report}");
    let after = http::get(&media).await?.ok()?.text();
    // What was listed is listed still, and more.
    // correctness: H14
    ensure!(after.starts_with(before.trim_end()) && after.len() > before.len(), "{before}\nbecame\n{after}");
    let gone = http::get(&media.replace("first=", "first=1")).await?;
    ensure!(gone.status == 410, "{}", gone.status);
    ensure!(http::get(&format!("{}?dvr=1y", server.hls("cam_1"))).await?.status == 400, "a year");
    Ok(())
}
