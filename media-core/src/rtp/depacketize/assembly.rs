//! Assembler: puts the NAL units of one picture together and finds where the picture ends.
//!
//! ```text
//!            ┌──────────── NAL units without a slice: any timestamp ───────────┐
//!  Empty ─► Open ── slice ─► Has picture ── marker, trusted ─────────────► out ─► Empty
//!                                │   ├─────── other timestamp ───────────► out ─► Open
//!                                │   ├─────── slice of another picture ──► out ─► Open
//!                                │   └─ marker, on probation ─► held, until one of the two above
//!                                └─ packet lost, fragment unfinished, limit ─► damaged, then Lost
//! ```
//!
//! The marker ends a picture only for cameras that use it so: the first pictures are held until the
//! packet after the marker confirms it ([`CONFIRMATIONS`]), and one slice that goes on after a
//! marker ends the trust for good. Parameter sets, SEI and delimiters that follow the last slice
//! belong to the next picture whatever their timestamp (H.264 s7.4.1.2.3, H.265 s7.4.2.4.4).
//!
//! Packets are kept as they came (`Bytes`) until the unit is complete and are then copied once,
//! into an allocation of exactly its size.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Content, Depacketized, EntryPoint, LossReason, LostUnit, PacketError, Picture, RawUnit};
use crate::access_unit::ACCESS_UNIT_BYTES_MAX;
use crate::rtp::RtpPacket;
use crate::time::WallTime;

/// The most NAL units in one access unit: a 4K picture with a slice for every row of macroblocks
/// has 135 and a few more; a unit with more than this is dropped.
pub const NAL_UNITS_MAX: usize = 2048;

/// The most packets (or parts of packets) in one access unit: the largest unit in packets of 512
/// bytes; a unit with more is dropped.
pub const PIECES_MAX: usize = ACCESS_UNIT_BYTES_MAX / 512;

/// Pictures in a row whose marker must be confirmed by the packet after them before markers alone
/// end a picture. Each costs one picture's delay, at the very start only.
const CONFIRMATIONS: u8 = 2;

/// What a NAL unit is to the assembler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NalClass {
    /// A slice.
    Slice {
        /// It is the first of a picture other than the one under way.
        starts_picture: bool,
        /// It is the first slice of its picture, as far as it says.
        is_first: bool,
    },
    /// After the last slice it begins the next access unit (parameter sets, SEI, delimiter).
    Leading,
    /// It stays where it is.
    Neutral,
}

/// How much of the marker is to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MarkerTrust {
    Probation {
        confirmed: u8,
    },
    Trusted,
    /// The camera sets it inside pictures.
    Refuted,
}

#[derive(Clone, Debug)]
struct NalMeta {
    /// Header bytes put together from fragments; empty when the pieces hold it.
    header: [u8; 2],
    header_len: usize,
    len: usize,
    first_piece: usize,
    class: NalClass,
}

/// Which slices the unit under way has, whole or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slices {
    None,
    Some,
    RandomAccess,
}

/// The unit under way.
#[derive(Debug)]
struct Pending {
    rtp_timestamp: u32,
    arrival: Instant,
    arrival_wall: WallTime,
    slices: Slices,
    is_marked: bool,
    damage: Option<LossReason>,
    /// Set when packets were lost right before, so that its first slice must be a picture's first.
    is_after_loss: bool,
}

/// Puts NAL units together; `P` is what the codec collects about a picture.
#[derive(Debug)]
pub(super) struct Assembler {
    pending: Option<Pending>,
    nals: Vec<NalMeta>,
    pieces: Vec<Bytes>,
    bytes: usize,
    /// The last NAL unit is a fragmented one that has not ended.
    is_fragment_open: bool,
    /// Packets were lost since the last unit and nothing is under way; at the start those before the first
    /// packet count as lost, since a stream may be joined in the midst of a picture.
    is_loss_ahead: bool,
    trust: MarkerTrust,
    /// Timestamp of the last unit that its marker ended.
    ended_by_marker: Option<u32>,
    out: VecDeque<Depacketized>,
}

/// What the codec knows of the picture that ends.
pub(super) trait PictureSource {
    /// Hands over what was collected from the slices since the last call.
    fn take_picture(&mut self) -> Option<Picture>;
}

