//! RTP receiver: from datagrams or interleaved packets of one track to packets in order (RFC 3550 s5.1, app. A).
//!
//! ```text
//!  packet ─► header ─► SSRC known? ─► seq = next ─────────────────► out
//!                          │              └─ ahead: hold ≤ REORDER_PACKETS_MAX ─► gap filled or given up ─► out, lost_before
//!                          └─ another one: out only after PROBATION_PACKETS in sequence
//! ```
//!
//! Over TCP packets can't overtake each other, but cameras number them wrongly or drop inside, so the same
//! machine serves both. What it counts is what receiver reports say (s6.4.2). Limits: [`REORDER_PACKETS_MAX`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use super::jitter::Jitter;
use super::rtcp::ReceiverReport;

/// Packets held while waiting for one that is late. At 4 Mbit/s about 45 ms of video; beyond it the missing
/// ones are lost.
pub const REORDER_PACKETS_MAX: usize = 16;

/// The longest wait for a late packet, whatever the rate.
const REORDER_WAIT_MAX: Duration = Duration::from_millis(100);

/// Packets in sequence from another SSRC before we believe that the camera changed it
/// (RFC 3550 app. A.1 takes 2; stray packets of another session come in bursts).
const PROBATION_PACKETS: u32 = 4;

/// A sequence number so far ahead or behind means that the camera started anew (RFC 3550 app. A.1 MAX_DROPOUT).
const DROPOUT_MAX: u16 = 3000;

/// One RTP packet in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedRtp {
    /// Sequence number.
    pub seq: u16,
    /// RTP timestamp.
    pub rtp_timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload without header, extension and padding.
    pub payload: Bytes,
    /// Packets lost between the one before and this.
    pub lost_before: u32,
}

/// Counters of one track since its session's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Packets handed out.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came late but in time.
    pub reordered: u64,
    /// Packets that came too late or twice.
    pub late: u64,
    /// Not RTP, or of another payload type.
    pub malformed: u64,
    /// Of a foreign SSRC.
    pub foreign: u64,
}

/// Puts one track's packets in order.
#[derive(Debug)]
pub struct RtpReceiver {
    payload_type: u8,
    ssrc: Option<u32>,
    candidate: Option<(u32, u16, u32)>,
    next_seq: Option<u16>,
    cycles: u32,
    held: BTreeMap<u16, (Instant, ReceivedRtp)>,
    stats: ReceiverStats,
    jitter: Jitter,
    /// As of the last report.
    reported: ReceiverStats,
}

impl RtpReceiver {
    /// A receiver of one track with its clock's rate in Hz; the SSRC is learned from the first packet (what SETUP
    /// announces is wrong too often).
    pub fn new(payload_type: u8, clock_rate: u32) -> Self {
        Self {
            payload_type,
            ssrc: None,
            candidate: None,
            next_seq: None,
            cycles: 0,
            held: BTreeMap::new(),
            stats: ReceiverStats::default(),
            jitter: Jitter::new(clock_rate),
            reported: ReceiverStats::default(),
        }
    }

