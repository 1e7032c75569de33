//! Track: what one elementary stream of a camera is, as far as a reader must know to use it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::time::Timescale;

/// The most tracks a stream may hold: one video, one audio and its transcoded twin today, with room.
pub const TRACKS_MAX: usize = 8;

/// Position of a track in its [`StreamFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u8);

/// What kind of media a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One elementary stream ("media" in SDP, "trak" in mp4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Its position in [`StreamFormat::tracks`].
    pub id: TrackId,
    /// Unit of its access units' times; the RTP clock rate.
    pub timescale: Timescale,
    /// Codec and what a decoder needs before the first access unit.
    pub codec: CodecConfig,
    /// The track this one is transcoded from; `None` for what the camera sends.
    ///
    /// A transcoded track exists in the format from the start, but holds access units only while
    /// somebody asks for it.
    pub transcoded_from: Option<TrackId>,
}

/// A codec with its out-of-band configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecConfig {
    /// H.264 / AVC, ITU-T H.264. Access units are length-prefixed NAL units.
    H264(H264Config),
    /// H.265 / HEVC, ITU-T H.265. Access units are length-prefixed NAL units.
    H265(H265Config),
    /// AAC; access units are raw frames without ADTS.
    Aac(AacConfig),
    /// Opus, RFC 6716; access units are Opus packets.
    Opus {
        /// 1 or 2.
        channels: u8,
    },
    /// G.711 A-law or mu-law, 8 bits a sample; an access unit is what one RTP packet held.
    G711 {
        /// Which of the two laws.
        law: G711Law,
        /// Samples per second, 8000 in all but odd cameras.
        sample_rate: u32,
        /// Interleaved channels.
        channels: u8,
    },
}

/// The two companding laws of ITU-T G.711.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum G711Law {
    /// PCMA.
    A,
    /// PCMU.
    Mu,
}

/// H.264 parameter sets and what was read from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H264Config {
    /// Sequence parameter set NAL unit, header included, emulation prevention kept.
    pub sps: Bytes,
    /// Picture parameter set NAL unit.
    pub pps: Bytes,
    /// Cropped picture width in luma samples.
    pub width: u32,
    /// Cropped picture height in luma samples.
    pub height: u32,
    /// `profile_idc`.
    pub profile_idc: u8,
    /// The byte between profile and level in the SPS (constraint_set flags).
    pub constraint_flags: u8,
    /// `level_idc`.
    pub level_idc: u8,
}

/// H.265 parameter sets and what was read from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct H265Config {
    /// Video parameter set NAL unit, header included.
    pub vps: Bytes,
    /// Sequence parameter set NAL unit.
    pub sps: Bytes,
    /// Picture parameter set NAL unit.
    pub pps: Bytes,
    /// Cropped picture width in luma samples.
    pub width: u32,
    /// Cropped picture height in luma samples.
    pub height: u32,
    /// `general_profile_space` (2 bits), `general_tier_flag`, `general_profile_idc` (5 bits).
    pub general_profile: u8,
    /// `general_profile_compatibility_flag[32]`, first flag in the top bit.
    pub profile_compatibility: u32,
    /// The 48 constraint indicator bits, first flag in the top bit of byte 0.
    pub constraint_indicator: [u8; 6],
    /// `general_level_idc`.
    pub level_idc: u8,
    /// `chroma_format_idc`.
    pub chroma_format_idc: u8,
    /// `bit_depth_luma_minus8`.
    pub bit_depth_luma_minus8: u8,
    /// `bit_depth_chroma_minus8`.
    pub bit_depth_chroma_minus8: u8,
}

/// AAC configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AacConfig {
    /// AudioSpecificConfig, ISO/IEC 14496-3 s1.6.2.1.
    pub audio_specific_config: Bytes,
    /// Audio object type (2 is AAC-LC).
    pub object_type: u8,
    /// Output samples per second.
    pub sample_rate: u32,
    /// Channels, from the channel configuration (7 means 8).
    pub channels: u8,
}

impl CodecConfig {
    /// Whether it carries pictures or sound.
    pub fn kind(&self) -> TrackKind {
        match self {
            Self::H264(_) | Self::H265(_) => TrackKind::Video,
            Self::Aac(_) | Self::Opus { .. } | Self::G711 { .. } => TrackKind::Audio,
        }
    }

    /// The name that the compatible API uses for this codec (`PathTrackCodec`).
    pub fn api_name(&self) -> &'static str {
        match self {
            Self::H264(_) => "H264",
            Self::H265(_) => "H265",
            Self::Aac(_) => "MPEG-4 Audio",
            Self::Opus { .. } => "Opus",
            Self::G711 { .. } => "G711",
        }
    }
}

/// One stretch of a stream with a single timeline and fixed parameter sets.
///
/// Readers compare by [`Arc::ptr_eq`]: another `Arc` means a discontinuity (HLS), a new init
/// segment and a new run (recording), even when the contents are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// Rises by one for each new format of a stream.
    pub generation: u64,
    /// It is what stands in for a source that is not there (-> `slate`): nothing that a camera saw.
    pub is_slate: bool,
    /// The tracks, in the order of their ids; at most [`TRACKS_MAX`].
    pub tracks: Vec<TrackInfo>,
}

impl StreamFormat {
    /// The track with this id.
    pub fn track(&self, id: TrackId) -> Option<&TrackInfo> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// The first video track, if there is one.
    pub fn video(&self) -> Option<&TrackInfo> {
        self.tracks.iter().find(|track| track.codec.kind() == TrackKind::Video)
    }

    /// The tracks the camera sends, without transcoded ones.
    pub fn source_tracks(&self) -> impl Iterator<Item = &TrackInfo> {
        self.tracks.iter().filter(|track| track.transcoded_from.is_none())
    }
}

/// A format as it is shared between the ring's entries and their readers.
pub type SharedFormat = Arc<StreamFormat>;

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
