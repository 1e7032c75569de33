//! G.711: A-law and mu-law bytes to linear samples by table.
//!
//! Spec: ITU-T G.711 (11/1988) s3, tables 1a to 2b.

use crate::track::G711Law;

/// Linear value of each A-law code, 16 bit scale (13 bits used).
static A_LAW: [i16; 256] = table(G711Law::A);
/// Linear value of each mu-law code, 16 bit scale (14 bits used).
static MU_LAW: [i16; 256] = table(G711Law::Mu);

/// Decodes interleaved G.711 bytes to samples in -1.0 to 1.0.
pub(super) fn decode(law: G711Law, bytes: &[u8]) -> Vec<f32> {
    let table = match law {
        G711Law::A => &A_LAW,
        G711Law::Mu => &MU_LAW,
    };
    let sample = |code: &u8| table.get(usize::from(*code)).copied().unwrap_or(0);
    bytes.iter().map(|code| f32::from(sample(code)) / 32768.0).collect()
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time over our own array")]
const fn table(law: G711Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0_u8;
    loop {
        table[code as usize] = match law {
            G711Law::A => expand_a(code),
            G711Law::Mu => expand_mu(code),
        };
        if code == u8::MAX {
            return table;
        }
        code += 1;
    }
}

/// Even bits are inverted on the line (0x55); a set top bit is positive.
const fn expand_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = (code & 0x0f) as i16;
    let linear = match (code >> 4) & 7 {
        0 => (step << 4) + 8,
        segment => ((step << 4) + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -linear } else { linear }
}

/// All bits are inverted on the line; a set top bit (after that) is negative.
const fn expand_mu(code: u8) -> i16 {
    /// The bias of 33 of the 14-bit scale, here on the 16-bit scale.
    const BIAS: i16 = 33 << 2;
    let code = !code;
    let step = (code & 0x0f) as i16;
    let linear = (((step << 3) + BIAS) << ((code >> 4) & 7)) - BIAS;
    if code & 0x80 == 0 { linear } else { -linear }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::testing::{ffmpeg, s16le};

    fn check(law: G711Law, format: &str, table: &[i16; 256]) {
        let codes: Vec<u8> = (0..=255).collect();
        let args = ["-f", format, "-ar", "8000", "-i", "pipe:0", "-f", "s16le", "pipe:1"];
        let expect = s16le(&ffmpeg(&args, &codes));
        assert_eq!(table.as_slice(), expect.as_slice());
        let expect: Vec<f32> = expect.iter().map(|s| f32::from(*s) / 32768.0).collect();
        assert_eq!(decode(law, &codes), expect);
    }

    #[test]
    fn every_a_law_code_decodes_as_in_ffmpeg() {
        check(G711Law::A, "alaw", &A_LAW);
    }

    #[test]
    fn every_mu_law_code_decodes_as_in_ffmpeg() {
        check(G711Law::Mu, "mulaw", &MU_LAW);
    }

    #[test]
    fn ends_of_the_scale_are_those_of_the_recommendation() {
        // G.711 table 1a: A-law's last decision value 4096 of 13 bits, output 4032 (<< 3); table 2a:
        // mu-law's output 8031 of 14 bits (<< 2).
        assert_eq!(A_LAW[0xaa], 4032 << 3);
        assert_eq!(MU_LAW[0x80], 8031 << 2);
    }
}
