//! H.264: NAL unit types, parameter sets and the first fields of a slice header.
//!
//! Spec: ITU-T H.264 s7.3 (syntax), s7.4 (semantics), Annex A (profiles), Annex E (VUI).
//! Limits: [`PARAMETER_SET_BYTES_MAX`]; 32 SPS and 256 PPS by their identifiers.

use std::borrow::Cow;

use bytes::Bytes;

use super::PARAMETER_SET_BYTES_MAX;
use super::bits::{BitError, BitReader};
use super::nal::{unescape, without_trailing_zeros};
use super::vui::Display;
use crate::track::H264Config;

/// `nal_unit_type` of a slice of a non-IDR picture.
pub const NAL_SLICE: u8 = 1;
/// `nal_unit_type` of a slice of an IDR picture.
pub const NAL_IDR: u8 = 5;
/// `nal_unit_type` of supplemental enhancement information.
pub const NAL_SEI: u8 = 6;
/// `nal_unit_type` of a sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// `nal_unit_type` of a picture parameter set.
pub const NAL_PPS: u8 = 8;
/// `nal_unit_type` of an access unit delimiter.
pub const NAL_AUD: u8 = 9;

/// Bytes of a slice NAL unit that are looked at; the fields read end well before.
const SLICE_HEADER_BYTES_MAX: usize = 48;

/// The largest picture side taken, in luma samples: level 6.2 allows 16,888.
const SIDE_MAX: u32 = 16_888;

/// `nal_unit_type` of a NAL unit's first byte.
pub const fn nal_type(header: u8) -> u8 {
    header & 0x1f
}

/// Why a parameter set or slice header can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum H264Error {
    /// Another type of NAL unit than asked for.
    #[error("nal unit has type {got:?}, not {want}")]
    WrongType {
        /// The type found, `None` for an empty NAL unit.
        got: Option<u8>,
        /// The type asked for.
        want: u8,
    },
    /// More bytes than [`PARAMETER_SET_BYTES_MAX`].
    #[error("parameter set has {got} bytes, the limit is {PARAMETER_SET_BYTES_MAX}")]
    TooLarge {
        /// Its bytes.
        got: usize,
    },
    /// It ends too early.
    #[error(transparent)]
    Bits(#[from] BitError),
    /// A picture parameter set of a sequence parameter set that never came.
    #[error("picture parameter set refers to the unknown sequence parameter set {sps_id}")]
    UnknownSps {
        /// The identifier.
        sps_id: u8,
    },
    /// A field out of the standard's range.
    #[error("{field} is {got}")]
    OutOfRange {
        /// The syntax element's name.
        field: &'static str,
        /// Its value.
        got: u32,
    },
}

/// What is read from a sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// `profile_idc`.
    pub profile_idc: u8,
    /// The constraint_set flags byte.
    pub constraint_flags: u8,
    /// `level_idc`.
    pub level_idc: u8,
    /// Cropped width in luma samples.
    pub width: u32,
    /// Cropped height in luma samples.
    pub height: u32,
    /// `separate_colour_plane_flag`.
    pub has_separate_planes: bool,
    /// Bits of `frame_num`.
    pub frame_num_bits: u32,
    /// `pic_order_cnt_type`, 0 to 2.
    pub poc_type: u32,
    /// Bits of `pic_order_cnt_lsb`; 0 unless `poc_type` is 0.
    pub poc_lsb_bits: u32,
    /// `frame_mbs_only_flag`.
    pub is_frames_only: bool,
    /// `max_num_reorder_frames` where the VUI has it.
    pub reorder_frames: Option<u32>,
    /// `num_units_in_tick` and `time_scale` where the VUI has them: two ticks make a frame.
    pub timing: Option<(u32, u32)>,
    /// How pictures are to be shown.
    pub display: Display,
}

impl Sps {
    /// How many pictures may precede another in decode order and follow it in output order;
    /// `None` when only the pictures themselves can tell.
    pub fn reorder_depth(&self) -> Option<usize> {
        const BASELINE: u8 = 66;
        if self.poc_type == 2 || self.profile_idc == BASELINE {
            return Some(0);
        }
        self.reorder_frames.and_then(|depth| usize::try_from(depth).ok())
    }

