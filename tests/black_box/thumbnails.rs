//! Thumbnails: small pictures that are kept beside recordings: answered, shown by other programs, and gone with their recording.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{self, Method, Response};
use gtvision_tests::recording::Archive;
use gtvision_tests::{Server, Simulator, ffmpeg, machine, peers, server, wait, workspace};
use jiff::{SignedDuration, Timestamp};

/// From a start to some files with their pictures, on a machine that runs other tests too: decoding has the lowest priority.
const SOON: Duration = Duration::from_secs(60);
const CAMERAS: [&str; 2] = ["cam_1", "cam_2"];
/// SOI, and the comment that tells the time of a kept picture.
const BEGIN: &[u8] = b"\xff\xd8\xff\xfe\x00\x40gtvision ";
/// SOI and comment together: what follows is the picture as it was made.
const HEAD_BYTES: usize = 68;

/// When the pictures were taken that a file of thumbnails holds, as their comments say.
fn times(file: &Path) -> anyhow::Result<Vec<Timestamp>> {
    let bytes = std::fs::read(file)?;
    let begins = bytes.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN);
    let time = |(at, _): (usize, &[u8])| {
        let text = bytes.get(at + BEGIN.len()..).and_then(|rest| rest.get(..27)).context("a time")?;
        Ok(std::str::from_utf8(text)?.parse()?)
    };
    begins.map(time).collect()
}

fn beside(recording: &Path) -> PathBuf {
    recording.with_extension("mjpeg")
}

/// When the newest picture was taken that is kept of a path.
fn newest(archive: &Archive, path: &str) -> anyhow::Result<Option<Timestamp>> {
    let mut newest = None;
    for file in archive.files(path)?.iter().map(|file| beside(file)).filter(|file| file.exists()) {
        newest = newest.max(times(&file)?.into_iter().max());
    }
    Ok(newest)
}

/// The URLs that the timeline lists of the first six seconds of a path, once all of their pictures are kept.
async fn listed(server: &Server, archive: &Archive, path: &str) -> anyhow::Result<Vec<String>> {
    let start: Timestamp = wait::until("a recording", SOON, async || {
        let list = http::get(&server.playback(&format!("list?path={path}"))).await?;
        Ok(if list.is_ok() { list.json()?[0]["start"].as_str().map(str::parse) } else { None })
    })
    .await??;
    let end = start + SignedDuration::from_secs(6);
    wait::until("pictures of six seconds", SOON, async || Ok(newest(archive, path)?.filter(|at| *at > end)))
        .await
        .with_context(|| server.log_tail())?;
    let timeline = server.playback(&format!("timeline?path={path}&start={start}&end={end}&thumbnails=2"));
    let listed = http::get(&timeline).await?.ok()?.json()?;
    let listed = listed["thumbnails"].as_array().context("thumbnails")?;
    ensure!(listed.len() >= 2, "{listed:?}");
    listed.iter().map(|entry| entry["url"].as_str().map(str::to_owned).context("url")).collect()
}

async fn pictures(urls: &[String]) -> anyhow::Result<Vec<Response>> {
    let mut pictures = Vec::new();
    for url in urls {
        let picture = http::get(url).await?.ok()?;
        ensure!(picture.header("content-type") == "image/jpeg", "{:?}", picture.headers);
        pictures.push(picture);
    }
    Ok(pictures)
}

async fn made(server: &Server, purpose: &str) -> anyhow::Result<f64> {
    let metrics = server.metrics().await?;
    metrics.sum("gtvision_pictures_made_total", &[("purpose", purpose)]).context("no metric")
}

/// `gtvision storage check`: its exit code and what it said.
async fn check(config: &str) -> anyhow::Result<(Option<i32>, String)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gtvision.yml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.args(["storage", "check"]).arg(file);
    let output = peers::run(command, SOON).await?;
    Ok((output.code, output.stdout + &output.stderr))
}

