//! AAC: AudioSpecificConfig.
//!
//! Spec: ISO/IEC 14496-3 s1.6.2.1 (AudioSpecificConfig), s4.4.1 (GASpecificConfig, program_config_element).

use bytes::Bytes;

use super::bits::{BitError, BitReader};
use crate::track::AacConfig;

/// The longest AudioSpecificConfig taken, in bytes; real ones have 2 to 7, with a program config up to 40.
pub const AUDIO_SPECIFIC_CONFIG_BYTES_MAX: usize = 64;

/// Why an AudioSpecificConfig can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AacError {
    /// It ends too early.
    #[error(transparent)]
    Bits(#[from] BitError),
    /// Longer than [`AUDIO_SPECIFIC_CONFIG_BYTES_MAX`].
    #[error("audio specific config has {got} bytes, the limit is {AUDIO_SPECIFIC_CONFIG_BYTES_MAX}")]
    TooLong {
        /// Its bytes.
        got: usize,
    },
    /// An object type that is not AAC.
    #[error("audio object type {got} is not AAC")]
    ObjectType {
        /// The type.
        got: u32,
    },
    /// A reserved value.
    #[error("{field} is {got}")]
    OutOfRange {
        /// The syntax element's name.
        field: &'static str,
        /// Its value.
        got: u32,
    },
}

/// What is read from an AudioSpecificConfig besides [`AacConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Object type of the core, 2 for AAC-LC, also under SBR.
    pub object_type: u8,
    /// Samples per second of the core.
    pub core_rate: u32,
    /// Samples per second that come out: twice the core's with explicit SBR.
    pub output_rate: u32,
    /// Channels; 0 in the stream with a program config element, then counted from that.
    pub channels: u8,
    /// Samples a frame of the core: 1024 or 960.
    pub frame_samples: u32,
}

const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

impl AudioSpecificConfig {
    /// Parses it.
    ///
    /// # Errors
    /// [`AacError`].
    pub fn parse(config: &[u8]) -> Result<Self, AacError> {
        const SBR: u32 = 5;
        const PS: u32 = 29;
        if config.len() > AUDIO_SPECIFIC_CONFIG_BYTES_MAX {
            return Err(AacError::TooLong { got: config.len() });
        }
        let mut bits = BitReader::new(config);
        let mut object_type = read_object_type(&mut bits)?;
        let core_rate = read_rate(&mut bits)?;
        let channel_configuration = bits.bits(4)?;
        let mut output_rate = core_rate;
        if matches!(object_type, SBR | PS) {
            output_rate = read_rate(&mut bits)?;
            object_type = read_object_type(&mut bits)?;
        }
        // Main, LC, SSR, LTP, and the error resilient LC and LTP share GASpecificConfig.
        if !matches!(object_type, 1..=4 | 17 | 19) {
            return Err(AacError::ObjectType { got: object_type });
        }
        let frame_samples = if bits.flag()? { 960 } else { 1024 };
        if bits.flag()? {
            bits.skip(14)?; // coreCoderDelay
        }
        bits.skip(1)?; // extensionFlag
        let channels = match channel_configuration {
            0 => read_program_channels(&mut bits)?,
            1..=6 => u8::try_from(channel_configuration).unwrap_or(0),
            7 | 12 | 14 => 8,
            11 => 7,
            got => return Err(AacError::OutOfRange { field: "channelConfiguration", got }),
        };
        let object_type = u8::try_from(object_type).unwrap_or(0);
        Ok(Self { object_type, core_rate, output_rate, channels, frame_samples })
    }
}

fn read_object_type(bits: &mut BitReader<'_>) -> Result<u32, BitError> {
    let short = bits.bits(5)?;
    if short == 31 { Ok(32 + bits.bits(6)?) } else { Ok(short) }
}

fn read_rate(bits: &mut BitReader<'_>) -> Result<u32, AacError> {
    const EXPLICIT: u32 = 15;
    let index = bits.bits(4)?;
    let rate = if index == EXPLICIT {
        bits.bits(24)?
    } else {
        usize::try_from(index).ok().and_then(|index| RATES.get(index)).copied().unwrap_or(0)
    };
    if (1_000..=192_000).contains(&rate) {
        Ok(rate)
    } else {
        Err(AacError::OutOfRange { field: "samplingFrequency", got: rate })
    }
}

/// Channels of a program_config_element: single, paired (two each) and LFE elements.
fn read_program_channels(bits: &mut BitReader<'_>) -> Result<u8, AacError> {
    bits.skip(4 + 2 + 4)?;
    let (front, side, back) = (bits.bits(4)?, bits.bits(4)?, bits.bits(4)?);
    let lfe = bits.bits(2)?;
    bits.skip(3 + 4)?;
    for mixdown_bits in [4, 4, 3] {
        if bits.flag()? {
            bits.skip(mixdown_bits)?;
        }
    }
    let mut channels = lfe;
    for _ in 0..front + side + back {
        channels += if bits.flag()? { 2 } else { 1 };
        bits.skip(4)?;
    }
    u8::try_from(channels)
        .ok()
        .filter(|channels| (1..=16).contains(channels))
        .ok_or(AacError::OutOfRange { field: "channels", got: channels })
}

impl AacConfig {
    /// AAC-LC of a rate that MPEG-4 has a number for, in 1 to 6 channels.
    pub fn low_complexity(sample_rate: u32, channels: u8) -> Option<Self> {
        const LC: u16 = 2;
        let rate = u16::try_from(RATES.iter().position(|rate| *rate == sample_rate)?).ok()?;
        let config = LC << 11 | rate << 7 | u16::from(channels) << 3;
        Self::from_audio_specific_config(&config.to_be_bytes()).ok().filter(|made| made.channels == channels)
    }

    /// The configuration that an AudioSpecificConfig makes.
    ///
    /// # Errors
    /// [`AacError`].
    pub fn from_audio_specific_config(config: &[u8]) -> Result<Self, AacError> {
        let parsed = AudioSpecificConfig::parse(config)?;
        Ok(Self {
            audio_specific_config: Bytes::copy_from_slice(config),
            object_type: parsed.object_type,
            sample_rate: parsed.output_rate,
            channels: parsed.channels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_specific_configs_of_real_encoders_are_read() {
        // RFC 3640 s3.3.6: "config=1190", AAC-LC 48 kHz stereo; "1408" of many cameras: LC 16 kHz mono.
        let check = |config: &[u8], expect: (u8, u32, u8)| {
            let got = AacConfig::from_audio_specific_config(config).unwrap();
            assert_eq!((got.object_type, got.sample_rate, got.channels), expect);
        };
        check(&[0x11, 0x90], (2, 48_000, 2));
        check(&[0x14, 0x08], (2, 16_000, 1));
        // HE-AAC with explicit signalling: SBR over LC, 24 kHz core, 48 kHz out, stereo.
        check(&[0x2b, 0x11, 0x88, 0x00], (2, 48_000, 2));
    }

    #[test]
    fn what_is_not_aac_is_refused() {
        assert_eq!(
            AacConfig::from_audio_specific_config(&[]).unwrap_err(),
            AacError::Bits(BitError::EndOfData { at_bit: 0, len_bits: 0 })
        );
        assert!(matches!(
            AudioSpecificConfig::parse(&[0xf8, 0x80, 0, 0]),
            Err(AacError::ObjectType { .. } | AacError::OutOfRange { .. })
        ));
        assert!(matches!(
            AudioSpecificConfig::parse(&[0x11, 0x90].repeat(40)),
            Err(AacError::TooLong { got: 80 })
        ));
    }
}
