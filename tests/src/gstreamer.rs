//! `GStreamer` as a reader of RTSP.

use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use crate::peers;

/// Behind the script's own limit, which says how far it came.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a reader takes of one kind of media.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    /// `video` or `audio`.
    pub kind: &'a str,
    /// Buffers at the end of the chain.
    pub count: usize,
    /// The elements behind the source, as `gst-launch` writes them; none that makes its pads later (`decodebin`).
    pub chain: &'a str,
}

/// Pictures of H.264 that are decoded.
pub const DECODED: Take<'_> =
    Take { kind: "video", count: 100, chain: "rtph264depay ! h264parse ! avdec_h264" };

/// Packets of pictures.
pub const PACKETS: Take<'_> = Take { kind: "video", count: 50, chain: "identity" };

/// Reads a URL of RTSP until as much has come as is to be taken. `lower` is what is below RTP, as `GStreamer` names it.
///
/// # Errors
/// When less comes, or `GStreamer` complains before.
pub async fn reads(url: &str, lower: &str, takes: &[Take<'_>]) -> anyhow::Result<()> {
    let mut args = vec!["--url", url, "--lower", lower];
    if lower == "udp-mcast" {
        args.extend(["--interface", "lo"]);
    }
    let takes: Vec<(&Take<'_>, String)> =
        takes.iter().map(|take| (take, format!("{}:{}:{}", take.kind, take.count, take.chain))).collect();
    for (_, text) in &takes {
        args.extend(["--take", text]);
    }
    let said = peers::script("gst_rtsp.py", &args, PATIENCE).await?;
    for (take, _) in takes {
        let came = said["buffers"][take.kind].as_u64().and_then(|count| usize::try_from(count).ok());
        ensure!(said["error"] == Value::Null && came >= Some(take.count), "{url} over {lower}: {said}");
    }
    Ok(())
}
