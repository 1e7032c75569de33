//! Viewers: who watches live over HLS, told apart as well as HTTP lets them be: MediaMTX's HLS sessions.
//!
//! ```text
//!  playlist ─► there is room? ─► Viewer ─► each request: bytes counted ─► idle for VIEWER_IDLE_MAX, or no muxer ─► gone
//!                                  └─ kicked: 401 until it asks for index.m3u8, as a new one
//! ```
//!
//! A viewer is a path, an address, the session that it was let in with, and what it calls itself: where anyone may watch, two
//! players behind one address that call themselves the same are one. All that a CDN asks for is one's. Playback of recordings is
//! no viewer's.
//!
//! Invariant: a viewer with a request under way is not idle.
//! Limits: [`VIEWERS_MAX`].

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use media_core::gate::SessionKey;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use uuid::Uuid;

use crate::events::{Lasting, Reader};
use crate::runtime::clock;
use crate::stream::{ReaderKind, Seat, Stream, TooManyReaders};

/// A viewer that asked for nothing for so long is gone, as in MediaMTX.
const VIEWER_IDLE_MAX: Duration = Duration::from_secs(30);

/// Viewers that are listed; one more is served, and not listed.
pub(super) const VIEWERS_MAX: usize = 50_000;

/// The most characters of a user agent that are kept.
const USER_AGENT_CHARS_MAX: usize = 200;

/// What a request tells of its viewer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) path: &'a PathName,
    pub(super) remote_addr: SocketAddr,
    pub(super) session: Option<SessionKey>,
    pub(super) user: &'a str,
    pub(super) user_agent: &'a str,
    pub(super) is_cdn: bool,
    pub(super) query: &'a str,
}

/// One viewer.
#[derive(Debug)]
pub(crate) struct Viewer {
    /// Public id.
    pub(crate) id: Uuid,
    /// What is watched.
    pub(crate) path: PathName,
    /// When it first asked.
    pub(crate) created: WallTime,
    /// Whence it first asked.
    pub(crate) remote_addr: SocketAddr,
    /// The query of its first playlist.
    pub(crate) query: String,
    /// Who signed in; empty where nobody has to.
    pub(crate) user: String,
    /// What it calls itself.
    pub(crate) user_agent: String,
    /// It stands for all viewers behind a CDN.
    pub(crate) is_cdn: bool,
    /// Body bytes handed to its sockets.
    pub(crate) outbound_bytes: Arc<AtomicU64>,
    last_request_us: AtomicI64,
    is_kicked: AtomicBool,
    /// Its seat, and that others are told of it; given back when it is kicked.
    place: Mutex<Option<(Seat, Option<Lasting>)>>,
}

/// A kicked viewer, which has not begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kicked;

/// Why a playlist is not given.
#[derive(Debug)]
pub(super) enum NotLetIn {
    Kicked,
    TooMany(TooManyReaders),
}

impl Viewer {
    /// A request of its has just been answered, which may have taken long.
    pub(super) fn answered(&self) {
        self.touch(clock::wall_now());
    }

    fn touch(&self, now: WallTime) {
        self.last_request_us.store(now.unix_us(), Ordering::Relaxed);
    }

    fn is_idle(&self, now: WallTime) -> bool {
        let idle_us = now.us_since(WallTime(self.last_request_us.load(Ordering::Relaxed)));
        u128::try_from(idle_us).is_ok_and(|idle_us| idle_us >= VIEWER_IDLE_MAX.as_micros())
    }

    fn is_kicked(&self) -> bool {
        self.is_kicked.load(Ordering::Relaxed)
    }
}

/// All viewers.
#[derive(Default)]
pub(super) struct Viewers {
    /// By a keyed hash of what tells them apart.
    table: Mutex<HashMap<u64, Arc<Viewer>>>,
    hasher: RandomState,
}

impl Viewers {
    /// The viewer that asks for a multivariant playlist, a new one after it was kicked; `None` when it can't be listed.
    ///
    /// # Errors
    /// [`TooManyReaders`].
    pub(super) fn begin(
        &self,
        caller: &Caller<'_>,
        stream: &Arc<Stream>,
    ) -> Result<Option<Arc<Viewer>>, TooManyReaders> {
        let (key, now) = (self.key(caller), clock::wall_now());
        let mut table = self.lock();
        if let Some(viewer) = table.get(&key).filter(|viewer| !viewer.is_kicked()) {
            viewer.touch(now);
            return Ok(Some(Arc::clone(viewer)));
        }
        let seat = stream.take_readers_seat(ReaderKind::HlsSession)?;
        if table.len() >= VIEWERS_MAX && !table.contains_key(&key) {
            return Ok(None);
        }
        let id = Uuid::new_v4();
        let reader = Reader { kind: "hlsSession", id: id.to_string(), query: caller.query.to_owned() };
        let told = stream.events().map(|events| events.read(&reader));
        let viewer = Arc::new(Viewer {
            id,
            path: caller.path.clone(),
            created: now,
            remote_addr: caller.remote_addr,
            query: caller.query.to_owned(),
            user: caller.user.to_owned(),
            user_agent: caller.user_agent.chars().take(USER_AGENT_CHARS_MAX).collect(),
            is_cdn: caller.is_cdn,
            outbound_bytes: Arc::default(),
            last_request_us: AtomicI64::new(now.unix_us()),
            is_kicked: AtomicBool::new(false),
            place: Mutex::new(Some((seat, told))),
        });
        table.insert(key, Arc::clone(&viewer));
        Ok(Some(viewer))
    }

