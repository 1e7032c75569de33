//! Init segment: ftyp + moov of the tracks that mp4 can carry, and their codec strings.
//!
//! Spec: ISO/IEC 14496-12 s8.2, s8.8; 14496-15 (avcC, hvcC); "Encapsulation of Opus in ISO Base
//! Media File Format"; RFC 6381 codec strings.

use bytes::Bytes;
use mp4_atom::{
    Audio, Avc1, Avcc, AvccExt, Codec, Dinf, Dops, Dref, Encode as _, Esds, Ftyp, Hdlr, Hvc1, HvcCArray,
    Hvcc, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Opus, Smhd, Stbl, Stco, Stsd, Tkhd, Trak, Trex, Url,
    Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor},
};

use super::fragment::SYNC_SAMPLE_FLAGS;
use crate::codec::codec_string;
use crate::track::{AacConfig, CodecConfig, H264Config, H265Config, StreamFormat, TrackInfo, TrackKind};

/// Samples that an Opus decoder throws away at the start: 80 ms would be RFC 7845's advice for seeking,
/// but a live stream has no beginning, so nothing is skipped.
const OPUS_PRE_SKIP: u16 = 0;

/// An init segment cannot be made of these tracks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// Neither a video nor an audio track that mp4 carries.
    #[error("no track of the stream can be carried in mp4 ({tracks} tracks)")]
    NoTracks {
        /// Tracks in the format.
        tracks: usize,
    },
    /// The box writer refused; an SPS of fewer than four bytes, for instance.
    #[error("init segment cannot be written: {reason}")]
    Boxes {
        /// What it said.
        reason: String,
    },
}

/// `ftyp` + `moov`, and what a multivariant playlist says about them. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitSegment {
    /// The bytes behind EXT-X-MAP.
    pub bytes: Bytes,
    /// RFC 6381 codec strings joined by commas (correctness: F3).
    pub codecs: String,
    /// Picture width and height, if there is video.
    pub resolution: Option<(u32, u32)>,
    /// Whether there is sound.
    pub has_audio: bool,
    /// Its parts are a slate's: shown, and not recorded.
    pub is_slate: bool,
}

/// The tracks of a format that go into mp4: one video, one audio.
///
/// Audio is AAC or Opus as the camera sends it, else the Opus transcoded from what it sends;
/// G.711 is never carried (MSE has no G.711).
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// The first video track.
    pub video: Option<&'a TrackInfo>,
    /// The first audio track that mp4 carries, native before transcoded.
    pub audio: Option<&'a TrackInfo>,
}

impl<'a> Selection<'a> {
    /// Selects from a format.
    pub fn of(format: &'a StreamFormat) -> Self {
        let is_audio = |t: &&TrackInfo| matches!(t.codec, CodecConfig::Aac(_) | CodecConfig::Opus { .. });
        let native = format.source_tracks().find(is_audio);
        Self { video: format.video(), audio: native.or_else(|| format.tracks.iter().find(is_audio)) }
    }

    /// Whether the audio has to be transcoded for us.
    pub fn wants_transcoded_audio(&self) -> bool {
        self.audio.is_some_and(|track| track.transcoded_from.is_some())
    }

    /// The tracks in file order: video, audio.
    pub fn tracks(&self) -> impl Iterator<Item = &'a TrackInfo> {
        self.video.into_iter().chain(self.audio)
    }
}

/// The mp4 track number of the n-th track in file order: 1 and up.
pub(super) fn mp4_track_id(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX - 1) + 1
}

impl InitSegment {
    /// Writes the init segment of these tracks.
    ///
    /// # Errors
    /// [`InitError`] when there is no track, or one whose configuration can't be written.
    pub fn new(selection: &Selection<'_>) -> Result<Self, InitError> {
        let tracks: Vec<&TrackInfo> = selection.tracks().collect();
        if tracks.is_empty() {
            return Err(InitError::NoTracks { tracks: 0 });
        }
        let fault = |error: mp4_atom::Error| InitError::Boxes { reason: error.to_string() };
        let mut bytes = Vec::new();
        ftyp().encode(&mut bytes).map_err(fault)?;
        moov(&tracks).and_then(|moov| moov.encode(&mut bytes)).map_err(fault)?;
        Ok(Self {
            bytes: bytes.into(),
            codecs: tracks.iter().filter_map(|t| codec_string(&t.codec)).collect::<Vec<_>>().join(","),
            resolution: selection.video.and_then(|t| picture_size(&t.codec)),
            has_audio: selection.audio.is_some(),
            is_slate: false,
        })
    }
}

fn picture_size(codec: &CodecConfig) -> Option<(u32, u32)> {
    match codec {
        CodecConfig::H264(c) => Some((c.width, c.height)),
        CodecConfig::H265(c) => Some((c.width, c.height)),
        _ => None,
    }
}

/// CMAF's structural brands; `mp41` for players that look for an old one.
fn ftyp() -> Ftyp {
    let brands: [&[u8; 4]; 5] = [b"iso5", b"iso6", b"cmfc", b"cmf2", b"mp41"];
    Ftyp {
        major_brand: b"iso5".into(),
        minor_version: 512,
        compatible_brands: brands.into_iter().map(Into::into).collect(),
    }
}

fn moov(tracks: &[&TrackInfo]) -> mp4_atom::Result<Moov> {
    let trak = tracks.iter().enumerate().map(|(i, t)| trak(mp4_track_id(i), t)).collect::<Result<_, _>>()?;
    let trex = (0..tracks.len()).map(|position| trex(mp4_track_id(position))).collect();
    Ok(Moov {
        mvhd: Mvhd {
            timescale: 1000,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: mp4_track_id(tracks.len()),
            ..Mvhd::default()
        },
        mvex: Some(Mvex { mehd: None, trex }),
        trak,
        ..Moov::default()
    })
}

