//! Compare: what the reference says of `MediaMTX`'s endpoints, hooks and metrics, row by row; and, where `MediaMTX` is at hand
//! (`./test --peer mediamtx=PROGRAM`), what it says itself.
//!
//! ```text
//!  NAME.yml + publishers ─► a scene ─► NAME.rows asked ─► answers ─► as the rows expect
//!                                                           └─ both servers' ─► differences.txt knows each
//! ```
//!
//! Belongs here: what clients of `MediaMTX` see. Does not: whether media is right (-> the other modules).

mod answer;
mod asked;
mod differences;
mod hooks;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::process::Process;
use gtvision_tests::server::Program;
use gtvision_tests::{Server, machine, wait};

use answer::Answer;
use rows::Row;

use crate::access::Provider;

/// What is published: pictures and sound.
const CLIP: Clip = Clip { seconds: 4, audio: "aac", ..USUAL };

/// From a publisher's start to what its row awaits, on two loaded cores.
const PATIENCE: Duration = Duration::from_secs(40);

/// All rows' answers of one server, by their titles.
type Answers = BTreeMap<String, Answer>;

/// `MediaMTX`, where it is at hand.
fn peer() -> Option<Program> {
    std::env::var_os("GTV_PEER").map(|program| Program::MediaMtx(PathBuf::from(program)))
}

/// ffmpeg plays a clip without end to where a server takes it.
fn publish(clip: &Path, format: &[&str], url: &str) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    Process::start("ffmpeg", command.args(["-c", "copy", "-f"]).args(format).arg(url))
}

fn publish_rtsp(clip: &Path, url: &str) -> anyhow::Result<Process> {
    publish(clip, &["rtsp", "-rtsp_transport", "tcp"], url)
}

/// The same to a path, which is online then.
async fn published(server: &Server, clip: &Path, path: &str, query: &str) -> anyhow::Result<Process> {
    let publisher = publish_rtsp(clip, &(server.rtsp(path) + query))?;
    server.wait_online(path).await?;
    Ok(publisher)
}

/// ffmpeg reads and keeps nothing.
struct Reader(Process);

impl Reader {
    fn start(options: &[&str], url: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error"]).args(options);
        Process::start("ffmpeg", command.args(["-i", url, "-c", "copy", "-f", "null", "-"])).map(Self)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It waits for a publisher that is gone, and hears no SIGTERM then.
        self.0.kill().unwrap_or_default();
    }
}

/// Asks all rows of a scene; what is not as they expect is told in words.
async fn answers(server: &Server, rows: &[Row]) -> anyhow::Result<(Answers, Vec<String>)> {
    let (mut answers, mut complaints, mut kept) = (Answers::new(), Vec::new(), BTreeMap::new());
    for row in rows {
        let mut last = answer::ask(server, row, &mut kept).await.with_context(|| row.title.clone());
        if row.is_awaited {
            let as_expected = wait::until(&row.title, PATIENCE, async || {
                last = answer::ask(server, row, &mut kept).await;
                Ok(last.as_ref().is_ok_and(|answer| answer::unexpected(row, answer).is_empty()).then_some(()))
            });
            // Told below, with what was answered last.
            drop(as_expected.await);
        }
        let answer = last.with_context(|| format!("{}; log:\n{}", row.title, server.log_tail()))?;
        complaints.extend(answer::unexpected(row, &answer));
        ensure!(answers.insert(row.title.clone(), answer).is_none(), "two rows are called {}", row.title);
    }
    Ok((answers, complaints))
}

