//! Mutation: a seed as damage, malice and other people's bugs leave it.
//!
//! Binary fields and numbers in text alike: what is at the edge of a type finds more than what is random. Spliced seeds keep their
//! structure, so that what lies behind a header is reached.

use crate::random::Random;

/// Values at the edges of fields, and some that lengths and counts like to have.
const EDGES: &[u64] = &[
    0,
    1,
    2,
    7,
    8,
    16,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

/// Numbers that a text may hold instead of its own.
const NUMBERS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"1",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"4294967295",
    b"4294967296",
    b"9223372036854775807",
    b"18446744073709551615",
    b"18446744073709551616",
    b"1e308",
    b"nan",
    b"0.0000001",
    b"",
];

/// The most changes of one seed: more leave nothing to be understood.
const CHANGES_MAX: usize = 6;

/// Changes a seed, with pieces of `other` where that helps; `bytes_max` bytes at most remain.
pub(crate) fn mutate(seed: &[u8], other: &[u8], bytes_max: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(CHANGES_MAX) {
        change(&mut bytes, other, random);
        bytes.truncate(bytes_max);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(12) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.byte();
            }
        }
        2 | 3 => edge(bytes, at, random),
        4 => drop(bytes.drain(range(bytes, at, random))),
        5 => {
            let piece = bytes[range(bytes, at, random)].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        6 => bytes.truncate(at),
        7 => {
            let filling = std::iter::repeat_with(|| random.byte()).take(8).collect::<Vec<_>>();
            bytes.splice(at..at, filling);
        }
        8 => {
            let from = random.below(other.len());
            let piece = other[range(other, from, random)].to_vec();
            let over = if random.below(2) == 0 { at } else { range(bytes, at, random).end };
            bytes.splice(at..over, piece);
        }
        9 => {
            // The same again and again: lists, nesting, lines.
            let piece = bytes[range(bytes, at, random)].repeat(1 + random.below(64));
            bytes.splice(at..at, piece);
        }
        10 => number(bytes, at, random),
        _ => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
    }
}

/// A piece that begins at `at`: mostly short.
fn range(bytes: &[u8], at: usize, random: &mut Random) -> std::ops::Range<usize> {
    let most = *random.one_of(&[1, 4, 16, 64, 1024]);
    let len = 1 + random.below(most);
    at..at.saturating_add(len).min(bytes.len())
}

/// A field of 1, 2, 3, 4 or 8 bytes at the edge of what it can say, in either order of bytes.
fn edge(bytes: &mut [u8], at: usize, random: &mut Random) {
    let width = *random.one_of(&[1, 2, 3, 4, 8]);
    let value = random.one_of(EDGES).wrapping_add(u64::from(random.byte() % 3)).wrapping_sub(1);
    let mut field = value.to_be_bytes();
    let field = &mut field[8 - width..];
    if random.below(4) == 0 {
        field.reverse();
    }
    bytes.iter_mut().skip(at).zip(field).for_each(|(byte, new)| *byte = *new);
}

/// The first number of a text from `at` on becomes another.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(from) = bytes.iter().skip(at).position(u8::is_ascii_digit).map(|offset| at + offset) else {
        return;
    };
    let len = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(from..from + len, random.one_of(NUMBERS).iter().copied());
}
