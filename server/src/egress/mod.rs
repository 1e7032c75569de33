//! Egress: moves to viewers what media-core decided.

pub(crate) mod hls;
