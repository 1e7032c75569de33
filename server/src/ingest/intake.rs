//! Intake: where a path's media comes in, whoever sends it.
//!
//! The machine that repairs times lives as long as the path: a camera whose address was changed, or the next publisher, goes
//! on where the one before ended, with a discontinuity, and viewers stay. Whoever holds the machine feeds the stream.

use std::sync::Arc;

use bytes::Bytes;
use media_core::ingest::Ingest;
use media_core::rtp::RtpPacket;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::output::Output;
use crate::runtime::clock;
use crate::stream::Stream;

/// A stream with its machine. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    stream: Arc<Stream>,
    machine: Arc<Mutex<Machine>>,
}

/// What makes access units of packets, and publishes them.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) ingest: Ingest,
    pub(super) output: Output,
}

/// A whole access unit that arrives now, as a packet.
pub(super) fn whole_unit(rtp_timestamp: u32, payload: Bytes) -> RtpPacket {
    let (arrival, arrival_wall) = (clock::now(), clock::wall_now());
    RtpPacket { seq: 0, rtp_timestamp, marker: true, payload, arrival, arrival_wall, lost_before: 0 }
}

impl Intake {
    /// Nothing has come yet.
    pub(crate) fn new(stream: &Arc<Stream>) -> Self {
        let machine = Machine { ingest: Ingest::new(clock::now()), output: Output::new(stream) };
        Self { stream: Arc::clone(stream), machine: Arc::new(Mutex::new(machine)) }
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
