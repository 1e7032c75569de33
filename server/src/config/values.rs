//! Values: durations, sizes, addresses and lists as MediaMTX writes them.
//!
//! Every parser is pure and returns [`Expected`], which says what should have stood there.
//! Units: durations carry theirs (`500ms`, `1h30m`, `1d`); sizes are binary (`1M` is 1,048,576).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

/// What should have stood where a value does not parse; reads on from "is not".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// `true` or `false`.
    Boolean,
    /// A duration.
    Duration,
    /// A size in bytes.
    Size,
    /// A whole number.
    Number,
    /// A number, size or duration within limits, as text.
    Within(String),
    /// `[HOST]:PORT`.
    Address,
    /// An IP address or network.
    Network,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The hexadecimal SHA-256 of a certificate.
    Fingerprint,
    /// A URL, with what is wrong with it.
    Url(&'static str),
    /// Anything else, in words.
    Other(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("a boolean: write true or false"),
            Self::Duration => f.write_str("a duration such as 500ms, 10s, 1h30m or 1d"),
            Self::Size => f.write_str("a size such as 512K, 50M or 1G"),
            Self::Number => f.write_str("a whole number"),
            Self::Within(range) => f.write_str(range),
            Self::Address => f.write_str("an address such as :8888, 127.0.0.1:8888 or [::1]:8888"),
            Self::Network => f.write_str("an IP address or network such as 10.0.0.0/8"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::Fingerprint => f.write_str("a SHA-256 fingerprint of 64 hexadecimal digits"),
            Self::Url(why) => write!(f, "a usable URL: {why}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// Parses a boolean; YAML 1.1's `yes` and `no` are in many existing files.
///
/// # Errors
/// [`Expected::Boolean`].
pub(crate) fn boolean(text: &str) -> Result<bool, Expected> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(true),
        "false" | "no" | "off" | "n" => Ok(false),
        _ => Err(Expected::Boolean),
    }
}

/// Parses a Go duration with days: numbers with units `ns us µs ms s m h d`, one after another,
/// each with an optional fraction; `0` needs no unit. Negative ones are refused.
///
/// # Errors
/// [`Expected::Duration`], also when the sum passes 100 years.
pub(crate) fn duration(text: &str) -> Result<Duration, Expected> {
    const YEARS_100_NS: u128 = 100 * 366 * 24 * 3600 * 1_000_000_000;
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(Expected::Duration)?;
        let (number, after) = rest.split_at_checked(number_end).ok_or(Expected::Duration)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(unit_end).ok_or(Expected::Duration)?;
        let unit_ns: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return Err(Expected::Duration),
        };
        total_ns = total_ns.saturating_add(fraction_times(number, unit_ns).ok_or(Expected::Duration)?);
        rest = next;
    }
    if text.is_empty() || total_ns > YEARS_100_NS {
        return Err(Expected::Duration);
    }
    let secs = u64::try_from(total_ns / 1_000_000_000).map_err(|_| Expected::Duration)?;
    let nanos = u32::try_from(total_ns % 1_000_000_000).map_err(|_| Expected::Duration)?;
    Ok(Duration::new(secs, nanos))
}

/// `"1.5"` times `unit`, rounded down; `None` when it is no decimal number.
fn fraction_times(number: &str, unit: u128) -> Option<u128> {
    /// A fraction finer than this is below a nanosecond of a day.
    const FRACTION_DIGITS_MAX: usize = 15;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit)?.checked_add(fraction.checked_mul(unit)? / scale)
}

/// Parses a size: a number with an optional fraction and one of `B K M G T` (also `KB`, `KiB`
/// ...), all of them powers of 1024 as in MediaMTX; a bare number is bytes.
///
/// # Errors
/// [`Expected::Size`].
pub(crate) fn size_bytes(text: &str) -> Result<u64, Expected> {
    let upper = text.trim().to_ascii_uppercase();
    let unit_at = upper.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upper.len());
    let (number, unit) = upper.split_at_checked(unit_at).ok_or(Expected::Size)?;
    let factor: u128 = match unit.trim() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        "T" | "TB" | "TIB" => 1 << 40,
        _ => return Err(Expected::Size),
    };
    let bytes = fraction_times(number, factor).ok_or(Expected::Size)?;
    u64::try_from(bytes).map_err(|_| Expected::Size)
}

