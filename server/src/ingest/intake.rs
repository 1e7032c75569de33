//! Intake: where a path's media comes in, whoever sends it.
//!
//! The machine that repairs times lives as long as the path: a camera whose address was changed, or the next publisher, goes
//! on where the one before ended, with a discontinuity, and viewers stay. Whoever holds the machine feeds the stream.

use std::sync::Arc;

use bytes::Bytes;
use media_core::ingest::{Feeder, Ingest, Lineup, SetupError, TrackSetup};
use media_core::rtp::RtpPacket;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::junction::Junction;
use super::output::Output;
use crate::runtime::clock;
use crate::stream::Stream;

/// A stream with its machine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    stream: Arc<Stream>,
    junction: Arc<Junction>,
    machine: Arc<Mutex<Machine>>,
}

/// What makes access units of packets, and publishes them.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) ingest: Ingest,
    pub(super) output: Output,
}

impl Machine {
    fn new(stream: &Arc<Stream>, junction: &Arc<Junction>, feeder: Feeder) -> Self {
        Self { ingest: Ingest::new(clock::now()), output: Output::new(stream, junction, feeder) }
    }

    /// A connection begins with these tracks.
    ///
    /// # Errors
    /// [`SetupError`] when none can be taken, or others are wanted.
    pub(super) fn start(&mut self, setups: &[TrackSetup]) -> Result<(), SetupError> {
        self.output.admit(setups)?;
        self.ingest.start(setups, clock::now()).map(drop)
    }
}

/// A whole access unit that arrives now, as a packet.
pub(super) fn whole_unit(rtp_timestamp: u32, payload: Bytes) -> RtpPacket {
    let (arrival, arrival_wall) = (clock::now(), clock::wall_now());
    RtpPacket { seq: 0, rtp_timestamp, marker: true, payload, arrival, arrival_wall, lost_before: 0 }
}

impl Intake {
    /// Nothing has come yet.
    pub(crate) fn new(stream: &Arc<Stream>) -> Self {
        let junction = Arc::default();
        let machine = Arc::new(Mutex::new(Machine::new(stream, &junction, Feeder::Source)));
        Self { stream: Arc::clone(stream), junction, machine }
    }

    /// Has whoever sends from now on keep to these codecs, or to none.
    pub(crate) fn hold_to(&self, lineup: Option<Lineup>) {
        self.junction.hold_to(lineup);
    }

    /// Whether a source with these tracks may send.
    ///
    /// # Errors
    /// [`SetupError::OtherTracks`].
    pub(super) fn admit(&self, setups: &[TrackSetup]) -> Result<(), SetupError> {
        self.junction.admit(setups)
    }

    /// A machine of its own for the slate: the source's is held by whoever tries to send.
    pub(super) fn slate_machine(&self) -> Machine {
        Machine::new(&self.stream, &self.junction, Feeder::Slate)
    }

    /// Waits until a slate is wanted; for one who waits. Cancel-safe.
    pub(super) async fn slate_wanted(&self) {
        self.junction.wanted().await;
    }

    /// What is fed.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The machine, once whoever held it is done. Cancel-safe.
    pub(super) async fn take(&self) -> OwnedMutexGuard<Machine> {
        Arc::clone(&self.machine).lock_owned().await
    }

    /// The machine, if nobody holds it.
    pub(super) fn try_take(&self) -> Option<OwnedMutexGuard<Machine>> {
        Arc::clone(&self.machine).try_lock_owned().ok()
    }
}
