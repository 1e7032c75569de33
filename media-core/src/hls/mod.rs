//! HLS, as a client: playlists of others, what to fetch of them and when, and their segments as access units.
//!
//! ```text
//!  playlist text ─► Playlist ─┬─ Multivariant ─► Choice (best variant, its sound)
//!                             └─ MediaPlaylist ─► Follower ─► Step: fetch this segment, reload then, over
//!  segment bytes ─► Demuxer ─┬─ ts    ─┐
//!                            └─ fmp4  ─┴─► Brought: tracks, parameter sets, units in the order of decoding ─► Pacer ─► ingest
//! ```
//!
//! Segments hold seconds and come at once; the [`Pacer`] says when each unit is due, so that what is behind sees a camera.
//!
//! Belongs here: what is decided. Does not: requests, whom they may reach, time (-> `server::ingest::hls`); what we serve (-> `egress::hls`).
//! Units: `at_us` is a decode time on the source's own clock. Limits: beside their modules' constants.
//! Spec: RFC 8216; ISO/IEC 13818-1; ISO/IEC 14496-12. Not taken: encryption, packed audio, WebVTT, partial segments.

mod demux;
mod fmp4;
mod follow;
mod pace;
mod playlist;
mod stored;
#[cfg(test)]
mod tests;
mod ts;

use bytes::Bytes;

pub use demux::{DemuxError, Demuxer};
pub(crate) use demux::{Kind, Raw};
pub(crate) use fmp4::Fmp4Demuxer;
pub use fmp4::Fmp4Error;
pub use follow::{Follower, Step};
pub use pace::{Haste, Pacer};
pub use playlist::{
    ByteRange, Choice, InitSegment, MediaPlaylist, Multivariant, PLAYLIST_BYTES_MAX, Playlist, PlaylistError,
    SEGMENTS_MAX, Segment, URI_BYTES_MAX,
};

use crate::codec::aac::AudioSpecificConfig;
use crate::ingest::TrackSetup;
use crate::time::rescale;

/// Ticks of pictures in a second, whatever a segment counts in.
const VIDEO_RATE: u32 = 90_000;

/// Microseconds in a second.
const MICROS: u32 = 1_000_000;

/// What segments bring.
#[derive(Clone, Debug, PartialEq)]
pub enum Brought {
    /// These are the tracks, from the next unit on.
    Tracks(Vec<TrackSetup>),
    /// Parameter sets of a track, for the units that come.
    ParameterSets {
        /// Its index among the tracks.
        track: usize,
        /// NAL units.
        nals: Vec<Bytes>,
    },
    /// A whole access unit.
    Unit(Unit),
}

/// An access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its track's index.
    pub track: usize,
    /// When it is decoded.
    pub at_us: i64,
    /// When it is shown, as RTP would say it.
    pub rtp_timestamp: u32,
    /// NAL units behind lengths of 4 bytes, or a frame.
    pub payload: Bytes,
}

/// The RTP timestamp of an instant of the source's clock.
pub fn rtp_time(at_us: i64, clock_rate: u32) -> u32 {
    low_half(rescale(at_us, MICROS, clock_rate))
}

/// The lower 32 bits: RTP timestamps wrap.
pub(crate) fn low_half(ticks: i64) -> u32 {
    u32::try_from(ticks.rem_euclid(1 << 32)).unwrap_or(0)
}

/// A track's codec, as a container tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    H264,
    H265,
    Aac { config: Bytes, rate: u32 },
    Opus { channels: u8 },
}

impl Codec {
    /// AAC by its AudioSpecificConfig; `None` for one that can't be used.
    pub(crate) fn aac(config: Bytes) -> Option<Self> {
        let rate = AudioSpecificConfig::parse(&config).ok()?.output_rate;
        Some(Self::Aac { config, rate })
    }

    fn is_video(&self) -> bool {
        matches!(self, Self::H264 | Self::H265)
    }

    fn clock_rate(&self) -> u32 {
        match self {
            Self::H264 | Self::H265 => VIDEO_RATE,
            Self::Aac { rate, .. } => *rate,
            Self::Opus { .. } => 48_000,
        }
    }

    pub(crate) fn setup(&self) -> TrackSetup {
        let (encoding, channels, fmtp) = match self {
            Self::H264 => ("H264", None, None),
            Self::H265 => ("H265", None, None),
            Self::Aac { config, .. } => {
                let config: String = config.iter().map(|byte| format!("{byte:02x}")).collect();
                ("mpeg4-generic", None, Some(format!("config={config}")))
            }
            Self::Opus { channels } => ("opus", Some(*channels), None),
        };
        let (encoding, clock_rate) = (encoding.to_owned(), self.clock_rate());
        TrackSetup { encoding, clock_rate, channels, fmtp, rtp_info_timestamp: None }
    }
}
