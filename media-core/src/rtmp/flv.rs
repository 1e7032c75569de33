//! FLV: what a message of pictures or sound holds.
//!
//! ```text
//!  video   frame type, codec 7 | packet type | composition time (24 bits) | avcC or NAL units
//!          1, frame type, packet type | FourCC (avc1, hvc1) | composition time, of coded frames | record or NAL units
//!  audio   format 10, ... | packet type | AudioSpecificConfig or frame        format 7, 8 | G.711
//!          format 9, packet type | FourCC (mp4a, Opus) | record or frame
//! ```
//!
//! Spec: FLV 10.1 s E.4.2, s E.4.3; Enhanced RTMP v2. Of what it has besides, several tracks in one message are refused, and time with
//! nanoseconds is left out.

use bytes::{Buf as _, Bytes};

use crate::track::G711Law;

/// A codec of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
}

/// A codec of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// AAC without ADTS.
    Aac,
    /// Opus.
    Opus,
    /// G.711 at 8 kHz.
    G711 {
        /// Which.
        law: G711Law,
        /// 1 or 2.
        channels: u8,
    },
}

/// A message of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoTag {
    /// Parameter sets.
    Record {
        /// Of this codec.
        codec: VideoCodec,
        /// avcC or hvcC.
        record: Bytes,
    },
    /// A picture.
    Picture {
        /// Of this codec.
        codec: VideoCodec,
        /// Presentation time minus the message's, in milliseconds.
        composition_ms: i32,
        /// NAL units behind their lengths.
        nals: Bytes,
    },
    /// Nothing to show: an end, metadata, a command.
    Other,
}

/// A message of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioTag {
    /// What a decoder needs first.
    Record {
        /// Of this codec.
        codec: AudioCodec,
        /// AudioSpecificConfig or OpusHead.
        record: Bytes,
    },
    /// A frame.
    Frame {
        /// Of this codec.
        codec: AudioCodec,
        /// The frame.
        frame: Bytes,
    },
    /// Nothing to hear: an end, a layout of channels.
    Other,
}

/// Why a tag can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// It ends inside its header.
    #[error("tag ends inside its header")]
    Truncated,
    /// A codec that is not carried.
    #[error("codec {codec} is not carried")]
    Codec {
        /// Its number or FourCC.
        codec: String,
    },
    /// Several tracks in one message.
    #[error("several tracks in one message are not taken apart")]
    Multitrack,
}

/// The kinds of packets of Enhanced RTMP, of pictures and sound alike.
mod packet {
    pub(super) const SEQUENCE_START: u8 = 0;
    pub(super) const CODED_FRAMES: u8 = 1;
    pub(super) const CODED_FRAMES_X: u8 = 3;
    pub(super) const MODIFIERS: u8 = 7;
}

const VIDEO_IS_ENHANCED: u8 = 0x80;
const VIDEO_MULTITRACK: u8 = 6;
const AUDIO_MULTITRACK: u8 = 5;
const FRAME_TYPE_KEY: u8 = 1;
const FRAME_TYPE_INTER: u8 = 2;
const FRAME_TYPE_COMMAND: u8 = 5;
const CODEC_AVC: u8 = 7;
/// Not in any specification, but what many encoders sent before there was one.
const CODEC_HEVC: u8 = 12;
const FORMAT_A_LAW: u8 = 7;
const FORMAT_MU_LAW: u8 = 8;
const FORMAT_ENHANCED: u8 = 9;
const FORMAT_AAC: u8 = 10;
/// 44 kHz, 16 bits, stereo: what FLV says of AAC, whatever it is.
const AAC_FLAGS: u8 = 0x0f;

/// Reads a message of pictures.
///
/// # Errors
/// [`TagError`].
pub fn read_video(mut tag: Bytes) -> Result<VideoTag, TagError> {
    let first = byte(&mut tag)?;
    let frame_type = first >> 4 & 7;
    if first & VIDEO_IS_ENHANCED != 0 {
        return read_enhanced_video(first & 0x0f, frame_type, tag);
    }
    if frame_type == FRAME_TYPE_COMMAND {
        return Ok(VideoTag::Other);
    }
    let codec = match first & 0x0f {
        CODEC_AVC => VideoCodec::Avc,
        CODEC_HEVC => VideoCodec::Hevc,
        other => return Err(TagError::Codec { codec: other.to_string() }),
    };
    let packet_type = byte(&mut tag)?;
    let composition_ms = composition_ms(&mut tag)?;
    Ok(match packet_type {
        packet::SEQUENCE_START => VideoTag::Record { codec, record: tag },
        packet::CODED_FRAMES => VideoTag::Picture { codec, composition_ms, nals: tag },
        _ => VideoTag::Other,
    })
}

