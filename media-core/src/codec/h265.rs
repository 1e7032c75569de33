//! H.265: NAL unit types, parameter sets and the first fields of a slice header.
//!
//! Spec: ITU-T H.265 s7.3 (syntax), s7.4.2.2 (NAL unit types), Annex E (of the VUI: how pictures are shown).
//! Limits: `PARAMETER_SET_BYTES_MAX`; 16 VPS, 16 SPS and 64 PPS by their identifiers.

use std::borrow::Cow;

use bytes::Bytes;

use super::PARAMETER_SET_BYTES_MAX;
use super::bits::{BitError, BitReader};
use super::nal::{unescape, without_trailing_zeros};
use super::vui::{Display, skip_to_h265_vui};
use crate::track::H265Config;

/// `nal_unit_type` RADL_N, the first of the leading pictures.
pub const NAL_RADL_N: u8 = 6;
/// `nal_unit_type` RASL_N; RASL_R follows.
pub const NAL_RASL_N: u8 = 8;
/// `nal_unit_type` RASL_R.
pub const NAL_RASL_R: u8 = 9;
/// `nal_unit_type` BLA_W_LP, the first of the random access pictures.
pub const NAL_BLA_W_LP: u8 = 16;
/// `nal_unit_type` IDR_W_RADL.
pub const NAL_IDR_W_RADL: u8 = 19;
/// `nal_unit_type` IDR_N_LP.
pub const NAL_IDR_N_LP: u8 = 20;
/// `nal_unit_type` CRA_NUT.
pub const NAL_CRA: u8 = 21;
/// `nal_unit_type` of the last (reserved) random access picture.
pub const NAL_IRAP_LAST: u8 = 23;
/// `nal_unit_type` of a video parameter set.
pub const NAL_VPS: u8 = 32;
/// `nal_unit_type` of a sequence parameter set.
pub const NAL_SPS: u8 = 33;
/// `nal_unit_type` of a picture parameter set.
pub const NAL_PPS: u8 = 34;
/// `nal_unit_type` of an access unit delimiter.
pub const NAL_AUD: u8 = 35;
/// `nal_unit_type` of SEI before the picture.
pub const NAL_SEI_PREFIX: u8 = 39;

/// Bytes of a slice NAL unit that are looked at.
const SLICE_HEADER_BYTES_MAX: usize = 48;

/// The largest picture side taken, in luma samples: level 6.2 allows 16,888.
const SIDE_MAX: u32 = 16_888;

/// `nal_unit_type` of a NAL unit's first byte.
pub const fn nal_type(header: u8) -> u8 {
    header >> 1 & 0x3f
}

/// Whether a NAL unit type is a slice of a random access picture (IDR, BLA, CRA).
pub const fn is_random_access(nal_type: u8) -> bool {
    matches!(nal_type, NAL_BLA_W_LP..=NAL_IRAP_LAST)
}

/// `nuh_layer_id` of a NAL unit's two header bytes.
pub const fn layer_id(header: [u8; 2]) -> u8 {
    (header[0] & 1) << 5 | header[1] >> 3
}

/// Why a parameter set or slice header can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum H265Error {
    /// Another type of NAL unit than asked for.
    #[error("nal unit has type {got:?}, not {want}")]
    WrongType {
        /// The type found, `None` for an empty NAL unit.
        got: Option<u8>,
        /// The type asked for.
        want: u8,
    },
    /// More bytes than `PARAMETER_SET_BYTES_MAX`.
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

fn ranged(field: &'static str, got: u32, max: u32) -> Result<u32, H265Error> {
    if got <= max { Ok(got) } else { Err(H265Error::OutOfRange { field, got }) }
}

fn small(field: &'static str, got: u32, max: u8) -> Result<u8, H265Error> {
    u8::try_from(got).ok().filter(|got| *got <= max).ok_or(H265Error::OutOfRange { field, got })
}

