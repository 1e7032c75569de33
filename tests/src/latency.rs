//! Latency: pictures that a player showed, joined with when the camera sent them.
//!
//! Every figure is printed and written to `target/latency.json`; a test fails only beyond
//! twice its bar, because the machine is shared and noisy.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::simulator::Sent;
use crate::workspace;

/// How far beyond its bar a figure may be on this shared machine.
const NOISE_FACTOR: f64 = 2.0;

/// A picture that a player has shown.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Seen {
    /// The number in its bar code.
    pub frame: u32,
    /// Wall clock when it was shown, microseconds since 1970.
    pub seen_unix_us: u64,
}

/// Percentiles of a run, milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    /// How many pictures could be joined.
    pub count: usize,
    /// Half of the pictures were at most this old.
    pub p50_ms: f64,
    /// 95 % of them.
    pub p95_ms: f64,
    /// 99 % of them.
    pub p99_ms: f64,
    /// The oldest.
    pub max_ms: f64,
}

/// Glass to glass: for each picture seen, the time since the camera sent that frame last.
///
/// # Errors
/// When fewer than half of the pictures can be joined: the list of sent frames is too short.
pub fn glass_to_glass(sent: &[Sent], seen: &[Seen]) -> anyhow::Result<Percentiles> {
    let mut ages_ms: Vec<f64> = seen.iter().filter_map(|picture| age_ms(sent, *picture)).collect();
    ensure!(
        !ages_ms.is_empty() && ages_ms.len() * 2 >= seen.len(),
        "{} of {} pictures are among the {} frames sent",
        ages_ms.len(),
        seen.len(),
        sent.len()
    );
    ages_ms.sort_by(f64::total_cmp);
    Ok(percentiles(&ages_ms))
}

/// The clip loops, so a number comes again: the last time it was sent before it was seen
/// is meant. Loops are longer than any latency here.
fn age_ms(sent: &[Sent], picture: Seen) -> Option<f64> {
    let sent_us = sent
        .iter()
        .filter(|sent| sent.frame == picture.frame && sent.sent_unix_us <= picture.seen_unix_us)
        .map(|sent| sent.sent_unix_us)
        .max()?;
    let age = std::time::Duration::from_micros(picture.seen_unix_us - sent_us);
    Some(age.as_secs_f64() * 1000.0)
}

fn percentiles(sorted_ms: &[f64]) -> Percentiles {
    // Nearest rank; `count * percent` fits easily.
    let at = |percent: usize| {
        let rank = (sorted_ms.len() * percent).div_ceil(100).max(1);
        sorted_ms.get(rank - 1).copied().unwrap_or(f64::NAN)
    };
    Percentiles { count: sorted_ms.len(), p50_ms: at(50), p95_ms: at(95), p99_ms: at(99), max_ms: at(100) }
}

/// Prints and files a figure, and holds it against its bar.
///
/// # Errors
/// When it is beyond twice the bar.
pub fn report(name: &str, figure_ms: f64, bar_ms: f64) -> anyhow::Result<()> {
    file(name, serde_json::json!({ "ms": figure_ms, "bar_ms": bar_ms }))?;
    println_figure(&format!("{name}: {figure_ms:.0} ms (bar {bar_ms:.0} ms)"));
    ensure!(
        figure_ms <= bar_ms * NOISE_FACTOR,
        "{name}: {figure_ms:.0} ms is beyond {NOISE_FACTOR} x its bar of {bar_ms:.0} ms"
    );
    Ok(())
}

/// Files any other measurement beside the latencies.
///
/// # Errors
/// When the report can't be written.
pub fn note(name: &str, value: &impl Serialize) -> anyhow::Result<()> {
    let value = serde_json::to_value(value)?;
    println_figure(&format!("{name}: {value}"));
    file(name, value)
}

#[expect(clippy::print_stdout, reason = "figures are always shown, with --nocapture")]
fn println_figure(line: &str) {
    println!("{line}");
}

fn file(name: &str, value: Value) -> anyhow::Result<()> {
    static FIGURES: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());
    let mut figures = FIGURES.lock().unwrap_or_else(PoisonError::into_inner);
    figures.insert(name.to_owned(), value);
    let path = workspace::target_dir(".")?.join("latency.json");
    std::fs::write(path, serde_json::to_string_pretty(&*figures)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(frame: u32, round: u64, sent_unix_us: u64) -> Sent {
        Sent { frame, round, sent_unix_us, rtp: 0, key: false }
    }

    #[test]
    fn a_picture_is_as_old_as_the_last_time_its_frame_was_sent() {
        let sent = [sent(7, 0, 1_000_000), sent(7, 1, 9_000_000), sent(7, 2, 19_000_000)];
        let seen = [Seen { frame: 7, seen_unix_us: 9_100_000 }];
        let result = glass_to_glass(&sent, &seen).unwrap();
        assert!((result.p95_ms - 100.0).abs() < 0.001, "{result:?}");
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        let result = percentiles(&sorted);
        assert_eq!((result.p50_ms, result.p95_ms, result.max_ms), (50.0, 95.0, 100.0));
    }

    #[test]
    fn pictures_that_nobody_sent_are_an_error() {
        let seen = [Seen { frame: 7, seen_unix_us: 9_100_000 }];
        assert!(glass_to_glass(&[], &seen).is_err());
    }
}
