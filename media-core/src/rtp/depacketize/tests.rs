//! Tests of payload formats, on packets put together by hand from the RFCs.

use std::time::Instant;

use super::*;
use crate::access_unit::ACCESS_UNIT_BYTES_MAX;

/// Packets of 40 ms, with timestamps of 3600 ticks a picture.
struct Feed {
    machine: Depacketizer,
    start: Instant,
    seq: u16,
}

/// A slice with first_mb_in_slice 0 (`1...`) and one that goes on (`010..`); P-slices with PPS 0.
const FIRST_SLICE: [u8; 6] = [0x41, 0xe0, 1, 2, 3, 4];
const NEXT_SLICE: [u8; 6] = [0x41, 0x4e, 5, 6, 7, 8];
const MARKED: bool = true;

impl Feed {
    fn h264() -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant can be made in no other way")]
        let start = Instant::now();
        let sets: [&[u8]; 2] = [
            b"\x67\x42\xc0\x0c\xd9\x01\x81\xdf\x96\x6a\x0c\x0c\x0c\x80\x00\x00\x03\x01\x00\x00\x03\x00\x19\x07\x8a\x15\x24",
            b"\x68\xcb\x81\x32\xc8",
        ];
        Self { machine: Depacketizer::H264(Box::new(H264Depacketizer::new(sets))), start, seq: 0 }
    }

    fn aac(size_bits: u32, index_bits: u32) -> Self {
        let framing = AacFraming { size_bits, index_bits, index_delta_bits: index_bits, frame_ticks: 1024 };
        Self { machine: Depacketizer::Aac(AacDepacketizer::new(framing)), ..Self::h264() }
    }

    fn push(&mut self, timestamp: u32, payload: &[u8]) -> Result<(), PacketError> {
        self.packet(timestamp, payload, 0, !MARKED)
    }

    fn end(&mut self, timestamp: u32, payload: &[u8]) -> Result<(), PacketError> {
        self.packet(timestamp, payload, 0, MARKED)
    }

    #[expect(clippy::fn_params_excessive_bools, reason = "the marker bit is one")]
    fn packet(
        &mut self,
        rtp_timestamp: u32,
        payload: &[u8],
        lost_before: u32,
        marker: bool,
    ) -> Result<(), PacketError> {
        self.seq += 1;
        self.machine.push(&RtpPacket {
            seq: self.seq,
            rtp_timestamp,
            marker,
            payload: Bytes::copy_from_slice(payload),
            arrival: self.start,
            arrival_wall: WallTime(0),
            lost_before,
        })
    }

    fn units(&mut self) -> Vec<(u32, Vec<Vec<u8>>)> {
        let mut units = Vec::new();
        while let Some(item) = self.machine.poll() {
            match item {
                Depacketized::Unit(unit) => {
                    let nals =
                        crate::codec::nal::length_prefixed(&unit.payload).map(<[u8]>::to_vec).collect();
                    units.push((unit.rtp_timestamp, nals));
                }
                Depacketized::Lost(lost) => units.push((lost.rtp_timestamp, vec![])),
            }
        }
        units
    }
}

/// FU-A of a slice: `flags` are the start and end bits.
fn fu_a(flags: u8, body: &[u8]) -> Vec<u8> {
    [&[0x5c, flags | 1][..], body].concat()
}

#[test]
fn nal_units_of_an_aggregate_and_fragments_come_out_byte_for_byte() {
    let mut feed = Feed::h264();
    let aud = [9, 0xf0];
    let sei = [6, 5, 1, 0xaa, 0x80];
    let stap = [&[0x78, 0, 2][..], &aud, &[0, 5], &sei].concat();
    feed.push(0, &stap).unwrap();
    feed.push(0, &fu_a(0x80, &FIRST_SLICE[1..3])).unwrap();
    feed.push(0, &fu_a(0, &FIRST_SLICE[3..4])).unwrap();
    feed.push(0, &fu_a(0x40, &FIRST_SLICE[4..])).unwrap();
    feed.end(0, &NEXT_SLICE).unwrap();
    feed.end(3600, &FIRST_SLICE).unwrap();
    let slice = [&[0x41][..], &FIRST_SLICE[1..]].concat();
    assert_eq!(feed.units(), [(0, vec![aud.to_vec(), sei.to_vec(), slice, NEXT_SLICE.to_vec()])]);
}

