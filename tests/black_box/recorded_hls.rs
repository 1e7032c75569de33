//! Recorded HLS: what was recorded, over a gap and a change of the camera, in a browser, by ffmpeg and as clips.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::recording::Archive;
use gtvision_tests::{Server, Simulator, ffmpeg, http, machine, peers, server, wait, workspace};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The remuxer looks at a stream for up to 4.2 s before its first part; on a machine with other tests.
const LIMIT: Duration = Duration::from_secs(40);
/// A browser's start, and seeks that take a moment each.
const BROWSER_LIMIT: Duration = Duration::from_secs(150);

/// A span of `/list`.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Timestamp,
    seconds: f64,
}

async fn spans(server: &Server) -> anyhow::Result<Vec<Span>> {
    let answer = http::get(&server.playback("list?path=cam_1")).await?;
    let list = if answer.is_ok() { answer.json()? } else { json!([]) };
    let span = |entry: &Value| -> anyhow::Result<Span> {
        let start = entry["start"].as_str().context("start")?.parse()?;
        Ok(Span { start, seconds: entry["duration"].as_f64().context("duration")? })
    };
    list.as_array().context("list")?.iter().map(span).collect()
}

async fn wait_span(server: &Server, number: usize, seconds: f64) -> anyhow::Result<Vec<Span>> {
    wait::until("a span", LIMIT, async || {
        let spans = spans(server).await?;
        Ok(spans.get(number - 1).is_some_and(|span| span.seconds >= seconds).then_some(spans))
    })
    .await
}

fn ms(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// A recording of three spans: the camera, the camera after it was away, and another picture size.
struct Recording {
    // Ends before its folder and its camera do.
    server: Server,
    _archive: Archive,
    _simulator: Simulator,
    spans: Vec<Span>,
}

async fn record(clip: &Path) -> anyhow::Result<Recording> {
    let other = Clip { gop: 25, size: "480x272", ..USUAL }.file().await?;
    let plan = json!({ "cam_1": { "second_clip": other.to_string_lossy() } });
    let simulator = Simulator::start_planned(&[("cam_1", clip)], &[], &plan).await?;
    let archive = Archive::new()?;
    let config = archive.config(&["recordSegmentDuration: 3s"]);
    let server = Server::start(&(config + &server::pull(&[("cam_1", simulator.url("cam_1"))]))).await?;
    wait_span(&server, 1, 5.0).await?;
    simulator.fault("cam_1", "vanish", json!({ "secs": 3 })).await?;
    // Long enough for a clip of 2 s that begins within it.
    wait_span(&server, 2, 4.0).await?;
    simulator.fault("cam_1", "change_parameters", json!({})).await?;
    let spans = wait_span(&server, 3, 4.0).await?;
    Ok(Recording { server, _archive: archive, _simulator: simulator, spans })
}

// correctness: H5, H13, F3
#[tokio::test]
async fn recordings_play_over_a_gap_and_a_change_of_the_camera() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let recording = record(&clip).await?;
    let (server, spans) = (&recording.server, &recording.spans);
    let (first, last) = (spans[0], spans[2]);
    let end = last.start + jiff::SignedDuration::from_secs(4);
    let url = server.hls("cam_1");
    let url = format!("{url}?start={}&end={end}", first.start);
    let playlist = http::get(&url).await?.ok()?.text();
    ensure!(playlist.matches("#EXT-X-DISCONTINUITY\n").count() == 2, "{playlist}");
    ensure!(
        playlist.contains("#EXT-X-PLAYLIST-TYPE:VOD") && playlist.ends_with("#EXT-X-ENDLIST\n"),
        "{playlist}"
    );
    check_by_ffmpeg(&url, spans).await?;
    check_in_browser(server, &url, spans).await?;
    check_gaps(server, spans).await?;
    check_list(server, spans).await?;
    check_edges(server, spans).await?;
    check_change(server, spans, &clip).await?;
    check_timeline(server, spans).await?;
    check_export(server, spans, &clip).await?;
    check_growing(server, first).await
}

