//! The transcoder against ffmpeg: sound, level, time.

use bytes::Bytes;

use super::testing::{SOUND_SECS, adts_frames, decode_opus, ffmpeg, likeness, s16le, sound};
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

fn aac(config: Bytes, sample_rate: u32, channels: u8) -> TrackInfo {
    let config = AacConfig { audio_specific_config: config, object_type: 2, sample_rate, channels };
    track(1, sample_rate, CodecConfig::Aac(config))
}

/// AAC access units of 1024 samples and their track, as ffmpeg's encoder makes them.
fn aac_clip(hz: u32, channels: u8) -> (Vec<u8>, TrackInfo, Vec<AccessUnit>) {
    let (rate, count) = (hz.to_string(), channels.to_string());
    let adts = sound(&["-ar", &rate, "-ac", &count, "-c:a", "aac", "-b:a", "128k", "-f", "adts"]);
    let (config, frames) = adts_frames(&adts);
    // From one second on: see `first_packet_before_tick_zero_is_left_out`.
    let times = (0_i64..).map(|index| i64::from(hz) + index * 1024);
    let units = times.zip(frames).map(|(dts, frame)| unit(dts, hz, frame)).collect();
    (adts, aac(config, hz, channels), units)
}

fn check_aac(hz: u32, channels: u8) {
    let (adts, source, units) = aac_clip(hz, channels);
    let (packets, stats) = transcode(&source, &units);
    assert_eq!((stats.gaps, stats.overlap_ticks), (0, 0));
    // The clip is up to two frames longer than the sound (the AAC encoder's own priming).
    let samples = i64::try_from(units.len()).unwrap() * 1024;
    let duration = i64::try_from(packets.len()).unwrap() * 960;
    assert!((duration - rescale(samples, hz, 48_000)).abs() <= 960, "{duration} ticks");
    assert_continuous(&packets[..SOUND_SECS as usize * 50], SOUND_SECS, 48_000);

    let out_channels = channels.min(2);
    let count = out_channels.to_string();
    let source = s16le(&ffmpeg(
        &["-f", "aac", "-i", "pipe:0", "-ac", &count, "-ar", "48000", "-f", "s16le", "pipe:1"],
        &adts,
    ));
    let like = likeness(&source, &from_start(&packets, out_channels), usize::from(out_channels));
    println!("aac {hz}/{channels}: {like:?}");
    assert!(like.snr_db > 15.0 && like.gain_db.abs() < 0.3 && like.lag.abs() <= 6, "{like:?}");
}

#[test]
fn aac_sounds_as_before_and_lasts_as_long() {
    check_aac(48_000, 2);
    check_aac(48_000, 1);
    check_aac(16_000, 1);
}

#[test]
fn aac_of_44100_hz_is_resampled_without_drift() {
    check_aac(44_100, 2);
    check_aac(22_050, 1);
}

#[test]
fn surround_is_mixed_down_as_ffmpeg_does() {
    check_aac(48_000, 6);
}

/// What is heard at `ticks`, `ticks + 960` ... is silent.
fn packet_at(packets: &[AccessUnit], ticks: i64) -> Option<&AccessUnit> {
    packets.iter().find(|packet| (packet.dts_ticks..packet.dts_ticks + 960).contains(&ticks))
}

#[test]
fn lost_unit_leaves_a_gap_and_moves_nothing_after_it() {
    let bytes = sound(&["-ar", "8000", "-ac", "1", "-f", "mulaw"]);
    let source = g711(G711Law::Mu, 8_000, 1);
    let mut units = g711_units(&bytes, 8_000, 1, 400, 8_000);
    // 50 ms from second 11 (clip second 10), and again at second 21.
    units.retain(|unit| unit.dts_ticks != 88_000 && unit.dts_ticks != 168_000);
    let (packets, stats) = transcode(&source, &units);
    assert_eq!((stats.gaps, stats.overlap_ticks), (2, 0));
    for pair in packets.windows(2) {
        assert!(pair[1].dts_ticks >= pair[0].dts_ticks + 960);
    }
    let steps: Vec<i64> = packets.windows(2).map(|pair| pair[1].dts_ticks - pair[0].dts_ticks).collect();
    assert_eq!(steps.iter().filter(|step| **step != 960).count(), 2, "two gaps");
    // The first unit after each loss begins at its own time.
    for seconds in [(88_000 + 400) * 6, (168_000 + 400) * 6] {
        assert_eq!(packet_at(&packets, seconds - 312).unwrap().dts_ticks, seconds - 312);
        assert!(packet_at(&packets, seconds - 312 - 1200).is_none(), "silence is not sent for the loss");
    }
}

