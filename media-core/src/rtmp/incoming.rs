//! Incoming: what a publisher's messages are, until they are access units that ingest takes.
//!
//! ```text
//!            tracks unknown: units wait ──── all announced ones known, or a second passed ──► Tracks
//!  message ─►                                                                                   │
//!            record changed ─► ParameterSets, or Tracks anew                                    ▼
//!            unit ───────────────────────────────────────────────────────────────────────────► Unit
//! ```
//!
//! Pictures come with both their times; ingest takes the presentation time, as of RTP, and finds decode times itself: one place that
//! repairs is enough, and encoders' composition times are not to be trusted more than cameras' clocks. Sound's times, which FLV rounds to
//! milliseconds, are put back on the grid of its frames.
//!
//! Limits: [`WAITING_UNITS_MAX`] and one access unit's bytes wait for the tracks; then those that are known are all.

use bytes::Bytes;

use super::amf0::{self, Value};
use super::flv::{self, AudioCodec, AudioTag, TagError, VideoCodec, VideoTag};
use super::record::{self, Record};
use super::server::COMMAND_BYTES_MAX;
use super::{Message, kind};
use crate::access_unit::ACCESS_UNIT_BYTES_MAX;
use crate::codec::aac::{AacError, AudioSpecificConfig};
use crate::codec::opus;
use crate::ingest::TrackSetup;
use crate::ingest::timeline::extend_u32;
use crate::time::rescale;
use crate::track::G711Law;

/// Units that may wait until it is known which tracks there are: two seconds of pictures and sound.
pub const WAITING_UNITS_MAX: usize = 192;

/// How long to wait for a track that metadata does not rule out.
const TRACKS_WAIT_MS: u32 = 1000;

/// A frame stamped this near to where it belongs was put off by rounding: the encoder's, and FLV's.
const NEAR_MS: i64 = 2;

/// Ticks of the pictures' clock in a millisecond.
const VIDEO_TICKS_PER_MS: i64 = 90;

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub enum IncomingEvent {
    /// These are the tracks, from now on.
    Tracks(Vec<TrackSetup>),
    /// Parameter sets of a track, for the units that come.
    ParameterSets {
        /// Its index among the tracks.
        track: usize,
        /// NAL units.
        nals: Vec<Bytes>,
    },
    /// A whole access unit.
    Unit {
        /// Its track's index.
        track: usize,
        /// Presentation time as RTP has it.
        rtp_timestamp: u32,
        /// NAL units behind lengths of 4 bytes, or a frame.
        payload: Bytes,
    },
}

/// Why a publisher's media can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IncomingError {
    /// A tag that can't be read.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// A record that makes no sense.
    #[error("parameter sets of {codec:?} can't be read")]
    Record {
        /// Whose.
        codec: VideoCodec,
    },
    /// The AAC configuration.
    #[error("AAC configuration: {0}")]
    Aac(#[from] AacError),
    /// Neither pictures nor sound that can be carried came.
    #[error("no track that can be carried came within {WAITING_UNITS_MAX} messages")]
    NoTracks,
}

#[derive(Debug)]
struct Video {
    codec: VideoCodec,
    record: Record,
}

#[derive(Debug)]
struct Audio {
    codec: AudioCodec,
    record: Bytes,
    clock: AudioClock,
}

/// Puts times of sound back on the grid of its frames.
#[derive(Clone, Copy, Debug)]
struct AudioClock {
    rate: u32,
    /// Ticks of a frame, where all are the same.
    frame_ticks: Option<i64>,
    next_ticks: Option<i64>,
}

/// What metadata announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announced {
    video: bool,
    audio: bool,
}

/// Which track a unit is of, before tracks have indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Video,
    Audio,
}

/// One publisher's messages on their way to ingest.
#[derive(Debug, Default)]
pub struct Incoming {
    announced: Option<Announced>,
    video: Option<Video>,
    audio: Option<Audio>,
    is_begun: bool,
    first_ms: Option<u32>,
    messages: usize,
    waiting: Vec<(Of, u32, Bytes)>,
    waiting_bytes: usize,
}