    /// Parses a sequence parameter set NAL unit, header included.
    ///
    /// # Errors
    /// [`H264Error`].
    pub fn parse(nal: &[u8]) -> Result<Self, H264Error> {
        let rbsp = parameter_set_payload(nal, NAL_SPS)?;
        let mut bits = BitReader::new(rbsp.get(1..).unwrap_or(&[]));
        let profile_idc = bits.bits_u8(8)?;
        let constraint_flags = bits.bits_u8(8)?;
        let level_idc = bits.bits_u8(8)?;
        let id = ranged("seq_parameter_set_id", bits.ue()?, 31)?;
        let chroma = Chroma::parse(&mut bits, profile_idc)?;
        let frame_num_bits = 4 + ranged("log2_max_frame_num_minus4", bits.ue()?, 12)?;
        let poc_type = ranged("pic_order_cnt_type", bits.ue()?, 2)?;
        let mut poc_lsb_bits = 0;
        match poc_type {
            0 => poc_lsb_bits = 4 + ranged("log2_max_pic_order_cnt_lsb_minus4", bits.ue()?, 12)?,
            1 => skip_poc_type_1(&mut bits)?,
            _ => {}
        }
        bits.ue()?; // max_num_ref_frames
        bits.flag()?; // gaps_in_frame_num_value_allowed_flag
        let (width, height, is_frames_only) = dimensions(&mut bits, &chroma)?;
        let mut sps = Self {
            id: u8::try_from(id).unwrap_or(0),
            profile_idc,
            constraint_flags,
            level_idc,
            width,
            height,
            has_separate_planes: chroma.has_separate_planes,
            frame_num_bits,
            poc_type,
            poc_lsb_bits,
            is_frames_only,
            reorder_frames: None,
            timing: None,
            display: Display::default(),
        };
        // Some cameras cut the VUI short; what stands before it is enough to go on.
        if bits.flag().unwrap_or(false) {
            sps.parse_vui(&mut bits).unwrap_or_default();
        }
        Ok(sps)
    }

    /// VUI parameters, Annex E.1.1: fields are set as they are reached.
    fn parse_vui(&mut self, bits: &mut BitReader<'_>) -> Result<(), BitError> {
        self.display.read(bits)?;
        if bits.flag()? {
            bits.ue()?; // chroma sample locations
            bits.ue()?;
        }
        if bits.flag()? {
            let timing = (bits.bits(32)?, bits.bits(32)?);
            bits.skip(1)?; // fixed_frame_rate_flag
            self.timing = (timing.0 > 0 && timing.1 > 0).then_some(timing);
        }
        let has_nal_hrd = bits.flag()?;
        if has_nal_hrd {
            skip_hrd(bits)?;
        }
        let has_vcl_hrd = bits.flag()?;
        if has_vcl_hrd {
            skip_hrd(bits)?;
        }
        if has_nal_hrd || has_vcl_hrd {
            bits.skip(1)?; // low_delay_hrd_flag
        }
        bits.skip(1)?; // pic_struct_present_flag
        if bits.flag()? {
            bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
            for _ in 0..4 {
                bits.ue()?;
            }
            // s E.2.1: at most MaxDpbFrames, which is at most 16.
            self.reorder_frames = Some(bits.ue()?).filter(|depth| *depth <= 16);
        }
        Ok(())
    }
}

/// Which of the SPS's fields depend on the chroma format.
#[derive(Debug)]
struct Chroma {
    format_idc: u32,
    has_separate_planes: bool,
}

impl Chroma {
    fn parse(bits: &mut BitReader<'_>, profile_idc: u8) -> Result<Self, H264Error> {
        let mut chroma = Self { format_idc: 1, has_separate_planes: false };
        if !matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
            return Ok(chroma);
        }
        chroma.format_idc = ranged("chroma_format_idc", bits.ue()?, 3)?;
        if chroma.format_idc == 3 {
            chroma.has_separate_planes = bits.flag()?;
        }
        ranged("bit_depth_luma_minus8", bits.ue()?, 6)?;
        ranged("bit_depth_chroma_minus8", bits.ue()?, 6)?;
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            let lists = if chroma.format_idc == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.flag()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(chroma)
    }

    /// Luma samples that one unit of horizontal and vertical cropping takes (table 6-1).
    fn crop_units(&self) -> (u32, u32) {
        match (self.has_separate_planes, self.format_idc) {
            (false, 1) => (2, 2),
            (false, 2) => (2, 1),
            _ => (1, 1),
        }
    }
}

