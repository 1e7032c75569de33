//! Multicast: a stream sent once for all readers in a network, whoever joins its groups.
//!
//! ```text
//!  SETUP ─► Groups ─► Group (a stream on one interface): an address per track
//!  PLAY ─► Member ─first─► task: Reader ─► UdpOut ─► groups          last member gone ─► the task ends
//! ```
//!
//! What is sent is what one reader over UDP gets, paced alike. A member takes a reader's seat; the network sees to it that the
//! packets are copied. Who joins while others are there begins in the middle of a GOP, as everybody does with multicast.
//! Media leaves by the interface that the reader's own connection came in by.
//!
//! Limits: an address of `multicastIPRange` for each track, [`TTL`].
//! Spec: RFC 2326 s12.39, RFC 1112. IPv4 only, as in MediaMTX.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use media_core::gate::CameraGrant;
use media_core::path_name::PathName;
use media_core::ring::JoinAt;
use media_core::rtsp::server::{ServerTransport, SetUpTrack};
use media_core::track::SharedFormat;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::{info, info_span, warn};
use uuid::Uuid;

use super::feed::Feed;
use super::out::Out;
use super::reader::{Reader, ReaderParts};
use super::stats::{Encryption, Role, SessionFacts, SessionRecord};
use super::udp::{UdpOut, UdpPorts};
use crate::config::resolved::RtspMulticast;
use crate::events::Lasting;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::stream::{Seat, Stream};

/// Routers that packets may pass, MediaMTX's.
pub(super) const TTL: u8 = 16;

/// All groups that are in use.
#[derive(Debug)]
pub(super) struct Groups {
    config: RtspMulticast,
    tasks: TaskSet,
    queue_packets_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<(PathName, Ipv4Addr), Weak<Group>>,
    taken: HashSet<Ipv4Addr>,
}

impl Groups {
    /// No group yet; those that come send as tasks of `tasks`.
    pub(super) fn new(config: RtspMulticast, tasks: &TaskSet, queue_packets_max: usize) -> Arc<Self> {
        Arc::new(Self { config, tasks: tasks.clone(), queue_packets_max, state: Mutex::default() })
    }

