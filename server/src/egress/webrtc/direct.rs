//! Direct: a viewer's media from the shared payloads straight into the outbox: header and encryption in one pass.
//!
//! ```text
//!  UnitPayloads (shared) ─► RtpStream: numbers, header ─► Sealer ─► outbox ─► one system call a picture
//!                                ▲     └─► History ─► again: over RTX, or as it was
//!                   NACK, reports: str0m
//! ```
//!
//! str0m's own way costs 1.4 µs a packet beside the cipher, for a queue, a retransmission cache and copies that a camera's
//! viewer has no use for. It goes on with ICE, DTLS and RTCP and counts on the same SSRCs; it is never given a packet.
//! Where AES-GCM was not agreed on, it sends all of it (-> sender).
//!
//! Belongs here: what a packet says. Does not: its bytes (-> rtp_packet), when one is due (-> sender), keys (-> keys).
//! Invariants: a stream's numbers rise by one and are never used for two packets; what is sent again under its own number
//! is the same, byte for byte (-> seal).
//! Spec: RFC 4588 s4 (RTX); RFC 9143 s9 (MID); abs-capture-time and playout-delay are WebRTC's experimental extensions.

use std::sync::Arc;
use std::time::Instant;

use media_core::time::{NtpTime, Timescale, WallTime};
use str0m::Rtc;
use str0m::media::Mid;
use str0m::rtp::Extension;
use str0m::rtp::rtcp::Nack;

use super::history::{History, SentUnit};
use super::keys::Tap;
use super::outbox::Outbox;
use super::packets::UnitPayloads;
use super::reports::Sent;
use super::resend::sequence_numbers;
use super::rtp_packet::{Extensions, Packet, extension_block};
use super::seal::{Place, Sealer};

/// The largest id of an extension in the one-byte form.
const EXTENSION_ID_MAX: u8 = 14;
/// Delays of 0 ms, least and most: show each picture as soon as it is decoded.
const NO_DELAY: [u8; 3] = [0; 3];

/// One track on its way out, as it was negotiated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) mid: Mid,
    pub(super) pt: u8,
    pub(super) clock: Timescale,
    /// The number of its first packet.
    pub(super) first_seq: u64,
    pub(super) loss: OnLoss,
}

/// What becomes of packets that a viewer misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnLoss {
    /// They are gone: sound.
    Gone,
    /// They are sent again as they were.
    Same,
    /// They are sent again as another stream of this payload type.
    Rtx(u8),
}

/// What a unit tells beside itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// To be shown as soon as it is decoded (playout-delay).
    pub(super) is_urgent: bool,
    /// When it was captured (abs-capture-time).
    pub(super) captured: Option<WallTime>,
}

/// An access unit to be sent.
#[derive(Clone, Debug)]
pub(super) struct DueUnit {
    pub(super) payloads: UnitPayloads,
    pub(super) rtp_timestamp: u32,
    pub(super) wall: WallTime,
    pub(super) stamp: Stamp,
}

/// One viewer's streams, sealed here.
#[derive(Debug)]
pub(crate) struct Direct {
    sealer: Sealer,
    tap: Arc<Tap>,
    streams: Vec<RtpStream>,
}

impl Direct {
    /// The streams of a session that is connected; none where str0m must send them.
    pub(super) fn new(rtc: &mut Rtc, tap: &Arc<Tap>, lanes: &[Lane]) -> Option<Self> {
        let streams: Option<Vec<RtpStream>> = lanes.iter().map(|lane| RtpStream::of(rtc, *lane)).collect();
        let (streams, sealer) = (streams?, tap.take_sealer()?);
        Some(Self { sealer, tap: Arc::clone(tap), streams })
    }

    /// Sends a unit of the section `mid`; says how many packets that took.
    pub(super) fn send(&mut self, mid: Mid, unit: &DueUnit, outbox: &mut Outbox, now: Instant) -> u64 {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.lane.mid == mid) else { return 0 };
        let packets = stream.send(unit, &self.sealer, outbox, now);
        self.tap.reports.note(stream.sent(unit));
        packets
    }

    /// Sends again what a viewer asks for; says how many packets that took.
    pub(super) fn answer(&mut self, nack: &Nack, outbox: &mut Outbox, now: Instant) -> u64 {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ssrc == *nack.ssrc) else { return 0 };
        let missing = nack.reports.iter().copied().flat_map(sequence_numbers);
        let answered = missing.filter(|seq| stream.again(*seq, &self.sealer, outbox, now));
        u64::try_from(answered.count()).unwrap_or(0)
    }

    /// The viewer reported on a stream: it knows whose it is.
    pub(super) fn reported(&mut self, ssrc: u32) {
        for stream in &mut self.streams {
            stream.is_known |= stream.ssrc == ssrc;
            if let Some(repair) = &mut stream.repair {
                repair.is_known |= repair.ssrc == ssrc;
            }
        }
    }
}

