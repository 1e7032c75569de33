//! Durability: what was recorded outlives power cuts, and no disk that fails makes the catalogue lie.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::disk_log::{DiskLog, Entry, Fate, Operation, Past, mixed};
use gtvision_tests::recording::{self, Archive, check_plays};
use gtvision_tests::shim::{Call, Shim};
use gtvision_tests::{Server, Simulator, http, latency, llhls, machine, peers, server, wait, workspace};
use jiff::Timestamp;
use rustix::io::Errno;
use serde_json::json;

/// From a start to files, rules and their deletions, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(40);
/// What a power cut may take, and what this machine, which runs other tests, holds up.
const LOST_MAX_US: i64 = 2_000_000 + 1_000_000;
/// A slow disk's sync.
const SYNC: Duration = Duration::from_millis(20);
/// Moments at which the power is cut in a run of `./test`; in a long one it is cut at each.
const CUTS: usize = 24;
/// Starts of the server on what is left, and the same in a long run.
const STARTS: usize = 4;
const STARTS_LONG: usize = 100;
const CAMERAS: [&str; 2] = ["cam_1", "cam_2"];

/// What the power may leave of what is not sure, in turn.
fn fate(number: usize) -> Fate {
    match number % 4 {
        0 => Fate::Lost,
        1 => Fate::Scattered { seed: mixed(0x6f75_7400, number) },
        2 => Fate::Torn,
        _ => Fate::Kept,
    }
}

/// The catalogue names only files that are there, as far as they were written; and of those that it says are deleted none.
async fn check_names_what_is_there(archive: &Archive, past: &Past) -> anyhow::Result<()> {
    const SAID: &str = "SELECT bytes || ' ' || first_offset || ' ' || name FROM files \
                        UNION ALL SELECT 'gone 0 ' || name FROM deletions WHERE unlinked = 1";
    // Asked of a copy: the server is to find what the power left.
    let copy = tempfile::tempdir()?;
    for name in ["catalogue.db", "catalogue.db-wal"] {
        let file = archive.folder().join(name);
        if file.exists() {
            std::fs::copy(file, copy.path().join(name))?;
        }
    }
    let rows = match recording::ask(&copy.path().join("catalogue.db"), SAID).await {
        Err(error) if error.to_string().contains("no such table") => Vec::new(),
        rows => rows?,
    };
    for row in rows {
        let mut parts = row.splitn(3, ' ');
        let (bytes, first) = (parts.next().context("bytes")?, parts.next().context("offset")?);
        let name = PathBuf::from(parts.next().context("name")?);
        if bytes == "gone" {
            ensure!(!name.exists(), "{name:?} is deleted, says the catalogue, and is there");
            continue;
        }
        let (bytes, first): (usize, usize) = (bytes.parse()?, first.parse()?);
        let found = std::fs::read(&name).with_context(|| format!("the catalogue names {name:?}"))?;
        ensure!(found.len() >= bytes, "{name:?}: {} bytes, the catalogue says {bytes}", found.len());
        let written = past.files_below(&name).next().context("it was never written")?.1.bytes();
        ensure!(found[first..bytes] == written[first..bytes], "{name:?} is torn before byte {bytes}");
    }
    Ok(())
}

/// How long before the cut the oldest part was written that is not in the catalogue's files.
async fn lost_us(archive: &Archive, log: &DiskLog, cut: usize) -> anyhow::Result<i64> {
    let rows = archive.ask("SELECT bytes || ' ' || name FROM files").await?;
    // What a check found empty counts as lost: it was written.
    let deleted = archive.ask("SELECT name FROM deletions WHERE rule <> 'empty'").await?;
    let kept = |name: &Path| -> u64 {
        let row = rows.iter().filter_map(|row| row.split_once(' ')).find(|(_, row)| Path::new(row) == name);
        row.and_then(|(bytes, _)| bytes.parse().ok()).unwrap_or(0)
    };
    let cut_us = log.entries.get(cut).or(log.entries.last()).context("an empty log")?.at_us;
    let past = log.until(cut);
    let mut lost = 0;
    for (name, written) in past.files_below(&archive.folder().join("recordings")) {
        if deleted.iter().any(|deleted| Path::new(deleted) == name) {
            continue;
        }
        let kept = kept(name);
        let is_part = |bytes: &[u8]| bytes.get(4..8) == Some(b"moof");
        let missing =
            written.writes().find(|(_, at, bytes)| is_part(bytes) && at + bytes.len() as u64 > kept);
        let since = missing.map_or(0, |(entry, ..)| cut_us - log.entries[entry].at_us);
        lost = lost.max(since);
    }
    Ok(lost)
}