    /// The group of a stream on an interface; `None` when no address is free.
    pub(super) fn of(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        (format, feed): (&SharedFormat, &Arc<Feed>),
        local: Ipv4Addr,
    ) -> Option<Arc<Group>> {
        let key = (stream.name().clone(), local);
        // Not under the lock: a group that is let go of here takes it.
        let known = self.lock().groups.get(&key).and_then(Weak::upgrade);
        if let Some(group) = known.filter(|group| group.is_of(stream)) {
            return Some(group);
        }
        let mut state = self.lock();
        let count = format.source_tracks().count();
        let free = self.config.range.hosts().filter(|address| !state.taken.contains(address));
        let addresses: Vec<Ipv4Addr> = free.take(count).collect();
        if addresses.len() < count {
            warn!(range = %self.config.range, "no address is free for one more multicast stream");
            return None;
        }
        state.taken.extend(&addresses);
        let group = Arc::new(Group {
            stream: Arc::clone(stream),
            format: Arc::clone(format),
            feed: Arc::clone(feed),
            local,
            addresses,
            owner: Arc::clone(self),
            members: Mutex::default(),
        });
        state.groups.insert(key, Arc::downgrade(&group));
        Some(group)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's groups on one interface, as long as somebody has set them up.
#[derive(Debug)]
pub(super) struct Group {
    stream: Arc<Stream>,
    format: SharedFormat,
    feed: Arc<Feed>,
    local: Ipv4Addr,
    /// By track.
    addresses: Vec<Ipv4Addr>,
    owner: Arc<Groups>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    /// What ends each session.
    kicks: HashMap<Uuid, CancellationToken>,
    /// Ends the sending; set while there are members.
    sending: Option<CancellationToken>,
    /// What it sends can't go on: a later reader gets another group.
    is_over: bool,
}

impl Group {
    fn is_of(&self, stream: &Arc<Stream>) -> bool {
        Arc::ptr_eq(&self.stream, stream) && !self.lock().is_over
    }

    /// How a track travels.
    pub(super) fn transport(&self, track: usize) -> Option<ServerTransport> {
        let destination = *self.addresses.get(track)?;
        let RtspMulticast { rtp_port, rtcp_port, .. } = self.owner.config;
        Some(ServerTransport::Multicast { destination, ports: (rtp_port, rtcp_port), ttl: TTL })
    }

    /// Takes a session in, for which media is sent from now on. The grant must be for the stream's path.
    pub(super) fn join(
        self: &Arc<Self>,
        grant: &CameraGrant,
        session: &SessionRecord,
        place: (Seat, Option<Lasting>),
    ) -> Member {
        let id = session.facts.id;
        let mut members = self.lock();
        members.kicks.insert(id, session.kick.clone());
        if members.sending.is_none() {
            let token = self.owner.tasks.token().child_token();
            members.sending = Some(token.clone());
            let span = info_span!("multicast", path = %self.stream.name(), interface = %self.local);
            // What sends holds the group's parts, not the group, which goes with the last member.
            let sending = self.sending(grant);
            let group = Arc::downgrade(self);
            self.owner.tasks.spawn(span, async move {
                sending.run(&token).await;
                // Cancelled, it has no members any more, or others by now.
                if let Some(group) = group.upgrade().filter(|_| !token.is_cancelled()) {
                    group.end_all();
                }
            });
        }
        Member { group: Arc::clone(self), id, _place: place }
    }

    fn sending(&self, grant: &CameraGrant) -> Sending {
        let set_up = (0..self.addresses.len()).filter_map(|track| {
            let transport = self.transport(track)?;
            Some(SetUpTrack { track, transport, ssrc: None })
        });
        let record = Arc::new(SessionRecord::new(SessionFacts {
            id: Uuid::new_v4(),
            conn: Uuid::nil(),
            encryption: Encryption::None,
            created: clock::wall_now(),
            remote_addr: SocketAddr::new(self.local.into(), 0),
            path: grant.path().clone(),
            query: String::new(),
            user: String::new(),
            user_agent: String::new(),
            transport: "UDP-multicast",
            role: Role::Read,
        }));
        let parts = ReaderParts {
            subscription: self.stream.follow(grant, JoinAt::NewestRandomAccess),
            feed: Arc::clone(&self.feed),
            record: Arc::clone(&record),
            format: Arc::clone(&self.format),
            queue_packets_max: self.owner.queue_packets_max,
        };
        let reader = Reader::new(parts, &set_up.collect::<Vec<_>>());
        Sending { reader, record, local: self.local, stream: Arc::clone(&self.stream) }
    }

    /// What was sent is over: so are the sessions that took it.
    fn end_all(&self) {
        let mut members = self.lock();
        members.is_over = true;
        members.kicks.drain().for_each(|(_, kick)| kick.cancel());
    }

    fn leave(&self, id: Uuid) {
        let mut members = self.lock();
        members.kicks.remove(&id);
        if members.kicks.is_empty()
            && let Some(sending) = members.sending.take()
        {
            sending.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut state = self.owner.lock();
        for address in &self.addresses {
            state.taken.remove(address);
        }
        state.groups.retain(|_, group| group.strong_count() > 0);
    }
}

/// A session that plays.
#[derive(Debug)]
pub(super) struct Member {
    group: Arc<Group>,
    id: Uuid,
    _place: (Seat, Option<Lasting>),
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.leave(self.id);
    }
}

/// What sends a stream.
struct Sending {
    reader: Reader,
    record: Arc<SessionRecord>,
    local: Ipv4Addr,
    stream: Arc<Stream>,
}

impl Sending {
    async fn run(mut self, token: &CancellationToken) {
        let ports = match UdpPorts::for_multicast(self.local).await {
            Ok(ports) => Arc::new(ports),
            Err(error) => return warn!(%error, "multicast can't be sent"),
        };
        let mut out = Out::new(self.local.into());
        info!("multicast begins");
        loop {
            let now = clock::now();
            let udp = out.udp.get_or_insert_with(|| UdpOut::new(&ports, &self.record, now));
            udp.send(now);
            let published = self.stream.published();
            tokio::pin!(published);
            // Registered before the look, so that a unit pushed in between still wakes us.
            published.as_mut().enable();
            if let Err(end) = self.reader.pull(&mut out, now) {
                return info!(reason = %end, "multicast ends");
            }
            if let Some(udp) = &mut out.udp {
                udp.send(now);
            }
            let wake_at = out.udp.as_ref().and_then(UdpOut::wake_at);
            let paced = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = published => {}
                () = paced => {}
                () = token.cancelled() => return info!("multicast ends: nobody reads any more"),
            }
        }
    }
}