/// ffmpeg reads it without complaint, all of its pictures.
async fn check_by_ffmpeg(url: &str, spans: &[Span]) -> anyhow::Result<()> {
    let output = ffmpeg::ffmpeg(&["-i", url, "-map", "0", "-c", "copy", "-f", "null", "-"]).await?;
    let noise = |line: &&str| !line.contains("Found duplicated MOOV Atom") && !line.trim().is_empty();
    let complaints: Vec<&str> = output.stderr.lines().filter(noise).collect();
    ensure!(output.success && complaints.is_empty(), "ffmpeg: {complaints:?}");
    let probed = ffmpeg::probe(url, &["-select_streams", "v", "-count_packets", "-show_streams"]).await;
    // ffprobe prints what ffmpeg does where the init segment changes.
    if let Ok(probed) = probed {
        let read: f64 = probed["streams"][0]["nb_read_packets"].as_str().context("packets")?.parse()?;
        let recorded = (spans[0].seconds + spans[1].seconds + 4.0) * 25.0;
        ensure!((read - recorded).abs() <= 30.0, "{read} of {recorded} pictures");
    }
    Ok(())
}

/// hls.js seeks into each span; a clip of the same time has the same picture first, whatever its format.
async fn check_in_browser(server: &Server, url: &str, spans: &[Span]) -> anyhow::Result<()> {
    let mut steps = vec![json!({ "hls": url })];
    // In the middle of GOPs, over gap and change, forth and back.
    let wanted: Vec<i64> = [(2, 1500), (0, 2220), (1, 1300)]
        .iter()
        .map(|(span, into): &(usize, i64)| ms(spans[*span].start) + into)
        .collect();
    steps.extend(wanted.iter().map(|date| json!({ "date": date })));
    // From the second span into the third.
    let edge = ms(spans[2].start) - 700;
    steps.extend([json!({ "date": edge }), json!({ "play": 1.5 })]);
    for format in ["fmp4", "mp4"] {
        for date in &wanted {
            let start = Timestamp::from_millisecond(date + 5)?;
            let query = format!("get?path=cam_1&start={start}&duration=2&format={format}");
            steps.push(json!({ "src": server.playback(&query) }));
        }
    }
    let steps = serde_json::to_string(&steps)?;
    let report = peers::script("recorded.mjs", &["--steps", &steps], BROWSER_LIMIT).await?;
    let results = report["results"].as_array().context("results")?;
    ensure!(report["errors"].as_array().is_some_and(Vec::is_empty), "{report}");
    ensure!(results[0]["live"] == false, "{report}");
    let frames = u64::from(USUAL.fps * USUAL.seconds);
    let widths: Vec<_> = results[1..4].iter().map(|shown| &shown["width"]).collect();
    ensure!(widths == [480, 640, 640], "{report}");
    let played = results[5]["pictures"].as_array().context("pictures")?;
    // Where the size changes, Chromium may paint the first picture before it says how large that is.
    let is_read = |at: usize| {
        let is_change = played.get(at + 1).is_some_and(|next| next["width"] != played[at]["width"]);
        played[at]["frame"].is_u64() || is_change
    };
    ensure!(played.len() >= 10 && (0..played.len()).all(is_read), "{report}");
    for (shown, clip) in results[1..4].iter().cycle().zip(&results[6..]) {
        let (first, second) = (shown["frame"].as_u64(), clip["frame"].as_u64());
        let follows = first.is_some_and(|first| second == Some((first + 1) % frames));
        ensure!(follows, "{shown} in the playlist, then {clip} in the clip: {report}");
        let duration = clip["duration"].as_f64().context("duration")?;
        ensure!((1.9..2.1).contains(&duration), "{clip}");
    }
    Ok(())
}

