//! Decode metrics: pictures made for snapshots and thumbnails, by purpose.

use super::columns::{Column, Empty, counter, gauge, whole, write_columns};
use super::metrics_text::{Number, Text};
use crate::decode::pool::{PoolFigures, PurposeFigures};

/// Writes them.
pub(super) fn write(text: &mut Text, pool: &PoolFigures) {
    let purposes: Vec<_> = pool.purposes.iter().collect();
    write_columns(text, PURPOSES, &purposes, Empty::Silent, |of| vec![("purpose", of.purpose)]);
    write_columns(text, POOL, &[pool], Empty::Silent, |_| Vec::new());
}

const PURPOSES: &[Column<PurposeFigures>] = &[
    counter("gtvision_pictures_made_total", "Key frames decoded and made a JPEG.", |of| whole(of.made)),
    counter("gtvision_pictures_failed_total", "Key frames that could not be decoded.", |of| whole(of.failed)),
    counter("gtvision_pictures_refused_total", "Pictures refused because too many waited.", |of| {
        whole(of.refused)
    }),
    gauge("gtvision_pictures_waiting", "Pictures that wait for a thread.", |of| whole(of.waiting)),
];

const POOL: &[Column<PoolFigures>] =
    &[counter("gtvision_pictures_seconds_total", "Time that threads spent on pictures.", |pool| {
        Some(Number::Real(pool.busy.as_secs_f64()))
    })];