/// The ids that the viewer gave to extensions.
#[derive(Clone, Copy, Debug, Default)]
struct ExtensionIds {
    mid: Option<u8>,
    capture_time: Option<u8>,
    delay: Option<u8>,
}

/// One SSRC on its way out.
#[derive(Debug)]
struct RtpStream {
    lane: Lane,
    ssrc: u32,
    next_seq: u64,
    ids: ExtensionIds,
    /// The block that names the section, and the empty one.
    naming: Extensions,
    nothing: Extensions,
    /// The viewer knows which section this SSRC belongs to: it is not told any more (as libwebrtc does).
    is_known: bool,
    repair: Option<Repair>,
    history: History,
    packets: u32,
    octets: u32,
}

/// The stream that lost packets are sent again in.
#[derive(Debug)]
struct Repair {
    ssrc: u32,
    pt: u8,
    next_seq: u64,
    is_known: bool,
}

impl RtpStream {
    fn of(rtc: &mut Rtc, lane: Lane) -> Option<Self> {
        let extensions = rtc.media(lane.mid)?.remote_extmap();
        let ids = ExtensionIds {
            mid: extensions.id_of(Extension::RtpMid),
            capture_time: extensions.id_of(Extension::AbsoluteCaptureTime),
            delay: extensions.id_of(Extension::PlayoutDelay),
        };
        let mut api = rtc.direct_api();
        let stream = api.stream_tx_by_mid(lane.mid, None)?;
        let (ssrc, repair_ssrc) = (*stream.ssrc(), stream.rtx().map(|ssrc| *ssrc));
        Self::new(lane, ids, ssrc, repair_ssrc)
    }

    /// None where the one-byte form of extensions will not do, or RTX has no SSRC.
    fn new(lane: Lane, ids: ExtensionIds, ssrc: u32, repair_ssrc: Option<u32>) -> Option<Self> {
        let has_long_form = |id: &u8| *id > EXTENSION_ID_MAX;
        if [ids.mid, ids.capture_time, ids.delay].iter().flatten().any(has_long_form) {
            return None;
        }
        let repair = match lane.loss {
            OnLoss::Rtx(pt) => {
                Some(Repair { ssrc: repair_ssrc?, pt, next_seq: lane.first_seq, is_known: false })
            }
            OnLoss::Same | OnLoss::Gone => None,
        };
        Some(Self {
            lane,
            ssrc,
            next_seq: lane.first_seq,
            ids,
            naming: extension_block(&[(ids.mid, lane.mid.as_bytes())]),
            nothing: Arc::from([]),
            is_known: false,
            repair,
            history: History::default(),
            packets: 0,
            octets: 0,
        })
    }

    fn send(&mut self, unit: &DueUnit, sealer: &Sealer, outbox: &mut Outbox, now: Instant) -> u64 {
        let sent = SentUnit {
            first_seq: self.next_seq,
            rtp_timestamp: unit.rtp_timestamp,
            payloads: Arc::clone(&unit.payloads),
            extensions: [self.stamped(unit.stamp), self.naming_if_needed()],
            at: now,
        };
        for place in 0..sent.payloads.len() {
            self.next_seq += 1;
            let Some(packet) = Packet::of(&sent, place, self.lane.pt, self.ssrc) else { continue };
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(packet.octets());
            outbox.write(|out| packet.write(sealer, out));
        }
        let packets = u64::try_from(sent.payloads.len()).unwrap_or(0);
        if self.lane.loss != OnLoss::Gone {
            self.history.keep(sent);
        }
        packets
    }

    /// Sends the packet numbered `seq` again; says whether it did.
    fn again(&mut self, seq: u16, sealer: &Sealer, outbox: &mut Outbox, now: Instant) -> bool {
        let Some((sent, place)) = self.history.again(seq, now) else { return false };
        let Some(packet) = Packet::of(sent, place, self.lane.pt, self.ssrc) else { return false };
        let Some(repair) = &mut self.repair else {
            self.packets = self.packets.wrapping_add(1);
            self.octets = self.octets.wrapping_add(packet.octets());
            return outbox.write(|out| packet.write(sealer, out));
        };
        let is_unnamed = packet.extensions.is_empty() && !repair.is_known;
        let packet = Packet {
            place: Place { ssrc: repair.ssrc, index: repair.next_seq },
            pt: repair.pt,
            repairs: Some(seq),
            extensions: if is_unnamed { &self.naming } else { packet.extensions },
            ..packet
        };
        repair.next_seq += 1;
        outbox.write(|out| packet.write(sealer, out))
    }

