//! Media core: decides everything about media that can be decided without I/O.
//!
//! ```text
//!  RTP packets ─► rtp::depacketize ─► ingest (DTS, repair, wall clock) ─► AccessUnit ─► Ring
//!                                                                                │ cursor
//!                     ┌──────────────────────────┬─────────────────────────┬─────┘
//!               remux::fmp4 ─► Part        remux::rtp ─► packets      audio (G.711/AAC ─► Opus)
//!                     │                          │
//!               egress::hls window          egress::webrtc pacing
//! ```
//!
//! Belongs here: bitstream facts, timelines, the ring, remuxing, playlists, packetization and
//! the gate. Does not: sockets, files, tasks, locks, clocks, randomness (-> `server`); every
//! machine takes its input and `now` as arguments and hands its output back.
//!
//! Modules import downwards only: `time` <- `track`, `access_unit` <- `codec` <- `rtp`, `audio`, `key_frame` <-
//! `ingest` | `ring` | `remux` <- `rtmp` <- `hls` | `egress` <- `slate`. The ring knows no codec; egress modules do not import
//! each other.
#![deny(clippy::indexing_slicing)]

pub mod access_unit;
pub mod audio;
pub mod codec;
pub mod egress;
pub mod gate;
pub mod hls;
pub mod ingest;
pub mod key_frame;
pub mod path_name;
pub mod remux;
pub mod ring;
pub mod rtmp;
pub mod rtp;
pub mod rtsp;
pub mod slate;
pub mod time;
pub mod track;
