//! Egress: moves to viewers what media-core decided.

pub(crate) mod hls;
//! Egress: moves to viewers what media-core decides.

pub(crate) mod webrtc;
