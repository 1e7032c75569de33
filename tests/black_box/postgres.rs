//! Postgres: with its catalogue there, behind PgBouncer, a server keeps, tells and survives what it does with a file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::http::{self, Method, StatusCode};
use gtvision_tests::postgres::{Postgres, SECRET};
use gtvision_tests::recording::{Archive, check_plays};
use gtvision_tests::{Server, Simulator, machine, peers, server, wait, workspace};
use serde_json::{Value, json};

/// From a start to files, rules and their deletions, on a machine that runs other tests too.
const SOON: Duration = Duration::from_secs(60);
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn v1(server: &Server, endpoint: &str) -> String {
    format!("http://127.0.0.1:{}/v1/{endpoint}", server.ports.api)
}

async fn answered(method: Method, url: &str, body: Value) -> anyhow::Result<Value> {
    http::send(method, url, &JSON, body.to_string()).await?.ok()?.json()
}

/// What `/list` tells of a path.
async fn spans(server: &Server) -> anyhow::Result<Vec<Value>> {
    let list = http::get(&server.playback("list?path=cam_1")).await?;
    if list.status == StatusCode::NOT_FOUND {
        return Ok(Vec::new());
    }
    Ok(list.ok()?.json()?.as_array().context("spans")?.clone())
}

fn seconds(span: &Value) -> f64 {
    span["duration"].as_f64().unwrap_or(0.0)
}

async fn wait_files(archive: &Archive, count: usize) -> anyhow::Result<Vec<PathBuf>> {
    wait::until(&format!("{count} files"), SOON, async || {
        Ok(Some(archive.files("cam_1")?).filter(|files| files.len() >= count))
    })
    .await
}

async fn deletions(server: &Server) -> anyhow::Result<Vec<Value>> {
    let listed = http::get(&v1(server, "deletions?path=cam_1")).await?.ok()?.json()?;
    Ok(listed["items"].as_array().context("items")?.clone())
}

