//! Ingest: brings a camera's media into its stream, and keeps trying.
//!
//! ```text
//!  supervisor (one task per camera: when to try, state, panics)
//!     └─ session (one connection: sockets of the RTSP machine, UDP, time-outs)
//!           └─ connect (TCP, TLS) ─ udp (port pairs), read_buffer
//!  publish (one point per path that is published to; packets come from egress::rtsp's connections)
//!  intake (one per path: what either of them feeds)
//! ```
//!
//! The decisions are media_core's: `rtsp` (dialogue), `rtp` and `ingest` (access units, times).

pub(crate) mod connect;
mod intake;
mod output;
pub(crate) mod publish;
mod read_buffer;
mod session;
mod supervisor;
mod udp;

#[cfg(test)]
mod tests;

pub(crate) use intake::Intake;
pub(crate) use session::SessionTimes;
pub(crate) use supervisor::{Camera, Supervisor, SupervisorTimes};
