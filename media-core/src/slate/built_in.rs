//! Built in: a picture that says that the signal is lost, encoded beforehand (see README.md beside it), and silence.

use bytes::Bytes;

use super::{Sample, Slate, SlateError, Track};
use crate::hls::Codec;
use crate::ingest::TrackSetup;
use crate::remux::fmp4::Silence;
use crate::time::Timescale;
use crate::track::{AacConfig, CodecConfig, G711Law, TrackId, TrackInfo};

const H264: &[u8] = include_bytes!("offline-h264.mp4");
const H265: &[u8] = include_bytes!("offline-h265.mp4");

/// G.711 packets last this long.
const G711_MS: u32 = 20;

/// A track that is there without a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// The picture.
    H264,
    /// The picture.
    H265,
    /// Silence; LC, of a rate that MPEG-4 has a number for.
    Aac {
        /// Samples per second.
        sample_rate: u32,
        /// 1 or 2.
        channels: u8,
    },
    /// Silence.
    Opus {
        /// 1 or 2.
        channels: u8,
    },
    /// Silence.
    G711 {
        /// Which of the two laws.
        law: G711Law,
        /// Samples per second.
        sample_rate: u32,
        /// 1 or 2.
        channels: u8,
    },
}

impl BuiltIn {
    /// Whether it is pictures.
    pub fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::H265)
    }
}

impl Slate {
    /// A slate of these tracks; `None` when one of them can't be.
    ///
    /// # Errors
    /// [`SlateError`] of the picture, which is as good as never.
    pub fn built_in(tracks: &[BuiltIn]) -> Result<Option<Self>, SlateError> {
        let mut made = Vec::new();
        for track in tracks {
            match track {
                BuiltIn::H264 => made.extend(Self::read(&Bytes::from_static(H264))?.tracks),
                BuiltIn::H265 => made.extend(Self::read(&Bytes::from_static(H265))?.tracks),
                sound => match silence(*sound) {
                    Some(track) => made.push(track),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(Self { tracks: made }))
    }
}

fn silence(track: BuiltIn) -> Option<Track> {
    match track {
        BuiltIn::H264 | BuiltIn::H265 => None,
        BuiltIn::Aac { sample_rate, channels } => {
            let config = AacConfig::low_complexity(sample_rate, channels)?;
            let codec = Codec::aac(config.audio_specific_config.clone())?;
            silent(codec.setup(), CodecConfig::Aac(config))
        }
        BuiltIn::Opus { channels } => {
            silent(Codec::Opus { channels }.setup(), CodecConfig::Opus { channels })
        }
        BuiltIn::G711 { law, sample_rate, channels } => {
            let (encoding, zero) = match law {
                G711Law::A => ("PCMA", 0xd5),
                G711Law::Mu => ("PCMU", 0xff),
            };
            let samples = sample_rate * G711_MS / 1000;
            let bytes = usize::try_from(samples).ok()? * usize::from(channels);
            let setup = TrackSetup {
                encoding: encoding.to_owned(),
                clock_rate: sample_rate,
                channels: Some(channels),
                fmtp: None,
                rtp_info_timestamp: None,
            };
            Some(endless(setup, vec![zero; bytes].into(), samples.into()))
        }
    }
}

/// A track of the frame that is known to be silent in its codec.
fn silent(setup: TrackSetup, codec: CodecConfig) -> Option<Track> {
    let timescale = Timescale::new(setup.clock_rate)?;
    let info = TrackInfo { id: TrackId(0), timescale, codec, transcoded_from: None };
    let Silence { payload, duration_ticks } = Silence::of(&info)?;
    Some(endless(setup, payload, duration_ticks))
}

/// One frame, over and over.
fn endless(mut setup: TrackSetup, payload: Bytes, duration_ticks: i64) -> Track {
    setup.rtp_info_timestamp = Some(0);
    let timescale = setup.clock_rate;
    let samples = vec![Sample { dts: 0, pts: 0, payload }];
    Track { setup, parameter_sets: Vec::new(), timescale, samples, turn_ticks: duration_ticks }
}