impl Incoming {
    /// Takes the next message.
    ///
    /// # Errors
    /// [`IncomingError`]. After [`IncomingError::NoTracks`] nothing is to be hoped for, otherwise the next message is welcome.
    pub fn handle(
        &mut self,
        message: &Message,
        events: &mut Vec<IncomingEvent>,
    ) -> Result<(), IncomingError> {
        let result = match message.kind {
            kind::VIDEO if !message.payload.is_empty() => self.video_tag(message, events),
            kind::AUDIO if !message.payload.is_empty() => self.audio_tag(message, events),
            kind::DATA => self.metadata(&message.payload),
            kind::DATA_AMF3 => self.metadata(message.payload.get(1..).unwrap_or_default()),
            _ => Ok(()),
        };
        if self.is_begun {
            return result;
        }
        self.messages += 1;
        if self.knows_its_tracks(message.timestamp_ms) {
            self.begin(events);
        } else if self.messages >= WAITING_UNITS_MAX {
            return Err(IncomingError::NoTracks);
        }
        result
    }

    fn knows_its_tracks(&mut self, timestamp_ms: u32) -> bool {
        let (has_video, has_audio) = (self.video.is_some(), self.audio.is_some());
        if !has_video && !has_audio {
            return false;
        }
        let wants = self.announced.unwrap_or(Announced { video: true, audio: true });
        let first_ms = *self.first_ms.get_or_insert(timestamp_ms);
        (has_video || !wants.video) && (has_audio || !wants.audio)
            || timestamp_ms.wrapping_sub(first_ms) >= TRACKS_WAIT_MS
            || self.messages >= WAITING_UNITS_MAX
            || self.waiting_bytes >= ACCESS_UNIT_BYTES_MAX
    }

    fn begin(&mut self, events: &mut Vec<IncomingEvent>) {
        self.is_begun = true;
        let video = self.video.as_ref().map(|video| setup(encoding(video.codec), 90_000, None, None));
        let audio = self.audio.as_ref().map(Audio::setup);
        events.push(IncomingEvent::Tracks(video.into_iter().chain(audio).collect()));
        self.push_parameter_sets(events);
        self.waiting_bytes = 0;
        for (of, rtp_timestamp, payload) in std::mem::take(&mut self.waiting) {
            self.push_unit((of, rtp_timestamp, payload), events);
        }
    }

    fn push_parameter_sets(&self, events: &mut Vec<IncomingEvent>) {
        if let Some(video) = &self.video {
            events.push(IncomingEvent::ParameterSets { track: 0, nals: video.record.nals.clone() });
        }
    }

    fn push_unit(&mut self, unit: (Of, u32, Bytes), events: &mut Vec<IncomingEvent>) {
        let (of, rtp_timestamp, payload) = unit;
        if !self.is_begun {
            self.waiting_bytes += payload.len();
            if self.waiting_bytes <= ACCESS_UNIT_BYTES_MAX {
                self.waiting.push((of, rtp_timestamp, payload));
            }
            return;
        }
        let track = match of {
            Of::Video => 0,
            Of::Audio => usize::from(self.video.is_some()),
        };
        events.push(IncomingEvent::Unit { track, rtp_timestamp, payload });
    }

    fn metadata(&mut self, payload: &[u8]) -> Result<(), IncomingError> {
        if payload.len() > COMMAND_BYTES_MAX {
            return Ok(());
        }
        // What can't be read announces nothing.
        let values = amf0::read_all(payload).unwrap_or_default();
        let says = |name: &str| values.iter().any(|value| value.as_text() == Some(name));
        let Some(object) = values.iter().find(|value| matches!(value, Value::Object(_))) else {
            return Ok(());
        };
        if says("onMetaData") && self.announced.is_none() {
            let has = |name| object.get(name).is_some_and(|codec| *codec != Value::Number(0.0));
            let announced = Announced { video: has("videocodecid"), audio: has("audiocodecid") };
            self.announced = Some(announced).filter(|announced| announced.video || announced.audio);
        }
        Ok(())
    }

    fn video_tag(&mut self, message: &Message, events: &mut Vec<IncomingEvent>) -> Result<(), IncomingError> {
        match flv::read_video(message.payload.clone())? {
            VideoTag::Record { codec, record: bytes } => {
                let record = match codec {
                    VideoCodec::Avc => record::read_avc(&bytes),
                    VideoCodec::Hevc => record::read_hevc(&bytes),
                };
                let record = record.ok_or(IncomingError::Record { codec })?;
                let known = self.video.replace(Video { codec, record });
                match known {
                    Some(known) if known.codec == codec && self.is_begun => self.push_parameter_sets(events),
                    _ if self.is_begun => self.begin(events),
                    _ => {}
                }
            }
            VideoTag::Picture { codec, composition_ms, nals } => {
                let Some(video) = self.video.as_ref().filter(|video| video.codec == codec) else {
                    return Ok(());
                };
                let payload = record::with_long_lengths(nals, video.record.length_bytes);
                let pts_ms = i64::from(message.timestamp_ms) + i64::from(composition_ms);
                let unit = (Of::Video, low_half(pts_ms * VIDEO_TICKS_PER_MS), payload);
                self.push_unit(unit, events);
            }
            VideoTag::Other => {}
        }
        Ok(())
    }

