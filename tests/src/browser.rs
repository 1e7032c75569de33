//! Browser: runs `glass.mjs`, which opens a player page in a real browser and reads the
//! bar codes of the pictures that it shows.

use std::time::Duration;

use serde::Deserialize;

use crate::latency::Seen;
use crate::peers;

/// Which browser plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browser {
    /// Debian's Chromium: H.264 over MSE and WebRTC.
    Chromium,
    /// Debian's Firefox: H.264 and H.265 over MSE.
    Firefox,
}

/// What a player showed.
#[derive(Debug, Clone, Deserialize)]
pub struct Watched {
    /// From navigation to the first picture on the screen, on the second visit of the page:
    /// the browser has read its own code from disk by then. `None` when there was none.
    pub first_picture_ms: Option<f64>,
    /// The same on the very first visit, seconds after the browser's start.
    pub first_picture_cold_ms: Option<f64>,
    /// How many pictures were shown.
    pub pictures: u32,
    /// Every picture whose bar code could be read, in the order shown.
    pub seen: Vec<Seen>,
    /// Pictures shown whose bar code could not be read.
    pub unreadable: u32,
    /// Frame numbers that were never shown between two that were.
    pub skipped: u32,
    /// Pictures shown twice or more.
    pub repeated: u32,
    /// Pictures older than the one before, except where the clip starts again.
    pub backward: u32,
    /// When the page's session was ended from outside, where that was asked for.
    #[serde(default)]
    pub session_ended_unix_us: Option<u64>,
    /// `window.gtvision` of our pages at the end: state and counters.
    #[serde(default)]
    pub page: serde_json::Value,
    /// Errors that the page logged or threw.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// Opens `url` and watches for `length` after the first picture. `frames` is the number of
/// frames of the clip, after which numbers start again at 0.
///
/// # Errors
/// When the browser can't be driven. No picture is not an error here: the caller says.
pub async fn watch(browser: Browser, url: &str, length: Duration, frames: u32) -> anyhow::Result<Watched> {
    watch_with(browser, url, length, frames, &[]).await
}

/// The same with more arguments of `glass.mjs`.
///
/// # Errors
/// As [`watch`].
pub async fn watch_with(
    browser: Browser,
    url: &str,
    length: Duration,
    frames: u32,
    more: &[&str],
) -> anyhow::Result<Watched> {
    let name = match browser {
        Browser::Chromium => "chrome",
        Browser::Firefox => "firefox",
    };
    let (seconds, frames) = (length.as_secs().to_string(), frames.to_string());
    let args = ["--browser", name, "--url", url, "--seconds", &seconds, "--frames", &frames];
    let args = [&args[..], more].concat();
    let report = peers::script("glass.mjs", &args, length + Duration::from_secs(60)).await?;
    Ok(serde_json::from_value(report)?)
}
