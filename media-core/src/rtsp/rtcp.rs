//! RTCP: sender reports read and written, receiver reports written, and what they say is lost (RFC 3550 s6.4).

use bytes::{BufMut, Bytes, BytesMut};

use crate::time::NtpTime;

const PACKET_TYPE_SR: u8 = 200;
const PACKET_TYPE_RR: u8 = 201;
const PACKET_TYPE_SDES: u8 = 202;

/// The part of a sender report that ties RTP time to the camera's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Who reports.
    pub ssrc: u32,
    /// The camera's clock.
    pub ntp: NtpTime,
    /// The same instant in RTP time.
    pub rtp_timestamp: u32,
}

/// Finds the first sender report in a compound packet; anything unreadable is `None`.
pub fn parse_sender_report(mut compound: &[u8]) -> Option<SenderReport> {
    // A compound packet holds a handful of packets; each step consumes at least 4 bytes.
    while let Some((&[first, packet_type, high, low], _)) = compound.split_first_chunk::<4>() {
        let bytes = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let (packet, rest) = compound.split_at_checked(bytes)?;
        if first >> 6 == 2 && packet_type == PACKET_TYPE_SR {
            let word = |at: usize| packet.get(at..at + 4)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
            let ntp = NtpTime((u64::from(word(8)?) << 32) | u64::from(word(12)?));
            return Some(SenderReport { ssrc: word(4)?, ntp, rtp_timestamp: word(16)? });
        }
        compound = rest;
    }
    None
}

/// Packets that a receiver of ours reports as lost since its start, of the first source in its report; `None` when the
/// compound packet holds no report block.
pub fn parse_losses(mut compound: &[u8]) -> Option<u32> {
    while let Some((&[first, packet_type, high, low], _)) = compound.split_first_chunk::<4>() {
        let bytes = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let (packet, rest) = compound.split_at_checked(bytes)?;
        if first >> 6 == 2 && packet_type == PACKET_TYPE_RR && first & 0x1f > 0 {
            let &[sign, b1, b2] = packet.get(13..16)?.first_chunk()?;
            // 24 bits, signed: duplicates make it negative (RFC 3550 s6.4.1).
            return Some(if sign & 0x80 == 0 { u32::from_be_bytes([0, sign, b1, b2]) } else { 0 });
        }
        compound = rest;
    }
    None
}

/// Whether these are RTCP packets from end to end: of version 2, with lengths that add up (RFC 3550 app. A.2). That the first is a
/// report is not asked: others may come alone (RFC 5506 s3.4.1).
pub fn is_well_formed(mut compound: &[u8]) -> bool {
    while let Some((&[first, packet_type, high, low], _)) = compound.split_first_chunk::<4>() {
        let bytes = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let is_rtcp = first >> 6 == 2 && (192..=223).contains(&packet_type);
        match compound.split_at_checked(bytes).filter(|_| is_rtcp) {
            Some((_, [])) => return true,
            Some((_, rest)) => compound = rest,
            None => return false,
        }
    }
    false
}

impl SenderReport {
    /// A compound packet: the report, with what was sent so far, and the SDES CNAME that RFC 3550 s6.1 asks for.
    pub fn to_bytes(self, packets: u32, payload_bytes: u32) -> Bytes {
        let mut out = BytesMut::with_capacity(48);
        out.put_slice(&[0x80, PACKET_TYPE_SR, 0, 6]);
        out.put_u32(self.ssrc);
        out.put_u64(self.ntp.0);
        out.put_u32(self.rtp_timestamp);
        out.put_u32(packets);
        out.put_u32(payload_bytes);
        put_cname(&mut out, self.ssrc);
        out.freeze()
    }
}

/// SDES: one chunk of SSRC, CNAME (type 1), end of list padded to a word: 20 bytes.
fn put_cname(out: &mut BytesMut, ssrc: u32) {
    const CNAME: &[u8] = b"gtvision";
    out.put_slice(&[0x81, PACKET_TYPE_SDES, 0, 4]);
    out.put_u32(ssrc);
    out.put_slice(&[1, 8]);
    out.put_slice(CNAME);
    out.put_slice(&[0, 0]);
}

/// What a receiver report says of one source (RFC 3550 s6.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverReport {
    /// Our own SSRC.
    pub reporter_ssrc: u32,
    /// Whom we report on.
    pub ssrc: u32,
    /// Packets lost of those expected since the report before, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start, capped to 24 bits.
    pub lost: u32,
    /// Extended highest sequence number received.
    pub highest_seq: u32,
    /// Interarrival jitter in RTP ticks.
    pub jitter: u32,
}

