//! Wire: the packets of one access unit behind one another, each with its RTP header and its interleaving header.
//!
//! ```text
//!  '$' channel length │ RTP header │ payload │ '$' channel length │ RTP header │ ...
//! ```
//!
//! One block of bytes serves every reader: over TCP as it is, over UDP packet by packet.
//!
//! Spec: RFC 2326 s10.12, RFC 3550 s5.1.

use bytes::{BufMut, Bytes, BytesMut};

use crate::remux::rtp::RtpPayload;

/// Before each packet: `$`, channel, 16-bit length.
const INTERLEAVING_BYTES: usize = 4;

/// The fixed RTP header.
const RTP_HEADER_BYTES: usize = 12;

/// What the headers of one access unit's packets say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// Channel in the RTSP connection.
    pub channel: u8,
    /// RTP payload type.
    pub payload_type: u8,
    /// Sequence number of the first packet; the others follow.
    pub first_seq: u16,
    /// Timestamp of the access unit.
    pub rtp_timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

/// All packets of an access unit. A payload is at most a few kilobytes: longer ones than a packet can have are left out.
pub fn interleave(payloads: &[RtpPayload], header: PacketHeader) -> Bytes {
    let payload_bytes: usize = payloads.iter().map(|payload| payload.payload.len()).sum();
    let header_bytes = INTERLEAVING_BYTES + RTP_HEADER_BYTES;
    let mut out = BytesMut::with_capacity(payload_bytes + payloads.len() * header_bytes);
    let mut seq = header.first_seq;
    for RtpPayload { payload, marker, offset_ticks } in payloads {
        if let Ok(length) = u16::try_from(RTP_HEADER_BYTES + payload.len()) {
            out.put_slice(&[b'$', header.channel]);
            out.put_u16(length);
            out.put_slice(&[0x80, (u8::from(*marker) << 7) | header.payload_type]);
            out.put_u16(seq);
            out.put_u32(header.rtp_timestamp.wrapping_add(*offset_ticks));
            out.put_u32(header.ssrc);
            out.put_slice(payload);
        }
        seq = seq.wrapping_add(1);
    }
    out.freeze()
}

/// The packets in a block that [`interleave`] made, without their interleaving headers.
pub fn packets(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let (&[_, _, high, low], after) = rest.split_first_chunk::<INTERLEAVING_BYTES>()?;
        let (packet, after) = after.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        rest = after;
        Some(packet)
    })
}

/// The same block for a reader that wants another channel.
pub fn with_channel(block: &[u8], channel: u8) -> Bytes {
    let mut out = BytesMut::with_capacity(block.len());
    for packet in packets(block) {
        out.put_slice(&[b'$', channel]);
        out.put_u16(u16::try_from(packet.len()).unwrap_or(0));
        out.put_slice(packet);
    }
    out.freeze()
}
