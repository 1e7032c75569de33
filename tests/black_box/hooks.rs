//! Hooks: commands that run when something happens, as MediaMTX's users have them; by what these commands see and do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::clips::USUAL;
use gtvision_tests::process::Process;
use gtvision_tests::recording::Archive;
use gtvision_tests::rtsp::RawClient;
use gtvision_tests::{Server, Simulator, http, machine, peers, wait};

/// From an event to the command's file, recordings included: a first part takes seconds, a file's end a sync.
const HOOK_LIMIT: Duration = Duration::from_secs(30);

/// Writes its environment into a file named after the hook, whole or not at all, and its start into a list.
const SCRIPT: &str =
    "#!/bin/sh\nenv >\"$1/$2.new\"\nmv \"$1/$2.new\" \"$1/$2\"\necho \"$2 $3\" >>\"$1/list\"\n";

/// A folder with the script, where hooks leave what they saw.
pub(crate) struct Seen {
    dir: tempfile::TempDir,
}

impl Seen {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("hook.sh"), SCRIPT)?;
        Ok(Self { dir })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command that leaves the environment of a hook.
    pub(crate) fn command(&self, hook: &str) -> String {
        format!("sh {} {} {hook}", self.file("hook.sh").display(), self.dir.path().display())
    }

    pub(crate) fn environment(&self, hook: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let text = std::fs::read_to_string(self.file(hook)).with_context(|| format!("{hook} did not run"))?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(crate) async fn wait(&self, hook: &str) -> anyhow::Result<()> {
        let file = self.file(hook);
        wait::until(&format!("hook {hook}"), HOOK_LIMIT, async || Ok(file.exists().then_some(()))).await
    }

    /// Waits for a hook, and for what it is to have in its environment.
    async fn check(&self, hook: &str, expected: &[(&str, &str)]) -> anyhow::Result<()> {
        self.wait(hook).await?;
        let environment = self.environment(hook)?;
        for (name, value) in expected {
            let found = environment.get(*name).map(String::as_str);
            ensure!(found == Some(*value), "{hook}: {name} is {found:?}, expected {value:?}");
        }
        Ok(())
    }
}

fn publish(clip: &Path, url: &str) -> anyhow::Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    Process::start("ffmpeg", command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url]))
}

/// Every hook there is: of the server, of all paths, and `runOnInit` of one that is recorded.
fn every_hook(seen: &Seen, archive: &Archive, camera: &str) -> String {
    let hook = |name: &str| seen.command(name);
    let mut config = format!("runOnConnect: {}\nrunOnDisconnect: {}\n", hook("connect"), hook("disconnect"));
    config +=
        &archive.config(&["record: no", "recordSegmentDuration: 2s"]).replacen("  record: yes\n", "", 1);
    for (key, name) in [
        ("runOnAvailable", "available"),
        ("runOnNotReady", "notReady"),
        ("runOnOnline", "online"),
        ("runOnOffline", "offline"),
        ("runOnRead", "read"),
        ("runOnUnread", "unread"),
        ("runOnRecordSegmentCreate", "create"),
        ("runOnRecordSegmentComplete", "complete"),
    ] {
        config += &format!("  {key}: {} $MTX_PATH\n", hook(name));
    }
    config += &format!(
        "paths:\n  cam_1:\n    source: {}\n    rtspTransport: tcp\n    record: yes\n    runOnInit: {} again\n    \
         runOnInitRestart: yes\n  '~^pushed/(\\w+)_(\\d+)$':\n",
        camera,
        hook("init"),
    );
    config
}

/// A recorded file is told of when it begins and when it is complete.
async fn check_segments(seen: &Seen, archive: &Archive) -> anyhow::Result<()> {
    seen.wait("create").await?;
    seen.wait("complete").await?;
    let complete = seen.environment("complete")?;
    let file = PathBuf::from(&complete["MTX_SEGMENT_PATH"]);
    ensure!(archive.files("cam_1")?.contains(&file), "{complete:?}");
    let seconds: f64 = complete["MTX_SEGMENT_DURATION"].parse()?;
    // Files are whole GOPs of 2 s.
    ensure!((1.9..6.1).contains(&seconds), "{seconds} s");
    Ok(())
}

