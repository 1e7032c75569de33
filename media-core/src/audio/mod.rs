//! Audio transcoder: G.711 and AAC access units to Opus ones, on the same timeline.
//!
//! ```text
//!  AccessUnit ─► Decoder ─► mix ─► Resampler (only where Opus lacks the rate) ─► 20 ms ─► Encoder ─► AccessUnit
//!      │ dts                                                                                 ▲ dts
//!      └──────► Run: time of the first sample, samples since: gap? overlap? ─────────────────┘
//! ```
//!
//! Time is counted in samples from the start of a run, so it cannot drift. When an access unit comes
//! `GAP_TICKS` or more after the samples before it end, the run ends (its last packet is filled up
//! with silence) and a new one starts at the unit's own time: lost audio is a gap, never a shift. When
//! one comes as much too early, the samples that lie in time already told are left out. Less than that
//! is jitter of the camera's timestamps.
//!
//! Belongs here: codecs and their time. Does not: when to transcode (-> server: only while somebody
//! asks), muxing.
//!
//! Invariants: `dts` of what comes out rises by at least 960 ticks; a packet's `dts` is the source time
//! of the first sample a decoder puts out for it, the encoder's delay included.
//! Units: ticks of 48 kHz after the decoder. Limits: two seconds and 7.1 channels an access unit (`decoder`).
//! Spec: RFC 6716, RFC 7587, ITU-T G.711, ISO/IEC 14496-3.

mod decoder;
mod g711;
mod mix;
mod opus;
mod resample;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;

use self::decoder::{Decoder, Pcm};
use self::opus::{Encoder, PACKET_TICKS, PRE_SKIP_TICKS, native_rate};
use self::resample::Resampler;
use crate::access_unit::AccessUnit;
use crate::time::{Timescale, WallTime, rescale};
use crate::track::{CodecConfig, TrackId, TrackInfo, TrackKind};

/// How far an access unit may lie from the end of the samples before it and still continue them, in
/// ticks of 48 kHz: one Opus packet. The shortest loss of AAC (1024 samples at 48 kHz) is longer.
const GAP_TICKS: i64 = PACKET_TICKS;

/// Why audio is not transcoded: the track (from [`Transcoder::new`]) or one access unit of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    /// The source is no codec that needs or can have an Opus twin.
    #[error("no transcoding from {codec}")]
    Source {
        /// The compatible API's name of the codec.
        codec: &'static str,
    },
    /// The target is not Opus with one or two channels at 48 kHz.
    #[error("target is not mono or stereo opus at 48 kHz")]
    Target,
    /// The AudioSpecificConfig is malformed or of an object type that is not decoded (xHE-AAC).
    #[error("aac configuration: {reason}")]
    AacConfig {
        /// The decoder's words.
        reason: String,
    },
    /// A sample rate that neither AAC nor cameras use.
    #[error("sample rate of {hz} Hz")]
    SampleRate {
        /// Samples a second.
        hz: u32,
    },
    /// More channels than 7.1, or none.
    #[error("{count} channels")]
    Channels {
        /// What the stream says.
        count: usize,
    },
    /// An empty access unit or one of more than two seconds.
    #[error("access unit of {bytes} bytes, at most {bytes_max}")]
    UnitLength {
        /// Length of the payload.
        bytes: usize,
        /// The limit for this track.
        bytes_max: usize,
    },
    /// The access unit is corrupt; it is lost, the next one may be good.
    #[error("decode: {reason}")]
    Decode {
        /// The decoder's words.
        reason: String,
    },
    /// The resampler refused what it asked for (a defect).
    #[error("resample: {reason}")]
    Resample {
        /// The resampler's words.
        reason: String,
    },
    /// The encoder refused a full packet of samples (a defect).
    #[error("encode: {reason}")]
    Encode {
        /// The encoder's words.
        reason: String,
    },
}

