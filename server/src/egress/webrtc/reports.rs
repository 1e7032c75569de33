//! Sender reports: what str0m says in them of streams whose packets it did not send, put right before they are encrypted.
//!
//! str0m makes a report each second, with CNAME, and numbers and sends it; of what it has not sent itself it knows neither
//! count nor time. Its report keeps its NTP time, by which the viewer's answer gives the round trip.
//!
//! Belongs here: the fields of a report. Does not: encryption (-> keys).
//! Spec: RFC 3550 s6.4.1.

use std::sync::{Mutex, PoisonError};

use media_core::time::{NtpTime, Timescale, WallTime, rescale};

const SENDER_REPORT: u8 = 200;
/// The header of an RTCP packet with the SSRC behind it, which SRTCP leaves in clear.
const HEAD_BYTES: usize = 8;

/// One stream as sent so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) ssrc: u32,
    pub(super) clock: Timescale,
    /// The RTP time of the newest unit.
    pub(super) rtp_timestamp: u32,
    /// When that was captured, by the camera's clock: it may be ahead of ours.
    pub(super) wall: WallTime,
    /// Packets, modulo 2^32.
    pub(super) packets: u32,
    /// Bytes of payload, modulo 2^32.
    pub(super) octets: u32,
}

/// What a session's reports are to say.
#[derive(Debug, Default)]
pub(super) struct SenderReports {
    /// One entry a stream: pictures and sound.
    sent: Mutex<Vec<Sent>>,
}

impl SenderReports {
    /// Notes what was sent of a stream.
    pub(super) fn note(&self, now: Sent) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match sent.iter_mut().find(|known| known.ssrc == now.ssrc) {
            Some(known) => *known = now,
            None => sent.push(now),
        }
    }

    /// Puts right the reports in a compound packet: `head` is its first eight bytes, `rest` what follows.
    pub(super) fn correct(&self, head: &[u8], rest: &mut [u8]) {
        let Some(mut head) = head.first_chunk::<HEAD_BYTES>().copied() else { return };
        let mut rest = rest;
        loop {
            let [_, kind, high, low, s3, s2, s1, s0] = head;
            let bytes = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
            let Some(behind) = bytes.checked_sub(HEAD_BYTES) else { return };
            let Some((packet, next)) = rest.split_at_mut_checked(behind) else { return };
            if kind == SENDER_REPORT {
                self.correct_one(u32::from_be_bytes([s3, s2, s1, s0]), packet);
            }
            let Some((next_head, next)) = next.split_first_chunk_mut() else { return };
            (head, rest) = (*next_head, next);
        }
    }

    /// `packet` is a sender report behind its SSRC. One of a stream of which nothing was sent stays as it is.
    fn correct_one(&self, ssrc: u32, packet: &mut [u8]) {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sent) = sent.iter().find(|sent| sent.ssrc == ssrc) else { return };
        let Some((ntp, rest)) = packet.split_first_chunk_mut::<8>() else { return };
        let reported_at = NtpTime(u64::from_be_bytes(*ntp)).to_wall();
        let fields = [sent.rtp_timestamp_at(reported_at), sent.packets, sent.octets];
        for (to, field) in rest.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_be_bytes());
        }
    }
}

impl Sent {
    fn rtp_timestamp_at(&self, wall: WallTime) -> u32 {
        let ticks = rescale(wall.us_since(self.wall), 1_000_000, self.clock.hz());
        self.rtp_timestamp.wrapping_add(u32::try_from(ticks.rem_euclid(1 << 32)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_790_000_000_000_000);

    fn report(ssrc: u32) -> Vec<u8> {
        let mut bytes = vec![0x80, SENDER_REPORT, 0, 6];
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(NtpTime::from_wall(NOW).0.to_be_bytes());
        bytes.extend([0; 12]);
        bytes
    }

    fn description(ssrc: u32) -> Vec<u8> {
        let mut bytes = vec![0x81, 202, 0, 3];
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(b"\x01\x04name\0\0");
        bytes
    }

    fn sent(ssrc: u32, wall: WallTime) -> Sent {
        Sent { ssrc, clock: Timescale::VIDEO, rtp_timestamp: 90_000, wall, packets: 10, octets: 11_000 }
    }

    /// RTP time, packets and bytes of the report at `at` in the compound.
    fn fields(compound: &[u8], at: usize) -> [u32; 3] {
        let word = |n: usize| u32::from_be_bytes(compound[at + n..at + n + 4].try_into().unwrap());
        [word(16), word(20), word(24)]
    }

    fn corrected(reports: &SenderReports, compound: &[u8]) -> Vec<u8> {
        let mut corrected = compound.to_vec();
        let (head, rest) = corrected.split_at_mut(HEAD_BYTES);
        reports.correct(head, rest);
        corrected
    }

    #[test]
    fn each_report_of_a_compound_says_what_was_sent_of_its_stream_and_nothing_else_changes() {
        let reports = SenderReports::default();
        // Captured half a second before the report is made.
        reports.note(sent(1, NOW.plus_us(-500_000)));
        reports.note(Sent { packets: 3, ..sent(2, NOW) });
        reports.note(Sent { packets: 4, ..sent(2, NOW) });
        let compound = [report(1), report(2), report(3), description(1)].concat();
        let corrected = corrected(&reports, &compound);
        assert_eq!(fields(&corrected, 0), [90_000 + 45_000, 10, 11_000]);
        assert_eq!(fields(&corrected, 28), [90_000, 4, 11_000]);
        assert_eq!(corrected[56..], compound[56..], "an unknown stream's, and the CNAME");
        assert_eq!(corrected[..16], compound[..16], "SSRC and NTP time");
    }

    // correctness: R3
    #[test]
    fn report_of_a_camera_whose_clock_is_ahead_is_about_its_future() {
        let reports = SenderReports::default();
        reports.note(sent(1, NOW.plus_us(500_000)));
        assert_eq!(fields(&corrected(&reports, &report(1)), 0)[0], 45_000);
        reports.note(sent(1, NOW.plus_us(2_000_000)));
        assert_eq!(fields(&corrected(&reports, &report(1)), 0)[0], 90_000_u32.wrapping_sub(180_000), "wraps");
    }

    #[test]
    fn torn_compounds_are_left_alone_where_they_are_torn() {
        let reports = SenderReports::default();
        reports.note(sent(1, NOW));
        let whole = [report(1), description(1), report(1)].concat();
        for length in HEAD_BYTES..whole.len() {
            assert_eq!(corrected(&reports, &whole[..length]).len(), length);
        }
        let short = [&report(1)[..], &[0x80, SENDER_REPORT, 0, 0, 0, 0, 0, 1]].concat();
        assert_eq!(corrected(&reports, &short)[28..], short[28..]);
    }
}
