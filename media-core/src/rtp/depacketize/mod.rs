//! Depacketizers: turn RTP payloads into whole access units, or say that one was lost.
//!
//! ```text
//!  push(RtpPacket) ─► payload format ─► NAL units ─► Assembler (access unit borders) ─► poll()
//!                     RFC 6184, 7798                 timestamp, marker, slice headers
//!                     RFC 3640, 7587, 3551 ────────────── one or more units a packet ──► poll()
//! ```
//!
//! Belongs here: payload formats, access unit borders, damage. Does not: times (-> `ingest`).
//! Invariants (correctness: R2, F4): a unit that misses a packet never comes out as a unit, but as
//! one [`Depacketized::Lost`]; NAL units come out byte for byte and in order.
//! Limits: `ACCESS_UNIT_BYTES_MAX`, [`NAL_UNITS_MAX`], [`PIECES_MAX`]: a unit beyond is dropped
//! whole and reported as [`LossReason::Oversized`].

mod aac;
mod assembly;
mod h264;
mod h265;
mod packet_per_unit;

use std::time::Instant;

use bytes::Bytes;

pub use aac::{AacDepacketizer, AacFraming, FRAME_BYTES_MAX, FRAMES_MAX};
pub use assembly::{NAL_UNITS_MAX, PIECES_MAX};
pub use h264::H264Depacketizer;
pub use h265::H265Depacketizer;
pub use packet_per_unit::{PacketPerUnit, SAMPLES_MAX};

use super::RtpPacket;
use crate::codec::PictureOrder;
use crate::time::WallTime;
use crate::track::CodecConfig;

/// What a depacketizer hands out.
#[derive(Clone, Debug, PartialEq)]
pub enum Depacketized {
    /// A whole access unit.
    Unit(RawUnit),
    /// An access unit that can't be passed on.
    Lost(LostUnit),
}

/// A whole access unit with the RTP timestamp of the camera.
#[derive(Clone, Debug, PartialEq)]
pub struct RawUnit {
    /// RTP timestamp; with several audio frames in one packet, moved by the frames before.
    pub rtp_timestamp: u32,
    /// When its first packet arrived.
    pub arrival: Instant,
    /// When its first packet arrived, on the wall clock.
    pub arrival_wall: WallTime,
    /// As `AccessUnit::payload`.
    pub payload: Bytes,
    /// What is known of the content.
    pub content: Content,
}

/// What is known of a unit's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Sound, always decodable.
    Audio {
        /// How long it lasts, in ticks of the RTP clock.
        duration_ticks: u32,
    },
    /// A picture.
    Picture(Picture),
}

/// Whether decoding can start at a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryPoint {
    /// It can: IDR; H.265 also CRA and BLA.
    RandomAccess,
    /// It can when there is nothing better, at the price of damage in the pictures right after: an
    /// H.264 recovery point (open GOP, intra refresh).
    RecoveryPoint,
    /// It can't.
    None,
    /// It can't, nor can it be decoded when decoding started at the random access point right before
    /// it (H.265 RASL).
    SkippedLeading,
}

/// What is known of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Whether decoding can start here.
    pub entry: EntryPoint,
    /// Its place in output order.
    pub order: PictureOrder,
    /// The parameter sets in force, at random access and recovery points where they are known.
    pub config: Option<Box<CodecConfig>>,
    /// Pictures that may come before another in decode order and after it in output order, as the
    /// parameter sets say; `None` when they don't.
    pub reorder_depth: Option<usize>,
}

/// An access unit that can't be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostUnit {
    /// Its RTP timestamp.
    pub rtp_timestamp: u32,
    /// It was, or may have been, a random access point: what follows can't be decoded before the next.
    pub was_random_access: bool,
    /// Why.
    pub reason: LossReason,
}

