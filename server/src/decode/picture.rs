//! Picture: a key frame through its decoder, as planes of 8 bits.
//!
//! Both decoders are pure Rust, without dependencies; each picture gets a fresh one, so that no camera's bytes meet
//! another's. Only parameter sets and slices reach them, and nothing behind the first picture.

use std::borrow::Cow;
use std::time::Duration;

use media_core::codec::h264;
use media_core::codec::nal::unescape;
use media_core::key_frame::{KeyFrame, PictureCodec};
use rust_h264::decoder::Decoder as H264Decoder;
use rust_h264::nal::{NalUnit, NalUnitType, parse_sps_info};
use rust_h265::{DecodeLimits, Decoder as H265Decoder, PixelData, parse_nal};

use super::PictureError;
use crate::runtime::clock;

/// The largest picture decoded, in luma samples: level 6.2 of both standards, some 8192x4320. It bounds a decoder's memory.
pub(super) const PICTURE_SAMPLES_MAX: u32 = 35_651_584;
/// The longest side decoded.
const SIDE_MAX: u32 = 8192;
/// No NAL unit is begun after so much of the processor's time: a hostile picture of thousands of slices that each cost as
/// much as a whole one. An 8K picture in one slice takes half of it. Time in which the machine does something else does
/// not count: the threads run behind all others, and what is said of a picture is kept.
pub(super) const DECODE_TIME_MAX: Duration = Duration::from_secs(1);

/// One colour component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plane {
    /// Row by row.
    pub(super) samples: Vec<u8>,
    /// Samples a row; not 0.
    pub(super) width: usize,
    /// Rows; not 0.
    pub(super) height: usize,
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) luma: Plane,
    pub(super) blue: Plane,
    pub(super) red: Plane,
}

impl Plane {
    fn new(samples: Vec<u8>, width: usize, height: usize) -> Result<Self, PictureError> {
        let is_whole = width > 0 && height > 0 && width.checked_mul(height) == Some(samples.len());
        match is_whole {
            true => Ok(Self { samples, width, height }),
            false => Err(PictureError::Undecodable("its planes have odd sizes".to_owned())),
        }
    }
}

/// Decodes a key frame.
pub(super) fn decode(frame: &KeyFrame) -> Result<Picture, PictureError> {
    let until = clock::thread_time() + DECODE_TIME_MAX;
    match frame.codec {
        PictureCodec::H264 => decode_h264(frame, until),
        PictureCodec::H265 => decode_h265(frame, until),
    }
}

/// The first picture that comes out; else what was last said about why not.
fn first_picture<Frame, Fault: ToString>(
    frame: &KeyFrame,
    until: Duration,
    mut feed: impl FnMut(&[u8]) -> Result<Result<Option<Frame>, Fault>, PictureError>,
) -> Result<Result<Frame, String>, PictureError> {
    let mut fault = "it holds no picture".to_owned();
    for nal in frame.nal_units() {
        if clock::thread_time() > until {
            return Err(PictureError::TooSlow);
        }
        match feed(nal)? {
            Ok(Some(picture)) => return Ok(Ok(picture)),
            Ok(None) => {}
            Err(error) => fault = error.to_string(),
        }
    }
    Ok(Err(fault))
}

