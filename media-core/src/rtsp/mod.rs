//! RTSP: the client machine that turns a camera's byte stream into RTP packets, and the server machine that
//! speaks with players and publishers (RTSP 1.0, RFC 2326).
//!
//! ```text
//!  socket bytes ─► Client::next_event ─► Described ─► setup(..), play() ─► Playing ─► Media ─► RtpReceiver ─► RTP in order
//!  socket bytes ◄─ Client::poll_transmit (requests, keep-alives, receiver reports)
//!
//!  player's bytes ─► server::ServerConnection::next_event ─► Describe, Setup, Play .. ─► the driver answers
//! ```
//!
//! Belongs here: messages, challenges, SDP as far as it names tracks, interleaving, RTP header and order, RTCP.
//! Does not: sockets and TLS (-> server::ingest), payload formats (-> rtp), timelines (-> ingest).
//!
//! Why not a client crate: the one that exists holds no bound on a message (an endless SDP ends in
//! the kernel's out-of-memory killer, which hurts every camera), has no TLS hook, and ends the session on a
//! foreign SSRC or a keep-alive reply with a wrong CSeq. ARCHITECTURE.md has the comparison.

mod client;
mod framing;
mod jitter;
mod rtcp;
mod rtp_receiver;
mod sdp;
pub mod server;
mod transport;

pub use client::{Client, ClientConfig, ClientError, ClientStats, Credentials, Event, MediaKind};
pub use framing::{FramingError, MESSAGE_BODY_BYTES_MAX, MESSAGE_HEAD_BYTES_MAX};
pub use jitter::Jitter;
pub use rtcp::{ReceiverReport, SenderReport, is_well_formed, parse_losses, parse_sender_report};
pub use rtp_receiver::{REORDER_PACKETS_MAX, ReceivedRtp, ReceiverStats, RtpReceiver};
pub use sdp::{SDP_MEDIAS_MAX, SdpError, SdpMedia};
pub use transport::{LowerTransport, TransportReply};
