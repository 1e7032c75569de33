//! Remux: access units in another container, samples untouched.

pub mod fmp4;
pub mod rtp;