    /// What sender reports say after `unit`.
    fn sent(&self, unit: &DueUnit) -> Sent {
        Sent {
            ssrc: self.ssrc,
            clock: self.lane.clock,
            rtp_timestamp: unit.rtp_timestamp,
            wall: unit.wall,
            packets: self.packets,
            octets: self.octets,
        }
    }

    fn naming_if_needed(&self) -> Extensions {
        Arc::clone(if self.is_known { &self.nothing } else { &self.naming })
    }

    /// The extensions of a unit's first packet.
    fn stamped(&self, stamp: Stamp) -> Extensions {
        if stamp == Stamp::default() {
            return self.naming_if_needed();
        }
        let captured = stamp.captured.map(|wall| NtpTime::from_wall(wall).0.to_be_bytes());
        extension_block(&[
            (self.ids.mid.filter(|_| !self.is_known), self.lane.mid.as_bytes()),
            (self.ids.capture_time.filter(|_| captured.is_some()), &captured.unwrap_or_default()),
            (self.ids.delay.filter(|_| stamp.is_urgent), &NO_DELAY),
        ])
    }
}

#[cfg(test)]
mod tests {
    use media_core::remux::rtp::RtpPayload;
    use str0m::crypto::AeadAes128Gcm;

    use super::super::history::AGE_MAX;
    use super::super::outbox::tests::{datagrams, outbox_with_way};
    use super::*;
    use crate::runtime::clock;

    const KEY: [u8; 16] = [7; 16];
    const SALT: [u8; 12] = [9; 12];
    const WALL: WallTime = WallTime(1_790_000_000_000_000);

    /// A packet as its viewer sees it.
    #[derive(Debug, PartialEq)]
    struct Opened {
        pt: u8,
        marker: bool,
        seq: u16,
        rtp_timestamp: u32,
        ssrc: u32,
        extensions: Vec<u8>,
        payload: Vec<u8>,
    }

    /// Opens a packet with str0m's cipher, after `roc` roll-overs.
    fn open(datagram: &[u8], roc: u32) -> Opened {
        let words = |at: usize| usize::from(u16::from_be_bytes([datagram[at], datagram[at + 1]]));
        let extension_bytes = if datagram[0] & 0x10 == 0 { 0 } else { 4 + 4 * words(14) };
        let (header, sealed) = datagram.split_at(12 + extension_bytes);
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let seq = u16::from_be_bytes([header[2], header[3]]);
        let srtp = str0m::crypto::from_feature_flags().srtp_provider;
        let mut payload = vec![0; sealed.len() - AeadAes128Gcm::TAG_LEN];
        let iv = AeadAes128Gcm::rtp_iv(SALT, word(8), roc, seq);
        let mut cipher = srtp.aead_aes_128_gcm().create_cipher(KEY, false);
        cipher.decrypt(&iv, &[header], sealed, &mut payload).unwrap();
        let (pt, marker) = (header[1] & 0x7f, header[1] & 0x80 != 0);
        let extensions = header[12..].to_vec();
        Opened { pt, marker, seq, rtp_timestamp: word(4), ssrc: word(8), extensions, payload }
    }

    fn sealer() -> Sealer {
        Sealer::with(&KEY, &SALT).unwrap()
    }

    fn stream(first_seq: u64, loss: OnLoss) -> RtpStream {
        let lane = Lane { mid: Mid::from("0"), pt: 96, clock: Timescale::VIDEO, first_seq, loss };
        let ids = ExtensionIds { mid: Some(4), capture_time: Some(5), delay: Some(6) };
        RtpStream::new(lane, ids, 0x11, Some(0x22)).unwrap()
    }

    /// A picture of `packets` packets that begin with their place in it.
    fn unit(packets: u8, stamp: Stamp) -> DueUnit {
        let payload = |n: u8| RtpPayload {
            payload: [&[n][..], &[0x5a; 999]].concat().into(),
            marker: n + 1 == packets,
            offset_ticks: 0,
        };
        DueUnit { payloads: (0..packets).map(payload).collect(), rtp_timestamp: 3600, wall: WALL, stamp }
    }

