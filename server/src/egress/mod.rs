//! Egress: moves to viewers what media-core decides.

mod door;
pub(crate) mod forward;
pub(crate) mod hls;
mod outbox;
pub(crate) mod recorder;
pub(crate) mod rtmp;
pub(crate) mod rtsp;
pub(crate) mod webrtc;
