//! Bare reader: plays cameras over TCP and throws their bytes away; and the cameras that other floors play.
//!
//! Each worker thread has one buffer for all its cameras, so that what is read stays in the cache: less can't be done
//! with bytes that must leave the kernel. One read per wake-up; a read that does not fill the buffer is
//! not followed by another (as tokio does for the server).
//! Limits: [`READ_BYTES`] per read.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::report::{self, Counters, Frames, Steady, Stop};
use super::rtsp::{self, Playing};

/// The most bytes of one read.
pub(super) const READ_BYTES: usize = 64 << 10;
/// A camera is steady after these: more than the sound and the reports that may come before its first picture.
pub(super) const STEADY_BYTES: usize = 64 << 10;
/// Cameras end a session after 60 s without a request (RFC 2326 s12.37).
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Which cameras are played.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReaderArgs {
    /// RTSP address of the simulator.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) simulator: String,
    /// How many cameras: cam_1 .. cam_N.
    #[arg(long)]
    pub(crate) cameras: usize,
    /// What stands before a camera's number in its path.
    #[arg(long, default_value = "cam_")]
    pub(crate) prefix: String,
}

pub(super) async fn run(args: ReaderArgs, stop: Stop) -> anyhow::Result<()> {
    let counters = Arc::new(Counters::default());
    let (said, steady) = mpsc::channel(args.cameras.max(1));
    let mut tasks = JoinSet::new();
    let mut keep_alives = KeepAlives::default();
    for playing in play_all(&args).await? {
        let camera = keep_alives.take(playing);
        tasks.spawn(throw_away(camera, Arc::clone(&counters), said.clone()));
    }
    drop(said);
    tasks.spawn(keep_alives.run());
    report::all_steady(args.cameras, steady, &mut tasks).await?;
    report::measure(std::process::id(), &counters, Frames::Unseen, stop, &mut tasks).await
}

/// Makes all cameras play, side by side.
///
/// # Errors
/// When one of them does not.
pub(super) async fn play_all(args: &ReaderArgs) -> anyhow::Result<Vec<Playing>> {
    let mut joining = JoinSet::new();
    for number in 1..=args.cameras {
        let address = args.simulator.clone();
        let url = format!("rtsp://{address}/{}{number}", args.prefix);
        joining.spawn(async move { rtsp::play(&address, &url).await });
    }
    let mut playing = Vec::with_capacity(args.cameras);
    while let Some(joined) = joining.join_next().await {
        playing.push(joined.context("join a camera's task")??);
    }
    Ok(playing)
}

pub(super) async fn throw_away(
    mut camera: Camera,
    counters: Arc<Counters>,
    said: mpsc::Sender<()>,
) -> anyhow::Result<()> {
    let mut steady = Steady::after(STEADY_BYTES, said);
    loop {
        let count = read(&mut camera.stream).await.context("read from camera")?;
        ensure!(count > 0, "camera closed its connection");
        counters.add_bytes(count);
        steady.saw(count).await?;
    }
}

/// One read into the worker thread's buffer.
async fn read(stream: &mut OwnedReadHalf) -> io::Result<usize> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    }
    poll_fn(|context| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}

/// The reading side of a camera.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) stream: OwnedReadHalf,
    /// Media that came with the answer to PLAY.
    pub(super) first_media: Vec<u8>,
}

/// The writing sides of all cameras: one timer, so that reading needs none.
#[derive(Debug, Default)]
pub(super) struct KeepAlives(Vec<(OwnedWriteHalf, String)>);

impl KeepAlives {
    /// Keeps the writing side and returns the other.
    pub(super) fn take(&mut self, playing: Playing) -> Camera {
        let (stream, writer) = playing.stream.into_split();
        self.0.push((writer, playing.keep_alive));
        Camera { stream, first_media: playing.first_media }
    }

    /// Keeps all sessions alive.
    ///
    /// # Errors
    /// When a camera no longer takes requests.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(KEEP_ALIVE_INTERVAL).await;
            for (writer, request) in &mut self.0 {
                writer.write_all(request.as_bytes()).await.context("keep session alive")?;
            }
        }
    }
}
