//! Synthetic cameras for tests of timing: any frame rate, jitter and GOP; the payload is not decodable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Event, Segmenter, SegmenterConfig};
use crate::access_unit::AccessUnit;
use crate::time::{Timescale, WallTime};
use crate::track::{CodecConfig, H264Config, SharedFormat, StreamFormat, TrackId, TrackInfo};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: WallTime = WallTime(1_767_225_600_000_000);

pub(crate) fn config() -> SegmenterConfig {
    SegmenterConfig {
        segment_duration: Duration::from_secs(1),
        part_duration: Duration::from_millis(200),
        segment_bytes_max: 50 << 20,
        first_msn: 100,
    }
}

pub(crate) fn format(generation: u64) -> SharedFormat {
    let codec = CodecConfig::H264(H264Config {
        sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1e]),
        pps: Bytes::from(vec![0x68, u8::try_from(generation).unwrap()]),
        width: 640,
        height: 360,
        profile_idc: 0x42,
        constraint_flags: 0xc0,
        level_idc: 0x1e,
    });
    let track = TrackInfo { id: TrackId(0), timescale: Timescale::VIDEO, codec, transcoded_from: None };
    Arc::new(StreamFormat { generation, is_slate: false, tracks: vec![track] })
}

/// A camera: hands out units in order.
pub(crate) struct Camera {
    pub(crate) format: SharedFormat,
    pub(crate) dts_ticks: i64,
    pub(crate) frame: u64,
    random: u64,
}

impl Camera {
    pub(crate) fn new(generation: u64) -> Self {
        Self { format: format(generation), dts_ticks: 12_345, frame: 0, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next unit, which lasts `ticks`.
    pub(crate) fn unit(&mut self, ticks: i64, gop_frames: u64) -> Arc<AccessUnit> {
        let unit = AccessUnit {
            track: TrackId(0),
            dts_ticks: self.dts_ticks,
            pts_ticks: self.dts_ticks,
            wall: START.plus_us(Timescale::VIDEO.ticks_to_us(self.dts_ticks - 12_345)),
            is_random_access: self.frame.is_multiple_of(gop_frames),
            payload: Bytes::from(vec![0; 100]),
        };
        self.dts_ticks += ticks;
        self.frame += 1;
        Arc::new(unit)
    }

    /// A number in `-reach..=reach`, from a fixed seed.
    pub(crate) fn jitter(&mut self, reach: i64) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let span = u64::try_from(2 * reach + 1).unwrap();
        i64::try_from(self.random % span).unwrap() - reach
    }
}

/// Pushes a unit and hands back what came out.
pub(crate) fn push(segmenter: &mut Segmenter, format: &SharedFormat, unit: &Arc<AccessUnit>) -> Vec<Event> {
    segmenter.push(format, unit).unwrap();
    std::iter::from_fn(|| segmenter.poll_event()).collect()
}
