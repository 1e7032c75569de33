//! Bucket: closed files reach an S3 store whatever fails on the way, leave their disk only then, and play from there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{self, Method, StatusCode};
use gtvision_tests::recording::{Archive, Recorded, check_plays};
use gtvision_tests::s3::{SECRET, Store};
use gtvision_tests::{Server, Simulator, machine, server, wait};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// From files to objects, with failures and their waits, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(60);
/// A file of a second each.
const SHORT_FILES: &str = "recordSegmentDuration: 1s";
/// What the server says, once, when the bucket does not take files, and when it does again.
const FAILS: &str = "bucket takes no recordings";
const WORKS: &str = "bucket takes recordings again";

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

fn time(unix_us: i64) -> anyhow::Result<String> {
    Ok(jiff::Timestamp::from_microsecond(unix_us)?.to_string())
}

#[tokio::test]
async fn files_arrive_through_failures_leave_their_disk_play_from_the_bucket_and_go_from_both()
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

    // A file that is not there yet is held; it stays on its disk while later ones leave theirs.
    let newest = arrived.last().context("none")?;
    let held_us = newest.start_us + newest.duration_us + 5_000_000;
    let (from, until) = (time(held_us)?, time(held_us + 10_000)?);
    let hold = json!({ "path": "cam_1", "start": from, "end": until, "reason": "x", "by": "ana" });
    let holds = format!("http://127.0.0.1:{}/v1/holds", server.ports.api);
    let headers = [("content-type", "application/json")];
    let placed = http::send(Method::POST, &holds, &headers, hold.to_string()).await?;
    ensure!(placed.status == StatusCode::CREATED, "{}", placed.text());
    let is_held = |one: &Stored| (one.start_us..one.start_us + one.duration_us).contains(&held_us);
    let after = wait::until("files that left their disk", SOON, async || {
        let all = stored(&archive).await?;
        let is_later = all.iter().any(|one| !one.is_local && one.start_us > held_us);
        Ok((is_later && all.iter().any(is_held)).then_some(all))
    })
    .await
    .with_context(|| server.log_tail())?;
    let held = after.iter().find(|one| is_held(one)).context("held")?;
    ensure!(held.is_local && held.file.exists(), "the held file left its disk: {held:?}");
    let gone = after.iter().find(|one| !one.is_local).context("gone")?;
    ensure!(!gone.file.exists(), "{gone:?} is still there");

    // What is in the bucket only plays.
    let seconds = Duration::from_micros(gone.duration_us.unsigned_abs()).as_secs_f64();
    let query = format!("get?path=cam_1&start={}&duration={seconds}", time(gone.start_us)?);
    let played = http::get(&server.playback(&query)).await?.ok()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("clip.mp4");
    std::fs::write(&file, &played.body)?;
    check_plays(&file).await?;
    let object = Recorded::read(&store.object(&gone.key))?;
    ensure!(Recorded::read(&file)?.units()? == object.units()?, "other pictures than were recorded");

    // A deletion reaches the object; a hold keeps it.
    for (stored, wanted) in [(held, StatusCode::CONFLICT), (gone, StatusCode::OK)] {
        let start = time(stored.start_us)?;
        let segment = server.api(&format!("recordings/deletesegment?path=cam_1&start={start}&by=rui"));
        let answer = http::send(Method::DELETE, &segment, &headers, String::new()).await?;
        ensure!(answer.status == wanted, "{} {}", answer.status, answer.text());
    }
    wait::until("a deleted object", SOON, async || Ok((!store.object(&gone.key).exists()).then_some(())))
        .await
        .with_context(|| server.log_tail())?;
    ensure!(store.object(&held.key).exists(), "the held object is gone");
    let noted = archive.ask("SELECT rule || ' ' || by FROM deletions").await?;
    ensure!(noted == ["operator rui"], "{noted:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_credentials_are_told_once_while_recording_goes_on_and_all_arrives_with_right_ones()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (store, archive) = (Store::start()?, Archive::new()?);
    let config = archive.config(&[SHORT_FILES])
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
    let told: Vec<_> = server.log_lines().into_iter().filter(|line| line.contains(FAILS)).collect();
    ensure!(told.len() == 1 && told[0].contains("SignatureDoesNotMatch"), "{told:?}");
    // correctness: S5
    ensure!(count_lines(&server, "another-secret") == 0, "the secret is in the log");
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
async fn an_upload_in_parts_that_was_killed_is_made_anew_and_leaves_nothing_behind() -> anyhow::Result<()> {
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
    let waiting = archive.ask("SELECT object_id FROM objects").await?.len();
    let arrived = wait_stored(&archive, &server, waiting.max(1)).await?;
    ensure!(store.parts_of(&upload)? == 0, "parts of the killed upload are kept");
    for stored in &arrived {
        check_same(&store, stored)?;
    }
    let large = arrived.iter().filter(|stored| stored.file.metadata().is_ok_and(|file| file.len() > 8 << 20));
    ensure!(large.count() > 0, "no file has two parts");
    Ok(())
}
