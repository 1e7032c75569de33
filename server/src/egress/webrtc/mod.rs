//! WebRTC: WHEP and WHIP sessions over one UDP socket (and one TCP port), media straight from the ring, or into it.
//!
//! ```text
//!  POST offer ─► whep ─► gate, registry ─► negotiate ─► Session task ─┬─► outbox ─► udp | tcp
//!                                                          ▲          └── sender ◄─ Subscription
//!  udp, tcp ─► routes (ufrag, address) ─► inbox ───────────┘      │         ├── packets (per stream)
//!                                                                 │         └── direct ─► outbox
//!                                                                 └── receiver ─► ingest::publish
//! ```
//!
//! One task per session: it owns its peer connection, so there is no lock around str0m, a slow or hostile
//! viewer delays itself alone, and tokio spreads sessions over the cores. RTP payloads are cut once per
//! stream and shared; a viewer costs headers, encryption and system calls, past str0m (-> direct).
//!
//! Limits: [`SESSIONS_MAX`], and those named in the modules.
//! Spec: RFC 9725, draft-ietf-wish-whep, RFC 8834, RFC 8445. Deviations: a path without a stream is
//! 404 with Retry-After as in MediaMTX, not the draft's 409 (correctness: W2).

mod candidates;
mod direct;
pub(crate) mod forward;
mod history;
mod ice_servers;
mod keys;
mod media;
mod negotiate;
mod outbox;
mod packets;
pub(crate) mod receiver;
mod reports;
mod resend;
mod routes;
mod rtp_packet;
mod seal;
mod sender;
mod session;
pub(crate) mod stats;
mod tcp;
mod udp;
mod whep;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use media_core::gate::{Action, CameraGrant, SessionKey};
use media_core::path_name::PathName;
use tokio::sync::mpsc;
use tracing::{info, info_span};
use uuid::Uuid;

use self::negotiate::Identity;
use self::outbox::Ports;
use self::packets::PacketStore;
use self::routes::Routes;
use self::session::{Command, Session, SessionParts};
use self::stats::{SessionFacts, SessionRecord};
use self::tcp::TcpPort;
use self::udp::UdpPort;
use super::rtsp::stats::Role;
use crate::access::Access;
use crate::config::resolved::WebRtcConfig;
use crate::registry::Registry;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;

/// Sessions at once; a further offer is answered 503. Ten times the product's users on one server,
/// about 100 kB each before media.
pub(crate) const SESSIONS_MAX: usize = 5000;

/// What is shown at a path with a browser.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageRequest<'a> {
    /// The player of a path: the page finds out which from its own address.
    Player,
    /// The page that publishes to a path, in the same way.
    Publisher,
    /// A file under `/_/`, without that prefix.
    Asset(&'a str),
}

/// The HLS listener; its host is the one that the viewer's own request named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HlsListener {
    /// Plain or TLS.
    pub(crate) scheme: HttpScheme,
    /// Its port.
    pub(crate) port: u16,
}

