//! Resend: the newest video packets as str0m sent them, for a viewer that asks for lost ones without an RTX stream.
//!
//! Only of those whose media str0m sends, without AES-GCM (the others: -> history). One of them that offers RTX (RFC 4588) is
//! answered by str0m. For others str0m forgets what it sent and lets their NACKs go
//! unanswered; here they get the packet itself once more. It is the datagram that is kept, not its payload: encrypting a packet
//! again with other header extensions would use an AES-GCM nonce twice (RFC 7714 s8.3), while a receiver takes the same
//! datagram as late (RFC 3711 s3.3.2: its replay list does not have what was lost).
//!
//! Belongs here: what is kept and what may be sent again. Does not: sending (-> session).
//! Limits: [`AGE_MAX`], [`BYTES_MAX`], [`AGAIN_INTERVAL_MIN`]; in a second no more is sent again than is kept.
//! Spec: RFC 4585 s6.2.1.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media_core::egress::webrtc::track_map::TrackMap;
use str0m::net::{Protocol, Transmit};
use str0m::rtp::rtcp::NackEntry;

/// How long a packet is kept: players give a picture up within that time.
const AGE_MAX: Duration = Duration::from_secs(2);
/// Bytes kept per viewer without RTX, the oldest go first: 2 s of a 16 Mbit/s camera.
const BYTES_MAX: usize = 4 << 20;
/// A packet is not sent again sooner than that: NACKs overlap, and one answer is on its way.
const AGAIN_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// The budget of bytes sent again is counted over so long.
const BUDGET_INTERVAL: Duration = Duration::from_secs(1);

/// Sequence number and SSRC end here (RFC 3550 s5.1).
const RTP_HEADER_BYTES: usize = 12;

#[derive(Debug)]
struct Sent {
    seq: u16,
    ssrc: u32,
    at: Instant,
    again_at: Option<Instant>,
    datagram: Vec<u8>,
}

/// The way to the viewer, as of the last packet.
#[derive(Clone, Copy, Debug)]
struct Way {
    proto: Protocol,
    source: SocketAddr,
    destination: SocketAddr,
}

/// What one viewer was sent lately.
#[derive(Debug)]
pub(crate) struct Resend {
    video_pt: u8,
    sent: VecDeque<Sent>,
    bytes: usize,
    way: Option<Way>,
    budget_since: Option<Instant>,
    again_bytes: usize,
}

/// The payload type whose packets we send again ourselves: that of video without RTX.
pub(crate) fn payload_type(map: &TrackMap) -> Option<u8> {
    let video = map.video.as_ref()?;
    video.payload.rtx_pt.is_none().then_some(video.payload.pt)
}

impl Resend {
    /// Keeps packets of `video_pt`.
    pub(crate) fn new(video_pt: u8) -> Self {
        Self { video_pt, sent: VecDeque::new(), bytes: 0, way: None, budget_since: None, again_bytes: 0 }
    }

    /// Keeps a packet that goes out, when it is one of the video's.
    pub(crate) fn keep(&mut self, transmit: &Transmit, now: Instant) {
        let datagram: &[u8] = &transmit.contents;
        let Some(&[_, kind, seq_high, seq_low, _, _, _, _, s3, s2, s1, s0]) =
            datagram.first_chunk::<RTP_HEADER_BYTES>()
        else {
            return;
        };
        if kind & 0x7f != self.video_pt {
            return;
        }
        let Transmit { proto, source, destination, .. } = *transmit;
        self.way = Some(Way { proto, source, destination });
        self.bytes += datagram.len();
        self.sent.push_back(Sent {
            seq: u16::from_be_bytes([seq_high, seq_low]),
            ssrc: u32::from_be_bytes([s3, s2, s1, s0]),
            at: now,
            again_at: None,
            datagram: datagram.to_vec(),
        });
        self.forget(now);
    }

