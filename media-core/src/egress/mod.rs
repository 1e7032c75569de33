//! Egress: what a viewer's protocol asks for, decided without I/O.

pub mod hls;
pub mod webrtc;
