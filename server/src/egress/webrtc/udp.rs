//! UDP port: the one socket of all WebRTC sessions, read and written in batches (GRO, GSO).
//!
//! Addresses inside the server are canonical (`a.b.c.d`, never `::ffff:a.b.c.d`); this module alone
//! knows that a dual-stack socket wants the mapped form.
//!
//! Limits: [`RECEIVE_BATCH`]; a datagram longer than [`DATAGRAM_BYTES_MAX`] is not WebRTC and is cut off.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use str0m::net::Protocol;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::routes::{Incoming, Routes};
use crate::runtime::clock;

/// Receive calls are made for this many messages at once, each up to 64 datagrams (GRO).
const RECEIVE_BATCH: usize = 8;
/// Bytes of one receive buffer: what GRO puts together at most.
const RECEIVE_BUFFER_BYTES: usize = 64 << 10;
/// The largest datagram handed to a session; str0m's own limit is 2000.
const DATAGRAM_BYTES_MAX: usize = 2000;
/// The kernel's buffers: a joining viewer's key frame must fit while the network card drains it, and
/// a burst of NACKs while we are busy. The kernel's own limit (`net.core.*mem_max`) may cut it.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// The shared socket.
#[derive(Debug)]
pub(crate) struct UdpPort {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl UdpPort {
    /// Binds the socket. An unspecified IPv6 address serves both families, or IPv4 alone on a
    /// machine without IPv6.
    ///
    /// # Errors
    /// As the operating system says, for instance when the port is taken.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let is_any_v6 = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let socket = match open(address) {
            Err(error) if is_any_v6 && error.kind() != io::ErrorKind::AddrInUse => {
                debug!(%error, "no IPv6; listening on IPv4 alone");
                open(SocketAddr::from(([0, 0, 0, 0], address.port())))?
            }
            opened => opened?,
        };
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let socket = UdpSocket::from_std(socket.into())?;
        for set in [UdpSocketState::set_send_buffer_size, UdpSocketState::set_recv_buffer_size] {
            if let Err(error) = set(&state, UdpSockRef::from(&socket), SOCKET_BUFFER_BYTES) {
                debug!(%error, "socket buffer stays at the system's size");
            }
        }
        let local = socket.local_addr()?;
        Ok(Self { socket, state, local })
    }

    /// Where it listens.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The most datagrams that one send takes.
    pub(crate) fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends `contents` as datagrams of `segment_bytes` (the last may be shorter). Waits for the kernel.
    ///
    /// # Errors
    /// As the operating system says; the datagrams are lost.
    pub(crate) async fn send(
        &self,
        contents: &[u8],
        segment_bytes: usize,
        destination: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.to_wire(destination),
            ecn: None,
            contents,
            segment_size: (contents.len() > segment_bytes).then_some(segment_bytes),
            src_ip: source.map(|ip| self.ip_to_wire(ip)),
        };
        let send = || self.state.try_send(UdpSockRef::from(&self.socket), &transmit);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// Reads datagrams and hands them to their sessions until cancelled.
    pub(crate) async fn receive_into(self: Arc<Self>, routes: Arc<Routes>, token: CancellationToken) {
        let mut buffers = vec![vec![0_u8; RECEIVE_BUFFER_BYTES]; RECEIVE_BATCH];
        loop {
            let mut metas = [RecvMeta::default(); RECEIVE_BATCH];
            let received = tokio::select! {
                () = token.cancelled() => return,
                received = self.receive(&mut buffers, &mut metas) => received,
            };
            match received {
                Ok(count) => {
                    for (buffer, meta) in buffers.iter().zip(&metas).take(count) {
                        self.deliver(buffer, meta, &routes);
                    }
                }
                // An ICMP error of some viewer's network shows up here; it concerns nobody else.
                Err(error) => debug!(%error, "receive failed"),
            }
        }
    }

    async fn receive(&self, buffers: &mut [Vec<u8>], metas: &mut [RecvMeta]) -> io::Result<usize> {
        self.socket
            .async_io(Interest::READABLE, || {
                let mut slices: Vec<IoSliceMut<'_>> =
                    buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                self.state.recv(UdpSockRef::from(&self.socket), &mut slices, metas)
            })
            .await
    }

    fn deliver(&self, buffer: &[u8], meta: &RecvMeta, routes: &Routes) {
        let received_at = clock::now();
        let source = canonical(meta.addr);
        let ip = meta.dst_ip.map_or_else(|| self.local.ip().to_canonical(), |ip| ip.to_canonical());
        let destination = SocketAddr::new(ip, self.local.port());
        for datagram in buffer.get(..meta.len).unwrap_or_default().chunks(meta.stride.max(1)) {
            let bytes = Bytes::copy_from_slice(datagram.get(..DATAGRAM_BYTES_MAX).unwrap_or(datagram));
            let protocol = Protocol::Udp;
            routes.deliver(Incoming { received_at, protocol, source, destination, bytes });
        }
    }

    fn to_wire(&self, address: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.ip_to_wire(address.ip()), address.port())
    }

    fn ip_to_wire(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(v4) if self.local.is_ipv6() => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(SocketProtocol::UDP))?;
    if address.is_ipv6() {
        let is_any = address.ip().is_unspecified();
        if let Err(error) = socket.set_only_v6(!is_any) {
            warn!(%error, "IPv6 socket can't serve IPv4 too");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn batch_of_equal_datagrams_arrives_as_datagrams() {
        let port = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let contents: Vec<u8> = (0..3_u8).flat_map(|n| vec![n; 1000]).chain(vec![9; 10]).collect();
        let to = peer.local_addr().unwrap();
        for chunk in contents.chunks(1000 * port.segments_max()) {
            port.send(chunk, 1000, to, None).await.unwrap();
        }
        let mut sizes = Vec::new();
        let mut buffer = [0; 2000];
        while sizes.len() < 4 {
            let received = tokio::time::timeout(Duration::from_secs(5), peer.recv_from(&mut buffer));
            sizes.push(received.await.unwrap().unwrap().0);
        }
        assert_eq!(sizes, [1000, 1000, 1000, 10]);
    }

    #[tokio::test]
    async fn dual_stack_socket_speaks_ipv4_with_canonical_addresses() {
        let port = UdpPort::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        let routes = Arc::new(Routes::default());
        let (mut route, mut inbox) = routes.register("aaaa");
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let peer_address = peer.local_addr().unwrap();
        route.bind(Protocol::Udp, peer_address);
        let port = Arc::new(port);
        let token = CancellationToken::new();
        let reader = Arc::clone(&port).receive_into(Arc::clone(&routes), token.clone());
        let talk = async {
            peer.send_to(b"\x80hello", ("127.0.0.1", port.local().port())).await.unwrap();
            let incoming = inbox.recv().await.unwrap();
            assert_eq!((incoming.source, &incoming.bytes[..]), (peer_address, &b"\x80hello"[..]));
            assert_eq!(incoming.destination, SocketAddr::from(([127, 0, 0, 1], port.local().port())));
            port.send(b"back", 4, peer_address, Some(incoming.destination.ip())).await.unwrap();
            let mut buffer = [0; 10];
            assert_eq!(peer.recv_from(&mut buffer).await.unwrap().0, 4);
            token.cancel();
        };
        let both = async { tokio::join!(reader, talk) };
        tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    }
}
