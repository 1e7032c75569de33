//! Track setup: a session description's media section to a depacketizer and a codec.
//!
//! Belongs here: `rtpmap` and `fmtp`. Does not: the rest of SDP (-> `server::ingest`).
//! Spec: RFC 6184 s8.1, RFC 7798 s7.1, RFC 3640 s4.1, RFC 7587 s6.1, RFC 3551 s6.
//! Limits: [`FMTP_BYTES_MAX`] (a longer `fmtp` is refused); [`PARAMETER_SETS_MAX`] (more are ignored).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::codec::PARAMETER_SET_BYTES_MAX;
use crate::codec::aac::{AacError, AudioSpecificConfig};
use crate::rtp::depacketize::{
    AacDepacketizer, AacFraming, Depacketizer, H264Depacketizer, H265Depacketizer, PacketPerUnit,
};
use crate::time::{Timescale, rescale};
use crate::track::{AacConfig, CodecConfig, G711Law, TrackKind};

/// The longest `fmtp` value taken, in bytes; three parameter sets in base64 fit ten times over.
pub const FMTP_BYTES_MAX: usize = 32 << 10;

/// Parameter sets taken from one `fmtp`.
pub const PARAMETER_SETS_MAX: usize = 64;

/// Cameras pad their base64 as they like.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// One media section of a session description, as the adapter read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackSetup {
    /// Encoding name of the `rtpmap` (any case): `H264`, `H265`, `mpeg4-generic`, `opus`, `PCMA` ...
    pub encoding: String,
    /// Clock rate of the `rtpmap`, Hz.
    pub clock_rate: u32,
    /// Channels of the `rtpmap`.
    pub channels: Option<u8>,
    /// Value of `a=fmtp`, with or without the payload type in front.
    pub fmtp: Option<String>,
    /// `rtptime` of the `RTP-Info` header: the timestamp of the instant that all tracks start at.
    pub rtp_info_timestamp: Option<u32>,
}

/// Why a media section can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A codec that is not carried here.
    #[error("encoding {encoding:?} is not supported")]
    Encoding {
        /// Its name.
        encoding: String,
    },
    /// A clock rate of zero.
    #[error("clock rate of {encoding:?} is zero")]
    ClockRate {
        /// Encoding name.
        encoding: String,
    },
    /// A parameter is missing or makes no sense.
    #[error("fmtp parameter {name} of {encoding:?} is {got:?}")]
    Parameter {
        /// Encoding name.
        encoding: String,
        /// The parameter's name.
        name: &'static str,
        /// Its value, cut to a readable length.
        got: Option<String>,
    },
    /// An `fmtp` over [`FMTP_BYTES_MAX`].
    #[error("fmtp has {got} bytes, the limit is {FMTP_BYTES_MAX}")]
    TooLong {
        /// Its bytes.
        got: usize,
    },
    /// Not the codecs that readers were told of.
    #[error("they are {got}, and the path's slate is {expected}: both must have the same codecs")]
    OtherTracks {
        /// The slate's.
        expected: String,
        /// The source's.
        got: String,
    },
    /// The AAC configuration can't be used.
    #[error("AAC configuration: {0}")]
    Aac(#[from] AacError),
}

/// A track ready to take packets.
#[derive(Debug)]
pub(super) struct ReadyTrack {
    pub(super) kind: TrackKind,
    pub(super) timescale: Timescale,
    /// `None` for video: its configuration comes with the first random access point.
    pub(super) audio: Option<CodecConfig>,
    pub(super) depacketizer: Depacketizer,
}

impl TrackSetup {
    /// What kind of track it is, if it is one that can be carried.
    ///
    /// # Errors
    /// [`SetupError`]: the adapter should not set this one up.
    pub fn kind(&self) -> Result<TrackKind, SetupError> {
        self.ready().map(|track| track.kind)
    }

    pub(super) fn ready(&self) -> Result<ReadyTrack, SetupError> {
        let encoding = self.encoding.to_ascii_lowercase();
        let timescale = Timescale::new(self.clock_rate)
            .ok_or_else(|| SetupError::ClockRate { encoding: self.encoding.clone() })?;
        let fmtp = Fmtp::parse(self.fmtp.as_deref().unwrap_or(""))?;
        match encoding.as_str() {
            "h264" => {
                let sets = fmtp.parameter_sets(&["sprop-parameter-sets"]);
                let machine = H264Depacketizer::new(sets.iter().map(Vec::as_slice));
                Ok(ReadyTrack::video(timescale, Depacketizer::H264(Box::new(machine))))
            }
            "h265" | "hevc" => {
                let sets = fmtp.parameter_sets(&["sprop-vps", "sprop-sps", "sprop-pps"]);
                let machine = H265Depacketizer::new(sets.iter().map(Vec::as_slice));
                Ok(ReadyTrack::video(timescale, Depacketizer::H265(Box::new(machine))))
            }
            "mpeg4-generic" => self.ready_aac(&fmtp, timescale),
            "opus" => {
                let codec = CodecConfig::Opus { channels: self.channels.unwrap_or(2).clamp(1, 2) };
                Ok(ReadyTrack::audio(timescale, codec, Depacketizer::PacketPerUnit(PacketPerUnit::opus())))
            }
            "pcma" => Ok(self.ready_g711(G711Law::A, timescale)),
            "pcmu" => Ok(self.ready_g711(G711Law::Mu, timescale)),
            _ => Err(SetupError::Encoding { encoding: self.encoding.clone() }),
        }
    }

