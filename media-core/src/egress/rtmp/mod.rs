//! RTMP egress: access units to the messages that one reader, or a server that takes them, gets.
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
    /// The message stream that a server gave us; `None` toward a player, who has the one that we give.
    published_on: Option<u32>,
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
    /// One for a server that takes media on this message stream.
    pub fn publishing(stream: u32) -> Self {
        Self { published_on: Some(stream), ..Self::default() }
    }

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
                pieces.extend(chunks(self.heading(kind::VIDEO, timestamp_ms), &head, unit.payload.clone()));
            }
            Carried::Audio(codec) => {
                let head = flv::frame_head(codec);
                pieces.extend(chunks(self.heading(kind::AUDIO, timestamp_ms), &head, unit.payload.clone()));
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
        // A server is told to keep what players are told.
        let keep = self.published_on.map(|_| Value::text("@setDataFrame"));
        let values: Vec<_> = keep.into_iter().chain([Value::text("onMetaData"), metadata(&tracks)]).collect();
        pieces.extend(chunks(self.heading(kind::DATA, timestamp_ms), &[], amf0::write_all(&values)));
        for (track, carried) in tracks {
            if let Some((kind, head, record)) = record_of(track, carried) {
                pieces.extend(chunks(self.heading(kind, timestamp_ms), &head, record));
            }
        }
    }

    fn heading(&self, kind: u8, timestamp_ms: u32) -> Heading {
        let chunk_stream = match kind {
            kind::VIDEO => VIDEO,
            kind::AUDIO => AUDIO,
            _ => METADATA,
        };
        let stream = self.published_on.unwrap_or(server::STREAM);
        Heading { chunk_stream, kind, stream, timestamp_ms }
    }

    /// Decode time since the first unit; units of another track that came a little earlier are at zero. Wraps after 49 days.
    fn timestamp_ms(&mut self, track: &TrackInfo, unit: &AccessUnit) -> u32 {
        let us = track.timescale.ticks_to_us(unit.dts_ticks);
        let since_us = (us - *self.origin_us.get_or_insert(us)).max(0);
        u32::try_from(since_us / 1000 % (1 << 32)).unwrap_or(0)
    }
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

/// What a decoder of this track needs first: the kind of message, what stands before it, and itself.
fn record_of(track: &TrackInfo, carried: Carried) -> Option<(u8, Vec<u8>, Bytes)> {
    Some(match (carried, &track.codec) {
        (Carried::Video(codec), CodecConfig::H264(config)) => {
            (kind::VIDEO, flv::video_record_head(codec), record::write_avc(config))
        }
        (Carried::Video(codec), CodecConfig::H265(config)) => {
            (kind::VIDEO, flv::video_record_head(codec), record::write_hevc(config))
        }
        (Carried::Audio(codec), CodecConfig::Aac(config)) => {
            (kind::AUDIO, flv::audio_record_head(codec)?, config.audio_specific_config.clone())
        }
        (Carried::Audio(codec), CodecConfig::Opus { channels }) => {
            (kind::AUDIO, flv::audio_record_head(codec)?, record::write_opus(*channels))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Timescale, WallTime};
    use crate::track::H264Config;

    /// The first message that somebody gets.
    fn begins_with(mut muxer: Muxer) -> Vec<u8> {
        let config = H264Config {
            sps: Bytes::from_static(&[0x67, 0x42, 0xe0, 0x1f]),
            pps: Bytes::from_static(&[0x68]),
            width: 640,
            height: 360,
            profile_idc: 66,
            constraint_flags: 0xe0,
            level_idc: 31,
        };
        let (id, timescale) = (TrackId(0), Timescale::VIDEO);
        let track = TrackInfo { id, timescale, codec: CodecConfig::H264(config), transcoded_from: None };
        let format = Arc::new(StreamFormat { generation: 0, tracks: vec![track], is_slate: false });
        let unit = AccessUnit {
            track: id,
            dts_ticks: 0,
            pts_ticks: 0,
            wall: WallTime(0),
            is_random_access: true,
            payload: Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88]),
        };
        let mut pieces = Vec::new();
        muxer.push(&format, &unit, &mut pieces);
        pieces.concat()
    }

    #[test]
    fn a_server_is_told_on_its_own_stream_to_keep_the_metadata_and_a_player_just_told() {
        let holds = |wire: &[u8], text: &str| wire.windows(text.len()).any(|part| part == text.as_bytes());
        let server = begins_with(Muxer::publishing(7));
        // RTMP s5.3.1.2.1: the message stream's number is the last of a full header, little-endian.
        assert_eq!((server[0], &server[8..12]), (METADATA, &[7, 0, 0, 0][..]));
        assert!(holds(&server, "@setDataFrame") && holds(&server, "onMetaData"));
        let player = begins_with(Muxer::default());
        assert_eq!((player[0], &player[8..12]), (METADATA, &[1, 0, 0, 0][..]));
        assert!(!holds(&player, "@setDataFrame") && holds(&player, "onMetaData"));
    }
}
