//! Test support: ffmpeg as the independent encoder and decoder, clips in, samples out.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use opus_pure::{OggOpusWriter, OpusHead};

use crate::access_unit::AccessUnit;

/// Runs ffmpeg with these arguments and this standard input; returns its standard output, and panics
/// on an error or any error line.
pub(crate) fn ffmpeg(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-bitexact"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        let writer = scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output().unwrap();
        // ffmpeg may stop reading early; its exit status says whether that was right.
        let _written = writer.join().unwrap();
        output
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "ffmpeg {args:?}: {errors}");
    output.stdout
}

/// Little-endian 16-bit samples.
pub(crate) fn s16le(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Decodes Opus packets with ffmpeg's libopus to s16 at `rate`, nothing skipped at the start.
pub(crate) fn decode_opus(units: &[AccessUnit], channels: u8, rate: u32) -> Vec<i16> {
    let head = OpusHead { pre_skip: 0, ..OpusHead::new(channels, 48_000).unwrap() };
    let mut ogg = OggOpusWriter::new(Vec::new(), head).unwrap();
    for unit in units {
        ogg.write_packet(&unit.payload).unwrap();
    }
    let ogg = ogg.finish().unwrap();
    let (rate, channels) = (rate.to_string(), channels.to_string());
    let output = ["-ar", &rate, "-ac", &channels, "-f", "s16le", "pipe:1"];
    s16le(&ffmpeg(&[["-c:a", "libopus", "-i", "pipe:0"].as_slice(), &output].concat(), &ogg))
}

/// The raw AAC frames of an ADTS stream, and its AudioSpecificConfig (ISO/IEC 14496-3 s1.A.2.2).
pub(crate) fn adts_frames(adts: &[u8]) -> (Bytes, Vec<Bytes>) {
    let (mut frames, mut rest) = (Vec::new(), adts);
    let profile_and_rate = (adts[2], adts[3]);
    while rest.len() > 7 {
        let length = usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5]) >> 5;
        let header = if rest[1] & 1 == 1 { 7 } else { 9 };
        frames.push(Bytes::copy_from_slice(&rest[header..length]));
        rest = &rest[length..];
    }
    let (object_type, rate_index) = ((profile_and_rate.0 >> 6) + 1, (profile_and_rate.0 >> 2) & 15);
    let channels = (profile_and_rate.0 & 1) << 2 | profile_and_rate.1 >> 6;
    let config = [object_type << 3 | rate_index >> 1, (rate_index & 1) << 7 | channels << 3];
    (Bytes::copy_from_slice(&config), frames)
}

/// Seconds of test sound.
pub(crate) const SOUND_SECS: u32 = 30;

/// Test sound made by ffmpeg: a rising tone that swells, over pink noise, so that any shift in time
/// shows; the right channel is another tone. Encoded as `output` says.
pub(crate) fn sound(output: &[&str]) -> Vec<u8> {
    let tones = format!(
        "aevalsrc='0.4*sin(2*PI*(150*t+20*t*t))*(0.6+0.4*sin(2*PI*3*t))|0.2*sin(2*PI*(1500*t-15*t*t))':s=48000:d={SOUND_SECS}"
    );
    let noise = format!("anoisesrc=color=pink:seed=7:amplitude=0.02:r=48000:d={SOUND_SECS}");
    let mix = "[1:a]aformat=channel_layouts=stereo[n];[0:a][n]amix=normalize=0";
    let input = ["-f", "lavfi", "-i", &tones, "-f", "lavfi", "-i", &noise, "-filter_complex", mix];
    ffmpeg(&[input.as_slice(), output, &["pipe:1"]].concat(), &[])
}

/// How decoded sound compares with its source.
#[derive(Debug)]
pub(crate) struct Likeness {
    /// Signal to noise ratio at the best lag.
    pub(crate) snr_db: f64,
    /// Level of the sound over that of its source.
    pub(crate) gain_db: f64,
    /// By how many sample frames the sound is late.
    pub(crate) lag: i64,
}

/// Compares interleaved sound with its source, both at 48 kHz and beginning at the same instant,
/// from second 1 on, by the best lag of up to 10 ms.
pub(crate) fn likeness(source: &[i16], sound: &[i16], channels: usize) -> Likeness {
    let at_lag = |lag: i64| {
        let offset = usize::try_from(lag + 480).unwrap() * channels;
        let begin = 48_000 * channels;
        let source = &source[begin..source.len() - 4800 * channels];
        let (mut signal, mut noise, mut level) = (0.0, 0.0, 0.0);
        for (a, b) in source.iter().zip(&sound[begin - 480 * channels + offset..]).step_by(5) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            signal += a * a;
            noise += (a - b) * (a - b);
            level += b * b;
        }
        Likeness { snr_db: 10.0 * (signal / noise).log10(), gain_db: 10.0 * (level / signal).log10(), lag }
    };
    let best = |lags: &mut dyn Iterator<Item = i64>| {
        lags.map(at_lag).max_by(|a, b| a.snr_db.total_cmp(&b.snr_db)).unwrap()
    };
    let coarse = best(&mut (-480..=480).step_by(24)).lag;
    best(&mut (coarse - 24..=coarse + 24).filter(|lag| lag.abs() <= 480))
}
