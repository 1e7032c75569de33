//! VUI: how decoded pictures are to be shown: the shape of their samples and what their numbers mean as colours.
//!
//! H.264 and H.265 write these fields in the same order. In an H.265 parameter set most of the set stands before them:
//! `skip_to_h265_vui` passes over it.
//!
//! Spec: ITU-T H.264 s E.1.1, table E-1, table E-5; ITU-T H.265 s 7.3.2.2, s 7.3.4, s 7.3.7, s E.2.1.

use super::bits::{BitError, BitReader};

/// `matrix_coefficients` of ITU-R BT.709.
pub const MATRIX_BT709: u8 = 1;
/// `matrix_coefficients` that say nothing.
const MATRIX_UNSPECIFIED: u8 = 2;

/// How pictures are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display {
    /// Width and height of a sample; both 1 where nothing is said.
    pub sample_aspect: (u16, u16),
    /// Numbers use all of their range; cameras that say nothing use 16 to 235.
    pub is_full_range: bool,
    /// `matrix_coefficients`; `None` where nothing is said.
    pub matrix: Option<u8>,
}

impl Default for Display {
    fn default() -> Self {
        Self { sample_aspect: (1, 1), is_full_range: false, matrix: None }
    }
}

impl Display {
    /// Reads the beginning of `vui_parameters()`; fields are set as they are reached.
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Result<(), BitError> {
        const EXTENDED_SAR: u8 = 255;
        if bits.flag()? {
            let aspect = match bits.bits_u8(8)? {
                EXTENDED_SAR => (short(bits)?, short(bits)?),
                idc => SAMPLE_ASPECTS.get(usize::from(idc)).copied().unwrap_or((1, 1)),
            };
            if aspect.0 > 0 && aspect.1 > 0 {
                self.sample_aspect = aspect;
            }
        }
        if bits.flag()? {
            bits.skip(1)?; // overscan_appropriate_flag
        }
        if bits.flag()? {
            bits.skip(3)?; // video_format
            self.is_full_range = bits.flag()?;
            if bits.flag()? {
                bits.skip(16)?; // colour_primaries, transfer_characteristics
                self.matrix = Some(bits.bits_u8(8)?).filter(|matrix| *matrix != MATRIX_UNSPECIFIED);
            }
        }
        Ok(())
    }
}

/// `aspect_ratio_idc` 0 to 16.
const SAMPLE_ASPECTS: [(u16, u16); 17] = [
    (1, 1),
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

fn short(bits: &mut BitReader<'_>) -> Result<u16, BitError> {
    Ok(u16::try_from(bits.bits(16)?).unwrap_or(0))
}

/// From behind the sub-layer ordering of an H.265 sequence parameter set to its `vui_parameters()`; whether there are any.
pub(super) fn skip_to_h265_vui(bits: &mut BitReader<'_>, poc_lsb_bits: u32) -> Result<bool, BitError> {
    for _ in 0..6 {
        bits.ue()?; // sizes of coding and transform blocks, their depths
    }
    if bits.flag()? && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    bits.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.flag()? {
        bits.skip(8)?; // bit depths of PCM samples
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?; // pcm_loop_filter_disabled_flag
    }
    skip_reference_sets(bits)?;
    if bits.flag()? {
        for _ in 0..bits.ue()?.min(LONG_TERM_MAX) {
            bits.bits(poc_lsb_bits)?; // lt_ref_pic_poc_lsb_sps
            bits.skip(1)?;
        }
    }
    bits.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    bits.flag()
}

/// `num_long_term_ref_pics_sps`, s 7.4.3.2.1.
const LONG_TERM_MAX: u32 = 32;
/// `num_short_term_ref_pic_sets`, s 7.4.3.2.1.
const SHORT_TERM_SETS_MAX: u32 = 64;
/// Pictures of a set, s 7.4.8: fewer than 16 each way.
const SET_PICTURES_MAX: u32 = 16;

/// s 7.3.4.
fn skip_scaling_lists(bits: &mut BitReader<'_>) -> Result<(), BitError> {
    for size in 0..4_u32 {
        for _ in 0..if size == 3 { 2 } else { 6 } {
            if !bits.flag()? {
                bits.ue()?; // scaling_list_pred_matrix_id_delta
                continue;
            }
            if size > 1 {
                bits.se()?; // scaling_list_dc_coef_minus8
            }
            for _ in 0..(1_u32 << (4 + 2 * size)).min(64) {
                bits.se()?;
            }
        }
    }
    Ok(())
}

/// s 7.3.7, of all sets of a sequence parameter set.
fn skip_reference_sets(bits: &mut BitReader<'_>) -> Result<(), BitError> {
    let mut pictures_before = 0;
    for index in 0..bits.ue()?.min(SHORT_TERM_SETS_MAX) {
        let is_predicted = index > 0 && bits.flag()?;
        pictures_before = match is_predicted {
            true => predicted_set(bits, pictures_before)?,
            false => plain_set(bits)?,
        };
    }
    Ok(())
}

fn plain_set(bits: &mut BitReader<'_>) -> Result<u32, BitError> {
    let pictures = bits.ue()?.min(SET_PICTURES_MAX) + bits.ue()?.min(SET_PICTURES_MAX);
    for _ in 0..pictures {
        bits.ue()?;
        bits.skip(1)?;
    }
    Ok(pictures)
}

fn predicted_set(bits: &mut BitReader<'_>, pictures_before: u32) -> Result<u32, BitError> {
    bits.skip(1)?; // delta_rps_sign
    bits.ue()?;
    let mut pictures = 0;
    for _ in 0..=pictures_before {
        // used_by_curr_pic_flag, else use_delta_flag
        pictures += u32::from(bits.flag()? || bits.flag()?);
    }
    Ok(pictures.min(2 * SET_PICTURES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{h264, h265};

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// Sets of x264 and x265; the values are ffprobe's.
    #[test]
    fn shape_and_colours_are_read_as_ffprobe_reads_them() {
        let sps = from_hex("6764001eacd940b03db026e04040c80000030008000003019078b16cb0");
        let display = h264::Sps::parse(&sps).unwrap().display;
        assert_eq!(display, Display { sample_aspect: (12, 11), is_full_range: true, matrix: Some(6) });
        let sps = from_hex(
            "42010101600000030090000003000003005aa0058201e165959649395e06dc040404100000030010000003019080",
        );
        let display = h265::Sps::parse(&sps).unwrap().display;
        assert_eq!(display, Display { sample_aspect: (10, 11), is_full_range: true, matrix: Some(1) });
        let sps = from_hex(
            "42010101600000030090000003000003005aa0058201e165959a4932bffc018400f1a02000000300200000030321",
        );
        let display = h265::Sps::parse(&sps).unwrap().display;
        assert_eq!(display, Display { sample_aspect: (97, 60), ..Display::default() });
    }

    #[test]
    fn a_set_that_says_nothing_or_ends_early_means_the_usual() {
        // car-detection: no colours, square samples.
        let sps = from_hex("6742801696540601bd3506060640000003004000000661");
        assert!(!h264::Sps::parse(&sps).unwrap().display.is_full_range);
        let sps = from_hex("42010101600000030090000003000003005aa0058201e16595964939");
        assert_eq!(h265::Sps::parse(&sps).unwrap().display, Display::default());
    }
}
