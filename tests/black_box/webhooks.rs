//! Webhooks: events reach a receiver that was not written here, in their order, signed, and through its outages.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::process::Process;
use gtvision_tests::recording::Archive;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, machine, peers, wait};
use serde_json::{Value, json};

/// From an event to its receiver, a file's end and its sync included.
const EVENT_LIMIT: Duration = Duration::from_secs(40);

const SECRET: &str = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg==";

struct Receiver {
    process: Process,
    url: String,
}

impl Receiver {
    async fn start(more: &[&str]) -> anyhow::Result<Self> {
        let args = [&["--secret", SECRET][..], more].concat();
        let (process, ready) = peers::serve("webhook_receiver.py", &args, Duration::from_secs(20)).await?;
        let url = ready["url"].as_str().context("no url")?.to_owned();
        Ok(Self { process, url })
    }

    /// What was posted so far.
    fn posts(&self) -> anyhow::Result<Vec<Value>> {
        let lines = self.process.log.lines();
        let posts = lines.iter().filter(|line| line.contains("\"target\""));
        posts.map(|line| serde_json::from_str(line).with_context(|| line.clone())).collect()
    }

    /// The bodies of what was taken, in order.
    fn events(&self) -> anyhow::Result<Vec<Value>> {
        let taken = self.posts()?.into_iter().filter(|post| post["status"] == 204);
        Ok(taken.map(|post| post["body"].clone()).collect())
    }

    /// Waits for an event of a path.
    async fn wait(&self, event: &str, path: &Value) -> anyhow::Result<Value> {
        wait::until(event, EVENT_LIMIT, async || {
            let events = self.events()?;
            Ok(events.into_iter().rfind(|body| body["event"] == event && body["path"] == *path))
        })
        .await
        .with_context(|| format!("it got {:?}", self.process.log.tail(20)))
    }
}

#[tokio::test]
async fn events_reach_a_receiver_in_order_signed_and_through_its_outage() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let receiver = Receiver::start(&["--refuse", "2"]).await?;
    let elsewhere = Receiver::start(&["--redirect", &format!("{}/stolen", receiver.url)]).await?;
    let archive = Archive::new()?;
    let mut config = format!(
        "recordDiskAlarm: 1\nrecordDiskDelete: 99\nrecordDiskStop: 100\nwebhooks:\n- url: {}/hook?token=hunter2\n  secret: {SECRET}\n\
         - url: {}\n  events: [path.online]\n",
        receiver.url, elsewhere.url
    );
    config += &archive.config(&["recordSegmentDuration: 2s"]);
    config += &format!("paths:\n  cam_1:\n    source: {}\n    rtspTransport: tcp\n", simulator.url("cam_1"));
    let server = Server::start(&config).await?;
    let cam = json!("cam_1");

    let online = receiver.wait("path.online", &cam).await?;
    ensure!(online["data"] == json!({ "sourceType": "rtspSource", "sourceId": "" }), "{online}");
    let alarm = receiver.wait("disk.alarm", &Value::Null).await?;
    ensure!(alarm["data"]["state"] == "alarm" && alarm["data"]["usedBytes"].as_u64() > Some(0), "{alarm}");

    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    reader.play(&server.rtsp("cam_1")).await?;
    reader.packet().await?;
    let connected = receiver.wait("reader.connected", &cam).await?;
    ensure!(connected["data"]["readerType"] == "rtspSession", "{connected}");
    drop(reader);
    let gone = receiver.wait("reader.disconnected", &cam).await?;
    ensure!(gone["data"] == connected["data"], "another reader: {gone}");

    let segment = receiver.wait("recording.segment.completed", &cam).await?;
    let file = segment["data"]["file"].as_str().context("no file")?;
    ensure!(archive.files("cam_1")?.iter().any(|known| known.as_os_str() == file), "{segment}");
    ensure!(
        archive.ask("SELECT name FROM files").await?.iter().any(|name| name == file),
        "not in the catalogue"
    );

    simulator.fault("cam_1", "drop", json!({})).await?;
    let opened = receiver.wait("recording.gap.opened", &cam).await?;
    ensure!(opened["data"]["reason"] == "camera" && opened["data"]["until"].is_null(), "{opened}");
    receiver.wait("path.offline", &cam).await?;
    let closed = receiver.wait("recording.gap.closed", &cam).await?;
    ensure!(closed["data"]["from"] == opened["data"]["from"], "another gap: {closed}");
    ensure!(closed["data"]["until"].as_str() > closed["data"]["from"].as_str(), "{closed}");

    let metrics = server.metrics().await?;
    ensure!(
        metrics.sum("gtvision_webhooks_retried_total", &[]).unwrap_or(0.0) >= 2.0,
        "nothing was tried again"
    );
    let log = server.log_lines().join("\n");
    ensure!(!log.contains("hunter2") && !log.contains("aHVudGVy"), "the log shows a secret");
    drop(server);
    wait::until("the last word of the path", EVENT_LIMIT, async || {
        let last = receiver.events()?.into_iter().rfind(is_state);
        Ok(last.filter(|body| body["event"] == "path.offline"))
    })
    .await?;
    let posts = receiver.posts()?;
    for post in &posts {
        ensure!(post["signed"] == "yes" && post["id"] == post["body"]["id"], "{post}");
        ensure!(post["target"] == "/hook?token=hunter2", "sent elsewhere: {post}");
    }
    // What was refused came again, as it was, before anything else.
    ensure!(posts[0]["id"] == posts[1]["id"] && posts[1]["id"] == posts[2]["id"], "{posts:?}");
    // One whose answer did not come in time comes again, under its id.
    let mut events = receiver.events()?;
    events.dedup_by_key(|body| body["id"].clone());
    let states: Vec<&str> =
        events.iter().filter(|body| is_state(body)).filter_map(|body| body["event"].as_str()).collect();
    // A camera that finds a busy machine may go and come once more.
    let in_turn = states.chunks(2).all(|pair| pair == ["path.online", "path.offline"]);
    ensure!(in_turn && states.len() >= 4, "{states:?}");
    ensure!(!elsewhere.posts()?.is_empty(), "the other receiver was not asked");
    Ok(())
}

/// Whether an event is of a path's media that come or go.
fn is_state(body: &Value) -> bool {
    body["event"].as_str().is_some_and(|event| event.starts_with("path."))
}
