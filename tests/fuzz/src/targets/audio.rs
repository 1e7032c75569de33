//! Audio: frames of AAC that a camera sends, decoded and made Opus.

use bytes::Bytes;
use media_core::access_unit::AccessUnit;
use media_core::audio::{Transcoder, opus_twin};
use media_core::time::{Timescale, WallTime};
use media_core::track::{AacConfig, CodecConfig, TrackId, TrackInfo};

/// Packets of Opus for one frame of sound: 2048 samples at 8 kHz are 256 ms, a packet has 20 ms.
const PACKETS_MAX: usize = 32;

/// Frames of one input that are looked at: each is decoded, and encoded as Opus.
const FRAMES_MAX: i64 = 4;

/// Input: bytes of the AudioSpecificConfig behind their count, then frames behind a byte of their length, as ADTS has it in 13 bits.
pub(super) fn aac_frames(input: &[u8]) {
    let Some((&len, rest)) = input.split_first() else { return };
    let Some((config, mut rest)) = rest.split_at_checked(usize::from(len)) else { return };
    let Ok(config) = AacConfig::from_audio_specific_config(config) else { return };
    let Some(timescale) = Timescale::new(config.sample_rate) else { return };
    let source =
        TrackInfo { id: TrackId(0), timescale, codec: CodecConfig::Aac(config), transcoded_from: None };
    let Some(target) = opus_twin(&source, TrackId(1)) else { return };
    let mut transcoder = Transcoder::new(&source, &target).expect("a twin that can be made");
    let mut last_ticks = i64::MIN;
    for number in 0..FRAMES_MAX {
        let Some((&[high, low], after)) = rest.split_first_chunk::<2>() else { break };
        let len = usize::from(u16::from_be_bytes([high, low]) & 0x1fff).min(after.len());
        let (frame, after) = after.split_at(len);
        rest = after;
        let ticks = number * 1024;
        let unit = AccessUnit {
            track: TrackId(0),
            dts_ticks: ticks,
            pts_ticks: ticks,
            wall: WallTime(0),
            is_random_access: true,
            payload: Bytes::copy_from_slice(frame),
        };
        // A frame that is corrupt is lost; the next may be good.
        let packets = transcoder.push(&unit).unwrap_or_default();
        assert!(packets.len() <= PACKETS_MAX, "{} packets of one frame", packets.len());
        for packet in packets {
            assert!(packet.dts_ticks > last_ticks, "{} after {last_ticks}", packet.dts_ticks);
            last_ticks = packet.dts_ticks;
        }
    }
    transcoder.finish().expect("an end");
}
