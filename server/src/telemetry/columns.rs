//! Columns: tables of metrics, each a family whose samples come from one field of each object.

use super::metrics_text::{Family, Kind, Number, Text};

/// A family whose samples come from one field of each object.
pub(super) struct Column<T> {
    family: Family,
    value: fn(&T) -> Option<Number>,
}

pub(super) const fn counter<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Number>,
) -> Column<T> {
    Column { family: Family { name, kind: Kind::Counter, help }, value }
}

pub(super) const fn gauge<T>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<Number>,
) -> Column<T> {
    Column { family: Family { name, kind: Kind::Gauge, help }, value }
}

pub(super) const fn whole(value: u64) -> Option<Number> {
    Some(Number::Whole(value))
}

pub(super) fn chosen(filter: &str, name: &str) -> bool {
    filter.is_empty() || filter == name
}

/// What a family without objects says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// 0 without labels, as MediaMTX.
    Zero,
    /// Nothing.
    Silent,
}

pub(super) fn none_at_all<T>(objects: &[T], filter: &str) -> Empty {
    if objects.is_empty() && filter.is_empty() { Empty::Zero } else { Empty::Silent }
}

pub(super) fn write_columns<'a, T>(
    text: &mut Text,
    columns: &[Column<T>],
    objects: &[&'a T],
    empty: Empty,
    labels: impl Fn(&'a T) -> Vec<(&'static str, &'a str)>,
) {
    for Column { family, value } in columns {
        let samples: Vec<_> =
            objects.iter().filter_map(|object| Some((labels(object), value(object)?))).collect();
        if samples.is_empty() && empty == Empty::Silent {
            continue;
        }
        text.family(*family);
        for (labels, value) in &samples {
            text.sample(family.name, labels, *value);
        }
        if samples.is_empty() {
            text.sample(family.name, &[], Number::Whole(0));
        }
    }
}
