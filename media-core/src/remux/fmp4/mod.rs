//! fMP4: access units into an init segment and CMAF fragments, once per stream.
//!
//! ```text
//!  (format, unit) ─► Segmenter ─► Event::{Start, Init, Part, SegmentEnd}
//!                      │  targets: frame rate and GOP ─► PART-TARGET, TARGETDURATION
//!                      ├─ init: ftyp + moov            └─ fixed for the segmenter's life
//!                      └─ fragment: moof + mdat header, payloads shared with the ring
//! ```
//!
//! Belongs here: boxes, sample times, where parts and segments are cut. Does not: playlists
//! (-> egress::hls), files (-> storage).
//! Spec: ISO/IEC 14496-12, 14496-15, 23000-19 (CMAF); rfc8216bis s4.4.4.9 for the lengths of parts.

pub mod cut;
pub mod fragment;
pub mod init;
mod pace;
pub mod part;
pub mod progressive;
pub mod read;
pub mod seek;
pub mod segmenter;
mod silence;
mod targets;
mod timeline;

#[cfg(test)]
mod clip;
#[cfg(test)]
pub(crate) mod synth;
#[cfg(test)]
mod tests;

pub use init::{InitError, InitSegment};
pub use part::Part;
pub use segmenter::{Event, Segmenter, SegmenterConfig, SegmenterStats};
pub(crate) use silence::Silence;
pub use targets::Targets;
