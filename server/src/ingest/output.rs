//! Output: what ingest hands out goes into the stream when it is its turn (-> `junction`), with the transcoded audio track
//! beside it while somebody asks for that.
//!
//! Audio trouble never stops video: a frame that can't be transcoded is counted and left out.

use std::sync::Arc;
use std::sync::PoisonError;

use media_core::access_unit::AccessUnit;
use media_core::audio::Transcoder;
use media_core::ingest::{Feeder, Ingest, Line, SetupError, TrackSetup};
use media_core::track::{SharedFormat, TrackId};
use tracing::{debug, warn};

use super::junction::Junction;
use crate::stream::{HasBFrames, IngestSnapshot, Publisher, Stream};

/// Publishes a camera's formats and units.
#[derive(Debug)]
pub(super) struct Output {
    stream: Arc<Stream>,
    publisher: Publisher,
    junction: Arc<Junction>,
    line: Line,
    format: Option<SharedFormat>,
    transcoding: Transcoding,
    transcode_errors: u64,
}

/// Whether the audio of the format in force is being transcoded.
#[derive(Debug)]
enum Transcoding {
    /// Nobody asks.
    Off,
    /// The source track and its transcoder.
    On { source: TrackId, transcoder: Box<Transcoder> },
    /// This format's audio can't be transcoded; not tried again.
    Impossible,
}

impl Output {
    pub(super) fn new(stream: &Arc<Stream>, junction: &Arc<Junction>, feeder: Feeder) -> Self {
        Self {
            stream: Arc::clone(stream),
            publisher: Publisher::new(stream),
            junction: Arc::clone(junction),
            line: junction.line(feeder),
            format: None,
            transcoding: Transcoding::Off,
            transcode_errors: 0,
        }
    }

    /// Whether a source with these tracks may send.
    ///
    /// # Errors
    /// [`SetupError::OtherTracks`].
    pub(super) fn admit(&self, setups: &[TrackSetup]) -> Result<(), SetupError> {
        self.junction.admit(setups)
    }

    /// Whether the slate's turn lasts.
    pub(super) fn may_go_on(&self) -> bool {
        self.junction.splice().is_free()
    }

    /// Nothing more comes for now: the path's slate has its turn. To be called once the stream's state says so.
    pub(super) fn end(&mut self) {
        self.junction.leave(&mut self.line);
    }

    /// Publishes all that `ingest` has ready and is to be published; says how many access units that were.
    pub(super) fn drain(&mut self, ingest: &mut Ingest) -> usize {
        let mut units = 0;
        let junction = Arc::clone(&self.junction);
        let mut splice = junction.splice();
        while let Some(event) = ingest.poll_event() {
            if let Some((format, unit)) = splice.take(&mut self.line, event) {
                self.publish(&format, unit);
                units += 1;
            }
        }
        drop(splice);
        if units > 0 {
            self.publisher.set_has_b_frames(if ingest.has_b_frames() {
                HasBFrames::Yes
            } else {
                HasBFrames::No
            });
        }
        units
    }

    /// Shows ingest's counters and the jitter of what comes as RTP to the metrics.
    pub(super) fn report(&self, ingest: &Ingest, jitter_us: Option<u64>) {
        let snapshot = IngestSnapshot {
            counters: ingest.counters(),
            transcode_errors: self.transcode_errors,
            clock_offset_us: ingest.camera_clock_offset_us(),
            jitter_us,
        };
        *self.stream.ingest.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    fn publish(&mut self, format: &SharedFormat, unit: AccessUnit) {
        if self.format.as_ref().is_none_or(|before| !Arc::ptr_eq(before, format)) {
            self.format = Some(Arc::clone(format));
            self.transcoding = Transcoding::Off;
        }
        let transcoded = self.transcode(format, &unit);
        self.publisher.publish(format, unit);
        for unit in transcoded {
            self.publisher.publish(format, unit);
        }
    }

    fn transcode(&mut self, format: &SharedFormat, unit: &AccessUnit) -> Vec<AccessUnit> {
        let wanted = self.stream.is_transcoded_audio_wanted();
        match (&self.transcoding, wanted) {
            (Transcoding::Off, true) => self.transcoding = start(format),
            (Transcoding::On { .. }, false) => self.transcoding = Transcoding::Off,
            _ => {}
        }
        let Transcoding::On { source, transcoder } = &mut self.transcoding else { return Vec::new() };
        if unit.track != *source {
            return Vec::new();
        }
        transcoder.push(unit).unwrap_or_else(|err| {
            self.transcode_errors += 1;
            debug!(error = %err, "audio frame can't be transcoded");
            Vec::new()
        })
    }
}

/// A transcoder for the format's transcoded track.
fn start(format: &SharedFormat) -> Transcoding {
    let target = format.tracks.iter().find(|track| track.transcoded_from.is_some());
    let source = target.and_then(|target| format.track(target.transcoded_from?));
    let (Some(source), Some(target)) = (source, target) else { return Transcoding::Impossible };
    match Transcoder::new(source, target) {
        Ok(transcoder) => Transcoding::On { source: source.id, transcoder: Box::new(transcoder) },
        Err(err) => {
            warn!(error = %err, "camera's audio can't be transcoded; video goes on without it");
            Transcoding::Impossible
        }
    }
}