/// Why an access unit can't be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// A packet of it is missing.
    PacketLoss,
    /// A packet of it makes no sense.
    Malformed,
    /// It is over a limit of this module.
    Oversized,
    /// The camera ends its pictures with a marker too early; what was missing came later.
    EarlyMarker,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// Too short for its own headers.
    #[error("payload of {len} bytes ends inside its {what}")]
    Truncated {
        /// What is cut off.
        what: &'static str,
        /// Payload bytes.
        len: usize,
    },
    /// A packet type that the negotiated mode does not have.
    #[error("packet type {got} is not of this payload format's mode")]
    UnexpectedType {
        /// The type.
        got: u8,
    },
    /// A fragment in the middle of nowhere.
    #[error("fragment of type {nal_type} without its start")]
    FragmentWithoutStart {
        /// Type of the fragmented NAL unit.
        nal_type: u8,
    },
    /// A NAL unit begins before the one under way has ended.
    #[error("nal unit of type {nal_type} inside an unfinished fragmented one")]
    UnfinishedFragment {
        /// Type of the NAL unit that begins.
        nal_type: u8,
    },
    /// A parameter set that can't be parsed.
    #[error("parameter set of type {nal_type} can't be parsed")]
    BadParameterSet {
        /// Type of its NAL unit.
        nal_type: u8,
    },
    /// The payload's parts don't add up.
    #[error("{what} says {said} bytes, there are {got}")]
    LengthMismatch {
        /// What says so.
        what: &'static str,
        /// The bytes said.
        said: usize,
        /// The bytes there.
        got: usize,
    },
    /// The unit is over a limit.
    #[error("access unit over its limit of {limit} {what}")]
    Oversized {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The depacketizer of one track.
#[derive(Debug)]
pub enum Depacketizer {
    /// RFC 6184.
    H264(Box<H264Depacketizer>),
    /// RFC 7798.
    H265(Box<H265Depacketizer>),
    /// RFC 3640.
    Aac(AacDepacketizer),
    /// RFC 7587 and RFC 3551: a packet is a unit.
    PacketPerUnit(PacketPerUnit),
}

impl Depacketizer {
    /// Takes the next packet. Poll until `None` afterwards, whatever the result.
    ///
    /// # Errors
    /// [`PacketError`]: the packet was bad. State is sound and the next packet welcome.
    pub fn push(&mut self, packet: &RtpPacket) -> Result<(), PacketError> {
        match self {
            Self::H264(machine) => machine.push(packet),
            Self::H265(machine) => machine.push(packet),
            Self::Aac(machine) => machine.push(packet),
            Self::PacketPerUnit(machine) => machine.push(packet),
        }
    }

    /// Takes a whole access unit in the place of packets, as FLV has it: NAL units behind lengths of 4 bytes, or one frame of sound. Poll
    /// until `None` afterwards, whatever the result.
    ///
    /// # Errors
    /// [`PacketError`], as of a packet.
    pub fn push_unit(&mut self, unit: &RtpPacket) -> Result<(), PacketError> {
        match self {
            Self::H264(machine) => machine.push_unit(unit),
            Self::H265(machine) => machine.push_unit(unit),
            Self::Aac(machine) => machine.push_unit(unit),
            Self::PacketPerUnit(machine) => machine.push(unit),
        }
    }

    /// Learns a parameter set that came beside the pictures. NAL units of other types are passed over.
    ///
    /// # Errors
    /// [`PacketError::BadParameterSet`].
    pub fn learn(&mut self, nal: &[u8]) -> Result<(), PacketError> {
        match self {
            Self::H264(machine) => machine.learn(nal),
            Self::H265(machine) => machine.learn(nal),
            Self::Aac(_) | Self::PacketPerUnit(_) => Ok(()),
        }
    }

    /// The next unit that is complete, or lost.
    pub fn poll(&mut self) -> Option<Depacketized> {
        match self {
            Self::H264(machine) => machine.poll(),
            Self::H265(machine) => machine.poll(),
            Self::Aac(machine) => machine.poll(),
            Self::PacketPerUnit(machine) => machine.poll(),
        }
    }
}

#[cfg(test)]
mod tests;