#[test]
fn fragment_with_start_and_end_set_is_a_whole_nal_unit() {
    let mut feed = Feed::h264();
    feed.end(0, &fu_a(0xc0, &FIRST_SLICE[1..])).unwrap();
    feed.end(3600, &FIRST_SLICE).unwrap();
    assert_eq!(feed.units(), [(0, vec![FIRST_SLICE.to_vec()])]);
}

#[test]
fn start_codes_inside_a_parameter_set_packet_separate_nal_units() {
    let mut feed = Feed::h264();
    let glued = [&b"\x67\x42\xc0\x0c\xd9\x01\x81\xdf\x96\x6a\x0c\x0c\x0c\x80\x00\x00\x03\x01\x00\x00\x03\x00\x19\x07\x8a\x15\x24"[..], b"\0\0\0\x01\x68\xcb\x81\x32\xc8", b"\0\0\x01\x65\x88\x84\x21\x22"].concat();
    feed.end(0, &glued).unwrap();
    feed.end(3600, &FIRST_SLICE).unwrap();
    let units = feed.units();
    assert_eq!(units[0].1.iter().map(|nal| nal[0]).collect::<Vec<_>>(), [0x67, 0x68, 0x65]);
}

// correctness: R2
#[test]
fn damaged_fragments_lose_their_picture_with_the_reason() {
    let mut feed = Feed::h264();
    for timestamp in [0, 3600] {
        feed.end(timestamp, &FIRST_SLICE).unwrap();
    }
    assert_eq!(feed.end(7200, &fu_a(0, &[1])), Err(PacketError::FragmentWithoutStart { nal_type: 1 }));
    feed.push(10_800, &fu_a(0x80, &FIRST_SLICE[1..])).unwrap();
    assert_eq!(feed.end(10_800, &NEXT_SLICE), Err(PacketError::UnfinishedFragment { nal_type: 1 }));
    feed.end(14_400, &FIRST_SLICE).unwrap();
    feed.end(18_000, &FIRST_SLICE).unwrap();
    let units = feed.units();
    let lost: Vec<u32> =
        units.iter().filter(|(_, nals)| nals.is_empty()).map(|(timestamp, _)| *timestamp).collect();
    assert_eq!(lost, [7200, 10_800]);
    assert_eq!(units.iter().filter(|(_, nals)| nals.len() == 1).count(), 4);
}

/// A server that shares one encoder between viewers may let one in while a key frame goes out.
// correctness: R2
#[test]
fn a_stream_joined_in_the_midst_of_a_picture_begins_with_the_next_one() {
    let mut feed = Feed::h264();
    let rest_of_key_frame = [0x65, 0x4e, 5, 6, 7, 8];
    feed.end(0, &rest_of_key_frame).unwrap();
    feed.end(3600, &FIRST_SLICE).unwrap();
    let lost = LostUnit { rtp_timestamp: 0, was_random_access: true, reason: LossReason::PacketLoss };
    assert_eq!(feed.machine.poll(), Some(Depacketized::Lost(lost)));
    feed.end(7200, &FIRST_SLICE).unwrap();
    let whole = vec![FIRST_SLICE.to_vec()];
    assert_eq!(feed.units(), [(3600, whole.clone()), (7200, whole)]);
}

#[test]
fn malformed_packets_name_their_fault() {
    let mut feed = Feed::h264();
    assert_eq!(feed.push(0, &[0x78, 0]), Err(PacketError::Truncated { what: "stap-a size", len: 2 }));
    assert_eq!(
        feed.push(0, &[0x78, 0, 9, 1]),
        Err(PacketError::LengthMismatch { what: "stap-a size", said: 9, got: 1 })
    );
    assert_eq!(feed.push(0, &[0x5c]), Err(PacketError::Truncated { what: "fu-a header", len: 1 }));
    assert_eq!(feed.push(0, &[0x7a, 1, 2]), Err(PacketError::UnexpectedType { got: 26 }));
    assert_eq!(feed.push(0, &[0x67]), Err(PacketError::BadParameterSet { nal_type: 7 }));
    assert_eq!(feed.push(0, &[]), Ok(()));
}

