//! Sinks: processes that receive what a floor sends, and throw it away.
//!
//! They are not measured. They read as little as a viewer must: each connection or socket its own, so that the
//! sender's side of the kernel does what it does for real viewers.
//! Limits: [`DATAGRAM_BYTES_MAX`]; with GRO, [`GRO_BYTES_MAX`] a read.

use std::io;
use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::http::{self, Fetching};
use super::report;

const DATAGRAM_BYTES_MAX: usize = 2000;
const GRO_BYTES_MAX: usize = 64 << 10;
/// Room for a key picture while the sink is busy; the kernel's own limit may cut it.
const UDP_BUFFER_BYTES: usize = 1 << 20;

/// What is received.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum SinkArgs {
    /// Reads TCP connections.
    Tcp {
        /// Where to connect.
        #[arg(long)]
        connect: SocketAddr,
        /// How many connections.
        #[arg(long)]
        connections: usize,
    },
    /// Reads UDP sockets, and prints their ports first.
    Udp {
        /// How many sockets.
        #[arg(long)]
        sockets: usize,
        /// How datagrams are taken.
        #[arg(long, value_enum)]
        receive: Receive,
    },
    /// Fetches parts over HTTP/1.1 at a live pace; prints a line for each second.
    Http(HttpSinkArgs),
}

/// Clients that fetch parts.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HttpSinkArgs {
    /// Where to connect.
    #[arg(long)]
    connect: SocketAddr,
    /// How many clients, a connection each.
    #[arg(long)]
    clients: usize,
    /// How many parts there are; then the first again.
    #[arg(long)]
    parts: usize,
    /// From one part to the next.
    #[arg(long)]
    part_ms: u64,
}

/// How a viewer's machine takes datagrams from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Receive {
    /// One at a time, as browsers and most libraries: on loopback the sender's side splits what GSO sent at once.
    Plain,
    /// As the sender's segments are (UDP_GRO): on loopback nothing is ever split.
    Gro,
}

/// Receives until the sender, or standard input, closes.
pub(super) async fn run(args: SinkArgs) -> anyhow::Result<()> {
    match args {
        SinkArgs::Tcp { connect, connections } => {
            report::until_stdin_closes(read_connections(connect, connections)).await
        }
        SinkArgs::Udp { sockets, receive } => {
            report::until_stdin_closes(read_sockets(sockets, receive)).await
        }
        SinkArgs::Http(args) => report::until_stdin_closes(fetch_parts(args)).await,
    }
}

/// Opens connections and reads them to their end.
pub(super) async fn read_connections(address: SocketAddr, count: usize) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let stream = TcpStream::connect(address).await.context("connect to the floor")?;
        tasks.spawn(read_to_end(stream));
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("join a connection")?.context("read from the floor")?;
    }
    Ok(())
}

async fn read_to_end(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn read_sockets(count: usize, receive: Receive) -> anyhow::Result<()> {
    let sockets = bind_sockets(count).await?;
    let ports: Vec<u16> =
        sockets.iter().map(|socket| Ok(socket.local_addr()?.port())).collect::<io::Result<_>>()?;
    report::say(&json!({ "ports": ports }))?;
    receive_all(sockets, receive).await
}

/// Sockets of viewers on loopback.
pub(super) async fn bind_sockets(count: usize) -> anyhow::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        sockets.push(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind a viewer's socket")?);
    }
    Ok(sockets)
}

/// Receives for ever.
pub(super) async fn receive_all(sockets: Vec<UdpSocket>, receive: Receive) -> anyhow::Result<()> {
    let mut tasks: JoinSet<io::Result<()>> = JoinSet::new();
    for socket in sockets {
        match receive {
            Receive::Plain => tasks.spawn(receive_plain(socket)),
            Receive::Gro => tasks.spawn(receive_gro(socket)),
        };
    }
    match tasks.join_next().await {
        Some(ended) => ended.context("join a socket's task")?.context("receive"),
        None => bail!("no sockets"),
    }
}

async fn receive_plain(socket: UdpSocket) -> io::Result<()> {
    socket2::SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        socket.recv(&mut buffer).await?;
    }
}

async fn receive_gro(socket: UdpSocket) -> io::Result<()> {
    // Asks the kernel for GRO.
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    state.set_recv_buffer_size(UdpSockRef::from(&socket), UDP_BUFFER_BYTES)?;
    let mut buffer = vec![0; GRO_BYTES_MAX];
    loop {
        let receive = || {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            state.recv(UdpSockRef::from(&socket), &mut slices, &mut [RecvMeta::default()])
        };
        socket.async_io(Interest::READABLE, receive).await?;
    }
}

/// Clients that each fetch a playlist and a part in every interval, and say each second what they got.
async fn fetch_parts(args: HttpSinkArgs) -> anyhow::Result<()> {
    let interval = Duration::from_millis(args.part_ms.max(1));
    let fetching = Fetching::new(args.connect, args.parts, interval);
    let mut tasks = JoinSet::new();
    // All at once, as viewers of one camera ask when its next part is there.
    let start = Instant::now() + interval;
    for _ in 0..args.clients {
        tasks.spawn(http::fetch_at_pace(fetching.clone(), start));
    }
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = every_second.tick() => report::say(&fetching.so_far())?,
            ended = tasks.join_next() => match ended {
                Some(ended) => ended.context("join a client")?.context("fetch a part")?,
                None => bail!("no clients"),
            },
        }
    }
}
