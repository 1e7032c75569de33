//! Reader: one client's media, from its place in the stream to its queue.
//!
//! Limits: `writeQueueSize` access units that wait, for a second; a reader that is slower is cut, as of RTSP.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::egress::rtmp::Muxer;
use media_core::ring::{Entry, Read};

use crate::egress::outbox::Outbox;
use crate::stream::{Stream, Subscription};

/// A full queue is no fault while its oldest access unit has waited less than this.
const QUEUE_AGE_MIN: Duration = Duration::from_secs(1);

/// The reader does not take its media in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reader is too slow: {units} access units wait (writeQueueSize), the oldest for {} ms", .age.as_millis())]
pub(crate) struct TooSlow {
    /// Access units in its queue.
    pub(super) units: usize,
    /// How long the oldest has waited.
    age: Duration,
}

/// One connection that reads.
#[derive(Debug)]
pub(super) struct Reader {
    subscription: Subscription,
    muxer: Muxer,
    queue_units_max: usize,
    /// The backlog it began with has gone out.
    is_live: bool,
    pieces: Vec<Bytes>,
}

impl Reader {
    /// A reader at its place in a stream.
    pub(super) fn new(subscription: Subscription, queue_units_max: usize) -> Self {
        let (muxer, pieces) = (Muxer::default(), Vec::new());
        Self { subscription, muxer, queue_units_max, is_live: false, pieces }
    }

    /// The same toward a server that takes the media on this message stream.
    pub(super) fn publishing(subscription: Subscription, queue_units_max: usize, stream: u32) -> Self {
        Self { muxer: Muxer::publishing(stream), ..Self::new(subscription, queue_units_max) }
    }

    /// The stream it reads.
    pub(super) fn stream(&self) -> &Arc<Stream> {
        self.subscription.stream()
    }

    /// Moves what the stream has into the queue.
    ///
    /// # Errors
    /// [`TooSlow`]: the connection is to be closed.
    pub(super) fn pull(&mut self, out: &mut Outbox, now: Instant) -> Result<(), TooSlow> {
        loop {
            let (units, age) = (out.packets(), out.age(now));
            if units > self.queue_units_max {
                match (self.is_live, age > QUEUE_AGE_MIN) {
                    (true, true) => return Err(TooSlow { units, age }),
                    (true, false) => {}
                    (false, _) => return Ok(()),
                }
            }
            match self.subscription.try_next() {
                Read::Empty => {
                    self.is_live |= units == 0;
                    return Ok(());
                }
                Read::Entry(entry) => self.forward(&entry, out, now),
                // The ring went on without it. It is not to blame when nothing waits for it: then this server was.
                Read::Lagged { .. } if units > 0 => return Err(TooSlow { units, age }),
                Read::Lagged { .. } => {}
            }
        }
    }

    fn forward(&mut self, entry: &Entry, out: &mut Outbox, now: Instant) {
        self.muxer.push(&entry.format, &entry.unit, &mut self.pieces);
        let last = self.pieces.len().saturating_sub(1);
        let mut total = 0;
        for (index, piece) in self.pieces.drain(..).enumerate() {
            total += u64::try_from(piece.len()).unwrap_or(0);
            // Counted once, with its last byte.
            out.push(piece, u32::from(index == last), now);
        }
        self.subscription.stream().counters.outbound_bytes.fetch_add(total, Ordering::Relaxed);
    }
}
