//! Opus encoder: 20 ms of samples to one Opus packet.
//!
//! Spec: RFC 6716; RFC 7587 s4.2 (20 ms is the recommended packet).

use bytes::Bytes;
use opus_pure::{Application, OpusEncoder};

use super::TranscodeError;

/// Length of every packet made here, in ticks of 48 kHz: 20 ms.
pub(super) const PACKET_TICKS: i64 = 960;

/// The longest packet that holds one frame: TOC byte and 1275 bytes (RFC 6716 s3.2.1).
const PACKET_BYTES_MAX: usize = 1276;

/// How hard the encoder works, 0 to 10. On street sound 3 costs 60 % of 5 and loses less than 0.5 dB;
/// 250 cameras are to fit in a fraction of one core.
const COMPLEXITY: i32 = 3;

/// Ticks of 48 kHz by which a decoder's output trails the encoder's input (6.5 ms): libopus's
/// look-ahead for `Application::Audio`, the same at every input rate.
pub(super) const PRE_SKIP_TICKS: u16 = 312;

/// One Opus stream.
pub(super) struct Encoder {
    inner: OpusEncoder,
    sample_rate: u32,
    samples_per_packet: usize,
    channels: usize,
    buffer: Vec<u8>,
}

impl Encoder {
    /// An encoder for samples of `sample_rate`, which must be one of Opus's own ([`native_rate`]).
    pub(super) fn new(sample_rate: u32, channels: usize) -> Result<Self, TranscodeError> {
        let hz = i32::try_from(sample_rate).unwrap_or(0);
        let mut inner = OpusEncoder::new(hz, channels, Application::Audio)
            .map_err(|error| TranscodeError::Encode { reason: error.to_string() })?;
        inner.bitrate_bps = bitrate_bps(sample_rate, channels);
        inner.complexity = COMPLEXITY;
        let samples_per_packet = usize::try_from(sample_rate / 50).unwrap_or(usize::MAX);
        Ok(Self { inner, sample_rate, samples_per_packet, channels, buffer: vec![0; PACKET_BYTES_MAX] })
    }

    /// Samples a second that it takes.
    pub(super) fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Interleaved values that make one packet.
    pub(super) fn values_per_packet(&self) -> usize {
        self.samples_per_packet * self.channels
    }

    /// Encodes exactly [`Self::values_per_packet`] interleaved samples.
    pub(super) fn encode(&mut self, pcm: &[f32]) -> Result<Bytes, TranscodeError> {
        let length = self
            .inner
            .encode(pcm, self.samples_per_packet, &mut self.buffer)
            .map_err(|error| TranscodeError::Encode { reason: error.to_string() })?;
        Ok(Bytes::copy_from_slice(self.buffer.get(..length).unwrap_or_default()))
    }
}

/// The rate at which Opus is given samples of `sample_rate`: the same where Opus has it (no
/// resampling, and a narrow band costs less to encode), else 48 kHz.
pub(super) fn native_rate(sample_rate: u32) -> u32 {
    match sample_rate {
        8_000 | 12_000 | 16_000 | 24_000 | 48_000 => sample_rate,
        _ => 48_000,
    }
}

/// Bits per second: what RFC 6716 s2.1.1 calls sweet spots for speech (8 to 32 kbit/s by bandwidth),
/// on the generous side because a microphone in the street hears more than one voice.
fn bitrate_bps(sample_rate: u32, channels: usize) -> i32 {
    match (sample_rate, channels) {
        (..=12_000, 1) => 24_000,
        (..=24_000, 1) => 32_000,
        (_, 1) | (..=24_000, _) => 48_000,
        _ => 64_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pre_skip_is_the_encoders_look_ahead_at_every_rate() {
        for rate in [8_000, 12_000, 16_000, 24_000, 48_000] {
            for channels in [1, 2] {
                let encoder = Encoder::new(rate, channels).unwrap();
                let ticks = encoder.inner.lookahead() * 48_000 / usize::try_from(rate).unwrap();
                assert_eq!(ticks, usize::from(PRE_SKIP_TICKS));
            }
        }
    }
}
