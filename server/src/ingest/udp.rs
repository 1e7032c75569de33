//! UDP: the port pair of one track (RFC 3550 s11: RTP on an even port, RTCP on the next).
//!
//! A picture comes as a burst of packets: one system call takes all that is there, up to [`RECEIVE_BATCH`] messages (each
//! of them several packets, where the network card's driver puts them together), and hands them out one by one.
//!
//! Limits: [`RECEIVE_BATCH`], [`DATAGRAM_BYTES_MAX`].

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use media_core::rtsp::{MediaKind, TransportReply};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Tries at finding an even port whose neighbour is free too.
const PAIR_TRIES_MAX: usize = 32;

/// Receive buffer asked of the kernel per RTP socket: a 4K key frame's burst. The kernel may give less.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;

/// The largest datagram taken; RTP over Ethernet stays under 1500, and what is cut off is no packet any more.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Messages of one receive call; what comes beyond them waits in the kernel for the next.
const RECEIVE_BATCH: usize = quinn_udp::BATCH_SIZE;

/// Buffer of one message: what the kernel puts together at most (GRO).
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Datagrams are cut out of blocks of this size, so that a packet costs no allocation of its own.
const BLOCK_BYTES: usize = 64 << 10;

thread_local! {
    /// Where datagrams are received before they are copied into a block: shared by all cameras of a thread, because full-size
    /// buffers for each of them would be 2 MiB a track.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; RECEIVE_BATCH * MESSAGE_BYTES_MAX]);
}

/// RTP and RTCP sockets of one track.
#[derive(Debug)]
pub(super) struct UdpPair {
    rtp: Port,
    rtcp: Port,
    camera: IpAddr,
    rtp_port: u16,
    /// Received and not yet handed out; one batch at most.
    waiting: VecDeque<(MediaKind, Bytes)>,
    block: BytesMut,
}

#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl UdpPair {
    /// Binds a free pair on `local`; packets from other addresses than `camera` are dropped.
    pub(super) async fn bind(local: IpAddr, camera: IpAddr) -> io::Result<Self> {
        for _ in 0..PAIR_TRIES_MAX {
            let rtp = UdpSocket::bind((local, 0)).await?;
            let rtp_port = rtp.local_addr()?.port();
            if !rtp_port.is_multiple_of(2) {
                continue;
            }
            let Ok(rtcp) = UdpSocket::bind((local, rtp_port + 1)).await else { continue };
            socket2::SockRef::from(&rtp).set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
            let (rtp, rtcp) = (Port::new(rtp)?, Port::new(rtcp)?);
            let (waiting, block) = (VecDeque::new(), BytesMut::new());
            return Ok(Self { rtp, rtcp, camera, rtp_port, waiting, block });
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free pair of udp ports found"))
    }

    /// Our RTP port.
    pub(super) fn rtp_port(&self) -> u16 {
        self.rtp_port
    }

    /// Opens the way through a firewall between us and the camera: one empty RTP and RTCP packet.
    pub(super) async fn punch(&self, reply: &TransportReply) {
        let empty_rtp = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let empty_rr = [0x80, 201, 0, 1, 0, 0, 0, 0];
        if let Some(port) = reply.server_rtp_port {
            // A lost punch costs nothing that the fallback to TCP does not mend.
            let _sent = self.rtp.socket.send_to(&empty_rtp, (self.camera, port)).await;
        }
        self.send_rtcp(reply, &empty_rr).await;
    }

    /// Sends a report to the camera.
    pub(super) async fn send_rtcp(&self, reply: &TransportReply, packet: &[u8]) {
        if let Some(port) = reply.server_rtcp_port {
            // Reports are repeated; a lost one changes nothing.
            let _sent = self.rtcp.socket.send_to(packet, (self.camera, port)).await;
        }
    }

    /// Polls for a packet from the camera: one that was received with others before, else both sockets.
    pub(super) fn poll_packet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(MediaKind, Bytes)>> {
        loop {
            if let Some(packet) = self.waiting.pop_front() {
                return Poll::Ready(Ok(packet));
            }
            match self.poll_receive(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Receives what is there; ready when it was anything, be it from a stranger.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for (kind, port) in [(MediaKind::Rtp, &self.rtp), (MediaKind::Rtcp, &self.rtcp)] {
            while let Poll::Ready(ready) = port.socket.poll_recv_ready(cx) {
                ready?;
                let taken = SCRATCH.with_borrow_mut(|scratch| {
                    let mut metas = [RecvMeta::default(); RECEIVE_BATCH];
                    let count = port.receive(scratch, &mut metas)?;
                    for (message, meta) in scratch.chunks(MESSAGE_BYTES_MAX).zip(&metas).take(count) {
                        if meta.addr.ip() == self.camera {
                            take_apart(message, meta, &mut self.block)
                                .for_each(|packet| self.waiting.push_back((kind, packet)));
                        }
                    }
                    Ok(())
                });
                match taken {
                    Ok(()) => return Poll::Ready(Ok(())),
                    // Readiness was stale; polled again, so that the task is woken when there is something.
                    Err(err) if io::Error::kind(&err) == io::ErrorKind::WouldBlock => {}
                    Err(err) => return Poll::Ready(Err(err)),
                }
            }
        }
        Poll::Pending
    }
}

impl Port {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state })
    }

    /// One receive call into messages of [`MESSAGE_BYTES_MAX`]; says how many came.
    fn receive(&self, scratch: &mut [u8], metas: &mut [RecvMeta]) -> io::Result<usize> {
        let mut messages: Vec<IoSliceMut<'_>> =
            scratch.chunks_mut(MESSAGE_BYTES_MAX).map(IoSliceMut::new).collect();
        self.socket.try_io(Interest::READABLE, || {
            self.state.recv(UdpSockRef::from(&self.socket), &mut messages, metas)
        })
    }
}

