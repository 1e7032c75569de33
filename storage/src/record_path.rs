//! Record path: `recordPath` into the names of files, MediaMTX's variables.
//!
//! `%path %Y %m %d %H %M %S %f %s %z`; times are UTC, so that a change of the time zone or of daylight saving time
//! never gives two hours the same names (MediaMTX takes local time). The extension `.mp4` is added.
//!
//! A name is made of the template, a [`PathName`] and digits, so nothing from outside can lead out of its folder
//! (correctness: S3).

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use media_core::path_name::PathName;
use media_core::time::WallTime;

/// `recordPath` can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordPathError {
    /// No `%path`.
    #[error("must contain %path")]
    NoPath,
    /// Two files could get the same name.
    #[error("must contain %s, or all of %Y %m %d %H %M %S")]
    NoTime,
    /// A `%` before something else than a variable.
    #[error("has an unknown variable %{letter}")]
    Unknown {
        /// What follows the `%`.
        letter: char,
    },
}

/// Of the seconds since 1970: until the year 33658.
const UNIX_DIGITS_MAX: usize = 12;

/// A template of file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPath {
    root: PathBuf,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Path,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Micros,
    Unix,
    Zone,
}

impl RecordPath {
    /// Reads a template; one that is not absolute begins at `current_dir`.
    ///
    /// # Errors
    /// [`RecordPathError`].
    pub fn parse(template: &str, current_dir: &Path) -> Result<Self, RecordPathError> {
        let pieces = pieces(template)?;
        let has = |piece: &Piece| pieces.contains(piece);
        if !has(&Piece::Path) {
            return Err(RecordPathError::NoPath);
        }
        let calendar = [Piece::Year, Piece::Month, Piece::Day, Piece::Hour, Piece::Minute, Piece::Second];
        if !has(&Piece::Unix) && !calendar.iter().all(has) {
            return Err(RecordPathError::NoTime);
        }
        // The folders before the first one with a variable.
        let fixed = template.split('%').next().unwrap_or_default();
        let fixed = fixed.rfind('/').map_or("", |end| fixed.get(..=end).unwrap_or_default());
        let root = current_dir.join(fixed).components().collect();
        let pieces = match (pieces.first(), template.strip_prefix(fixed)) {
            (Some(Piece::Text(_)), Some(rest)) => self::pieces(rest)?,
            _ => pieces,
        };
        Ok(Self { root, pieces })
    }

    /// The folder that holds all files of this template.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The name of the file of `path` that begins at `start`.
    pub fn file(&self, path: &PathName, start: WallTime) -> PathBuf {
        let timestamp = Timestamp::from_microsecond(start.unix_us()).unwrap_or_default();
        let at = TimeZone::UTC.to_datetime(timestamp);
        let name: String = self.pieces.iter().map(|piece| piece.text(path, start, at)).collect();
        self.root.join(name + ".mp4")
    }

    /// What a name says, where this template makes such names: whose file it is and when that begins.
    pub(crate) fn read(&self, name: &Path) -> Option<(PathName, WallTime)> {
        let inside = name.strip_prefix(&self.root).ok()?.to_str()?.strip_suffix(".mp4")?;
        let texts = fitted(&self.pieces, inside)?;
        let text = |wanted: Piece| {
            let found = self.pieces.iter().zip(&texts).find(|(piece, _)| **piece == wanted);
            found.map(|(_, text)| *text)
        };
        let number = |piece| text(piece).and_then(|text| text.parse::<i64>().ok());
        let two = |piece| number(piece).and_then(|number| i8::try_from(number).ok());
        let civil = || {
            let year = i16::try_from(number(Piece::Year)?).ok()?;
            let (month, day) = (two(Piece::Month)?, two(Piece::Day)?);
            let (hour, minute, second) = (two(Piece::Hour)?, two(Piece::Minute)?, two(Piece::Second)?);
            let at = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
            Some(TimeZone::UTC.to_timestamp(at).ok()?.as_second())
        };
        let seconds = number(Piece::Unix).or_else(civil)?;
        let start =
            WallTime(seconds.checked_mul(1_000_000)?.checked_add(number(Piece::Micros).unwrap_or(0))?);
        let path = PathName::parse(text(Piece::Path)?).ok()?;
        // A variable may stand in a template twice, and say two things in a name that is not ours.
        (self.file(&path, start) == name).then_some((path, start))
    }
}

/// What stands in a name for each piece of a template, if that fits.
fn fitted<'n>(pieces: &[Piece], name: &'n str) -> Option<Vec<&'n str>> {
    let Some((piece, others)) = pieces.split_first() else { return name.is_empty().then(Vec::new) };
    piece.lengths(name.len()).find_map(|length| {
        let (text, behind) = name.split_at_checked(length)?;
        let behind = if piece.takes(text) { fitted(others, behind)? } else { return None };
        Some(std::iter::once(text).chain(behind).collect())
    })
}

