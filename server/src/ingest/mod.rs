//! Ingest: brings a camera's media into its stream, and keeps trying.
//!
//! ```text
//!  supervisor (one task per camera: when to try, state, panics)
//!     ├─ session (one connection: sockets of the RTSP machine, UDP, time-outs)
//!     │     └─ connect (TCP, TLS) ─ udp (port pairs), read_buffer
//!     ├─ rtmp (one connection to a server) ─ connect, arrivals (access units, and whether they come)
//!     ├─ hls (playlists and segments of a server) ─ fetch (HTTP, and whom it may reach), arrivals
//!     └─ whep (a peer connection to a server) ─ fetch, rtp_tracks (packets in order), arrivals
//!  publish (one point per path that is published to; packets come from egress::rtsp's connections)
//!  intake (one per path: what either of them feeds) ─ junction (whose turn it is: theirs or the slate's)
//!  slate (what feeds the path meanwhile, if it is always available)
//! ```
//!
//! The decisions are media_core's: `rtsp`, `rtmp` (dialogues), `hls` (playlists, segments), `rtp` and `ingest` (access units, times).

mod arrivals;
pub(crate) mod connect;
pub(crate) mod fetch;
mod hls;
mod intake;
mod junction;
mod output;
pub(crate) mod publish;
mod read_buffer;
pub(crate) mod rtmp;
pub(crate) mod rtp_tracks;
mod session;
pub(crate) mod slate;
mod supervisor;
mod udp;
pub(crate) mod whep;

#[cfg(test)]
mod tests;

pub(crate) use intake::Intake;
pub(crate) use session::SessionTimes;
pub(crate) use supervisor::{Camera, Supervisor, SupervisorTimes};