/// Parses a share of a whole: `85` or `85%`.
///
/// # Errors
/// [`Expected::Within`].
pub(crate) fn percent(text: &str) -> Result<u8, Expected> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent = number.parse().ok().filter(|percent| (1..=100).contains(percent));
    percent.ok_or_else(|| Expected::Within("a percentage from 1 to 100".to_owned()))
}

/// Parses a whole number that is not negative.
///
/// # Errors
/// [`Expected::Number`].
pub(crate) fn number(text: &str) -> Result<u64, Expected> {
    text.parse().map_err(|_| Expected::Number)
}

/// Parses `HOST:PORT`. `:PORT` means every address of the machine: `[::]`, which on Linux takes
/// IPv4 too. `localhost` is 127.0.0.1; other host names are refused, since what they mean may
/// change between two starts.
///
/// # Errors
/// [`Expected::Address`].
pub(crate) fn address(text: &str) -> Result<SocketAddr, Expected> {
    let (host, port) = text.rsplit_once(':').ok_or(Expected::Address)?;
    let port: u16 = port.parse().map_err(|_| Expected::Address)?;
    let ip = match host {
        "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(v6) => IpAddr::V6(v6.parse().map_err(|_| Expected::Address)?),
            None => IpAddr::V4(host.parse().map_err(|_| Expected::Address)?),
        },
    };
    Ok(SocketAddr::new(ip, port))
}

/// Parses an IP address or a CIDR network.
///
/// # Errors
/// [`Expected::Network`].
pub(crate) fn network(text: &str) -> Result<IpNet, Expected> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(one).ok_or(Expected::Network)
}

/// Parses the SHA-256 of a certificate, written in hexadecimal with or without colons.
///
/// # Errors
/// [`Expected::Fingerprint`].
pub(crate) fn fingerprint(text: &str) -> Result<[u8; 32], Expected> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte != b':')
        .map(hex_digit)
        .collect::<Option<_>>()
        .ok_or(Expected::Fingerprint)?;
    let mut sha256 = [0; 32];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != sha256.len() || !rest.is_empty() {
        return Err(Expected::Fingerprint);
    }
    for (byte, [high, low]) in sha256.iter_mut().zip(pairs) {
        *byte = high << 4 | low;
    }
    Ok(sha256)
}

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_durations_with_days() {
        for (text, ms) in [
            ("1d", 86_400_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("10s", 10_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1d12h", 129_600_000),
            ("0", 0),
            ("0s", 0),
            ("2000us", 2),
            ("2000000ns", 2),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn durations_without_unit_or_sense_are_refused() {
        for text in ["", "10", "s", "-1s", "1x", "1s2", "1..5s", ".s", "9999999999999999h", "1 s", "1µ"] {
            assert_eq!(duration(text), Err(Expected::Duration), "{text}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("50M", 50 << 20),
            ("512K", 512 << 10),
            ("1.5G", 3 << 29),
            ("100", 100),
            ("1KiB", 1024),
            ("7B", 7),
        ] {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1X", "-1M", "99999999999999999999T"] {
            assert_eq!(size_bytes(text), Err(Expected::Size), "{text}");
        }
    }

    #[test]
    fn addresses_without_host_take_every_interface() {
        for (text, address_text) in [
            (":8888", "[::]:8888"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::1]:443", "[::1]:443"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert_eq!(address(text), Ok(address_text.parse().unwrap()), "{text}");
        }
        for text in ["", "8888", ":", ":70000", "::1:80", "host.example:80", "1.2.3:4"] {
            assert_eq!(address(text), Err(Expected::Address), "{text}");
        }
    }

    #[test]
    fn fingerprints_have_64_digits() {
        let text = "AB".repeat(32);
        assert_eq!(fingerprint(&text), Ok([0xab; 32]));
        assert_eq!(fingerprint(&vec!["ab"; 32].join(":")), Ok([0xab; 32]));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(65)] {
            assert_eq!(fingerprint(bad), Err(Expected::Fingerprint));
        }
    }

    #[test]
    fn networks_may_be_single_addresses() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert_eq!(network("10.0.0.0/40"), Err(Expected::Network));
    }
}