fn trex(track_id: u32) -> Trex {
    Trex {
        track_id,
        default_sample_description_index: 1,
        default_sample_flags: SYNC_SAMPLE_FLAGS,
        ..Trex::default()
    }
}

fn trak(track_id: u32, track: &TrackInfo) -> mp4_atom::Result<Trak> {
    let is_video = track.codec.kind() == TrackKind::Video;
    let (width, height) = picture_size(&track.codec).unwrap_or_default();
    Ok(Trak {
        tkhd: Tkhd {
            track_id,
            enabled: true,
            in_movie: true,
            alternate_group: u16::from(!is_video),
            volume: if is_video { 0.into() } else { 1.into() },
            width: small(width).into(),
            height: small(height).into(),
            ..Tkhd::default()
        },
        mdia: Mdia {
            mdhd: Mdhd { timescale: track.timescale.hz(), language: "und".to_owned(), ..Mdhd::default() },
            hdlr: Hdlr {
                handler: if is_video { b"vide".into() } else { b"soun".into() },
                name: if is_video { "VideoHandler" } else { "SoundHandler" }.to_owned(),
            },
            minf: Minf {
                vmhd: is_video.then(Vmhd::default),
                smhd: (!is_video).then(Smhd::default),
                dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![sample_entry(track)?] },
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                ..Minf::default()
            },
        },
        ..Trak::default()
    })
}

fn sample_entry(track: &TrackInfo) -> mp4_atom::Result<Codec> {
    Ok(match &track.codec {
        CodecConfig::H264(c) => {
            Avc1 { visual: visual(c.width, c.height), avcc: avcc(c)?, ..Avc1::default() }.into()
        }
        CodecConfig::H265(c) => {
            Hvc1 { visual: visual(c.width, c.height), hvcc: hvcc(c), ..Hvc1::default() }.into()
        }
        CodecConfig::Aac(c) => {
            Mp4a { audio: audio(c.channels, c.sample_rate), esds: esds(c), btrt: None, taic: None }.into()
        }
        CodecConfig::Opus { channels } => {
            Opus { audio: audio(*channels, 48_000), dops: dops(*channels), btrt: None }.into()
        }
        CodecConfig::G711 { .. } => return Err(mp4_atom::Error::Unsupported("G.711 is not carried in mp4")),
    })
}

/// Widths and rates beyond 16 bits don't exist in these boxes' 16.16 fields; they saturate.
fn small(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn visual(width: u32, height: u32) -> Visual {
    Visual { data_reference_index: 1, width: small(width), height: small(height), ..Visual::default() }
}

fn audio(channels: u8, sample_rate: u32) -> Audio {
    // A rate above 65535 Hz doesn't fit the 16.16 field: 0, and the decoder takes it from the codec's own
    // configuration.
    let rate = u16::try_from(sample_rate).unwrap_or(0);
    Audio {
        data_reference_index: 1,
        channel_count: u16::from(channels),
        sample_size: 16,
        sample_rate: rate.into(),
    }
}

/// ISO/IEC 14496-15 s5.3.3.1. The extension fields are known without parsing for High profile (4:2:0,
/// 8 bits); for rarer ones they are left out, as most muxers do.
fn avcc(c: &H264Config) -> mp4_atom::Result<Avcc> {
    let ext = (c.profile_idc == 100).then(AvccExt::default);
    Ok(Avcc { ext, ..Avcc::new(&c.sps, &c.pps)? })
}

fn hvcc(c: &H265Config) -> Hvcc {
    let array = |nal_unit_type: u8, nal: &Bytes| HvcCArray {
        // Cameras repeat and may change parameter sets in band, so the arrays are not declared complete...
        // except that `hvc1` requires it (ISO/IEC 14496-15 s8.4.1.1), and a change makes a new init segment.
        completeness: true,
        nal_unit_type,
        nalus: vec![nal.to_vec()],
    };
    Hvcc {
        general_profile_space: c.general_profile >> 6,
        general_tier_flag: c.general_profile & 0x20 != 0,
        general_profile_idc: c.general_profile & 0x1f,
        general_profile_compatibility_flags: c.profile_compatibility.to_be_bytes(),
        general_constraint_indicator_flags: c.constraint_indicator,
        general_level_idc: c.level_idc,
        chroma_format_idc: c.chroma_format_idc,
        bit_depth_luma_minus8: c.bit_depth_luma_minus8,
        bit_depth_chroma_minus8: c.bit_depth_chroma_minus8,
        num_temporal_layers: 1,
        temporal_id_nested: true,
        length_size_minus_one: 3,
        arrays: vec![array(32, &c.vps), array(33, &c.sps), array(34, &c.pps)],
        ..Hvcc::new()
    }
}

/// ISO/IEC 14496-1 s7.2.6: the configuration travels whole, as the camera's SDP gave it.
fn esds(c: &AacConfig) -> Esds {
    let dec_specific =
        DecoderSpecific { raw: c.audio_specific_config.to_vec(), ..DecoderSpecific::default() };
    Esds {
        es_desc: EsDescriptor {
            es_id: 0,
            dec_config: DecoderConfig {
                object_type_indication: 0x40,
                stream_type: 5,
                dec_specific: Some(dec_specific),
                ..DecoderConfig::default()
            },
            ..EsDescriptor::default()
        },
    }
}

fn dops(channels: u8) -> Dops {
    Dops {
        output_channel_count: channels,
        pre_skip: OPUS_PRE_SKIP,
        input_sample_rate: 48_000,
        output_gain: 0,
        channel_mapping: None,
    }
}
