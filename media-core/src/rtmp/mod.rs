//! RTMP: the dialogue with encoders, players and other servers, and media as FLV tags, as machines without I/O.
//!
//! ```text
//!  bytes ─► handshake ─► ChunkReader ─► Message ─┬─ commands (AMF0) ─► ServerConnection ─► Event
//!                                                └─ FLV tags ─► Incoming ─► access units ─► ingest
//!  bytes ◄────────────────────── chunks() ◄──────────────────── answers; egress::rtmp's tags
//! ```
//!
//! Where we ask, `ClientConnection` stands in `ServerConnection`'s place, and what it hears goes the same way.
//!
//! Belongs here: the wire formats and who may say what when. Does not: sockets, TLS, whom to let in (-> `server::egress::rtmp`, `server::ingest::rtmp`), what
//! a reader is sent (-> `egress::rtmp`).
//! Spec: Adobe RTMP 1.0 and FLV 10.1; Enhanced RTMP v2 (<https://veovera.org/docs/enhanced/enhanced-rtmp-v2>).
//! Limits: everything that is kept of what a peer sends is bounded by a constant of the module that keeps it.

pub mod amf0;
pub mod chunk;
pub mod client;
pub mod flv;
mod handshake;
pub mod incoming;
pub mod record;
pub mod server;
mod wire;

#[cfg(test)]
mod tests;

pub use chunk::{ChunkError, ChunkReader, Message, chunks};
pub use client::{ClientConfig, ClientConnection, ClientError, ClientEvent};
pub use incoming::{Incoming, IncomingError, IncomingEvent};
pub use server::{Event, Refusal, ServerConnection, ServerError, Target};

/// Types of messages (RTMP s5.4, s7.1).
pub mod kind {
    /// The size of the sender's chunks.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// The rest of a message will not come.
    pub const ABORT: u8 = 2;
    /// Bytes received so far.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// Events of streams, and pings.
    pub const USER_CONTROL: u8 = 4;
    /// How often to acknowledge.
    pub const WINDOW_SIZE: u8 = 5;
    /// How much the other side may have under way.
    pub const PEER_BANDWIDTH: u8 = 6;
    /// An FLV audio tag.
    pub const AUDIO: u8 = 8;
    /// An FLV video tag.
    pub const VIDEO: u8 = 9;
    /// Metadata behind a byte of AMF3's.
    pub const DATA_AMF3: u8 = 15;
    /// A command behind a byte of AMF3's.
    pub const COMMAND_AMF3: u8 = 17;
    /// Metadata.
    pub const DATA: u8 = 18;
    /// A command.
    pub const COMMAND: u8 = 20;
}
