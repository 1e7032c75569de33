//! The transcoder against ffmpeg: sound, level, time.

use bytes::Bytes;

use super::testing::{SOUND_SECS, decode_opus, ffmpeg, likeness, s16le, sound};
use super::*;
use crate::track::{AacConfig, G711Law, H264Config};

const WALL_US: i64 = 1_790_000_000_000_000;

fn track(id: u8, hz: u32, codec: CodecConfig) -> TrackInfo {
    TrackInfo { id: TrackId(id), timescale: Timescale::new(hz).unwrap(), codec, transcoded_from: None }
}

fn g711(law: G711Law, sample_rate: u32, channels: u8) -> TrackInfo {
    track(1, sample_rate, CodecConfig::G711 { law, sample_rate, channels })
}

fn unit(dts_ticks: i64, hz: u32, payload: Bytes) -> AccessUnit {
    let wall = WallTime(WALL_US + dts_ticks * 1_000_000 / i64::from(hz));
    AccessUnit { track: TrackId(1), dts_ticks, pts_ticks: dts_ticks, wall, is_random_access: true, payload }
}

/// G.711 bytes as access units of `samples` samples from `start_ticks` on.
fn g711_units(bytes: &[u8], hz: u32, channels: usize, samples: usize, start_ticks: i64) -> Vec<AccessUnit> {
    let payloads = bytes.chunks(samples * channels);
    let times = (0..).map(|index: i64| start_ticks + index * i64::try_from(samples).unwrap());
    times.zip(payloads).map(|(dts, bytes)| unit(dts, hz, Bytes::copy_from_slice(bytes))).collect()
}

fn transcode(source: &TrackInfo, units: &[AccessUnit]) -> (Vec<AccessUnit>, TranscodeStats) {
    let target = opus_twin(source, TrackId(2)).unwrap();
    let mut transcoder = Transcoder::new(source, &target).unwrap();
    let mut out = Vec::new();
    for unit in units {
        out.extend(transcoder.push(unit).unwrap());
    }
    let stats = transcoder.stats();
    out.extend(transcoder.finish().unwrap());
    (out, stats)
}

/// Every packet is 20 ms after the one before it; `secs` in all, to 20 ms; wall clock goes along.
fn assert_continuous(packets: &[AccessUnit], secs: u32, start_ticks_48k: i64) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].dts_ticks - pair[0].dts_ticks, 960);
    }
    assert_eq!(packets[0].dts_ticks, start_ticks_48k - 312);
    let duration = i64::try_from(packets.len()).unwrap() * 960;
    assert!((duration - i64::from(secs) * 48_000).abs() <= 960, "{duration} ticks");
    for packet in packets {
        assert_eq!(packet.dts_ticks, packet.pts_ticks);
        assert_eq!(packet.track, TrackId(2));
        let wall = WALL_US + packet.dts_ticks * 1_000_000 / 48_000;
        assert!((packet.wall.unix_us() - wall).abs() < 200, "{} against {wall}", packet.wall.unix_us());
    }
}

/// Sound as 48 kHz samples that begin at `start_ticks`, from packets that begin 312 ticks before.
fn from_start(packets: &[AccessUnit], channels: u8) -> Vec<i16> {
    decode_opus(packets, channels, 48_000).split_off(312 * usize::from(channels))
}

fn check_g711(law: G711Law, hz: u32, channels: u8, samples: usize, snr_db_min: f64) {
    let format = if law == G711Law::A { "alaw" } else { "mulaw" };
    let (rate, count) = (hz.to_string(), channels.to_string());
    let bytes = sound(&["-ar", &rate, "-ac", &count, "-f", format]);
    let start_ticks = i64::from(hz) * 1000;
    let units = g711_units(&bytes, hz, usize::from(channels), samples, start_ticks);
    let (packets, stats) = transcode(&g711(law, hz, channels), &units);
    assert_eq!((stats.gaps, stats.overlap_ticks), (0, 0));
    assert_continuous(&packets, SOUND_SECS, 48_000 * 1000);

    let input = ["-f", format, "-ar", &rate, "-ac", &count, "-i", "pipe:0"];
    let source =
        s16le(&ffmpeg(&[input.as_slice(), &["-ar", "48000", "-f", "s16le", "pipe:1"]].concat(), &bytes));
    let like = likeness(&source, &from_start(&packets, channels), usize::from(channels));
    println!("{law:?} {hz}/{channels} by {samples}: {like:?}");
    assert!(like.snr_db > snr_db_min && like.gain_db.abs() < 0.3 && like.lag.abs() <= 6, "{like:?}");
}

#[test]
fn g711_sounds_as_before_and_lasts_as_long() {
    check_g711(G711Law::A, 8_000, 1, 160, 15.0);
    check_g711(G711Law::Mu, 8_000, 1, 512, 15.0);
    check_g711(G711Law::A, 16_000, 1, 320, 15.0);
    check_g711(G711Law::Mu, 8_000, 2, 333, 15.0);
}

#[test]
fn g711_at_a_rate_opus_lacks_is_resampled_without_drift() {
    check_g711(G711Law::A, 11_025, 1, 256, 15.0);
    check_g711(G711Law::Mu, 32_000, 2, 640, 15.0);
    check_g711(G711Law::Mu, 44_100, 1, 441, 15.0);
}