fn parameter_set_payload(nal: &[u8], want: u8) -> Result<Cow<'_, [u8]>, H265Error> {
    let got = nal.first().copied().map(nal_type);
    if got != Some(want) {
        return Err(H265Error::WrongType { got, want });
    }
    if nal.len() > PARAMETER_SET_BYTES_MAX {
        return Err(H265Error::TooLarge { got: nal.len() });
    }
    Ok(unescape(nal, PARAMETER_SET_BYTES_MAX))
}

/// The identifier of a video parameter set NAL unit, header included.
///
/// # Errors
/// [`H265Error`].
pub fn parse_vps_id(nal: &[u8]) -> Result<u8, H265Error> {
    let rbsp = parameter_set_payload(nal, NAL_VPS)?;
    Ok(BitReader::new(rbsp.get(2..).unwrap_or(&[])).bits_u8(4)?)
}

/// `profile_tier_level`, the general part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileTierLevel {
    /// Space, tier and profile in one byte, as in `hvcC`.
    pub general_profile: u8,
    /// Compatibility flags.
    pub profile_compatibility: u32,
    /// Constraint indicator bits.
    pub constraint_indicator: [u8; 6],
    /// `general_level_idc`.
    pub level_idc: u8,
}

impl ProfileTierLevel {
    /// s7.3.3, passing over the sub-layers.
    fn parse(bits: &mut BitReader<'_>, sub_layers: u8) -> Result<Self, BitError> {
        let general_profile = bits.bits_u8(8)?;
        let profile_compatibility = bits.bits(32)?;
        let mut constraint_indicator = [0; 6];
        for byte in &mut constraint_indicator {
            *byte = bits.bits_u8(8)?;
        }
        let level_idc = bits.bits_u8(8)?;
        let mut present = Vec::with_capacity(8);
        for _ in 0..sub_layers {
            present.push((bits.flag()?, bits.flag()?));
        }
        if sub_layers > 0 {
            bits.skip(usize::from(8 - sub_layers.min(8)) * 2)?;
        }
        for (has_profile, has_level) in present {
            bits.skip(if has_profile { 88 } else { 0 })?;
            bits.skip(if has_level { 8 } else { 0 })?;
        }
        Ok(Self { general_profile, profile_compatibility, constraint_indicator, level_idc })
    }
}

/// What is read from a sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `sps_seq_parameter_set_id`, 0 to 15.
    pub id: u8,
    /// `sps_video_parameter_set_id`, 0 to 15.
    pub vps_id: u8,
    /// Profile, tier and level.
    pub profile: ProfileTierLevel,
    /// `chroma_format_idc`.
    pub chroma_format_idc: u8,
    /// `separate_colour_plane_flag`.
    pub has_separate_planes: bool,
    /// Cropped width in luma samples.
    pub width: u32,
    /// Cropped height in luma samples.
    pub height: u32,
    /// `bit_depth_luma_minus8`.
    pub bit_depth_luma_minus8: u8,
    /// `bit_depth_chroma_minus8`.
    pub bit_depth_chroma_minus8: u8,
    /// Bits of `slice_pic_order_cnt_lsb`.
    pub poc_lsb_bits: u32,
    /// `sps_max_num_reorder_pics` of the highest sub-layer.
    pub reorder_pictures: u32,
    /// How pictures are to be shown.
    pub display: Display,
}