/// Scheme of an HTTP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpScheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl HttpScheme {
    /// As in a URL.
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Gives the pages; `None` where there is none.
pub(crate) type Pages = dyn Fn(PageRequest<'_>) -> Option<Response> + Send + Sync;

/// Tells where HLS is served now, if it is.
pub(crate) type HlsLink = dyn Fn() -> Option<HlsListener> + Send + Sync;

/// What the WebRTC egress needs of the rest of the server.
pub(crate) struct WebRtcDeps {
    /// Where streams are found.
    pub(crate) registry: Arc<Registry>,
    /// Who may watch.
    pub(crate) access: Access,
    /// The pages for browsers.
    pub(crate) pages: Box<Pages>,
    /// Where the same paths are served as HLS, for viewers whom WebRTC can't serve.
    pub(crate) hls: Box<HlsLink>,
    /// Owns the sockets' tasks and the sessions.
    pub(crate) tasks: TaskSet,
}

/// The WebRTC egress. Its HTTP side is [`WebRtcServer::router`].
pub(crate) struct WebRtcServer {
    config: WebRtcConfig,
    deps: WebRtcDeps,
    identity: Identity,
    routes: Arc<Routes>,
    udp: Option<Arc<UdpPort>>,
    tcp: Option<Arc<TcpPort>>,
    packets: PacketStore,
    sessions: Mutex<HashMap<Uuid, Arc<SessionHandle>>>,
}

/// A running session as the HTTP side knows it.
#[derive(Debug)]
struct SessionHandle {
    record: Arc<SessionRecord>,
    commands: mpsc::Sender<Command>,
    ice: Mutex<IceState>,
}

/// Which ICE credentials are in force.
#[derive(Clone, Debug)]
struct IceState {
    /// Ours: the entity tag of the session (RFC 9725 s4.3.2).
    local_ufrag: String,
    /// The viewer's.
    remote_ufrag: String,
}

impl WebRtcServer {
    /// Opens the sockets and starts reading them.
    ///
    /// # Errors
    /// As the operating system says, for instance when a port is taken.
    pub(crate) async fn start(config: WebRtcConfig, deps: WebRtcDeps) -> io::Result<Arc<Self>> {
        let identity =
            Identity::generate().ok_or_else(|| io::Error::other("no DTLS certificate could be made"))?;
        let udp = config.local_udp_address.map(UdpPort::bind).transpose()?.map(Arc::new);
        let tcp = match config.local_tcp_address {
            Some(address) => Some(Arc::new(TcpPort::bind(address).await?)),
            None => None,
        };
        let routes = Arc::new(Routes::default());
        if let Some(udp) = &udp {
            info!(address = %udp.local(), "WebRTC listens on UDP");
            let reading = Arc::clone(udp).receive_into(Arc::clone(&routes), deps.tasks.token().clone());
            deps.tasks.spawn(info_span!("webrtc_udp"), reading);
        }
        if let Some(tcp) = &tcp {
            info!(address = %tcp.local(), "WebRTC listens on TCP");
            let accepting = Arc::clone(tcp).accept_into(Arc::clone(&routes), deps.tasks.clone());
            deps.tasks.spawn(info_span!("webrtc_tcp"), accepting);
        }
        let (packets, sessions) = (PacketStore::default(), Mutex::default());
        Ok(Arc::new(Self { config, deps, identity, routes, udp, tcp, packets, sessions }))
    }

    /// The records of all sessions, in no order.
    pub(crate) fn sessions(&self) -> Vec<Arc<SessionRecord>> {
        self.lock_sessions().values().map(|handle| Arc::clone(&handle.record)).collect()
    }

    /// Ends the session with this public id; says whether there is one.
    pub(crate) fn kick(&self, id: Uuid) -> bool {
        let mut sessions = self.lock_sessions();
        let listed = sessions.iter().find(|(_, handle)| handle.record.facts.id == id);
        let secret = listed.map(|(secret, _)| *secret);
        // A session that is not listed has nobody to command it, and ends.
        secret.is_some_and(|secret| sessions.remove(&secret).is_some())
    }

    /// Ends all sessions of a path that is gone.
    pub(crate) fn end_sessions_of(&self, path: &PathName) {
        let sessions = self.lock_sessions();
        for handle in sessions.values().filter(|handle| handle.record.facts.path == *path) {
            // One whose inbox is full ends with its path's media.
            if handle.commands.try_send(Command::Close).is_err() {
                tracing::debug!(id = %handle.record.facts.id, "session is too busy to be told to end");
            }
        }
    }

    /// Where the UDP socket listens.
    #[cfg(test)]
    pub(crate) fn udp_address(&self) -> Option<SocketAddr> {
        self.udp.as_ref().map(|udp| udp.local())
    }

    /// Datagrams that no session claimed.
    pub(crate) fn unroutable_datagrams(&self) -> u64 {
        self.routes.unroutable()
    }

    /// Takes a session off the list before its task has ended.
    fn unlist(&self, handle: &Arc<SessionHandle>) {
        self.lock_sessions().retain(|_, listed| !Arc::ptr_eq(listed, handle));
    }

    fn lock_sessions(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<SessionHandle>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the sockets are bound, for choosing candidates.
    fn bound_ip(&self) -> Option<IpAddr> {
        let udp = self.udp.as_ref().map(|udp| udp.local().ip());
        udp.or_else(|| self.tcp.as_ref().map(|tcp| tcp.local().ip()))
    }

    /// Starts a session's task. The session is listed until it ends.
    fn spawn_session(self: &Arc<Self>, secret: Uuid, handle: Arc<SessionHandle>, parts: SessionParts) {
        let facts = &handle.record.facts;
        let span = info_span!(parent: None, "webrtc_session", id = %facts.id, path = %facts.path, viewer = %facts.remote_addr);
        self.lock_sessions().insert(secret, handle);
        let listed = Listed { server: Arc::clone(self), secret };
        let session = Session::new(parts, self.config.handshake_timeout, clock::now());
        let token = self.deps.tasks.token().clone();
        self.deps.tasks.spawn(span, async move {
            let _listed = listed;
            session.run(token).await;
        });
    }
}

/// Takes a session off the list when its task ends, however it ends.
struct Listed {
    server: Arc<WebRtcServer>,
    secret: Uuid,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.server.lock_sessions().remove(&self.secret);
    }
}

/// What is known of a POST before it is answered.
#[derive(Debug)]
struct NewViewer {
    id: Uuid,
    grant: CameraGrant,
    /// Where the path is not open to anyone: what lets the viewer in over HLS.
    session: Option<SessionKey>,
    remote_addr: SocketAddr,
    query: String,
    user: String,
    user_agent: String,
}

impl NewViewer {
    fn facts(&self) -> SessionFacts {
        SessionFacts {
            id: self.id,
            role: match self.grant.action() {
                Action::Publish => Role::Publish,
                Action::Read | Action::Playback => Role::Read,
            },
            path: self.grant.path().clone(),
            created: clock::wall_now(),
            remote_addr: self.remote_addr,
            query: self.query.clone(),
            user: self.user.clone(),
            user_agent: self.user_agent.clone(),
        }
    }
}

/// The way out for one viewer.
fn ports(server: &WebRtcServer, source_ips: Vec<IpAddr>) -> Ports {
    Ports { udp: server.udp.clone(), tcp: server.tcp.clone(), source_ips }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod viewer_tests;
