//! JPEG: a key frame decoded, brought to its size and shape, and encoded.

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor};
use media_core::codec::vui::Display;
use media_core::key_frame::KeyFrame;

use super::colour::ToJpeg;
use super::picture::{Plane, decode};
use super::scale::scale;
use super::{Jpeg, PictureError, Wanted, Width};

/// A sample more than so many times as wide as high, or the other way round, is a parameter set that lies.
const SAMPLE_ASPECT_MAX: usize = 4;

/// Makes a picture of a key frame.
pub(super) fn jpeg(frame: &KeyFrame, wanted: Wanted) -> Result<Jpeg, PictureError> {
    let picture = decode(frame)?;
    let display = frame.display();
    let (width, height) = shown_size((picture.luma.width, picture.luma.height), display, wanted.width);
    let image = Image {
        colours: ToJpeg::of(display, picture.luma.height),
        luma: scale(&picture.luma, width, height),
        blue: scale(&picture.blue, width / 2, height / 2),
        red: scale(&picture.red, width / 2, height / 2),
    };
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, wanted.quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.encode_image(image).map_err(|error| PictureError::Encode(error.to_string()))?;
    Ok(Jpeg { bytes: out.into(), taken: frame.wall })
}

/// Even sides with square samples, no wider than wanted nor than the picture.
fn shown_size((width, height): (usize, usize), display: Display, wanted: Width) -> (usize, usize) {
    let (across, down) = (usize::from(display.sample_aspect.0), usize::from(display.sample_aspect.1));
    let is_sane = across <= SAMPLE_ASPECT_MAX * down && down <= SAMPLE_ASPECT_MAX * across;
    let (across, down) = if is_sane { (across, down) } else { (1, 1) };
    let shown_width = (width * across / down).min(wanted.pixels());
    let shown_height = (shown_width * height * down + width * across / 2) / (width * across).max(1);
    let even = |side: usize| (side & !1).max(2);
    (even(shown_width), even(shown_height))
}

/// Scaled planes, those of chroma half as wide and high.
struct Image {
    colours: ToJpeg,
    luma: Plane,
    blue: Plane,
    red: Plane,
}

impl Plane {
    fn row(&self, y: usize) -> &[u8] {
        self.samples.chunks_exact(self.width).nth(y).unwrap_or_default()
    }
}

impl ImageBuffer for Image {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        u16::try_from(self.luma.width).unwrap_or(0)
    }

    fn height(&self) -> u16 {
        u16::try_from(self.luma.height).unwrap_or(0)
    }

    /// The encoder takes chroma in full size and leaves out what it does not write.
    fn fill_buffers(&self, y: u16, [luma_out, blue_out, red_out, _]: &mut [Vec<u8>; 4]) {
        let y = usize::from(y);
        let chroma = self.blue.row(y / 2).iter().zip(self.red.row(y / 2));
        for (pair, (blue, red)) in self.luma.row(y).chunks_exact(2).zip(chroma) {
            luma_out.extend(pair.iter().map(|luma| self.colours.luma(*luma, *blue, *red)));
            let (blue, red) = self.colours.chroma(*blue, *red);
            blue_out.extend([blue; 2]);
            red_out.extend([red; 2]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_is_kept_and_samples_become_square() {
        let size = |size, sample_aspect, wanted| {
            let display = Display { sample_aspect, ..Display::default() };
            shown_size(size, display, Width::new(wanted).unwrap())
        };
        assert_eq!(size((1920, 1080), (1, 1), 320), (320, 180));
        assert_eq!(size((1280, 720), (1, 1), 1920), (1280, 720), "never larger");
        // "1080N" of DVRs: half as many samples a row as are shown.
        assert_eq!(size((960, 1080), (2, 1), 320), (320, 180));
        assert_eq!(size((704, 480), (10, 11), 1920), (640, 480));
        assert_eq!(size((1920, 1080), (1, u16::MAX), 320), (320, 180), "a shape that can't be");
        assert_eq!(size((8192, 16), (1, 1), 16), (16, 2));
    }
}