/// What a transcoder has met, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscodeStats {
    /// Times that the source jumped forward by 20 ms or more, or changed its sample rate.
    pub gaps: u64,
    /// Audio left out because it overlapped what was already sent, in ticks of 48 kHz.
    pub overlap_ticks: u64,
    /// Packets made.
    pub packets: u64,
}

/// The Opus track that a viewer of `source` is offered, or `None` where none is needed or possible.
///
/// Mono stays mono; everything else becomes stereo.
pub fn opus_twin(source: &TrackInfo, id: TrackId) -> Option<TrackInfo> {
    let source_channels = match &source.codec {
        CodecConfig::G711 { channels, .. } => *channels,
        CodecConfig::Aac(config) => config.channels,
        CodecConfig::Opus { .. } | CodecConfig::H264(_) | CodecConfig::H265(_) => return None,
    };
    let channels = if source_channels <= 1 { 1 } else { 2 };
    let codec = CodecConfig::Opus { channels };
    let track = TrackInfo { id, timescale: Timescale::OPUS, codec, transcoded_from: Some(source.id) };
    Decoder::new(&source.codec).is_ok().then_some(track)
}

/// Makes the Opus twin of one audio track, for one format of it: another format, another transcoder.
///
/// `push` each access unit of the source track in order; what it returns is ready for the ring.
/// An error is about that access unit alone: count it and go on.
pub struct Transcoder {
    source_timescale: Timescale,
    target: TrackId,
    channels: usize,
    decoder: Decoder,
    encoder: Option<Encoder>,
    run: Option<Run>,
    /// Source time at which the last packet ends, so that the next never begins earlier.
    end_ticks: i64,
    stats: TranscodeStats,
}

impl Transcoder {
    /// A transcoder from `source` (G.711 or AAC) to `target` (its Opus twin, see [`opus_twin`]).
    ///
    /// # Errors
    ///
    /// What cannot be decoded or is no Opus target; the stream then has no such track.
    pub fn new(source: &TrackInfo, target: &TrackInfo) -> Result<Self, TranscodeError> {
        let channels = match target.codec {
            CodecConfig::Opus { channels: channels @ 1..=2 } if target.timescale == Timescale::OPUS => {
                channels
            }
            _ => return Err(TranscodeError::Target),
        };
        debug_assert_eq!(source.codec.kind(), TrackKind::Audio, "Decoder refuses video");
        Ok(Self {
            source_timescale: source.timescale,
            target: target.id,
            channels: usize::from(channels),
            decoder: Decoder::new(&source.codec)?,
            encoder: None,
            run: None,
            end_ticks: i64::MIN,
            stats: TranscodeStats::default(),
        })
    }

    /// By how much a decoder's output trails the encoder's input, in ticks of 48 kHz (6.5 ms).
    ///
    /// The times of what [`Self::push`] returns already compensate it, so a file or fMP4 whose
    /// timeline must be exact writes 0 as its pre-skip; one that writes this value as pre-skip
    /// (dOps, OpusHead) adds it to the times too.
    pub fn pre_skip(&self) -> u16 {
        PRE_SKIP_TICKS
    }

    /// Counters since the start.
    pub fn stats(&self) -> TranscodeStats {
        self.stats
    }

    /// Takes the next access unit of the source and returns the packets that are full, usually 0 to 3.
    ///
    /// # Errors
    ///
    /// This access unit's audio is lost; the next is taken as after a gap.
    pub fn push(&mut self, unit: &AccessUnit) -> Result<Vec<AccessUnit>, TranscodeError> {
        let Pcm { samples, sample_rate, channels } = self.decoder.decode(&unit.payload)?;
        let mut samples = mix::mix(samples, channels, self.channels);
        let start_ticks = rescale(unit.dts_ticks, self.source_timescale.hz(), Timescale::OPUS.hz());
        let mut out = Vec::new();
        let mut run = match self.run.take() {
            None => self.begin_run(start_ticks, sample_rate)?,
            Some(run) => match run.continuity(start_ticks, sample_rate) {
                Continuity::Follows => run,
                Continuity::Breaks => {
                    self.stats.gaps += 1;
                    self.finish_run(run, &mut out)?;
                    self.begin_run(start_ticks, sample_rate)?
                }
                Continuity::Overlaps { ticks } => {
                    self.leave_out(&mut samples, ticks, sample_rate);
                    run
                }
            },
        };
        run.wall = (start_ticks, unit.wall);
        run.push(&samples)?;
        self.encode_ready(&mut run, &mut out)?;
        self.run = Some(run);
        Ok(out)
    }

