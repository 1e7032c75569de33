//! Egress: what each way out of the ring decides, without moving a byte.

pub mod webrtc;
