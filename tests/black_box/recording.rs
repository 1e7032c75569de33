//! Recording: what cameras send is on the disk, whole, through crashes, full disks and changes of the camera.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use gtvision_tests::bitstream::{self, UnitHash};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::disk_log::mixed;
use gtvision_tests::recording::{Archive, Recorded, check_plays};
use gtvision_tests::simulator::Sent;
use gtvision_tests::{Server, Simulator, ffmpeg, http, latency, llhls, machine, server, wait, workspace};
use serde_json::json;

/// From the first picture to a part on the disk: the remuxer looks at the stream for up to 4.2 s first.
const FIRST_PART: Duration = Duration::from_secs(10);
/// A crash may take one part of 200 ms, the picture whose duration is not known yet, and what this machine, which
/// runs other tests, holds up in between.
const LOST_MAX_US: u64 = 200_000 + 40_000 + 260_000;
/// So large that the few files that may be deleted do not make room on it: each is a good percent.
const SMALL_DISK_MB: usize = 24;
/// Crashes in a run of `./test`.
const CRASHES: usize = 10;
/// And in a long one, unless `GTV_CRASHES` says another number.
const CRASHES_LONG: usize = 200;
const CAMERAS_LONG: usize = 20;

/// Starts a server that records the simulator's cameras.
async fn start(
    archive: &Archive,
    simulator: &Simulator,
    cameras: &[&str],
    more: &[&str],
) -> anyhow::Result<Server> {
    let pulled: Vec<(&str, String)> = cameras.iter().map(|name| (*name, simulator.url(name))).collect();
    Server::start(&(archive.config(more) + &server::pull(&pulled))).await
}

async fn wait_recorded(archive: &Archive, path: &str, files: usize) -> anyhow::Result<()> {
    wait::until("recorded files", FIRST_PART + Duration::from_secs(10), async || {
        Ok((archive.files(path)?.len() >= files).then_some(()))
    })
    .await
}

fn crashes() -> usize {
    let asked = std::env::var("GTV_CRASHES").ok().and_then(|count| count.parse().ok());
    asked.unwrap_or(if workspace::long() { CRASHES_LONG } else { CRASHES })
}

fn now_us() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_micros())?)
}

/// The pictures of all files are the clip's, in order, without one missing between them.
async fn check_bit_exact(files: &[PathBuf], clip: &Path) -> anyhow::Result<usize> {
    let mut units = Vec::new();
    let mut pictures = 0;
    for file in files {
        let recorded = Recorded::read(file)?;
        pictures += recorded.pictures()?;
        units.extend(recorded.units()?);
    }
    // correctness: F4
    bitstream::check_same(&bitstream::of_clip(clip).await?, &units)?;
    Ok(pictures)
}

// correctness: F1, F2, F5
#[tokio::test]
async fn cameras_are_recorded_whole_and_play_while_they_are_written_and_afterwards() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let reordered = Clip { bframes: 2, ..USUAL }.file().await?;
    let aac = Clip { audio: "aac", ..USUAL }.file().await?;
    let g711 = Clip { audio: "pcma", ..USUAL }.file().await?;
    let played = [("cam_1", reordered.as_path()), ("cam_2", &aac), ("cam_3", &g711)];
    let simulator = Simulator::start(&played).await?;
    let archive = Archive::new()?;
    let cameras = ["cam_1", "cam_2", "cam_3"];
    let server = start(&archive, &simulator, &cameras, &["recordSegmentDuration: 3s"]).await?;
    for camera in cameras {
        wait_recorded(&archive, camera, 3).await?;
        let dir = tempfile::tempdir()?;
        let copy = dir.path().join("copy.mp4");
        wait::until("pictures in the open file", FIRST_PART, async || {
            // Taken at one moment: ffprobe reads on while the file grows otherwise.
            std::fs::copy(archive.files(camera)?.last().context("no file")?, &copy)?;
            Ok((Recorded::read(&copy)?.pictures()? > 5).then_some(()))
        })
        .await?;
        check_plays(&copy).await.context("while it is written")?;
    }
    let metrics = server.metrics().await?;
    ensure!(metrics.sum("gtvision_recorder_recording", &[]) == Some(3.0), "not all are being recorded");
    ensure!(metrics.sum("gtvision_recorder_dropped_parts_total", &[]) == Some(0.0), "parts were dropped");
    // Its first viewer: what was made before he came is there for him too.
    let watched = llhls::follow(&server.hls("cam_1"), Duration::from_secs(2)).await?;
    drop(server);
    check_recorded_as_served(watched.video()?, &archive.files("cam_1")?)?;
    for (camera, clip) in played {
        let files = archive.files(camera)?;
        for file in &files {
            check_plays(file).await?;
            ensure!(Recorded::read(file)?.has_index, "{file:?} has no index");
        }
        let pictures = check_bit_exact(&files, clip).await?;
        ensure!(pictures > 150, "{pictures} pictures");
        let audio = ffmpeg::packets(&files[0], &["-select_streams", "a"]).await?;
        ensure!(camera == "cam_1" || audio.len() > 50, "{camera}: {} packets of sound", audio.len());
    }
    archive.check_agrees(&cameras).await?;
    ensure!(archive.markers()? == 0, "markers are left");
    let gaps = archive.ask("SELECT reason FROM gaps WHERE until_us IS NULL").await?;
    ensure!(gaps == ["server"; 3], "after the stop: {gaps:?}");
    Ok(())
}