/// A configuration of the same recordings whose cameras are away.
fn without_cameras(archive: &Archive, more: &[&str]) -> String {
    archive.config(more) + "paths:\n  cam_1:\n  cam_2:\n"
}

/// Starts the server on what the power left and looks at what it makes of that; what is lost comes back.
async fn check_start(archive: &Archive, log: &DiskLog, cut: usize) -> anyhow::Result<i64> {
    let config = without_cameras(archive, &[]);
    let server = Server::start(&config).await?;
    let storage = format!("http://127.0.0.1:{}/v1/storage", server.ports.api);
    wait::until("repair", SOON, async || Ok(http::get(&storage).await?.is_ok().then_some(()))).await?;
    drop(server);
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gtvision.yml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.args(["storage", "check"]).arg(&file);
    let checked = peers::run(command, SOON).await?;
    ensure!(checked.code == Some(0), "storage check: {}{}", checked.stdout, checked.stderr);
    // A file that was made while its folder was synced for another may have been there by name alone, without a marker: the check
    // has removed it.
    archive.check_agrees(&CAMERAS).await?;
    for camera in CAMERAS {
        // Those before were closed and are looked at by others; the last ones were in the power cut's way.
        for file in archive.files(camera)?.iter().rev().take(2) {
            check_plays(file).await?;
        }
    }
    let lost = lost_us(archive, log, cut).await?;
    ensure!(lost <= LOST_MAX_US, "{lost} us are lost");
    Ok(lost)
}

/// Cuts the power at many moments of a log; how much was lost at most.
async fn cut_power(archive: &Archive, log: &DiskLog) -> anyhow::Result<i64> {
    let is_part = |entry: &Entry| matches!(&entry.operation, Operation::Write { bytes, .. } if bytes.get(4..8) == Some(b"moof"));
    let first = log.entries.iter().position(is_part).context("nothing was recorded")?;
    let moments = log.entries.len() - first;
    let cuts: Vec<usize> = if workspace::long() {
        (0..moments).map(|moment| first + moment).collect()
    } else {
        (0..CUTS).map(|n| first + usize::try_from(mixed(0x637574, n)).unwrap_or(0) % moments).collect()
    };
    let starts = if workspace::long() { STARTS_LONG } else { STARTS };
    let mut worst = 0;
    for (number, cut) in cuts.iter().copied().enumerate() {
        let past = log.until(cut);
        let fates: Vec<Fate> = if workspace::long() {
            (0..4).map(|n| fate(4 * number + n)).collect()
        } else {
            vec![fate(number)]
        };
        // The last fate is the one that the server may have to start on.
        let starts_here = number % cuts.len().div_ceil(starts).max(1) == 0;
        for (nth, fate) in fates.iter().copied().enumerate() {
            let said = || format!("power cut before entry {cut} of {}: {fate:?}", log.entries.len());
            past.leave(fate, archive.folder()).with_context(said)?;
            check_names_what_is_there(archive, &past).await.with_context(said)?;
            if starts_here && nth == number % fates.len() {
                worst = worst.max(check_start(archive, log, cut).await.with_context(said)?);
            }
        }
    }
    Ok(worst)
}