    /// Ends the stream: returns what is left, filled up with silence to a whole packet.
    ///
    /// # Errors
    ///
    /// Only for defects ([`TranscodeError::Resample`], [`TranscodeError::Encode`]).
    pub fn finish(mut self) -> Result<Vec<AccessUnit>, TranscodeError> {
        let mut out = Vec::new();
        if let Some(run) = self.run.take() {
            self.finish_run(run, &mut out)?;
        }
        Ok(out)
    }

    /// A new run at `start_ticks`, or as soon after it as the last packet ends.
    fn begin_run(&self, start_ticks: i64, sample_rate: u32) -> Result<Run, TranscodeError> {
        Run::new(start_ticks.max(self.end_ticks), sample_rate, self.channels)
    }

    fn leave_out(&mut self, samples: &mut Vec<f32>, ticks: i64, sample_rate: u32) {
        let frames = rescale(ticks, Timescale::OPUS.hz(), sample_rate);
        let values = usize::try_from(frames).unwrap_or(usize::MAX).saturating_mul(self.channels);
        let values = values.min(samples.len());
        samples.drain(..values);
        let frames = i64::try_from(values / self.channels).unwrap_or(0);
        let ticks = rescale(frames, sample_rate, Timescale::OPUS.hz());
        self.stats.overlap_ticks += u64::try_from(ticks).unwrap_or(0);
    }

    fn finish_run(&mut self, mut run: Run, out: &mut Vec<AccessUnit>) -> Result<(), TranscodeError> {
        let encoder = encoder_for(&mut self.encoder, run.encoder_rate, self.channels)?;
        run.fill_up(encoder.values_per_packet())?;
        let end_ticks = run.ticks_in();
        while run.packets * PACKET_TICKS < end_ticks {
            if !self.encode_one(&mut run, out)? {
                break;
            }
        }
        Ok(())
    }

    fn encode_ready(&mut self, run: &mut Run, out: &mut Vec<AccessUnit>) -> Result<(), TranscodeError> {
        while self.encode_one(run, out)? {}
        Ok(())
    }

    /// Encodes the next 20 ms of the run, if they are there.
    fn encode_one(&mut self, run: &mut Run, out: &mut Vec<AccessUnit>) -> Result<bool, TranscodeError> {
        let encoder = encoder_for(&mut self.encoder, run.encoder_rate, self.channels)?;
        let length = encoder.values_per_packet();
        let Some(pcm) = run.ready.get(..length) else { return Ok(false) };
        let payload = encoder.encode(pcm)?;
        run.ready.drain(..length);
        let start_ticks = run.anchor_ticks.saturating_add(run.packets * PACKET_TICKS);
        let ticks = start_ticks.saturating_sub(i64::from(PRE_SKIP_TICKS));
        run.packets += 1;
        self.end_ticks = start_ticks.saturating_add(PACKET_TICKS);
        // What the decoder puts out before the stream's first tick is only the encoder warming up;
        // files cannot express a negative decode time.
        if ticks < 0 && run.anchor_ticks >= 0 {
            return Ok(true);
        }
        self.stats.packets += 1;
        out.push(AccessUnit {
            track: self.target,
            dts_ticks: ticks,
            pts_ticks: ticks,
            wall: run.wall_at(ticks),
            is_random_access: true,
            payload,
        });
        Ok(true)
    }
}