#[tokio::test]
async fn a_catalogue_on_postgresql_behind_pgbouncer_does_all_that_a_file_does_and_outlives_its_absence()
-> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = Clip { gop: 25, ..USUAL }.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (mut database, archive) = (Postgres::start().await?, Archive::new()?);
    let config = archive.config_with(&database.url(), &["recordSegmentDuration: 1s"])
        + &server::pull(&[("cam_1", simulator.url("cam_1"))]);
    let mut server = Server::start(&config).await?;
    let first = wait_files(&archive, 4).await.with_context(|| server.log_tail())?.remove(0);
    wait::until("two seconds in one span", SOON, async || {
        Ok(matches!(spans(&server).await?.as_slice(), [span] if seconds(span) >= 2.0).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    check_clip(&server, &archive).await?;

    outlive_an_absence(&mut database, &mut server, &archive).await?;

    let held = hold_the_first_while_others_age(&server, &archive, &first).await?;
    server.restart().await?;
    let before = deletions(&server).await?.len();
    wait::until("a deletion after the restart", SOON, async || {
        Ok((deletions(&server).await?.len() > before).then_some(()))
    })
    .await
    .with_context(|| server.log_tail())?;
    ensure!(first.exists(), "the held file is gone");
    let holds = http::get(&v1(&server, "holds?active=true")).await?.ok()?.json()?;
    ensure!(holds["items"][0]["id"] == held["id"], "{holds}");
    let defaults = http::get(&server.api("config/pathdefaults/get")).await?.ok()?.json()?;
    ensure!(
        defaults["recordDeleteAfter"] == "3s",
        "a setting is forgotten: {}",
        defaults["recordDeleteAfter"]
    );

    let shown = http::get(&server.api("config/global/get")).await?.ok()?.text();
    ensure!(!shown.contains(SECRET) && !server.log_lines().join("\n").contains(SECRET), "a password is told");
    let place = tempfile::tempdir()?;
    let file = place.path().join("gtvision.yml");
    std::fs::write(&file, &config)?;
    drop(server);
    check_agrees(&database, &archive).await?;
    let (code, said) = storage_check(&file).await?;
    ensure!(code == Some(0) && !said.contains(SECRET), "{code:?} {said}");
    Ok(())
}

/// A second of it plays.
async fn check_clip(server: &Server, archive: &Archive) -> anyhow::Result<()> {
    let start = spans(server).await?[0]["start"].as_str().context("start")?.replace('+', "%2B");
    let clip = server.playback(&format!("get?path=cam_1&start={start}&duration=1"));
    let file = archive.folder().join("clip.mp4");
    std::fs::write(&file, http::get(&clip).await?.ok()?.body)?;
    check_plays(&file).await
}

/// Recording goes on while the database is away, and is entered without a gap once it is back.
async fn outlive_an_absence(
    database: &mut Postgres,
    server: &mut Server,
    archive: &Archive,
) -> anyhow::Result<()> {
    for announced in ["catalogue does not take updates", "rules of retention", "recordings can't be"] {
        server.expect_error(announced);
    }
    database.go_away().await?;
    server.wait_log("catalogue does not take updates", 1).await.context("its absence")?;
    let files = archive.files("cam_1")?.len();
    wait_files(archive, files + 3).await.context("recording stopped with the database")?;
    ensure!(server.path("cam_1").await?["online"] == true, "live stopped with the database");
    let answer = http::get(&v1(server, "holds")).await?;
    ensure!(answer.status.is_server_error() && !answer.text().contains(SECRET), "{}", answer.text());
    database.come_back().await?;
    wait::until("all of it in one span", SOON, async || {
        let closed = archive.files("cam_1")?.len().saturating_sub(1);
        let known = spans(server).await?;
        Ok(matches!(known.as_slice(), [span] if seconds(span) + 3.0 >= f64::from(u32::try_from(closed)?))
            .then_some(()))
    })
    .await
    .with_context(|| server.log_tail())
}

/// The hold, after the rule took others.
async fn hold_the_first_while_others_age(
    server: &Server,
    archive: &Archive,
    first: &Path,
) -> anyhow::Result<Value> {
    let start = spans(server).await?[0]["start"].as_str().context("start")?.to_owned();
    let end = start.parse::<jiff::Timestamp>()? + jiff::SignedDuration::from_millis(100);
    let hold = json!({
        "path": "cam_1", "start": start, "end": end.to_string(), "reason": "case 12/2026", "by": "ana",
    });
    let hold = answered(Method::POST, &v1(server, "holds"), hold).await?;
    ensure!(hold["files"] == 1, "{hold}");
    // A setting of the API's, which is kept in the database.
    let defaults = server.api("config/pathdefaults/patch");
    let after = json!({"recordDeleteAfter": "3s"}).to_string();
    http::send(Method::PATCH, &defaults, &JSON, after).await?.ok()?;
    let gone = wait::until("deletions by age", SOON, async || {
        Ok(Some(deletions(server).await?).filter(|gone| gone.len() >= 3))
    })
    .await
    .with_context(|| server.log_tail())?;
    ensure!(gone.iter().all(|one| one["rule"] == "age" && one["file"] != first.to_string_lossy().as_ref()));
    ensure!(first.exists() && archive.files("cam_1")?.contains(&first.to_owned()), "the held file is gone");
    Ok(hold)
}

/// Rows and files are the same, and so are the sums that triggers keep.
async fn check_agrees(database: &Postgres, archive: &Archive) -> anyhow::Result<()> {
    let known = database.ask("SELECT name FROM files WHERE state = 'closed' ORDER BY name").await?;
    let files = archive.files("cam_1")?;
    ensure!(known.iter().map(PathBuf::from).eq(files.iter().cloned()), "{known:?} {files:?}");
    let sums = "SELECT usage.files || ' ' || usage.bytes || ' ' || object_sums.files || ' ' || object_sums.bytes \
                FROM usage, object_sums WHERE place = 'queue'";
    let counted = "SELECT COUNT(*) || ' ' || SUM(bytes) || ' ' || COUNT(*) || ' ' || SUM(bytes) FROM files";
    let (sums, counted) = (database.ask(sums).await?, database.ask(counted).await?);
    ensure!(sums == counted, "sums {sums:?}, counted {counted:?}");
    Ok(())
}

/// `gtvision storage check`: its exit code and what it said.
async fn storage_check(config: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new(workspace::program("gtvision", "GTVISION_BIN")?);
    command.args(["storage", "check"]).arg(config);
    let output = peers::run(command, SOON).await?;
    Ok((output.code, output.stdout + &output.stderr))
}