/// Parts are made once: each that was served lies in the files, byte for byte.
fn check_recorded_as_served(served: &llhls::Rendition, files: &[PathBuf]) -> anyhow::Result<()> {
    let files: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    ensure!(served.parts.len() >= 5, "{} parts were served", served.parts.len());
    for (position, part) in &served.parts {
        let bytes = &part.response.body[..];
        let is_there = files.iter().any(|file| file.windows(bytes.len()).any(|window| window == bytes));
        ensure!(is_there, "part {position:?} is not in the recording");
    }
    Ok(())
}

/// The number in the clip of the last picture of a file.
fn last_frame(file: &Path, clip: &[Vec<UnitHash>]) -> anyhow::Result<u32> {
    let units = Recorded::read(file)?.units()?;
    let last = units.last().context("no picture")?;
    let frame =
        clip.iter().position(|frame| frame.last() == Some(last)).context("not a picture of the clip")?;
    Ok(u32::try_from(frame)?)
}

/// How long before `killed_us` the oldest picture left that is not in the recording, whose last is `frame`.
fn lost_us(sent: &[Sent], frame: u32, killed_us: u64) -> anyhow::Result<u64> {
    let before: Vec<&Sent> = sent.iter().filter(|one| one.sent_unix_us <= killed_us).collect();
    let last = before.iter().rposition(|one| one.frame == frame).context("last picture was never sent")?;
    Ok(before.get(last + 1).map_or(0, |missing| killed_us - missing.sent_unix_us))
}

/// The last file of a camera that is younger than `before`.
async fn wait_file_after(archive: &Archive, camera: &str, before: Option<&PathBuf>) -> anyhow::Result<()> {
    wait::until("another file", FIRST_PART + Duration::from_secs(20), async || {
        Ok((archive.files(camera)?.last() > before).then_some(()))
    })
    .await
}

/// ffprobe opens all files of a run, and no picture is missing in them or between them.
async fn check_whole(files: &[PathBuf], clip: &[UnitHash]) -> anyhow::Result<()> {
    let names: Vec<_> = files.iter().map(|file| file.to_string_lossy()).collect();
    try_join_all(names.iter().map(|name| ffmpeg::probe(name, &["-show_streams"]))).await?;
    let mut units = Vec::new();
    for file in files {
        units.extend(Recorded::read(file)?.units()?);
    }
    // correctness: F4
    bitstream::check_same(clip, &units).with_context(|| format!("{files:?}"))
}

/// The catalogue knows these files as closed and as long as they are, and names none that is not there.
async fn check_known(archive: &Archive, files: &[PathBuf]) -> anyhow::Result<()> {
    let closed = archive.ask("SELECT bytes || ' ' || name FROM files WHERE state = 'closed'").await?;
    let mut known: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for row in closed {
        let (bytes, name) = row.split_once(' ').context("two columns")?;
        known.insert(name.into(), bytes.parse()?);
    }
    for file in files {
        let (found, known) = (Recorded::read(file)?.parts_end, known.get(file).copied());
        ensure!(known == Some(found), "{file:?}: parts end at {found}, the catalogue says {known:?}");
    }
    // What got too old meanwhile was noted before it went.
    known.retain(|name, _| !name.exists());
    let deleted = archive.ask("SELECT name FROM deletions").await?;
    known.retain(|name, _| !deleted.iter().any(|deleted| Path::new(deleted) == name));
    ensure!(known.is_empty(), "the catalogue names files that are not there: {:?}", known.keys());
    Ok(())
}

