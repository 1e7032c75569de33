//! File: the thumbnails of one recording, beside it: JPEGs, one behind the other.
//!
//! ```text
//!  cam_1/2026-11-25_19-30-00-000000.mp4
//!  cam_1/2026-11-25_19-30-00-000000.mjpeg   JPEG JPEG JPEG ...
//!
//!  JPEG: SOI │ COM "gtvision 2026-11-25T19:30:10.040000Z 00006311 8a5edab282632443" │ the rest as it was made
//! ```
//!
//! What every player knows as MJPEG: `ffplay` shows it, `ffmpeg` takes it apart. The comment says when a picture was taken, how
//! many bytes the JPEG has, and the first 8 bytes of the SHA-256 of what follows, so that nothing else is needed to find one, to find
//! the end of what a crash left, and to pass over what the disk lost: a picture that is not there is made of the recording.
//!
//! Nothing here is synced: a power cut takes the pictures of the last half a minute.
//! Limits: [`JPEG_BYTES_MAX`].

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;
use media_core::time::WallTime;

use crate::seal::hash;

/// The largest picture kept, comment and all; its length is written in 8 digits. At 320 pixels it has some 10 KB.
const JPEG_BYTES_MAX: usize = 1 << 20;
/// SOI, then a comment: its marker, and its length with what it says.
const BEGIN: [u8; 6] = [0xff, 0xd8, 0xff, 0xfe, 0, 64];
/// What each comment begins with.
const NAME: &str = "gtvision ";
/// `BEGIN`, the name, the time, the length and the sum, each behind a space.
const HEAD_BYTES: usize = BEGIN.len() + NAME.len() + 27 + 1 + 8 + 1 + 16;
/// SOI, which the comment stands behind.
const SOI: [u8; 2] = [0xff, 0xd8];

const _: () = assert!(HEAD_BYTES == BEGIN.len() + 64 - 2);

/// The file of a recording's thumbnails.
pub(crate) fn beside(recording: &Path) -> PathBuf {
    recording.with_extension("mjpeg")
}

/// Adds a picture; the file's length comes back, or nothing when the recording is gone.
///
/// Whoever deletes a recording removes that first and its thumbnails then: so either the look behind sees that it is gone, or
/// what was added here is removed there.
pub(crate) fn add(recording: &Path, taken: WallTime, jpeg: &[u8]) -> io::Result<Option<u64>> {
    let entry = entry(taken, jpeg)?;
    let name = beside(recording);
    if !recording.try_exists()? {
        return Ok(None);
    }
    let mut file = File::options().append(true).create(true).open(&name)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(&entry) {
        file.set_len(before)?;
        return Err(error);
    }
    if !recording.try_exists()? {
        std::fs::remove_file(&name)?;
        return Ok(None);
    }
    Ok(Some(before + u64::try_from(entry.len()).unwrap_or(0)))
}

/// The picture that was taken at a time, whole as it was written.
pub(crate) fn find(recording: &Path, taken: WallTime) -> io::Result<Option<Bytes>> {
    let Some(file) = open(&beside(recording))? else { return Ok(None) };
    let len = file.metadata()?.len();
    let wanted = time(taken);
    let Some(found) = entries(&file, len).find(|entry| entry.taken == wanted) else { return Ok(None) };
    let mut bytes = vec![0; found.len_bytes];
    file.read_exact_at(&mut bytes, found.offset)?;
    let is_whole = bytes.get(HEAD_BYTES..).is_some_and(|rest| sum(rest) == found.sum);
    Ok(is_whole.then(|| bytes.into()))
}

/// Cuts off what a crash left behind the last whole picture; the file's length comes back, or nothing when there is none of ours.
pub(crate) fn mend(recording: &Path) -> io::Result<Option<u64>> {
    let name = beside(recording);
    if !is_ours(&name)? {
        return Ok(None);
    }
    let file = File::options().read(true).write(true).open(&name)?;
    let len = file.metadata()?.len();
    let end = entries(&file, len).last().map_or(0, |last| last.end());
    if end < len {
        file.set_len(end)?;
    }
    Ok(Some(end))
}

/// Whether a file begins with a thumbnail of ours, or with what there is of one.
pub(crate) fn is_ours(name: &Path) -> io::Result<bool> {
    let Some(file) = open(name)? else { return Ok(false) };
    let mut begin = [0; BEGIN.len() + NAME.len()];
    match file.read_exact_at(&mut begin, 0) {
        // Of one that is empty nobody misses anything.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(file.metadata()?.len() == 0),
        read => read.map(|()| begin.starts_with(&BEGIN) && begin.ends_with(NAME.as_bytes())),
    }
}

