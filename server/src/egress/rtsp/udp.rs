//! UDP: the port pair that all clients over UDP are served by, and one reader's paced way out.
//!
//! A whole picture is there at once, and a joining reader's backlog too; a player's receive buffer holds some hundred
//! packets (212,992 bytes on Linux, each packet counted with its overhead). So what is sent is paced like a link.
//!
//! Limits: [`BURST_BYTES`], [`BYTES_PER_SECOND`]; the queue is bounded by its filler (-> reader). Where the kernel takes
//! nothing, packets wait; what can't be sent at all is lost, as over UDP anything may be.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use media_core::egress::rtsp::packets;
use media_core::rtsp::MediaKind;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::multicast::TTL;
use super::publisher::Datagram;
use super::stats::SessionRecord;
use crate::config::resolved::RtspUdp;
use crate::egress::door::canonical;

/// What may be sent at once: a third of what a player's receive buffer holds.
const BURST_BYTES: u64 = 48 << 10;

/// The rate beyond the burst: 160 Mbit/s, at which a backlog of 1 MB takes 50 ms.
const BYTES_PER_SECOND: u64 = 20_000_000;

/// Between two tries at a full kernel buffer, and the shortest wait for the pace: a timer's resolution.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Buffers asked of the kernel for all clients together; it may give less.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The largest datagram taken; reports are short.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// After a failed receive.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// The sockets.
#[derive(Debug)]
pub(super) struct UdpPorts {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ports: (u16, u16),
    peers: Mutex<HashMap<SocketAddr, Arc<Peer>>>,
}

/// A client as its datagrams find it.
#[derive(Debug)]
struct Peer {
    heard: AtomicBool,
    record: Arc<SessionRecord>,
    /// Which track's port it is.
    track: usize,
    /// Set for a publisher: where its packets go.
    inbox: Option<(MediaKind, mpsc::Sender<Datagram>)>,
}

impl UdpPorts {
    /// Binds both ports.
    ///
    /// # Errors
    /// The address that can't be had, and the system's reason.
    pub(super) async fn bind(config: RtspUdp) -> Result<Self, (SocketAddr, io::Error)> {
        let bind = async |address| UdpSocket::bind(address).await.map_err(|error| (address, error));
        let (rtp, rtcp) = (bind(config.rtp_address).await?, bind(config.rtcp_address).await?);
        let options = socket2::SockRef::from(&rtp);
        let sized = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        if let Err(error) = sized.and_then(|()| options.set_recv_buffer_size(SOCKET_BUFFER_BYTES)) {
            debug!(%error, "socket option refused");
        }
        let port = |socket: &UdpSocket, address: SocketAddr| {
            socket.local_addr().map(|local| local.port()).map_err(|error| (address, error))
        };
        let ports = (port(&rtp, config.rtp_address)?, port(&rtcp, config.rtcp_address)?);
        Ok(Self { rtp, rtcp, ports, peers: Mutex::default() })
    }

    /// Free ports from which groups are sent to, by the interface that has this address.
    ///
    /// # Errors
    /// As the system says.
    pub(super) async fn for_multicast(local: Ipv4Addr) -> io::Result<Self> {
        let any_port = SocketAddr::new(local.into(), 0);
        let config = RtspUdp { rtp_address: any_port, rtcp_address: any_port };
        let ports = Self::bind(config).await.map_err(|(_, error)| error)?;
        for socket in [&ports.rtp, &ports.rtcp] {
            let options = socket2::SockRef::from(socket);
            options.set_multicast_if_v4(&local)?;
            options.set_multicast_ttl_v4(TTL.into())?;
        }
        Ok(ports)
    }

    /// The ports of RTP and RTCP.
    pub(super) fn ports(&self) -> (u16, u16) {
        self.ports
    }