impl ReceiverReport {
    /// A compound packet: the report and the SDES CNAME that RFC 3550 s6.1 asks for.
    pub fn to_bytes(self) -> Bytes {
        let mut out = BytesMut::with_capacity(56);
        out.put_slice(&[0x81, PACKET_TYPE_RR, 0, 7]);
        out.put_u32(self.reporter_ssrc);
        out.put_u32(self.ssrc);
        out.put_u32(u32::from(self.fraction_lost) << 24 | self.lost.min(0x7f_ffff));
        out.put_u32(self.highest_seq);
        out.put_u32(self.jitter);
        out.put_u32(0); // last SR: cameras do not use the round trip we could tell
        out.put_u32(0);
        put_cname(&mut out, self.reporter_ssrc);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    const REPORT: ReceiverReport =
        ReceiverReport { reporter_ssrc: 1, ssrc: 2, fraction_lost: 64, lost: 258, highest_seq: 7, jitter: 5 };

    #[test]
    fn sender_report_behind_another_packet_is_found() {
        // RR with no block (8 bytes), then an SR as Wireshark shows it.
        let mut compound = vec![0x80, 201, 0, 1, 0, 0, 0, 9];
        compound.extend([0x80, 200, 0, 6, 0xde, 0xad, 0xbe, 0xef]);
        compound.extend(NtpTime::from_wall(WallTime(1_700_000_000_500_000)).0.to_be_bytes());
        compound.extend(90_000_u32.to_be_bytes());
        compound.extend([0; 8]);
        let report = parse_sender_report(&compound).unwrap();
        assert_eq!((report.ssrc, report.rtp_timestamp), (0xdead_beef, 90_000));
        assert!(report.ntp.to_wall().us_since(WallTime(1_700_000_000_500_000)).abs() <= 1);
    }

    #[test]
    fn sender_report_of_ours_reads_back_and_has_the_lengths_it_announces() {
        let ntp = NtpTime::from_wall(WallTime(1_700_000_000_500_000));
        let report = SenderReport { ssrc: 7, ntp, rtp_timestamp: 90_000 };
        let bytes = report.to_bytes(3, 4000);
        assert_eq!(bytes.len(), 28 + 20);
        assert_eq!(parse_sender_report(&bytes), Some(report));
        assert_eq!(&bytes[20..28], &[0, 0, 0, 3, 0, 0, 0x0f, 0xa0]);
    }

    #[test]
    fn losses_are_those_of_the_first_block() {
        let report = REPORT;
        assert_eq!(parse_losses(&report.to_bytes()), Some(258));
        assert_eq!(parse_losses(&[0x80, 201, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(parse_losses(&[0x81, 201, 0, 7, 0, 0]), None);
    }

    #[test]
    fn truncated_and_random_packets_are_none() {
        assert_eq!(parse_sender_report(&[0x80, 200, 0, 6, 1, 2, 3]), None);
        assert_eq!(parse_sender_report(&[0x80, 200, 0, 1, 0, 0, 0, 0]), None);
        assert_eq!(parse_sender_report(&[]), None);
    }

    #[test]
    fn receiver_report_has_the_lengths_it_announces() {
        let report = ReceiverReport { lost: 1 << 30, ..REPORT };
        let bytes = report.to_bytes();
        assert_eq!(bytes.len(), 32 + 20);
        assert_eq!(&bytes[32..36], &[0x81, 202, 0, 4]);
        assert_eq!(&bytes[12..16], &[64, 0x7f, 0xff, 0xff], "a quarter lost lately, cumulative loss capped");
        assert_eq!(&bytes[16..24], &[0, 0, 0, 7, 0, 0, 0, 5], "highest sequence number, jitter");
    }

    #[test]
    fn only_whole_rtcp_packets_are_well_formed() {
        let report = REPORT.to_bytes();
        assert!(is_well_formed(&report), "a report and its CNAME");
        assert!(is_well_formed(&report[32..]), "an SDES alone");
        for (broken, why) in [
            (&report[..51], "cut off"),
            (&report[..3], "shorter than a header"),
            (&[][..], "nothing"),
            (&[0x41, 201, 0, 0][..], "version 1"),
            (&[0x80, 96, 0, 0][..], "RTP"),
        ] {
            assert!(!is_well_formed(broken), "{why}");
        }
    }
}
