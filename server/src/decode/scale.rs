//! Scale: a plane into a smaller one, each sample the mean of the area that it covers.
//!
//! Sharp enough for pictures that get smaller, without the ringing of longer filters.

use super::picture::Plane;

/// Areas are counted in this part of a sample's side.
const ONE: usize = 256;

/// The samples that output sample `at` of `to` covers of `from`, with how much of each.
fn covered(at: usize, from: usize, to: usize) -> impl Iterator<Item = (usize, u32)> {
    let begin = at * from * ONE / to;
    let end = ((at + 1) * from * ONE / to).max(begin + 1);
    (begin / ONE..end.div_ceil(ONE)).map(move |sample| {
        let (first, last) = ((sample * ONE).max(begin), ((sample + 1) * ONE).min(end));
        (sample, u32::try_from(last - first).unwrap_or(0))
    })
}

/// The plane in another size; neither side may be 0.
pub(super) fn scale(plane: &Plane, width: usize, height: usize) -> Plane {
    if (width, height) == (plane.width, plane.height) {
        return plane.clone();
    }
    // The same for each row.
    let columns: Vec<Vec<(usize, u32)>> =
        (0..width).map(|x| covered(x, plane.width, width).collect()).collect();
    let mut samples = Vec::with_capacity(width * height);
    let mut line = vec![0_u32; plane.width];
    for y in 0..height {
        line.fill(0);
        let mut rows_weight = 0;
        for (row, weight) in covered(y, plane.height, height) {
            let row = plane.samples.chunks_exact(plane.width).nth(row).unwrap_or_default();
            // 8192 rows of 256 x 255 fit 32 bits.
            line.iter_mut().zip(row).for_each(|(sum, sample)| *sum += u32::from(*sample) * weight);
            rows_weight += u64::from(weight);
        }
        samples.extend(columns.iter().map(|column| mean(column, &line, rows_weight)));
    }
    Plane { samples, width, height }
}

fn mean(column: &[(usize, u32)], line: &[u32], rows_weight: u64) -> u8 {
    let (mut sum, mut weights) = (0, 0);
    for (sample, weight) in column {
        sum += u64::from(line.get(*sample).copied().unwrap_or(0)) * u64::from(*weight);
        weights += u64::from(*weight);
    }
    let area = (weights * rows_weight).max(1);
    u8::try_from((sum + area / 2) / area).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(width: usize, height: usize, sample: impl Fn(usize, usize) -> u8) -> Plane {
        let samples = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| sample(x, y));
        Plane { samples: samples.collect(), width, height }
    }

    #[test]
    fn samples_are_means_of_what_they_cover() {
        let halves = scale(&plane(4, 2, |x, y| u8::try_from(x * 40 + y * 20).unwrap()), 2, 1);
        assert_eq!(halves.samples, [30, 110]);
        // Three of two: the middle one is half of each.
        let between = scale(&plane(3, 1, |x, _| [0, 90, 240][x]), 2, 1);
        assert_eq!(between.samples, [30, 190]);
        // What gets larger repeats.
        assert_eq!(scale(&plane(2, 1, |x, _| [10, 20][x]), 4, 1).samples, [10, 10, 20, 20]);
    }

    #[test]
    fn a_flat_plane_stays_flat_in_any_size() {
        for (from, to) in [((1920, 1080), (320, 180)), ((768, 432), (333, 187)), ((17, 3), (16, 2))] {
            let scaled = scale(&plane(from.0, from.1, |_, _| 255), to.0, to.1);
            assert_eq!((scaled.width, scaled.height, scaled.samples.len()), (to.0, to.1, to.0 * to.1));
            assert!(scaled.samples.iter().all(|sample| *sample == 255), "{from:?} to {to:?}");
        }
    }
}