impl Sps {
    /// Parses a sequence parameter set NAL unit, header included.
    ///
    /// # Errors
    /// [`H265Error`].
    pub fn parse(nal: &[u8]) -> Result<Self, H265Error> {
        let rbsp = parameter_set_payload(nal, NAL_SPS)?;
        let mut bits = BitReader::new(rbsp.get(2..).unwrap_or(&[]));
        let vps_id = bits.bits_u8(4)?;
        let sub_layers = small("sps_max_sub_layers_minus1", bits.bits(3)?, 6)?;
        bits.skip(1)?; // sps_temporal_id_nesting_flag
        let profile = ProfileTierLevel::parse(&mut bits, sub_layers)?;
        let id = small("sps_seq_parameter_set_id", bits.ue()?, 15)?;
        let chroma_format_idc = small("chroma_format_idc", bits.ue()?, 3)?;
        let has_separate_planes = chroma_format_idc == 3 && bits.flag()?;
        let (unit_x, unit_y) = match (has_separate_planes, chroma_format_idc) {
            (false, 1) => (2, 2),
            (false, 2) => (2, 1),
            _ => (1, 1),
        };
        let (width, height) = dimensions(&mut bits, unit_x, unit_y)?;
        let bit_depth_luma_minus8 = small("bit_depth_luma_minus8", bits.ue()?, 8)?;
        let bit_depth_chroma_minus8 = small("bit_depth_chroma_minus8", bits.ue()?, 8)?;
        let poc_lsb_bits = 4 + ranged("log2_max_pic_order_cnt_lsb_minus4", bits.ue()?, 12)?;
        let has_each_layer = bits.flag()?; // sps_sub_layer_ordering_info_present_flag
        let mut reorder_pictures = 0;
        for _ in 0..if has_each_layer { sub_layers + 1 } else { 1 } {
            bits.ue()?; // sps_max_dec_pic_buffering_minus1
            reorder_pictures = ranged("sps_max_num_reorder_pics", bits.ue()?, 16)?;
            bits.ue()?; // sps_max_latency_increase_plus1
        }
        let mut display = Display::default();
        // What stands before it is enough to go on.
        if skip_to_h265_vui(&mut bits, poc_lsb_bits).unwrap_or(false) {
            display.read(&mut bits).unwrap_or_default();
        }
        Ok(Self {
            id,
            vps_id,
            profile,
            chroma_format_idc,
            has_separate_planes,
            width,
            height,
            bit_depth_luma_minus8,
            bit_depth_chroma_minus8,
            poc_lsb_bits,
            reorder_pictures,
            display,
        })
    }
}

/// Cropped width and height; a unit of cropping is `unit_x` by `unit_y` luma samples.
fn dimensions(bits: &mut BitReader<'_>, unit_x: u32, unit_y: u32) -> Result<(u32, u32), H265Error> {
    let mut width = ranged("pic_width_in_luma_samples", bits.ue()?, SIDE_MAX)?;
    let mut height = ranged("pic_height_in_luma_samples", bits.ue()?, SIDE_MAX)?;
    if bits.flag()? {
        let mut offset = || -> Result<u32, H265Error> { ranged("conf_win_offset", bits.ue()?, SIDE_MAX) };
        let (left, right, top, bottom) = (offset()?, offset()?, offset()?, offset()?);
        width = width.saturating_sub((left + right) * unit_x);
        height = height.saturating_sub((top + bottom) * unit_y);
    }
    if width == 0 || height == 0 {
        return Err(H265Error::OutOfRange { field: "cropped picture side", got: 0 });
    }
    Ok((width, height))
}

/// What is read from a picture parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pps_pic_parameter_set_id`, 0 to 63.
    pub id: u8,
    /// The SPS it refers to, 0 to 15.
    pub sps_id: u8,
    /// `dependent_slice_segments_enabled_flag`.
    pub has_dependent_slices: bool,
    /// `output_flag_present_flag`.
    pub has_output_flag: bool,
    /// `num_extra_slice_header_bits`.
    pub extra_slice_header_bits: u8,
}

impl Pps {
    /// Parses a picture parameter set NAL unit, header included.
    ///
    /// # Errors
    /// [`H265Error`].
    pub fn parse(nal: &[u8]) -> Result<Self, H265Error> {
        let rbsp = parameter_set_payload(nal, NAL_PPS)?;
        let mut bits = BitReader::new(rbsp.get(2..).unwrap_or(&[]));
        Ok(Self {
            id: small("pps_pic_parameter_set_id", bits.ue()?, 63)?,
            sps_id: small("pps_seq_parameter_set_id", bits.ue()?, 15)?,
            has_dependent_slices: bits.flag()?,
            has_output_flag: bits.flag()?,
            extra_slice_header_bits: bits.bits_u8(3)?,
        })
    }
}

