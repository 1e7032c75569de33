//! Colour: from the numbers of a camera's video to those of JPEG.
//!
//! JPEG's are BT.601 in full range (JFIF 1.02), video's mostly BT.709 in 16 to 235. The two matrices and the ranges together
//! are one linear map of luma and chroma.
//!
//! Units: 65536ths.

use media_core::codec::vui::{Display, MATRIX_BT709};

/// Pictures that do not say so are taken for BT.709 from this height on, as players take them.
const HD_HEIGHT_MIN: usize = 720;
/// `matrix_coefficients` of BT.2020, nearer to BT.709 than to BT.601.
const MATRIX_BT2020: u8 = 9;

/// The map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ToJpeg {
    black: i32,
    luma: i32,
    /// What blue and red chroma add to luma, blue and red.
    blue: [i32; 3],
    red: [i32; 3],
}

const ONE: i32 = 65_536;
/// 255/219 and 255/224.
const LUMA: i32 = 76_309;
const CHROMA: i32 = 74_606;

const FULL_601: ToJpeg = ToJpeg { black: 0, luma: ONE, blue: [0, ONE, 0], red: [0, 0, ONE] };
const LIMITED_601: ToJpeg = ToJpeg { black: 16, luma: LUMA, blue: [0, CHROMA, 0], red: [0, 0, CHROMA] };
// M601 x M709^-1, of Kr, Kb = 0.299, 0.114 and 0.2126, 0.0722.
const FULL_709: ToJpeg =
    ToJpeg { black: 0, luma: ONE, blue: [6_657, 64_871, -4_748], red: [12_850, -7_252, 64_448] };
const LIMITED_709: ToJpeg =
    ToJpeg { black: 16, luma: LUMA, blue: [7_578, 73_849, -5_405], red: [14_628, -8_255, 73_367] };

impl ToJpeg {
    /// Of a picture.
    pub(super) fn of(display: Display, height: usize) -> Self {
        let is_709 = match display.matrix {
            Some(matrix) => matches!(matrix, MATRIX_BT709 | MATRIX_BT2020 | 10),
            None => height >= HD_HEIGHT_MIN,
        };
        match (display.is_full_range, is_709) {
            (true, false) => FULL_601,
            (false, false) => LIMITED_601,
            (true, true) => FULL_709,
            (false, true) => LIMITED_709,
        }
    }

    /// A luma sample, with the chroma there.
    pub(super) fn luma(&self, luma: u8, blue: u8, red: u8) -> u8 {
        let from_chroma = self.blue[0] * centred(blue) + self.red[0] * centred(red);
        rounded(self.luma * (i32::from(luma) - self.black) + from_chroma, 0)
    }

    /// Blue and red chroma samples.
    pub(super) fn chroma(&self, blue: u8, red: u8) -> (u8, u8) {
        let (blue, red) = (centred(blue), centred(red));
        let mixed = |row: usize| rounded(self.blue[row] * blue + self.red[row] * red, 128);
        (mixed(1), mixed(2))
    }
}

fn centred(chroma: u8) -> i32 {
    i32::from(chroma) - 128
}

fn rounded(value: i32, centre: i32) -> u8 {
    u8::try_from((((value + ONE / 2) >> 16) + centre).clamp(0, 255)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_white_and_red_are_what_jpeg_calls_them() {
        let hd = ToJpeg::of(Display::default(), 1080);
        assert_eq!(hd, LIMITED_709);
        for (luma, expected) in [(16, 0), (235, 255), (126, 128), (0, 0), (255, 255)] {
            assert_eq!(hd.luma(luma, 128, 128), expected, "{luma}");
            assert_eq!(hd.chroma(128, 128), (128, 128));
        }
        // Pure red: 63, 102, 240 in BT.709 of limited range; 76, 85, 255 in JFIF (JFIF 1.02, "Conversion to and from RGB").
        let (luma, (blue, red)) = (hd.luma(63, 102, 240), hd.chroma(102, 240));
        assert!(
            luma.abs_diff(76) <= 1 && blue.abs_diff(85) <= 1 && red.abs_diff(255) <= 1,
            "{luma} {blue} {red}"
        );
        assert_eq!(ToJpeg::of(Display { is_full_range: true, ..Display::default() }, 480), FULL_601);
        assert_eq!(ToJpeg::of(Display { matrix: Some(6), ..Display::default() }, 1080), LIMITED_601);
    }
}
