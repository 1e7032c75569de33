//! Decode: one key frame into a JPEG, on a few threads of low priority, for snapshots, thumbnails and what is kept of recordings.
//!
//! ```text
//!  who asks ─► Pictures (made once, kept a while) ─► DecodePool ─► queues by priority ─► decode-N:
//!                                                     KeyFrame ─► decoder ─► Picture ─► scale ─► JPEG
//! ```
//!
//! The one place where video is decoded. Bitstreams come from strangers: what a picture may cost is bounded before it is
//! decoded and between its NAL units, and a panic in a decoder is one picture that could not be made.
//!
//! Belongs here: pixels. Does not: which picture (-> snapshot, playback), what a decoder is given (-> `media_core::key_frame`).
//! Limits: [`picture::PICTURE_SAMPLES_MAX`], [`picture::DECODE_TIME_MAX`], [`pool`]'s queue, [`cache`]'s size.

pub(crate) mod cache;
mod colour;
mod jpeg;
mod kept;
mod picture;
pub(crate) mod pool;
mod scale;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use media_core::time::WallTime;

/// A width that pictures are made in: even, as chroma is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Width(u16);

impl Width {
    /// The least.
    pub(crate) const MIN: Self = Self(16);
    /// The most: what encodes within some 10 ms.
    pub(crate) const MAX: Self = Self(1920);
    /// Of a thumbnail.
    pub(crate) const THUMBNAIL: Self = Self(320);

    /// A width within these, made even.
    pub(crate) fn new(wanted: u32) -> Option<Self> {
        let wanted = u16::try_from(wanted).ok()?;
        (Self::MIN.0..=Self::MAX.0).contains(&wanted).then_some(Self(wanted & !1))
    }

    fn pixels(self) -> usize {
        usize::from(self.0)
    }
}

/// How a picture is wanted. It is never made larger than it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// At most this wide.
    pub(crate) width: Width,
    /// Of JPEG, 1 to 100.
    pub(crate) quality: u8,
}

impl Wanted {
    /// As thumbnails are kept beside recordings: at their size nobody sees more.
    pub(crate) const THUMBNAIL: Self = Self { width: Width::THUMBNAIL, quality: 70 };
}

/// A picture as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jpeg {
    /// The file.
    pub(crate) bytes: Bytes,
    /// When the picture was taken.
    pub(crate) taken: WallTime,
}

/// Why a picture can't be made; the same each time it is tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PictureError {
    /// Its own size.
    #[error("picture of {width}x{height} is larger than is decoded here")]
    TooLarge { width: u32, height: u32 },
    /// Its decoder gave none.
    #[error("picture can't be decoded: {0}")]
    Undecodable(String),
    /// Beyond [`picture::DECODE_TIME_MAX`] of the processor's time.
    #[error("picture takes too long to decode")]
    TooSlow,
    /// Its decoder broke.
    #[error("picture made its decoder panic: {0}")]
    Panicked(String),
    /// The encoder refused.
    #[error("picture can't be encoded: {0}")]
    Encode(String),
}

/// Why a picture is not made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNow {
    /// More is asked for than can be decoded.
    #[error("too many pictures are asked for; try again")]
    Busy,
    /// The server stops.
    #[error("the server stops")]
    Stopped,
}