    /// Takes readers' reports and publishers' packets until cancelled. What readers send to the RTP port opens a way
    /// through a firewall, and is nothing else.
    pub(super) async fn receive(self: Arc<Self>, token: CancellationToken) {
        let (mut rtp, mut rtcp) = ([0; DATAGRAM_BYTES_MAX], [0; DATAGRAM_BYTES_MAX]);
        loop {
            let received = tokio::select! {
                () = token.cancelled() => return,
                received = self.rtcp.recv_from(&mut rtcp) => received.map(|(length, from)| (&rtcp[..], length, from)),
                received = self.rtp.recv_from(&mut rtp) => received.map(|(length, from)| (&rtp[..], length, from)),
            };
            match received {
                Ok((buf, length, from)) => self.deliver(buf.get(..length).unwrap_or_default(), from),
                Err(error) => {
                    debug!(%error, "datagram not received");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            }
        }
    }

    fn deliver(&self, packet: &[u8], from: SocketAddr) {
        let from = canonical(from);
        let Some(peer) = self.lock().get(&from).cloned() else { return };
        peer.heard.store(true, Ordering::Relaxed);
        match &peer.inbox {
            None => peer.record.count_report(peer.track, packet),
            // A full inbox loses the packet, which the receiver counts.
            Some((kind, inbox)) => {
                let _taken = inbox.try_send((peer.track, *kind, Bytes::copy_from_slice(packet)));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An address as the sockets take it: one that is bound to `[::]` sends to IPv4 in its own spelling.
    fn spelled(&self, to: SocketAddr) -> SocketAddr {
        let is_v6 = self.rtp.local_addr().is_ok_and(|local| local.is_ipv6());
        match to {
            SocketAddr::V4(v4) if is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            to => to,
        }
    }
}

/// Which of the ports a datagram leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Rtp,
    Rtcp,
}

/// Packets waiting for their turn: a block, or a report by itself.
#[derive(Debug)]
struct Queued {
    bytes: Bytes,
    to: SocketAddr,
    port: Port,
}

/// One reader's way out.
#[derive(Debug)]
pub(super) struct UdpOut {
    ports: Arc<UdpPorts>,
    peers: Vec<(SocketAddr, Arc<Peer>)>,
    record: Arc<SessionRecord>,
    queue: VecDeque<Queued>,
    packets: usize,
    budget_bytes: u64,
    filled_at: Instant,
    wake_at: Option<Instant>,
}

impl UdpOut {
    /// A way out with nothing on it.
    pub(super) fn new(ports: &Arc<UdpPorts>, record: &Arc<SessionRecord>, now: Instant) -> Self {
        Self {
            ports: Arc::clone(ports),
            peers: Vec::new(),
            record: Arc::clone(record),
            queue: VecDeque::new(),
            packets: 0,
            budget_bytes: BURST_BYTES,
            filled_at: now,
            wake_at: None,
        }
    }

    /// Reports from this address are this reader's, on a track.
    pub(super) fn expect_reports(&mut self, from: SocketAddr, track: usize) {
        self.expect(from, track, None);
    }

    /// What comes from these ports of a publisher (RTP, RTCP) is this track's.
    pub(super) fn expect_media(
        &mut self,
        from: (SocketAddr, SocketAddr),
        track: usize,
        inbox: mpsc::Sender<Datagram>,
    ) {
        self.expect(from.0, track, Some((MediaKind::Rtp, inbox.clone())));
        self.expect(from.1, track, Some((MediaKind::Rtcp, inbox)));
    }

    fn expect(&mut self, from: SocketAddr, track: usize, inbox: Option<(MediaKind, mpsc::Sender<Datagram>)>) {
        let heard = AtomicBool::new(false);
        let peer = Arc::new(Peer { heard, record: Arc::clone(&self.record), track, inbox });
        self.ports.lock().insert(from, Arc::clone(&peer));
        self.peers.push((from, peer));
    }

    /// Whether a report came since the last call.
    pub(super) fn was_heard(&self) -> bool {
        self.peers.iter().fold(false, |heard, (_, peer)| peer.heard.swap(false, Ordering::Relaxed) || heard)
    }

    /// Queues the packets of a block.
    pub(super) fn push_block(&mut self, block: Bytes, packets: u32, to: SocketAddr) {
        self.packets += usize::try_from(packets).unwrap_or(0);
        self.queue.push_back(Queued { bytes: block, to: self.ports.spelled(to), port: Port::Rtp });
    }

    /// Queues a report.
    pub(super) fn push_report(&mut self, report: Bytes, to: SocketAddr) {
        self.queue.push_back(Queued { bytes: report, to: self.ports.spelled(to), port: Port::Rtcp });
    }

    /// Packets of media that wait.
    pub(super) fn packets(&self) -> usize {
        self.packets
    }

    /// When to send on.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// There is more to be queued once what waits has gone.
    pub(super) fn wake_soon(&mut self, now: Instant) {
        self.wake_at.get_or_insert(now + WAIT_MIN);
    }

    /// Forgets what waits: the reader paused.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.packets = 0;
        self.wake_at = None;
    }

    /// Sends what the pace allows.
    pub(super) fn send(&mut self, now: Instant) {
        self.wake_at = None;
        self.fill(now);
        while let Some(next) = self.queue.front_mut() {
            let (packet, rest_at) = match next.port {
                Port::Rtcp => (&next.bytes[..], next.bytes.len()),
                // Behind its interleaving header.
                Port::Rtp => match packets(&next.bytes).next() {
                    Some(packet) => (packet, packet.len() + 4),
                    None => (&[][..], next.bytes.len()),
                },
            };
            let bytes = u64::try_from(packet.len()).unwrap_or(0);
            if bytes > self.budget_bytes {
                self.wake_at = Some(now + time_for(bytes - self.budget_bytes).max(WAIT_MIN));
                return;
            }
            let socket = match next.port {
                Port::Rtp => &self.ports.rtp,
                Port::Rtcp => &self.ports.rtcp,
            };
            match socket.try_send_to(packet, next.to) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wake_at = Some(now + WAIT_MIN);
                    return;
                }
                Err(error) => {
                    debug!(%error, to = %next.to, "datagram not sent");
                    self.record.counters.outbound_rtp_packets_discarded.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.budget_bytes -= bytes;
            if next.port == Port::Rtp {
                self.packets = self.packets.saturating_sub(1);
            }
            next.bytes.advance(rest_at);
            if next.bytes.is_empty() {
                self.queue.pop_front();
            }
        }
    }

    fn fill(&mut self, now: Instant) {
        let us = u64::try_from(now.saturating_duration_since(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        let filled = us.saturating_mul(BYTES_PER_SECOND) / 1_000_000;
        self.budget_bytes = self.budget_bytes.saturating_add(filled).min(BURST_BYTES);
        self.filled_at = now;
    }
}

impl Drop for UdpOut {
    fn drop(&mut self) {
        let mut peers = self.ports.lock();
        for (from, peer) in &self.peers {
            // A later session may have taken the same ports.
            if peers.get(from).is_some_and(|listed| Arc::ptr_eq(listed, peer)) {
                peers.remove(from);
            }
        }
    }
}

fn time_for(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::runtime::clock;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
    }

    #[tokio::test]
    async fn packets_leave_one_by_one_and_no_faster_than_the_pace() {
        let config = RtspUdp { rtp_address: loopback(0), rtcp_address: loopback(0) };
        let ports = Arc::new(UdpPorts::bind(config).await.unwrap());
        let player = UdpSocket::bind(loopback(0)).await.unwrap();
        let to = player.local_addr().unwrap();
        let now = clock::now();
        let mut out = UdpOut::new(&ports, &Arc::new(SessionRecord::example()), now);
        let mut block = Vec::new();
        for _ in 0..100 {
            block.extend([b'$', 0, 0x05, 0x78]);
            block.extend([7; 1400]);
        }
        out.push_block(block.into(), 100, to);
        // tokio learns that a new socket can be written when it looks for the first time.
        ports.rtp.writable().await.unwrap();
        out.send(now);
        // 48 KiB are 35 packets of 1400 bytes.
        assert_eq!(out.packets(), 65);
        // Taken as they come: all hundred are more than a socket holds.
        let mut buf = [0; 2000];
        for _ in 0..35 {
            assert_eq!(player.recv(&mut buf).await.unwrap(), 1400);
        }
        let wake_at = out.wake_at().unwrap();
        out.send(wake_at);
        assert!((45..65).contains(&out.packets()), "{}", out.packets());
        out.send(now + Duration::from_secs(1));
        out.send(now + Duration::from_secs(2));
        assert_eq!((out.packets(), out.wake_at()), (0, None));
        for _ in 35..100 {
            assert_eq!(player.recv(&mut buf).await.unwrap(), 1400);
        }
    }
}