#[tokio::test]
async fn kill_9_at_any_moment_takes_one_part_at_most_and_every_file_opens() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let frames = bitstream::frames_of_clip(&clip).await?;
    let cameras: Vec<String> = (1..=if workspace::long() { CAMERAS_LONG } else { 1 })
        .map(|number| format!("cam_{number}"))
        .collect();
    let cameras: Vec<&str> = cameras.iter().map(String::as_str).collect();
    let played: Vec<(&str, &Path)> = cameras.iter().map(|camera| (*camera, clip.as_path())).collect();
    let simulator = Simulator::start(&played).await?;
    let archive = Archive::new()?;
    // Old ones go: a long run would fill the disk.
    let more = ["recordSegmentDuration: 2s", "recordDeleteAfter: 120s"];
    let mut losses = Vec::new();
    let mut server = start(&archive, &simulator, &cameras, &more).await?;
    let mut last: Vec<Option<PathBuf>> = vec![None; cameras.len()];
    for crash in 0..crashes() {
        for (camera, last) in cameras.iter().zip(&last) {
            wait_file_after(&archive, camera, last.as_ref()).await?;
        }
        wait::run_for(Duration::from_millis(mixed(0x2545_f491, crash) % 4000)).await;
        let killed_us = now_us()?;
        server.kill()?;
        let left: Vec<Vec<PathBuf>> =
            cameras.iter().map(|camera| archive.files(camera)).collect::<Result<_, _>>()?;
        // The next start repairs; nothing else is needed for the files to be whole.
        server = start(&archive, &simulator, &cameras, &more).await?;
        let storage = format!("http://127.0.0.1:{}/v1/storage", server.ports.api);
        wait::until("repair", FIRST_PART, async || Ok(http::get(&storage).await?.is_ok().then_some(())))
            .await?;
        let mut kept: Vec<Vec<PathBuf>> = Vec::new();
        for ((camera, left), last) in cameras.iter().zip(left).zip(&last) {
            // Those of this run; one that had no part yet is gone.
            let of_run = |file: &PathBuf| Some(file) > last.as_ref() && file.exists();
            let files: Vec<PathBuf> = left.into_iter().filter(of_run).collect();
            let file = files.last().with_context(|| format!("crash {crash}: no file of {camera}"))?;
            let sent = simulator.sent(camera, 600).await?;
            let lost = lost_us(&sent, last_frame(file, &frames)?, killed_us)?;
            ensure!(lost <= LOST_MAX_US, "crash {crash}: {lost} us are lost of {file:?}");
            losses.push(lost);
            kept.push(files);
        }
        check_plays(kept[crash % cameras.len()].last().context("a file")?).await?;
        for files in &kept {
            check_whole(files, &frames.concat()).await.with_context(|| format!("crash {crash}"))?;
        }
        check_known(&archive, &kept.concat()).await.with_context(|| format!("crash {crash}"))?;
        for (camera, last) in cameras.iter().zip(&mut last) {
            *last = archive.files(camera)?.last().cloned();
        }
    }
    drop(server);
    archive.check_agrees(&cameras).await?;
    losses.sort_unstable();
    let figures = json!({
        "crashes": crashes(), "cameras": cameras.len(),
        "lost_us_median": losses[losses.len() / 2], "lost_us_max": losses.last(),
    });
    latency::note("kill -9 while recording", &figures)
}

/// A file system of [`SMALL_DISK_MB`], unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = std::process::Command::new("mount");
        let size = format!("size={SMALL_DISK_MB}M");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        let output = command.output()?;
        ensure!(output.status.success(), "mount (needs root): {}", String::from_utf8_lossy(&output.stderr));
        Ok(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A mount that stays is only left behind; the test has said by then what it had to say.
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(unmounted);
    }
}