/// MediaMTX ends a clip at a gap; so do we, unless asked to go on.
async fn check_gaps(server: &Server, spans: &[Span]) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let from = spans[0].start + jiff::SignedDuration::from_secs(2);
    let length = spans[1].start.duration_since(from).as_secs_f64() + 2.0;
    let before = spans[0].seconds - 2.0;
    for (rule, format, expected) in [
        ("stop", "fmp4", before),
        ("skip", "fmp4", before + 2.0),
        ("skip", "mp4", before + 2.0),
        ("time", "fmp4", length),
        ("time", "mp4", length),
    ] {
        let query = format!("get?path=cam_1&start={from}&duration={length}&gaps={rule}&format={format}");
        let file = dir.path().join("clip.mp4");
        std::fs::write(&file, http::get(&server.playback(&query)).await?.ok()?.body)?;
        let complaints = ffmpeg::copy_errors(&file).await?;
        ensure!(complaints.is_empty(), "{rule}, {format}: {complaints}");
        let probed = ffmpeg::probe(&file.to_string_lossy(), &["-show_format"]).await?;
        let duration: f64 = probed["format"]["duration"].as_str().context("duration")?.parse()?;
        ensure!((duration - expected).abs() < 0.25, "{rule}, {format}: {duration} s, not {expected} s");
    }
    // One MP4 has one init segment: the change of the camera is its end.
    let query = format!("get?path=cam_1&start={from}&duration=600&gaps=skip");
    let file = dir.path().join("clip.mp4");
    std::fs::write(&file, http::get(&server.playback(&query)).await?.ok()?.body)?;
    let complaints = ffmpeg::copy_errors(&file).await?;
    ensure!(complaints.is_empty(), "to the change: {complaints}");
    Ok(())
}

impl Span {
    /// So far into it, or behind it.
    fn at(self, seconds: f64) -> Timestamp {
        self.start + jiff::SignedDuration::from_micros(micros(seconds))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "seconds of a test")]
