//! Access unit: one coded picture or audio frame with its times, the unit that the ring holds.

use bytes::Bytes;

use crate::time::WallTime;
use crate::track::TrackId;

/// The largest access unit taken, in bytes; a larger one is dropped and counted.
///
/// A 4K intra picture at the highest camera quality is about 2 MB; 8 MiB leaves room and bounds
/// what one hostile camera can make us hold.
pub const ACCESS_UNIT_BYTES_MAX: usize = 8 << 20;

/// One picture (all its NAL units) or one audio frame.
///
/// Invariants, kept by `ingest`: within a track and a format `dts_ticks` rises strictly;
/// `pts_ticks >= dts_ticks`. All tracks of a format share the origin of their times: tick 0 of
/// each track is the same instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// Which track of the format in force.
    pub track: TrackId,
    /// Decode time, ticks of the track's timescale.
    pub dts_ticks: i64,
    /// Presentation time, ticks of the track's timescale.
    pub pts_ticks: i64,
    /// When the picture was taken, as well as we know it (sender reports, else arrival, smoothed).
    pub wall: WallTime,
    /// Decoding can start here. For audio always true.
    pub is_random_access: bool,
    /// Video: NAL units, each behind its length in 4 bytes, big-endian, byte for byte and in the
    /// order the camera sent them (correctness: F4). Audio: one frame (G.711: one packet's samples).
    pub payload: Bytes,
}
