//! Bucket: closed files reach an S3 store whatever fails on the way, leave their disk only then, and play from there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{self, Method, StatusCode};
use gtvision_tests::recording::{Archive, Recorded, check_plays};
use gtvision_tests::s3::{SECRET, Store};
use gtvision_tests::{Server, Simulator, ffmpeg, machine, peers, server, wait, workspace};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// From files to objects, with failures and their waits, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(60);
/// A file of a second each.
const SHORT_FILES: &str = "recordSegmentDuration: 1s";
/// What the server says, once, when the bucket does not take files, and when it does again.
const FAILS: &str = "bucket takes no recordings";
const WORKS: &str = "bucket takes recordings again";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// What the catalogue says of an object.
#[derive(Debug)]
struct Stored {
    key: String,
    file: PathBuf,
    sha256: String,
    is_local: bool,
    start_us: i64,
    duration_us: i64,
}

async fn stored(archive: &Archive) -> anyhow::Result<Vec<Stored>> {
    let query = "SELECT json_object('key', object_key, 'file', name, 'sha256', lower(hex(sha256)), 'local', \
                 local_state, 'start', start_us, 'duration', duration_us) FROM objects JOIN files ON id = object_file \
                 WHERE object_state = 'stored' ORDER BY id";
    let rows = archive.ask(query).await?;
    rows.iter()
        .map(|row| {
            let row: Value = serde_json::from_str(row)?;
            let text = |name: &str| row[name].as_str().map(str::to_owned).context("text");
            Ok(Stored {
                key: text("key")?,
                file: text("file")?.into(),
                sha256: text("sha256")?,
                is_local: row["local"] != "gone",
                start_us: row["start"].as_i64().context("start")?,
                duration_us: row["duration"].as_i64().context("duration")?,
            })
        })
        .collect()
}

async fn wait_stored(archive: &Archive, server: &Server, count: usize) -> anyhow::Result<Vec<Stored>> {
    wait::until(&format!("{count} files in the bucket"), SOON, async || {
        Ok(Some(stored(archive).await?).filter(|stored| stored.len() >= count))
    })
    .await
    .with_context(|| server.log_tail())
}

async fn metric(server: &Server, name: &str) -> anyhow::Result<f64> {
    server.metrics().await?.sum(name, &[]).with_context(|| format!("no {name}"))
}

fn count_lines(server: &Server, text: &str) -> usize {
    server.log_lines().iter().filter(|line| line.contains(text)).count()
}

/// The object is what the catalogue says it is, and what is on the disk while that is there.
fn check_same(store: &Store, stored: &Stored) -> anyhow::Result<()> {
    let object = std::fs::read(store.object(&stored.key)).with_context(|| stored.key.clone())?;
    let sum: String = Sha256::digest(&object).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(sum == stored.sha256, "{}: SHA-256 {sum}, the catalogue says {}", stored.key, stored.sha256);
    match std::fs::read(&stored.file) {
        Ok(file) => ensure!(file == object, "{} differs from {:?}", stored.key, stored.file),
        // It left its disk meanwhile.
        Err(error) => ensure!(error.kind() == ErrorKind::NotFound, "{:?}: {error}", stored.file),
    }
    Ok(())
}

fn v1(server: &Server, endpoint: &str) -> String {
    format!("http://127.0.0.1:{}/v1/{endpoint}", server.ports.api)
}

fn time(unix_us: i64) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_microsecond(unix_us)?.to_string())
}

