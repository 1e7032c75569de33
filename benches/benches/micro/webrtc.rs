//! WebRTC: one packet sealed, as str0m's provider does it, and one viewer's session through str0m, as the server drives it
//! where AES-GCM was not agreed on.
//!
//! A picture of 20,000 bytes is what a camera of 4 Mbit/s sends 25 times a second.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Throughput;
use str0m::change::SdpAnswer;
use str0m::config::CryptoProvider;
use str0m::crypto::Aes128CmSha1_80;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::cpu_time::CpuBench;
use crate::egress::PAYLOAD_BYTES_MAX;
use crate::media::{count, epoch};

const HEADER_BYTES: usize = 20;
const PICTURE_BYTES: usize = 20_000;
/// The server's (its retransmission cache).
const RTX_PACKETS_MAX: usize = 1024;
const RTX_AGE_MAX: Duration = Duration::from_secs(1);

/// Copy and encryption of one packet in each of the two profiles that browsers offer.
pub(crate) fn seal(criterion: &mut CpuBench) {
    let crypto = str0m::crypto::from_feature_flags();
    let (srtp, hmac) = (crypto.srtp_provider, crypto.sha1_hmac_provider);
    let packet = vec![0x5a_u8; HEADER_BYTES + PAYLOAD_BYTES_MAX];
    let mut group = criterion.benchmark_group("seal a packet");
    group.throughput(Throughput::Bytes(count(PAYLOAD_BYTES_MAX)));
    let (header, payload) = packet.split_at(HEADER_BYTES);
    group.bench_function("aes-128-gcm", |bencher| {
        let mut cipher = srtp.aead_aes_128_gcm().create_cipher([7; 16], true);
        bencher.iter(|| {
            let mut sealed = vec![0; packet.len() + 16];
            cipher.encrypt(&[9; 12], header, payload, &mut sealed[HEADER_BYTES..]).unwrap();
            sealed[..HEADER_BYTES].copy_from_slice(header);
            sealed
        });
    });
    group.bench_function("aes-128-cm, hmac-sha1-80", |bencher| {
        let mut cipher = srtp.aes_128_cm_sha1_80().create_cipher([7; 16], true);
        bencher.iter(|| {
            // Room for the tag and a block that the counter mode may write over the end, as str0m leaves.
            let mut sealed = vec![0; packet.len() + 15];
            cipher.encrypt(&[9; 16], payload, &mut sealed[HEADER_BYTES..]).unwrap();
            sealed[..HEADER_BYTES].copy_from_slice(header);
            let sha1 = |key: &[u8], parts: &[&[u8]]| hmac.sha1_hmac(key, parts);
            Aes128CmSha1_80::rtp_hmac(sha1, &[7; 20], &mut sealed, 1, packet.len());
            sealed
        });
    });
}

/// A picture's payloads through str0m to datagrams, for one viewer.
pub(crate) fn session(criterion: &mut CpuBench) {
    let payload: Arc<[u8]> = vec![0x5a; PAYLOAD_BYTES_MAX].into();
    let packets = PICTURE_BYTES.div_ceil(PAYLOAD_BYTES_MAX);
    let mut viewer = Session::connected();
    let mut group = criterion.benchmark_group("webrtc session");
    group.throughput(Throughput::Elements(count(packets)));
    group.bench_function("packets of a picture", |bencher| {
        bencher.iter(|| {
            let sent = viewer.send(&payload, packets);
            assert!(sent >= packets, "{sent} datagrams of {packets} packets");
        });
    });
}

/// One end of a connection.
struct End {
    rtc: Rtc,
    address: SocketAddr,
    inbox: VecDeque<Transmit>,
    is_connected: bool,
}

impl End {
    fn new(crypto: &Arc<CryptoProvider>, port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let config = RtcConfig::new().set_crypto_provider(Arc::clone(crypto)).set_rtp_mode(true);
        let mut rtc = config.build(epoch());
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap()).unwrap();
        Self { rtc, address, inbox: VecDeque::new(), is_connected: false }
    }

    /// Takes what has come, and hands out what it answers.
    fn step(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(out);
        while let Some(datagram) = self.inbox.pop_front() {
            let receive = Receive {
                proto: Protocol::Udp,
                source: datagram.source,
                destination: self.address,
                contents: datagram.contents[..].try_into().unwrap(),
            };
            self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
            self.drain(out);
        }
    }

    fn drain(&mut self, out: &mut VecDeque<Transmit>) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Transmit(datagram) => out.push_back(datagram),
                Output::Event(event) => self.is_connected |= matches!(event, Event::Connected),
                Output::Timeout(_) => return,
            }
        }
    }
}

/// The server's end of a connection to a viewer who has offered H.264.
struct Session {
    end: End,
    mid: Mid,
    pt: Pt,
    now: Instant,
    next_seq: u64,
    rtp_timestamp: u32,
}

impl Session {
    fn connected() -> Self {
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let (mut server, mut viewer) = (End::new(&crypto, 1000), End::new(&crypto, 1001));
        let mut change = viewer.rtc.sdp_api();
        let mid = change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = change.apply().unwrap();
        let answer: SdpAnswer = server.rtc.sdp_api().accept_offer(offer).unwrap();
        viewer.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let mut now = epoch();
        while !(server.is_connected && viewer.is_connected) {
            now += Duration::from_millis(10);
            assert!(now < epoch() + Duration::from_secs(10), "not connected");
            server.step(now, &mut viewer.inbox);
            viewer.step(now, &mut server.inbox);
        }
        let pt = server.rtc.media(mid).unwrap().remote_pts()[0];
        let mut api = server.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).unwrap();
        stream.set_rtx_cache(RTX_PACKETS_MAX, RTX_AGE_MAX, None);
        Self { end: server, mid, pt, now, next_seq: 1, rtp_timestamp: 0 }
    }

    /// Sends a picture; how many datagrams went out.
    fn send(&mut self, payload: &Arc<[u8]>, packets: usize) -> usize {
        // Not 40 ms: the viewer, who never answers here, would soon count as gone.
        self.now += Duration::from_micros(1);
        self.rtp_timestamp = self.rtp_timestamp.wrapping_add(3600);
        let mut api = self.end.rtc.direct_api();
        let stream = api.stream_tx_by_mid(self.mid, None).unwrap();
        for number in 1..=packets {
            let payload = Arc::clone(payload);
            let write = RtpWrite::new(self.pt, self.next_seq.into(), self.rtp_timestamp, self.now, payload);
            stream.write_rtp(write.marker(number == packets).nackable(true));
            self.next_seq += 1;
        }
        self.end.rtc.handle_input(Input::Timeout(self.now)).unwrap();
        let mut out = VecDeque::with_capacity(packets);
        self.end.drain(&mut out);
        black_box(out).len()
    }
}
