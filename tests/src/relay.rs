//! Relay: a bad network between two programs of this machine. What passes keeps its order; now and then it waits, and
//! datagrams get lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// How long something waits; shorter than a picture of 25 fps lasts, so that nothing piles up.
const HOLD: Duration = Duration::from_millis(30);

/// Between two waits: the picture after one that waited does not.
const HOLD_EVERY: Duration = Duration::from_millis(70);

/// One of so many datagrams is lost.
const LOSE_EVERY: u64 = 20;

/// A task that ends with its relay.
#[derive(Debug)]
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What got lost.
#[derive(Debug, Default)]
struct Losses {
    has_begun: AtomicBool,
    count: AtomicU64,
}

/// Datagrams of RTP and RTCP on their way from an encoder to a server, which sees them come from the relay's own ports.
#[derive(Debug)]
pub struct UdpRelay {
    /// Where the encoder sends to: RTP, RTCP.
    pub inner: (u16, u16),
    /// Where the server sees them come from; its reports come to the second.
    pub outer: (u16, u16),
    /// The socket of [`UdpRelay::outer`]'s RTP.
    pub rtp: Arc<UdpSocket>,
    /// The socket of its RTCP.
    pub rtcp: Arc<UdpSocket>,
    losses: Arc<Losses>,
    _tasks: [Running; 2],
}

impl UdpRelay {
    /// Begins to pass on to the ports of a server on loopback (RTP, RTCP). RTP waits now and then; with
    /// [`UdpRelay::lose`] some of it is lost too.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: (u16, u16)) -> anyhow::Result<Self> {
        let bind = async || UdpSocket::bind("127.0.0.1:0").await;
        let port = |socket: &UdpSocket| socket.local_addr().map(|address| address.port());
        let (rtp_in, rtcp_in) = (bind().await?, bind().await?);
        let (rtp, rtcp) = (Arc::new(bind().await?), Arc::new(bind().await?));
        let (inner, outer) = ((port(&rtp_in)?, port(&rtcp_in)?), (port(&rtp)?, port(&rtcp)?));
        let losses = Arc::new(Losses::default());
        let to = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let media = pass_rtp(rtp_in, Arc::clone(&rtp), to(server.0), Arc::clone(&losses));
        let reports = pass_rtcp(rtcp_in, Arc::clone(&rtcp), to(server.1));
        let tasks = [Running(tokio::spawn(media)), Running(tokio::spawn(reports))];
        Ok(Self { inner, outer, rtp, rtcp, losses, _tasks: tasks })
    }

    /// Loses RTP from now on.
    pub fn lose(&self) {
        self.losses.has_begun.store(true, Ordering::Relaxed);
    }

    /// Datagrams of RTP lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses.count.load(Ordering::Relaxed)
    }
}

async fn pass_rtp(from: UdpSocket, by: Arc<UdpSocket>, to: SocketAddr, losses: Arc<Losses>) {
    let (mut buf, mut holds, mut passed) = ([0; 2048], Holds::default(), 0_u64);
    while let Ok(length) = from.recv(&mut buf).await {
        passed += 1;
        if losses.has_begun.load(Ordering::Relaxed) && passed.is_multiple_of(LOSE_EVERY) {
            losses.count.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        holds.hold().await;
        if by.send_to(&buf[..length], to).await.is_err() {
            return;
        }
    }
}

async fn pass_rtcp(from: UdpSocket, by: Arc<UdpSocket>, to: SocketAddr) {
    let mut buf = [0; 2048];
    while let Ok(length) = from.recv(&mut buf).await {
        if by.send_to(&buf[..length], to).await.is_err() {
            return;
        }
    }
}

/// A port of loopback that leads to a server's, one connection after another; what the server says waits now and then.
#[derive(Debug)]
pub struct TcpRelay {
    /// Where to connect to.
    pub port: u16,
    _task: Running,
}

impl TcpRelay {
    /// Begins to listen.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                    pass_both(client, server).await;
                }
            }
        });
        Ok(Self { port, _task: Running(task) })
    }
}

/// Until either side ends.
async fn pass_both(client: TcpStream, server: TcpStream) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, None) => {}
        () = pass(from_server, to_client, Some(Holds::default())) => {}
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut holds: Option<Holds>) {
    let mut buf = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buf).await {
        if let Some(holds) = &mut holds {
            holds.hold().await;
        }
        if to.write_all(&buf[..length]).await.is_err() {
            return;
        }
    }
}

/// When something waited last.
#[derive(Debug, Default)]
struct Holds(Option<Instant>);

impl Holds {
    /// Waits, unless that was just done.
    async fn hold(&mut self) {
        if self.0.is_none_or(|at| at.elapsed() >= HOLD_EVERY) {
            pause(HOLD).await;
            self.0 = Some(Instant::now());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is what such a network does, and waits for nothing")]
async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}
