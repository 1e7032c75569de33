//! Silence: audio frames that decode to nothing, for the time a camera sends no sound.
//!
//! A browser shows a picture only where all tracks of a part have media, so a microphone that falls
//! silent (or was announced and never sends) would freeze the video. Known silent frames exist for the
//! codecs that cameras use; other audio is stretched over its gaps.

use bytes::Bytes;

use crate::time::Timescale;
use crate::track::{CodecConfig, TrackInfo};

/// Opus, 20 ms, CELT full band (RFC 6716 s3.1, configuration 31), the "silence" packet that WebRTC
/// implementations send.
const OPUS_MONO: &[u8] = &[0xf8, 0xff, 0xfe];
/// The same, stereo.
const OPUS_STEREO: &[u8] = &[0xfc, 0xff, 0xfe];
/// AAC-LC raw_data_block, one channel element with nothing in it (ISO/IEC 14496-3 s4.4.2.1).
const AAC_LC_MONO: &[u8] = &[0x00, 0xc8, 0x00, 0x80, 0x23, 0x80];
/// The same as a channel pair.
const AAC_LC_STEREO: &[u8] = &[0x21, 0x00, 0x49, 0x90, 0x02, 0x19, 0x00, 0x23, 0x80];

/// AAC-LC's frame length in samples.
const AAC_FRAME: i64 = 1024;
const OPUS_FRAME_MS: i64 = 20;

/// One silent frame of a track.
#[derive(Clone, Debug)]
pub(crate) struct Silence {
    pub(crate) payload: Bytes,
    pub(crate) duration_ticks: i64,
}

impl Silence {
    /// The silent frame of this track, where one is known.
    pub(crate) fn of(track: &TrackInfo) -> Option<Self> {
        let (payload, duration_ticks) = match &track.codec {
            CodecConfig::Opus { channels: 1 } => (OPUS_MONO, opus_frame(track.timescale)),
            CodecConfig::Opus { channels: 2 } => (OPUS_STEREO, opus_frame(track.timescale)),
            CodecConfig::Aac(c) if c.object_type == 2 && c.channels == 1 => (AAC_LC_MONO, AAC_FRAME),
            CodecConfig::Aac(c) if c.object_type == 2 && c.channels == 2 => (AAC_LC_STEREO, AAC_FRAME),
            _ => return None,
        };
        Some(Self { payload: Bytes::from_static(payload), duration_ticks: duration_ticks.max(1) })
    }
}

fn opus_frame(timescale: Timescale) -> i64 {
    i64::from(timescale.hz()) * OPUS_FRAME_MS / 1000
}
