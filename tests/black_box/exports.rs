//! Exports: several cameras in one archive, each codec's pictures and sound as the camera sent them, from the first to the last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{self, Method, StatusCode};
use gtvision_tests::recording::{Archive, check_plays};
use gtvision_tests::{Server, Simulator, ffmpeg, machine, peers, server, wait, workspace};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// From a start to some seconds of four cameras, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(60);
/// What is exported of each camera.
const SECONDS: i64 = 4;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// MD5 of each decoded picture, in the order in which they are shown.
async fn pictures(file: &Path) -> anyhow::Result<Vec<String>> {
    let file = file.to_string_lossy();
    let arguments = ["-i", &*file, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"];
    let output = ffmpeg::ffmpeg(&arguments).await?;
    ensure!(output.success && output.stderr.is_empty(), "ffmpeg {file}: {}", output.stderr);
    let lines = output.stdout.lines().filter(|line| !line.starts_with('#'));
    Ok(lines.filter_map(|line| line.rsplit(',').next()).map(|md5| md5.trim().to_owned()).collect())
}

/// A time that all cameras have recorded `SECONDS` behind.
async fn common_start(server: &Server, cameras: &[&str]) -> anyhow::Result<Timestamp> {
    wait::until("recordings", SOON, async || {
        let mut from = Timestamp::MIN;
        for camera in cameras {
            let list = http::get(&server.playback(&format!("list?path={camera}"))).await?;
            let list = if list.is_ok() { list.json()? } else { return Ok(None) };
            let start: Timestamp = list[0]["start"].as_str().context("start")?.parse()?;
            // Half a second into a GOP of two.
            from = from.max(start + SignedDuration::from_millis(500));
        }
        for camera in cameras {
            let list =
                http::get(&server.playback(&format!("list?path={camera}&start={from}"))).await?.ok()?;
            let seconds = list.json()?[0]["duration"].as_f64().context("duration")?;
            if seconds < 1.0 + Duration::from_secs(SECONDS.unsigned_abs()).as_secs_f64() {
                return Ok(None);
            }
        }
        Ok(Some(from))
    })
    .await
    .with_context(|| server.log_tail())
}

/// Asks for an export and unpacks it: its manifest, and the folder with its files.
async fn export(server: &Server, ask: &Value, into: &Path) -> anyhow::Result<Value> {
    let begun = http::send(Method::POST, &server.playback("export"), &JSON, ask.to_string()).await?;
    ensure!(begun.status == StatusCode::ACCEPTED, "{}", begun.text());
    let url = http::join(&server.playback("export"), begun.header("location"))?;
    let job = wait::until("the export", SOON, async || {
        let job = http::get(&url).await?.ok()?.json()?;
        ensure!(job["state"] != "failed", "{job}");
        Ok((job["state"] == "done").then_some(job))
    })
    .await?;
    ensure!(job["writtenBytes"] == job["totalBytes"] && job["bytes"].as_u64() > Some(100_000), "{job}");
    let file = into.join("export.zip");
    std::fs::write(&file, http::get(&format!("{url}/result")).await?.ok()?.body)?;
    let mut verify = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    verify.arg("verify").arg(&file);
    let verified = peers::run(verify, SOON).await?;
    ensure!(verified.success && verified.stdout.starts_with("authentic, complete\n"), "{verified:?}");
    let mut unzip = Command::new("python3");
    unzip.args(["-m", "zipfile", "-e"]).arg(&file).arg(into);
    let unzipped = peers::run(unzip, SOON).await?;
    ensure!(unzipped.success, "unzip: {}", unzipped.stderr);
    Ok(serde_json::from_slice(&std::fs::read(into.join("manifest.json"))?)?)
}

/// From the first to the last picture those of the clip, one after the other, and as many as the time has.
async fn check_pictures(file: &Path, clip: &Path) -> anyhow::Result<()> {
    let (shown, source) = (pictures(file).await?, pictures(clip).await?);
    let first = source.iter().position(|md5| Some(md5) == shown.first()).context("a foreign picture")?;
    let wanted = usize::try_from(SECONDS * i64::from(USUAL.fps))?;
    // The asked time cuts through the first and the last one; one more may be there because others are predicted from it.
    ensure!((wanted..=wanted + 2).contains(&shown.len()), "{file:?}: {} pictures", shown.len());
    let mut both = shown.iter().take(wanted).zip(source.iter().cycle().skip(first));
    ensure!(both.all(|(shown, source)| shown == source), "{file:?}: other pictures than the camera's");
    Ok(())
}

// correctness: E1
#[tokio::test]
async fn cameras_of_every_codec_are_exported_together_and_exact_to_the_picture() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clips: BTreeMap<&str, (PathBuf, &str)> = BTreeMap::from([
        ("cam_1", (Clip { bframes: 2, audio: "aac", ..USUAL }.file().await?, "aac")),
        ("cam_2", (Clip { codec: "h265", gop: 25, ..USUAL }.file().await?, "")),
        // Sound of G.711 is recorded as Opus.
        ("cam_3", (Clip { audio: "pcma", ..USUAL }.file().await?, "opus")),
    ]);
    let cameras: Vec<&str> = clips.keys().copied().collect();
    let played: Vec<(&str, &Path)> = clips.iter().map(|(name, (clip, _))| (*name, clip.as_path())).collect();
    let simulator = Simulator::start(&played).await?;
    let archive = Archive::new()?;
    let pulled: Vec<(&str, String)> = cameras.iter().map(|name| (*name, simulator.url(name))).collect();
    let config = archive.config(&["recordSegmentDuration: 3s"]) + &server::pull(&pulled);
    let server = Server::start(&config).await?;
    let start = common_start(&server, &cameras).await?;
    let end = start + SignedDuration::from_secs(SECONDS);
    let ask = json!({ "cameras": cameras, "start": start.to_string(), "end": end.to_string(),
        "operator": "maria", "unit": "central", "reason": "accident" });
    let dir = tempfile::tempdir()?;
    let manifest = export(&server, &ask, dir.path()).await?;
    let listed = manifest["cameras"].as_array().context("cameras")?;
    ensure!(listed.len() == cameras.len(), "{manifest}");
    for (camera, (name, (clip, sound))) in listed.iter().zip(&clips) {
        let files = camera["files"].as_array().context("files")?;
        ensure!(files.len() == 1, "{name}: one run is one file: {camera}");
        let file = dir.path().join(files[0]["name"].as_str().context("name")?);
        check_plays(&file).await?;
        check_pictures(&file, clip).await.with_context(|| (*name).to_owned())?;
        let probed =
            ffmpeg::probe(&file.to_string_lossy(), &["-show_streams", "-select_streams", "a"]).await?;
        let heard = probed["streams"][0]["codec_name"].as_str().unwrap_or_default();
        ensure!(heard == *sound, "{name}: sound is {heard:?}");
        if !sound.is_empty() {
            let seconds: f64 = probed["streams"][0]["duration"].as_str().context("duration")?.parse()?;
            ensure!((3.9..4.2).contains(&seconds), "{name}: {seconds} s of sound");
        }
    }
    Ok(())
}
