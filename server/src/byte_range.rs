//! Byte range: what of a body a request asks for.
//!
//! Spec: RFC 9110 s14.2. Deviation: several ranges at once are answered with the whole, as the RFC allows.

use http::HeaderMap;
use http::header::RANGE;

/// What of a body of a known length is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ByteRange {
    Whole,
    /// `from..to`, not empty.
    Part {
        from: u64,
        to: u64,
    },
    Unsatisfiable,
}

impl ByteRange {
    /// Reads a request's header; a range that can't be read is ignored.
    pub(crate) fn asked(request: &HeaderMap, total: u64) -> Self {
        let text = request.get(RANGE).and_then(|value| value.to_str().ok());
        let Some((first, last)) = text.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
            return Self::Whole;
        };
        let number =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
        let bounds = match (first, last) {
            ("", suffix) => number(suffix).map(|count| (total.saturating_sub(count), total)),
            (first, "") => number(first).map(|from| (from, total)),
            (first, last) => {
                number(first).zip(number(last)).map(|(from, last)| (from, last.saturating_add(1).min(total)))
            }
        };
        match bounds {
            None => Self::Whole,
            Some((from, to)) if from < to => Self::Part { from, to },
            // "5-2" is not a range at all; past the end is one that can't be met.
            Some((from, _)) if from < total && !first.is_empty() => Self::Whole,
            Some(_) => Self::Unsatisfiable,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // correctness: H15
    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-3", ByteRange::Part { from: 0, to: 4 }),
            ("bytes=5-", ByteRange::Part { from: 5, to: 10 }),
            ("bytes=-3", ByteRange::Part { from: 7, to: 10 }),
            ("bytes=-30", ByteRange::Part { from: 0, to: 10 }),
            ("bytes=8-99", ByteRange::Part { from: 8, to: 10 }),
            ("bytes=10-", ByteRange::Unsatisfiable),
            ("bytes=-0", ByteRange::Unsatisfiable),
            ("bytes=5-2", ByteRange::Whole),
            ("bytes=0-1,3-4", ByteRange::Whole),
            ("items=0-1", ByteRange::Whole),
            ("bytes=a-", ByteRange::Whole),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(text))]);
            assert_eq!(ByteRange::asked(&headers, 10), expected, "{text}");
        }
        assert_eq!(ByteRange::asked(&HeaderMap::new(), 10), ByteRange::Whole);
    }

    #[test]
    fn fuzz_what_is_sent_of_a_body_lies_within_it() {
        gtvision_fuzz::feed("byte_range", |input| {
            let Ok(value) = HeaderValue::from_bytes(input) else { return };
            let headers = HeaderMap::from_iter([(RANGE, value)]);
            for total in [0, 1, 1000, u64::MAX] {
                if let ByteRange::Part { from, to } = ByteRange::asked(&headers, total) {
                    assert!(from < to && to <= total, "{from}..{to} of {total}");
                }
            }
        });
    }
}
