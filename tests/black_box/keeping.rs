//! Keeping: what is held stays, what is too much goes and is noted, what an operator orders is done, and a disk that
//! goes away takes nothing with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{self, Method, StatusCode};
use gtvision_tests::recording::{Archive, check_plays};
use gtvision_tests::{Server, Simulator, machine, peers, server, wait, workspace};
use serde_json::{Value, json};

/// From a start to files, rules and their deletions, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(30);
/// A file of a second each.
const SHORT_FILES: &str = "recordSegmentDuration: 1s";

async fn ask(method: Method, url: &str, body: Value) -> anyhow::Result<(StatusCode, Value)> {
    let headers = [("content-type", "application/json")];
    let answer = http::send(method, url, &headers, body.to_string()).await?;
    Ok((answer.status, answer.json()?))
}

fn v1(server: &Server, endpoint: &str) -> String {
    format!("http://127.0.0.1:{}/v1/{endpoint}", server.ports.api)
}

async fn items(url: &str) -> anyhow::Result<Vec<Value>> {
    let list = http::get(url).await?.ok()?.json()?;
    Ok(list["items"].as_array().context("a list")?.clone())
}

/// When the oldest file of a path begins, as the API tells it once the catalogue knows one.
async fn oldest(server: &Server, path: &str) -> anyhow::Result<String> {
    let url = server.api(&format!("recordings/get/{path}"));
    wait::until("a recorded file", SOON, async || {
        let recording = http::get(&url).await?.ok()?.json()?;
        Ok(recording["segments"][0]["start"].as_str().map(str::to_owned))
    })
    .await
}

async fn wait_deletions(server: &Server, rule: &str, count: usize) -> anyhow::Result<Vec<Value>> {
    let url = v1(server, "deletions?path=cam_1");
    wait::until(&format!("{count} deletions by {rule}"), SOON, async || {
        let mut found = items(&url).await?;
        found.retain(|deletion| deletion["rule"] == rule);
        Ok((found.len() >= count).then_some(found))
    })
    .await
}

