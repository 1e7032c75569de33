//! Simulator: `camera-sim` as a process of its own, so that its work is not the test's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{self, Method};
use crate::process::Process;
use crate::workspace;

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running simulator.
pub struct Simulator {
    _process: Process,
    _plan: Option<tempfile::NamedTempFile>,
    /// Its ready line.
    pub ready: Value,
    rtsp: String,
    tls: Option<String>,
    control: String,
    credentials: String,
}

/// One access unit that a camera has sent.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Sent {
    /// The frame's number in the clip, which the bar code in its picture shows.
    pub frame: u32,
    /// How often the clip had been played before.
    #[serde(rename = "loop")]
    pub round: u64,
    /// Wall clock when its last packet was written, microseconds since 1970.
    pub sent_unix_us: u64,
    /// Its RTP timestamp.
    pub rtp: u32,
    /// Whether it is a random access point.
    pub key: bool,
}

impl Simulator {
    /// Starts cameras by name, each playing its clip for ever.
    ///
    /// # Errors
    /// When it is not built or does not get ready.
    pub async fn start(cameras: &[(&str, &Path)]) -> anyhow::Result<Self> {
        Self::start_with(cameras, &[]).await
    }

    /// The same with more arguments of `camera-sim`.
    ///
    /// # Errors
    /// When it is not built or does not get ready.
    pub async fn start_with(cameras: &[(&str, &Path)], args: &[&str]) -> anyhow::Result<Self> {
        Self::start_planned(cameras, args, &Value::Null).await
    }

    /// The same with a plan: `{"camera": {"second_clip": FILE, "parameter_sets": "late"}}`.
    ///
    /// # Errors
    /// When it is not built or does not get ready.
    pub async fn start_planned(
        cameras: &[(&str, &Path)],
        args: &[&str],
        plan: &Value,
    ) -> anyhow::Result<Self> {
        let program = workspace::program("camera-sim", "CAMERA_SIM_BIN")?;
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
        for (name, clip) in cameras {
            command.arg("--camera").arg(format!("{name}={}", clip.display()));
        }
        let plan_file = match plan {
            Value::Null => None,
            plan => {
                let file = tempfile::NamedTempFile::new()?;
                std::fs::write(file.path(), json!({ "cameras": plan }).to_string())?;
                command.arg("--faults").arg(file.path());
                Some(file)
            }
        };
        let mut process = Process::start("camera-sim", command.args(args))?;
        let ready = process.ready_line(START_LIMIT).await?;
        let address = |key: &str| -> anyhow::Result<String> {
            let text = ready[key].as_str().with_context(|| format!("no {key} in {ready}"))?;
            Ok(text.to_owned())
        };
        Ok(Self {
            rtsp: address("rtsp")?,
            control: address("control")?,
            credentials: credentials(args),
            tls: ready["rtsps"].as_str().map(str::to_owned),
            ready,
            _process: process,
            _plan: plan_file,
        })
    }

    /// The RTSP URL of a camera, with the credentials that the simulator was started with.
    #[must_use]
    pub fn url(&self, camera: &str) -> String {
        format!("rtsp://{}{}/{camera}", self.credentials, self.rtsp)
    }

    /// The RTSPS URL of a camera, when the simulator was started with `--tls-listen`.
    ///
    /// # Errors
    /// When it was not.
    pub fn tls_url(&self, camera: &str) -> anyhow::Result<String> {
        let address = self.tls.as_deref().context("no --tls-listen")?;
        Ok(format!("rtsps://{}{address}/{camera}", self.credentials))
    }

    /// Makes a camera misbehave from now on, e.g. `("freeze", json!({"secs": 20}))`.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn fault(&self, camera: &str, kind: &str, mut options: Value) -> anyhow::Result<()> {
        options["kind"] = json!(kind);
        let url = format!("http://{}/cameras/{camera}/fault", self.control);
        let headers = [("content-type", "application/json")];
        http::send(Method::POST, &url, &headers, options.to_string()).await?.ok()?;
        Ok(())
    }

    /// Makes a camera behave again.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn clear_fault(&self, camera: &str) -> anyhow::Result<()> {
        let url = format!("http://{}/cameras/{camera}/fault", self.control);
        http::send(Method::DELETE, &url, &[], Bytes::new()).await?.ok()?;
        Ok(())
    }

    /// Where the frame that a camera sent last can be asked for.
    #[must_use]
    pub fn sent_url(&self, camera: &str) -> String {
        format!("http://{}/cameras/{camera}/sent?last=1", self.control)
    }

    /// The last `count` access units that a camera has sent, oldest first.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn sent(&self, camera: &str, count: usize) -> anyhow::Result<Vec<Sent>> {
        let url = format!("http://{}/cameras/{camera}/sent?last={count}", self.control);
        let answer = http::get(&url).await?.ok()?;
        serde_json::from_slice(&answer.body).with_context(|| answer.text())
    }
}

fn credentials(args: &[&str]) -> String {
    let value = |name: &str| {
        let at = args.iter().position(|arg| *arg == name)?;
        args.get(at + 1).copied()
    };
    match (value("--user"), value("--password")) {
        (Some(user), Some(password)) => format!("{}:{}@", percent(user), percent(password)),
        _ => String::new(),
    }
}

/// RFC 3986 s2.1, everything but unreserved characters.
fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
