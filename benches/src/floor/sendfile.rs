//! Sendfile: one file over many TCP connections, a part's worth at a time, without user space ever seeing it.
//!
//! What HTTP egress of parts can't go below on loopback. The readers are another process (-> `sink`).

use std::fs::File;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};

use super::child;
use super::report::{self, Counters, Frames, Steady, Stop};

/// Parts in the file: ten seconds of them at 200 ms, more than a processor's cache holds.
const PARTS_IN_FILE: u64 = 50;

/// How much is sent to how many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SendfileArgs {
    /// How many connections.
    #[arg(long)]
    pub(crate) connections: usize,
    #[command(flatten)]
    pub(crate) pace: Pace,
}

/// The live pace at which parts are sent.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Pace {
    /// Bits per second to each viewer.
    #[arg(long, default_value_t = 4_000_000)]
    pub(crate) bitrate_bps: u64,
    /// Milliseconds of media in a part.
    #[arg(long, default_value_t = 200)]
    pub(crate) part_ms: u64,
}

impl Pace {
    /// Bytes of one part.
    pub(super) fn part_bytes(self) -> u64 {
        self.bitrate_bps * self.part_ms / 8000
    }

    pub(super) fn interval(self) -> Duration {
        Duration::from_millis(self.part_ms.max(1))
    }
}

pub(super) async fn run(args: SendfileArgs, stop: Stop) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("listen")?;
    let address = listener.local_addr().context("listen")?;
    let sink =
        ["tcp".to_owned(), format!("--connect={address}"), format!("--connections={}", args.connections)];
    let _sink = child::spawn_sink(&sink, Stdio::null())?;
    let counters = Arc::new(Counters::default());
    let (said, steady) = mpsc::channel(args.connections.max(1));
    let mut tasks = send_to_all(&args, &listener, &counters, &said).await?;
    drop(said);
    report::all_steady(args.connections, steady, &mut tasks).await?;
    report::measure(std::process::id(), &counters, Frames::Counted, stop, &mut tasks).await
}

/// Accepts the connections and begins to send to each.
pub(super) async fn send_to_all(
    args: &SendfileArgs,
    listener: &TcpListener,
    counters: &Arc<Counters>,
    steady: &mpsc::Sender<()>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let file = Arc::new(media_file(args.pace)?);
    let mut viewers = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        let (stream, _) = listener.accept().await.context("accept")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        viewers.push(Viewer { stream, file: Arc::clone(&file), pace: args.pace });
    }
    // All at once, as viewers of one camera get its next part.
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for viewer in viewers {
        tasks.spawn(viewer.send(start, Arc::clone(counters), steady.clone()));
    }
    Ok(tasks)
}

/// A file of parts; what is in them is nobody's concern.
fn media_file(pace: Pace) -> anyhow::Result<File> {
    ensure!(pace.part_bytes() > 0, "a part must have bytes");
    let mut file = tempfile::tempfile().context("make the file to send")?;
    let part = vec![0x5a; usize::try_from(pace.part_bytes()).context("part too large")?];
    for _ in 0..PARTS_IN_FILE {
        file.write_all(&part).context("fill the file to send")?;
    }
    Ok(file)
}

struct Viewer {
    stream: TcpStream,
    file: Arc<File>,
    pace: Pace,
}

impl Viewer {
    async fn send(
        self,
        start: Instant,
        counters: Arc<Counters>,
        said: mpsc::Sender<()>,
    ) -> anyhow::Result<()> {
        let mut steady = Steady::after(1, said);
        let mut due = interval_at(start, self.pace.interval());
        for part in (0..PARTS_IN_FILE).cycle() {
            due.tick().await;
            let sent = self.send_part(part * self.pace.part_bytes()).await.context("send to viewer")?;
            counters.add_bytes(sent);
            counters.add_frame();
            steady.saw(sent).await?;
        }
        Ok(())
    }

    async fn send_part(&self, mut offset: u64) -> io::Result<usize> {
        let len = usize::try_from(self.pace.part_bytes()).unwrap_or(usize::MAX);
        let mut left = len;
        while left > 0 {
            let send = || Ok(rustix::fs::sendfile(&self.stream, &*self.file, Some(&mut offset), left)?);
            match self.stream.async_io(Interest::WRITABLE, send).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                sent => left -= sent,
            }
        }
        Ok(len)
    }
}
