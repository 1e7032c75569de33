//! Access units to what leaves: parts for HLS and recordings, RTP payloads for WebRTC and RTSP.

use std::hint::black_box;
use std::time::Duration;

use criterion::Throughput;
use media_core::remux::fmp4::{Segmenter, SegmenterConfig};
use media_core::remux::rtp::{Packetizer, ParameterSets};

use crate::cpu_time::CpuBench;
use crate::media::{Recording, Stream};

/// As the server's defaults.
pub(crate) fn segmenter() -> Segmenter {
    Segmenter::new(SegmenterConfig {
        segment_duration: Duration::from_secs(1),
        part_duration: Duration::from_millis(200),
        segment_bytes_max: 50 << 20,
        first_msn: 100,
    })
}

/// As the server's: 1200 bytes of UDP less RTP header, extensions, tag and retransmission's number.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1200 - 12 - 32 - 16 - 2;

/// Access units to parts.
pub(crate) fn parts(criterion: &mut CpuBench) {
    let mut group = criterion.benchmark_group("parts");
    for (name, stream) in streams() {
        let units = stream.shared();
        group.throughput(Throughput::Bytes(stream.bytes()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut segmenter = segmenter();
                for unit in &units {
                    segmenter.push(&stream.format, unit).unwrap();
                    while let Some(event) = segmenter.poll_event() {
                        black_box(event);
                    }
                }
            });
        });
    }
}

/// Access units to RTP payloads, made once for all viewers.
pub(crate) fn rtp_payloads(criterion: &mut CpuBench) {
    let mut group = criterion.benchmark_group("rtp payloads");
    for (name, stream) in streams() {
        let track = stream.format.tracks.first().unwrap();
        let packetizer =
            Packetizer::new(track, PAYLOAD_BYTES_MAX, ParameterSets::BeforeRandomAccess).unwrap();
        group.throughput(Throughput::Bytes(stream.bytes()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for unit in &stream.units {
                    black_box(packetizer.packetize(unit).unwrap());
                }
            });
        });
    }
}

fn streams() -> Vec<(&'static str, Stream)> {
    let recordings = [Recording::h264_720p(), Recording::h264_small(), Recording::h265_small()];
    recordings.into_iter().map(|recording| (recording.name, recording.stream())).collect()
}
