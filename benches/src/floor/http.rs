//! HTTP: a client that keeps one connection and fetches parts at a live pace, by hand.
//!
//! In each interval a client fetches the playlist and the next part, as a player of LL-HLS does; the files are
//! static. Belongs here: as much of HTTP/1.1 as nginx needs to hear. Spec: RFC 9112.
//! Limits: `HEAD_BYTES_MAX`; only bodies with Content-Length.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::report::Counters;

const HEAD_BYTES_MAX: usize = 8 << 10;
const BUFFER_BYTES: usize = 64 << 10;

/// Name of the playlist's file.
pub(super) const PLAYLIST: &str = "index.m3u8";

/// Name of a part's file.
pub(super) fn part_name(index: usize) -> String {
    format!("part{index:06}.mp4")
}

/// What clients fetch, and what they have got.
#[derive(Clone, Debug)]
pub(super) struct Fetching {
    address: SocketAddr,
    parts: usize,
    interval: Duration,
    /// Bodies' bytes of both; frames are parts.
    got: Arc<Counters>,
}

impl Fetching {
    pub(super) fn new(address: SocketAddr, parts: usize, interval: Duration) -> Self {
        Self { address, parts, interval, got: Arc::default() }
    }

    /// Bytes and parts that all clients have got.
    pub(super) fn so_far(&self) -> Value {
        json!({ "bytes": self.got.bytes(), "frames": self.got.frames() })
    }
}

/// Fetches the playlist and a part in each interval from `start` on, for ever.
///
/// # Errors
/// When the server closes, or answers anything but 200.
pub(super) async fn fetch_at_pace(fetching: Fetching, start: Instant) -> anyhow::Result<()> {
    let mut connection = Connection::open(fetching.address).await?;
    let mut due = start;
    for index in (0..fetching.parts).cycle() {
        sleep_until(due).await;
        due += fetching.interval;
        let playlist = connection.get(PLAYLIST).await?;
        let part = connection.get(&part_name(index)).await?;
        fetching.got.add_bytes(playlist + part);
        fetching.got.add_frame();
    }
    bail!("no parts")
}

/// A connection that is kept.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES] })
    }

    /// Fetches a file and throws it away; its length.
    async fn get(&mut self, file: &str) -> anyhow::Result<usize> {
        let request = format!("GET /{file} HTTP/1.1\r\nHost: floor\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.context("write request")?;
        let mut filled = 0;
        let (head_len, body_len) = loop {
            filled += self.read(filled).await?;
            let got = self.buffer.get(..filled).unwrap_or_default();
            if let Some(at) = got.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(got.get(..at).unwrap_or_default());
                break (at + 4, body_len(&head).with_context(|| format!("answer for {file}"))?);
            }
            ensure!(filled < HEAD_BYTES_MAX, "head of more than {HEAD_BYTES_MAX} bytes");
        };
        let mut got = filled - head_len;
        while got < body_len {
            got += self.read(0).await?;
        }
        ensure!(got == body_len, "{got} bytes of {body_len}");
        Ok(body_len)
    }

    /// Reads behind what is kept of the buffer.
    async fn read(&mut self, keep: usize) -> anyhow::Result<usize> {
        let room = self.buffer.get_mut(keep..).unwrap_or_default();
        match self.stream.read(room).await.context("read answer")? {
            0 => bail!("connection closed"),
            count => Ok(count),
        }
    }
}

fn body_len(head: &str) -> anyhow::Result<usize> {
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "status {status:?}");
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().context("no Content-Length")?;
    length.trim().parse().context("Content-Length is no number")
}
