//! AAC over RTP: AU headers and frames, several a packet or one over several packets.
//!
//! Spec: RFC 3640 s3.2 (payload), s3.3.5 (AAC-lbr), s3.3.6 (AAC-hbr). No interleaving.
//! Limits: [`FRAME_BYTES_MAX`] a frame, [`FRAMES_MAX`] a packet; more is refused.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{Content, Depacketized, LossReason, LostUnit, PacketError, RawUnit};
use crate::codec::bits::BitReader;
use crate::rtp::RtpPacket;

/// The largest AAC frame taken: 6144 bits a channel (ISO/IEC 14496-3 s4.5.3.1), 48 channels at the
/// worst, and never more than 13 bits of AU size can say.
pub const FRAME_BYTES_MAX: usize = 8192;

/// The most frames in a packet; AAC-hbr packets of cameras have 1 to 10.
pub const FRAMES_MAX: usize = 128;

/// The `fmtp` parameters that frame AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AacFraming {
    /// `sizeLength`, bits.
    pub size_bits: u32,
    /// `indexLength`, bits.
    pub index_bits: u32,
    /// `indexDeltaLength`, bits.
    pub index_delta_bits: u32,
    /// Ticks of the RTP clock that a frame lasts.
    pub frame_ticks: u32,
}

/// A frame that came only in part so far.
#[derive(Debug)]
struct Fragment {
    rtp_timestamp: u32,
    size: usize,
    data: BytesMut,
}

/// Takes apart one AAC track.
#[derive(Debug)]
pub struct AacDepacketizer {
    framing: AacFraming,
    fragment: Option<Fragment>,
    out: VecDeque<Depacketized>,
}

impl AacDepacketizer {
    /// A machine for this framing.
    pub fn new(framing: AacFraming) -> Self {
        Self { framing, fragment: None, out: VecDeque::new() }
    }

    pub(super) fn poll(&mut self) -> Option<Depacketized> {
        self.out.pop_front()
    }

    pub(super) fn push(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        let is_continued = packet.lost_before == 0
            && self.fragment.as_ref().is_some_and(|f| f.rtp_timestamp == packet.rtp_timestamp);
        if !is_continued && let Some(fragment) = self.fragment.take() {
            self.lose(fragment.rtp_timestamp, LossReason::PacketLoss);
        }
        if packet.payload.is_empty() {
            return Ok(());
        }
        let (sizes, data) = self.read_headers(&packet.payload)?;
        if let Some(mut fragment) = self.fragment.take() {
            fragment.data.extend_from_slice(&data);
            return self.go_on(fragment, packet);
        }
        match sizes.as_slice() {
            [size] if *size > data.len() => {
                if *size > FRAME_BYTES_MAX {
                    self.lose(packet.rtp_timestamp, LossReason::Oversized);
                    return Err(PacketError::Oversized { what: "bytes", limit: FRAME_BYTES_MAX });
                }
                let fragment = Fragment {
                    rtp_timestamp: packet.rtp_timestamp,
                    size: *size,
                    data: BytesMut::from(&data[..]),
                };
                self.go_on(fragment, packet)
            }
            sizes => self.split(sizes, data, packet),
        }
    }

    /// Takes a frame without headers.
    pub(super) fn push_unit(&mut self, unit: &RtpPacket) -> Result<(), PacketError> {
        if unit.payload.len() > FRAME_BYTES_MAX {
            self.lose(unit.rtp_timestamp, LossReason::Oversized);
            return Err(PacketError::Oversized { what: "bytes", limit: FRAME_BYTES_MAX });
        }
        if !unit.payload.is_empty() {
            self.emit(unit.rtp_timestamp, &unit.payload, unit);
        }
        Ok(())
    }

    /// AU-headers-length (bits, 16 bit), the headers, and the rest; the sizes are in bytes.
    fn read_headers(&self, payload: &Bytes) -> Result<(Vec<usize>, Bytes), PacketError> {
        let truncated = PacketError::Truncated { what: "au headers", len: payload.len() };
        let length: [u8; 2] = payload.first_chunk().copied().ok_or(truncated)?;
        let headers_bits = usize::from(u16::from_be_bytes(length));
        let headers_bytes = headers_bits.div_ceil(8);
        let headers = payload.get(2..2 + headers_bytes).ok_or(truncated)?;
        let mut bits = BitReader::new(headers);
        let mut read_bits = 0;
        let mut sizes = Vec::new();
        loop {
            let index_bits =
                if sizes.is_empty() { self.framing.index_bits } else { self.framing.index_delta_bits };
            read_bits += usize::try_from(self.framing.size_bits + index_bits).unwrap_or(usize::MAX);
            if read_bits > headers_bits || self.framing.size_bits == 0 {
                break;
            }
            if sizes.len() == FRAMES_MAX {
                return Err(PacketError::Oversized { what: "frames", limit: FRAMES_MAX });
            }
            let size = bits.bits(self.framing.size_bits).map_err(|_| truncated)?;
            sizes.push(usize::try_from(size).unwrap_or(usize::MAX));
            if bits.bits(index_bits).map_err(|_| truncated)? != 0 {
                return Err(PacketError::UnexpectedType { got: 1 }); // interleaved
            }
        }
        if sizes.is_empty() {
            return Err(truncated);
        }
        Ok((sizes, payload.slice(2 + headers_bytes..)))
    }

    fn split(&mut self, sizes: &[usize], mut data: Bytes, packet: &RtpPacket) -> Result<(), PacketError> {
        let mut rtp_timestamp = packet.rtp_timestamp;
        for &said in sizes {
            if said > data.len() {
                self.lose(rtp_timestamp, LossReason::Malformed);
                return Err(PacketError::LengthMismatch { what: "au size", said, got: data.len() });
            }
            let frame = data.split_to(said);
            if !frame.is_empty() {
                self.emit(rtp_timestamp, &frame, packet);
            }
            rtp_timestamp = rtp_timestamp.wrapping_add(self.framing.frame_ticks);
        }
        Ok(())
    }

    fn go_on(&mut self, fragment: Fragment, packet: &RtpPacket) -> Result<(), PacketError> {
        let got = fragment.data.len();
        if got < fragment.size && !packet.marker {
            self.fragment = Some(fragment);
            return Ok(());
        }
        if got != fragment.size {
            self.lose(fragment.rtp_timestamp, LossReason::Malformed);
            return Err(PacketError::LengthMismatch { what: "au size", said: fragment.size, got });
        }
        self.emit(fragment.rtp_timestamp, &fragment.data, packet);
        Ok(())
    }

    fn lose(&mut self, rtp_timestamp: u32, reason: LossReason) {
        self.out.push_back(Depacketized::Lost(LostUnit { rtp_timestamp, was_random_access: false, reason }));
    }

    fn emit(&mut self, rtp_timestamp: u32, payload: &[u8], packet: &RtpPacket) {
        self.out.push_back(Depacketized::Unit(RawUnit {
            rtp_timestamp,
            arrival: packet.arrival,
            arrival_wall: packet.arrival_wall,
            // A copy: a few hundred bytes kept for seconds must not keep a whole read buffer alive.
            payload: Bytes::copy_from_slice(payload),
            content: Content::Audio { duration_ticks: self.framing.frame_ticks },
        }));
    }
}
