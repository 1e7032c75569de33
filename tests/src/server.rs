//! Server: the shipped binary, started with a configuration, watched until it ends.
//!
//! Invariants: every listener is on 127.0.0.1 at a port of this test's own; when the value
//! is dropped the server must end within 5 s with status 0, and must not have logged an
//! ERROR line or a panic that the test did not announce.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::metrics::Metrics;
use crate::process::{self, Process};
use crate::{http, ports, wait, workspace};

/// From exec to an answer on the API; how soon that is, the load harness measures.
const START_LIMIT: Duration = Duration::from_secs(30);

/// From start to a camera's first picture, its retries included.
const ONLINE_LIMIT: Duration = Duration::from_secs(30);

/// From what a test saw to the line of the log about it.
const LOG_LIMIT: Duration = Duration::from_secs(60);

/// What is started.
#[derive(Debug, Clone)]
pub enum Program {
    /// The server under test.
    Ours,
    /// `MediaMTX`, to see what it does with the same.
    MediaMtx(PathBuf),
}

/// The ports that one server listens on.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// `hlsAddress`
    pub hls: u16,
    /// `webrtcAddress`
    pub webrtc: u16,
    /// `webrtcLocalUDPAddress`
    pub webrtc_udp: u16,
    /// `webrtcLocalTCPAddress`
    pub webrtc_tcp: u16,
    /// `apiAddress`
    pub api: u16,
    /// `metricsAddress`
    pub metrics: u16,
    /// `controlAddress`
    pub control: u16,
    /// `playbackAddress`
    pub playback: u16,
    /// `rtspAddress`
    pub rtsp: u16,
    /// `rtspsAddress`
    pub rtsps: u16,
    /// `rtmpAddress`
    pub rtmp: u16,
    /// `rtmpsAddress`
    pub rtmps: u16,
    /// `rtpAddress`
    pub rtp: u16,
    /// `rtcpAddress`
    pub rtcp: u16,
}

/// A running server.
pub struct Server {
    process: Process,
    expected_errors: Vec<String>,
    killed: bool,
    program: Program,
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, OsString)>,
    /// Where it listens.
    pub ports: Ports,
}

impl Server {
    /// Starts it with `config` (YAML) and waits until its API answers. The listeners'
    /// addresses and what tests need (API, metrics, loopback candidates) are put before
    /// it, each unless `config` has that key itself.
    ///
    /// # Errors
    /// When it is not built, ends at once, or does not answer in time: with its log.
    pub async fn start(config: &str) -> anyhow::Result<Self> {
        Self::start_in(config, Vec::new()).await
    }

    /// The same with another program, which is given no setting that is ours alone.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_program(program: Program, config: &str) -> anyhow::Result<Self> {
        Self::start_any(program, config, Vec::new()).await
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_in(config: &str, environment: Vec<(&'static str, OsString)>) -> anyhow::Result<Self> {
        Self::start_any(Program::Ours, config, environment).await
    }

    async fn start_any(
        program: Program,
        config: &str,
        environment: Vec<(&'static str, OsString)>,
    ) -> anyhow::Result<Self> {
        let ports = Ports {
            hls: ports::free()?,
            webrtc: ports::free()?,
            webrtc_udp: ports::free()?,
            webrtc_tcp: ports::free()?,
            api: ports::free()?,
            metrics: ports::free()?,
            control: ports::free()?,
            playback: ports::free()?,
            rtsp: ports::free()?,
            rtsps: ports::free()?,
            rtmp: ports::free()?,
            rtmps: ports::free()?,
            rtp: ports::free()?,
            rtcp: ports::free()?,
        };
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join(CONFIG_FILE), full_config(config, &ports, &program)?)?;
        let process = run_in(&program, &dir, &environment)?;
        let mut server =
            Self { process, expected_errors: Vec::new(), killed: false, program, dir, environment, ports };
        server.wait_started().await?;
        Ok(server)
    }

    /// Stops it as SIGTERM does and starts it again with the same configuration and ports.
    ///
    /// # Errors
    /// When it does not end cleanly or does not start again.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let status = self.process.stop()?;
        ensure!(status.success(), "gtvision ended with {status}:\n{}", self.log_tail());
        self.process = run_in(&self.program, &self.dir, &self.environment)?;
        self.wait_started().await
    }

