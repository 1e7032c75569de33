//! GSO and GCM: SRTP-like packets to many viewers: AES-128-GCM each, one system call per picture and viewer.
//!
//! ```text
//!  picture (shared) ─► for each viewer: header │ payload, sealed │ tag  x 18 ─► one sendmsg with UDP_SEGMENT
//! ```
//!
//! One thread's worth of viewers is one loop: no task, timer or queue for each. All viewers are served from
//! one socket. Pictures have equal sizes. What receives them is another process (-> `sink`).
//! Spec: RFC 7714 (the sizes of nonce and tag, and that the header is authenticated).

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader, Interest};
use tokio::net::UdpSocket;
use tokio::process::{Child, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::child;
use super::report::{self, Counters, Frames, Steady, Stop};
use super::sink::Receive;

/// Bytes of a datagram: what passes every tunnel, as the server sends.
const PACKET_BYTES: usize = 1200;
const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const PAYLOAD_BYTES_MAX: usize = PACKET_BYTES - HEADER_BYTES - TAG_BYTES;
/// UDP payloads of one send have less than 64 KiB together (the IP length field).
const SEND_BYTES_MAX: usize = 60_000;
/// The kernel's buffer, as the server's.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// How much is sent to how many.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GsoArgs {
    /// How many viewers.
    #[arg(long)]
    pub(crate) peers: usize,
    /// Bits of media per second to each viewer, before headers and tags.
    #[arg(long, default_value_t = 4_000_000)]
    pub(crate) bitrate_bps: u64,
    /// Pictures per second.
    #[arg(long, default_value_t = 25)]
    pub(crate) fps: u32,
    /// How the viewers receive; it changes what sending costs on loopback.
    #[arg(long, value_enum, default_value = "plain")]
    pub(crate) receive: Receive,
}

pub(super) async fn run(args: GsoArgs, stop: Stop) -> anyhow::Result<()> {
    let (_sink, viewers) = start_sink(&args).await?;
    let counters = Arc::new(Counters::default());
    let (said, steady) = mpsc::channel(viewers.len().max(1));
    let (mut tasks, loops) = send_to_all(&args, viewers, &counters, &said)?;
    drop(said);
    report::all_steady(loops, steady, &mut tasks).await?;
    report::measure(std::process::id(), &counters, Frames::Counted, stop, &mut tasks).await
}

#[derive(Deserialize)]
struct Ports {
    ports: Vec<u16>,
}

/// The sink, with its output held open, and where its sockets are.
async fn start_sink(args: &GsoArgs) -> anyhow::Result<((Child, BufReader<ChildStdout>), Vec<SocketAddr>)> {
    let receive = match args.receive {
        Receive::Plain => "plain",
        Receive::Gro => "gro",
    };
    let sink = ["udp".to_owned(), format!("--sockets={}", args.peers), format!("--receive={receive}")];
    let mut child = child::spawn_sink(&sink, Stdio::piped())?;
    let mut lines = BufReader::new(child.stdout.take().context("the sink has no output")?);
    let mut line = String::new();
    lines.read_line(&mut line).await.context("read the sink's ports")?;
    let Ports { ports } =
        serde_json::from_str(&line).with_context(|| format!("the sink's ports in {line:?}"))?;
    let viewers = ports.into_iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    Ok(((child, lines), viewers.collect()))
}

/// Begins to send to each viewer; the tasks and how many loops there are.
pub(super) fn send_to_all(
    args: &GsoArgs,
    viewers: Vec<SocketAddr>,
    counters: &Arc<Counters>,
    steady: &mpsc::Sender<()>,
) -> anyhow::Result<(JoinSet<anyhow::Result<()>>, usize)> {
    ensure!(!viewers.is_empty() && args.fps > 0, "no viewers or no pictures");
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket)).context("set up GSO")?;
    state.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES).context("set buffer size")?;
    socket.set_nonblocking(true).context("set non-blocking")?;
    let socket = Arc::new((UdpSocket::from_std(socket).context("bind")?, state));
    let picture = picture(args)?;
    let loops = available_parallelism().context("count cores")?.get().min(viewers.len());
    let mut tasks = JoinSet::new();
    for of_loop in viewers.chunks(viewers.len().div_ceil(loops)) {
        let peers: Result<_, _> = of_loop.iter().map(|address| Peer::new(*address)).collect();
        let sender = Sender { socket: Arc::clone(&socket), peers: peers?, run: Vec::new() };
        let every = Duration::from_secs(1) / args.fps;
        tasks.spawn(sender.run(Arc::clone(&picture), every, Arc::clone(counters), steady.clone()));
    }
    let loops = tasks.len();
    Ok((tasks, loops))
}

