//! Playlists: rendering, which happens once for each part and stream, however many viewers there are.

use std::sync::Arc;

use criterion::Throughput;
use media_core::access_unit::AccessUnit;
use media_core::egress::hls::{Prefix, Variant, Window, WindowConfig};
use media_core::remux::fmp4::Event;

use crate::cpu_time::CpuBench;
use crate::egress::segmenter;
use crate::media::{Recording, count};

/// `hlsSegmentCount` by default.
const SEGMENT_COUNT: usize = 7;
/// How often a recording of 4 s follows itself: in a young window nothing can be skipped yet, after a minute it is full.
const RUNS: [(&str, i64); 2] = [("full, young", 1), ("full and delta", 15)];

/// Renders the playlists of a window as they stand.
pub(crate) fn render(criterion: &mut CpuBench) {
    let mut group = criterion.benchmark_group("playlist");
    for (name, runs) in RUNS {
        let mut window = Window::new(WindowConfig {
            variant: Variant::LowLatency,
            segment_count: SEGMENT_COUNT,
            bytes_soft: usize::MAX,
            prefix: Prefix::from_number(1_767_225_600_000_000),
            first_discontinuity: 0,
        });
        events(runs).into_iter().for_each(|event| window.apply(event));
        window.commit();
        let rendered = window.rendered().unwrap();
        assert_eq!(rendered.delta.is_some(), name == "full and delta");
        let bytes = rendered.full.len() + rendered.delta.as_ref().map_or(0, |delta| delta.len());
        group.throughput(Throughput::Bytes(count(bytes)));
        group.bench_function(name, |bencher| {
            bencher.iter(|| window.commit());
        });
    }
}

/// What the segmenter makes of a recording of 4 s (GOPs of 1 s) that follows itself.
fn events(runs: i64) -> Vec<Event> {
    let stream = Recording::h264_small().stream();
    let units = stream.shared();
    let run_ticks = 3000 * i64::try_from(units.len()).unwrap();
    let mut segmenter = segmenter();
    let mut events = Vec::new();
    for run in 0..runs {
        for unit in &units {
            let mut unit = AccessUnit::clone(unit);
            unit.dts_ticks += run * run_ticks;
            unit.pts_ticks += run * run_ticks;
            segmenter.push(&stream.format, &Arc::new(unit)).unwrap();
            events.extend(std::iter::from_fn(|| segmenter.poll_event()));
        }
    }
    events
}