/// Cropped width and height, and `frame_mbs_only_flag`.
fn dimensions(bits: &mut BitReader<'_>, chroma: &Chroma) -> Result<(u32, u32, bool), H264Error> {
    let width_mbs = 1 + ranged("pic_width_in_mbs_minus1", bits.ue()?, SIDE_MAX / 16)?;
    let height_units = 1 + ranged("pic_height_in_map_units_minus1", bits.ue()?, SIDE_MAX / 16)?;
    let is_frames_only = bits.flag()?;
    if !is_frames_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let field_factor = if is_frames_only { 1 } else { 2 };
    let (mut width, mut height) = (width_mbs * 16, height_units * 16 * field_factor);
    if bits.flag()? {
        let (unit_x, unit_y) = chroma.crop_units();
        let mut crop = || -> Result<u32, H264Error> { ranged("frame_crop_offset", bits.ue()?, SIDE_MAX) };
        let (left, right, top, bottom) = (crop()?, crop()?, crop()?, crop()?);
        width = width.saturating_sub((left + right) * unit_x);
        height = height.saturating_sub((top + bottom) * unit_y * field_factor);
    }
    if width == 0 || height == 0 {
        return Err(H264Error::OutOfRange { field: "cropped picture side", got: 0 });
    }
    Ok((width, height, is_frames_only))
}

fn skip_poc_type_1(bits: &mut BitReader<'_>) -> Result<(), H264Error> {
    bits.skip(1)?; // delta_pic_order_always_zero_flag
    bits.se()?;
    bits.se()?;
    for _ in 0..ranged("num_ref_frames_in_pic_order_cnt_cycle", bits.ue()?, 255)? {
        bits.se()?;
    }
    Ok(())
}

fn skip_scaling_list(bits: &mut BitReader<'_>, size: u32) -> Result<(), BitError> {
    let (mut last, mut next) = (8_i32, 8_i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

fn skip_hrd(bits: &mut BitReader<'_>) -> Result<(), BitError> {
    let count = bits.ue()?.min(31) + 1;
    bits.skip(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..count {
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    bits.skip(20)
}

fn ranged(field: &'static str, got: u32, max: u32) -> Result<u32, H264Error> {
    if got <= max { Ok(got) } else { Err(H264Error::OutOfRange { field, got }) }
}

fn parameter_set_payload(nal: &[u8], want: u8) -> Result<Cow<'_, [u8]>, H264Error> {
    let got = nal.first().copied().map(nal_type);
    if got != Some(want) {
        return Err(H264Error::WrongType { got, want });
    }
    if nal.len() > PARAMETER_SET_BYTES_MAX {
        return Err(H264Error::TooLarge { got: nal.len() });
    }
    Ok(unescape(nal, PARAMETER_SET_BYTES_MAX))
}

/// What is read from a picture parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pic_parameter_set_id`, 0 to 255.
    pub id: u8,
    /// The SPS it refers to, 0 to 31.
    pub sps_id: u8,
}

impl Pps {
    /// Parses a picture parameter set NAL unit, header included.
    ///
    /// # Errors
    /// [`H264Error`].
    pub fn parse(nal: &[u8]) -> Result<Self, H264Error> {
        let rbsp = parameter_set_payload(nal, NAL_PPS)?;
        let mut bits = BitReader::new(rbsp.get(1..).unwrap_or(&[]));
        let id = ranged("pic_parameter_set_id", bits.ue()?, 255)?;
        let sps_id = ranged("seq_parameter_set_id", bits.ue()?, 31)?;
        Ok(Self { id: u8::try_from(id).unwrap_or(0), sps_id: u8::try_from(sps_id).unwrap_or(0) })
    }
}

/// The fields of a slice header that need no parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceStart {
    /// `first_mb_in_slice`; 0 begins a picture (arbitrary slice order aside, which no camera uses).
    pub first_mb: u32,
    /// `slice_type` modulo 5: 0 P, 1 B, 2 I, 3 SP, 4 SI.
    pub slice_type: u32,
    /// `pic_parameter_set_id`.
    pub pps_id: u32,
}

/// The fields of a slice header up to the picture order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    /// `frame_num`.
    pub frame_num: u32,
    /// `field_pic_flag`.
    pub is_field: bool,
    /// `idr_pic_id`; `None` unless IDR.
    pub idr_pic_id: Option<u32>,
    /// `pic_order_cnt_lsb`; `None` unless `pic_order_cnt_type` is 0.
    pub poc_lsb: Option<u32>,
    /// `nal_ref_idc` is not 0.
    pub is_reference: bool,
}

