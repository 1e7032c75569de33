//! Play: what of a recorded stream an RTSP source is asked for: `rtspRangeType`, `rtspRangeStart`, `rtspScale`.
//!
//! For recorders that play the past at an RTSP address. Spec: RFC 2326 s3.5-3.7, s12.29, s12.34.

use std::sync::Arc;

use super::reader::Reader;
use super::values::{self, Expected};

/// From the beginning, which of a live stream is now.
const FROM_THE_BEGINNING: &str = "npt=0.000-";

/// The headers of PLAY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlayHeaders {
    /// `Range`.
    pub(crate) range: Arc<str>,
    /// `Scale`, where one is wanted.
    pub(crate) scale: Option<Arc<str>>,
}

impl Default for PlayHeaders {
    fn default() -> Self {
        Self { range: FROM_THE_BEGINNING.into(), scale: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RangeType {
    None,
    Clock,
    Npt,
    Smpte,
}

pub(super) fn resolve(reader: &mut Reader<'_>) -> PlayHeaders {
    let kind = reader.value("rtspRangeType", RangeType::None, |text| match text {
        "" => Ok(RangeType::None),
        "clock" => Ok(RangeType::Clock),
        "npt" => Ok(RangeType::Npt),
        "smpte" => Ok(RangeType::Smpte),
        _ => Err(Expected::OneOf(&["clock", "npt", "smpte"])),
    });
    let range = match kind {
        RangeType::None => FROM_THE_BEGINNING.to_owned(),
        kind => reader.value("rtspRangeStart", FROM_THE_BEGINNING.to_owned(), |text| range(kind, text)),
    };
    let scale = reader.value("rtspScale", None, |text| match text {
        "" => Ok(None),
        text => match text.parse::<f64>() {
            Ok(scale) if scale.is_finite() => Ok(Some(text.into())),
            _ => Err(Expected::Other("a number such as 1, 2.5 or -1")),
        },
    });
    PlayHeaders { range: range.into(), scale }
}

fn range(kind: RangeType, start: &str) -> Result<String, Expected> {
    match kind {
        RangeType::None => Ok(FROM_THE_BEGINNING.to_owned()),
        RangeType::Clock => {
            let is_time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", start).is_ok();
            let expected = Expected::Other("a time in UTC such as 20261126T140000Z");
            is_time.then(|| format!("clock={start}-")).ok_or(expected)
        }
        RangeType::Npt => Ok(format!("npt={}-", values::duration(start)?.as_secs_f64())),
        RangeType::Smpte => {
            let seconds = values::duration(start)?.as_secs();
            Ok(format!("smpte={:02}:{:02}:{:02}-", seconds / 3600, seconds / 60 % 60, seconds % 60))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_rtsp_has_them() {
        for (kind, start, expect) in [
            (RangeType::Clock, "20261126T140000Z", Some("clock=20261126T140000Z-")),
            (RangeType::Clock, "2026-11-26 14:00", None),
            (RangeType::Clock, "20261426T140000Z", None),
            (RangeType::Npt, "1m30s", Some("npt=90-")),
            (RangeType::Npt, "2500ms", Some("npt=2.5-")),
            (RangeType::Npt, "now", None),
            (RangeType::Smpte, "1h1m1s", Some("smpte=01:01:01-")),
        ] {
            assert_eq!(range(kind, start).ok().as_deref(), expect, "{start}");
        }
    }
}