impl Assembler {
    pub(super) fn new() -> Self {
        Self {
            pending: None,
            nals: Vec::new(),
            pieces: Vec::new(),
            bytes: 0,
            is_fragment_open: false,
            is_loss_ahead: true,
            trust: MarkerTrust::Probation { confirmed: 0 },
            ended_by_marker: None,
            out: VecDeque::new(),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Depacketized> {
        self.out.pop_front()
    }

    fn has_slice(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.slices > Slices::None)
    }

    /// A packet begins: settles what its sequence number and timestamp say about the unit under way.
    pub(super) fn begin_packet(&mut self, packet: &RtpPacket, source: &mut impl PictureSource) {
        if packet.lost_before > 0 {
            self.on_loss(source);
        }
        let Some(pending) = &self.pending else { return self.open(packet) };
        if pending.rtp_timestamp == packet.rtp_timestamp {
            if packet.lost_before > 0 {
                // Both sides of the hole have this timestamp, so what is missing was in between.
                self.damage(LossReason::PacketLoss);
                self.is_loss_ahead = false;
            }
            return;
        }
        if self.is_fragment_open {
            self.damage(LossReason::Malformed);
        }
        if self.has_slice() {
            if pending_is_marked(&self.pending) {
                self.confirm_marker();
            }
            self.finish(source);
            self.adopt(packet);
            return;
        }
        // Parameter sets with a timestamp of their own belong to the picture that follows. If one of
        // them was damaged, packets of either may be missing: the picture has to prove itself.
        self.drop_open_fragment();
        if let Some(pending) = &mut self.pending {
            pending.is_after_loss |= pending.damage.take().is_some();
        }
        self.adopt(packet);
    }

    fn on_loss(&mut self, source: &mut impl PictureSource) {
        if self.is_fragment_open {
            self.damage(LossReason::PacketLoss);
            self.drop_open_fragment();
        }
        if pending_is_marked(&self.pending) {
            self.finish(source);
        } else if self.pending.is_some() && self.has_slice() {
            self.damage(LossReason::PacketLoss);
        }
        self.is_loss_ahead = true;
    }

    fn open(&mut self, packet: &RtpPacket) {
        self.pending = Some(Pending {
            rtp_timestamp: packet.rtp_timestamp,
            arrival: packet.arrival,
            arrival_wall: packet.arrival_wall,
            slices: Slices::None,
            is_marked: false,
            damage: None,
            is_after_loss: self.is_loss_ahead,
        });
        self.is_loss_ahead = false;
    }

    /// The unit under way takes the times of this packet.
    fn adopt(&mut self, packet: &RtpPacket) {
        match &mut self.pending {
            Some(pending) => {
                pending.rtp_timestamp = packet.rtp_timestamp;
                pending.arrival = packet.arrival;
                pending.arrival_wall = packet.arrival_wall;
                pending.is_after_loss |= self.is_loss_ahead;
                self.is_loss_ahead = false;
            }
            None => self.open(packet),
        }
    }

    /// A NAL unit begins. `header` is put before the pieces (empty when they hold it).
    pub(super) fn begin_nal(
        &mut self,
        header: &[u8],
        class: NalClass,
        packet: &RtpPacket,
        source: &mut impl PictureSource,
    ) -> Result<(), PacketError> {
        if let NalClass::Slice { starts_picture, is_first } = class {
            if starts_picture && self.has_slice() {
                if pending_is_marked(&self.pending) {
                    self.confirm_marker();
                }
                self.finish(source);
                self.adopt(packet);
            } else if !is_first && !self.has_slice() {
                self.on_headless_slice();
            } else if !is_first && pending_is_marked(&self.pending) {
                self.trust = MarkerTrust::Refuted;
            }
        }
        if self.pending.is_none() {
            self.open(packet);
        }
        if self.nals.len() >= NAL_UNITS_MAX {
            self.damage(LossReason::Oversized);
            return Err(PacketError::Oversized { what: "nal units", limit: NAL_UNITS_MAX });
        }
        if let Some(pending) = &mut self.pending {
            pending.is_marked = false;
            if matches!(class, NalClass::Slice { .. }) {
                pending.slices = pending.slices.max(Slices::Some);
            }
        }
        let mut bytes = [0; 2];
        for (to, from) in bytes.iter_mut().zip(header) {
            *to = *from;
        }
        let header_len = header.len().min(2);
        let first_piece = self.pieces.len();
        self.nals.push(NalMeta { header: bytes, header_len, len: header_len, first_piece, class });
        self.bytes += header_len + 4;
        Ok(())
    }

    /// The first slice of this unit is not the first of its picture.
    fn on_headless_slice(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        if self.ended_by_marker == Some(pending.rtp_timestamp) {
            self.trust = MarkerTrust::Refuted;
            pending.damage = Some(LossReason::EarlyMarker);
        } else if pending.is_after_loss {
            pending.damage = Some(LossReason::PacketLoss);
        }
    }

    /// More bytes of the NAL unit under way.
    pub(super) fn append(&mut self, piece: Bytes) -> Result<(), PacketError> {
        let Some(nal) = self.nals.last_mut() else { return Ok(()) };
        if self.pending.as_ref().is_some_and(|pending| pending.damage == Some(LossReason::Oversized)) {
            return Ok(());
        }
        if self.bytes + piece.len() > ACCESS_UNIT_BYTES_MAX {
            self.damage(LossReason::Oversized);
            return Err(PacketError::Oversized { what: "bytes", limit: ACCESS_UNIT_BYTES_MAX });
        }
        if self.pieces.len() >= PIECES_MAX {
            self.damage(LossReason::Oversized);
            return Err(PacketError::Oversized { what: "packets", limit: PIECES_MAX });
        }
        nal.len += piece.len();
        self.bytes += piece.len();
        self.pieces.push(piece);
        Ok(())
    }

    /// The NAL unit under way goes on in the next packets.
    pub(super) fn open_fragment(&mut self) {
        self.is_fragment_open = true;
    }

    /// The NAL unit under way has ended.
    pub(super) fn close_fragment(&mut self) {
        self.is_fragment_open = false;
    }

    /// Whether a fragmented NAL unit is under way.
    pub(super) fn is_fragment_open(&self) -> bool {
        self.is_fragment_open
    }

    /// The unit under way can't come out whole.
    pub(super) fn damage(&mut self, reason: LossReason) {
        if let Some(pending) = &mut self.pending {
            pending.damage.get_or_insert(reason);
        }
        if reason == LossReason::Oversized {
            // Nothing of it will be needed: give the packets back now. The slices stay known.
            self.pieces.clear();
            self.bytes = 0;
        }
    }

    /// A slice of a random access point belongs to the unit under way.
    pub(super) fn mark_random_access(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.slices = Slices::RandomAccess;
        }
    }

