//! RTP packet: the bytes of one, from its parts to the encrypted datagram.
//!
//! Belongs here: the wire format. Does not: what it says (-> direct), what is encrypted how (-> seal).
//! Spec: RFC 3550 s5.1; RFC 8285 s4.2 (extensions, one-byte form); RFC 4588 s4 (RTX).

use std::sync::Arc;

use super::history::SentUnit;
use super::seal::{Parts, Place, Sealer};

/// A block of header extensions as it is on the wire; empty where there are none.
pub(super) type Extensions = Arc<[u8]>;

/// A block of those elements that have an id, in the one-byte form; their values have 1 to 16 bytes.
pub(super) fn extension_block(elements: &[(Option<u8>, &[u8])]) -> Extensions {
    let mut block = vec![0xbe, 0xde, 0, 0];
    for (id, value) in elements {
        let length = value.len().checked_sub(1).and_then(|length| u8::try_from(length).ok());
        if let (Some(id), Some(length @ ..16)) = (id, length) {
            block.push(id << 4 | length);
            block.extend_from_slice(value);
        }
    }
    block.resize(block.len().next_multiple_of(4), 0);
    let words = u8::try_from(block.len() / 4 - 1).unwrap_or(0);
    if words == 0 {
        return Arc::from([]);
    }
    block[3] = words;
    block.into()
}

/// A packet before it is encrypted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) place: Place,
    pub(super) pt: u8,
    pub(super) marker: bool,
    pub(super) rtp_timestamp: u32,
    pub(super) extensions: &'a [u8],
    /// RTX: the number that it was lost under.
    pub(super) repairs: Option<u16>,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet at `place` of a unit, as it was first sent.
    pub(super) fn of(sent: &'a SentUnit, place: usize, pt: u8, ssrc: u32) -> Option<Self> {
        let payload = sent.payloads.get(place)?;
        let [first, others] = &sent.extensions;
        Some(Self {
            place: Place { ssrc, index: sent.first_seq + u64::try_from(place).ok()? },
            pt,
            marker: payload.marker,
            rtp_timestamp: sent.rtp_timestamp.wrapping_add(payload.offset_ticks),
            extensions: if place == 0 { first } else { others },
            repairs: None,
            payload: &payload.payload,
        })
    }

    /// What sender reports count of it.
    pub(super) fn octets(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(0)
    }

    /// Appends the packet, encrypted.
    pub(super) fn write(&self, sealer: &Sealer, out: &mut Vec<u8>) {
        let header_at = out.len();
        let has_extensions = u8::from(!self.extensions.is_empty());
        let [seq_high, seq_low] = low_16(self.place.index).to_be_bytes();
        out.extend([2 << 6 | has_extensions << 4, u8::from(self.marker) << 7 | self.pt, seq_high, seq_low]);
        out.extend_from_slice(&self.rtp_timestamp.to_be_bytes());
        out.extend_from_slice(&self.place.ssrc.to_be_bytes());
        out.extend_from_slice(self.extensions);
        let payload_at = out.len();
        if let Some(seq) = self.repairs {
            out.extend_from_slice(&seq.to_be_bytes());
        }
        out.extend_from_slice(self.payload);
        sealer.seal(out, Parts { header_at, payload_at }, self.place);
    }
}

/// What a packet carries of its number.
pub(super) fn low_16(seq: u64) -> u16 {
    u16::try_from(seq & 0xffff).unwrap_or(0)
}