async fn wait_metric(server: &Server, name: &str, value: f64) -> anyhow::Result<()> {
    wait::until(&format!("{name} {value}"), SOON, async || {
        Ok((server.metrics().await?.sum(name, &[]) == Some(value)).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())
}

#[tokio::test]
async fn a_quota_takes_the_oldest_but_what_is_held_stays_until_it_is_released() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let archive = Archive::new()?;
    let config = archive.config(&[SHORT_FILES, "recordQuota: 500K"]);
    let mut server = Server::start(&(config + &server::pull(&[("cam_1", simulator.url("cam_1"))]))).await?;
    wait::until("a closed file", SOON, async || Ok((archive.files("cam_1")?.len() >= 2).then_some(())))
        .await?;
    let first = archive.files("cam_1")?.remove(0);
    let start = oldest(&server, "cam_1").await?;
    let end = start.parse::<jiff::Timestamp>()? + jiff::SignedDuration::from_millis(100);
    let hold = json!({
        "path": "cam_1", "start": start, "end": end.to_string(), "reason": "case 12/2026", "by": "ana",
    });
    let (status, hold) = ask(Method::POST, &v1(&server, "holds"), hold).await?;
    ensure!(status == StatusCode::CREATED && hold["files"] == 1, "{status} {hold}");
    let timeline =
        http::get(&server.playback(&format!("timeline?path=cam_1&start={start}&end={end}"))).await?;
    let shown = timeline.ok()?.json()?["holds"][0].clone();
    ensure!(shown["id"] == hold["id"] && shown["reason"] == "case 12/2026", "on the timeline: {shown}");
    let deleted = wait_deletions(&server, "quota", 2).await?;
    ensure!(deleted.iter().all(|one| one["file"] != first.to_string_lossy().as_ref()), "{deleted:?}");
    let segment = server.api(&format!("recordings/deletesegment?path=cam_1&start={start}&by=rui"));
    let (status, answer) = ask(Method::DELETE, &segment, Value::Null).await?;
    ensure!(
        status == StatusCode::CONFLICT && answer["error"].to_string().contains("hold"),
        "{status} {answer}"
    );

    server.restart().await?;
    let before = items(&v1(&server, "deletions")).await?.len();
    wait_deletions(&server, "quota", before + 1).await?;
    ensure!(first.exists(), "the held file is gone");
    let holds = items(&v1(&server, "holds?active=true")).await?;
    ensure!(holds.len() == 1 && holds[0]["id"] == hold["id"], "{holds:?}");
    let kept: u64 =
        archive.files("cam_1")?.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    // The quota, and what came since the rules looked last.
    ensure!(kept < 900 << 10, "{kept} bytes are kept");

    let id = &hold["id"];
    let (status, released) =
        ask(Method::DELETE, &v1(&server, &format!("holds/{id}?by=rui")), Value::Null).await?;
    ensure!(status == StatusCode::OK && released["releasedBy"] == "rui", "{status} {released}");
    wait::until("deletion of what was held", SOON, async || Ok((!first.exists()).then_some(()))).await?;

    let start = oldest(&server, "cam_1").await?;
    let segment = server.api(&format!("recordings/deletesegment?path=cam_1&start={start}&by=rui"));
    let (status, answer) = ask(Method::DELETE, &segment, Value::Null).await?;
    // The quota may have been quicker.
    ensure!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{status} {answer}");
    if status == StatusCode::OK {
        let deleted = wait_deletions(&server, "operator", 1).await?;
        ensure!(deleted[0]["by"] == "rui" && deleted[0]["start"] == start, "{deleted:?}");
    }
    let metrics = server.metrics().await?;
    let by_quota = metrics.sum("gtvision_recordings_deleted_files_total", &[("rule", "quota")]);
    ensure!(by_quota >= Some(1.0), "{by_quota:?} deletions by quota are counted");
    let status = http::get(&v1(&server, "storage")).await?.ok()?.json()?;
    let path = &status["paths"][0];
    ensure!(path["quotaBytes"] == 500 << 10 && path["bytes"].as_u64() > Some(100_000), "{status}");
    ensure!(status["disks"][0]["condition"] == "usable", "{status}");
    drop(server);
    archive.check_agrees(&["cam_1"]).await
}

#[tokio::test]
async fn an_operator_turns_recording_off_and_on_while_live_goes_on_and_a_check_finds_what_was_lost()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let archive = Archive::new()?;
    let config = archive.config(&[SHORT_FILES]) + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let mut server = Server::start(&config).await?;
    wait::until("files", SOON, async || Ok((archive.files("cam_1")?.len() >= 2).then_some(()))).await?;
    let record = v1(&server, "paths/cam_1/record");
    let (status, answer) = ask(Method::POST, &record, json!({ "enabled": false, "by": "ana" })).await?;
    ensure!(status == StatusCode::OK && answer["enabled"] == false, "{status} {answer}");
    wait_metric(&server, "gtvision_recorder_recording", 0.0).await?;
    let open = "SELECT reason FROM gaps WHERE until_us IS NULL";
    wait::until("the operator's gap", SOON, async || {
        Ok((archive.ask(open).await? == ["operator"]).then_some(()))
    })
    .await?;
    ensure!(server.path("cam_1").await?["online"] == true, "live ended too");
    http::get(&server.hls("cam_1")).await?.ok()?;

    server.restart().await?;
    server.wait_online("cam_1").await?;
    ensure!(server.metrics().await?.sum("gtvision_recorder_wanted", &[]) == Some(0.0), "it is on again");
    let files = archive.files("cam_1")?.len();
    let (status, _) = ask(Method::POST, &record, json!({ "enabled": true })).await?;
    ensure!(status == StatusCode::OK, "{status}");
    wait::until("more files", SOON, async || Ok((archive.files("cam_1")?.len() > files + 1).then_some(())))
        .await?;
    let ended = "SELECT reason FROM gaps WHERE until_us IS NOT NULL";
    wait::until("the end of the gap", SOON, async || {
        Ok((archive.ask(ended).await? == ["operator"]).then_some(()))
    })
    .await?;
    let (status, _) =
        ask(Method::POST, &v1(&server, "paths/cam_9/record"), json!({ "enabled": true })).await?;
    ensure!(status == StatusCode::NOT_FOUND, "{status}");
    drop(server);

    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gtvision.yml");
    std::fs::write(&file, &config)?;
    let sound = check(&file).await?;
    ensure!(sound.0 == Some(0) && sound.1.contains(" 0 missing"), "{sound:?}");
    let lost = archive.files("cam_1")?.remove(0);
    std::fs::remove_file(&lost)?;
    let found = check(&file).await?;
    ensure!(found.0 == Some(4) && found.1.contains(&*lost.to_string_lossy()), "{found:?}");
    ensure!(check(&file).await?.0 == Some(0), "it is noted once");
    let noted = archive.ask("SELECT name FROM deletions WHERE rule = 'missing'").await?;
    ensure!(noted.iter().map(PathBuf::from).eq([lost]), "{noted:?}");
    archive.check_agrees(&["cam_1"]).await
}

/// `gtvision storage check`: its exit code and what it said.
async fn check(config: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.args(["storage", "check"]).arg(config);
    let output = peers::run(command, SOON).await?;
    Ok((output.code, output.stdout + &output.stderr))
}

/// A folder that a disk is mounted on.
struct Mount {
    folder: PathBuf,
    disk: Disk,
}

enum Disk {
    /// Another folder.
    Folder(PathBuf),
    /// A file system in memory of so many megabytes.
    Memory(u32),
}

impl Mount {
    fn attach(&self) -> anyhow::Result<()> {
        let mut command = Command::new("mount");
        match &self.disk {
            Disk::Folder(folder) => command.arg("--bind").arg(folder),
            Disk::Memory(megabytes) => {
                command.args(["-t", "tmpfs", "-o", &format!("size={megabytes}M"), "tmpfs"])
            }
        };
        run_as_root(command.arg(&self.folder))
    }

