//! Simulator: `camera-sim` as a process of its own, and what it says it sent.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::{http, workspace};
use serde::Deserialize;

use crate::clip::Clip;
use crate::program::Program;
use crate::scenario::{Pacing, Scenario};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running simulator with cameras `cam_1` to `cam_N`.
pub(crate) struct Simulator {
    process: Program,
    /// Where it serves RTSP.
    pub(crate) rtsp: SocketAddr,
    control: SocketAddr,
}

/// A picture that a camera has sent.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Sent {
    /// Its rank in the clip.
    pub(crate) frame: u32,
    /// Wall clock when its first packet was written, microseconds since 1970.
    pub(crate) sent_unix_us: u64,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    clients: usize,
    pictures_sent: u64,
}

/// All cameras together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Pictures of all cameras.
    pub(crate) pictures: u64,
    /// Cameras that somebody is connected to.
    pub(crate) watched: usize,
}

impl Simulator {
    /// Starts it.
    ///
    /// # Errors
    /// When it is not built or does not get ready.
    pub(crate) async fn start(scenario: &Scenario, clip: &Clip) -> anyhow::Result<Self> {
        let pacing = match scenario.pacing {
            Pacing::Frame => "frame",
            Pacing::Packet => "packet",
        };
        let mut command = Command::new(workspace::program("camera-sim", "CAMERA_SIM_BIN")?);
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--pacing", pacing]);
        command.args(["--cameras", &scenario.cameras.to_string()]).arg("--clip").arg(&clip.file);
        let mut process = Program::start("camera-sim", &mut command)?;
        let ready = process.ready_line(START_LIMIT).await?;
        let address = |key: &str| -> anyhow::Result<SocketAddr> {
            Ok(ready.get(key).and_then(|value| value.as_str()).context("ready line")?.parse()?)
        };
        let (rtsp, control) = (address("rtsp")?, address("control")?);
        Ok(Self { process, rtsp, control })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Pictures sent so far, and by how many cameras to anybody.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn totals(&self) -> anyhow::Result<Totals> {
        let answer = http::get(&format!("http://{}/cameras", self.control)).await?.ok()?;
        let listed: Vec<Listed> = serde_json::from_slice(&answer.body)?;
        ensure!(listed.iter().all(|camera| camera.name.starts_with("cam_")), "foreign cameras");
        Ok(Totals {
            pictures: listed.iter().map(|camera| camera.pictures_sent).sum(),
            watched: listed.iter().filter(|camera| camera.clients > 0).count(),
        })
    }

    /// The last pictures of a camera, oldest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn sent(&self, camera: usize, last: u64) -> anyhow::Result<Vec<Sent>> {
        let url = format!("http://{}/cameras/cam_{camera}/sent?last={last}", self.control);
        Ok(serde_json::from_slice(&http::get(&url).await?.ok()?.body)?)
    }
}