    /// Puts another configuration in the place of its file, as editors do. It may take a second until the server looks.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn configure(&self, config: &str) -> anyhow::Result<()> {
        let new = self.dir.path().join("gtvision.yml.new");
        std::fs::write(&new, full_config(config, &self.ports, &self.program)?)?;
        Ok(std::fs::rename(new, self.dir.path().join(CONFIG_FILE))?)
    }

    /// The same, and waits until it is in force.
    ///
    /// # Errors
    /// When it is not within 30 s.
    pub async fn reconfigure(&self, config: &str) -> anyhow::Result<()> {
        let applied = async || {
            let metrics = self.metrics().await?;
            anyhow::Ok(metrics.sum("gtvision_config_applied_total", &[]).unwrap_or(0.0))
        };
        let before = applied().await?;
        self.configure(config)?;
        let waited = wait::until("the new configuration", Duration::from_secs(30), async || {
            Ok((applied().await? > before).then_some(()))
        });
        waited.await.with_context(|| format!("log:\n{}", self.log_tail()))
    }

    /// A file in its working directory.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn file(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.dir.path().join(name))?)
    }

    /// Has it read its configuration again, as `systemctl reload` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::HUP)
    }

    async fn wait_started(&mut self) -> anyhow::Result<()> {
        let url = self.api("info");
        let mut ended = None;
        let started = wait::until("answer of /v3/info", START_LIMIT, async || {
            ended = self.process.ended()?;
            if ended.is_some() {
                return Ok(Some(()));
            }
            Ok(http::get(&url).await?.is_ok().then_some(()))
        })
        .await;
        ensure!(ended.is_none(), "gtvision ended at once:\n{}", self.log_tail());
        started.with_context(|| format!("log:\n{}", self.log_tail()))
    }

    /// Ends it with SIGKILL, as a crash or the kernel would, and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be killed.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.killed = true;
        self.process.kill()
    }

    /// Takes the processor from it, as a machine does that is suspended, until [`Server::go_on`].
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stand_still(&self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::STOP)
    }

    /// Lets it run again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn go_on(&self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::CONT)
    }

    /// An endpoint of the playback server, without the leading slash.
    #[must_use]
    pub fn playback(&self, endpoint: &str) -> String {
        format!("http://127.0.0.1:{}/{endpoint}", self.ports.playback)
    }

    /// Announces that a log line with `text` is part of this test.
    pub fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    /// The multivariant playlist of a path.
    #[must_use]
    pub fn hls(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}/index.m3u8", self.ports.hls)
    }

    /// The player page over HLS.
    #[must_use]
    pub fn hls_page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}/", self.ports.hls)
    }

    /// The player page over WebRTC.
    #[must_use]
    pub fn webrtc_page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}/", self.ports.webrtc)
    }

    /// The WHEP endpoint of a path.
    #[must_use]
    pub fn whep(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}/whep", self.ports.webrtc)
    }

    /// The WHIP endpoint of a path.
    #[must_use]
    pub fn whip(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}/whip", self.ports.webrtc)
    }

    /// The RTSP address of a path.
    #[must_use]
    pub fn rtsp(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.ports.rtsp)
    }

    /// The RTMP address of a path.
    #[must_use]
    pub fn rtmp(&self, path: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{path}", self.ports.rtmp)
    }

    /// An endpoint of MediaMTX's API, without the leading `/v3/`.
    #[must_use]
    pub fn api(&self, endpoint: &str) -> String {
        format!("http://127.0.0.1:{}/v3/{endpoint}", self.ports.api)
    }

    /// A URL on the page's port.
    #[must_use]
    pub fn control(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.control)
    }

    /// `/v3/paths/get/{name}`.
    ///
    /// # Errors
    /// When it does not answer 200 with JSON.
    pub async fn path(&self, name: &str) -> anyhow::Result<Value> {
        http::get(&self.api(&format!("paths/get/{name}"))).await?.ok()?.json()
    }

    /// Waits until a camera's `state` is `state`.
    ///
    /// # Errors
    /// After `limit`: with what the API said last and the log.
    pub async fn wait_state(&self, name: &str, state: &str, limit: Duration) -> anyhow::Result<Value> {
        self.wait_path(name, state, limit, |path| path["state"] == state).await
    }

    /// Waits until what the API says of a path satisfies `wanted`; `what` names that.
    ///
    /// # Errors
    /// After `limit`: with what the API said last and the log.
    pub async fn wait_path(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let result = wait::until(&format!("{name} {what}"), limit, async || {
            last = self.path(name).await?;
            Ok(wanted(&last).then(|| last.clone()))
        })
        .await;
        result.with_context(|| format!("API said {last}; log:\n{}", self.log_tail()))
    }

    /// Waits until a camera delivers pictures.
    ///
    /// # Errors
    /// When it does not within 15 s.
    pub async fn wait_online(&self, name: &str) -> anyhow::Result<Value> {
        // MediaMTX's own field, so that the harness can be tried against MediaMTX too.
        self.wait_path(name, "online", ONLINE_LIMIT, |path| path["online"] == true).await
    }

    /// All metrics.
    ///
    /// # Errors
    /// When they can't be fetched.
    pub async fn metrics(&self) -> anyhow::Result<Metrics> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports.metrics);
        Ok(Metrics::parse(&http::get(&url).await?.ok()?.text()))
    }

    /// Resident memory in bytes, and processor time used so far.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.process.id())
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        self.process.log.lines()
    }

    /// Waits until `count` lines of its log hold `text`; gives those that do. What a server says comes on its own way,
    /// often after an answer that was given later.
    ///
    /// # Errors
    /// When there are fewer for a minute.
    pub async fn wait_log(&self, text: &str, count: usize) -> anyhow::Result<Vec<String>> {
        let told = wait::until("line of the log", LOG_LIMIT, async || {
            let lines: Vec<_> = self.log_lines().into_iter().filter(|line| line.contains(text)).collect();
            Ok((lines.len() >= count).then_some(lines))
        });
        told.await.with_context(|| format!("{count} with {text:?} in:\n{}", self.log_tail()))
    }

    /// The end of its log, for a message.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log.tail(40)
    }

    fn complaints(&self) -> Vec<String> {
        let bad = |line: &String| {
            (line.contains("ERROR") || line.contains("panicked at"))
                && !self.expected_errors.iter().any(|text| line.contains(text))
        };
        self.process.log.lines().into_iter().filter(bad).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.killed {
            return;
        }
        if std::thread::panicking() {
            // The process ends in its own drop; the log helps to see why the test failed.
            process::fail(&format!("server log:\n{}", self.log_tail()));
            return;
        }
        match self.process.stop() {
            Err(error) => process::fail(&format!("{error:#}")),
            Ok(status) if !status.success() => {
                process::fail(&format!("gtvision ended with {status}:\n{}", self.log_tail()));
            }
            Ok(_) => {
                let complaints = self.complaints();
                if !complaints.is_empty() {
                    process::fail(&format!("unexpected errors in the log:\n{}", complaints.join("\n")));
                }
            }
        }
    }
}

