//! NAL unit packetizer: what RFC 6184 and RFC 7798 have in common.
//!
//! Consecutive NAL units that are not slices (delimiter, parameter sets, SEI) travel in one aggregation
//! packet where they fit; a slice is a packet of its own, or fragments of about equal length.

use super::{NAL_UNITS_MAX, PacketizeError, RtpPayload, payload};
use crate::access_unit::AccessUnit;

/// The kinds of NAL unit that packetizing tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Access unit delimiter.
    Delimiter,
    /// A parameter set; the number tells SPS, PPS, VPS apart.
    ParameterSet(u8),
    /// SEI and the like.
    Other,
    /// Coded picture data.
    Slice,
    /// A type that RTP payload formats use for their own packets, or too short for a header: a receiver
    /// would take it for something else, and no decoder knows it, so it is not sent.
    Unsendable,
}

/// What differs between the two payload formats.
pub(super) trait NalCodec {
    /// Length of the NAL unit header, and of an aggregation packet's.
    const HEADER_BYTES: usize;

    /// What a NAL unit is.
    fn kind(nal: &[u8]) -> Kind;

    /// Header of the aggregation packet (STAP-A, AP) that holds these NAL units.
    fn aggregate_header(nals: &[&[u8]]) -> Vec<u8>;

    /// Headers of a fragment (FU indicator and header; payload header and FU header).
    fn fragment_header(nal: &[u8], position: Position) -> Vec<u8>;

    /// The parameter sets to send before a random access unit that lacks one of them; empty for none.
    fn parameter_sets(&self) -> Vec<&[u8]>;

    fn packetize(&self, unit: &AccessUnit, max: usize) -> Result<Vec<RtpPayload>, PacketizeError>
    where
        Self: Sized,
    {
        let mut nals = nal_units::<Self>(&unit.payload)?;
        if unit.is_random_access {
            insert_missing::<Self>(&mut nals, &self.parameter_sets());
        }
        let mut out = Vec::new();
        let mut rest = nals.as_slice();
        while let Some((nal, after)) = rest.split_first() {
            let together = aggregate_length::<Self>(rest, max);
            if let Some((group, after)) = rest.split_at_checked(together)
                && together > 1
            {
                out.push(aggregate::<Self>(group));
                rest = after;
                continue;
            }
            if nal.len() <= max {
                out.push(payload(&[nal]));
            } else {
                fragment::<Self>(nal, max, &mut out);
            }
            rest = after;
        }
        if let Some(last) = out.last_mut() {
            last.marker = true;
        }
        Ok(out)
    }
}

/// Where in its NAL unit a fragment lies. There is no "whole": such a NAL unit is not fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Start,
    Middle,
    End,
}

impl Position {
    /// The S and E bits of a FU header (RFC 6184 s5.8, RFC 7798 s4.4.3).
    pub(super) fn start_end_bits(self) -> u8 {
        match self {
            Self::Start => 0x80,
            Self::Middle => 0,
            Self::End => 0x40,
        }
    }
}

fn nal_units<C: NalCodec>(access_unit: &[u8]) -> Result<Vec<&[u8]>, PacketizeError> {
    let mut nals = Vec::new();
    let mut rest = access_unit;
    while !rest.is_empty() {
        let framing = || PacketizeError::Framing { offset: access_unit.len() - rest.len() };
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(framing)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| framing())?;
        let (nal, after) = after.split_at_checked(length).ok_or_else(framing)?;
        if C::kind(nal) != Kind::Unsendable {
            nals.push(nal);
        }
        if nals.len() > NAL_UNITS_MAX {
            return Err(PacketizeError::NalUnits);
        }
        rest = after;
    }
    Ok(nals)
}

/// Puts all of `sets` after a leading delimiter, unless each kind of them is there before the first slice.
fn insert_missing<'a, C: NalCodec>(nals: &mut Vec<&'a [u8]>, sets: &[&'a [u8]]) {
    let before_slices = || nals.iter().map(|nal| C::kind(nal)).take_while(|kind| *kind != Kind::Slice);
    if sets.iter().all(|set| before_slices().any(|kind| kind == C::kind(set))) {
        return;
    }
    let at = before_slices().take_while(|kind| *kind == Kind::Delimiter).count();
    nals.splice(at..at, sets.iter().copied());
}

/// How many NAL units from the front go into one aggregation packet; 0 or 1 for none.
fn aggregate_length<C: NalCodec>(nals: &[&[u8]], max: usize) -> usize {
    // The aggregation packet's own header is as long as a NAL unit's.
    let mut length = C::HEADER_BYTES;
    let mut count = 0;
    for nal in nals {
        length += 2 + nal.len();
        if C::kind(nal) == Kind::Slice || length > max || u16::try_from(nal.len()).is_err() {
            break;
        }
        count += 1;
    }
    count
}

fn aggregate<C: NalCodec>(nals: &[&[u8]]) -> RtpPayload {
    let mut bytes = C::aggregate_header(nals);
    for nal in nals {
        let length = u16::try_from(nal.len()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(nal);
    }
    payload(&[&bytes])
}

fn fragment<C: NalCodec>(nal: &[u8], max: usize, out: &mut Vec<RtpPayload>) {
    let data = nal.get(C::HEADER_BYTES..).unwrap_or_default();
    // The fragment's own headers are one byte longer than the NAL unit's.
    let data_max = max - C::HEADER_BYTES - 1;
    // At least two, since the NAL unit is longer than `max`; equal lengths avoid a tiny last packet.
    let count = data.len().div_ceil(data_max).max(2);
    let each = data.len().div_ceil(count).max(1);
    let last = data.chunks(each).len() - 1;
    for (index, chunk) in data.chunks(each).enumerate() {
        let position = match index {
            0 => Position::Start,
            _ if index == last => Position::End,
            _ => Position::Middle,
        };
        out.push(payload(&[&C::fragment_header(nal, position), chunk]));
    }
}