#[tokio::test]
async fn files_arrive_through_an_outage_leave_their_disk_play_from_the_bucket_and_go_from_both()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (store, archive) = (Store::start()?, Archive::new()?);
    store.fail_one_in(1);
    let config = archive.config(&[SHORT_FILES])
        + &store.config(&["localRetention: 4s", "concurrency: 4"])?
        + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let mut server = Server::start(&config).await?;
    server.expect_error(FAILS);
    wait::until("an outage", SOON, async || {
        Ok((metric(&server, "gtvision_bucket_failing").await? == 1.0).then_some(()))
    })
    .await?;
    store.fail_one_in(20);
    let arrived = wait_stored(&archive, &server, 4).await?;
    for stored in &arrived {
        check_same(&store, stored)?;
    }
    ensure!((count_lines(&server, FAILS), count_lines(&server, WORKS)) == (1, 1), "{}", server.log_tail());

    let (held, gone) = hold_one_while_others_leave(&archive, &server, &arrived).await?;
    check_clip(&server, &store, &gone).await?;
    check_hls(&server, &gone).await?;
    check_export(&server, &gone).await?;
    let status = http::get(&v1(&server, "storage")).await?.ok()?;
    let bucket = &status.json()?["bucket"];
    ensure!(
        bucket["failing"] == false
            && bucket["files"].as_u64() >= Some(4)
            && bucket["bytesOnlyThere"].as_u64() > Some(0),
        "{bucket}"
    );
    // correctness: S5
    ensure!(!status.text().contains(SECRET), "the secret is in an answer");

    // A deletion reaches the object; a hold keeps it.
    for (stored, wanted) in [(&held, StatusCode::CONFLICT), (&gone, StatusCode::OK)] {
        let start = time(stored.start_us)?;
        let segment = server.api(&format!("recordings/deletesegment?path=cam_1&start={start}&by=rui"));
        let answer = http::send(Method::DELETE, &segment, &JSON, String::new()).await?;
        ensure!(answer.status == wanted, "{} {}", answer.status, answer.text());
    }
    wait::until("a deleted object", SOON, async || Ok((!store.object(&gone.key).exists()).then_some(())))
        .await
        .with_context(|| server.log_tail())?;
    ensure!(store.object(&held.key).exists(), "the held object is gone");
    let noted = archive.ask("SELECT rule || ' ' || by FROM deletions").await?;
    ensure!(noted == ["operator rui"], "{noted:?}");
    drop(server);
    store.fail_one_in(0);
    check_the_check(&archive, &store, &config, &held).await
}

/// Holds a file that is not there yet, and waits until one that came later left its disk; the held one and one that left
/// come back.
async fn hold_one_while_others_leave(
    archive: &Archive,
    server: &Server,
    arrived: &[Stored],
) -> anyhow::Result<(Stored, Stored)> {
    let newest = arrived.last().context("none")?;
    // In the middle of a file: where one begins, a microsecond of the source's clock decides which it is.
    let held_us = newest.start_us + newest.duration_us + 5_500_000;
    let (from, until) = (time(held_us)?, time(held_us + 10_000)?);
    let hold = json!({ "path": "cam_1", "start": from, "end": until, "reason": "x", "by": "ana" });
    let placed = http::send(Method::POST, &v1(server, "holds"), &JSON, hold.to_string()).await?;
    ensure!(placed.status == StatusCode::CREATED, "{}", placed.text());
    let is_held = |one: &Stored| (one.start_us..one.start_us + one.duration_us).contains(&held_us);
    let mut after = wait::until("files that left their disk", SOON, async || {
        let all = stored(archive).await?;
        let is_later = all.iter().any(|one| !one.is_local && one.start_us > held_us);
        Ok((is_later && all.iter().any(is_held)).then_some(all))
    })
    .await
    .with_context(|| server.log_tail())?;
    let held = after.iter().position(is_held).context("held")?;
    let held = after.swap_remove(held);
    ensure!(held.is_local && held.file.exists(), "the held file left its disk: {held:?}");
    let gone = after.iter().position(|one| !one.is_local).context("gone")?;
    let gone = after.swap_remove(gone);
    ensure!(!gone.file.exists(), "{gone:?} is still there");
    Ok((held, gone))
}

/// `/get` of what is in the bucket only: the pictures that were recorded.
async fn check_clip(server: &Server, store: &Store, gone: &Stored) -> anyhow::Result<()> {
    // From within its first picture into its last: a microsecond of the source's clock decides whose time the edges are.
    let seconds = Duration::from_micros(gone.duration_us.unsigned_abs() - 20_000).as_secs_f64();
    let query = format!("get?path=cam_1&start={}&duration={seconds}", time(gone.start_us + 10_000)?);
    let played = http::get(&server.playback(&query)).await?.ok()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("clip.mp4");
    std::fs::write(&file, &played.body)?;
    check_plays(&file).await?;
    let object = Recorded::read(&store.object(&gone.key))?;
    ensure!(Recorded::read(&file)?.units()? == object.units()?, "other pictures than were recorded");
    Ok(())
}

/// Recorded HLS of it, by ffmpeg.
async fn check_hls(server: &Server, gone: &Stored) -> anyhow::Result<()> {
    let (start, end) = (time(gone.start_us)?, time(gone.start_us + gone.duration_us)?);
    let url = format!("{}?start={start}&end={end}", server.hls("cam_1"));
    let output = ffmpeg::ffmpeg(&["-i", &url, "-map", "0", "-c", "copy", "-f", "null", "-"]).await?;
    let noise = |line: &&str| !line.contains("Found duplicated MOOV Atom") && !line.trim().is_empty();
    let complaints: Vec<&str> = output.stderr.lines().filter(noise).collect();
    ensure!(output.success && complaints.is_empty(), "ffmpeg: {complaints:?}");
    Ok(())
}