    /// The unit under way was hurt: a fragment of a slice in it has no start.
    pub(super) fn on_orphan_slice(&mut self) {
        self.damage(LossReason::PacketLoss);
        if let Some(pending) = &mut self.pending {
            pending.slices = pending.slices.max(Slices::Some);
        }
    }

    /// A NAL unit begins while a fragmented one has not ended: that one is incomplete.
    pub(super) fn abandon_fragment(&mut self) {
        self.damage(LossReason::Malformed);
        self.drop_open_fragment();
    }

    fn drop_open_fragment(&mut self) {
        if !self.is_fragment_open {
            return;
        }
        self.is_fragment_open = false;
        // A slice stays listed, so that the picture is known to be there, and damaged.
        if self.nals.last().is_some_and(|nal| !matches!(nal.class, NalClass::Slice { .. }))
            && let Some(nal) = self.nals.pop()
        {
            self.pieces.truncate(nal.first_piece);
            self.bytes = self.bytes.saturating_sub(nal.len + 4);
        }
    }

    /// The packet is used up; `marker` is its marker bit.
    pub(super) fn end_packet(&mut self, packet: &RtpPacket, source: &mut impl PictureSource) {
        if !packet.marker || self.is_fragment_open {
            return;
        }
        if !self.has_slice() {
            return;
        }
        if let Some(pending) = &mut self.pending {
            pending.is_marked = true;
        }
        if self.trust == MarkerTrust::Trusted {
            self.ended_by_marker = Some(packet.rtp_timestamp);
            self.finish(source);
        }
    }

