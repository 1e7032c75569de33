//! Metrics text: the Prometheus exposition format, written by hand.
//!
//! By hand and not by prometheus-client: that crate writes OpenMetrics, which appends `_total` to
//! every counter, and MediaMTX's dashboards ask for `paths_inbound_bytes`. The format is three
//! kinds of lines.
//!
//! Invariants: all samples of a family stand together; label values are escaped.
//! Spec: Prometheus text format 0.0.4 (`# HELP`, `# TYPE`, samples).

use std::fmt::{self, Write as _};

/// A family's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
}

/// What a family is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type.
    pub(crate) kind: Kind,
    /// What it counts, on one line.
    pub(crate) help: &'static str,
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// A count or a size.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) if value.is_nan() => f.write_str("NaN"),
            Self::Real(value) if value.is_infinite() => {
                f.write_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Real(value) => value.fmt(f),
        }
    }
}

/// A page of metrics being written.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, family: Family) {
        let Family { name, kind, help } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample; labels in the order given, which MediaMTX keeps alphabetical.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: Number) {
        self.put(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{open}{label}=\"{}\"", Escaped(text)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{close} {value}\n"));
    }

    /// The page.
    pub(crate) fn finish(self) -> String {
        self.0
    }

    fn put(&mut self, arguments: fmt::Arguments<'_>) {
        // A `String` takes everything.
        if self.0.write_fmt(arguments).is_err() {
            debug_assert!(false, "writing to a string failed");
        }
    }
}

/// A label's value with backslash, quote and line feed escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        // The escaping example is the format's own documentation.
        let mut text = Text::default();
        text.family(Family {
            name: "msdos_file_access_time_seconds",
            kind: Kind::Gauge,
            help: "Some files.",
        });
        let labels = [("path", "C:\\DIR\\FILE.TXT"), ("error", "Cannot find file:\n\"FILE.TXT\"")];
        text.sample("msdos_file_access_time_seconds", &labels, Number::Real(1.458_255_915e9));
        text.sample("up", &[], Number::Whole(u64::MAX));
        text.sample("odd", &[], Number::Real(f64::NEG_INFINITY));
        assert_eq!(
            text.finish(),
            "# HELP msdos_file_access_time_seconds Some files.\n# TYPE msdos_file_access_time_seconds gauge\n\
             msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"FILE.TXT\\\"\"} 1458255915\n\
             up 18446744073709551615\nodd -Inf\n"
        );
    }
}