fn open(name: &Path) -> io::Result<Option<File>> {
    match File::open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// A picture as its comment tells it.
struct Entry {
    offset: u64,
    len_bytes: usize,
    taken: String,
    sum: String,
}

impl Entry {
    fn parse(head: &[u8; HEAD_BYTES], offset: u64) -> Option<Self> {
        let text = std::str::from_utf8(head.strip_prefix(&BEGIN)?).ok()?;
        let mut words = text.strip_prefix(NAME)?.split(' ');
        let (taken, len, sum) = (words.next()?, words.next()?, words.next()?);
        let len_bytes = len.parse().ok().filter(|len| (HEAD_BYTES..=JPEG_BYTES_MAX).contains(len))?;
        Some(Self { offset, len_bytes, taken: taken.to_owned(), sum: sum.to_owned() })
    }

    fn end(&self) -> u64 {
        self.offset + u64::try_from(self.len_bytes).unwrap_or(0)
    }
}

/// The pictures that lie whole in a file, up to the first that does not.
fn entries(file: &File, len: u64) -> impl Iterator<Item = Entry> {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let mut head = [0; HEAD_BYTES];
        file.read_exact_at(&mut head, offset).ok()?;
        let entry = Entry::parse(&head, offset).filter(|entry| entry.end() <= len)?;
        offset = entry.end();
        Some(entry)
    })
}

fn entry(taken: WallTime, jpeg: &[u8]) -> io::Result<Bytes> {
    let rest = jpeg.strip_prefix(&SOI).filter(|rest| rest.len() + HEAD_BYTES <= JPEG_BYTES_MAX);
    let rest = rest.ok_or(io::ErrorKind::InvalidData)?;
    let len_bytes = HEAD_BYTES + rest.len();
    let mut entry = BytesMut::with_capacity(len_bytes);
    entry.put_slice(&BEGIN);
    entry.put_slice(format!("{NAME}{} {len_bytes:08} {}", time(taken), sum(rest)).as_bytes());
    entry.put_slice(rest);
    Ok(entry.freeze())
}

fn time(taken: WallTime) -> String {
    let taken = Timestamp::from_microsecond(taken.unix_us()).unwrap_or_default();
    taken.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn sum(rest: &[u8]) -> String {
    hash(&[rest]).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture that `size` bytes follow the beginning of.
    fn jpeg(size: usize) -> Vec<u8> {
        let mut jpeg = SOI.to_vec();
        jpeg.extend((0..size).map(|at| u8::try_from(at % 251).unwrap()));
        jpeg
    }

    fn at(second: i64) -> WallTime {
        WallTime(1_795_635_000_040_000 + second * 1_000_000)
    }

    #[test]
    fn pictures_are_found_by_their_time_as_long_as_they_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let recording = dir.path().join("a.b.mp4");
        assert_eq!(add(&recording, at(0), &jpeg(9)).unwrap(), None, "there is no recording");
        assert!(!beside(&recording).exists());
        std::fs::write(&recording, b"").unwrap();
        let mut len = 0;
        for second in [0, 10, 20] {
            let added = add(&recording, at(second), &jpeg(5000)).unwrap().unwrap();
            assert_eq!(added - len, 5000 + 68);
            len = added;
        }
        let name = dir.path().join("a.b.mjpeg");
        let whole = std::fs::read(&name).unwrap();
        let told = b"gtvision 2026-11-25T19:30:10.040000Z 00005068 ";
        assert!(whole[5068 + 6..].starts_with(told), "{}", String::from_utf8_lossy(&whole[5074..5140]));
        let found = find(&recording, at(10)).unwrap().unwrap();
        assert_eq!((&found[..4], &found[68..]), (&BEGIN[..4], &jpeg(5000)[2..]));
        assert_eq!(find(&recording, at(11)).unwrap(), None);

        // A crash within the last one, then a byte that the disk lost in the first.
        std::fs::write(&name, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(find(&recording, at(20)).unwrap(), None);
        assert_eq!(mend(&recording).unwrap(), Some(2 * 5068));
        assert_eq!(name.metadata().unwrap().len(), 2 * 5068);
        let mut altered = whole.clone();
        altered[1000] ^= 1;
        std::fs::write(&name, &altered).unwrap();
        assert_eq!(find(&recording, at(0)).unwrap(), None, "another picture than was taken");
        std::fs::write(&name, &whole[..3000]).unwrap();
        assert_eq!(
            (is_ours(&name).unwrap(), mend(&recording).unwrap()),
            (true, Some(0)),
            "all of it is torn"
        );
        std::fs::write(&name, &altered).unwrap();
        assert!(find(&recording, at(20)).unwrap().is_some());
        assert_eq!(mend(&recording).unwrap(), Some(3 * 5068));
    }

    #[test]
    fn what_is_no_picture_is_not_kept_and_what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let recording = dir.path().join("a.mp4");
        std::fs::write(&recording, b"").unwrap();
        assert!(add(&recording, at(0), b"no JPEG").is_err());
        assert!(add(&recording, at(0), &jpeg(JPEG_BYTES_MAX)).is_err());
        std::fs::write(beside(&recording), b"somebody's").unwrap();
        assert_eq!((mend(&recording).unwrap(), is_ours(&beside(&recording)).unwrap()), (None, false));
        assert_eq!(std::fs::read(beside(&recording)).unwrap(), b"somebody's");
    }
}
