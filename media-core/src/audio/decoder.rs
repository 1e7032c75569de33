//! Audio decoder: one access unit of G.711 or AAC to interleaved samples.
//!
//! Limits: `UNIT_SECS_MAX`, `CHANNELS_MAX`.

use rusty_aac::AacDecoder;

use super::{TranscodeError, g711};
use crate::track::{AacConfig, CodecConfig, G711Law};

/// The longest G.711 access unit taken, in seconds; a longer one is an error and is lost. Cameras send
/// 10 to 200 ms; without a limit one 8 MiB unit would be 17 minutes of encoding at once.
const UNIT_SECS_MAX: usize = 2;

/// The highest channel count decoded (7.1).
const CHANNELS_MAX: usize = 8;

/// Decoded samples.
pub(super) struct Pcm {
    /// Interleaved, nominally -1.0 to 1.0.
    pub(super) samples: Vec<f32>,
    /// Samples a second and channel.
    pub(super) sample_rate: u32,
    /// At least 1.
    pub(super) channels: usize,
}

/// The decoder of one source track.
pub(super) enum Decoder {
    /// Stateless.
    G711 { law: G711Law, sample_rate: u32, channels: usize },
    /// Carries the overlap of the last frame.
    Aac(Box<AacDecoder>),
}

impl Decoder {
    pub(super) fn new(codec: &CodecConfig) -> Result<Self, TranscodeError> {
        match codec {
            CodecConfig::G711 { law, sample_rate, channels } => {
                if !is_usual_rate(*sample_rate) {
                    return Err(TranscodeError::SampleRate { hz: *sample_rate });
                }
                let channels = usize::from((*channels).max(1));
                if channels > CHANNELS_MAX {
                    return Err(TranscodeError::Channels { count: channels });
                }
                Ok(Self::G711 { law: *law, sample_rate: *sample_rate, channels })
            }
            CodecConfig::Aac(config) => Self::aac(config),
            CodecConfig::Opus { .. } | CodecConfig::H264(_) | CodecConfig::H265(_) => {
                Err(TranscodeError::Source { codec: codec.api_name() })
            }
        }
    }

    fn aac(config: &AacConfig) -> Result<Self, TranscodeError> {
        let decoder = AacDecoder::with_config_bytes(&config.audio_specific_config)
            .map_err(|error| TranscodeError::AacConfig { reason: error.to_string() })?;
        Ok(Self::Aac(Box::new(decoder)))
    }

    /// Decodes one access unit. After an error the next one decodes as if this one had been lost.
    pub(super) fn decode(&mut self, payload: &[u8]) -> Result<Pcm, TranscodeError> {
        match self {
            Self::G711 { law, sample_rate, channels } => {
                let samples_max = usize::try_from(*sample_rate).unwrap_or(0) * *channels * UNIT_SECS_MAX;
                if payload.is_empty() || payload.len() > samples_max {
                    return Err(TranscodeError::UnitLength { bytes: payload.len(), bytes_max: samples_max });
                }
                // A trailing part of a sample frame would swap the channels of all that follow.
                let whole = payload.len() - payload.len() % *channels;
                let samples = g711::decode(*law, payload.get(..whole).unwrap_or_default());
                Ok(Pcm { samples, sample_rate: *sample_rate, channels: *channels })
            }
            Self::Aac(decoder) => {
                // A raw frame cannot begin so (it would be an end element first); the decoder would take
                // it for an ADTS header and the settings in it for good.
                if matches!(payload, [0xff, 0xf0..=0xff, ..]) {
                    return Err(TranscodeError::Decode { reason: "adts header in a raw frame".to_owned() });
                }
                let audio = decoder
                    .decode(payload, None)
                    .map_err(|error| TranscodeError::Decode { reason: error.to_string() })?;
                let channels = usize::from(audio.channels);
                if channels == 0 || channels > CHANNELS_MAX {
                    return Err(TranscodeError::Channels { count: channels });
                }
                if !is_usual_rate(audio.sample_rate) {
                    return Err(TranscodeError::SampleRate { hz: audio.sample_rate });
                }
                Ok(Pcm { samples: audio.samples, sample_rate: audio.sample_rate, channels })
            }
        }
    }
}

/// The rates of ISO/IEC 14496-3 table 1.18. AAC may spell out any other number, and then the
/// resampling filter could be as long as that number says.
fn is_usual_rate(hz: u32) -> bool {
    matches!(
        hz,
        7_350
            | 8_000
            | 11_025
            | 12_000
            | 16_000
            | 22_050
            | 24_000
            | 32_000
            | 44_100
            | 48_000
            | 64_000
            | 88_200
            | 96_000
    )
}
