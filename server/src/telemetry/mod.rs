//! Telemetry: what the server tells of itself: log lines and metrics.

mod access_metrics;
mod columns;
mod decode_metrics;
pub(crate) mod forward_metrics;
pub(crate) mod hls_metrics;
pub(crate) mod hook_metrics;
pub(crate) mod logging;
pub(crate) mod metrics;
mod metrics_text;
pub(crate) mod path_metrics;
pub(crate) mod process;
pub(crate) mod recording_metrics;
#[cfg(test)]
mod reference_names;
pub(crate) mod reload_metrics;
pub(crate) mod rtmp_metrics;
pub(crate) mod rtsp_metrics;
pub(crate) mod webrtc_metrics;