    #[test]
    fn packets_open_at_the_viewer_across_the_roll_over() {
        let (mut stream, mut outbox) = (stream(0xfffe, OnLoss::Rtx(97)), outbox_with_way());
        let unit = unit(4, Stamp::default());
        assert_eq!(stream.send(&unit, &sealer(), &mut outbox, clock::now()), 4);
        let sent = datagrams(&outbox);
        for (n, (seq, roc)) in [(0xfffe, 0), (0xffff, 0), (0, 1), (1, 1)].into_iter().enumerate() {
            let opened = open(&sent[n], roc);
            assert_eq!((opened.seq, opened.ssrc, opened.pt, opened.rtp_timestamp), (seq, 0x11, 96, 3600));
            assert_eq!(opened.payload, unit.payloads[n].payload[..]);
            assert_eq!(opened.marker, n == 3);
        }
        let reported = stream.sent(&unit);
        assert_eq!((reported.packets, reported.octets), (4, 4000));
    }

    #[test]
    fn lost_packet_comes_again_over_rtx_under_a_number_of_its_own() {
        let (mut stream, mut outbox, now) =
            (stream(0xfffe, OnLoss::Rtx(97)), outbox_with_way(), clock::now());
        let unit = unit(4, Stamp::default());
        stream.send(&unit, &sealer(), &mut outbox, now);
        for lost in [0_u16, 0] {
            assert!(stream.again(lost, &sealer(), &mut outbox, now));
        }
        let sent = datagrams(&outbox);
        for (datagram, seq) in sent[4..].iter().zip([0xfffe, 0xffff]) {
            let opened = open(datagram, 0);
            assert_eq!((opened.seq, opened.ssrc, opened.pt, opened.rtp_timestamp), (seq, 0x22, 97, 3600));
            assert_eq!(opened.payload[..3], [0, 0, 2], "the number it was lost under, then the payload");
            assert_eq!(opened.payload[2..], unit.payloads[2].payload[..]);
        }
        assert_eq!(sent.len(), 6);
        assert!(!stream.again(2, &sealer(), &mut outbox, now), "never sent");
        assert!(!stream.again(0, &sealer(), &mut outbox, now + AGE_MAX * 2), "too old");
        assert_eq!(stream.packets, 4, "RTX is another stream");
    }

    /// Otherwise two packets would have one nonce.
    #[test]
    fn without_rtx_a_lost_packet_comes_again_byte_for_byte() {
        let (mut stream, mut outbox, now) = (stream(5, OnLoss::Same), outbox_with_way(), clock::now());
        let stamp = Stamp { is_urgent: true, captured: Some(WALL) };
        stream.send(&unit(3, stamp), &sealer(), &mut outbox, now);
        stream.is_known = true;
        stream.send(&unit(3, Stamp::default()), &sealer(), &mut outbox, now);
        for seq in 5..11 {
            assert!(stream.again(seq, &sealer(), &mut outbox, now));
        }
        let sent = datagrams(&outbox);
        assert_eq!(sent.len(), 12);
        assert_eq!(sent[..6], sent[6..]);
        assert_eq!(stream.packets, 12);
    }

    #[test]
    fn section_is_named_until_the_viewer_reported_and_stamps_are_on_first_packets() {
        let (mut stream, mut outbox, now) = (stream(0, OnLoss::Gone), outbox_with_way(), clock::now());
        let stamp = Stamp { is_urgent: true, captured: Some(WALL) };
        stream.send(&unit(2, stamp), &sealer(), &mut outbox, now);
        stream.is_known = true;
        stream.send(&unit(2, Stamp { is_urgent: true, captured: None }), &sealer(), &mut outbox, now);
        let sent: Vec<Vec<u8>> =
            datagrams(&outbox).iter().map(|datagram| open(datagram, 0).extensions).collect();
        let captured = NtpTime::from_wall(WALL).0.to_be_bytes();
        let stamped = [&[0xbe, 0xde, 0, 4, 0x40, b'0', 0x57][..], &captured, &[0x62, 0, 0, 0, 0]].concat();
        assert_eq!(sent[0], stamped);
        assert_eq!(sent[1], [0xbe, 0xde, 0, 1, 0x40, b'0', 0, 0]);
        assert_eq!(sent[2], [0xbe, 0xde, 0, 1, 0x62, 0, 0, 0]);
        assert_eq!(sent[3], [0_u8; 0]);
        assert!(!stream.again(0, &sealer(), &mut outbox, now), "sound is not sent again");
    }

    #[test]
    fn extensions_of_the_long_form_and_rtx_without_a_stream_are_left_to_str0m() {
        let lane = stream(0, OnLoss::Rtx(97)).lane;
        let ids = ExtensionIds { mid: Some(15), ..ExtensionIds::default() };
        assert!(RtpStream::new(lane, ids, 0x11, Some(0x22)).is_none());
        assert!(RtpStream::new(lane, ExtensionIds::default(), 0x11, None).is_none());
    }
}
