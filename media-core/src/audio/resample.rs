//! Resampler: samples at any AAC or G.711 rate to the rate the Opus encoder takes, without drift.
//!
//! Invariant: after `n` input frames are in and the delay is flushed, exactly `n * to / from` output
//! frames have come out, the first of them for the first input frame (the filter's delay is cut off).

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use super::TranscodeError;

/// Frames (samples of all channels) per step asked of the filter; it rounds to the ratio's multiple.
/// 480 output frames are 10 ms, of which half are delay.
const CHUNK_FRAMES: usize = 480;

/// Turns interleaved samples of one rate into another.
pub(super) struct Resampler {
    filter: Fft<f32>,
    channels: usize,
    pending: Vec<f32>,
    delay_values: usize,
}

impl Resampler {
    /// A resampler; both rates must be at most 96 kHz and share a divisor of at least 75 Hz, as the
    /// rates of ISO/IEC 14496-3 do with 48 kHz (else the filter would be huge).
    pub(super) fn new(from_hz: u32, to_hz: u32, channels: usize) -> Result<Self, TranscodeError> {
        let unsupported = || TranscodeError::SampleRate { hz: from_hz };
        let (from, to) = (
            usize::try_from(from_hz).map_err(|_| unsupported())?,
            usize::try_from(to_hz).map_err(|_| unsupported())?,
        );
        let filter =
            Fft::new(from, to, CHUNK_FRAMES, channels, FixedSync::Output).map_err(|_| unsupported())?;
        let delay_values = filter.output_delay() * channels;
        Ok(Self { filter, channels, pending: Vec::new(), delay_values })
    }

    /// Takes interleaved samples and appends to `out` what is ready.
    pub(super) fn push(&mut self, pcm: &[f32], out: &mut Vec<f32>) -> Result<(), TranscodeError> {
        self.pending.extend_from_slice(pcm);
        let mut used = 0;
        loop {
            let frames = self.filter.input_frames_next();
            let length = frames * self.channels;
            let Some(chunk) = self.pending.get(used..).and_then(|rest| rest.get(..length)) else { break };
            let reason = |what: String| TranscodeError::Resample { reason: what };
            let input =
                InterleavedSlice::new(chunk, self.channels, frames).map_err(|e| reason(e.to_string()))?;
            let made = self.filter.process(&input, None).map_err(|e| reason(e.to_string()))?.take_data();
            let delay = self.delay_values.min(made.len());
            self.delay_values -= delay;
            out.extend(made.into_iter().skip(delay));
            used += length;
        }
        self.pending.drain(..used);
        Ok(())
    }

    /// Pushes silence until all that was put in has come out; `out` is longer than due afterwards.
    pub(super) fn flush(&mut self, out: &mut Vec<f32>) -> Result<(), TranscodeError> {
        let frames = self.filter.input_frames_next();
        let delay_frames = self.filter.output_delay();
        // The delay is less than two chunks; one more pushes out a partly filled one.
        let silence = vec![0.0; (frames * 3 + delay_frames) * self.channels];
        self.push(&silence, out)
    }
}
