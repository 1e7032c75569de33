//! Server: the server under test, ours or a peer, started with one and the same configuration.
//!
//! The file holds MediaMTX's keys only. What just one of them knows is said in the environment, where
//! each leaves alone what is not its own.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gtvision_tests::{ports, wait, workspace};
use serde::Deserialize;

use crate::bucket::Bucket;
use crate::program::Program;
use crate::scenario::{Hls, Record, Scenario, Source, Transport};
use crate::simulator::Simulator;
use crate::subject::Peer;

/// From exec to an answer on the API.
const START_LIMIT: Duration = Duration::from_secs(20);
/// From exec until all cameras are online.
const ONLINE_LIMIT: Duration = Duration::from_secs(90);
/// Between two looks at the API while cameras come online.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Asks for all paths on one page.
const PER_PAGE: usize = 1000;

/// A running server.
pub(crate) struct Server {
    process: Program,
    started: Instant,
    http: reqwest::Client,
    /// Where it was started, and records.
    directory: tempfile::TempDir,
    ports: Ports,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    hls: u16,
    webrtc: u16,
    webrtc_udp: u16,
    webrtc_tcp: u16,
    rtsp: u16,
    api: u16,
    control: u16,
}

/// What the API says of all paths.
#[derive(Debug, Clone, Default, Deserialize)]
struct List {
    items: Vec<Listed>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(default)]
    ready: bool,
    /// Newer than `ready`, and what counts where it is there.
    online: Option<bool>,
}

impl Server {
    /// Starts it and waits for its API.
    ///
    /// # Errors
    /// When it ends, or does not answer in time: with its log.
    pub(crate) async fn start(
        peer: &Peer,
        scenario: &Scenario,
        simulator: &Simulator,
        bucket: Option<&Bucket>,
    ) -> anyhow::Result<Self> {
        let ports = Ports {
            hls: ports::free()?,
            webrtc: ports::free()?,
            webrtc_udp: ports::free()?,
            webrtc_tcp: ports::free()?,
            rtsp: ports::free()?,
            api: ports::free()?,
            control: ports::free()?,
        };
        let directory = tempfile::tempdir_in(workspace::target_dir("load")?)?;
        let file = directory.path().join("server.yml");
        std::fs::write(&file, config(scenario, simulator, ports, directory.path())?)?;
        let mut command = Command::new(&peer.program);
        command.arg(&file).current_dir(directory.path());
        for switch in ["MTX_RTMP", "MTX_SRT", "MTX_MOQ", "MTX_PLAYBACK", "MTX_METRICS"] {
            command.env(switch, "no");
        }
        command.env("MTX_CONTROLADDRESS", format!("127.0.0.1:{}", ports.control));
        for (key, value) in bucket.iter().flat_map(|bucket| &bucket.settings) {
            command.env(format!("GTV_S3_{}", key.to_uppercase()), value);
        }
        let started = Instant::now();
        let process = Program::start(&peer.name, &mut command)?;
        let mut server = Self { process, started, http: reqwest::Client::new(), directory, ports };
        server.wait_started().await?;
        Ok(server)
    }

    async fn wait_started(&mut self) -> anyhow::Result<()> {
        let url = self.api();
        let answered = wait::until("answer of the API", START_LIMIT, async || {
            if self.process.ended()?.is_some() {
                return Ok(Some(()));
            }
            Ok(self.http.get(&url).send().await?.status().is_success().then_some(()))
        })
        .await;
        ensure!(self.process.ended()?.is_none(), "it ended at once:\n{}", self.log());
        answered.with_context(|| format!("log:\n{}", self.log()))
    }