fn decode_h264(frame: &KeyFrame, until: Duration) -> Result<Picture, PictureError> {
    let mut decoder = H264Decoder::new();
    let first = first_picture(frame, until, |bytes| {
        let Some(nal) = h264_nal(bytes) else { return Ok(Ok(None)) };
        // This decoder knows no limits: they are kept before it sees the sizes, as its own parser reads them.
        if nal.nal_unit_type == NalUnitType::Sps {
            match parse_sps_info(&nal) {
                Ok(info) => check_size(info.coded_width, info.coded_height)?,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(decoder.decode_nal(&nal))
    })?;
    let decoded = match first {
        Ok(decoded) => decoded,
        Err(fault) => decoder.flush().ok_or(PictureError::Undecodable(fault))?,
    };
    let chroma = (size(decoded.chroma_width()), size(decoded.chroma_height()));
    let deep = u32::from(decoded.bit_depth).saturating_sub(8);
    let bytes = |samples: Vec<u8>| match deep {
        0 => samples,
        _ => samples.chunks_exact(2).map(|pair| top_bits(&[pair[0], pair[1]], deep)).collect(),
    };
    Ok(Picture {
        luma: Plane::new(bytes(decoded.y), size(decoded.width), size(decoded.height))?,
        blue: Plane::new(bytes(decoded.u), chroma.0, chroma.1)?,
        red: Plane::new(bytes(decoded.v), chroma.0, chroma.1)?,
    })
}

fn h264_nal(bytes: &[u8]) -> Option<NalUnit<'_>> {
    let (header, rest) = bytes.split_first()?;
    let nal_unit_type = match h264::nal_type(*header) {
        h264::NAL_SLICE => NalUnitType::Slice,
        h264::NAL_IDR => NalUnitType::SliceIdr,
        h264::NAL_SPS => NalUnitType::Sps,
        h264::NAL_PPS => NalUnitType::Pps,
        _ => return None,
    };
    let rbsp: Cow<'_, [u8]> = unescape(rest, usize::MAX);
    Some(NalUnit { nal_ref_idc: header >> 5 & 3, nal_unit_type, rbsp })
}

fn decode_h265(frame: &KeyFrame, until: Duration) -> Result<Picture, PictureError> {
    let limits =
        DecodeLimits { max_picture_pixels: u64::from(PICTURE_SAMPLES_MAX), ..DecodeLimits::default() };
    let mut decoder = H265Decoder::with_limits(limits);
    let first = first_picture(frame, until, |bytes| match parse_nal(bytes) {
        Some(nal) => Ok(decoder.decode_nal(&nal)),
        None => Ok(Ok(None)),
    })?;
    let decoded = match first {
        Ok(decoded) => decoded,
        Err(fault) => decoder.flush().ok_or(PictureError::Undecodable(fault))?,
    };
    let (width, height) = (size(decoded.width), size(decoded.height));
    let chroma = match decoded.chroma_format_idc {
        3 => (width, height),
        _ => (width.div_ceil(2), height.div_ceil(2)),
    };
    let deep = u32::from(decoded.bit_depth).saturating_sub(8);
    let bytes = |samples: PixelData| match samples {
        PixelData::U8(samples) => samples,
        PixelData::U16(samples) => {
            samples.into_iter().map(|sample| top_bits(&sample.to_le_bytes(), deep)).collect()
        }
    };
    Ok(Picture {
        luma: Plane::new(bytes(decoded.y), width, height)?,
        blue: Plane::new(bytes(decoded.u), chroma.0, chroma.1)?,
        red: Plane::new(bytes(decoded.v), chroma.0, chroma.1)?,
    })
}

fn check_size(width: u32, height: u32) -> Result<(), PictureError> {
    let fits = width <= SIDE_MAX && height <= SIDE_MAX && width.saturating_mul(height) <= PICTURE_SAMPLES_MAX;
    if fits { Ok(()) } else { Err(PictureError::TooLarge { width, height }) }
}

/// A sample of more than 8 bits without its `deep` lowest ones.
fn top_bits(sample: &[u8; 2], deep: u32) -> u8 {
    let sample = u16::from_le_bytes(*sample).checked_shr(deep).unwrap_or(0);
    u8::try_from(sample).unwrap_or(u8::MAX)
}

fn size(side: u32) -> usize {
    usize::try_from(side).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use media_core::time::WallTime;

    use super::*;

    #[test]
    fn a_picture_is_too_slow_by_the_processors_time_and_not_by_the_clock_on_the_wall() {
        let payload = Bytes::from([0, 0, 0, 2, 0x65, 0x80].repeat(3));
        let frame =
            KeyFrame { codec: PictureCodec::H264, parameter_sets: Vec::new(), payload, wall: WallTime(0) };
        let decode = |unit: &dyn Fn()| {
            first_picture(&frame, clock::thread_time() + Duration::from_millis(20), |_| {
                unit();
                Ok(Ok::<Option<()>, String>(None))
            })
        };
        let (_sender, silent) = std::sync::mpsc::sync_channel::<()>(1);
        let waited = decode(&|| assert!(silent.recv_timeout(Duration::from_millis(40)).is_err()));
        assert_eq!(waited, Ok(Err("it holds no picture".to_owned())));
        let busy = decode(&|| {
            let until = clock::thread_time() + Duration::from_millis(15);
            while clock::thread_time() < until {}
        });
        assert_eq!(busy, Err(PictureError::TooSlow));
    }
}
