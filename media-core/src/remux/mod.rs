//! Remux: access units in another container, samples untouched.

pub mod rtp;
