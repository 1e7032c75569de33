//! RTP: packets of a camera taken apart into access units.
//!
//! Belongs here: payload formats. Does not: reading from sockets and sequence numbers of a
//! session (-> `server::ingest`), times and repair (-> `ingest`).

use std::time::Instant;

use bytes::Bytes;

use crate::time::WallTime;

pub mod depacketize;

/// One RTP packet as the session's adapter hands it over, in sequence order.
#[derive(Clone, Debug)]
pub struct RtpPacket {
    /// Sequence number.
    pub seq: u16,
    /// RTP timestamp, in the track's clock rate.
    pub rtp_timestamp: u32,
    /// Marker bit: a hint, not a boundary.
    pub marker: bool,
    /// Payload without header, extension and padding.
    pub payload: Bytes,
    /// When it arrived, on the monotonic clock.
    pub arrival: Instant,
    /// When it arrived, on the wall clock.
    pub arrival_wall: WallTime,
    /// Packets missing between the one before and this one.
    pub lost_before: u32,
}