impl fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcoder")
            .field("target", &self.target)
            .field("channels", &self.channels)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

/// The encoder in use, or a new one when the source's sample rate changed (HE-AAC that begins late).
fn encoder_for(
    slot: &mut Option<Encoder>,
    rate: u32,
    channels: usize,
) -> Result<&mut Encoder, TranscodeError> {
    if slot.as_ref().is_some_and(|encoder| encoder.sample_rate() != rate) {
        *slot = None;
    }
    match slot {
        Some(encoder) => Ok(encoder),
        None => Ok(slot.insert(Encoder::new(rate, channels)?)),
    }
}

/// How an access unit lies to the samples before it.
enum Continuity {
    /// Where the samples before it end, but for jitter.
    Follows,
    /// Later, or at another sample rate.
    Breaks,
    /// Earlier by so many ticks of 48 kHz.
    Overlaps { ticks: i64 },
}

/// Uninterrupted samples of one rate.
struct Run {
    /// Source time of its first sample, ticks of 48 kHz.
    anchor_ticks: i64,
    sample_rate: u32,
    channels: usize,
    /// Interleaved values pushed.
    values_in: i64,
    resampler: Option<Resampler>,
    encoder_rate: u32,
    /// Interleaved samples at the encoder's rate, less than one packet between pushes.
    ready: Vec<f32>,
    /// Packets made of it.
    packets: i64,
    /// Wall-clock time of the newest access unit, with its time in ticks of 48 kHz.
    wall: (i64, WallTime),
}

impl Run {
    fn new(anchor_ticks: i64, sample_rate: u32, channels: usize) -> Result<Self, TranscodeError> {
        let encoder_rate = native_rate(sample_rate);
        let resampler = (encoder_rate != sample_rate)
            .then(|| Resampler::new(sample_rate, encoder_rate, channels))
            .transpose()?;
        Ok(Self {
            anchor_ticks,
            sample_rate,
            channels,
            values_in: 0,
            resampler,
            encoder_rate,
            ready: Vec::new(),
            packets: 0,
            wall: (anchor_ticks, WallTime(0)),
        })
    }

    /// Duration of the samples pushed, ticks of 48 kHz.
    fn ticks_in(&self) -> i64 {
        let frames = self.values_in / i64::try_from(self.channels).unwrap_or(1);
        rescale(frames, self.sample_rate, Timescale::OPUS.hz())
    }

    fn continuity(&self, start_ticks: i64, sample_rate: u32) -> Continuity {
        let ahead_ticks = start_ticks.saturating_sub(self.anchor_ticks.saturating_add(self.ticks_in()));
        if ahead_ticks >= GAP_TICKS || sample_rate != self.sample_rate {
            Continuity::Breaks
        } else if ahead_ticks <= -GAP_TICKS {
            Continuity::Overlaps { ticks: ahead_ticks.saturating_neg() }
        } else {
            Continuity::Follows
        }
    }

    fn push(&mut self, samples: &[f32]) -> Result<(), TranscodeError> {
        self.values_in += i64::try_from(samples.len()).unwrap_or(0);
        match &mut self.resampler {
            Some(resampler) => resampler.push(samples, &mut self.ready),
            None => {
                self.ready.extend_from_slice(samples);
                Ok(())
            }
        }
    }

    /// Ends the run: whatever is inside comes out, followed by silence to a whole packet.
    fn fill_up(&mut self, values_per_packet: usize) -> Result<(), TranscodeError> {
        if let Some(resampler) = &mut self.resampler {
            resampler.flush(&mut self.ready)?;
        }
        self.ready.resize(self.ready.len().next_multiple_of(values_per_packet), 0.0);
        Ok(())
    }

    fn wall_at(&self, ticks: i64) -> WallTime {
        let (known_ticks, wall) = self.wall;
        wall.plus_us(Timescale::OPUS.ticks_to_us(ticks.saturating_sub(known_ticks)))
    }
}
