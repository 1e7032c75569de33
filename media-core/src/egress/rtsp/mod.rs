//! RTSP egress: what an RTSP reader is told of a stream, and the bytes that its packets travel in.
//!
//! ```text
//!  StreamFormat ─► sdp::describe ─► DESCRIBE's answer
//!  AccessUnit ─► remux::rtp ─► wire::interleave ─► one block of bytes for all readers of the stream
//! ```
//!
//! All readers of a stream get the same packets: synchronization sources, sequence numbers and timestamps are the
//! stream's, so a reader costs one write of shared bytes a picture. Timestamps are the stream's presentation times and the
//! same for a unit of the backlog as for a live one: a reader that records or analyses gets true times.
//!
//! Belongs here: SDP, framing, which formats a session can be carried over. Does not: the dialogue
//! (-> rtsp::server), payload formats (-> remux::rtp), sockets (-> server).

mod sdp;
mod wire;

pub use sdp::{PayloadType, describe, payload_type};
pub use wire::{PacketHeader, interleave, packets, with_channel};

use crate::track::{AacConfig, CodecConfig, TrackInfo};

/// Whether a reader that was told of `before` can go on with `after`: what only its SDP says is the same. New parameter
/// sets travel in band, before the random access point that needs them.
pub fn can_go_on(before: &TrackInfo, after: &TrackInfo) -> bool {
    let is_same_codec = match (&before.codec, &after.codec) {
        (CodecConfig::H264(_), CodecConfig::H264(_)) | (CodecConfig::H265(_), CodecConfig::H265(_)) => true,
        // The configuration may say more than these, in several ways.
        (CodecConfig::Aac(before), CodecConfig::Aac(after)) => {
            let shape = |config: &AacConfig| (config.object_type, config.sample_rate, config.channels);
            shape(before) == shape(after)
        }
        (before, after) => before == after,
    };
    is_same_codec && before.timescale == after.timescale && before.id == after.id
}

#[cfg(test)]
mod tests;
