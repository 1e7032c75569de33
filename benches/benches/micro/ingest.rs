//! Packets to access units: the depacketizer alone, and with the repair of times behind it.

use std::hint::black_box;

use criterion::Throughput;

use crate::cpu_time::CpuBench;
use crate::media::Recording;

/// RTP payloads to whole access units.
pub(crate) fn depacketize(criterion: &mut CpuBench) {
    let mut group = criterion.benchmark_group("depacketize");
    for recording in recordings() {
        group.throughput(Throughput::Bytes(recording.bytes()));
        group.bench_function(recording.name, |bencher| {
            bencher.iter(|| {
                let mut machine = recording.depacketizer();
                for packet in &recording.packets {
                    machine.push(packet).unwrap();
                    while let Some(unit) = machine.poll() {
                        black_box(unit);
                    }
                }
            });
        });
    }
}

/// RTP payloads to what goes into the ring.
pub(crate) fn ingest(criterion: &mut CpuBench) {
    let mut group = criterion.benchmark_group("ingest");
    for recording in recordings() {
        group.throughput(Throughput::Bytes(recording.bytes()));
        group.bench_function(recording.name, |bencher| {
            bencher.iter(|| {
                let mut ingest = recording.ingest();
                for packet in &recording.packets {
                    ingest.handle_rtp(0, packet).unwrap();
                    while let Some(event) = ingest.poll_event() {
                        black_box(event);
                    }
                }
            });
        });
    }
}

fn recordings() -> Vec<Recording> {
    vec![
        Recording::h264_720p(),
        Recording::h264_small(),
        Recording::h264_slices(),
        Recording::h265_small(),
        Recording::aac(),
        Recording::pcma(),
    ]
}