    /// A unit that came whole has ended: no marker is needed. Without a slice it waits for the picture it belongs to.
    pub(super) fn end_unit(&mut self, source: &mut impl PictureSource) {
        if self.has_slice() {
            self.finish(source);
        }
    }

    fn confirm_marker(&mut self) {
        if let MarkerTrust::Probation { confirmed } = self.trust {
            let confirmed = confirmed + 1;
            self.trust = if confirmed >= CONFIRMATIONS {
                MarkerTrust::Trusted
            } else {
                MarkerTrust::Probation { confirmed }
            };
        }
    }

    /// The unit under way ends; what follows its last slice and begins the next one stays.
    fn finish(&mut self, source: &mut impl PictureSource) {
        let Some(pending) = self.pending.take() else { return };
        let split = self.end_of_picture();
        let mut rest = self.nals.split_off(split.min(self.nals.len()));
        if pending.damage == Some(LossReason::Oversized) {
            rest.clear(); // its bytes were not kept
        }
        let picture = source.take_picture();
        match (pending.damage, picture) {
            (None, Some(picture)) => {
                let payload = self.assemble();
                self.out.push_back(Depacketized::Unit(RawUnit {
                    rtp_timestamp: pending.rtp_timestamp,
                    arrival: pending.arrival,
                    arrival_wall: pending.arrival_wall,
                    payload,
                    content: Content::Picture(picture),
                }));
            }
            (damage, picture) => self.out.push_back(Depacketized::Lost(LostUnit {
                rtp_timestamp: pending.rtp_timestamp,
                was_random_access: pending.slices == Slices::RandomAccess
                    || picture.is_some_and(|picture| picture.entry == EntryPoint::RandomAccess),
                reason: damage.unwrap_or(LossReason::Malformed),
            })),
        }
        self.keep(rest, &pending);
    }

    /// Index of the first NAL unit after the picture's own.
    fn end_of_picture(&self) -> usize {
        let is_slice = |nal: &NalMeta| matches!(nal.class, NalClass::Slice { .. });
        let after_slices = self.nals.iter().rposition(is_slice).map_or(0, |last| last + 1);
        let leading = self.nals.iter().skip(after_slices).position(|nal| nal.class == NalClass::Leading);
        leading.map_or(self.nals.len(), |offset| after_slices + offset)
    }

    /// One copy: the pieces of `self.nals`, each NAL unit behind its length.
    fn assemble(&self) -> Bytes {
        let total = self.nals.iter().map(|nal| nal.len + 4).sum();
        let mut payload = BytesMut::with_capacity(total);
        let mut nals = self.nals.iter().peekable();
        while let Some(nal) = nals.next() {
            let end_piece = nals.peek().map_or(usize::MAX, |next| next.first_piece);
            payload.put_u32(u32::try_from(nal.len).unwrap_or(0));
            payload.put_slice(nal.header.get(..nal.header_len).unwrap_or(&[]));
            let mut left = nal.len - nal.header_len;
            for piece in self.pieces.iter().take(end_piece).skip(nal.first_piece) {
                let piece = piece.get(..left.min(piece.len())).unwrap_or(&[]);
                payload.put_slice(piece);
                left -= piece.len();
            }
        }
        payload.freeze()
    }

    /// The NAL units that stay begin the next unit.
    fn keep(&mut self, mut rest: Vec<NalMeta>, from: &Pending) {
        self.is_fragment_open = false;
        self.nals.clear();
        let first_piece = rest.first().map_or(self.pieces.len(), |nal| nal.first_piece);
        self.pieces.drain(..first_piece.min(self.pieces.len()));
        self.bytes = self.pieces.iter().map(Bytes::len).sum();
        for nal in &mut rest {
            nal.first_piece -= first_piece;
            self.bytes += nal.header_len + 4;
        }
        if rest.is_empty() {
            return;
        }
        self.nals = rest;
        self.pending = Some(Pending {
            rtp_timestamp: from.rtp_timestamp,
            arrival: from.arrival,
            arrival_wall: from.arrival_wall,
            slices: Slices::None,
            is_marked: false,
            damage: None,
            is_after_loss: false,
        });
    }
}

fn pending_is_marked(pending: &Option<Pending>) -> bool {
    pending.as_ref().is_some_and(|pending| pending.is_marked)
}
