//! Clips: what the simulated cameras play. Made once per description and kept in
//! `target/clips`; encoded by ffmpeg's libx264 and libx265, never by our own code.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Mutex;

use crate::{peers, workspace};

/// Encoding a clip; generous, since other work may hold both cores.
const MAKE_LIMIT: Duration = Duration::from_secs(300);

/// Two tests never make the same clip at once.
static MAKING: Mutex<()> = Mutex::const_new(());

/// A clip whose pictures carry their frame number as a bar code.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    /// `h264` or `h265`.
    pub codec: &'static str,
    /// `WIDTHxHEIGHT`.
    pub size: &'static str,
    /// Frames per second.
    pub fps: u32,
    /// Frames from one IDR to the next.
    pub gop: u32,
    /// Consecutive B-frames; 0 for a camera as most are.
    pub bframes: u32,
    /// Length; the simulator loops it.
    pub seconds: u32,
    /// Video bit rate, bits per second.
    pub bitrate_bps: u32,
    /// `none`, `aac`, `opus`, `pcmu` or `pcma`.
    pub audio: &'static str,
}

/// What most cameras of a city send, small enough that a browser on the same two cores
/// decodes it while everything else runs.
pub const USUAL: Clip = Clip {
    codec: "h264",
    size: "640x360",
    fps: 25,
    gop: 50,
    bframes: 0,
    seconds: 20,
    bitrate_bps: 800_000,
    audio: "none",
};

impl Clip {
    /// The file, made when it is not there yet.
    ///
    /// # Errors
    /// When `camera-sim make-clip` fails.
    pub async fn file(&self) -> anyhow::Result<PathBuf> {
        // MP4 has no sample entry for G.711 that readers agree on; Matroska has.
        let extension = if self.audio.starts_with("pcm") { "mkv" } else { "mp4" };
        let Self { codec, size, fps, gop, bframes, seconds, bitrate_bps, audio } = self;
        let name = format!(
            "{codec}-{size}-{fps}fps-gop{gop}-b{bframes}-{seconds}s-{bitrate_bps}-{audio}.{extension}"
        );
        let file = workspace::target_dir("clips")?.join(&name);
        let _making = MAKING.lock().await;
        if file.exists() {
            return Ok(file);
        }
        let unfinished = file.with_file_name(format!("unfinished-{}-{name}", std::process::id()));
        let mut command = Command::new(workspace::program("camera-sim", "CAMERA_SIM_BIN")?);
        command.arg("make-clip").arg("--out").arg(&unfinished);
        for (flag, value) in [
            ("--codec", (*codec).to_owned()),
            ("--size", (*size).to_owned()),
            ("--fps", fps.to_string()),
            ("--gop", gop.to_string()),
            ("--bframes", bframes.to_string()),
            ("--seconds", seconds.to_string()),
            ("--bitrate", bitrate_bps.to_string()),
            ("--audio", (*audio).to_owned()),
        ] {
            command.args([flag, &value]);
        }
        let output = peers::run(command, MAKE_LIMIT).await?;
        ensure!(output.success, "make-clip {name}: {}", output.stderr);
        std::fs::rename(&unfinished, &file)?;
        Ok(file)
    }

    /// Duration of one frame.
    #[must_use]
    pub fn frame(&self) -> Duration {
        Duration::from_secs(1) / self.fps
    }
}
