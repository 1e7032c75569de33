//! Metrics: the Prometheus text format, read to the extent that tests ask for.

use std::collections::BTreeMap;

/// One line: a name, its labels, a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels, unescaped only as far as MediaMTX escapes (not at all).
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// A whole scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics(pub Vec<Sample>);

impl Metrics {
    /// Reads a scrape; lines that are not samples are left out.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(parse_line).collect())
    }

    /// The sum over all samples of `name` that carry all of `labels`; `None` without any.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        let values: Vec<f64> = self.0.iter().filter(carries).map(|sample| sample.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        None => (head, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
    };
    let labels = labels
        .split("\",")
        .filter_map(|label| label.split_once("=\""))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_summed_over_the_labels_that_are_asked() {
        let metrics = Metrics::parse(
            "# Paths\npaths{name=\"a/b\",state=\"ready\"} 1\npaths{name=\"c\",state=\"ready\"} 1\nhls_muxers 0\n",
        );
        assert_eq!(metrics.sum("paths", &[]), Some(2.0));
        assert_eq!(metrics.sum("paths", &[("name", "a/b")]), Some(1.0));
        assert_eq!(metrics.sum("hls_muxers", &[]), Some(0.0));
        assert_eq!(metrics.sum("paths", &[("name", "d")]), None);
    }
}
