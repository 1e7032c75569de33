//! On demand: a path that somebody publishes to only while somebody watches (`runOnDemand`).
//!
//! ```text
//!           a reader                    it publishes
//!   Idle ─────────────► command started ────────────► online
//!    ▲                     │ runOnDemandStartTimeout     │ no readers for runOnDemandCloseAfter
//!    └─────────────────────┴─────────────────────────────┴── SIGINT, runOnUnDemand
//! ```
//!
//! Readers wait meanwhile (-> registry). One that is there when nobody published in time has the command started anew.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::events::PathEvents;
use crate::stream::{ReaderKind, SourceStatus, Stream};

/// Has somebody publish to a path while it is wanted, until cancelled.
pub(crate) async fn attend(stream: Arc<Stream>, events: Arc<PathEvents>, token: CancellationToken) {
    loop {
        tokio::select! {
            () = wanted(&stream) => {}
            () = token.cancelled() => return,
        }
        if stream.state().status == SourceStatus::Online {
            // Somebody publishes unasked.
            tokio::select! {
                () = offline(&stream) => continue,
                () = token.cancelled() => return,
            }
        }
        let Some((demand, times)) = events.demand(&stream.query()) else { return };
        info!(path = %stream.name(), "somebody watches: runOnDemand");
        tokio::select! {
            () = unwanted_for(&stream, times.close_after) => info!(path = %stream.name(), "nobody watches any more"),
            () = offline_for(&stream, times.start_timeout) => {
                warn!(path = %stream.name(), "nobody published within runOnDemandStartTimeout");
            }
            () = token.cancelled() => return,
        }
        drop(demand);
    }
}

/// A publisher's own seat is no demand.
fn is_demand(readers: &[ReaderKind]) -> bool {
    readers.iter().any(|kind| *kind != ReaderKind::Publishing)
}

async fn wanted(stream: &Stream) {
    // An error means that the stream is gone, and with it this task's reason to run.
    drop(stream.reader_changes().wait_for(|readers| is_demand(readers)).await);
}

async fn offline(stream: &Stream) {
    drop(stream.state_changes().wait_for(|state| state.status != SourceStatus::Online).await);
}

/// Returns when nobody has watched for so long.
async fn unwanted_for(stream: &Stream, time: Duration) {
    let mut readers = stream.reader_changes();
    loop {
        drop(readers.wait_for(|readers| !is_demand(readers)).await);
        let comes_back = readers.wait_for(|readers| is_demand(readers));
        if tokio::time::timeout(time, comes_back).await.map(drop).is_err() {
            return;
        }
    }
}

/// Returns when nobody has published for so long.
async fn offline_for(stream: &Stream, time: Duration) {
    let mut states = stream.state_changes();
    loop {
        drop(states.wait_for(|state| state.status != SourceStatus::Online).await);
        let comes = states.wait_for(|state| state.status == SourceStatus::Online);
        if tokio::time::timeout(time, comes).await.map(drop).is_err() {
            return;
        }
    }
}