/// The datagrams of a message, copied into the block.
fn take_apart<'a>(
    message: &'a [u8],
    meta: &RecvMeta,
    block: &'a mut BytesMut,
) -> impl Iterator<Item = Bytes> + use<'a> {
    let datagrams = message.get(..meta.len).unwrap_or_default().chunks(meta.stride.max(1));
    datagrams.map(|datagram| {
        let datagram = datagram.get(..DATAGRAM_BYTES_MAX).unwrap_or(datagram);
        if block.capacity() < datagram.len() {
            *block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        block.extend_from_slice(datagram);
        block.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn next(pair: &mut UdpPair) -> (MediaKind, Bytes) {
        let packet = poll_fn(|cx| pair.poll_packet(cx));
        tokio::time::timeout(Duration::from_secs(5), packet).await.expect("a packet").unwrap()
    }

    #[tokio::test]
    async fn burst_is_received_by_one_call_and_handed_out_in_order() {
        let mut pair = UdpPair::bind(HERE, HERE).await.unwrap();
        let camera = UdpSocket::bind((HERE, 0)).await.unwrap();
        for n in 0..50_u8 {
            camera.send_to(&vec![n; 100 + usize::from(n) * 20], (HERE, pair.rtp_port())).await.unwrap();
        }
        camera.send_to(b"report", (HERE, pair.rtp_port() + 1)).await.unwrap();
        let first = next(&mut pair).await;
        assert_eq!(first, (MediaKind::Rtp, Bytes::from(vec![0; 100])));
        assert_eq!(pair.waiting.len(), RECEIVE_BATCH - 1, "all that one call takes");
        for n in 1..50_u8 {
            assert_eq!(next(&mut pair).await.1, vec![n; 100 + usize::from(n) * 20]);
        }
        assert_eq!(next(&mut pair).await, (MediaKind::Rtcp, Bytes::from_static(b"report")));
    }

    #[tokio::test]
    async fn packets_put_together_by_the_kernel_are_taken_apart() {
        let mut pair = UdpPair::bind(HERE, HERE).await.unwrap();
        let camera = UdpSocket::bind((HERE, 0)).await.unwrap();
        let state = UdpSocketState::new(UdpSockRef::from(&camera)).unwrap();
        let contents: Vec<u8> =
            [1_u8, 2, 3].into_iter().flat_map(|n| vec![n; 1000]).chain(vec![4; 10]).collect();
        let transmit = quinn_udp::Transmit {
            destination: (HERE, pair.rtp_port()).into(),
            ecn: None,
            contents: &contents,
            segment_size: Some(1000),
            src_ip: None,
        };
        camera.writable().await.unwrap();
        state.try_send(UdpSockRef::from(&camera), &transmit).unwrap();
        for (n, bytes) in [(1, 1000), (2, 1000), (3, 1000), (4, 10)] {
            assert_eq!(next(&mut pair).await.1, vec![n; bytes]);
        }
    }

    #[tokio::test]
    async fn stranger_is_not_heard() {
        let camera = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let mut pair = UdpPair::bind(HERE, camera).await.unwrap();
        let stranger = UdpSocket::bind((HERE, 0)).await.unwrap();
        stranger.send_to(b"stranger", (HERE, pair.rtp_port())).await.unwrap();
        let own = UdpSocket::bind((camera, 0)).await.unwrap();
        own.send_to(b"camera", (HERE, pair.rtp_port())).await.unwrap();
        assert_eq!(next(&mut pair).await.1, "camera");
    }
}
