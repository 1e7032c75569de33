//! Egress: what each way out of the ring decides, without moving a byte.

pub mod webrtc;
//! Egress: what a viewer's protocol asks for, decided without I/O.

pub mod hls;