/// An export of it: authentic and complete, as if its files were on the disk.
async fn check_export(server: &Server, gone: &Stored) -> anyhow::Result<()> {
    let (start, end) = (time(gone.start_us)?, time(gone.start_us + gone.duration_us)?);
    let ask = json!({ "cameras": ["cam_1"], "start": start, "end": end, "operator": "maria",
        "unit": "central", "reason": "accident" });
    let begun = http::send(Method::POST, &server.playback("export"), &JSON, ask.to_string()).await?;
    ensure!(begun.status == StatusCode::ACCEPTED, "{}", begun.text());
    let url = http::join(&server.playback("export"), begun.header("location"))?;
    wait::until("the export", SOON, async || {
        let job = http::get(&url).await?.ok()?.json()?;
        ensure!(job["state"] != "failed", "{job}");
        Ok((job["state"] == "done").then_some(()))
    })
    .await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("export.zip");
    std::fs::write(&file, http::get(&format!("{url}/result")).await?.ok()?.body)?;
    let verified = gtvision(&["verify"], &file).await?;
    ensure!(verified.stdout.starts_with("authentic, complete\n"), "{verified:?}");
    Ok(())
}

/// `gtvision storage check` looks into the bucket: at first all is there; then a copy of a file on a disk is gone, and
/// one of a file that left.
async fn check_the_check(
    archive: &Archive,
    store: &Store,
    config: &str,
    held: &Stored,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gtvision.yml");
    std::fs::write(&file, config)?;
    let sound = gtvision(&["storage", "check"], &file).await?;
    ensure!(sound.code == Some(0) && !sound.stdout.contains(" 0 in the bucket only"), "{sound:?}");
    let all = stored(archive).await?;
    let gone = all.iter().find(|one| !one.is_local).context("gone")?;
    for lost in [held, gone] {
        std::fs::remove_file(store.object(&lost.key))?;
    }
    std::fs::write(store.object("gtv/cam_1/stranger.mp4"), b"?")?;
    let found = gtvision(&["storage", "check"], &file).await?;
    let says = |text: &str| found.stdout.contains(text);
    ensure!(
        says(&format!("{} is gone from the bucket; the file is uploaded again", held.key))
            && says(&format!("{} is gone from the bucket, and its file is on no disk", gone.key))
            && says("gtv/cam_1/stranger.mp4 is in the bucket and nobody's copy")
            && says("1 uploaded again, 1 lost in the bucket")
            && found.code.is_some_and(|code| code != 0),
        "{found:?}"
    );
    let states = archive.ask("SELECT object_state FROM objects WHERE object_state = 'sending'").await?;
    ensure!(!states.is_empty() && held.file.exists(), "{states:?}");
    Ok(())
}

async fn gtvision(command: &[&str], file: &Path) -> anyhow::Result<peers::Output> {
    let mut program = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    program.args(command).arg(file);
    peers::run(program, SOON).await
}

