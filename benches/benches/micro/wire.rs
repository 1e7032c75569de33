//! Wire: bytes of an RTSP connection to what goes into the ring, read as the server reads them.
//!
//! ```text
//!  read (a picture, or a packet) ─► interleaved frames ─► order ─► ingest ─► access unit
//! ```

use std::hint::black_box;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use criterion::{BatchSize, Throughput};
use media_core::ingest::Ingest;
use media_core::rtp::RtpPacket;
use media_core::rtsp::{Client, ClientConfig, Event, LowerTransport, MediaKind, ReceivedRtp, RtpReceiver};

use crate::cpu_time::CpuBench;
use crate::media::{Recording, epoch};

const SSRC: u32 = 0x1122_3344;
const PAYLOAD_TYPE: u8 = 96;

/// What one read finds: how the camera paces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Picture,
    Packet,
}

/// A picture in one read, and a packet in one read.
pub(crate) fn received_bytes(criterion: &mut CpuBench) {
    let recording = Recording::h264_720p();
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Bytes(recording.bytes()));
    for (name, cut) in [("picture in a read", Cut::Picture), ("packet in a read", Cut::Packet)] {
        let reads = reads(&recording, cut);
        group.bench_function(name, |bencher| {
            let taken = |mut camera: Camera| {
                reads.iter().for_each(|(read, packet)| camera.take(read, packet));
                camera
            };
            bencher.iter_batched(|| Camera::playing(&recording), taken, BatchSize::SmallInput);
        });
    }
}

/// The connection's bytes, cut into reads, each with a packet that tells when it came.
fn reads(recording: &Recording, cut: Cut) -> Vec<(Vec<u8>, RtpPacket)> {
    let mut reads = Vec::new();
    let mut bytes = Vec::new();
    for packet in &recording.packets {
        let len = u16::try_from(12 + packet.payload.len()).unwrap();
        bytes.put_slice(&[b'$', 0]);
        bytes.put_u16(len);
        bytes.put_slice(&[0x80, u8::from(packet.marker) << 7 | PAYLOAD_TYPE]);
        bytes.put_u16(packet.seq);
        bytes.put_u32(packet.rtp_timestamp);
        bytes.put_u32(SSRC);
        bytes.put_slice(&packet.payload);
        if packet.marker || cut == Cut::Packet {
            reads.push((std::mem::take(&mut bytes), packet.clone()));
        }
    }
    reads
}

/// One camera's machines, as the server's session holds them.
struct Camera {
    client: Client,
    receiver: RtpReceiver,
    ingest: Ingest,
    buffer: BytesMut,
    in_order: Vec<ReceivedRtp>,
}

impl Camera {
    /// A camera that has just answered PLAY.
    fn playing(recording: &Recording) -> Self {
        let config = ClientConfig {
            url: "rtsp://127.0.0.1/cam_1".parse().unwrap(),
            credentials: None,
            user_agent: "bench".to_owned(),
            request_timeout: Duration::from_secs(10),
            range: "npt=0.000-".into(),
            scale: None,
        };
        let now = epoch();
        let mut client = Client::new(config, now);
        let mut buffer = BytesMut::new();
        loop {
            while let Some(request) = client.poll_transmit() {
                buffer.put_slice(answer(&request).as_bytes());
            }
            match client.next_event(&mut buffer, now).unwrap() {
                Some(Event::Described(medias)) => {
                    client.setup(0, &medias[0], LowerTransport::Tcp { channel: 0 }, now).unwrap();
                }
                Some(Event::SetUp { .. }) => client.play(now).unwrap(),
                Some(Event::Playing) => break,
                Some(Event::Media { .. } | Event::Announced | Event::Recording) | None => {}
            }
        }
        Self {
            client,
            receiver: RtpReceiver::new(PAYLOAD_TYPE, 90_000),
            ingest: recording.ingest(),
            buffer: BytesMut::with_capacity(64 << 10),
            in_order: Vec::new(),
        }
    }

    /// Takes one read; the copy stands for the kernel's.
    fn take(&mut self, read: &[u8], came: &RtpPacket) {
        self.buffer.extend_from_slice(read);
        while let Some(event) = self.client.next_event(&mut self.buffer, came.arrival).unwrap() {
            let Event::Media { kind: MediaKind::Rtp, packet, .. } = event else { continue };
            self.receiver.handle(packet, came.arrival, &mut self.in_order);
            for rtp in self.in_order.drain(..) {
                let packet = RtpPacket {
                    seq: rtp.seq,
                    rtp_timestamp: rtp.rtp_timestamp,
                    marker: rtp.marker,
                    payload: rtp.payload,
                    lost_before: rtp.lost_before,
                    ..came.clone()
                };
                self.ingest.handle_rtp(0, &packet).unwrap();
            }
        }
        while let Some(event) = self.ingest.poll_event() {
            black_box(event);
        }
    }
}

/// What a camera answers, whatever is asked.
fn answer(request: &[u8]) -> String {
    let request = String::from_utf8_lossy(request);
    let cseq = request.lines().find(|line| line.starts_with("CSeq:")).unwrap();
    let (headers, body) = match request.split(' ').next().unwrap() {
        "DESCRIBE" => (
            "Content-Type: application/sdp\r\n",
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
             a=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n",
        ),
        "SETUP" => ("Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""),
        _ => ("Session: 1\r\n", ""),
    };
    format!("RTSP/1.0 200 OK\r\n{cseq}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}