/// The configuration in a server's own directory.
const CONFIG_FILE: &str = "gtvision.yml";

fn run_in(
    program: &Program,
    dir: &tempfile::TempDir,
    environment: &[(&str, OsString)],
) -> anyhow::Result<Process> {
    let (name, binary) = match program {
        Program::Ours => ("gtvision", workspace::program("gtvision", "GTVISION_BIN")?),
        Program::MediaMtx(binary) => ("mediamtx", binary.clone()),
    };
    let mut command = Command::new(binary);
    command.arg(dir.path().join(CONFIG_FILE)).current_dir(dir.path());
    Process::start(name, command.envs(environment.iter().map(|(name, value)| (name, value))))
}

/// What a process uses of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident set.
    pub rss_bytes: u64,
    /// User and system time since its start.
    pub cpu: Duration,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        // proc(5): statm field 2 counts resident pages; stat fields 14 and 15, utime and
        // stime, count ticks of 10 ms. Fields are counted after the ")" of the name.
        const PAGE_BYTES: u64 = 4096;
        const TICK_MS: u64 = 10;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages: u64 = statm.split(' ').nth(1).context("statm")?.parse()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |index: usize| -> anyhow::Result<u64> { Ok(fields.get(index).context("stat")?.parse()?) };
        Ok(Self {
            rss_bytes: pages * PAGE_BYTES,
            cpu: Duration::from_millis((ticks(11)? + ticks(12)?) * TICK_MS),
        })
    }
}

fn full_config(config: &str, ports: &Ports, program: &Program) -> anyhow::Result<String> {
    // The one key here that MediaMTX does not have.
    let is_strange = |key: &str| matches!(program, Program::MediaMtx(_)) && key == "controlAddress";
    let has = |key: &str| config.lines().any(|line| line.starts_with(&format!("{key}:")));
    let mut text = String::new();
    let addresses = [
        ("hlsAddress", ports.hls),
        ("webrtcAddress", ports.webrtc),
        ("webrtcLocalUDPAddress", ports.webrtc_udp),
        ("webrtcLocalTCPAddress", ports.webrtc_tcp),
        ("apiAddress", ports.api),
        ("metricsAddress", ports.metrics),
        ("controlAddress", ports.control),
        ("playbackAddress", ports.playback),
        ("rtspAddress", ports.rtsp),
        ("rtspsAddress", ports.rtsps),
        ("rtmpAddress", ports.rtmp),
        ("rtmpsAddress", ports.rtmps),
        ("rtpAddress", ports.rtp),
        ("rtcpAddress", ports.rtcp),
    ];
    for (key, port) in addresses.into_iter().filter(|(key, _)| !has(key) && !is_strange(key)) {
        writeln!(text, "{key}: 127.0.0.1:{port}")?;
    }
    let settings = [
        ("api", "yes"),
        ("metrics", "yes"),
        ("logLevel", "info"),
        ("webrtcIPsFromInterfaces", "no"),
        ("webrtcAdditionalHosts", "[127.0.0.1]"),
    ];
    for (key, value) in settings.into_iter().filter(|(key, _)| !has(key)) {
        writeln!(text, "{key}: {value}")?;
    }
    Ok(text + config)
}

/// The `paths:` section that pulls each `(name, RTSP URL)` over TCP.
#[must_use]
pub fn pull(cameras: &[(&str, String)]) -> String {
    let mut text = String::from("paths:\n");
    for (name, url) in cameras {
        text += &format!("  {name}:\n    source: {url}\n    rtspTransport: tcp\n");
    }
    text
}