/// Parses the start of a slice; `nal` may be cut off after its first bytes.
///
/// # Errors
/// [`H264Error`] when it isn't a slice or ends too early.
pub fn parse_slice_start(nal: &[u8]) -> Result<SliceStart, H264Error> {
    let rbsp = slice_payload(nal)?;
    read_slice_start(&mut BitReader::new(rbsp.get(1..).unwrap_or(&[])))
}

fn read_slice_start(bits: &mut BitReader<'_>) -> Result<SliceStart, H264Error> {
    let first_mb = bits.ue()?;
    let slice_type = ranged("slice_type", bits.ue()?, 9)? % 5;
    let pps_id = ranged("pic_parameter_set_id", bits.ue()?, 255)?;
    Ok(SliceStart { first_mb, slice_type, pps_id })
}

fn slice_payload(nal: &[u8]) -> Result<Cow<'_, [u8]>, H264Error> {
    let got = nal.first().copied().map(nal_type);
    if !matches!(got, Some(NAL_SLICE..=NAL_IDR)) {
        return Err(H264Error::WrongType { got, want: NAL_SLICE });
    }
    Ok(unescape(nal, SLICE_HEADER_BYTES_MAX))
}

impl SliceHeader {
    /// Parses a slice header of a picture that uses `sps`; `nal` may be cut off after its first bytes.
    ///
    /// # Errors
    /// [`H264Error`] when it isn't a slice or ends too early.
    pub fn parse(nal: &[u8], sps: &Sps) -> Result<Self, H264Error> {
        let rbsp = slice_payload(nal)?;
        let header = rbsp.first().copied().unwrap_or(0);
        let mut bits = BitReader::new(rbsp.get(1..).unwrap_or(&[]));
        read_slice_start(&mut bits)?;
        if sps.has_separate_planes {
            bits.skip(2)?;
        }
        let frame_num = bits.bits(sps.frame_num_bits)?;
        let is_field = !sps.is_frames_only && bits.flag()?;
        if is_field {
            bits.skip(1)?; // bottom_field_flag
        }
        let idr_pic_id = if nal_type(header) == NAL_IDR { Some(bits.ue()?) } else { None };
        let poc_lsb = if sps.poc_type == 0 { Some(bits.bits(sps.poc_lsb_bits)?) } else { None };
        let is_reference = header & 0x60 != 0;
        Ok(Self { frame_num, is_field, idr_pic_id, poc_lsb, is_reference })
    }

    /// Whether two slices belong to one frame (both fields of a frame do), s7.4.1.2.4.
    pub fn is_same_frame(&self, other: &Self) -> bool {
        if self.is_field && other.is_field {
            return self.frame_num == other.frame_num;
        }
        self == other
    }
}

/// Whether an SEI NAL unit holds a recovery point (`payloadType` 6): what encoders with open GOPs or
/// intra refresh send instead of an IDR. With intra refresh the picture is right only
/// `recovery_frame_cnt` pictures later.
pub fn is_recovery_point(sei: &[u8]) -> bool {
    const RECOVERY_POINT: usize = 6;
    const MESSAGES_MAX: usize = 32;
    let rbsp = unescape(sei, 1024);
    let mut rest = rbsp.get(1..).unwrap_or(&[]);
    for _ in 0..MESSAGES_MAX {
        let Some((kind, after)) = sei_number(rest) else { return false };
        let Some((len, after)) = sei_number(after) else { return false };
        let body = after.get(..len.min(after.len())).unwrap_or(&[]);
        if kind == RECOVERY_POINT {
            return BitReader::new(body).ue().is_ok();
        }
        let Some(next) = after.get(len..) else { return false };
        rest = next;
    }
    false
}

/// A number of an SEI message header: bytes of 255 and a last smaller one, added up.
fn sei_number(data: &[u8]) -> Option<(usize, &[u8])> {
    let full = data.iter().take_while(|byte| **byte == 0xff).count();
    let last = usize::from(*data.get(full)?);
    Some((full * 255 + last, data.get(full + 1..)?))
}

