//! Egress: moves to viewers what media-core decides.

pub(crate) mod hls;
pub(crate) mod recorder;
pub(crate) mod rtsp;
pub(crate) mod webrtc;
