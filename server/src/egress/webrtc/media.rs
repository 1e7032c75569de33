//! Media: what a session's peer connection is for: a viewer's pictures out, or a publisher's in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use media_core::ring::Read;
use str0m::Rtc;
use str0m::rtp::RtpPacket;
use str0m::rtp::rtcp::Nack;

use super::keys::Tap;
use super::outbox::Outbox;
use super::receiver::MediaReceiver;
use super::sender::{MediaSender, Step};
use crate::events::Reader;
use crate::ingest::rtp_tracks::Received;

/// The media of one session; what concerns only one of the two does nothing for the other.
#[derive(Debug)]
pub(crate) enum Media {
    /// From the ring.
    Viewer(Box<MediaSender>),
    /// Into ingest.
    Publisher(Box<MediaReceiver>),
}

impl Media {
    /// The peer is connected, and encrypts with what `tap` has.
    pub(super) fn start(&mut self, rtc: &mut Rtc, tap: &Arc<Tap>, round_trip: Duration, now: Instant) {
        if let Self::Viewer(sender) = self {
            sender.start(rtc, tap, round_trip, now);
        }
    }

    /// Tells that a viewer watches; a publisher told of itself when it began.
    pub(super) fn tell(&mut self, viewer: &Reader) {
        if let Self::Viewer(sender) = self {
            sender.tell(viewer);
        }
    }

    /// Whether [`Media::next`] is to be waited for.
    pub(super) fn is_hungry(&self) -> bool {
        match self {
            Self::Viewer(sender) => sender.is_hungry(),
            Self::Publisher(_) => true,
        }
    }

    /// The next news of the stream; `None` when a publisher has to go. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Read> {
        match self {
            Self::Viewer(sender) => Some(sender.read().await),
            Self::Publisher(receiver) => {
                receiver.ended().await;
                None
            }
        }
    }

    /// Takes news of the stream.
    pub(super) fn take(&mut self, read: Read, now: Instant) {
        if let Self::Viewer(sender) = self {
            sender.take(read, now);
        }
    }

    /// Does what is due.
    pub(super) fn step(&mut self, rtc: &mut Rtc, outbox: &mut Outbox, now: Instant) -> Step {
        match self {
            Self::Viewer(sender) => sender.step(rtc, outbox, now),
            Self::Publisher(receiver) => receiver.step(rtc, now),
        }
    }

    /// A packet of a publisher.
    pub(super) fn packet(&mut self, packet: &RtpPacket) {
        if let Self::Publisher(receiver) = self {
            receiver.packet(packet);
        }
    }

    /// What came of a publisher.
    pub(super) fn received(&self) -> Option<Received> {
        match self {
            Self::Viewer(_) => None,
            Self::Publisher(receiver) => Some(receiver.received()),
        }
    }

    /// A viewer asks for a random access point; says whether it was started again.
    pub(super) fn key_frame_requested(&mut self, now: Instant) -> bool {
        match self {
            Self::Viewer(sender) => sender.key_frame_requested(now),
            Self::Publisher(_) => false,
        }
    }

    /// A viewer asks for packets again; says how many it gets, if that is not for str0m to do.
    pub(super) fn answer(&mut self, nack: &Nack, outbox: &mut Outbox, now: Instant) -> Option<u64> {
        match self {
            Self::Viewer(sender) => sender.answer(nack, outbox, now),
            Self::Publisher(_) => None,
        }
    }

    /// A viewer reported on a stream.
    pub(super) fn reported(&mut self, ssrc: u32) {
        if let Self::Viewer(sender) = self {
            sender.reported(ssrc);
        }
    }

    /// A viewer missed packets.
    pub(super) fn lost(&mut self, now: Instant) {
        if let Self::Viewer(sender) = self {
            sender.lost(now);
        }
    }

    /// Access units that a viewer did not get, since the last call.
    pub(super) fn take_discarded_units(&mut self) -> u64 {
        match self {
            Self::Viewer(sender) => sender.take_discarded_units(),
            Self::Publisher(_) => 0,
        }
    }
}
