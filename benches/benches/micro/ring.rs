//! Ring: one writer, and none to a hundred readers that keep up with it.

use std::hint::black_box;

use criterion::{BenchmarkId, Throughput};
use media_core::ring::{JoinAt, Read, Retention, Ring};

use crate::cpu_time::CpuBench;
use crate::media::{Recording, count};

/// Pushes a recording; each reader takes each unit as it comes.
pub(crate) fn push_and_read(criterion: &mut CpuBench) {
    let stream = Recording::h264_720p().stream();
    let mut group = criterion.benchmark_group("ring");
    for readers in [0_usize, 1, 10, 100] {
        // One push or read each.
        group.throughput(Throughput::Elements(count(stream.units.len() * (1 + readers))));
        group.bench_function(BenchmarkId::new("push and read", readers), |bencher| {
            bencher.iter(|| {
                let mut ring = Ring::new(Retention::default());
                let mut cursors = vec![ring.cursor(JoinAt::LiveEdge); readers];
                for unit in &stream.units {
                    ring.push(&stream.format, unit.clone());
                    for cursor in &mut cursors {
                        match ring.read(cursor) {
                            Read::Entry(entry) => drop(black_box(entry)),
                            other => panic!("a reader that keeps up read {other:?}"),
                        }
                    }
                }
            });
        });
    }
}