#[tokio::test]
async fn a_full_disk_is_a_gap_while_live_goes_on_and_recording_resumes_by_itself() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let disk = SmallDisk::mount()?;
    let archive = Archive::at(&disk.0.path().join("recordings"))?;
    let mut server = start(&archive, &simulator, &["cam_1"], &["recordSegmentDuration: 3s"]).await?;
    server.expect_error("disk is above recordDiskStop");
    wait_recorded(&archive, "cam_1", 2).await?;
    let first = archive.files("cam_1")?.remove(0);
    let filler = disk.0.path().join("filler");
    // Until nothing more fits.
    let filled = std::fs::write(&filler, vec![0; SMALL_DISK_MB << 20]);
    ensure!(filled.is_err(), "the small disk is not full");
    wait::until("a write error", FIRST_PART, async || {
        let metrics = server.metrics().await?;
        Ok((metrics.sum("gtvision_recorder_write_errors_total", &[]) >= Some(1.0)).then_some(()))
    })
    .await?;
    // Above recordDiskDelete the oldest goes, whatever its age, and that is noted.
    let deleted = "SELECT name FROM deletions WHERE rule = 'space'";
    wait::until("a deletion for space", FIRST_PART, async || {
        Ok((archive.ask(deleted).await?.first().map(PathBuf::from).as_ref() == Some(&first)).then_some(()))
    })
    .await?;
    ensure!(server.metrics().await?.sum("gtvision_disk_usable", &[]) == Some(0.0), "a full disk is written");
    // correctness: H3
    llhls::count(&server.hls("cam_1"), Duration::from_secs(6), USUAL.fps).await.context("live, disk full")?;
    let gaps = archive.ask("SELECT reason FROM gaps WHERE until_us IS NULL").await?;
    ensure!(gaps == ["disk"], "while the disk is full: {gaps:?}");
    std::fs::remove_file(&filler)?;
    // The recorder asks a full disk again after 16 s at most.
    wait::until("recording again", Duration::from_secs(30), async || {
        let metrics = server.metrics().await?;
        Ok((metrics.sum("gtvision_recorder_recording", &[]) == Some(1.0)).then_some(()))
    })
    .await?;
    let ended = "SELECT reason FROM gaps WHERE until_us IS NOT NULL";
    wait::until("the end of the gap", FIRST_PART, async || {
        Ok((archive.ask(ended).await? == ["disk"]).then_some(()))
    })
    .await?;
    wait::run_for(Duration::from_secs(2)).await;
    drop(server);
    for file in archive.files("cam_1")? {
        check_plays(&file).await?;
    }
    archive.check_agrees(&["cam_1"]).await
}

#[tokio::test]
async fn old_recordings_are_deleted_and_every_deletion_is_noted() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let archive = Archive::new()?;
    let more = ["recordSegmentDuration: 1s", "recordDeleteAfter: 3s"];
    let server = start(&archive, &simulator, &["cam_1"], &more).await?;
    wait_recorded(&archive, "cam_1", 1).await?;
    let first = archive.files("cam_1")?[0].clone();
    wait::until("deletion of the first file", Duration::from_secs(20), async || {
        Ok((!first.exists()).then_some(()))
    })
    .await?;
    let noted = archive.ask("SELECT name FROM deletions WHERE rule = 'age' ORDER BY id").await?;
    ensure!(noted.first().map(PathBuf::from).as_ref() == Some(&first), "{noted:?}");
    // Nothing is deleted before its time: 3 s, and a second of the file itself.
    let early = "SELECT name FROM deletions WHERE at_us - start_us - duration_us < 3000000";
    ensure!(archive.ask(early).await?.is_empty(), "deleted too early");
    drop(server);
    let left = archive.files("cam_1")?.len();
    ensure!((2..=9).contains(&left), "{left} files of a second are kept for 3 s");
    archive.check_agrees(&["cam_1"]).await
}

#[tokio::test]
async fn a_camera_that_changes_or_goes_away_begins_a_new_file_and_its_absence_is_a_gap() -> anyhow::Result<()>
{
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let other = Clip { size: "480x272", ..USUAL }.file().await?;
    let plan = json!({ "cam_1": { "second_clip": other.to_string_lossy() } });
    let simulator = Simulator::start_planned(&[("cam_1", &clip)], &[], &plan).await?;
    let archive = Archive::new()?;
    let server = start(&archive, &simulator, &["cam_1"], &[]).await?;
    wait_recorded(&archive, "cam_1", 1).await?;
    simulator.fault("cam_1", "change_parameters", json!({})).await?;
    wait_recorded(&archive, "cam_1", 2).await?;
    simulator.fault("cam_1", "vanish", json!({ "secs": 4 })).await?;
    wait_recorded(&archive, "cam_1", 3).await?;
    let closed = "SELECT reason FROM gaps WHERE until_us - from_us BETWEEN 3000000 AND 20000000";
    wait::until("the camera's gap", FIRST_PART, async || {
        Ok((archive.ask(closed).await? == ["camera"]).then_some(()))
    })
    .await?;
    let list = http::get(&server.playback("list?path=cam_1")).await?.ok()?.json()?;
    let spans = list.as_array().context("a list")?.len();
    ensure!(spans >= 3, "{list}");
    drop(server);
    for file in archive.files("cam_1")? {
        check_plays(&file).await?;
    }
    archive.check_agrees(&["cam_1"]).await
}
