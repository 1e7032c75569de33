//! ffmpeg and ffprobe: readers of what the server serves, makers of what cameras send.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::peers::{self, Output};

/// Lines that ffmpeg 5.1 prints for any live fMP4 playlist or any Opus in MP4, and that say
/// nothing of ours: it reads EXT-X-MAP again after each reload, and its own MP4 muxer
/// misses a number that it does not need.
const NOISE: [&str; 3] =
    ["Found duplicated MOOV Atom", "codec frame size is not set", "Last message repeated"];

/// Long enough for a capture of a minute and its end.
const LIMIT: Duration = Duration::from_secs(120);

/// A packet as ffprobe reads it from a container.
#[derive(Debug, Clone, Deserialize)]
pub struct Packet {
    /// `video` or `audio`.
    pub codec_type: String,
    /// Presentation time in the stream's time base.
    #[serde(default)]
    pub pts: Option<i64>,
    /// Decode time in the stream's time base.
    #[serde(default)]
    pub dts: Option<i64>,
    /// Presentation time in seconds.
    #[serde(default)]
    pub pts_time: Option<String>,
    /// Decode time in seconds.
    #[serde(default)]
    pub dts_time: Option<String>,
    /// Payload bytes, as a decimal number.
    pub size: String,
    /// `K__` for a random access point.
    pub flags: String,
    /// Checksum of the payload, when asked for with `-show_data_hash`.
    #[serde(default)]
    pub data_hash: Option<String>,
}

/// Runs ffprobe with `args` before the input and reads its JSON. Fails when ffprobe prints
/// any error line: that is the rule that it checks (F5).
///
/// # Errors
/// When ffprobe fails or complains.
pub async fn probe(input: &str, args: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "json"]).args(args).arg(input);
    let output = peers::run(command, LIMIT).await?;
    ensure!(output.success && output.stderr.is_empty(), "ffprobe {input}: {}", output.stderr);
    serde_json::from_str(&output.stdout).context("ffprobe's JSON")
}

/// All packets of a file, in file order.
///
/// # Errors
/// When ffprobe fails or complains.
pub async fn packets(input: &Path, args: &[&str]) -> anyhow::Result<Vec<Packet>> {
    let args = [&["-show_packets"], args].concat();
    let json = probe(&input.to_string_lossy(), &args).await?;
    Ok(serde_json::from_value(json["packets"].clone())?)
}

/// Runs ffmpeg quietly (`-v warning`), without reading stdin, overwriting its output.
///
/// # Errors
/// When it can't be run or takes longer than two minutes.
pub async fn ffmpeg(args: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-v", "repeat+warning", "-y"]).args(args);
    peers::run(command, LIMIT).await
}

/// Copies `seconds` of a live stream into an MP4 file, which keeps decode times and durations
/// as they came; gives the lines that ffmpeg complained with.
///
/// # Errors
/// When ffmpeg fails.
pub async fn record(url: &str, seconds: u32, out: &Path) -> anyhow::Result<String> {
    let seconds = seconds.to_string();
    let out = out.to_string_lossy();
    let args = ["-i", url, "-t", &seconds, "-map", "0", "-c", "copy", "-copyts", &out];
    let output = ffmpeg(&args).await?;
    ensure!(output.success, "ffmpeg {url}: {}", output.stderr);
    Ok(complaints(&output))
}

fn complaints(output: &Output) -> String {
    let lines = output.stderr.lines();
    let ours = lines.filter(|line| !NOISE.iter().any(|noise| line.contains(noise)));
    ours.collect::<Vec<_>>().join("\n")
}

/// Decodes all of a file; gives what ffmpeg complained about (empty is good). Pictures keep their own times: in a time base
/// of one tick a picture, which is ffmpeg's default, two that came closer than usual would be at the same one.
///
/// # Errors
/// When ffmpeg can't be run.
pub async fn decode_errors(input: &Path) -> anyhow::Result<String> {
    let input = input.to_string_lossy();
    let own_times = ["-fps_mode", "passthrough", "-enc_time_base", "-1", "-f", "null", "-"];
    Ok(ffmpeg(&[&["-xerror", "-i", &input], &own_times[..]].concat()).await?.stderr)
}

/// Reads a file without decoding; ffmpeg sees overlaps, duplicates and bad offsets.
///
/// # Errors
/// When ffmpeg can't be run.
pub async fn copy_errors(input: &Path) -> anyhow::Result<String> {
    let input = input.to_string_lossy();
    Ok(ffmpeg(&["-i", &input, "-map", "0", "-c", "copy", "-f", "null", "-"]).await?.stderr)
}
