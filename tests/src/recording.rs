//! Recordings: what lies on the disk and in the catalogue, read by programs that did not write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, Bytes};

use crate::bitstream::{self, UnitHash};
use crate::ffmpeg;
use crate::fmp4::{self, Init, Sample, check_contiguous};
use crate::peers;

/// A query over a handful of rows, on a busy machine.
const ASK_LIMIT: Duration = Duration::from_secs(20);

/// A folder for one test's recordings and catalogue, which outlives the server.
#[derive(Debug)]
pub struct Archive {
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl Archive {
    /// An empty one.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("recordings");
        Ok(Self { dir, root })
    }

    /// The same with the recordings somewhere else.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn at(root: &Path) -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()?, root: root.to_owned() })
    }

    /// An empty one, with its catalogue, on a disk of the test's.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn on(disk: &Path) -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir_in(disk)?, root: disk.join("recordings") })
    }

    /// The folder with both.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The settings that record every path here, with `more` lines for `pathDefaults`.
    #[must_use]
    pub fn config(&self, more: &[&str]) -> String {
        self.config_with(&format!("sqlite:{}", self.dir.path().join("catalogue.db").display()), more)
    }

    /// The same with the catalogue in another database.
    #[must_use]
    pub fn config_with(&self, database: &str, more: &[&str]) -> String {
        let mut text = format!(
            "playback: yes\ndatabase: {database}\npathDefaults:\n  record: yes\n  recordPath: {}/%path/%s-%f\n",
            self.root.display(),
        );
        more.iter().for_each(|line| text += &format!("  {line}\n"));
        text
    }

    /// The files of a path in the order of their times.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn files(&self, path: &str) -> anyhow::Result<Vec<PathBuf>> {
        let folder = self.root.join(path);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            files.push(entry?.path());
        }
        // Thumbnails lie beside them.
        files.retain(|file| file.extension().is_none_or(|extension| extension != "mjpeg"));
        files.sort();
        Ok(files)
    }

    /// Markers of open files.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn markers(&self) -> anyhow::Result<usize> {
        let folder = self.root.join(".gtvision/open");
        Ok(if folder.exists() { std::fs::read_dir(folder)?.count() } else { 0 })
    }

    /// One column of text of the catalogue, asked by Python's own SQLite.
    ///
    /// # Errors
    /// When the catalogue can't be asked.
    pub async fn ask(&self, query: &str) -> anyhow::Result<Vec<String>> {
        ask(&self.dir.path().join("catalogue.db"), query).await
    }

    /// Checks that the catalogue and the disk hold the same files, all of them closed, with the lengths that they have.
    ///
    /// # Errors
    /// Names what differs.
    pub async fn check_agrees(&self, paths: &[&str]) -> anyhow::Result<()> {
        let rows = self.ask("SELECT state || ' ' || bytes || ' ' || name FROM files").await?;
        let mut known: BTreeMap<PathBuf, (String, u64)> = BTreeMap::new();
        for row in rows {
            let mut parts = row.splitn(3, ' ');
            let state = parts.next().context("state")?.to_owned();
            let bytes = parts.next().context("bytes")?.parse()?;
            known.insert(parts.next().context("name")?.into(), (state, bytes));
        }
        for path in paths {
            for file in self.files(path)? {
                let (state, bytes) = known.remove(&file).with_context(|| format!("{file:?} has no row"))?;
                ensure!(state == "closed", "{file:?} is {state}");
                let found = Recorded::read(&file)?.parts_end;
                ensure!(found == bytes, "{file:?}: parts end at {found}, the catalogue says {bytes}");
            }
        }
        ensure!(known.is_empty(), "the catalogue names files that are not there: {:?}", known.keys());
        Ok(())
    }
}

/// One column of text of a catalogue's file.
///
/// # Errors
/// When it can't be asked.
pub async fn ask(catalogue: &Path, query: &str) -> anyhow::Result<Vec<String>> {
    const PROGRAM: &str = "import json, sqlite3, sys\n\
        rows = sqlite3.connect(sys.argv[1], timeout=10).execute(sys.argv[2])\n\
        print(json.dumps([row[0] for row in rows]))";
    let mut command = Command::new("python3");
    command.arg("-c").arg(PROGRAM).arg(catalogue).arg(query);
    let output = peers::run(command, ASK_LIMIT).await?;
    ensure!(output.success, "catalogue: {}", output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

/// A recorded file, taken apart.
#[derive(Debug)]
pub struct Recorded {
    /// Its init segment.
    pub init: Init,
    /// All samples in file order.
    pub samples: Vec<Sample>,
    /// Where the last part ends.
    pub parts_end: u64,
    /// It has the index of a closed file.
    pub has_index: bool,
}

impl Recorded {
    /// Reads a file that is closed.
    ///
    /// # Errors
    /// When it is not whole.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = Bytes::from(std::fs::read(file)?);
        let (init, rest) = fmp4::split_init(&bytes)?;
        let begin = bytes.len() - rest.len();
        let mut at = 0;
        let (mut first, mut last, mut has_index) = (None, 0, false);
        while at < rest.len() {
            let mut head = rest.get(at..at + 8).with_context(|| format!("{file:?} is torn at {at}"))?;
            let (size, kind) = (usize::try_from(head.get_u32())?, head);
            ensure!(size >= 8 && at + size <= rest.len(), "{file:?}: a box of {size} bytes at {at}");
            match kind {
                b"moof" => {
                    first.get_or_insert(at);
                }
                b"mdat" => last = at + size,
                b"mfra" => has_index = true,
                // A part's seal.
                b"uuid" if last == at => last = at + size,
                b"uuid" => {}
                other => anyhow::bail!("{file:?}: box {}", String::from_utf8_lossy(other)),
            }
            at += size;
        }
        let init = Init::parse(&init)?;
        let first = first.with_context(|| format!("{file:?} holds no part"))?;
        let fragments = init.fragments(&rest.slice(first..last))?;
        let samples: Vec<Sample> = fragments.into_iter().flat_map(|fragment| fragment.samples).collect();
        check_contiguous(&samples).with_context(|| format!("{file:?}"))?;
        Ok(Self { init, samples, parts_end: u64::try_from(begin + last)?, has_index })
    }

    /// Hashes of what must survive of its pictures.
    ///
    /// # Errors
    /// When a sample is not made of NAL units.
    pub fn units(&self) -> anyhow::Result<Vec<UnitHash>> {
        bitstream::of_samples(&self.init, &self.samples)
    }

    /// How many pictures it holds.
    ///
    /// # Errors
    /// When it has no video.
    pub fn pictures(&self) -> anyhow::Result<usize> {
        let video = self.init.video()?.id;
        Ok(self.samples.iter().filter(|sample| sample.track == video).count())
    }
}

/// Checks a file with ffprobe and ffmpeg: no complaint when it is opened, copied and decoded.
///
/// # Errors
/// What they complained about.
pub async fn check_plays(file: &Path) -> anyhow::Result<()> {
    ffmpeg::probe(&file.to_string_lossy(), &["-show_streams", "-show_packets"]).await?;
    let complaints = ffmpeg::copy_errors(file).await?;
    ensure!(complaints.is_empty(), "ffmpeg -c copy {file:?}: {complaints}");
    let complaints = ffmpeg::decode_errors(file).await?;
    ensure!(complaints.is_empty(), "ffmpeg decoding {file:?}: {complaints}");
    Ok(())
}