#[test]
fn jitter_of_timestamps_below_a_packet_moves_nothing() {
    let bytes = vec![0xd5; 8_000];
    let mut units = g711_units(&bytes, 8_000, 1, 160, 0);
    for (index, unit) in units.iter_mut().enumerate() {
        unit.dts_ticks += [0, 100, -40, 159][index % 4];
    }
    let (packets, stats) = transcode(&g711(G711Law::A, 8_000, 1), &units);
    assert_eq!(stats, TranscodeStats { packets: 49, ..TranscodeStats::default() });
    assert!(packets.windows(2).all(|pair| pair[1].dts_ticks - pair[0].dts_ticks == 960));
}

#[test]
fn camera_whose_sample_clock_is_fast_never_overlaps_itself() {
    // 160 samples every 150 ticks: 6 % more sound than time.
    let mut units = g711_units(&[0xd5; 80_000], 8_000, 1, 160, 0);
    for (index, unit) in units.iter_mut().enumerate() {
        unit.dts_ticks = i64::try_from(index).unwrap() * 150;
    }
    let end_ticks = units.last().unwrap().dts_ticks * 6;
    let (packets, stats) = transcode(&g711(G711Law::A, 8_000, 1), &units);
    assert!(packets.windows(2).all(|pair| pair[1].dts_ticks - pair[0].dts_ticks == 960));
    let late_ticks = packets.last().unwrap().dts_ticks - end_ticks;
    assert!(late_ticks.abs() < 3 * 960, "stays with the camera's time: {late_ticks}");
    assert!(stats.overlap_ticks > 0 && stats.gaps == 0);
}

#[test]
fn jump_of_hours_starts_anew_at_the_units_time() {
    let mut units = g711_units(&[0xd5; 1_600], 8_000, 1, 160, 0);
    let hours = 8_000 * 3600 * 5;
    units.extend(g711_units(&[0xd5; 1_600], 8_000, 1, 160, hours));
    let (packets, stats) = transcode(&g711(G711Law::A, 8_000, 1), &units);
    assert_eq!(stats.gaps, 1);
    assert_eq!(packets.len(), 9 + 10);
    assert_eq!(packets[9].dts_ticks, hours * 6 - 312);
}

#[test]
fn first_packet_before_tick_zero_is_left_out() {
    let (packets, _) = transcode(&g711(G711Law::A, 8_000, 1), &g711_units(&[0xd5; 480], 8_000, 1, 160, 0));
    let times: Vec<i64> = packets.iter().map(|packet| packet.dts_ticks).collect();
    assert_eq!(times, [648, 1608]);
}

#[test]
fn corrupt_unit_is_an_error_and_the_sound_goes_on_at_its_time() {
    let (_, source, mut units) = aac_clip(48_000, 2);
    units[100].payload = units[100].payload.slice(..40);
    units[150].payload = Bytes::from_static(&[0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc, 0x21]);
    units[200].payload = Bytes::new();
    let target = opus_twin(&source, TrackId(2)).unwrap();
    let mut transcoder = Transcoder::new(&source, &target).unwrap();
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    for (index, unit) in units.iter().enumerate() {
        match transcoder.push(unit) {
            Ok(more) => packets.extend(more),
            Err(_) => errors.push(index),
        }
    }
    assert_eq!(errors, [100, 150, 200]);
    assert_eq!(transcoder.stats().gaps, 3);
    assert!(
        packet_at(&packets, units[101].dts_ticks - 312)
            .is_some_and(|packet| packet.dts_ticks == units[101].dts_ticks - 312)
    );
}

#[test]
fn he_aac_is_accepted() {
    // AudioSpecificConfig of object type 5 (SBR), 24 kHz core, 48 kHz output, mono core:
    // ISO/IEC 14496-3 s1.6.2.1. 00101 0110 0001 0011 00010 000
    let config = AacConfig {
        audio_specific_config: Bytes::from_static(&[0x2b, 0x09, 0x88, 0x00]),
        object_type: 5,
        sample_rate: 48_000,
        channels: 1,
    };
    assert!(Decoder::new(&CodecConfig::Aac(config)).is_ok());
}