/// The fields of a slice segment header that need no parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceStart {
    /// `first_slice_segment_in_pic_flag`.
    pub is_first: bool,
    /// `slice_pic_parameter_set_id`.
    pub pps_id: u8,
}

/// Parses the start of a slice segment; `nal` may be cut off after its first bytes.
///
/// # Errors
/// [`H265Error`] when it isn't a slice or ends too early.
pub fn parse_slice_start(nal: &[u8]) -> Result<SliceStart, H265Error> {
    let (rbsp, nal_type) = slice_payload(nal)?;
    read_slice_start(&mut BitReader::new(rbsp.get(2..).unwrap_or(&[])), nal_type)
}

fn slice_payload(nal: &[u8]) -> Result<(Cow<'_, [u8]>, u8), H265Error> {
    match nal.first().copied().map(nal_type) {
        Some(got) if got < NAL_VPS => Ok((unescape(nal, SLICE_HEADER_BYTES_MAX), got)),
        got => Err(H265Error::WrongType { got, want: 0 }),
    }
}

fn read_slice_start(bits: &mut BitReader<'_>, nal_type: u8) -> Result<SliceStart, H265Error> {
    let is_first = bits.flag()?;
    if is_random_access(nal_type) {
        bits.skip(1)?; // no_output_of_prior_pics_flag
    }
    Ok(SliceStart { is_first, pps_id: small("slice_pic_parameter_set_id", bits.ue()?, 63)? })
}

/// `slice_pic_order_cnt_lsb` of a picture's first slice segment (0 for IDR pictures, which have none).
///
/// # Errors
/// [`H265Error`] when it isn't a first slice segment or ends too early.
pub fn parse_poc_lsb(nal: &[u8], sps: &Sps, pps: &Pps) -> Result<u32, H265Error> {
    let (rbsp, nal_type) = slice_payload(nal)?;
    let mut bits = BitReader::new(rbsp.get(2..).unwrap_or(&[]));
    if !read_slice_start(&mut bits, nal_type)?.is_first {
        return Err(H265Error::OutOfRange { field: "first_slice_segment_in_pic_flag", got: 0 });
    }
    if matches!(nal_type, NAL_IDR_W_RADL | NAL_IDR_N_LP) {
        return Ok(0);
    }
    bits.skip(usize::from(pps.extra_slice_header_bits))?;
    bits.ue()?; // slice_type
    if pps.has_output_flag {
        bits.skip(1)?;
    }
    if sps.has_separate_planes {
        bits.skip(2)?;
    }
    Ok(bits.bits(sps.poc_lsb_bits)?)
}

impl H265Config {
    /// The configuration that three parameter set NAL units (headers included) make.
    ///
    /// # Errors
    /// [`H265Error`] when one can't be parsed.
    pub fn from_parameter_sets(vps: &[u8], sps: &[u8], pps: &[u8]) -> Result<Self, H265Error> {
        let (vps, sps, pps) =
            (without_trailing_zeros(vps), without_trailing_zeros(sps), without_trailing_zeros(pps));
        parse_vps_id(vps)?;
        Pps::parse(pps)?;
        let facts = Sps::parse(sps)?;
        let owned = [vps, sps, pps].map(Bytes::copy_from_slice);
        Ok(Self::from_parsed(&facts, owned))
    }

    pub(crate) fn from_parsed(facts: &Sps, [vps, sps, pps]: [Bytes; 3]) -> Self {
        Self {
            vps,
            sps,
            pps,
            width: facts.width,
            height: facts.height,
            general_profile: facts.profile.general_profile,
            profile_compatibility: facts.profile.profile_compatibility,
            constraint_indicator: facts.profile.constraint_indicator,
            level_idc: facts.profile.level_idc,
            chroma_format_idc: facts.chroma_format_idc,
            bit_depth_luma_minus8: facts.bit_depth_luma_minus8,
            bit_depth_chroma_minus8: facts.bit_depth_chroma_minus8,
        }
    }
}
