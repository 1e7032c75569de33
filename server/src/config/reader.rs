//! Reader: takes typed values out of the tree, noting a fault and going on where one is wrong.

use super::fault::{FaultKind, Faults};
use super::tree::{Node, Value};
use super::values::{self, Expected};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// One map of settings, with another that stands in for what it lacks.
pub(crate) struct Reader<'a> {
    node: &'a Node,
    defaults: Option<&'a Node>,
    faults: &'a mut Faults,
}

impl<'a> Reader<'a> {
    /// Reads from `node`, then from `defaults`.
    pub(crate) fn new(node: &'a Node, defaults: Option<&'a Node>, faults: &'a mut Faults) -> Self {
        Self { node, defaults, faults }
    }

    /// The value of a key; `null` counts as not there.
    pub(crate) fn find(&self, key: &str) -> Option<&'a Node> {
        let set = |node: &'a Node| node.get(key).filter(|value| value.value != Value::Null);
        set(self.node).or_else(|| self.defaults.and_then(set))
    }

    /// The faults, to add one.
    pub(crate) fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// A single value, or `default` where it is absent or wrong.
    pub(crate) fn value<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> T {
        self.parsed(key, default, parse, |key, got, expected| FaultKind::BadValue { key, got, expected })
    }

    /// As [`Reader::value`], where what is written may hold a secret.
    pub(crate) fn secret<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
    ) -> T {
        self.parsed(key, default, parse, |key, _, expected| FaultKind::BadSecret { key, expected })
    }

    /// `fault` is made of the key, what is written there, and what would be right.
    fn parsed<T>(
        &mut self,
        key: &str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, Expected>,
        fault: fn(String, String, Expected) -> FaultKind,
    ) -> T {
        let Some(node) = self.find(key) else { return default };
        let Some(text) = node.text() else {
            self.wrong_shape(node, key, "a single value");
            return default;
        };
        parse(text).unwrap_or_else(|expected| {
            self.faults.add(&node.place, fault(key.to_owned(), text.to_owned(), expected));
            default
        })
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str, default: &str) -> String {
        self.value(key, default.to_owned(), |text| Ok(text.to_owned()))
    }

    /// A boolean that is true where nothing is written.
    pub(crate) fn on(&mut self, key: &str) -> bool {
        self.value(key, true, values::boolean)
    }

    /// A boolean that is false where nothing is written.
    pub(crate) fn off(&mut self, key: &str) -> bool {
        self.value(key, false, values::boolean)
    }

    /// A duration within limits.
    pub(crate) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        within: RangeInclusive<Duration>,
    ) -> Duration {
        self.value(key, default, |text| {
            let value = values::duration(text)?;
            let range = || format!("from {:?} to {:?}", within.start(), within.end());
            if within.contains(&value) { Ok(value) } else { Err(Expected::Within(range())) }
        })
    }

    /// A whole number within limits.
    pub(crate) fn number(&mut self, key: &str, default: usize, within: RangeInclusive<usize>) -> usize {
        self.value(key, default, |text| {
            let range = || Expected::Within(format!("a number from {} to {}", within.start(), within.end()));
            let value = usize::try_from(values::number(text)?).map_err(|_| range())?;
            if within.contains(&value) { Ok(value) } else { Err(range()) }
        })
    }

    /// An address; an empty one is `None`.
    pub(crate) fn optional_address(&mut self, key: &str, default: Option<SocketAddr>) -> Option<SocketAddr> {
        self.value(key, default, |text| match text {
            "" => Ok(None),
            text => values::address(text).map(Some),
        })
    }

    /// A list; a single text stands for a list of one.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        default: Vec<T>,
        parse: impl Fn(&str) -> Result<T, Expected>,
    ) -> Vec<T> {
        let Some(node) = self.find(key) else { return default };
        let one = std::slice::from_ref(node);
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Text(text) if text.is_empty() => &[],
            Value::Text(_) => one,
            Value::Null | Value::Map(_) => {
                self.wrong_shape(node, key, "a list");
                return default;
            }
        };
        let mut parsed = Vec::with_capacity(items.len());
        for item in items {
            match item.text().map(|text| (text, parse(text))) {
                Some((_, Ok(value))) => parsed.push(value),
                Some((text, Err(expected))) => {
                    let kind = FaultKind::BadValue { key: key.to_owned(), got: text.to_owned(), expected };
                    self.faults.add(&item.place, kind);
                }
                None => self.wrong_shape(item, key, "a list of single values"),
            }
        }
        parsed
    }

    /// Notes that something else should stand at a key.
    pub(crate) fn wrong_shape(&mut self, node: &Node, key: &str, expected: &'static str) {
        self.faults.add(&node.place, FaultKind::WrongShape { key: key.to_owned(), expected });
    }
}