    /// Counters so far.
    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }

    /// How unevenly packets come now.
    pub fn jitter(&self) -> &Jitter {
        &self.jitter
    }

    /// What the sender is to be told, which covers the time since the report before; `None` until something came.
    pub fn report(&mut self, reporter_ssrc: u32) -> Option<ReceiverReport> {
        let ssrc = self.ssrc?;
        let before = std::mem::replace(&mut self.reported, self.stats);
        let lost = self.stats.lost - before.lost;
        let expected = lost + self.stats.received - before.received;
        // app. A.3; all of them lost is told as 255.
        let fraction_lost = (lost * 256).checked_div(expected).unwrap_or(0);
        Some(ReceiverReport {
            reporter_ssrc,
            ssrc,
            fraction_lost: u8::try_from(fraction_lost).unwrap_or(u8::MAX),
            lost: u32::try_from(self.stats.lost).unwrap_or(u32::MAX),
            highest_seq: (self.cycles << 16) | u32::from(self.next_seq.unwrap_or(0).wrapping_sub(1)),
            jitter: self.jitter.ticks(),
        })
    }

    /// Takes one packet; hands every packet that is now in order to `out`.
    pub fn handle(&mut self, mut packet: Bytes, now: Instant, out: &mut Vec<ReceivedRtp>) {
        let Some(header) = Header::parse(&packet).filter(|h| h.payload_type == self.payload_type) else {
            self.stats.malformed += 1;
            return;
        };
        if !self.is_ours(&header) {
            self.stats.foreign += 1;
            return;
        }
        self.jitter.handle(header.rtp_timestamp, now);
        packet.truncate(header.payload.end);
        packet.advance(header.payload.start);
        let rtp = ReceivedRtp {
            seq: header.seq,
            rtp_timestamp: header.rtp_timestamp,
            marker: header.marker,
            payload: packet,
            lost_before: 0,
        };
        let ahead = self.next_seq.map_or(0, |next| header.seq.wrapping_sub(next));
        match ahead {
            0 => self.release(rtp, out),
            1..=DROPOUT_MAX => {
                self.held.insert(rtp.seq, (now, rtp));
            }
            _ if ahead > u16::MAX - DROPOUT_MAX => self.stats.late += 1,
            _ => self.start_anew(rtp, out),
        }
        self.drain(now, out);
    }

    fn is_ours(&mut self, header: &Header) -> bool {
        match self.ssrc {
            None => self.ssrc = Some(header.ssrc),
            Some(ssrc) if ssrc == header.ssrc => self.candidate = None,
            Some(_) => {
                let seen = match self.candidate {
                    Some((ssrc, next, seen)) if ssrc == header.ssrc && next == header.seq => seen + 1,
                    _ => 1,
                };
                self.candidate = Some((header.ssrc, header.seq.wrapping_add(1), seen));
                if seen < PROBATION_PACKETS {
                    return false;
                }
                self.ssrc = Some(header.ssrc);
                self.candidate = None;
                self.next_seq = None;
                self.held.clear();
                self.jitter.start_anew();
            }
        }
        true
    }

    /// The numbering jumped: what is held belongs to the old one.
    fn start_anew(&mut self, rtp: ReceivedRtp, out: &mut Vec<ReceivedRtp>) {
        self.held.clear();
        self.next_seq = None;
        self.jitter.start_anew();
        // At least one packet is missing between two numberings, as far as anyone can know.
        self.stats.lost += 1;
        self.release(ReceivedRtp { lost_before: 1, ..rtp }, out);
    }

    fn release(&mut self, rtp: ReceivedRtp, out: &mut Vec<ReceivedRtp>) {
        let next = rtp.seq.wrapping_add(1);
        if next == 0 {
            self.cycles = self.cycles.wrapping_add(1) & 0xffff;
        }
        self.next_seq = Some(next);
        self.stats.received += 1;
        out.push(rtp);
    }

    /// Hands out what has become contiguous, and gives up gaps that are too old or too long.
    fn drain(&mut self, now: Instant, out: &mut Vec<ReceivedRtp>) {
        while let Some(next) = self.next_seq {
            if let Some((_, rtp)) = self.held.remove(&next) {
                self.stats.reordered += 1;
                self.release(rtp, out);
                continue;
            }
            let Some(nearest) = self.held.values().min_by_key(|(_, rtp)| rtp.seq.wrapping_sub(next)) else {
                break;
            };
            let oldest = self.held.values().map(|(at, _)| *at).min().unwrap_or(now);
            let is_given_up = self.held.len() >= REORDER_PACKETS_MAX
                || now.saturating_duration_since(oldest) > REORDER_WAIT_MAX;
            if !is_given_up {
                break;
            }
            let seq = nearest.1.seq;
            let lost = seq.wrapping_sub(next);
            if let Some((_, rtp)) = self.held.remove(&seq) {
                self.stats.lost += u64::from(lost);
                self.release(ReceivedRtp { lost_before: u32::from(lost), ..rtp }, out);
            }
        }
    }
}

/// The fixed header and where the payload is (RFC 3550 s5.1, s5.3.1).
#[derive(Debug)]
struct Header {
    marker: bool,
    payload_type: u8,
    seq: u16,
    rtp_timestamp: u32,
    ssrc: u32,
    payload: std::ops::Range<usize>,
}

