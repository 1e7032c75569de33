//! Publisher: one connection's media on its way into the stream.

use std::time::Instant;

use media_core::rtmp::{Incoming, IncomingError, IncomingEvent, Message};
use tracing::debug;

use crate::ingest::publish::{Publication, PublishError};
use crate::stream::Seat;

/// Why a publisher is sent away. Texts are for people.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublisherEnd {
    /// Nothing that can be carried.
    #[error(transparent)]
    Media(#[from] IncomingError),
    /// Ingest takes none of its tracks.
    #[error(transparent)]
    Tracks(#[from] PublishError),
}

/// One connection that publishes.
#[derive(Debug)]
pub(super) struct Publisher {
    publication: Publication,
    /// A path that exists only while it is used goes on as long.
    _seat: Seat,
    incoming: Incoming,
    events: Vec<IncomingEvent>,
}

impl Publisher {
    /// Nothing came yet.
    pub(super) fn new(publication: Publication, seat: Seat) -> Self {
        Self { publication, _seat: seat, incoming: Incoming::default(), events: Vec::new() }
    }

    /// Takes a message. One that can't be read is counted; the next is welcome.
    ///
    /// # Errors
    /// [`PublisherEnd`]: nothing of it can be used.
    pub(super) fn message(&mut self, message: &Message) -> Result<(), PublisherEnd> {
        match self.incoming.handle(message, &mut self.events) {
            Ok(()) => {}
            Err(error @ IncomingError::NoTracks) => return Err(error.into()),
            Err(error) => {
                debug!(%error, "message can't be used");
                self.publication.count_malformed();
            }
        }
        for event in self.events.drain(..) {
            match event {
                IncomingEvent::Tracks(setups) => self.publication.start(&setups)?,
                IncomingEvent::ParameterSets { track, nals } => {
                    self.publication.parameter_sets(track, &nals);
                }
                IncomingEvent::Unit { track, rtp_timestamp, payload } => {
                    self.publication.unit(track, rtp_timestamp, payload);
                }
            }
        }
        Ok(())
    }

    /// Hands what is whole to the readers, after a batch of messages, and to the metrics when that is due.
    pub(super) fn publish(&mut self, now: Instant) {
        self.publication.publish();
        // There is nobody to report to; ingest's counters are shown by it.
        self.publication.report(now);
    }
}
