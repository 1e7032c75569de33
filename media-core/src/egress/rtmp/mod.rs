//! RTMP egress: access units to the messages that one reader gets.
//!
//! ```text
//!  format ─► onMetaData, a record for each track         access unit ─► tag of pictures or sound
//! ```
//!
//! H.264, AAC and G.711 (8 kHz) in FLV's own tags, which every player has; H.265 and Opus in those of Enhanced RTMP. Times begin at zero
//! with the first unit. Payloads are the ring's own bytes.
//!
//! Belongs here: what is sent. Does not: the dialogue (-> `rtmp`), queues (-> `server::egress::rtmp`).

use std::sync::Arc;

use bytes::Bytes;

use crate::access_unit::AccessUnit;
use crate::rtmp::amf0::{self, Value};
use crate::rtmp::chunk::{Heading, chunks};
use crate::rtmp::flv::{self, AudioCodec, PictureKind, VideoCodec};
use crate::rtmp::{kind, record, server};
use crate::track::{CodecConfig, SharedFormat, StreamFormat, TrackId, TrackInfo, TrackKind};

/// Chunk streams of media.
const METADATA: u8 = 4;
const AUDIO: u8 = 5;
const VIDEO: u8 = 6;

/// A codec as FLV carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    Video(VideoCodec),
    Audio(AudioCodec),
}

/// Makes one reader's messages.
#[derive(Debug, Default)]
pub struct Muxer {
    format: Option<SharedFormat>,
    tracks: Vec<(TrackId, Carried)>,
    /// Where the reader's time is zero.
    origin_us: Option<i64>,
}

/// Whether there is anything in a format that a reader could get.
pub fn is_carried(format: &StreamFormat) -> bool {
    format.source_tracks().any(|track| carried(&track.codec).is_some())
}

impl Muxer {
    /// Appends the messages of a unit to `pieces`, in order; those of its format before them where that is new.
    pub fn push(&mut self, format: &SharedFormat, unit: &AccessUnit, pieces: &mut Vec<Bytes>) {
        if !self.format.as_ref().is_some_and(|known| Arc::ptr_eq(known, format)) {
            self.format = Some(Arc::clone(format));
            self.adopt(format, unit, pieces);
        }
        let known = self.tracks.iter().find(|(id, _)| *id == unit.track);
        let (Some(&(_, carried)), Some(track)) = (known, format.track(unit.track)) else { return };
        let timestamp_ms = self.timestamp_ms(track, unit);
        match carried {
            Carried::Video(codec) => {
                let us =
                    track.timescale.ticks_to_us(unit.pts_ticks) - track.timescale.ticks_to_us(unit.dts_ticks);
                let composition_ms = u32::try_from(us / 1000).unwrap_or(0);
                let entry =
                    if unit.is_random_access { PictureKind::RandomAccess } else { PictureKind::Inter };
                let head = flv::picture_head(codec, composition_ms, entry);
                pieces.extend(chunks(heading(kind::VIDEO, timestamp_ms), &head, unit.payload.clone()));
            }
            Carried::Audio(codec) => {
                let head = flv::frame_head(codec);
                pieces.extend(chunks(heading(kind::AUDIO, timestamp_ms), &head, unit.payload.clone()));
            }
        }
    }

    /// Tells what follows: the first track of pictures and the first of sound that can be carried.
    fn adopt(&mut self, format: &StreamFormat, unit: &AccessUnit, pieces: &mut Vec<Bytes>) {
        let timestamp_ms = format.track(unit.track).map_or(0, |track| self.timestamp_ms(track, unit));
        let first = |kind| {
            let mut tracks = format.source_tracks().filter(move |track| track.codec.kind() == kind);
            tracks.find_map(|track| Some((track, carried(&track.codec)?)))
        };
        let tracks: Vec<_> =
            [first(TrackKind::Video), first(TrackKind::Audio)].into_iter().flatten().collect();
        self.tracks = tracks.iter().map(|(track, carried)| (track.id, *carried)).collect();
        let metadata = amf0::write_all(&[Value::text("onMetaData"), metadata(&tracks)]);
        pieces.extend(chunks(heading(kind::DATA, timestamp_ms), &[], metadata));
        for (track, carried) in tracks {
            pieces.extend(record_of(track, carried, timestamp_ms));
        }
    }

    /// Decode time since the first unit; units of another track that came a little earlier are at zero. Wraps after 49 days.
    fn timestamp_ms(&mut self, track: &TrackInfo, unit: &AccessUnit) -> u32 {
        let us = track.timescale.ticks_to_us(unit.dts_ticks);
        let since_us = (us - *self.origin_us.get_or_insert(us)).max(0);
        u32::try_from(since_us / 1000 % (1 << 32)).unwrap_or(0)
    }
}

fn heading(kind: u8, timestamp_ms: u32) -> Heading {
    let chunk_stream = match kind {
        kind::VIDEO => VIDEO,
        kind::AUDIO => AUDIO,
        _ => METADATA,
    };
    Heading { chunk_stream, kind, stream: server::STREAM, timestamp_ms }
}

fn carried(codec: &CodecConfig) -> Option<Carried> {
    match codec {
        CodecConfig::H264(_) => Some(Carried::Video(VideoCodec::Avc)),
        CodecConfig::H265(_) => Some(Carried::Video(VideoCodec::Hevc)),
        CodecConfig::Aac(_) => Some(Carried::Audio(AudioCodec::Aac)),
        CodecConfig::Opus { .. } => Some(Carried::Audio(AudioCodec::Opus)),
        // FLV has it at 8 kHz only.
        CodecConfig::G711 { law, sample_rate: 8000, channels: channels @ 1..=2 } => {
            Some(Carried::Audio(AudioCodec::G711 { law: *law, channels: *channels }))
        }
        CodecConfig::G711 { .. } => None,
    }
}

fn metadata(tracks: &[(&TrackInfo, Carried)]) -> Value {
    let mut entries = Vec::new();
    let mut say = |name: &str, number: u32| entries.push((name.to_owned(), Value::Number(number.into())));
    for (track, carried) in tracks {
        match *carried {
            Carried::Video(codec) => say("videocodecid", flv::video_number(codec)),
            Carried::Audio(codec) => say("audiocodecid", flv::audio_number(codec)),
        }
        let size = match &track.codec {
            CodecConfig::H264(config) => Some((config.width, config.height)),
            CodecConfig::H265(config) => Some((config.width, config.height)),
            _ => None,
        };
        if let Some((width, height)) = size {
            say("width", width);
            say("height", height);
        }
    }
    Value::KeyedArray(entries)
}

/// What a decoder of this track needs first.
fn record_of(track: &TrackInfo, carried: Carried, timestamp_ms: u32) -> Vec<Bytes> {
    let (kind, head, record) = match (carried, &track.codec) {
        (Carried::Video(codec), CodecConfig::H264(config)) => {
            (kind::VIDEO, flv::video_record_head(codec), record::write_avc(config))
        }
        (Carried::Video(codec), CodecConfig::H265(config)) => {
            (kind::VIDEO, flv::video_record_head(codec), record::write_hevc(config))
        }
        (Carried::Audio(codec), CodecConfig::Aac(config)) => match flv::audio_record_head(codec) {
            Some(head) => (kind::AUDIO, head, config.audio_specific_config.clone()),
            None => return Vec::new(),
        },
        (Carried::Audio(codec), CodecConfig::Opus { channels }) => match flv::audio_record_head(codec) {
            Some(head) => (kind::AUDIO, head, record::write_opus(*channels)),
            None => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    chunks(heading(kind, timestamp_ms), &head, record)
}