    /// Waits until all cameras are online, and says how long that was after the start.
    ///
    /// # Errors
    /// When not all are in time.
    pub(crate) async fn wait_online(&self, cameras: usize) -> anyhow::Result<Duration> {
        loop {
            let online = self.online().await?;
            let took = self.started.elapsed();
            if online >= cameras {
                return Ok(took);
            }
            ensure!(took < ONLINE_LIMIT, "{online} of {cameras} cameras online:\n{}", self.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// How many cameras are online.
    ///
    /// # Errors
    /// When the API does not say.
    pub(crate) async fn online(&self) -> anyhow::Result<usize> {
        let body = self.http.get(self.api()).send().await?.error_for_status()?.bytes().await?;
        let list: List = serde_json::from_slice(&body).context("/v3/paths/list")?;
        Ok(list.items.iter().filter(|path| path.online.unwrap_or(path.ready)).count())
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// All paths.
    pub(crate) fn api(&self) -> String {
        format!("http://127.0.0.1:{}/v3/paths/list?itemsPerPage={PER_PAGE}", self.ports.api)
    }

    /// The multivariant playlist of a camera.
    pub(crate) fn hls(&self, camera: usize) -> String {
        format!("http://127.0.0.1:{}/cam_{camera}/index.m3u8", self.ports.hls)
    }

    /// The WHEP endpoint of a camera.
    pub(crate) fn whep(&self, camera: usize) -> String {
        format!("http://127.0.0.1:{}/cam_{camera}/whep", self.ports.webrtc)
    }

    /// The RTSP address of a camera.
    pub(crate) fn rtsp(&self, camera: usize) -> String {
        format!("rtsp://127.0.0.1:{}/cam_{camera}", self.ports.rtsp)
    }

    /// Where recordings are.
    pub(crate) fn recordings(&self) -> std::path::PathBuf {
        self.directory.path().join("recordings")
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        self.process.log.tail(20)
    }

    /// Lines that it logged, and the last of them.
    pub(crate) fn complaints(&self) -> (usize, String) {
        (self.process.log.lines().len(), self.process.log.tail(1))
    }

    /// Ends it; what it recorded stays until this value is dropped.
    pub(crate) fn end(&mut self) {
        self.process.end();
    }
}

fn config(
    scenario: &Scenario,
    simulator: &Simulator,
    ports: Ports,
    directory: &Path,
) -> anyhow::Result<String> {
    let yes = |on: bool| if on { "yes" } else { "no" };
    let mut text = String::new();
    let viewers = &scenario.viewers;
    for (key, port) in [
        ("apiAddress", ports.api),
        ("hlsAddress", ports.hls),
        ("webrtcAddress", ports.webrtc),
        ("webrtcLocalUDPAddress", ports.webrtc_udp),
        ("webrtcLocalTCPAddress", ports.webrtc_tcp),
        ("rtspAddress", ports.rtsp),
    ] {
        writeln!(text, "{key}: 127.0.0.1:{port}")?;
    }
    for (key, on) in [
        ("api", true),
        ("hls", scenario.hls != Hls::Off),
        ("hlsAlwaysRemux", scenario.hls == Hls::Always),
        ("webrtc", viewers.whep.count > 0),
        ("rtsp", viewers.rtsp.count > 0),
    ] {
        writeln!(text, "{key}: {}", yes(on))?;
    }
    text += "logLevel: warn\nhlsVariant: lowLatency\nrtspTransports: [tcp]\n\
             webrtcIPsFromInterfaces: no\nwebrtcAdditionalHosts: [127.0.0.1]\n";
    let transport = match scenario.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    writeln!(text, "pathDefaults:\n  rtspTransport: {transport}")?;
    writeln!(text, "  sourceOnDemand: {}", yes(scenario.source == Source::OnDemand))?;
    if scenario.record != Record::Off {
        let place = directory.join("recordings/%path/%Y-%m-%d_%H-%M-%S-%f");
        writeln!(text, "  record: yes\n  recordFormat: fmp4\n  recordPath: {}", place.display())?;
        if let Some(seconds) = scenario.segment_s {
            writeln!(text, "  recordSegmentDuration: {seconds}s")?;
        }
    }
    text += "paths:\n";
    for camera in 1..=scenario.cameras {
        writeln!(text, "  cam_{camera}:\n    source: rtsp://{}/cam_{camera}", simulator.rtsp)?;
    }
    Ok(text)
}