impl Header {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (&[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3], _) =
            packet.split_first_chunk::<12>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut start = 12 + usize::from(first & 0x0f) * 4;
        if first & 0x10 != 0 {
            let extension = packet.get(start..start + 4)?;
            let words = u16::from_be_bytes([*extension.get(2)?, *extension.get(3)?]);
            start += 4 + usize::from(words) * 4;
        }
        let padding = if first & 0x20 != 0 { usize::from(*packet.last()?) } else { 0 };
        let end = packet.len().checked_sub(padding)?;
        (start <= end).then_some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            rtp_timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload: start..end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u16, ssrc: u32) -> Bytes {
        let mut bytes = vec![0x80, 96];
        bytes.extend(seq.to_be_bytes());
        bytes.extend((u32::from(seq) * 3000).to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(b"payload");
        bytes.into()
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn run(seqs: &[(u16, u32)], step_ms: u64) -> (Vec<(u16, u32)>, ReceiverStats) {
        let mut receiver = RtpReceiver::new(96, 90_000);
        let (mut now, mut out) = (Instant::now(), Vec::new());
        for (seq, ssrc) in seqs {
            receiver.handle(packet(*seq, *ssrc), now, &mut out);
            now += Duration::from_millis(step_ms);
        }
        (out.iter().map(|rtp| (rtp.seq, rtp.lost_before)).collect(), receiver.stats())
    }

    fn of_one(seqs: &[u16]) -> Vec<(u16, u32)> {
        seqs.iter().map(|seq| (*seq, 1)).collect()
    }

    #[test]
    fn reordered_packets_come_out_in_order_across_the_wrap() {
        let (out, stats) = run(&of_one(&[65_533, 65_535, 65_534, 1, 0, 2]), 1);
        assert_eq!(out, [(65_533, 0), (65_534, 0), (65_535, 0), (0, 0), (1, 0), (2, 0)]);
        assert_eq!((stats.lost, stats.reordered), (0, 2));
    }

    #[test]
    fn lost_packet_is_given_up_and_counted_after_the_wait() {
        let (out, stats) = run(&of_one(&[1, 2, 4, 5, 6, 7, 8]), 30);
        assert_eq!(out, [(1, 0), (2, 0), (4, 1), (5, 0), (6, 0), (7, 0), (8, 0)]);
        assert_eq!(stats.lost, 1);
        let many: Vec<u16> = (0..40).filter(|seq| *seq != 10).collect();
        let (out, _) = run(&of_one(&many), 0);
        assert_eq!(out.len(), 39, "the gap is given up by count when packets come fast");
    }

    #[test]
    fn duplicates_and_late_packets_are_dropped_and_counted() {
        let (out, stats) = run(&of_one(&[1, 2, 2, 1, 3]), 1);
        assert_eq!(out, [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(stats.late, 2);
    }

    #[test]
    fn stray_ssrc_is_ignored_and_a_changed_one_is_taken_after_probation() {
        let mut seqs = vec![(1, 7), (2, 7), (900, 8), (3, 7)];
        let (out, stats) = run(&seqs, 1);
        assert_eq!(out, [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(stats.foreign, 1);
        seqs.extend((100..110).map(|seq| (seq, 9)));
        let (out, _) = run(&seqs, 1);
        assert_eq!(out.last(), Some(&(109, 0)));
    }

    #[test]
    fn numbering_that_starts_anew_is_followed_at_once() {
        let (out, _) = run(&of_one(&[40_000, 40_001, 5, 6]), 1);
        assert_eq!(out, [(40_000, 0), (40_001, 0), (5, 1), (6, 0)]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn reports_tell_the_loss_since_the_one_before_and_the_jitter() {
        let mut receiver = RtpReceiver::new(96, 90_000);
        assert_eq!(receiver.report(1), None, "nobody to report on");
        let (begin, mut out) = (Instant::now(), Vec::new());
        // A packet each 33.3 ms by its timestamp, each 30 ms by the clock: D = 300 ticks.
        let mut take = |receiver: &mut RtpReceiver, seq: u16| {
            let at = begin + Duration::from_millis(u64::from(seq) * 30);
            receiver.handle(packet(seq, 7), at, &mut out);
        };
        for seq in [1, 2] {
            take(&mut receiver, seq);
        }
        // J = 300 / 16.
        let expected = ReceiverReport {
            reporter_ssrc: 1,
            ssrc: 7,
            fraction_lost: 0,
            lost: 0,
            highest_seq: 2,
            jitter: 18,
        };
        assert_eq!(receiver.report(1), Some(expected));
        // The gap is given up while the fifth packet behind it comes.
        for seq in [4, 5, 6, 7, 8] {
            take(&mut receiver, seq);
        }
        let report = receiver.report(1).unwrap();
        assert_eq!((report.fraction_lost, report.lost, report.highest_seq), (42, 1, 8), "one of six lost");
        let report = receiver.report(1).unwrap();
        assert_eq!((report.fraction_lost, report.lost), (0, 1), "nothing came meanwhile");
    }

    #[test]
    fn header_extension_csrc_and_padding_are_taken_off() {
        let mut bytes = vec![0xb1, 0xe0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend([1, 1, 1, 1]); // CSRC
        bytes.extend([0xbe, 0xde, 0, 1, 9, 9, 9, 9]); // extension of one word
        bytes.extend(b"media");
        bytes.extend([0, 0, 3]);
        let header = Header::parse(&bytes).unwrap();
        assert!(header.marker);
        assert_eq!(&bytes[header.payload], b"media");
        assert!(Header::parse(&[0x80; 11]).is_none());
        assert!(
            Header::parse(&[0xa0, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200]).is_none(),
            "padding beyond the packet"
        );
    }
}
