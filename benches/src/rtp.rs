//! RTP: packets of an H.264 track to the pictures that they carry.
//!
//! Nothing is copied: slices are hashed as they come. A picture with a packet missing does not match any
//! of the clip's and so counts as damaged. Spec: RFC 6184 s5.6 to s5.8. Limits: single NAL units, STAP-A
//! and FU-A, which is what both servers send; [`WAITING_MAX`].

use std::collections::BTreeMap;

use fixtures::VideoCodec;

use crate::frames::{Identity, PictureHasher, Slice};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Packets that wait for one that was lost and may be sent again; beyond it, it is given up. About a
/// second of 4 Mbit/s.
const WAITING_MAX: usize = 400;

/// Puts packets in order.
#[derive(Debug)]
pub(crate) struct Sequencer<T> {
    next: Option<u64>,
    waiting: BTreeMap<u64, T>,
}

impl<T> Sequencer<T> {
    /// An empty one; the first packet begins.
    pub(crate) fn new() -> Self {
        Self { next: None, waiting: BTreeMap::new() }
    }

    /// A packet arrived; one that was given up already is dropped.
    pub(crate) fn push(&mut self, seq: u64, packet: T) {
        if *self.next.get_or_insert(seq) <= seq {
            self.waiting.insert(seq, packet);
        }
    }

    /// The packet whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let first = *self.waiting.first_key_value()?.0;
        if Some(first) != self.next && self.waiting.len() <= WAITING_MAX {
            return None;
        }
        self.next = Some(first + 1);
        self.waiting.remove(&first)
    }
}

/// What matters of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// RTP timestamp.
    pub(crate) timestamp: u32,
    /// The picture's last packet, as far as the sender says.
    pub(crate) marker: bool,
    /// RTP payload.
    pub(crate) payload: &'a [u8],
}

/// Puts pictures together.
#[derive(Debug)]
pub(crate) struct Assembler {
    hasher: PictureHasher,
    /// Of the picture that is open.
    timestamp: Option<u32>,
    /// Whether the fragmented unit that is open is a slice.
    fragmented: Slice,
}

impl Assembler {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { hasher: PictureHasher::new(VideoCodec::H264), timestamp: None, fragmented: Slice::No }
    }

    /// Takes a packet and gives the picture that it ends: its own by the marker, or the one before when
    /// the timestamp changes without one.
    pub(crate) fn push(&mut self, packet: &Packet<'_>) -> Option<Identity> {
        let before = self.timestamp.replace(packet.timestamp);
        let unmarked = match before {
            Some(before) if before != packet.timestamp => self.hasher.finish(),
            _ => None,
        };
        self.read(packet.payload);
        if packet.marker { self.hasher.finish() } else { unmarked }
    }

    fn read(&mut self, payload: &[u8]) {
        let Some((header, rest)) = payload.split_first() else {
            return;
        };
        match header & 0x1f {
            STAP_A => self.read_aggregate(rest),
            FU_A => self.read_fragment(*header, rest),
            _ => {
                self.hasher.begin(payload);
            }
        }
    }

    fn read_aggregate(&mut self, mut rest: &[u8]) {
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((unit, after)) = after.split_at_checked(length) else {
                return;
            };
            self.hasher.begin(unit);
            rest = after;
        }
    }

    fn read_fragment(&mut self, indicator: u8, rest: &[u8]) {
        let Some((header, payload)) = rest.split_first() else {
            return;
        };
        if header & 0x80 != 0 {
            self.fragmented = self.hasher.begin(&[(indicator & 0xe0) | (header & 0x1f)]);
        }
        if self.fragmented == Slice::Yes {
            self.hasher.more(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_the_same_however_it_is_packed() {
        let mut hasher = PictureHasher::new(VideoCodec::H264);
        hasher.begin(&[0x65, 1, 2, 3, 4]);
        let expect = hasher.finish();
        let mut assembler = Assembler::new();
        assert_eq!(
            assembler.push(&Packet { timestamp: 7, marker: true, payload: &[0x65, 1, 2, 3, 4] }),
            expect
        );
        // SPS and the slice in one packet.
        assert_eq!(
            assembler.push(&Packet {
                timestamp: 8,
                marker: true,
                payload: &[0x78, 0, 2, 0x67, 9, 0, 5, 0x65, 1, 2, 3, 4]
            }),
            expect
        );
        assert_eq!(
            assembler.push(&Packet { timestamp: 9, marker: false, payload: &[0x7c, 0x85, 1, 2] }),
            None
        );
        assert_eq!(
            assembler.push(&Packet { timestamp: 9, marker: true, payload: &[0x7c, 0x45, 3, 4] }),
            expect
        );
    }

    #[test]
    fn packets_come_out_in_order_and_a_lost_one_is_given_up() {
        let mut sequencer = Sequencer::new();
        let mut out = Vec::new();
        for seq in [5, 7, 6, 9].into_iter().chain(10..=10 + 400) {
            sequencer.push(seq, seq);
            out.extend(std::iter::from_fn(|| sequencer.pop()));
        }
        assert_eq!(out, [5, 6, 7].into_iter().chain(9..=410).collect::<Vec<u64>>());
        sequencer.push(8, 8);
        assert_eq!(sequencer.pop(), None);
    }

    #[test]
    fn a_lost_marker_ends_the_picture_at_the_next_timestamp() {
        let mut assembler = Assembler::new();
        assert_eq!(assembler.push(&Packet { timestamp: 1, marker: false, payload: &[0x65, 1] }), None);
        let ended = assembler.push(&Packet { timestamp: 2, marker: false, payload: &[0x41, 1] });
        let mut hasher = PictureHasher::new(VideoCodec::H264);
        hasher.begin(&[0x65, 1]);
        assert_eq!(ended, hasher.finish());
    }
}