fn micros(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

/// MediaMTX's cases of `/list`: what begins or ends within a span trims it, and what lies in a gap finds nothing.
async fn check_list(server: &Server, spans: &[Span]) -> anyhow::Result<()> {
    let [first, second, third] = [spans[0], spans[1], spans[2]];
    let in_gap = first.at(first.seconds + 1.0);
    let whole = |span: Span| (span.start, span.seconds);
    for (from, until, expected) in [
        (first.at(1.5), in_gap, vec![(first.at(1.5), first.seconds - 1.5)]),
        (in_gap, second.at(1.0), vec![(second.start, 1.0)]),
        (first.at(-5.0), second.at(1.0), vec![whole(first), (second.start, 1.0)]),
        // Another init segment begins another entry, though nothing is missing.
        (second.at(2.0), third.at(1.0), vec![(second.at(2.0), second.seconds - 2.0), (third.start, 1.0)]),
        (in_gap, first.at(first.seconds + 1.5), Vec::new()),
        (first.at(first.seconds + 0.25), in_gap, Vec::new()),
    ] {
        let answer =
            http::get(&server.playback(&format!("list?path=cam_1&start={from}&end={until}"))).await?;
        ensure!((answer.status == 404) == expected.is_empty(), "{from} to {until}: {}", answer.status);
        let list = if expected.is_empty() { json!([]) } else { answer.json()? };
        let found = list.as_array().context("list")?;
        ensure!(found.len() == expected.len(), "{from} to {until}: {list}");
        for (entry, (start, seconds)) in found.iter().zip(expected) {
            let begins: Timestamp = entry["start"].as_str().context("start")?.parse()?;
            let lasts = entry["duration"].as_f64().context("duration")?;
            ensure!(
                begins == start && (lasts - seconds).abs() < 0.001,
                "{entry}, not {start} for {seconds} s"
            );
        }
    }
    Ok(())
}

/// MediaMTX's cases of `/get` at the ends of what is recorded: in the last picture, behind it, and in the gap.
async fn check_edges(server: &Server, spans: &[Span]) -> anyhow::Result<()> {
    let (first, second) = (spans[0], spans[1]);
    let in_gap = first.at(first.seconds + 0.5);
    let to_second = second.start.duration_since(in_gap).as_secs_f64();
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("clip.mp4");
    for (what, start, seconds, expected) in [
        // By the wall clock a file may end some milliseconds from where those before it add up to.
        ("in the last picture before a gap", first.at(first.seconds - 0.02), 60.0, 1..=2),
        ("behind it", first.at(first.seconds + 0.25), 0.2, 0..=0),
        ("in the gap", in_gap, 0.3, 0..=0),
        ("from the gap on", in_gap, to_second + 1.0, 24..=27),
        ("in the future", Timestamp::now() + jiff::SignedDuration::from_secs(60), 1.0, 0..=0),
    ] {
        for format in ["fmp4", "mp4"] {
            let query = format!("get?path=cam_1&start={start}&duration={seconds}&format={format}");
            let answer = http::get(&server.playback(&query)).await?;
            ensure!((answer.status == 404) == (*expected.end() == 0), "{what}, {format}: {}", answer.status);
            // ffmpeg shows the pictures before a fragmented file's edit list too.
            if answer.is_ok() && format == "mp4" {
                std::fs::write(&file, &answer.body)?;
                let shown = pictures(&file).await?.len();
                ensure!(expected.contains(&shown), "{what}, {format}: {shown} pictures");
            }
        }
    }
    Ok(())
}

/// A clip ends with the last picture before the camera's pictures change, and the next begins with the first of the others.
async fn check_change(server: &Server, spans: &[Span], clip: &Path) -> anyhow::Result<()> {
    let other = Clip { gop: 25, size: "480x272", ..USUAL }.file().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("clip.mp4");
    let milliseconds = jiff::SignedDuration::from_millis;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred pictures")]
    let pictures_of = |seconds: f64| (seconds * f64::from(USUAL.fps)).round() as usize;
    // The middle of a picture; the clip goes on for as long as it can.
    let before = (spans[1].start + milliseconds(1_020), 600.0, pictures_of(spans[1].seconds) - 25, clip);
    let behind = (spans[2].start + milliseconds(20), 1.0, 26, other.as_path());
    for (start, duration, count, source) in [before, behind] {
        for format in ["fmp4", "mp4"] {
            let query = format!("get?path=cam_1&start={start}&duration={duration}&format={format}&gaps=skip");
            std::fs::write(&file, http::get(&server.playback(&query)).await?.ok()?.body)?;
            let shown = pictures(&file).await?;
            let source = pictures(source).await?;
            let first =
                source.iter().position(|md5| Some(md5) == shown.first()).context("a foreign picture")?;
            let are_same =
                shown.iter().zip(source.iter().cycle().skip(first)).all(|(shown, source)| shown == source);
            ensure!(are_same, "{format} from {start}: other pictures than the camera's");
            // A second cuts through the first and the last picture.
            let is_count = shown.len() == count || (count == 26 && shown.len() == 25);
            ensure!(is_count, "{format} from {start}: {} pictures, not {count}", shown.len());
        }
    }
    Ok(())
}

/// Without an end it grows, and says nothing else of what it said.
async fn check_growing(server: &Server, first: Span) -> anyhow::Result<()> {
    let url = server.hls("cam_1");
    let redirect = http::get(&format!("{url}?start={}", first.start)).await?;
    ensure!(redirect.status == 302, "{}", redirect.status);
    let url = http::join(&url, redirect.header("location"))?;
    let before = http::get(&url).await?.ok()?.text();
    ensure!(before.contains("#EXT-X-PLAYLIST-TYPE:EVENT") && !before.contains("ENDLIST"), "{before}");
    wait::until("more of it", LIMIT, async || {
        let after = http::get(&url).await?.ok()?.text();
        // correctness: H14
        ensure!(after.starts_with(&before), "{before}\nbecame\n{after}");
        Ok((after.len() > before.len()).then_some(()))
    })
    .await?;
    let gone = http::get(&url.replace("first=", "first=1")).await?;
    ensure!(gone.status == 410, "{}", gone.status);
    Ok(())
}

/// Ranges and gaps, each with its reason, also a page at a time.
async fn check_timeline(server: &Server, spans: &[Span]) -> anyhow::Result<()> {
    let (start, end) = (spans[0].start, spans[2].start + jiff::SignedDuration::from_secs(2));
    let query = format!("timeline?path=cam_1&start={start}&end={end}");
    let timeline = http::get(&server.playback(&query)).await?.ok()?.json()?;
    let ranges = timeline["ranges"].as_array().context("ranges")?;
    let gaps = timeline["gaps"].as_array().context("gaps")?;
    ensure!(ranges.len() == 3 && timeline["next"].is_null() && timeline["holds"] == json!([]), "{timeline}");
    ensure!(gaps.iter().any(|gap| gap["reason"] == "camera"), "{timeline}");
    let first = http::get(&server.playback(&format!("{query}&limit=1"))).await?.ok()?.json()?;
    ensure!(first["ranges"].as_array().map(Vec::len) == Some(1) && first["next"].is_string(), "{first}");
    let bad = http::get(&server.playback(&format!("{query}&limit=0"))).await?;
    ensure!(bad.status == 400, "{}", bad.status);
    Ok(())
}

/// MD5 of each decoded picture.
async fn pictures(file: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(file).args(["-map", "0:v", "-vsync", "passthrough"]);
    let output = peers::run(command_with(command, &["-f", "framemd5", "-"]), BROWSER_LIMIT).await?;
    ensure!(output.success && output.stderr.is_empty(), "ffmpeg {file:?}: {}", output.stderr);
    let lines = output.stdout.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.filter_map(|line| line.rsplit(',').next()).map(|md5| md5.trim().to_owned()).collect())
}

