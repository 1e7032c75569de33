//! Names: the file names of a window's media, and back.
//!
//! `{prefix}_init{n}.mp4`, `{prefix}_seg{msn}.mp4`, `{prefix}_part{msn}_{i}.mp4`. The prefix differs for each
//! muxer, so that a name never means two things to a cache.

use std::fmt;

/// The most characters in a prefix.
const PREFIX_LEN_MAX: usize = 32;

/// What tells one muxer's files from another's: lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The prefix for a number that no other muxer has (random, or the time it was made).
    pub fn from_number(number: u64) -> Self {
        Self(format!("{number:012x}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One file of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaName {
    /// The n-th init segment.
    Init(u32),
    /// A whole segment.
    Segment {
        /// Its media sequence number.
        msn: u64,
    },
    /// A partial segment.
    Part {
        /// Its segment's media sequence number.
        msn: u64,
        /// Its position in the segment.
        index: u32,
    },
}

impl MediaName {
    /// Reads a file name; the prefix comes back as it was given. `None` for anything else.
    pub fn parse(file: &str) -> Option<(&str, Self)> {
        let stem = file.strip_suffix(".mp4")?;
        let (prefix, kind) = stem.split_once('_')?;
        if prefix.len() > PREFIX_LEN_MAX {
            return None;
        }
        let name = if let Some(number) = kind.strip_prefix("init") {
            Self::Init(decimal(number)?.try_into().ok()?)
        } else if let Some(number) = kind.strip_prefix("seg") {
            Self::Segment { msn: decimal(number)? }
        } else {
            let (msn, index) = kind.strip_prefix("part")?.split_once('_')?;
            Self::Part { msn: decimal(msn)?, index: decimal(index)?.try_into().ok()? }
        };
        Some((prefix, name))
    }

    /// The file name under this prefix.
    pub fn file(self, prefix: &Prefix) -> FileName<'_> {
        FileName { prefix, name: self }
    }
}

/// A file name, to be printed.
#[derive(Clone, Copy, Debug)]
pub struct FileName<'a> {
    prefix: &'a Prefix,
    name: MediaName,
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.prefix.as_str();
        match self.name {
            MediaName::Init(number) => write!(f, "{prefix}_init{number}.mp4"),
            MediaName::Segment { msn } => write!(f, "{prefix}_seg{msn}.mp4"),
            MediaName::Part { msn, index } => write!(f, "{prefix}_part{msn}_{index}.mp4"),
        }
    }
}

/// A number of digits only: `+5` and `05`, which `parse` takes, would give one file two names.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_refused() {
        let prefix = Prefix::from_number(0xabc);
        for name in [MediaName::Init(0), MediaName::Segment { msn: 7 }, MediaName::Part { msn: 7, index: 12 }]
        {
            let file = name.file(&prefix).to_string();
            assert_eq!(MediaName::parse(&file), Some(("000000000abc", name)), "{file}");
        }
        for bad in [
            "",
            "_",
            "a_seg.mp4",
            "a_seg+5.mp4",
            "a_seg05.mp4",
            "a_part5.mp4",
            "a_part5_99999999999.mp4",
            "a_seg5.ts",
        ] {
            assert_eq!(MediaName::parse(bad), None, "{bad:?}");
        }
    }
}
