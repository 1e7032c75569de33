//! Egress: what a viewer's protocol asks for, decided without I/O.

pub mod hls;
pub mod recorder;
pub mod rtmp;
pub mod rtsp;
pub mod webrtc;
