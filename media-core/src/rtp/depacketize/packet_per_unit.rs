//! Opus and G.711 over RTP: every packet is one unit.
//!
//! Spec: RFC 7587 s4.2 (Opus), RFC 3551 s4.5.14 (PCMA, PCMU).
//! Limits: [`SAMPLES_MAX`] a G.711 packet (a larger one is refused).

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Content, Depacketized, PacketError, RawUnit};
use crate::codec::opus;
use crate::rtp::RtpPacket;

/// The most G.711 samples in a packet: what a datagram can hold.
pub const SAMPLES_MAX: usize = 65_507;

/// How long a packet lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duration {
    OpusToc,
    BytesPerTick(u32),
}

/// Takes apart one Opus or G.711 track.
#[derive(Debug)]
pub struct PacketPerUnit {
    duration: Duration,
    out: VecDeque<Depacketized>,
}

impl PacketPerUnit {
    /// For Opus.
    pub fn opus() -> Self {
        Self { duration: Duration::OpusToc, out: VecDeque::new() }
    }

    /// For G.711 with interleaved channels (at least 1): a tick of the RTP clock is a byte of each.
    pub fn g711(channels: u8) -> Self {
        Self { duration: Duration::BytesPerTick(u32::from(channels.max(1))), out: VecDeque::new() }
    }

    pub(super) fn poll(&mut self) -> Option<Depacketized> {
        self.out.pop_front()
    }

    pub(super) fn push(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        let payload = &packet.payload;
        if payload.is_empty() {
            return Ok(());
        }
        let duration_ticks = match self.duration {
            Duration::OpusToc => opus::duration_samples(payload)
                .ok_or(PacketError::Truncated { what: "opus frames", len: payload.len() })?,
            Duration::BytesPerTick(bytes) => {
                if payload.len() > SAMPLES_MAX {
                    return Err(PacketError::Oversized { what: "samples", limit: SAMPLES_MAX });
                }
                u32::try_from(payload.len()).unwrap_or(0) / bytes
            }
        };
        self.out.push_back(Depacketized::Unit(RawUnit {
            rtp_timestamp: packet.rtp_timestamp,
            arrival: packet.arrival,
            arrival_wall: packet.arrival_wall,
            // A copy: a few hundred bytes kept for seconds must not keep a whole read buffer alive.
            payload: Bytes::copy_from_slice(payload),
            content: Content::Audio { duration_ticks },
        }));
        Ok(())
    }
}
