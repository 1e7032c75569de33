//! Micro benches: what each step of the media core costs, over recorded media, on one core.
//!
//! ```text
//!  bytes ─► packets ─► access units ─► ring ─► parts ─► playlist
//!    wire      depacketize, ingest       │       └ HLS
//!                                        └─► RTP payloads ─► sealed datagrams
//! ```
//!
//! `cargo bench -p gtvision-benches` measures; `cargo test` runs each once, so that they do not rot.
//! Times are CPU time of the thread (-> cpu_time). A throughput is of media bytes (payloads without headers) unless the group's name says packets or reads.
//! Each iteration takes a whole recording with a machine of its own, so that a figure does not depend on the one before.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench whose media can't be read has nothing to measure"
)]

mod audio;
mod cpu_time;
mod egress;
mod ingest;
mod media;
mod playlist;
mod ring;
mod webrtc;
mod wire;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

use crate::cpu_time::{CpuBench, CpuTime};

/// Shorter than criterion's: the machine is noisy in minutes rather than seconds, and all of them run in a few.
fn config() -> CpuBench {
    let (warm_up, measurement) = (Duration::from_secs(1), Duration::from_secs(3));
    let criterion = Criterion::default().with_measurement(CpuTime);
    criterion.warm_up_time(warm_up).measurement_time(measurement).sample_size(30)
}

criterion_group! {
    name = benches;
    config = config();
    targets =
        wire::received_bytes,
        ingest::depacketize,
        ingest::ingest,
        ring::push_and_read,
        egress::parts,
        egress::rtp_payloads,
        playlist::render,
        webrtc::seal,
        webrtc::session,
        audio::transcode,
}
criterion_main!(benches);
