//! Sound: what a browser can't play to Opus. Throughput is of time heard: 1 s of sound counts as a million elements, so
//! the figure is how many times faster than real time it runs, in millions a second.

use std::hint::black_box;

use criterion::Throughput;
use media_core::audio::Transcoder;
use media_core::track::TrackInfo;

use crate::cpu_time::CpuBench;
use crate::media::{Recording, Stream};

/// A recording's sound to Opus.
pub(crate) fn transcode(criterion: &mut CpuBench) {
    let mut group = criterion.benchmark_group("audio to opus");
    for recording in [Recording::pcma(), Recording::aac()] {
        let stream = recording.stream();
        let [source, twin] = &stream.format.tracks[..] else { panic!("a track and its twin") };
        group.throughput(Throughput::Elements(heard_us(&stream, source)));
        group.bench_function(recording.name, |bencher| {
            bencher.iter(|| {
                let mut transcoder = Transcoder::new(source, twin).unwrap();
                for unit in &stream.units {
                    black_box(transcoder.push(unit).unwrap());
                }
            });
        });
    }
}

fn heard_us(stream: &Stream, track: &TrackInfo) -> u64 {
    let ticks = stream.units.last().unwrap().dts_ticks - stream.units[0].dts_ticks;
    u64::try_from(track.timescale.ticks_to_us(ticks)).unwrap()
}