    /// As when a cable is pulled: at once, whoever has files open.
    fn detach(&self) -> anyhow::Result<()> {
        run_as_root(Command::new("umount").arg("-l").arg(&self.folder))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // One that stays is only left behind; the test has said by then what it had to say.
        drop(self.detach());
    }
}

fn run_as_root(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?} (needs root): {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_disk_that_goes_away_is_a_gap_and_nothing_is_written_where_it_was_until_it_is_back()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk)?;
    let mount = Mount { folder: dir.path().join("recordings"), disk: Disk::Folder(disk) };
    std::fs::create_dir(&mount.folder)?;
    mount.attach()?;
    let archive = Archive::at(&mount.folder)?;
    // Old enough to go as soon as it may: nothing does while its disk is away.
    let config = archive.config(&[SHORT_FILES, "recordDeleteAfter: 4s"]);
    let mut server = Server::start(&(config + &server::pull(&[("cam_1", simulator.url("cam_1"))]))).await?;
    server.expect_error("folder is not recorded to");
    server.expect_error("be synced");
    wait::until("files", SOON, async || Ok((archive.files("cam_1")?.len() >= 2).then_some(()))).await?;
    mount.detach()?;
    wait_metric(&server, "gtvision_disk_absent", 1.0).await?;
    wait_metric(&server, "gtvision_recorder_recording", 0.0).await?;
    wait::until("the disk's gap", SOON, async || {
        let gaps = archive.ask("SELECT reason FROM gaps WHERE until_us IS NULL").await?;
        Ok((gaps == ["disk"]).then_some(()))
    })
    .await?;
    let known = archive.ask("SELECT name FROM files").await?;
    ensure!(server.path("cam_1").await?["online"] == true, "live ended too");
    // Long enough for a recorder that tries again, and for what is kept to be old.
    wait::run_for(Duration::from_secs(5)).await;
    ensure!(std::fs::read_dir(&mount.folder)?.next().is_none(), "something was written where the disk was");
    ensure!(archive.ask("SELECT name FROM files").await? == known, "rows went while the disk was away");
    mount.attach()?;
    wait_metric(&server, "gtvision_disk_usable", 1.0).await?;
    wait_metric(&server, "gtvision_recorder_recording", 1.0).await?;
    wait_deletions(&server, "age", 1).await?;
    drop(server);
    for file in archive.files("cam_1")? {
        check_plays(&file).await?;
    }
    archive.check_agrees(&["cam_1"]).await
}

#[tokio::test]
async fn on_a_full_disk_that_holds_the_catalogue_too_the_oldest_still_goes() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let dir = tempfile::tempdir()?;
    // Room for the catalogue, what is kept for it, and some files.
    let mount = Mount { folder: dir.path().to_owned(), disk: Disk::Memory(16) };
    mount.attach()?;
    let archive = Archive::on(&mount.folder)?;
    let config = archive.config(&[SHORT_FILES]) + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let mut server = Server::start(&config).await?;
    for announced in ["recordDiskStop", "catalogue does not take updates", "rules of retention", "be synced"]
    {
        server.expect_error(announced);
    }
    wait::until("files", SOON, async || Ok((archive.files("cam_1")?.len() >= 3).then_some(()))).await?;
    let first = archive.files("cam_1")?.remove(0);
    let filled = std::fs::write(mount.folder.join("filler"), vec![0; 16 << 20]);
    ensure!(filled.is_err(), "the small disk is not full");
    let deleted = wait_deletions(&server, "space", 1).await.with_context(|| server.log_tail())?;
    ensure!(deleted.iter().any(|one| one["file"] == first.to_string_lossy().as_ref()), "{deleted:?}");
    // It is noted before it is done.
    wait::until("its end", SOON, async || Ok((!first.exists()).then_some(()))).await?;
    std::fs::remove_file(mount.folder.join("filler"))?;
    wait_metric(&server, "gtvision_recorder_recording", 1.0).await?;
    drop(server);
    archive.check_agrees(&["cam_1"]).await
}

#[tokio::test]
async fn a_catalogue_that_can_not_be_opened_at_the_start_is_tried_again() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let dir = tempfile::tempdir()?;
    let place = dir.path().join("later");
    let config = format!(
        "playback: yes\ndatabase: sqlite:{place}/catalogue.db\npathDefaults:\n  record: yes\n  \
         recordPath: {place}/recordings/%path/%s-%f\n",
        place = place.display()
    );
    let mut server = Server::start(&(config + &server::pull(&[("cam_1", simulator.url("cam_1"))]))).await?;
    server.expect_error("recordings are off");
    server.wait_online("cam_1").await?;
    let answer = http::get(&v1(&server, "storage")).await?;
    ensure!(answer.status == StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    std::fs::create_dir(&place)?;
    wait::until("a recorder", SOON, async || {
        Ok((server.metrics().await?.sum("gtvision_recorder_recording", &[]) == Some(1.0)).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    wait::until("a recording to play", SOON, async || {
        Ok(http::get(&server.playback("list?path=cam_1")).await?.is_ok().then_some(()))
    })
    .await?;
    http::get(&v1(&server, "storage")).await?.ok()?;
    Ok(())
}