    fn ready_g711(&self, law: G711Law, timescale: Timescale) -> ReadyTrack {
        let channels = self.channels.unwrap_or(1).clamp(1, 2);
        let codec = CodecConfig::G711 { law, sample_rate: self.clock_rate, channels };
        ReadyTrack::audio(timescale, codec, Depacketizer::PacketPerUnit(PacketPerUnit::g711(channels)))
    }

    fn ready_aac(&self, fmtp: &Fmtp<'_>, timescale: Timescale) -> Result<ReadyTrack, SetupError> {
        let bad = |name: &'static str, got: Option<&str>| SetupError::Parameter {
            encoding: self.encoding.clone(),
            name,
            got: got.map(|got| got.chars().take(64).collect()),
        };
        let config = fmtp.value("config");
        let bytes = config.and_then(decode_hex).ok_or_else(|| bad("config", config))?;
        let parsed = AudioSpecificConfig::parse(&bytes)?;
        let is_low_rate = fmtp.value("mode").is_some_and(|mode| mode.eq_ignore_ascii_case("AAC-lbr"));
        let [size, index, index_delta] = if is_low_rate { [6, 2, 2] } else { [13, 3, 3] };
        let length = |name: &'static str, default: u32| match fmtp.value(name) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|bits| *bits <= 16).ok_or_else(|| bad(name, Some(text))),
        };
        for name in ["ctsdeltalength", "dtsdeltalength", "auxiliarydatasizelength", "streamstateindication"] {
            if length(name, 0)? != 0 {
                return Err(bad(name, fmtp.value(name)));
            }
        }
        let ticks = rescale(i64::from(parsed.frame_samples), parsed.core_rate, self.clock_rate);
        let framing = AacFraming {
            size_bits: length("sizelength", size)?,
            index_bits: length("indexlength", index)?,
            index_delta_bits: length("indexdeltalength", index_delta)?,
            frame_ticks: u32::try_from(ticks).unwrap_or(0).max(1),
        };
        let codec = CodecConfig::Aac(AacConfig::from_audio_specific_config(&bytes)?);
        Ok(ReadyTrack::audio(timescale, codec, Depacketizer::Aac(AacDepacketizer::new(framing))))
    }
}

impl ReadyTrack {
    fn video(timescale: Timescale, depacketizer: Depacketizer) -> Self {
        Self { kind: TrackKind::Video, timescale, audio: None, depacketizer }
    }

    fn audio(timescale: Timescale, codec: CodecConfig, depacketizer: Depacketizer) -> Self {
        Self { kind: TrackKind::Audio, timescale, audio: Some(codec), depacketizer }
    }
}

/// Parameters of an `a=fmtp` line.
#[derive(Debug)]
struct Fmtp<'a> {
    text: &'a str,
}

impl<'a> Fmtp<'a> {
    fn parse(text: &'a str) -> Result<Self, SetupError> {
        if text.len() > FMTP_BYTES_MAX {
            return Err(SetupError::TooLong { got: text.len() });
        }
        let text = text.trim();
        let is_payload_type = |head: &str| !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_digit());
        let text = match text.split_once(' ') {
            Some((head, rest)) if is_payload_type(head) => rest,
            _ => text,
        };
        Ok(Self { text })
    }

    /// The value of a parameter; names are compared without case, as cameras write them.
    fn value(&self, name: &str) -> Option<&'a str> {
        self.text.split(';').find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// NAL units in base64, separated by commas.
    fn parameter_sets(&self, names: &[&str]) -> Vec<Vec<u8>> {
        let values = names.iter().filter_map(|name| self.value(name));
        values
            .flat_map(|value| value.split(','))
            .take(PARAMETER_SETS_MAX)
            .filter_map(|text| BASE64.decode(text.trim()).ok())
            .filter(|nal| nal.len() <= PARAMETER_SET_BYTES_MAX)
            .map(without_start_code)
            .filter(|nal| !nal.is_empty())
            .collect()
    }
}

/// Some cameras encode their parameter sets with the start code.
fn without_start_code(nal: Vec<u8>) -> Vec<u8> {
    for code in [&[0, 0, 0, 1][..], &[0, 0, 1]] {
        if let Some(rest) = nal.strip_prefix(code) {
            return rest.to_vec();
        }
    }
    nal
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_matches('"').as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            // An odd digit at the end is the high half of a byte.
            [high] => Some(digit(*high)? << 4),
            _ => None,
        })
        .collect()
}
