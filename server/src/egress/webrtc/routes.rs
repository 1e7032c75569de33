//! Routes: which session a datagram on the shared sockets belongs to.
//!
//! ```text
//!  STUN binding request ─► ufrag of USERNAME ─► session       (any address)
//!  anything else        ─► (protocol, source) ─► session      (bound by the session itself)
//! ```
//!
//! A session binds an address only after its ICE agent accepted a message from there (integrity
//! checked), or sent there itself while nobody else holds it: an offer that names another viewer's
//! address can't take that viewer's packets.
//!
//! Limits: [`INBOX_DATAGRAMS`], [`ADDRESSES_PER_SESSION_MAX`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use media_core::egress::webrtc::stun;
use str0m::net::Protocol;
use tokio::sync::mpsc;

/// Datagrams that may wait for one session. A viewer sends a few dozen a second (RTCP, STUN), a burst
/// of NACKs some hundred; what comes on top is dropped and counted, as UDP would.
pub(crate) const INBOX_DATAGRAMS: usize = 256;
/// Addresses bound to one session; a viewer has a handful of candidates. More are not bound.
pub(crate) const ADDRESSES_PER_SESSION_MAX: usize = 64;

/// One datagram for a session.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// When it was read.
    pub(crate) received_at: Instant,
    /// UDP or TCP.
    pub(crate) protocol: Protocol,
    /// The viewer's address.
    pub(crate) source: SocketAddr,
    /// Our address, as the socket saw it.
    pub(crate) destination: SocketAddr,
    /// Its bytes.
    pub(crate) bytes: Bytes,
}

#[derive(Clone, Debug)]
struct Inbox {
    key: u64,
    sender: mpsc::Sender<Incoming>,
    overflows: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Tables {
    by_ufrag: HashMap<String, Inbox>,
    by_address: HashMap<(Protocol, SocketAddr), Inbox>,
}

/// The table of all sessions on the shared sockets.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    tables: Mutex<Tables>,
    next_key: AtomicU64,
    unroutable: AtomicU64,
}

impl Routes {
    /// Adds a session that answers to `ufrag`; it is removed when the route is dropped.
    pub(crate) fn register(self: &Arc<Self>, ufrag: &str) -> (Route, mpsc::Receiver<Incoming>) {
        let (sender, receiver) = mpsc::channel(INBOX_DATAGRAMS);
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let inbox = Inbox { key, sender, overflows: Arc::default() };
        self.lock().by_ufrag.insert(ufrag.to_owned(), inbox.clone());
        let route =
            Route { routes: Arc::clone(self), inbox, ufrags: vec![ufrag.to_owned()], bound: Vec::new() };
        (route, receiver)
    }

    /// Hands a datagram to its session; says whether there is one.
    pub(crate) fn deliver(&self, incoming: Incoming) -> Delivered {
        let ufrag = stun::binding_request_ufrag(&incoming.bytes);
        let inbox = {
            let tables = self.lock();
            match ufrag {
                Some(ufrag) => tables.by_ufrag.get(ufrag).cloned(),
                None => tables.by_address.get(&(incoming.protocol, incoming.source)).cloned(),
            }
        };
        let Some(inbox) = inbox else {
            self.unroutable.fetch_add(1, Ordering::Relaxed);
            return Delivered::Nobody;
        };
        if inbox.sender.try_send(incoming).is_err() {
            inbox.overflows.fetch_add(1, Ordering::Relaxed);
        }
        Delivered::Yes
    }

    /// Datagrams that no session claimed.
    pub(crate) fn unroutable(&self) -> u64 {
        self.unroutable.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // Inserts and removals leave nothing half done.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a datagram found its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Handed over (or dropped by the session's full inbox).
    Yes,
    /// No session knows it.
    Nobody,
}

/// One session's entries in the table.
#[derive(Debug)]
pub(crate) struct Route {
    routes: Arc<Routes>,
    inbox: Inbox,
    ufrags: Vec<String>,
    bound: Vec<(Protocol, SocketAddr)>,
}

impl Route {
    /// Answers to a further ufrag, after an ICE restart; the old one stays for requests under way.
    pub(crate) fn add_ufrag(&mut self, ufrag: &str) {
        self.routes.lock().by_ufrag.insert(ufrag.to_owned(), self.inbox.clone());
        self.ufrags.push(ufrag.to_owned());
    }

