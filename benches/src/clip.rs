//! Clip: what the cameras play: made once by ffmpeg, kept in `target/clips`, and read back so that each
//! picture is known again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gtvision_tests::{peers, workspace};

use crate::frames::FrameIndex;
use crate::scenario::ClipSpec;
use crate::stats::{large, number};

/// Encoding; other work may hold both cores.
const MAKE_LIMIT: Duration = Duration::from_secs(300);

/// RTP header, FU header and interleaving per packet: what a camera sends besides its pictures.
const PACKET_OVERHEAD_BYTES: usize = 12 + 2 + 4;
/// Payload of a simulated camera's packets.
const PACKET_BYTES: usize = 1400;

/// A clip that can be played and recognized.
#[derive(Debug)]
pub(crate) struct Clip {
    /// The file.
    pub(crate) file: PathBuf,
    /// Its pictures.
    pub(crate) index: Arc<FrameIndex>,
    /// Pictures per second.
    pub(crate) fps: u32,
    /// What one camera sends per picture, sound and packet headers included, on average.
    pub(crate) bytes_per_picture: f64,
}

/// Makes the clip if it is not there yet, and reads it.
///
/// # Errors
/// When ffmpeg can't make it.
pub(crate) async fn prepare(spec: &ClipSpec) -> anyhow::Result<Clip> {
    let file = made(spec).await?;
    let fps = f64::from(spec.fps);
    let clip = fixtures::Clip::open(&file, fps).with_context(|| format!("read {}", file.display()))?;
    let index = Arc::new(FrameIndex::of_clip(&clip)?);
    let units = &clip.video.access_units;
    let on_wire = |bytes: usize| bytes + bytes.div_ceil(PACKET_BYTES).max(1) * PACKET_OVERHEAD_BYTES;
    let video: usize =
        units.iter().flat_map(|unit| &unit.nal_units).map(|nal_unit| on_wire(nal_unit.len())).sum();
    let audio: usize =
        clip.audio.iter().flat_map(|audio| &audio.frames).map(|frame| on_wire(frame.len())).sum();
    Ok(Clip { file, index, fps: spec.fps, bytes_per_picture: number(video + audio) / number(units.len()) })
}

impl Clip {
    /// What cameras that sent so many pictures together sent, bytes.
    pub(crate) fn bytes_of(&self, pictures: u64) -> f64 {
        large(pictures) * self.bytes_per_picture
    }
}

async fn made(spec: &ClipSpec) -> anyhow::Result<PathBuf> {
    let ClipSpec { codec, size, fps, gop, bitrate_bps, audio, seconds } = spec;
    let name = format!("load-{codec}-{size}-{fps}fps-gop{gop}-{seconds}s-{bitrate_bps}-{audio}.mp4");
    let file = workspace::target_dir("clips")?.join(&name);
    if file.exists() {
        return Ok(file);
    }
    let unfinished = file.with_file_name(format!("unfinished-{}-{name}", std::process::id()));
    let mut command = Command::new(workspace::program("camera-sim", "CAMERA_SIM_BIN")?);
    command.arg("make-clip").arg("--out").arg(&unfinished).arg("--base").arg(base());
    for (flag, value) in [
        ("--codec", codec.clone()),
        ("--size", size.clone()),
        ("--fps", fps.to_string()),
        ("--gop", gop.to_string()),
        ("--seconds", seconds.to_string()),
        ("--bitrate", bitrate_bps.to_string()),
        ("--audio", audio.clone()),
    ] {
        command.args([flag, &value]);
    }
    let output = peers::run(command, MAKE_LIMIT).await?;
    ensure!(output.success, "make-clip {name}: {}", output.stderr);
    std::fs::rename(&unfinished, &file)?;
    Ok(file)
}

/// Real pictures, so that the encoder fills the bit rate as a camera's does.
fn base() -> PathBuf {
    workspace::root().join(Path::new("fixtures/clips/bigbuckbunny-720p.mp4"))
}