#[tokio::test]
async fn wrong_credentials_are_told_once_while_recording_goes_on_and_all_arrives_with_right_ones()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (store, archive) = (Store::start()?, Archive::new()?);
    // correctness: S5, with all that is ever logged.
    let config = "logLevel: debug\n".to_owned()
        + &archive.config(&[SHORT_FILES])
        + &store.config(&[])?
        + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    store.set_secret("another-secret-0815")?;
    let mut server = Server::start(&config).await?;
    server.expect_error(FAILS);
    wait::until("a queue", SOON, async || {
        let queued = metric(&server, "gtvision_bucket_queue_files").await?;
        Ok((queued >= 4.0 && metric(&server, "gtvision_bucket_failing").await? == 1.0).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    ensure!(metric(&server, "gtvision_recorder_recording").await? == 1.0, "recording ended");
    ensure!(metric(&server, "gtvision_bucket_failures_total").await? >= 1.0);
    ensure!(metric(&server, "gtvision_bucket_queue_oldest_timestamp_seconds").await? > 1.7e9);
    let status = http::get(&v1(&server, "storage")).await?.ok()?;
    ensure!(status.json()?["bucket"]["failing"] == true, "{}", status.text());
    let told = server.wait_log(FAILS, 1).await?;
    ensure!(told.len() == 1 && told[0].contains("SignatureDoesNotMatch"), "{told:?}");
    // correctness: S5
    let global = http::get(&server.api("config/global/get")).await?.text();
    let is_told = [global, status.text()].iter().any(|answer| answer.contains("another-secret"));
    ensure!(!is_told && count_lines(&server, "another-secret") == 0, "the secret is told");
    ensure!(store.count_objects()? == 0, "a wrong secret was accepted");

    store.set_secret(SECRET)?;
    server.restart().await?;
    let waiting = archive.ask("SELECT name FROM files WHERE state = 'closed'").await?;
    let arrived = wait_stored(&archive, &server, waiting.len()).await?;
    ensure!(waiting.iter().all(|name| arrived.iter().any(|stored| stored.file == Path::new(name))));
    ensure!(count_lines(&server, SECRET) == 0, "the secret is in the log");
    for stored in &arrived {
        check_same(&store, stored)?;
        ensure!(stored.file.exists(), "{:?} left its disk without localRetention", stored.file);
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_in_parts_that_was_killed_is_made_anew_leaves_nothing_behind_and_ends_with_its_file()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    // Key frames only: files of more than one part in a few seconds.
    let clip = Clip { size: "1280x720", gop: 1, seconds: 4, bitrate_bps: 24_000_000, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (store, archive) = (Store::start()?, Archive::new()?);
    let archived = archive.config(&["recordSegmentDuration: 6s"]);
    let paths = server::pull(&[("cam_1", simulator.url("cam_1"))]);
    // So slow that a file of two parts takes some seconds.
    let slowly = format!("{archived}{}{paths}", store.config(&["bandwidth: 2M"])?);
    let server = Server::start(&slowly).await?;
    let upload = wait::until("an upload under way", SOON, async || {
        let under_way = "SELECT upload_id FROM objects WHERE upload_id IS NOT NULL";
        let upload = archive.ask(under_way).await?.pop();
        Ok(upload.filter(|upload| store.parts_of(upload).is_ok_and(|parts| parts > 0)))
    })
    .await
    .with_context(|| server.log_tail())?;
    server.kill()?;

    let server = Server::start(&format!("{archived}{}{paths}", store.config(&[])?)).await?;
    let waiting = archive.ask("SELECT CAST(object_id AS TEXT) FROM objects").await?.len();
    let arrived = wait_stored(&archive, &server, waiting.max(1)).await?;
    ensure!(store.parts_of(&upload)? == 0, "parts of the killed upload are kept");
    for stored in &arrived {
        check_same(&store, stored)?;
    }
    let large = arrived.iter().filter(|stored| stored.file.metadata().is_ok_and(|file| file.len() > 8 << 20));
    ensure!(large.count() > 0, "no file has two parts");
    drop(server);
    // Each file once: a row has one key.
    let keys = archive.ask("SELECT object_key FROM objects WHERE object_key IS NOT NULL").await?;
    ensure!(store.count_objects()? <= keys.len(), "{} objects, {keys:?}", store.count_objects()?);

    // What is too old goes from the bucket as well, and that is noted.
    let archived = archive.config(&["recordSegmentDuration: 6s", "recordDeleteAfter: 6s"]);
    let server = Server::start(&format!("{archived}{}{paths}", store.config(&[])?)).await?;
    wait::until("the end of all objects", SOON, async || {
        Ok(arrived.iter().all(|stored| !store.object(&stored.key).exists()).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    let noted = archive.ask("SELECT name FROM deletions WHERE rule = 'age'").await?;
    ensure!(
        arrived.iter().all(|stored| noted.iter().any(|name| stored.file == Path::new(name))),
        "{noted:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_store_behind_tls_is_believed_when_its_certificate_is_known_and_told_of_when_not()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (store, archive) = (Store::start_tls()?, Archive::new()?);
    let config = archive.config(&[SHORT_FILES])
        + &store.config(&[])?
        + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let mut server = Server::start(&config).await?;
    server.expect_error(FAILS);
    let told = server.wait_log(FAILS, 1).await?;
    ensure!(told[0].contains("certificate"), "{told:?}");
    ensure!(store.count_objects()? == 0, "something was sent to a stranger");
    drop(server);
    let known = vec![("SSL_CERT_FILE", store.certificate().into_os_string())];
    let server = Server::start_in(&config, known).await?;
    let arrived = wait_stored(&archive, &server, 2).await?;
    arrived.iter().try_for_each(|stored| check_same(&store, stored))
}