    /// Packets from this address are ours: the ICE agent accepted one.
    pub(crate) fn bind(&mut self, protocol: Protocol, source: SocketAddr) {
        if self.is_bound(protocol, source) || self.bound.len() >= ADDRESSES_PER_SESSION_MAX {
            return;
        }
        self.routes.lock().by_address.insert((protocol, source), self.inbox.clone());
        self.bound.push((protocol, source));
    }

    /// Answers from this address are ours, unless another session holds it: we send there.
    pub(crate) fn bind_if_free(&mut self, protocol: Protocol, destination: SocketAddr) {
        if self.is_bound(protocol, destination) || self.bound.len() >= ADDRESSES_PER_SESSION_MAX {
            return;
        }
        let mut tables = self.routes.lock();
        if let std::collections::hash_map::Entry::Vacant(free) =
            tables.by_address.entry((protocol, destination))
        {
            free.insert(self.inbox.clone());
            self.bound.push((protocol, destination));
        }
    }

    /// Whether this session bound the address before.
    pub(crate) fn is_bound(&self, protocol: Protocol, address: SocketAddr) -> bool {
        self.bound.contains(&(protocol, address))
    }

    /// Datagrams lost to a full inbox.
    pub(crate) fn overflows(&self) -> u64 {
        self.inbox.overflows.load(Ordering::Relaxed)
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut tables = self.routes.lock();
        for ufrag in &self.ufrags {
            tables.by_ufrag.remove(ufrag);
        }
        for address in &self.bound {
            // Another session may have taken the address over meanwhile.
            if tables.by_address.get(address).is_some_and(|inbox| inbox.key == self.inbox.key) {
                tables.by_address.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16, bytes: &'static [u8]) -> Incoming {
        #[expect(clippy::disallowed_methods, reason = "any instant will do in a test")]
        let received_at = Instant::now();
        Incoming {
            received_at,
            protocol: Protocol::Udp,
            source: SocketAddr::from(([192, 0, 2, 1], port)),
            destination: SocketAddr::from(([192, 0, 2, 2], 8189)),
            bytes: Bytes::from_static(bytes),
        }
    }

    /// A binding request with USERNAME "aaaa:b" and nothing else.
    const REQUEST_FOR_AAAA: &[u8] =
        b"\x00\x01\x00\x0c\x21\x12\xa4\x42123456789012\x00\x06\x00\x06aaaa:b\x00\x00";

    #[tokio::test]
    async fn first_packet_goes_by_ufrag_and_the_next_by_address() {
        let routes = Arc::new(Routes::default());
        let (mut route, mut inbox) = routes.register("aaaa");
        assert_eq!(routes.deliver(from(1, REQUEST_FOR_AAAA)), Delivered::Yes);
        let first = inbox.recv().await.unwrap();
        assert_eq!(routes.deliver(from(1, b"\x16dtls")), Delivered::Nobody);
        route.bind(Protocol::Udp, first.source);
        assert_eq!(routes.deliver(from(1, b"\x16dtls")), Delivered::Yes);
        assert_eq!(routes.deliver(from(2, b"\x16dtls")), Delivered::Nobody);
        drop(route);
        assert_eq!(routes.deliver(from(1, REQUEST_FOR_AAAA)), Delivered::Nobody);
        assert_eq!(routes.unroutable(), 3);
    }

    // correctness: S4
    #[tokio::test]
    async fn offer_that_names_anothers_address_does_not_take_its_packets() {
        let routes = Arc::new(Routes::default());
        let (mut victim, mut inbox) = routes.register("aaaa");
        victim.bind(Protocol::Udp, from(1, b"").source);
        let (mut thief, mut stolen) = routes.register("eeee");
        thief.bind_if_free(Protocol::Udp, from(1, b"").source);
        assert_eq!(routes.deliver(from(1, b"\x80rtcp")), Delivered::Yes);
        assert!(inbox.try_recv().is_ok() && stolen.try_recv().is_err());
        drop(thief);
        assert_eq!(routes.deliver(from(1, b"\x80rtcp")), Delivered::Yes);
    }

    #[tokio::test]
    async fn inbox_of_a_session_that_does_not_read_is_bounded() {
        let routes = Arc::new(Routes::default());
        let (route, _inbox) = routes.register("aaaa");
        for _ in 0..INBOX_DATAGRAMS + 10 {
            routes.deliver(from(1, REQUEST_FOR_AAAA));
        }
        assert_eq!(route.overflows(), 10);
    }
}
