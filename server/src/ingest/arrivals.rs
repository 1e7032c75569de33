//! Arrivals: the media of a source that is no RTSP camera on its way into the stream, and the watch over its coming.
//!
//! Belongs here: what sources of every such protocol need alike. Does not: their protocols (-> `rtmp`, `hls`, `whep`).
//! Times: see [`SessionTimes`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::ingest::{Ingest, TrackSetup};
use media_core::rtsp::MediaKind;
use media_core::time::NtpTime;
use tracing::{debug, info};

use super::intake::whole_unit;
use super::output::Output;
use super::rtp_tracks::RtpTracks;
use super::session::{SessionContext, SessionError, SessionTimes, units_seen};
use crate::runtime::clock;
use crate::stream::{SourceStatus, Stream};

/// Time between reports to the metrics.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Whether a source has just begun to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// With this, its first access unit came out.
    Online,
    /// It goes on, or nothing came out yet.
    Same,
}

/// One session's media.
pub(super) struct Arrivals<'a> {
    stream: &'a Arc<Stream>,
    output: &'a mut Output,
    ingest: &'a mut Ingest,
    times: SessionTimes,
    connect_deadline: Instant,
    /// When it was there, or something whole came last.
    alive_at: Option<Instant>,
    units_seen: u64,
    is_online: bool,
    report_at: Instant,
    jitter_us: Option<u64>,
}

impl<'a> Arrivals<'a> {
    /// Nothing has come; the session begins now.
    pub(super) fn new(context: SessionContext<'a>, now: Instant) -> Self {
        let SessionContext { stream, output, ingest, times, .. } = context;
        let units_seen = units_seen(ingest);
        let connect_deadline = now + times.connect;
        let report_at = now + REPORT_INTERVAL;
        Self {
            stream,
            output,
            ingest,
            times,
            connect_deadline,
            alive_at: None,
            units_seen,
            is_online: false,
            report_at,
            jitter_us: None,
        }
    }

    /// By when the source must have been reached.
    pub(super) fn connect_deadline(&self) -> Instant {
        self.connect_deadline
    }

    /// How long one request or write may take.
    pub(super) fn request_limit(&self) -> Duration {
        self.times.request
    }

    /// It was not reached in time.
    pub(super) fn connect_timeout(&self) -> SessionError {
        SessionError::ConnectTimeout(self.times.connect)
    }

    /// So long may the source be silent, where that is longer than for others.
    pub(super) fn bear_with(&mut self, silence: Duration) {
        self.times.frozen = self.times.frozen.max(silence);
    }

    /// The source is there: from now on, media is waited for.
    pub(super) fn reached(&mut self, now: Instant) {
        self.alive_at.get_or_insert(now);
    }

    /// These are the tracks from now on, with a discontinuity before them.
    ///
    /// # Errors
    /// [`SessionError::Tracks`].
    pub(super) fn start(&mut self, setups: &[TrackSetup]) -> Result<(), SessionError> {
        let tracks: Vec<_> = setups.iter().map(|setup| &setup.encoding).collect();
        info!(?tracks, "source has told its tracks");
        let started = self.output.admit(setups).and_then(|()| self.ingest.start(setups, clock::now()));
        started.map_err(|error| SessionError::Tracks(error.to_string()))?;
        // The jitter of the session before is nobody's.
        self.output.report(self.ingest, self.jitter_us);
        Ok(())
    }

    /// Bytes came from the source.
    pub(super) fn count_bytes(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.stream.counters.inbound_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Something of the source's could not be read.
    pub(super) fn count_malformed(&mut self) {
        self.ingest.count_malformed();
    }

    /// Takes parameter sets of a track.
    pub(super) fn parameter_sets(&mut self, track: usize, nals: &[Bytes]) {
        self.ingest.handle_parameter_sets(track, nals);
    }

    /// Takes an access unit of a track, stamped as RTP would.
    pub(super) fn unit(&mut self, track: usize, rtp_timestamp: u32, payload: Bytes) {
        if let Err(error) = self.ingest.handle_unit(track, &whole_unit(rtp_timestamp, payload)) {
            debug!(track, %error, "access unit can't be used");
        }
    }

    /// Takes a packet of a track of RTP.
    pub(super) fn packet(&mut self, tracks: &mut RtpTracks, of: (usize, MediaKind), packet: Bytes) {
        tracks.handle(self.ingest, of, packet);
    }

    /// Notes how unevenly packets come, to be shown by the next [`Arrivals::check`].
    pub(super) fn note_jitter(&mut self, jitter_us: Option<u64>) {
        self.jitter_us = jitter_us;
    }

    /// Takes the times of a sender report of a track.
    pub(super) fn sender_report(&mut self, track: usize, ntp: NtpTime, rtp_timestamp: u32) {
        self.ingest.handle_sender_report(track, ntp, rtp_timestamp);
    }

    /// Whether readers have got something of it.
    pub(super) fn is_online(&self) -> bool {
        self.is_online
    }

    /// Hands what is whole to the readers.
    pub(super) fn publish(&mut self, now: Instant) -> Progress {
        let published = self.output.drain(self.ingest);
        let units_seen = units_seen(self.ingest);
        if units_seen != self.units_seen {
            self.units_seen = units_seen;
            self.alive_at = Some(now);
        }
        if published == 0 || std::mem::replace(&mut self.is_online, true) {
            return Progress::Same;
        }
        Progress::Online
    }

    /// When [`Arrivals::check`] is due next.
    pub(super) fn deadline(&self) -> Instant {
        self.alive_at.map_or(self.connect_deadline, |at| at + self.times.frozen).min(self.report_at)
    }

    /// Shows the counters, and looks whether the source is still there.
    ///
    /// # Errors
    /// [`SessionError::ConnectTimeout`], [`SessionError::Frozen`].
    pub(super) fn check(&mut self, now: Instant) -> Result<(), SessionError> {
        if now >= self.report_at {
            self.report_at = now + REPORT_INTERVAL;
            self.output.report(self.ingest, self.jitter_us);
        }
        match self.alive_at {
            None if now >= self.connect_deadline => Err(self.connect_timeout()),
            Some(at) if now >= at + self.times.frozen => {
                self.stream.counters.frozen.fetch_add(1, Ordering::Relaxed);
                let error = SessionError::Frozen(self.times.frozen);
                self.stream.set_state(SourceStatus::Frozen, error.to_string(), clock::wall_now());
                Err(error)
            }
            _ => Ok(()),
        }
    }
}
