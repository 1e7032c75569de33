//! Bare writer: plays cameras over TCP and appends their bytes to a file for each, [`WRITE_INTERVAL`] at once.
//!
//! The bytes are written as they come, RTP framing and all, from the thread that has read them, into the page cache. A
//! file that has reached its limit is emptied and begins again, so that the floor runs for ever on any disk;
//! emptying is part of its cost, as deleting old recordings is of a server's. Nothing is synced.
//! Limits: `--file-mib` per camera.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::reader::{self, Camera, KeepAlives, READ_BYTES, ReaderArgs, STEADY_BYTES};
use super::report::{self, Counters, Frames, Steady, Stop};

/// Media gathered before it is written: a part, so that a write is as large as the server's.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);

/// Which cameras are written, and where.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WriterArgs {
    #[command(flatten)]
    cameras: ReaderArgs,
    /// Existing folder; the files are in one of their own inside, which is deleted at the end.
    #[arg(long, default_value = "target")]
    dir: PathBuf,
    /// The most MiB of a camera's file: 16 are 32 s at 4 Mbit/s.
    #[arg(long, default_value_t = 16)]
    file_mib: u64,
}

pub(super) async fn run(args: WriterArgs, stop: Stop) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("floor-").tempdir_in(&args.dir);
    let folder = folder.with_context(|| format!("make a folder in {}", args.dir.display()))?;
    let counters = Arc::new(Counters::default());
    let count = args.cameras.cameras;
    let (said, steady) = mpsc::channel(count.max(1));
    let mut tasks = JoinSet::new();
    let mut keep_alives = KeepAlives::default();
    for (number, playing) in reader::play_all(&args.cameras).await?.into_iter().enumerate() {
        let file = File::create_new(folder.path().join(number.to_string())).context("create file")?;
        let file = BoundedFile { file, bytes: 0, bytes_max: args.file_mib << 20 };
        let camera = keep_alives.take(playing);
        tasks.spawn(write_down(camera, file, Arc::clone(&counters), said.clone()));
    }
    drop(said);
    tasks.spawn(keep_alives.run());
    report::all_steady(count, steady, &mut tasks).await?;
    report::measure(std::process::id(), &counters, Frames::Unseen, stop, &mut tasks).await?;
    tasks.shutdown().await;
    folder.close().context("delete the files")
}

async fn write_down(
    mut camera: Camera,
    mut file: BoundedFile,
    counters: Arc<Counters>,
    said: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let mut steady = Steady::after(STEADY_BYTES, said);
    let mut gathered = std::mem::take(&mut camera.first_media);
    let mut written_at = Instant::now();
    loop {
        gathered.reserve(READ_BYTES);
        let count = camera.stream.read_buf(&mut gathered).await.context("read from camera")?;
        ensure!(count > 0, "camera closed its connection");
        counters.add_bytes(count);
        steady.saw(count).await?;
        let now = Instant::now();
        if now.duration_since(written_at) >= WRITE_INTERVAL {
            file.append(&gathered).context("write to file")?;
            gathered.clear();
            written_at = now;
        }
    }
}

/// A file that is emptied rather than grow over its limit.
#[derive(Debug)]
struct BoundedFile {
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl BoundedFile {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.bytes >= self.bytes_max {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.bytes = 0;
        }
        self.file.write_all(bytes)?;
        self.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_begins_again_once_it_is_full() {
        let mut file = BoundedFile { file: tempfile::tempfile().unwrap(), bytes: 0, bytes_max: 10 };
        let mut lengths = Vec::new();
        for _ in 0..4 {
            file.append(&[7; 6]).unwrap();
            lengths.push(file.file.metadata().unwrap().len());
        }
        assert_eq!(lengths, [6, 12, 6, 12]);
    }
}
