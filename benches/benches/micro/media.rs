//! Media: recorded packets, and what the core makes of them, ready to be measured on.
//!
//! Packets of media-core/testdata are as ffmpeg and GStreamer sent them (small pictures; what counts there is the cost
//! of a packet or a picture). The 720p clip gives pictures of several packets; it is packetized here, with 1400 bytes as
//! cameras do.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut as _, Bytes, BytesMut};
use fixtures::{Clip, VideoTrack};
use media_core::access_unit::AccessUnit;
use media_core::ingest::{Ingest, IngestEvent, TrackSetup};
use media_core::remux::rtp::{Packetizer, ParameterSets};
use media_core::rtp::RtpPacket;
use media_core::rtp::depacketize::{
    AacDepacketizer, AacFraming, Depacketizer, H264Depacketizer, H265Depacketizer, PacketPerUnit,
};
use media_core::time::{Timescale, WallTime};
use media_core::track::{CodecConfig, H264Config, SharedFormat, TrackId, TrackInfo};

/// 2026-01-01T00:00:00Z.
const WALL_START: WallTime = WallTime(1_767_225_600_000_000);

/// RTP payloads of cameras: with all headers they fit an Ethernet frame.
const CAMERA_PAYLOAD_BYTES: usize = 1400;

/// Times that the 720p clip (5.3 s, one GOP) follows itself: the segmenter meets several GOPs.
const CLIP_RUNS: u32 = 3;

/// One track as recorded.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) setup: TrackSetup,
    pub(crate) packets: Vec<RtpPacket>,
    parameter_sets: Vec<Bytes>,
}

/// What the core makes of a recording.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) format: SharedFormat,
    pub(crate) units: Vec<AccessUnit>,
}

/// When all recordings begin.
pub(crate) fn epoch() -> Instant {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    *EPOCH
}

impl Recording {
    /// H.264 High with a pyramid of B-frames, 200x160.
    pub(crate) fn h264_small() -> Self {
        let sets = "Z2QADKzZQ0V5f/wBAAC0QAAAAwBAAAAPA8UKZYA=,aOvhEsiw";
        let fmtp = format!("packetization-mode=1; sprop-parameter-sets={sets}");
        let dump = include_bytes!("../../../media-core/testdata/h264-pyramid.rtp");
        Self::dumped("h264 200x160", setup("H264", 90_000, &fmtp), sets, dump)
    }

    /// H.264 Baseline with four slices a picture, 384x216.
    pub(crate) fn h264_slices() -> Self {
        let sets = "Z0LADNkBgd+WagwMDIAAAAMBAAADABkHihUk,aMuBMsg=";
        let fmtp = format!("packetization-mode=1; sprop-parameter-sets={sets}");
        let dump = include_bytes!("../../../media-core/testdata/h264-slices.rtp");
        Self::dumped("h264 384x216, 4 slices", setup("H264", 90_000, &fmtp), sets, dump)
    }

    /// H.265 Main, open GOP, 200x160.
    pub(crate) fn h265_small() -> Self {
        let sets = "QAEMAf//AWAAAAMAkAAAAwAAAwA8lZgJ,QgEBAWAAAAMAkAAAAwAAAwA8oBkgKFllZpJMr/8AQAAtacIAAAMAAgAAAwA8EA==,RAHBcrRiQA==";
        let [vps, sps, pps] = sets.split(',').collect::<Vec<_>>()[..] else { panic!("three sets") };
        let fmtp = format!("sprop-vps={vps}; sprop-sps={sps}; sprop-pps={pps}");
        let dump = include_bytes!("../../../media-core/testdata/h265-open-gop.rtp");
        Self::dumped("h265 200x160", setup("H265", 90_000, &fmtp), sets, dump)
    }

    /// AAC-LC, 48 kHz stereo, 64 kbit/s.
    pub(crate) fn aac() -> Self {
        let fmtp = "streamtype=5; profile-level-id=2; mode=AAC-hbr; config=1190; sizelength=13; indexlength=3; indexdeltalength=3";
        let dump = include_bytes!("../../../media-core/testdata/aac.rtp");
        Self::dumped("aac 48 kHz stereo", setup("mpeg4-generic", 48_000, fmtp), "", dump)
    }