#[test]
fn what_has_no_opus_twin_is_refused() {
    let video = CodecConfig::H264(H264Config {
        sps: Bytes::new(),
        pps: Bytes::new(),
        width: 0,
        height: 0,
        profile_idc: 0,
        constraint_flags: 0,
        level_idc: 0,
    });
    assert_eq!(opus_twin(&track(0, 90_000, video), TrackId(2)), None);
    assert_eq!(opus_twin(&track(0, 48_000, CodecConfig::Opus { channels: 1 }), TrackId(2)), None);
    assert_eq!(opus_twin(&g711(G711Law::A, 8_001, 1), TrackId(2)), None);
    // xHE-AAC, object type 42 (escape 31 + 10).
    assert_eq!(opus_twin(&aac(Bytes::from_static(&[0xf9, 0x50, 0x00]), 48_000, 2), TrackId(2)), None);
    let source = g711(G711Law::A, 8_000, 1);
    assert_eq!(Transcoder::new(&source, &source).err(), Some(TranscodeError::Target));
}

/// CPU time of this thread in seconds: the first number of Linux's schedstat, nanoseconds.
fn cpu_secs() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// Prints what one camera costs; run in release with `--nocapture`.
#[test]
fn cost_of_one_camera() {
    let bytes = sound(&["-ar", "8000", "-ac", "1", "-f", "mulaw"]);
    let (_, aac_source, aac_units) = aac_clip(48_000, 2);
    let (_, aac_mono, aac_mono_units) = aac_clip(16_000, 1);
    let (_, aac_441, aac_441_units) = aac_clip(44_100, 2);
    let clips = [
        ("g711 8 kHz mono", g711(G711Law::Mu, 8_000, 1), g711_units(&bytes, 8_000, 1, 320, 0)),
        ("aac 16 kHz mono", aac_mono, aac_mono_units),
        ("aac 44.1 kHz stereo", aac_441, aac_441_units),
        ("aac 48 kHz stereo", aac_source, aac_units),
    ];
    for (name, source, units) in clips {
        let begin = cpu_secs();
        let (packets, _) = transcode(&source, &units);
        let cost = (cpu_secs() - begin) / f64::from(SOUND_SECS) * 100.0;
        let bytes: usize = packets.iter().map(|packet| packet.payload.len()).sum();
        println!("{name}: {cost:.2} % of a core, {} bit/s", bytes * 8 * 50 / packets.len());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever bytes and times come, nothing panics, and times out of it never overlap.
    #[test]
    fn arbitrary_units_never_panic(
        config in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..8),
        law in 0..4_u8,
        units in proptest::collection::vec(
            (proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600), -5_000..400_000_i64), 1..40),
    ) {
        let source = match law {
            0 => g711(G711Law::A, 8_000, 1),
            1 => g711(G711Law::Mu, 44_100, 2),
            2 => aac(Bytes::from_static(&[0x12, 0x10]), 44_100, 2),
            _ => aac(Bytes::from(config), 48_000, 2),
        };
        let target = track(2, 48_000, CodecConfig::Opus { channels: 1 + law % 2 });
        if let Ok(mut transcoder) = Transcoder::new(&source, &target) {
            let mut end_ticks = i64::MIN;
            for (payload, dts) in units {
                for packet in transcoder.push(&unit(dts, 8_000, Bytes::from(payload))).unwrap_or_default() {
                    assert!(packet.dts_ticks >= end_ticks);
                    end_ticks = packet.dts_ticks + 960;
                }
            }
        }
    }

    /// The same for good AAC with bits flipped, which gets further into the decoder.
    #[test]
    fn damaged_aac_never_panics(flips in proptest::collection::vec((0..200_usize, 0..300_usize, 0..8_u8), 1..200)) {
        static CLIP: std::sync::OnceLock<(TrackInfo, Vec<AccessUnit>)> = std::sync::OnceLock::new();
        let (source, units) = CLIP.get_or_init(|| {
            let (_, source, units) = aac_clip(44_100, 2);
            (source, units[..200].to_vec())
        });
        let mut units = units.clone();
        for (index, byte, bit) in flips {
            let mut payload = units[index].payload.to_vec();
            let byte = byte % payload.len();
            payload[byte] ^= 1 << bit;
            units[index].payload = Bytes::from(payload);
        }
        let target = opus_twin(source, TrackId(2)).unwrap();
        let mut transcoder = Transcoder::new(source, &target).unwrap();
        let made: usize = units.iter().map(|unit| transcoder.push(unit).map_or(0, |packets| packets.len())).sum();
        assert!(made > 0);
    }
}

#[test]
fn extreme_times_saturate() {
    let source = g711(G711Law::A, 8_000, 1);
    let target = opus_twin(&source, TrackId(2)).unwrap();
    let mut transcoder = Transcoder::new(&source, &target).unwrap();
    for dts_ticks in [i64::MIN, -1, i64::MAX, i64::MIN] {
        let unit = AccessUnit { dts_ticks, ..unit(0, 8_000, Bytes::from_static(&[0xd5; 500])) };
        let _packets = transcoder.push(&unit).unwrap();
    }
}