    /// The viewer that asks for a media playlist: it may come back after a pause, or have begun here.
    ///
    /// # Errors
    /// [`NotLetIn`].
    pub(super) fn go_on(
        &self,
        caller: &Caller<'_>,
        stream: &Arc<Stream>,
    ) -> Result<Option<Arc<Viewer>>, NotLetIn> {
        match self.find(caller) {
            Ok(Some(viewer)) => Ok(Some(viewer)),
            Ok(None) => self.begin(caller, stream).map_err(NotLetIn::TooMany),
            Err(Kicked) => Err(NotLetIn::Kicked),
        }
    }

    /// The viewer behind a request for media, if it is listed.
    ///
    /// # Errors
    /// [`Kicked`].
    pub(super) fn find(&self, caller: &Caller<'_>) -> Result<Option<Arc<Viewer>>, Kicked> {
        let found = self.lock().get(&self.key(caller)).cloned();
        match found {
            Some(viewer) if viewer.is_kicked() => Err(Kicked),
            Some(viewer) => {
                viewer.touch(clock::wall_now());
                Ok(Some(viewer))
            }
            None => Ok(None),
        }
    }

    /// Lets go of those that are idle, or whose path is not watched any more.
    pub(super) fn let_go(&self, is_watched: impl Fn(&PathName) -> bool) {
        let now = clock::wall_now();
        self.lock().retain(|_, viewer| {
            // One who is kicked stays so for a while, watched or not: else the next playlist would let it in.
            let is_gone = viewer.is_idle(now) || (!viewer.is_kicked() && !is_watched(&viewer.path));
            Arc::strong_count(viewer) > 1 || !is_gone
        });
    }

    /// Ends a viewer; says whether there is one of this id.
    pub(super) fn kick(&self, id: Uuid) -> bool {
        let table = self.lock();
        let Some(viewer) = table.values().find(|viewer| viewer.id == id && !viewer.is_kicked()) else {
            return false;
        };
        viewer.is_kicked.store(true, Ordering::Relaxed);
        drop(viewer.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        true
    }

    /// All that watch, in no order.
    pub(super) fn all(&self) -> Vec<Arc<Viewer>> {
        self.lock().values().filter(|viewer| !viewer.is_kicked()).cloned().collect()
    }

    fn key(&self, caller: &Caller<'_>) -> u64 {
        if caller.is_cdn {
            return self.hasher.hash_one((caller.path, "cdn"));
        }
        // A player's connections come from many ports.
        let ip = caller.remote_addr.ip().to_canonical();
        self.hasher.hash_one((caller.path, ip, caller.session, caller.user_agent))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Viewer>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use media_core::ring::Retention;

    use super::*;

    struct Scene {
        path: PathName,
        stream: Arc<Stream>,
        viewers: Viewers,
    }

    impl Scene {
        fn new() -> Self {
            let path = PathName::parse("cam_1").unwrap();
            let stream = Stream::new(path.clone(), Retention::default(), clock::wall_now());
            Self { path, stream, viewers: Viewers::default() }
        }

        fn caller<'a>(&'a self, user_agent: &'a str, port: u16) -> Caller<'a> {
            let remote_addr = SocketAddr::from(([192, 0, 2, 1], port));
            Caller {
                path: &self.path,
                remote_addr,
                session: None,
                user: "",
                user_agent,
                is_cdn: false,
                query: "",
            }
        }
    }

    #[test]
    fn a_viewer_is_one_over_all_its_connections_and_others_beside_it_are_others() {
        let scene = Scene::new();
        let begin = |caller| scene.viewers.begin(&caller, &scene.stream).unwrap().unwrap().id;
        let first = begin(scene.caller("hls.js", 1));
        assert_eq!(begin(scene.caller("hls.js", 2)), first);
        assert_ne!(begin(scene.caller("VLC", 1)), first);
        let session = Caller { session: Some(SessionKey::new([7; 16])), ..scene.caller("hls.js", 1) };
        assert_ne!(begin(session), first);
        assert_eq!(scene.viewers.all().len(), 3);
        scene.viewers.let_go(|_| true);
        assert_eq!(scene.viewers.all().len(), 3, "none is idle yet");
        scene.viewers.let_go(|_| false);
        assert_eq!(scene.viewers.all().len(), 0, "nobody watches a path without a muxer");
    }

    #[test]
    fn one_who_is_kicked_gives_its_seat_back_and_has_to_begin_anew() {
        let scene = Scene::new();
        scene.stream.limit_readers(Some(1));
        let (kicked, other) = (scene.caller("a", 1), scene.caller("b", 1));
        let id = scene.viewers.begin(&kicked, &scene.stream).unwrap().unwrap().id;
        assert!(scene.viewers.begin(&other, &scene.stream).is_err(), "one too many");
        assert!(scene.viewers.kick(id) && !scene.viewers.kick(id));
        assert!(matches!(scene.viewers.go_on(&kicked, &scene.stream), Err(NotLetIn::Kicked)));
        assert_eq!(scene.viewers.find(&kicked).unwrap_err(), Kicked);
        assert!(scene.viewers.begin(&other, &scene.stream).is_ok());
        assert!(scene.viewers.begin(&kicked, &scene.stream).is_err(), "now this one is");
        scene.stream.limit_readers(None);
        let anew = scene.viewers.begin(&kicked, &scene.stream).unwrap().unwrap().id;
        assert_ne!(anew, id);
        assert!(scene.viewers.find(&kicked).unwrap().is_some());
    }
}
