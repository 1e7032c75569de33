//! Egress: moves to viewers what media-core decides.

pub(crate) mod webrtc;
