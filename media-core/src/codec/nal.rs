//! NAL units: taking them out of both framings, and their payload without emulation prevention.
//!
//! Spec: ITU-T H.264 s7.3.1, s7.4.1, Annex B; ISO/IEC 14496-15 s5.3.3 (4-byte lengths).

use std::borrow::Cow;

/// Walks NAL units behind 4-byte big-endian lengths, the form of `AccessUnit::payload`.
///
/// Ends at the end of the data or at the first length that does not fit.
#[derive(Clone, Debug)]
pub struct LengthPrefixed<'a> {
    rest: &'a [u8],
}

/// The NAL units of a length-prefixed payload.
pub fn length_prefixed(payload: &[u8]) -> LengthPrefixed<'_> {
    LengthPrefixed { rest: payload }
}

impl<'a> Iterator for LengthPrefixed<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (nal, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(nal)
    }
}

/// Walks the NAL units of an Annex B byte stream; zero bytes around start codes belong to none.
#[derive(Clone, Debug)]
pub struct AnnexB<'a> {
    rest: &'a [u8],
}

/// The NAL units of a byte stream; what stands before the first start code is passed over.
pub fn annex_b(stream: &[u8]) -> AnnexB<'_> {
    let rest = start_code(stream).and_then(|at| stream.get(at + 3..)).unwrap_or(&[]);
    AnnexB { rest }
}

/// Where the first `00 00 01` begins.
pub fn start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = start_code(self.rest);
            let nal = self.rest.get(..end.unwrap_or(self.rest.len()))?;
            self.rest = end.and_then(|at| self.rest.get(at + 3..)).unwrap_or(&[]);
            let nal = without_trailing_zeros(nal);
            if !nal.is_empty() {
                return Some(nal);
            }
        }
        None
    }
}

/// A NAL unit ends with a stop bit, so zero bytes after it are not its own (`trailing_zero_8bits`).
pub fn without_trailing_zeros(nal: &[u8]) -> &[u8] {
    let len = nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    nal.get(..len).unwrap_or(nal)
}

/// The first `bytes_max` bytes of a NAL unit, header included, without emulation prevention bytes
/// (`00 00 03` becomes `00 00`).
pub fn unescape(nal: &[u8], bytes_max: usize) -> Cow<'_, [u8]> {
    // Slice headers, which are read of every picture, hardly ever hold one: they are read where they are.
    let plain = nal.get(..bytes_max.min(nal.len())).unwrap_or(nal);
    if !plain.windows(3).any(|three| three == [0, 0, 3]) {
        return Cow::Borrowed(plain);
    }
    let mut rbsp = Vec::with_capacity(nal.len().min(bytes_max));
    let mut zeros = 0;
    for &byte in nal {
        if rbsp.len() == bytes_max {
            break;
        }
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    Cow::Owned(rbsp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_give_the_same_nal_units() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 4, 0];
        let framed = [0, 0, 0, 3, 0x67, 1, 2, 0, 0, 0, 2, 0x68, 3, 0, 0, 0, 2, 0x65, 4];
        let expected: [&[u8]; 3] = [&[0x67, 1, 2], &[0x68, 3], &[0x65, 4]];
        assert_eq!(annex_b(&stream).collect::<Vec<_>>(), expected);
        assert_eq!(length_prefixed(&framed).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn truncated_framing_ends_without_a_panic() {
        assert_eq!(length_prefixed(&[0, 0, 0, 9, 1]).count(), 0);
        assert_eq!(length_prefixed(&[0, 0]).count(), 0);
        assert_eq!(annex_b(&[1, 2, 3]).count(), 0);
        assert_eq!(annex_b(&[0, 0, 1]).count(), 0);
    }

    #[test]
    fn emulation_prevention_is_taken_out_where_the_standard_puts_it() {
        let plain = unescape(&[0x67, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3], 64);
        assert_eq!(plain[..], [0x67, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0, 3, 0, 0, 4], 64)[..], [0, 3, 0, 0, 4]);
        assert_eq!(unescape(&[1, 2, 3, 4], 2)[..], [1, 2]);
    }
}