impl Piece {
    /// How long its text may be in a name that has room for so much.
    fn lengths(&self, room: usize) -> RangeInclusive<usize> {
        match self {
            Self::Text(text) => text.len()..=text.len(),
            Self::Path => 1..=room,
            Self::Unix => 1..=room.min(UNIX_DIGITS_MAX),
            Self::Year => 4..=4,
            Self::Micros => 6..=6,
            Self::Zone => 1..=1,
            Self::Month | Self::Day | Self::Hour | Self::Minute | Self::Second => 2..=2,
        }
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => text == own,
            Self::Path => PathName::parse(text).is_ok(),
            Self::Zone => text == "Z",
            _ => text.bytes().all(|digit| digit.is_ascii_digit()),
        }
    }

    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'Y' => Self::Year,
            'm' => Self::Month,
            'd' => Self::Day,
            'H' => Self::Hour,
            'M' => Self::Minute,
            'S' => Self::Second,
            'f' => Self::Micros,
            's' => Self::Unix,
            'z' => Self::Zone,
            _ => return None,
        })
    }

    fn text(&self, path: &PathName, start: WallTime, at: DateTime) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Path => path.as_str().to_owned(),
            Self::Year => format!("{:04}", at.year()),
            Self::Month => format!("{:02}", at.month()),
            Self::Day => format!("{:02}", at.day()),
            Self::Hour => format!("{:02}", at.hour()),
            Self::Minute => format!("{:02}", at.minute()),
            Self::Second => format!("{:02}", at.second()),
            Self::Micros => format!("{:06}", start.unix_us().rem_euclid(1_000_000)),
            Self::Unix => start.unix_us().div_euclid(1_000_000).to_string(),
            Self::Zone => "Z".to_owned(),
        }
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, RecordPathError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('%') {
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if let Some(after) = after.strip_prefix("path") {
            pieces.push(Piece::Path);
            rest = after;
            continue;
        }
        let letter = after.chars().next().unwrap_or(' ');
        pieces.push(Piece::of(letter).ok_or(RecordPathError::Unknown { letter })?);
        rest = after.get(letter.len_utf8()..).unwrap_or_default();
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(template: &str) -> String {
        let path = PathName::parse("city/cam_1").unwrap();
        // 2026-11-25T19:30:05.000123Z
        let start = WallTime(1_795_635_005_000_123);
        let template = RecordPath::parse(template, Path::new("/srv")).unwrap();
        assert!(template.file(&path, start).starts_with(template.root()));
        let (read, at) = template.read(&template.file(&path, start)).unwrap();
        assert_eq!((read, at.unix_us() / 1_000_000), (path.clone(), 1_795_635_005));
        template.file(&path, start).display().to_string()
    }

    #[test]
    fn mediamtx_templates_name_files_as_it_does() {
        for (template, expected) in [
            (
                "./recordings/%path/%Y-%m-%d_%H-%M-%S-%f",
                "/srv/recordings/city/cam_1/2026-11-25_19-30-05-000123.mp4",
            ),
            ("/data/%path/%s-%f", "/data/city/cam_1/1795635005-000123.mp4"),
            ("%path/%Y/%m/%d/%H%M%S%z", "/srv/city/cam_1/2026/11/25/193005Z.mp4"),
            ("/a/b%path-%s", "/a/bcity/cam_1-1795635005.mp4"),
        ] {
            assert_eq!(name(template), expected, "{template}");
        }
    }

    #[test]
    fn a_name_is_read_back_and_one_that_the_template_does_not_make_is_not() {
        let template = RecordPath::parse("/srv/%path/%Y-%m-%d_%H-%M-%S-%f", Path::new("/")).unwrap();
        let read = |name: &str| template.read(Path::new(name)).map(|(path, start)| (path.to_string(), start));
        let start = WallTime(1_795_635_005_000_123);
        let ours = read("/srv/city/cam_1/2026-11-25_19-30-05-000123.mp4");
        assert_eq!(ours, Some(("city/cam_1".to_owned(), start)));
        for name in [
            "/srv/city/cam_1/holiday.mp4",
            "/srv/city/cam_1/2026-11-25_19-30-05-000123.mjpeg",
            "/srv/city/cam_1/2026-11-25_19-30-05-000123-1.mp4",
            "/srv/city/cam_1/2026-13-25_19-30-05-000123.mp4",
            "/srv/city/cam_1/2026-11-25_19-30-05-+00123.mp4",
            "/srv/2026-11-25_19-30-05-000123.mp4",
            "/mnt/city/cam_1/2026-11-25_19-30-05-000123.mp4",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
        let twice = RecordPath::parse("/srv/%path/%s-%path", Path::new("/")).unwrap();
        assert!(twice.read(Path::new("/srv/cam_1/1795635005-cam_1.mp4")).is_some());
        assert_eq!(twice.read(Path::new("/srv/cam_1/1795635005-cam_2.mp4")), None);
    }

    #[test]
    fn templates_that_could_name_two_files_alike_are_refused() {
        for (template, expected) in [
            ("/a/%s", RecordPathError::NoPath),
            ("/a/%path/%Y-%m-%d", RecordPathError::NoTime),
            ("/a/%path/%s%q", RecordPathError::Unknown { letter: 'q' }),
            ("/a/%path/%s%", RecordPathError::Unknown { letter: ' ' }),
        ] {
            assert_eq!(RecordPath::parse(template, Path::new("/srv")), Err(expected), "{template}");
        }
    }
}
