//! Codecs: bitstream facts that the rest of the core builds on, read from bytes of strangers.
//!
//! Belongs here: NAL units, parameter sets, slice headers, picture order, audio configuration,
//! codec strings. Does not: RTP (-> `rtp`), times (-> `ingest`), boxes (-> `remux`).
//!
//! Own parsers rather than a crate: H.264 and H.265 need the same twenty fields each, and one
//! bounded [`bits::BitReader`] reads both.

pub mod aac;
pub mod bits;
pub mod h264;
pub mod h265;
pub mod nal;
pub mod opus;
pub(crate) mod poc;
mod rfc6381;
pub mod vui;

pub use poc::PictureOrder;
pub use rfc6381::codec_string;

/// The largest parameter set taken, in bytes; a larger one is refused. A real one has under 100,
/// one with every scaling list under 2000.
pub const PARAMETER_SET_BYTES_MAX: usize = 4096;