#[tokio::test]
async fn a_power_cut_takes_two_seconds_at_most_and_the_catalogue_names_only_what_is_on_the_disk()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&CAMERAS.map(|camera| (camera, clip.as_path()))).await?;
    let archive = Archive::new()?;
    let shim = Shim::new(archive.folder()).await?;
    shim.sync_takes(SYNC)?;
    let cameras = CAMERAS.map(|camera| (camera, simulator.url(camera)));
    let config = archive.config(&["recordSegmentDuration: 2s", "recordDeleteAfter: 4s"]);
    let server = Server::start_in(&(config + &server::pull(&cameras)), shim.environment()).await?;
    // Files that begin, grow, end and go.
    wait::until("deletions", SOON, async || {
        let deleted = archive.ask("SELECT name FROM deletions WHERE unlinked = 1").await?;
        Ok((deleted.len() >= 3).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    drop((server, simulator));
    let log = shim.log()?;
    let lost_us_max = cut_power(&archive, &log).await?;
    latency::note(
        "power cut while recording",
        &json!({ "lost_us_max": lost_us_max, "moments": log.entries.len() }),
    )
}

/// Why nothing is recorded now.
async fn open_gaps(archive: &Archive) -> anyhow::Result<Vec<String>> {
    archive.ask("SELECT reason FROM gaps WHERE until_us IS NULL").await
}

/// Makes calls fail until a gap says so, sees that live goes on, and lets them succeed again until recording goes on.
async fn fail_and_recover(
    archive: &Archive,
    server: &Server,
    shim: &Shim,
    (calls, error): (&[Call], Errno),
) -> anyhow::Result<()> {
    // A recorder tries a disk again that still fails: what the fault before left may end a little later.
    wait::until("no gap", SOON, async || Ok(open_gaps(archive).await?.is_empty().then_some(()))).await?;
    for call in calls {
        shim.fail(*call, Some(error))?;
    }
    wait::until("the disk's gap", SOON, async || Ok((open_gaps(archive).await? == ["disk"]).then_some(())))
        .await?;
    // correctness: H3
    llhls::count(&server.hls("cam_1"), Duration::from_secs(3), USUAL.fps).await.context("live")?;
    for call in calls {
        shim.fail(*call, None)?;
    }
    wait::until("the gap's end", SOON, async || Ok(open_gaps(archive).await?.is_empty().then_some(())))
        .await?;
    wait::until("recording", SOON, async || {
        let metrics = server.metrics().await?;
        Ok((metrics.sum("gtvision_recorder_recording", &[]) == Some(1.0)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_disk_that_fails_is_a_gap_while_live_goes_on_and_nothing_it_lost_is_believed() -> anyhow::Result<()>
{
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let archive = Archive::new()?;
    let shim = Shim::new(archive.folder()).await?;
    let config =
        archive.config(&["recordSegmentDuration: 1h"]) + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let mut server = Server::start_in(&config, shim.environment()).await?;
    server.expect_error("recording can't be synced");
    wait::until("a file that is known", SOON, async || {
        Ok((!archive.ask("SELECT name FROM files").await?.is_empty()).then_some(()))
    })
    .await?;
    let faults: [(&str, (&[Call], Errno)); 3] = [
        ("writes fail", (&[Call::Write], Errno::IO)),
        ("syncs fail", (&[Call::Sync], Errno::IO)),
        ("it is read-only", (&[Call::Write, Call::Sync, Call::Name], Errno::ROFS)),
    ];
    for (what, fault) in faults {
        let failed = fail_and_recover(&archive, &server, &shim, fault).await;
        failed.with_context(|| format!("{what}: {}", server.log_tail()))?;
    }
    let metrics = server.metrics().await?;
    for counter in ["gtvision_recorder_write_errors_total", "gtvision_disk_sync_errors_total"] {
        ensure!(metrics.sum(counter, &[]) >= Some(1.0), "{counter} {:?}", metrics.sum(counter, &[]));
    }
    // All files but the last are closed, also the one whose sync failed.
    wait::until("closed files", SOON, async || {
        Ok((archive.ask("SELECT name FROM files WHERE state = 'open'").await?.len() == 1).then_some(()))
    })
    .await?;
    drop(server);
    for file in archive.files("cam_1")? {
        check_plays(&file).await?;
    }
    archive.check_agrees(&["cam_1"]).await?;
    // And with the power gone, at any moment: what a failed sync lost is named by nothing.
    let log = shim.log()?;
    for number in 0..CUTS {
        let cut = log.entries.len() * (number + 1) / CUTS;
        let past = log.until(cut);
        past.leave(Fate::Lost, archive.folder())?;
        let checked = check_names_what_is_there(&archive, &past).await;
        if let Err(error) = checked {
            bail!("power cut before entry {cut}: {error:#}");
        }
    }
    Ok(())
}

/// Waits for one more file and says when it begins, in seconds from now as the test's clock has it.
async fn next_file(archive: &Archive, known: usize) -> anyhow::Result<i64> {
    let starts = "SELECT start_us || '' FROM files ORDER BY id";
    let starts = wait::until("another file", SOON, async || {
        let starts = archive.ask(starts).await?;
        Ok((starts.len() > known).then_some(starts))
    })
    .await?;
    let start: i64 = starts.get(known).context("a file")?.parse()?;
    Ok(start / 1_000_000 - Timestamp::now().as_second())
}

#[tokio::test]
async fn a_clock_that_is_set_ahead_or_back_is_told_and_no_file_has_a_wrong_time_for_it() -> anyhow::Result<()>
{
    const HOUR_S: i64 = 3600;
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let archive = Archive::new()?;
    let shim = Shim::new(archive.folder()).await?;
    let mut environment = shim.environment();
    // Three hours behind UTC: names of files are UTC all the same.
    environment.push(("TZ", "<-03>3".into()));
    let config = archive.config(&["recordSegmentDuration: 1h"]);
    let config = config.replace("%s-%f", "%Y-%m-%d_%H-%M-%S-%f");
    let server =
        Server::start_in(&(config + &server::pull(&[("cam_1", simulator.url("cam_1"))])), environment)
            .await?;
    let near = |seconds: i64, expected: i64| (seconds - expected).abs() <= 60;
    let first = next_file(&archive, 0).await?;
    ensure!(near(first, 0), "begins {first} s from now");
    let name = archive.files("cam_1")?.remove(0);
    let name = name.file_stem().context("a name")?.to_string_lossy().into_owned();
    let named = jiff::civil::DateTime::strptime("%Y-%m-%d_%H-%M-%S-%f", &name)?;
    let named =
        named.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().as_second() - Timestamp::now().as_second();
    ensure!(near(named, 0), "{name} is not UTC");

    shim.set_clock(HOUR_S)?;
    let second = next_file(&archive, 1).await?;
    ensure!(near(second, HOUR_S), "set ahead: begins {second} s from now");
    // correctness: H3
    llhls::count(&server.hls("cam_1"), Duration::from_secs(3), USUAL.fps).await.context("live, set ahead")?;
    shim.set_clock(0)?;
    let third = next_file(&archive, 2).await?;
    ensure!(near(third, 0), "set back: begins {third} s from now");
    llhls::count(&server.hls("cam_1"), Duration::from_secs(3), USUAL.fps).await.context("live, set back")?;

    wait::until("both steps, counted", SOON, async || {
        let metrics = server.metrics().await?;
        Ok((metrics.sum("gtvision_source_clock_steps_total", &[]) == Some(2.0)).then_some(()))
    })
    .await?;
    let told = server.wait_log("clock was set", 2).await?.len();
    ensure!(told == 2, "{told} lines in the log: {}", server.log_tail());
    let gaps = archive
        .ask("SELECT ((until_us - from_us) / 1000000) || ' ' || reason FROM gaps ORDER BY from_us")
        .await?;
    let lengths: Vec<i64> = gaps.iter().filter_map(|gap| gap.strip_suffix(" clock")?.parse().ok()).collect();
    ensure!(lengths.len() == 2 && near(lengths[0], HOUR_S) && lengths[1] == 0, "{gaps:?}");
    drop(server);
    for file in archive.files("cam_1")? {
        check_plays(&file).await?;
    }
    archive.check_agrees(&["cam_1"]).await
}
