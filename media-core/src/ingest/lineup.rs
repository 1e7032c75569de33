//! Lineup: the codecs that readers of a path were told of, which whoever sends there must keep to.
//!
//! A reader over RTSP or WebRTC knows its codecs from the session's begin: what comes in the place of a slate must have the same. Sizes,
//! profiles and parameter sets of pictures may differ, those travel with them.

use std::fmt;

use super::track_setup::{ReadyTrack, SetupError, TrackSetup};
use crate::rtp::depacketize::Depacketizer;
use crate::track::{CodecConfig, TrackKind};

/// The tracks that ingest takes of a source, pictures first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineup {
    codecs: Vec<String>,
}

impl Lineup {
    /// The lineup of a source's tracks.
    pub fn of(setups: &[TrackSetup]) -> Self {
        let ready: Vec<ReadyTrack> = setups.iter().filter_map(|setup| setup.ready().ok()).collect();
        let first = |kind| ready.iter().find(|track| track.kind == kind);
        let taken = [TrackKind::Video, TrackKind::Audio].into_iter().filter_map(first);
        Self { codecs: taken.map(codec).collect() }
    }

    /// Whether a source with these tracks may take its place.
    ///
    /// # Errors
    /// [`SetupError::OtherTracks`].
    pub fn admit(&self, setups: &[TrackSetup]) -> Result<(), SetupError> {
        let got = Self::of(setups);
        if *self == got {
            return Ok(());
        }
        Err(SetupError::OtherTracks { expected: self.to_string(), got: got.to_string() })
    }
}

impl fmt::Display for Lineup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.codecs.is_empty() { f.write_str("nothing") } else { f.write_str(&self.codecs.join(" and ")) }
    }
}

fn codec(track: &ReadyTrack) -> String {
    match (&track.audio, &track.depacketizer) {
        (Some(codec @ CodecConfig::Aac(config)), _) => {
            format!("{} of {} Hz in {} channel(s)", codec.api_name(), config.sample_rate, config.channels)
        }
        (Some(codec @ CodecConfig::G711 { law, sample_rate, channels }), _) => {
            format!("{} ({law:?}-law) of {sample_rate} Hz in {channels} channel(s)", codec.api_name())
        }
        (Some(codec @ CodecConfig::Opus { channels }), _) => {
            format!("{} in {channels} channel(s)", codec.api_name())
        }
        (_, Depacketizer::H265(_)) => "H265".to_owned(),
        _ => "H264".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(encoding: &str, clock_rate: u32, channels: Option<u8>, fmtp: Option<&str>) -> TrackSetup {
        let (encoding, fmtp) = (encoding.to_owned(), fmtp.map(str::to_owned));
        TrackSetup { encoding, clock_rate, channels, fmtp, rtp_info_timestamp: None }
    }

    #[test]
    fn a_source_must_have_the_codecs_and_may_tell_them_otherwise() {
        let h264 = setup("H264", 90_000, None, None);
        let aac = |config| setup("mpeg4-generic", 48_000, Some(2), Some(config));
        let told = Lineup::of(&[h264.clone(), aac("config=1190")]);
        // Sound first, with the backward compatible SBR extension that ffmpeg writes, and a second picture that is not taken.
        let same = [aac("config=119056E500"), setup("h264", 90_000, None, None), h264.clone()];
        assert_eq!(told.admit(&same), Ok(()));
        let expected = "H264 and MPEG-4 Audio of 48000 Hz in 2 channel(s)";
        for (setups, got) in [
            (vec![h264.clone()], "H264"),
            (
                vec![setup("H265", 90_000, None, None), aac("config=1190")],
                "H265 and MPEG-4 Audio of 48000 Hz in 2 channel(s)",
            ),
            (
                vec![h264.clone(), setup("PCMU", 8000, None, None)],
                "H264 and G711 (Mu-law) of 8000 Hz in 1 channel(s)",
            ),
            (vec![h264.clone(), setup("opus", 48_000, Some(2), None)], "H264 and Opus in 2 channel(s)"),
            (vec![setup("VP8", 90_000, None, None)], "nothing"),
        ] {
            let refused = SetupError::OtherTracks { expected: expected.to_owned(), got: got.to_owned() };
            assert_eq!(told.admit(&setups), Err(refused));
        }
    }
}
