//! Stats: percentiles of a run, medians over rounds.

use serde::Serialize;

/// Percentiles, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    /// `None` without values. The nearest rank is taken: a value that occurred.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Some(Self { count: values.len(), p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, max: rank(100)? })
    }
}

/// Median, least and greatest over rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without values. Of an even number the mean of the middle two.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (values.first().copied()?, values.last().copied()?);
        let middle = values.len() / 2;
        let upper = values.get(middle).copied()?;
        let lower = if values.len().is_multiple_of(2) { values.get(middle - 1).copied()? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

/// Ratio of each pair, for pairs that can be divided.
pub(crate) fn ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Vec<f64> {
    pairs.into_iter().filter(|(_, of)| *of > 0.0).map(|(one, of)| one / of).collect()
}

/// Slope of the least-squares line through `(x, y)`; `None` for fewer than two different `x`.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = number(points.len());
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let over: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let under: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (under > 0.0).then(|| over / under)
}

/// A count as a number; exact below 2^32, which no count here reaches.
pub(crate) fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A large count as a number, exact to 15 digits.
pub(crate) fn large(count: u64) -> f64 {
    let (high, low) = (count >> 32, count & 0xffff_ffff);
    let half = |part: u64| u32::try_from(part).map_or(0.0, f64::from);
    half(high) * 4_294_967_296.0 + half(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = (1..=200).map(f64::from).rev().collect();
        let all = Percentiles::of(values).unwrap();
        assert_eq!((all.p50, all.p95, all.p99, all.max), (100.0, 190.0, 198.0, 200.0));
        let one = Percentiles::of(vec![7.0]).unwrap();
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }

    #[test]
    fn medians_and_ratios_are_those_of_the_rounds() {
        let spread = Spread::of([3.0, 1.0, 2.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 10.0));
        assert_eq!(ratios([(1.0, 4.0), (3.0, 2.0), (1.0, 0.0)]), [0.25, 1.5]);
    }

    #[test]
    fn the_slope_leaves_the_fixed_cost_out() {
        let close = |value: Option<f64>, expect: f64| (value.unwrap() - expect).abs() < 1e-9;
        assert!(close(slope(&[(10.0, 7.0), (20.0, 9.0), (40.0, 13.0)]), 0.2));
        assert_eq!(slope(&[(10.0, 7.0)]), None);
    }

    #[test]
    fn large_counts_become_numbers() {
        assert_eq!(large(5_000_000_000), 5_000_000_000.0);
    }
}