impl H264Config {
    /// The configuration that two parameter set NAL units (header included) make.
    ///
    /// # Errors
    /// [`H264Error`] when either can't be parsed.
    pub fn from_parameter_sets(sps: &[u8], pps: &[u8]) -> Result<Self, H264Error> {
        let (sps, pps) = (without_trailing_zeros(sps), without_trailing_zeros(pps));
        let facts = Sps::parse(sps)?;
        Pps::parse(pps)?;
        Ok(Self::from_parsed(&facts, Bytes::copy_from_slice(sps), Bytes::copy_from_slice(pps)))
    }

    pub(crate) fn from_parsed(facts: &Sps, sps: Bytes, pps: Bytes) -> Self {
        Self {
            sps,
            pps,
            width: facts.width,
            height: facts.height,
            profile_idc: facts.profile_idc,
            constraint_flags: facts.constraint_flags,
            level_idc: facts.level_idc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// SPS of real encoders; expected values by ffmpeg's trace_headers.
    #[test]
    fn sps_of_real_encoders_are_read_as_ffmpeg_reads_them() {
        // (sps, width, height, profile, level, poc type, reorder frames of the VUI, timing, depth)
        let check =
            |hex: &str, size: (u32, u32), ids: (u8, u8, u32), reorder: Option<u32>, timing: (u32, u32)| {
                let sps = Sps::parse(&from_hex(hex)).unwrap();
                assert_eq!((sps.width, sps.height), size);
                assert_eq!((sps.profile_idc, sps.level_idc, sps.poc_type), ids);
                assert_eq!((sps.reorder_frames, sps.timing), (reorder, Some(timing)));
                sps.reorder_depth()
            };
        // Big Buck Bunny 720p: Main, no reordering by its pic_order_cnt_type.
        let depth = check(
            "674d401fda014016ec0440000003004000000c83c60ca8",
            (1280, 720),
            (77, 31, 2),
            Some(0),
            (1, 50),
        );
        assert_eq!(depth, Some(0));
        // car-detection: Baseline without bitstream restriction.
        let depth =
            check("6742801696540601bd3506060640000003004000000661", (768, 432), (66, 22, 0), None, (1, 25));
        assert_eq!(depth, Some(0));
        // one-by-one-person-detection: Main with B-frames that the SPS does not announce.
        let depth = check(
            "674d401f965281806f4d418181900000030010000003014840",
            (768, 432),
            (77, 31, 0),
            None,
            (1, 20),
        );
        assert_eq!(depth, None);
    }

    #[test]
    fn cropping_counts_in_chroma_samples() {
        // x264 384x216 (13.5 rows of macroblocks): the fixture's SPS; ffprobe says 384x216.
        let sps = from_hex("6742c00cd90181df966a0c0c0c80000003010000030019078a1524");
        let config = H264Config::from_parameter_sets(&sps, &from_hex("68cb8132c8")).unwrap();
        assert_eq!((config.width, config.height), (384, 216));
        assert_eq!((config.profile_idc, config.constraint_flags, config.level_idc), (66, 0xc0, 12));
    }

    #[test]
    fn parameter_sets_cut_short_or_of_another_type_are_refused() {
        let sps = from_hex("674d401fda014016ec04");
        assert_eq!(
            Sps::parse(&sps[..4]).unwrap_err(),
            H264Error::Bits(BitError::EndOfData { at_bit: 24, len_bits: 24 })
        );
        assert_eq!(Pps::parse(&sps), Err(H264Error::WrongType { got: Some(7), want: 8 }));
        assert_eq!(Sps::parse(&[]), Err(H264Error::WrongType { got: None, want: 7 }));
        let long = [&[0x67][..], &[0x42; PARAMETER_SET_BYTES_MAX]].concat();
        assert_eq!(Sps::parse(&long), Err(H264Error::TooLarge { got: PARAMETER_SET_BYTES_MAX + 1 }));
        // A VUI cut short costs only the VUI.
        assert_eq!(Sps::parse(&from_hex("674d401fda014016ec044000")).unwrap().width, 1280);
    }

    #[test]
    fn recovery_point_is_found_behind_other_messages() {
        // User data (type 5, 3 bytes), then a recovery point with recovery_frame_cnt 0.
        assert!(is_recovery_point(&[6, 5, 3, 1, 2, 3, 6, 1, 0xc4, 0x80]));
        assert!(!is_recovery_point(&[6, 5, 3, 1, 2, 3, 0x80]));
        assert!(!is_recovery_point(&[6, 255, 255]));
    }
}