#[test]
fn picture_over_the_byte_limit_is_lost_and_the_next_comes() {
    let mut feed = Feed::h264();
    feed.push(0, &fu_a(0x80, &FIRST_SLICE[1..])).unwrap();
    let piece = vec![7; 60_000];
    let mut refused = 0;
    for _ in 0..ACCESS_UNIT_BYTES_MAX / piece.len() + 2 {
        refused += usize::from(feed.push(0, &fu_a(0, &piece)).is_err());
    }
    assert_eq!(refused, 1, "it is reported once");
    feed.end(0, &fu_a(0x40, &[1])).unwrap();
    feed.end(3600, &FIRST_SLICE).unwrap();
    assert_eq!(feed.units(), [(0, vec![])]);
    feed.end(7200, &FIRST_SLICE).unwrap();
    assert_eq!(feed.units()[0], (3600, vec![FIRST_SLICE.to_vec()]));
}

#[test]
fn picture_over_the_nal_unit_limit_is_lost_and_the_next_comes() {
    let mut feed = Feed::h264();
    feed.push(0, &FIRST_SLICE).unwrap();
    let results: Vec<_> = (0..NAL_UNITS_MAX).map(|_| feed.push(0, &NEXT_SLICE)).collect();
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    feed.end(3600, &FIRST_SLICE).unwrap();
    feed.end(7200, &FIRST_SLICE).unwrap();
    assert_eq!(feed.units(), [(0, vec![]), (3600, vec![FIRST_SLICE.to_vec()])]);
}

// RFC 3640 s3.2.3: a frame over several packets has the same header in each and the marker at last.
#[test]
fn aac_frame_over_several_packets_comes_out_whole() {
    let mut feed = Feed::aac(13, 3);
    let header = [0, 16, 0, 6 << 3];
    let frame = [1, 2, 3, 4, 5, 6];
    feed.push(0, &[&header[..], &frame[..4]].concat()).unwrap();
    feed.end(0, &[&header[..], &frame[4..]].concat()).unwrap();
    let Some(Depacketized::Unit(unit)) = feed.machine.poll() else { panic!() };
    assert_eq!(&unit.payload[..], frame);
}

// RFC 3640 s3.3.5: AAC-lbr has sizes of 6 bits and indexes of 2.
#[test]
fn aac_low_bit_rate_frames_are_told_apart() {
    let mut feed = Feed::aac(6, 2);
    feed.end(100, &[0, 16, 2 << 2, 3 << 2, 0xa, 0xb, 1, 2, 3]).unwrap();
    let mut frames = Vec::new();
    while let Some(Depacketized::Unit(unit)) = feed.machine.poll() {
        frames.push((unit.rtp_timestamp, unit.payload.to_vec()));
    }
    assert_eq!(frames, [(100, vec![0xa, 0xb]), (1124, vec![1, 2, 3])]);
}

#[test]
fn aac_fragment_whose_rest_is_lost_is_counted() {
    let mut feed = Feed::aac(13, 3);
    feed.push(0, &[0, 16, 0, 6 << 3, 1, 2]).unwrap();
    feed.packet(1024, &[0, 16, 0, 1 << 3, 9], 1, MARKED).unwrap();
    let lost = LostUnit { rtp_timestamp: 0, was_random_access: false, reason: LossReason::PacketLoss };
    assert_eq!(feed.machine.poll(), Some(Depacketized::Lost(lost)));
    let Some(Depacketized::Unit(unit)) = feed.machine.poll() else { panic!() };
    assert_eq!(&unit.payload[..], [9]);
    let truncated = PacketError::Truncated { what: "au headers", len: 1 };
    assert_eq!(feed.push(0, &[0]), Err(truncated));
}