    /// G.711 A-law, 20 ms a packet.
    pub(crate) fn pcma() -> Self {
        let dump = include_bytes!("../../../media-core/testdata/pcma.rtp");
        Self::dumped("pcma 8 kHz", setup("PCMA", 8000, ""), "", dump)
    }

    /// H.264 Main, 720p25, 1.6 Mbit/s, pictures of up to a hundred packets.
    pub(crate) fn h264_720p() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/clips/bigbuckbunny-720p.mp4");
        let video = Clip::open(&file, 25.0).unwrap().video;
        let parameter_sets: Vec<Bytes> = video.parameter_sets.nal_units().cloned().collect();
        let encoded: Vec<String> = parameter_sets.iter().map(|set| BASE64.encode(set)).collect();
        let fmtp = format!("packetization-mode=1; sprop-parameter-sets={}", encoded.join(","));
        let packets = packetized(&video);
        Self { name: "h264 720p", setup: setup("H264", 90_000, &fmtp), packets, parameter_sets }
    }

    fn dumped(name: &'static str, setup: TrackSetup, sets: &str, dump: &'static [u8]) -> Self {
        let sets = sets.split(',').filter(|set| !set.is_empty());
        let parameter_sets = sets.map(|set| Bytes::from(BASE64.decode(set).unwrap())).collect();
        let packets = read_dump(dump, setup.clock_rate);
        Self { name, setup, packets, parameter_sets }
    }

    /// Media bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.packets.iter().map(|packet| count(packet.payload.len())).sum()
    }

    /// A depacketizer that has seen nothing.
    pub(crate) fn depacketizer(&self) -> Depacketizer {
        let sets = self.parameter_sets.iter().map(AsRef::as_ref);
        match self.setup.encoding.as_str() {
            "H264" => Depacketizer::H264(Box::new(H264Depacketizer::new(sets))),
            "H265" => Depacketizer::H265(Box::new(H265Depacketizer::new(sets))),
            "PCMA" => Depacketizer::PacketPerUnit(PacketPerUnit::g711(1)),
            _ => Depacketizer::Aac(AacDepacketizer::new(AacFraming {
                size_bits: 13,
                index_bits: 3,
                index_delta_bits: 3,
                frame_ticks: 1024,
            })),
        }
    }

    /// An ingest that waits for the recording's first packet.
    pub(crate) fn ingest(&self) -> Ingest {
        let mut ingest = Ingest::new(epoch());
        ingest.start(std::slice::from_ref(&self.setup), epoch()).unwrap();
        ingest
    }

    /// The access units in it.
    pub(crate) fn stream(&self) -> Stream {
        let mut ingest = self.ingest();
        let mut stream = (None, Vec::new());
        for packet in &self.packets {
            ingest.handle_rtp(0, packet).unwrap();
            while let Some(event) = ingest.poll_event() {
                match event {
                    IngestEvent::Format(format) => assert!(stream.0.replace(format).is_none(), "one format"),
                    IngestEvent::Unit(unit) => stream.1.push(unit),
                }
            }
        }
        let format = stream.0.expect("a recording begins with a random access point");
        Stream { format, units: stream.1 }
    }
}

impl Stream {
    /// Media bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.units.iter().map(|unit| count(unit.payload.len())).sum()
    }

    /// The units as the ring shares them.
    pub(crate) fn shared(&self) -> Vec<Arc<AccessUnit>> {
        self.units.iter().cloned().map(Arc::new).collect()
    }
}

/// A length for criterion.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap()
}

fn setup(encoding: &str, clock_rate: u32, fmtp: &str) -> TrackSetup {
    TrackSetup {
        encoding: encoding.to_owned(),
        clock_rate,
        channels: Some(1),
        fmtp: Some(format!("96 {fmtp}")).filter(|_| !fmtp.is_empty()),
        rtp_info_timestamp: None,
    }
}