    /// The datagrams that answer a NACK about `ssrc`.
    pub(crate) fn answer(
        &mut self,
        ssrc: u32,
        entries: impl IntoIterator<Item = NackEntry>,
        now: Instant,
    ) -> Vec<Transmit> {
        self.forget(now);
        let missing = entries.into_iter().flat_map(sequence_numbers);
        missing.filter_map(|seq| self.again(ssrc, seq, now)).collect()
    }

    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.sent.front() {
            if self.bytes <= BYTES_MAX && now.saturating_duration_since(oldest.at) <= AGE_MAX {
                break;
            }
            self.bytes -= oldest.datagram.len();
            self.sent.pop_front();
        }
    }

    fn again(&mut self, ssrc: u32, seq: u16, now: Instant) -> Option<Transmit> {
        if self.budget_since.is_none_or(|since| now.saturating_duration_since(since) >= BUDGET_INTERVAL) {
            self.budget_since = Some(now);
            self.again_bytes = 0;
        }
        let Way { proto, source, destination } = self.way?;
        // Packets leave in the order of their numbers, so the place follows from the oldest one's.
        let index = usize::from(seq.wrapping_sub(self.sent.front()?.seq));
        let sent = self.sent.get_mut(index).filter(|sent| (sent.seq, sent.ssrc) == (seq, ssrc))?;
        let is_early = |at: Instant| now.saturating_duration_since(at) < AGAIN_INTERVAL_MIN;
        let again_bytes = self.again_bytes + sent.datagram.len();
        if sent.again_at.is_some_and(is_early) || again_bytes > self.bytes {
            return None;
        }
        sent.again_at = Some(now);
        self.again_bytes = again_bytes;
        Some(Transmit { proto, source, destination, contents: sent.datagram.clone().into() })
    }
}

/// The sequence numbers that an entry names: its own, and one for each bit of the mask after it.
pub(super) fn sequence_numbers(entry: NackEntry) -> impl Iterator<Item = u16> {
    let NackEntry { pid, blp } = entry;
    let masked = (0..16_u16).filter(move |bit| blp >> bit & 1 == 1).map(move |bit| pid.wrapping_add(bit + 1));
    std::iter::once(pid).chain(masked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock;

    const PT: u8 = 96;

    fn packet(pt: u8, seq: u16, bytes: usize) -> Transmit {
        let [high, low] = seq.to_be_bytes();
        let mut contents = vec![0x80, pt | 0x80, high, low, 0, 0, 0, 0, 0, 0, 0, 9];
        contents.resize(bytes, 0);
        Transmit {
            proto: Protocol::Udp,
            source: SocketAddr::from(([127, 0, 0, 1], 8189)),
            destination: SocketAddr::from(([127, 0, 0, 1], 5000)),
            contents: contents.into(),
        }
    }

    /// What a NACK with one entry is answered with, as sequence numbers.
    fn answered(resend: &mut Resend, ssrc: u32, entry: NackEntry, now: Instant) -> Vec<u16> {
        let answers = resend.answer(ssrc, [entry], now);
        answers.iter().map(|answer| u16::from_be_bytes([answer.contents[2], answer.contents[3]])).collect()
    }

    #[test]
    fn lost_packets_of_the_video_are_sent_again_as_they_were_also_across_the_wrap() {
        let (mut resend, now) = (Resend::new(PT), clock::now());
        for n in 0..10_u16 {
            resend.keep(&packet(PT, 65_532_u16.wrapping_add(n), 1000), now);
            resend.keep(&packet(PT + 1, n, 500), now);
        }
        let entry = NackEntry { pid: 65_534, blp: 0b1000_0000_0000_0101 };
        // The last named one was never sent.
        assert_eq!(answered(&mut resend, 9, entry, now), [65_534, 65_535, 1]);
        let later = now + AGAIN_INTERVAL_MIN;
        assert_eq!(answered(&mut resend, 9, entry, now), Vec::<u16>::new(), "one answer is on its way");
        assert_eq!(answered(&mut resend, 8, entry, later), Vec::<u16>::new(), "another stream's");
        assert_eq!(answered(&mut resend, 9, entry, later), [65_534, 65_535, 1], "the answer was lost too");
        assert_eq!(answered(&mut resend, 9, entry, now + AGE_MAX * 2), Vec::<u16>::new(), "too old");
    }

    #[test]
    fn what_is_kept_and_what_is_sent_again_is_bounded() {
        let (mut resend, now) = (Resend::new(PT), clock::now());
        for seq in 0..8000 {
            resend.keep(&packet(PT, seq, 1000), now);
        }
        assert!(resend.bytes <= BYTES_MAX && resend.bytes > BYTES_MAX - 1000);
        let mut again = 0;
        for round in 0..4 {
            let at = now + AGAIN_INTERVAL_MIN * round;
            for pid in (0..8000).step_by(17) {
                again += answered(&mut resend, 9, NackEntry { pid, blp: u16::MAX }, at).len() * 1000;
            }
        }
        assert!(again <= BYTES_MAX && again > BYTES_MAX / 2, "{again} bytes");
    }
}