    fn audio_tag(&mut self, message: &Message, events: &mut Vec<IncomingEvent>) -> Result<(), IncomingError> {
        let (codec, record, frame) = match flv::read_audio(message.payload.clone())? {
            AudioTag::Record { codec, record } => (codec, record, None),
            AudioTag::Frame { codec, frame } => (codec, Bytes::new(), Some(frame)),
            AudioTag::Other => return Ok(()),
        };
        let is_new = match &self.audio {
            Some(known) => known.codec != codec || (frame.is_none() && known.record != record),
            // AAC can't be taken before its configuration.
            None => frame.is_none() || codec != AudioCodec::Aac,
        };
        if is_new {
            self.audio = Some(Audio::new(codec, record)?);
            if self.is_begun {
                self.begin(events);
            }
        }
        if let (Some(frame), Some(audio)) = (frame, &mut self.audio)
            && !frame.is_empty()
        {
            let frame_ticks = match codec {
                AudioCodec::Opus => opus::duration_samples(&frame).map(i64::from),
                _ => None,
            };
            let ticks = audio.clock.place(message.timestamp_ms, frame_ticks);
            self.push_unit((Of::Audio, low_half(ticks), frame), events);
        }
        Ok(())
    }
}

impl Audio {
    fn new(codec: AudioCodec, record: Bytes) -> Result<Self, IncomingError> {
        let (rate, frame_ticks) = match codec {
            AudioCodec::Aac => {
                let parsed = AudioSpecificConfig::parse(&record)?;
                let ticks = rescale(i64::from(parsed.frame_samples), parsed.core_rate, parsed.output_rate);
                (parsed.output_rate, Some(ticks))
            }
            AudioCodec::Opus => (48_000, None),
            AudioCodec::G711 { .. } => (8_000, None),
        };
        let clock = AudioClock { rate, frame_ticks, next_ticks: None };
        Ok(Self { codec, record, clock })
    }

    fn setup(&self) -> TrackSetup {
        match self.codec {
            AudioCodec::Aac => {
                let config: String = self.record.iter().map(|byte| format!("{byte:02x}")).collect();
                setup("mpeg4-generic", self.clock.rate, None, Some(format!("config={config}")))
            }
            AudioCodec::Opus => setup("opus", 48_000, record::read_opus(&self.record), None),
            AudioCodec::G711 { law: G711Law::A, channels } => setup("PCMA", 8_000, Some(channels), None),
            AudioCodec::G711 { law: G711Law::Mu, channels } => setup("PCMU", 8_000, Some(channels), None),
        }
    }
}

impl AudioClock {
    /// Ticks of a frame stamped so: one frame after the last where that is what its milliseconds say.
    fn place(&mut self, timestamp_ms: u32, frame_ticks: Option<i64>) -> i64 {
        let rate = i64::from(self.rate);
        let near_ms = self.next_ticks.map_or(0, |next| next * 1000 / rate);
        let stamped = extend_u32(timestamp_ms, near_ms) * rate / 1000;
        let near_ticks = NEAR_MS * rate / 1000;
        let ticks = self.next_ticks.filter(|next| (next - stamped).abs() <= near_ticks).unwrap_or(stamped);
        self.next_ticks = self.frame_ticks.or(frame_ticks).map(|frame| ticks + frame);
        ticks
    }
}

fn encoding(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::Avc => "H264",
        VideoCodec::Hevc => "H265",
    }
}

fn setup(encoding: &str, clock_rate: u32, channels: Option<u8>, fmtp: Option<String>) -> TrackSetup {
    TrackSetup { encoding: encoding.to_owned(), clock_rate, channels, fmtp, rtp_info_timestamp: None }
}

/// The lower 32 bits: RTP timestamps wrap.
fn low_half(ticks: i64) -> u32 {
    u32::try_from(ticks.rem_euclid(1 << 32)).unwrap_or(0)
}