/// Asks a scene's rows of our server, and of the other one too if it is there.
async fn compare<T>(
    config: &str,
    rows: &str,
    set_up: impl AsyncFn(&Server) -> anyhow::Result<T>,
) -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let rows = rows::parse(rows)?;
    let server = Server::start(config).await?;
    let scene = set_up(&server).await?;
    let (here, complaints) = answers(&server, &rows).await?;
    ensure!(complaints.is_empty(), "{}\nlog:\n{}", complaints.join("\n"), server.log_tail());
    drop((scene, server));
    let Some(peer) = peer() else { return Ok(()) };
    let server = Server::start_program(peer, config).await?;
    let _scene = set_up(&server).await?;
    // What it does differently is told with the differences.
    let (there, _) = answers(&server, &rows).await?;
    differences::check(&here, &there)
}

#[tokio::test]
async fn a_server_without_media_answers_as_the_reference_says() -> anyhow::Result<()> {
    compare(include_str!("bare.yml"), include_str!("bare.rows"), async |_| Ok(())).await
}

#[tokio::test]
async fn a_server_with_publishers_and_readers_answers_as_the_reference_says() -> anyhow::Result<()> {
    let clip = CLIP.file().await?;
    compare(include_str!("live.yml"), include_str!("live.rows"), async |server| {
        // One after the other: lists are in the order in which they came.
        let kept = published(server, &clip, "kept", "").await?;
        let live = published(server, &clip, "live", "?from=here").await?;
        let pushed = publish(&clip, &["flv"], &server.rtmp("pushed"))?;
        server.wait_online("pushed").await?;
        let readers = [
            Reader::start(&["-rtsp_transport", "tcp"], &server.rtsp("live"))?,
            Reader::start(&[], &server.rtmp("pushed"))?,
        ];
        Ok(([kept, live, pushed], readers))
    })
    .await
}

#[tokio::test]
async fn a_server_with_users_answers_as_the_reference_says() -> anyhow::Result<()> {
    let clip = CLIP.file().await?;
    compare(include_str!("users.yml"), include_str!("users.rows"), async |server| {
        let url = server.rtsp("live").replace("rtsp://", "rtsp://pub:encoder-7@");
        let publisher = publish_rtsp(&clip, &url)?;
        server.wait_online("live").await?;
        Ok(publisher)
    })
    .await
}

#[tokio::test]
async fn a_server_that_takes_tokens_answers_as_the_reference_says() -> anyhow::Result<()> {
    const PERMISSIONS: &str = "permissions=[{\"action\":\"publish\",\"path\":\"live\"},{\"action\":\"read\",\"path\":\"live\"},\
                               {\"action\":\"playback\",\"path\":\"kept\"},{\"action\":\"metrics\"}]";
    let (clip, provider) = (CLIP.file().await?, Provider::start().await?);
    let token = async |query: &str| provider.token(&format!("{query}&{PERMISSIONS}")).await;
    let right = token("exp=3600").await?;
    let rows = include_str!("tokens.rows")
        .replace("BASIC", &BASE64_STANDARD.encode(format!("any:{right}")))
        .replace("RIGHT", &right)
        .replace("EXPIRED", &token("exp=-60").await?)
        .replace("FOREIGN", &token("exp=3600&foreign=1").await?)
        .replace("UNSIGNED", &token("exp=3600&alg=none").await?);
    let config = include_str!("tokens.yml").replace("PROVIDER", &provider.base);
    compare(&config, &rows, async |server| published(server, &clip, "live", &format!("?jwt={right}")).await)
        .await
}

#[tokio::test]
async fn a_server_that_forwards_answers_as_the_reference_says() -> anyhow::Result<()> {
    let clip = CLIP.file().await?;
    let sink = Server::start("paths:\n  sink:\n").await?;
    let config = include_str!("forward.yml").replace("SINK", &sink.rtsp("sink"));
    compare(&config, include_str!("forward.rows"), async |server| published(server, &clip, "cam", "").await)
        .await
}

#[tokio::test]
async fn a_server_that_records_answers_as_the_reference_says() -> anyhow::Result<()> {
    let clip = CLIP.file().await?;
    compare(include_str!("kept.yml"), include_str!("kept.rows"), async |server| {
        published(server, &clip, "cam", "").await
    })
    .await
}