fn command_with(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

async fn verify(file: &Path) -> anyhow::Result<peers::Output> {
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.arg("verify").arg(file);
    peers::run(command, BROWSER_LIMIT).await
}

/// One part less, in an archive that is whole otherwise: as somebody would make it who has everything but the key.
async fn check_removed_part(file: &Path, whole: &[u8]) -> anyhow::Result<()> {
    const REMOVE: &str = "import json, sys, zipfile\n\
        old = zipfile.ZipFile(sys.argv[1])\n\
        listed = json.loads(old.read('manifest.json'))['cameras'][0]['files'][0]\n\
        at = listed['head_bytes'] + sum(part['bytes'] for part in listed['parts'][:2])\n\
        with zipfile.ZipFile(sys.argv[2], 'w') as new:\n\
        \u{20}for entry in old.infolist():\n\
        \u{20} body = old.read(entry)\n\
        \u{20} if entry.filename == listed['name']:\n\
        \u{20}  body = body[:at] + body[at + listed['parts'][2]['bytes']:]\n\
        \u{20} new.writestr(entry.filename, body)";
    std::fs::write(file, whole)?;
    let without = file.with_file_name("without.zip");
    let mut remove = Command::new("python3");
    remove.arg("-c").arg(REMOVE).arg(file).arg(&without);
    let removed = peers::run(remove, BROWSER_LIMIT).await?;
    ensure!(removed.success, "zip: {}", removed.stderr);
    let verified = verify(&without).await?;
    ensure!(!verified.success && verified.stderr.starts_with("not authentic: bytes "), "{verified:?}");
    Ok(())
}

/// Evidence: whole pictures from the first to the last, an archive that others read, and any change is seen.
async fn check_export(server: &Server, spans: &[Span], clip: &Path) -> anyhow::Result<()> {
    // Half a second into a GOP, over the gap.
    let (start, end) = (
        spans[0].start + jiff::SignedDuration::from_millis(1500),
        spans[1].start + jiff::SignedDuration::from_millis(1500),
    );
    let ask = json!({ "cameras": ["cam_1"], "start": start.to_string(), "end": end.to_string(),
        "operator": "maria", "unit": "central", "reason": "accident" });
    let json_type = [("content-type", "application/json")];
    let send = async |body: String| {
        http::send(http::Method::POST, &server.playback("export"), &json_type, body).await
    };
    ensure!(send(json!({ "cameras": [] }).to_string()).await?.status == 400, "an export of nothing");
    let begun = send(ask.to_string()).await?;
    ensure!(begun.status == 202, "{}: {}", begun.status, begun.text());
    let url = http::join(&server.playback("export"), begun.header("location"))?;
    wait::until("the export", LIMIT, async || {
        let job = http::get(&url).await?.ok()?.json()?;
        ensure!(job["state"] != "failed", "{job}");
        Ok((job["state"] == "done").then_some(()))
    })
    .await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("export.zip");
    let whole = http::get(&format!("{url}/result")).await?.ok()?.body;
    std::fs::write(&file, &whole)?;
    let verified = verify(&file).await?;
    ensure!(verified.success && verified.stdout.starts_with("authentic, complete\n"), "{verified:?}");
    // Python's own reader, with the checksums.
    const UNZIP: &str = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nz.extractall(sys.argv[2])";
    let mut unzip = Command::new("python3");
    unzip.arg("-c").arg(UNZIP).arg(&file).arg(dir.path());
    let unzipped = peers::run(unzip, BROWSER_LIMIT).await?;
    ensure!(unzipped.success, "unzip: {}", unzipped.stderr);
    let manifest: Value = serde_json::from_slice(&std::fs::read(dir.path().join("manifest.json"))?)?;
    ensure!(
        manifest["operator"] == "maria" && manifest["cameras"][0]["gaps"][0]["reason"] == "camera",
        "{manifest}"
    );
    let source = pictures(clip).await?;
    for (number, expected) in [(0, (spans[0].seconds - 1.5) * 25.0), (1, 1.5 * 25.0)] {
        let name = manifest["cameras"][0]["files"][number]["name"].as_str().context("name")?;
        let shown = pictures(&dir.path().join(name)).await?;
        let first = source.iter().position(|md5| Some(md5) == shown.first()).context("a foreign picture")?;
        let in_order =
            shown.iter().zip(source.iter().cycle().skip(first)).all(|(shown, source)| shown == source);
        ensure!(in_order, "{name}: other pictures than the camera's");
        #[expect(clippy::cast_precision_loss, reason = "a few hundred pictures")]
        let off = shown.len() as f64 - expected;
        ensure!(off.abs() <= 1.0, "{name}: {} pictures, not {expected}", shown.len());
    }
    // The first picture is the clip's.
    let query = format!("get?path=cam_1&start={start}&duration=1&format=mp4");
    let alone = dir.path().join("alone.mp4");
    std::fs::write(&alone, http::get(&server.playback(&query)).await?.ok()?.body)?;
    let name = manifest["cameras"][0]["files"][0]["name"].as_str().context("name")?;
    ensure!(
        pictures(&alone).await?.first() == pictures(&dir.path().join(name)).await?.first(),
        "first picture"
    );
    for at in [whole.len() / 3, whole.len() - 5] {
        let mut changed = whole.to_vec();
        changed[at] ^= 4;
        std::fs::write(&file, changed)?;
        let verified = verify(&file).await?;
        ensure!(!verified.success && verified.stderr.starts_with("not authentic: bytes "), "{verified:?}");
    }
    check_removed_part(&file, &whole).await?;
    let deleted = http::send(http::Method::DELETE, &url, &[], Bytes::new()).await?;
    ensure!(deleted.status == 204 && http::get(&url).await?.status == 404, "{}", deleted.status);
    Ok(())
}
