//! Sweep: sizes named on the command line: `N`, `A,B,C` or `A..B`.

use std::str::FromStr;

use anyhow::{Context as _, ensure};

/// Numbers of cameras.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizes(Vec<usize>);

impl Sizes {
    /// In the order that was asked for, never empty.
    pub(crate) fn list(&self) -> Vec<usize> {
        self.0.clone()
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    /// A range doubles from its beginning and ends with its end.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let number = |text: &str| text.trim().parse().with_context(|| format!("not a number: {text}"));
        let Some((from, to)) = text.split_once("..") else {
            return Ok(Self(text.split(',').map(number).collect::<anyhow::Result<_>>()?));
        };
        let (from, to) = (number(from)?, number(to.trim_start_matches('='))?);
        ensure!(0 < from && from < to, "{text}: not a range");
        let doubling = std::iter::successors(Some(from), |size: &usize| size.checked_mul(2));
        Ok(Self(doubling.take_while(|size| *size < to).chain([to]).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_lists_or_doubling_ranges() {
        let sizes = |text: &str| text.parse::<Sizes>().unwrap().list();
        assert_eq!(sizes("250"), [250]);
        assert_eq!(sizes("10,50,250"), [10, 50, 250]);
        assert_eq!(sizes("10..100"), [10, 20, 40, 80, 100]);
        for wrong in ["", "x", "9..3", "0..5", "3,"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }
}
