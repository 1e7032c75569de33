//! LL-HLS conformance: a viewer that follows the rules, and a check of each rule.
//!
//! ```text
//! client::follow(url) ──► Run { playlists, parts, segments, hints, with times } ──► rules::*
//! ```
//!
//! Playlists are read with `quick-m3u8`, fragments with `mp4-atom`: parsers that were not
//! written here. Spec: draft-pantos-hls-rfc8216bis.

pub mod client;
pub mod counter;
pub mod playlist;
pub mod rules;

pub use client::{Rendition, Run, follow};
pub use counter::{Counted, count};