#[tokio::test]
async fn every_hook_runs_with_mediamtxs_environment() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let (seen, archive) = (Seen::new()?, Archive::new()?);
    let config = every_hook(&seen, &archive, &simulator.url("cam_1"));
    let server = Server::start(&config).await?;
    let port = server.ports.rtsp.to_string();
    let of_path =
        |path: &'static str| [("MTX_PATH", path), ("RTSP_PATH", path), ("RTSP_PORT", port.as_str())];

    seen.check("init", &of_path("cam_1")).await?;
    seen.check("available", &of_path("cam_1")).await?;
    let camera = [("MTX_SOURCE_TYPE", "rtspSource"), ("MTX_SOURCE_ID", ""), ("MTX_QUERY", "")];
    seen.check("online", &camera).await?;

    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    seen.check("connect", &[("MTX_CONN_TYPE", "rtspConn"), ("RTSP_PORT", &port)]).await?;
    reader.play(&format!("{}?who=a%20b&x='y", server.rtsp("cam_1"))).await?;
    reader.packet().await?;
    let read = [("MTX_READER_TYPE", "rtspSession"), ("MTX_QUERY", "who%3Da%2520b%26x%3D%27y")];
    seen.check("read", &[&of_path("cam_1")[..], &read[..]].concat()).await?;
    let sessions = http::get(&server.api("rtspsessions/list")).await?.ok()?.json()?;
    let session = sessions["items"][0]["id"].as_str().context("no session")?.to_owned();
    ensure!(seen.environment("read")?["MTX_READER_ID"] == session, "another reader");
    ensure!(!seen.file("unread").exists() && !seen.file("disconnect").exists());
    drop(reader);
    seen.check("unread", &[("MTX_READER_ID", &session), ("MTX_PATH", "cam_1")]).await?;
    seen.wait("disconnect").await?;
    ensure!(
        seen.environment("connect")?["MTX_CONN_ID"] == seen.environment("disconnect")?["MTX_CONN_ID"],
        "another connection"
    );

    check_segments(&seen, &archive).await?;

    let mut publisher = publish(&clip, &format!("{}?key=7", server.rtsp("pushed/gate_12")))?;
    let groups = [("G1", "gate"), ("G2", "12"), ("MTX_SOURCE_TYPE", "rtspSession"), ("MTX_QUERY", "key%3D7")];
    let pushed = [&of_path("pushed/gate_12")[..], &groups[..]].concat();
    wait::until("the published path's hook", HOOK_LIMIT, async || {
        Ok((seen.environment("online")?["MTX_PATH"] == "pushed/gate_12").then_some(()))
    })
    .await?;
    seen.check("online", &pushed).await?;
    ensure!(!seen.file("offline").exists());
    publisher.stop()?;
    seen.check("offline", &pushed).await?;
    seen.check("notReady", &pushed).await?;

    // The command that ended at once was started again, five seconds later.
    let list = seen.file("list");
    wait::until("the second start of runOnInit", HOOK_LIMIT, async || {
        let starts = std::fs::read_to_string(&list)?.lines().filter(|line| *line == "init again").count();
        Ok((starts >= 2).then_some(()))
    })
    .await?;
    let metrics = server.metrics().await?;
    ensure!(metrics.sum("gtvision_hooks_failed_total", &[]) == Some(0.0), "hooks failed");
    ensure!(metrics.sum("gtvision_hooks_started_total", &[]).unwrap_or(0.0) >= 14.0, "too few hooks");
    // What holds when the server stops ends too.
    drop(server);
    seen.check("offline", &of_path("cam_1")).await?;
    let lines = std::fs::read_to_string(&list)?;
    ensure!(lines.lines().any(|line| line == "notReady cam_1"), "{lines}");
    Ok(())
}

/// Whether a process still runs; not one that ended and is not reaped.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

#[tokio::test]
async fn a_path_is_published_to_while_somebody_watches() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let clip = USUAL.file().await?;
    let seen = Seen::new()?;
    let pid_file = seen.file("pid");
    let config = format!(
        "hlsMuxerCloseAfter: 1s\npaths:\n  '~^asked/(\\w+)$':\n    runOnDemand: >-\n      sh -c 'echo $$ >{}; exec ffmpeg \
         -nostdin -v error -re -stream_loop -1 -i {} -c copy -f rtsp -rtsp_transport tcp rtsp://localhost:$RTSP_PORT/$MTX_PATH'\n    \
         runOnDemandRestart: yes\n    runOnDemandCloseAfter: 1s\n    runOnUnDemand: {}\n  late:\n    runOnDemand: {}\n    \
         runOnDemandStartTimeout: 1s\n    runOnUnDemand: {}\n",
        pid_file.display(),
        clip.display(),
        seen.command("unDemand"),
        seen.command("late"),
        seen.command("tooLate"),
    );
    let server = Server::start(&config).await?;
    let pid = || Ok::<_, anyhow::Error>(std::fs::read_to_string(&pid_file)?.trim().to_owned());

    // The first reader waits for the publisher, and gets its pictures.
    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    reader.play(&format!("{}?from=here", server.rtsp("asked/gate"))).await?;
    reader.packet().await?;
    let first = pid()?;
    ensure!(runs(&first), "nobody publishes");
    // Others come while it runs, and keep it running.
    http::get(&server.hls("asked/gate")).await?.ok()?;
    let url = server.whep("asked/gate");
    let watched = peers::script("whep_client.py", &["--url", &url, "--seconds", "2"], HOOK_LIMIT * 2).await?;
    ensure!(watched["status"] == 201 && watched["video"].as_array().is_some_and(|video| !video.is_empty()));
    ensure!(pid()? == first && runs(&first) && !seen.file("unDemand").exists(), "it was started again");
    drop(reader);
    seen.check("unDemand", &[("MTX_PATH", "asked/gate"), ("G1", "gate"), ("MTX_QUERY", "from%3Dhere")])
        .await?;
    ensure!(!runs(&first), "it still publishes");

    // A reader over HLS has it started as well.
    http::get(&server.hls("asked/yard")).await?.ok()?;
    let second = pid()?;
    ensure!(second != first && runs(&second));
    let mut viewer = RawClient::connect(server.ports.rtsp).await?;
    viewer.play(&server.rtsp("asked/yard")).await?;

    // A command that does not publish: its reader is told so, and it is over.
    let mut reader = RawClient::connect(server.ports.rtsp).await?;
    let answer = reader.ask("DESCRIBE", &server.rtsp("late"), "").await?;
    ensure!(answer.status == 404, "{}", answer.text);
    seen.check("late", &[("MTX_PATH", "late")]).await?;
    seen.check("tooLate", &[("MTX_PATH", "late")]).await?;

    // When the server ends, what it started ends.
    viewer.packet().await?;
    ensure!(runs(&second), "it ended while somebody watched");
    drop(server);
    ensure!(!runs(&second), "the publisher outlives the server");
    Ok(())
}