/// The media of one picture: the same bytes for all, as from one packetizer.
fn picture(args: &GsoArgs) -> anyhow::Result<Arc<[u8]>> {
    let bytes = args.bitrate_bps / 8 / u64::from(args.fps);
    let bytes = usize::try_from(bytes).context("picture too large")?;
    ensure!(bytes > 0, "a picture must have bytes");
    Ok((0..=u8::MAX).cycle().take(bytes).collect())
}

type GsoSocket = (UdpSocket, UdpSocketState);

/// A viewer: its key and its place in the packet sequence.
struct Peer {
    address: SocketAddr,
    key: LessSafeKey,
    next_packet: u64,
}

impl Peer {
    fn new(address: SocketAddr) -> anyhow::Result<Self> {
        // Any key costs the same.
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).context("make a key")?;
        Ok(Self { address, key: LessSafeKey::new(key), next_packet: 0 })
    }

    /// Appends one sealed packet.
    fn seal_into(&mut self, run: &mut Vec<u8>, payload: &[u8]) -> anyhow::Result<()> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.next_packet.to_be_bytes());
        let [.., seq_high, seq_low] = self.next_packet.to_be_bytes();
        self.next_packet += 1;
        let header: [u8; HEADER_BYTES] = [0x80, 96, seq_high, seq_low, 0, 0, 0, 0, 1, 2, 3, 4];
        run.extend_from_slice(&header);
        let start = run.len();
        run.extend_from_slice(payload);
        let sealed = run.get_mut(start..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), sealed).context("seal a packet")?;
        run.extend_from_slice(tag.as_ref());
        Ok(())
    }
}

/// One loop and its viewers.
struct Sender {
    socket: Arc<GsoSocket>,
    peers: Vec<Peer>,
    /// Packets of one picture for one viewer.
    run: Vec<u8>,
}

impl Sender {
    async fn run(
        mut self,
        picture: Arc<[u8]>,
        every: Duration,
        counters: Arc<Counters>,
        said: mpsc::Sender<()>,
    ) -> anyhow::Result<()> {
        let mut due = interval(every);
        let mut steady = Steady::after(1, said);
        loop {
            due.tick().await;
            for index in 0..self.peers.len() {
                self.send_picture(index, &picture).await?;
                counters.add_bytes(self.run.len());
                counters.add_frame();
            }
            steady.saw(self.run.len()).await?;
        }
    }

    async fn send_picture(&mut self, index: usize, picture: &[u8]) -> anyhow::Result<()> {
        let Some(peer) = self.peers.get_mut(index) else { return Ok(()) };
        self.run.clear();
        for payload in picture.chunks(PAYLOAD_BYTES_MAX) {
            peer.seal_into(&mut self.run, payload)?;
        }
        let (socket, state) = &*self.socket;
        let packets_max = state.max_gso_segments().clamp(1, SEND_BYTES_MAX / PACKET_BYTES);
        for contents in self.run.chunks(packets_max * PACKET_BYTES) {
            let transmit = Transmit {
                destination: peer.address,
                ecn: None,
                contents,
                segment_size: (contents.len() > PACKET_BYTES).then_some(PACKET_BYTES),
                src_ip: None,
            };
            let send = || state.try_send(UdpSockRef::from(socket), &transmit);
            socket.async_io(Interest::WRITABLE, send).await.context("send to viewer")?;
        }
        Ok(())
    }
}
