//! WebRTC egress: what to write into a peer connection, and when.
//!
//! ```text
//!  offer ─► track_map ─► which payload type carries which track
//!  ring  ─► pacing    ─► RTP timestamps (backlog compressed, live true), rate of the backlog
//!  UDP   ─► stun      ─► which session a first packet belongs to
//! ```
//!
//! Does not: ICE, DTLS, SRTP, sockets (-> server::egress::webrtc with str0m).

pub mod pacing;
pub mod stun;
pub mod track_map;