#[tokio::test]
async fn pictures_of_recordings_are_kept_beside_them_answered_as_made_and_gone_with_them()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let h265 = Clip { codec: "h265", gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip), ("cam_2", &h265)]).await?;
    let archive = Archive::new()?;
    let config = archive.config(&["recordSegmentDuration: 3s", "recordThumbnails: 2s"])
        + &server::pull(&CAMERAS.map(|name| (name, simulator.url(name))));
    let mut server = Server::start(&config).await?;
    let mut urls = Vec::new();
    for camera in CAMERAS {
        urls.extend(listed(&server, &archive, camera).await?);
    }
    let kept = pictures(&urls).await?;
    ensure!(kept.iter().all(|picture| picture.body.starts_with(BEGIN)), "one was made and not kept");
    ensure!(made(&server, "thumbnail").await? == 0.0 && made(&server, "recording").await? >= 6.0);
    let counted = server.metrics().await?.sum("gtvision_disk_thumbnails_total", &[]);
    ensure!(counted >= Some(6.0), "{counted:?} thumbnails are counted");
    for picture in &kept {
        let text = std::str::from_utf8(&picture.body[BEGIN.len()..BEGIN.len() + 27])?;
        ensure!(text.parse::<Timestamp>()? == picture.header("picture-time").parse()?, "{text}");
    }
    let firsts = CAMERAS.map(|camera| archive.files(camera).map(|mut files| files.remove(0)));
    for first in firsts {
        check_and_spoil(&beside(&first?)).await?;
    }

    // What is not kept, or not whole, is made of the recording: the same picture.
    server.restart().await?;
    let again = pictures(&urls).await?;
    for (kept, again) in kept.iter().zip(&again) {
        ensure!(kept.header("picture-time") == again.header("picture-time"), "{}: another time", again.url);
        let rest = if again.body.starts_with(BEGIN) { HEAD_BYTES } else { 2 };
        ensure!(kept.body[HEAD_BYTES..] == again.body[rest..], "{}: another picture", again.url);
    }
    ensure!(made(&server, "thumbnail").await? >= 2.0, "spoiled pictures were answered");

    let first = archive.files("cam_1")?.remove(0);
    let start: Timestamp = http::get(&server.api("recordings/get/cam_1")).await?.ok()?.json()?["segments"][0]
        ["start"]
        .as_str()
        .context("start")?
        .parse()?;
    let segment = server.api(&format!("recordings/deletesegment?path=cam_1&start={start}"));
    http::send(Method::DELETE, &segment, &[], "").await?.ok()?;
    ensure!(!first.exists() && !beside(&first).exists(), "{first:?} left something behind");
    drop(server);
    check_the_check(&archive, &config).await
}

/// ffmpeg shows a file of thumbnails; then it loses the end of its last picture, and a byte of its first.
async fn check_and_spoil(file: &Path) -> anyhow::Result<()> {
    let shown = ffmpeg::probe(&file.to_string_lossy(), &["-count_frames", "-show_streams"]).await?;
    let stream = &shown["streams"][0];
    ensure!(stream["codec_name"] == "mjpeg" && stream["width"] == 320 && stream["height"] == 180, "{shown}");
    let frames: usize = stream["nb_read_frames"].as_str().context("frames")?.parse()?;
    ensure!(frames > 0 && frames == times(file)?.len(), "{frames} are shown of {:?}", times(file)?);
    let mut bytes = std::fs::read(file)?;
    bytes.pop();
    bytes[HEAD_BYTES + 300] ^= 1;
    std::fs::write(file, bytes)?;
    Ok(())
}

/// It takes them for what they are, and removes those whose recording is gone.
async fn check_the_check(archive: &Archive, config: &str) -> anyhow::Result<()> {
    let sound = check(config).await?;
    ensure!(sound.0 == Some(0), "{sound:?}");
    let lost =
        archive.files("cam_2")?.into_iter().find(|file| beside(file).exists()).context("thumbnails")?;
    std::fs::remove_file(&lost)?;
    let found = check(config).await?;
    ensure!(found.0 == Some(4) && found.1.contains(&*beside(&lost).to_string_lossy()), "{found:?}");
    ensure!(!beside(&lost).exists(), "thumbnails of a lost recording stay");
    archive.check_agrees(&CAMERAS).await
}
