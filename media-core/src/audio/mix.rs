//! Channel mixing: any AAC layout to mono or stereo.
//!
//! Spec: ITU-R BS.775-4 table 2 (centre and surrounds at -3 dB, low-frequency channel left out), scaled
//! so that a full-scale source cannot clip.

/// -3 dB.
const HALF_POWER: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// How much of one source channel goes to left and right.
type Weight = (f32, f32);

/// Weights of FL, FR, FC, LFE, BL, BR, SL, SR: the order of the AAC decoder's output.
const SURROUND: [Weight; 8] = [
    (1.0, 0.0),
    (0.0, 1.0),
    (HALF_POWER, HALF_POWER),
    (0.0, 0.0),
    (HALF_POWER, 0.0),
    (0.0, HALF_POWER),
    (HALF_POWER, 0.0),
    (0.0, HALF_POWER),
];

/// Mixes interleaved samples of `from` channels to `to` (1 or 2) channels.
pub(super) fn mix(pcm: Vec<f32>, from: usize, to: usize) -> Vec<f32> {
    if from == to || from == 0 {
        return pcm;
    }
    let weights = weights(from);
    let scale = 1.0 / weights.iter().map(|w| w.0).sum::<f32>().max(1.0);
    let mut out = Vec::with_capacity(pcm.len() / from * to);
    for frame in pcm.chunks_exact(from) {
        let (mut left, mut right) = (0.0, 0.0);
        for (sample, weight) in frame.iter().zip(&weights) {
            left += sample * weight.0 * scale;
            right += sample * weight.1 * scale;
        }
        match to {
            1 => out.push((left + right) / 2.0),
            _ => out.extend([left, right]),
        }
    }
    out
}

fn weights(channels: usize) -> Vec<Weight> {
    let [fl, fr, fc, lfe, bl, br, ..] = SURROUND;
    match channels {
        1 => vec![(1.0, 1.0)],
        4 => vec![fl, fr, fc, (0.5, 0.5)],
        5 => vec![fl, fr, fc, bl, br],
        6 => vec![fl, fr, fc, lfe, bl, br],
        _ => SURROUND.iter().take(channels).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mono_is_heard_on_both_sides_and_stereo_averaged() {
        assert_eq!(mix(vec![0.5, -0.25], 1, 2), [0.5, 0.5, -0.25, -0.25]);
        assert_eq!(mix(vec![0.5, 0.25], 2, 1), [0.375]);
    }

    #[test]
    fn full_scale_surround_does_not_clip() {
        for channels in [3, 4, 5, 6, 8] {
            let out = mix(vec![1.0; channels], channels, 2);
            assert!(out.iter().all(|sample| (0.5..=1.0001).contains(sample)), "{channels}: {out:?}");
        }
    }

    #[test]
    fn low_frequency_channel_is_left_out() {
        assert_eq!(mix(vec![0.0, 0.0, 0.0, 1.0, 0.0, 0.0], 6, 2), [0.0, 0.0]);
    }
}