fn read_enhanced_video(packet_type: u8, frame_type: u8, mut tag: Bytes) -> Result<VideoTag, TagError> {
    let packet_type = skip_modifiers(packet_type, &mut tag)?;
    if frame_type == FRAME_TYPE_COMMAND {
        return Ok(VideoTag::Other);
    }
    if packet_type == VIDEO_MULTITRACK {
        return Err(TagError::Multitrack);
    }
    let codec = match &four_cc(&mut tag)? {
        b"avc1" => VideoCodec::Avc,
        b"hvc1" => VideoCodec::Hevc,
        other => return Err(unknown(other)),
    };
    Ok(match packet_type {
        packet::SEQUENCE_START => VideoTag::Record { codec, record: tag },
        packet::CODED_FRAMES => {
            let composition_ms = composition_ms(&mut tag)?;
            VideoTag::Picture { codec, composition_ms, nals: tag }
        }
        packet::CODED_FRAMES_X => VideoTag::Picture { codec, composition_ms: 0, nals: tag },
        _ => VideoTag::Other,
    })
}

/// Reads a message of sound.
///
/// # Errors
/// [`TagError`].
pub fn read_audio(mut tag: Bytes) -> Result<AudioTag, TagError> {
    let first = byte(&mut tag)?;
    let g711 = |law| AudioCodec::G711 { law, channels: (first & 1) + 1 };
    match first >> 4 {
        FORMAT_AAC => Ok(match byte(&mut tag)? {
            packet::SEQUENCE_START => AudioTag::Record { codec: AudioCodec::Aac, record: tag },
            _ => AudioTag::Frame { codec: AudioCodec::Aac, frame: tag },
        }),
        FORMAT_A_LAW => Ok(AudioTag::Frame { codec: g711(G711Law::A), frame: tag }),
        FORMAT_MU_LAW => Ok(AudioTag::Frame { codec: g711(G711Law::Mu), frame: tag }),
        FORMAT_ENHANCED => read_enhanced_audio(first & 0x0f, tag),
        other => Err(TagError::Codec { codec: other.to_string() }),
    }
}

fn read_enhanced_audio(packet_type: u8, mut tag: Bytes) -> Result<AudioTag, TagError> {
    let packet_type = skip_modifiers(packet_type, &mut tag)?;
    if packet_type == AUDIO_MULTITRACK {
        return Err(TagError::Multitrack);
    }
    let codec = match &four_cc(&mut tag)? {
        b"mp4a" => AudioCodec::Aac,
        b"Opus" => AudioCodec::Opus,
        other => return Err(unknown(other)),
    };
    Ok(match packet_type {
        packet::SEQUENCE_START => AudioTag::Record { codec, record: tag },
        packet::CODED_FRAMES => AudioTag::Frame { codec, frame: tag },
        _ => AudioTag::Other,
    })
}

/// Passes over what stands before the packet proper, and says what that is.
fn skip_modifiers(mut packet_type: u8, tag: &mut Bytes) -> Result<u8, TagError> {
    while packet_type == packet::MODIFIERS {
        let mut bytes = usize::from(byte(tag)?) + 1;
        if bytes == 256 {
            bytes = usize::from(u16::from_be_bytes([byte(tag)?, byte(tag)?])) + 1;
        }
        if bytes > tag.len() {
            return Err(TagError::Truncated);
        }
        tag.advance(bytes);
        packet_type = byte(tag)? & 0x0f;
    }
    Ok(packet_type)
}

fn byte(tag: &mut Bytes) -> Result<u8, TagError> {
    tag.try_get_u8().map_err(|_| TagError::Truncated)
}