/// Reads RFC 4571 frames: a length of 16 bits, then an RTP packet without extension or padding.
fn read_dump(dump: &'static [u8], clock_rate: u32) -> Vec<RtpPacket> {
    let mut rest = dump;
    let mut arrivals = Arrivals::new(clock_rate);
    let mut packets = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(usize::from(u16::from_be_bytes(*len)));
        rest = after;
        let (header, payload) = packet.split_first_chunk::<12>().unwrap();
        let [_, type_byte, seq_high, seq_low, t0, t1, t2, t3, ..] = *header;
        let rtp_timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
        packets.push(arrivals.packet(RtpFacts {
            seq: u16::from_be_bytes([seq_high, seq_low]),
            rtp_timestamp,
            marker: type_byte & 0x80 != 0,
            payload: Bytes::from_static(payload),
        }));
    }
    packets
}

/// Packets of a clip that follows itself.
fn packetized(video: &VideoTrack) -> Vec<RtpPacket> {
    let track = TrackInfo {
        id: TrackId(0),
        timescale: Timescale::VIDEO,
        codec: CodecConfig::H264(H264Config {
            sps: video.parameter_sets.sps[0].clone(),
            pps: video.parameter_sets.pps[0].clone(),
            width: 1280,
            height: 720,
            profile_idc: 77,
            constraint_flags: 0,
            level_idc: 31,
        }),
        transcoded_from: None,
    };
    let packetizer =
        Packetizer::new(&track, CAMERA_PAYLOAD_BYTES, ParameterSets::BeforeRandomAccess).unwrap();
    let run_ticks = u32::try_from(video.duration_90k).unwrap();
    let mut arrivals = Arrivals::new(90_000);
    let mut packets: Vec<RtpPacket> = Vec::new();
    for run in 0..CLIP_RUNS {
        for unit in &video.access_units {
            let rtp_timestamp = u32::try_from(unit.pts_90k).unwrap() + run * run_ticks;
            for payload in packetizer.packetize(&access_unit(unit)).unwrap() {
                packets.push(arrivals.packet(RtpFacts {
                    seq: u16::try_from(packets.len()).unwrap(),
                    rtp_timestamp,
                    marker: payload.marker,
                    payload: Bytes::from_owner(payload.payload),
                }));
            }
        }
    }
    packets
}

/// As the core frames it: each NAL unit behind its length.
fn access_unit(unit: &fixtures::AccessUnit) -> AccessUnit {
    let mut payload = BytesMut::new();
    for nal in &unit.nal_units {
        payload.put_u32(u32::try_from(nal.len()).unwrap());
        payload.put_slice(nal);
    }
    AccessUnit {
        track: TrackId(0),
        dts_ticks: unit.dts_90k,
        pts_ticks: unit.pts_90k,
        wall: WALL_START,
        is_random_access: unit.is_random_access,
        payload: payload.freeze(),
    }
}

struct RtpFacts {
    seq: u16,
    rtp_timestamp: u32,
    marker: bool,
    payload: Bytes,
}

/// Gives packets their arrival: as their timestamps rise, 20 ms after the start.
struct Arrivals {
    clock_rate: u64,
    first: Option<u32>,
    highest_ticks: u64,
}

impl Arrivals {
    fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.into(), first: None, highest_ticks: 0 }
    }

    fn packet(&mut self, facts: RtpFacts) -> RtpPacket {
        let first = *self.first.get_or_insert(facts.rtp_timestamp);
        let ticks = facts.rtp_timestamp.wrapping_sub(first).cast_signed();
        self.highest_ticks = self.highest_ticks.max(u64::try_from(ticks).unwrap_or(0));
        let after = Duration::from_micros(20_000 + self.highest_ticks * 1_000_000 / self.clock_rate);
        RtpPacket {
            seq: facts.seq,
            rtp_timestamp: facts.rtp_timestamp,
            marker: facts.marker,
            payload: facts.payload,
            arrival: epoch() + after,
            arrival_wall: WALL_START.plus_us(i64::try_from(after.as_micros()).unwrap()),
            lost_before: 0,
        }
    }
}