fn composition_ms(tag: &mut Bytes) -> Result<i32, TagError> {
    let bytes = [byte(tag)?, byte(tag)?, byte(tag)?, 0];
    Ok(i32::from_be_bytes(bytes) >> 8)
}

fn four_cc(tag: &mut Bytes) -> Result<[u8; 4], TagError> {
    tag.try_get_u32().map(u32::to_be_bytes).map_err(|_| TagError::Truncated)
}

fn unknown(four_cc: &[u8]) -> TagError {
    TagError::Codec { codec: four_cc.escape_ascii().to_string() }
}

/// The number by which metadata names a codec of pictures.
pub fn video_number(codec: VideoCodec) -> u32 {
    match codec {
        VideoCodec::Avc => CODEC_AVC.into(),
        VideoCodec::Hevc => u32::from_be_bytes(*b"hvc1"),
    }
}

/// The number by which metadata names a codec of sound.
pub fn audio_number(codec: AudioCodec) -> u32 {
    match codec {
        AudioCodec::Aac => FORMAT_AAC.into(),
        AudioCodec::Opus => u32::from_be_bytes(*b"Opus"),
        AudioCodec::G711 { law: G711Law::A, .. } => FORMAT_A_LAW.into(),
        AudioCodec::G711 { law: G711Law::Mu, .. } => FORMAT_MU_LAW.into(),
    }
}

/// What stands before parameter sets.
pub fn video_record_head(codec: VideoCodec) -> Vec<u8> {
    match codec {
        VideoCodec::Avc => vec![FRAME_TYPE_KEY << 4 | CODEC_AVC, packet::SEQUENCE_START, 0, 0, 0],
        VideoCodec::Hevc => enhanced_video_head(FRAME_TYPE_KEY, packet::SEQUENCE_START),
    }
}

/// What stands before a picture's NAL units.
pub fn picture_head(codec: VideoCodec, composition_ms: u32, entry: PictureKind) -> Vec<u8> {
    let frame_type = match entry {
        PictureKind::RandomAccess => FRAME_TYPE_KEY,
        PictureKind::Inter => FRAME_TYPE_INTER,
    };
    let mut head = match codec {
        VideoCodec::Avc => vec![frame_type << 4 | CODEC_AVC, packet::CODED_FRAMES],
        VideoCodec::Hevc => enhanced_video_head(frame_type, packet::CODED_FRAMES),
    };
    // 23 bits are more than two hours.
    head.extend(composition_ms.min(0x7f_ffff).to_be_bytes().into_iter().skip(1));
    head
}

/// Whether decoding can start at a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
    /// It can.
    RandomAccess,
    /// It can't.
    Inter,
}

fn enhanced_video_head(frame_type: u8, packet_type: u8) -> Vec<u8> {
    [&[VIDEO_IS_ENHANCED | frame_type << 4 | packet_type][..], b"hvc1"].concat()
}

/// What stands before an AudioSpecificConfig or OpusHead; G.711 has none.
pub fn audio_record_head(codec: AudioCodec) -> Option<Vec<u8>> {
    match codec {
        AudioCodec::Aac => Some(vec![FORMAT_AAC << 4 | AAC_FLAGS, packet::SEQUENCE_START]),
        AudioCodec::Opus => Some([&[FORMAT_ENHANCED << 4 | packet::SEQUENCE_START][..], b"Opus"].concat()),
        AudioCodec::G711 { .. } => None,
    }
}

/// What stands before a frame.
pub fn frame_head(codec: AudioCodec) -> Vec<u8> {
    // 5 kHz, 16 bits: what FLV says of G.711, whatever it is.
    const G711_FLAGS: u8 = 0x02;
    match codec {
        AudioCodec::Aac => vec![FORMAT_AAC << 4 | AAC_FLAGS, packet::CODED_FRAMES],
        AudioCodec::Opus => [&[FORMAT_ENHANCED << 4 | packet::CODED_FRAMES][..], b"Opus"].concat(),
        AudioCodec::G711 { law, channels } => {
            let format = if law == G711Law::A { FORMAT_A_LAW } else { FORMAT_MU_LAW };
            vec![format << 4 | G711_FLAGS | channels.saturating_sub(1).min(1)]
        }
    }
}
