//! Sessions: decisions that are remembered for viewers who can't show their credentials with every request.
//!
//! A session holds grants, and gives them to whoever names its key from the same address (correctness: S4). It ends when nothing
//! asked for [`SESSION_IDLE_MAX`], and with the rules that it was opened under.
//!
//! Limits: [`SESSIONS_MAX`], [`GRANTS_MAX`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Action, CameraGrant};
use crate::path_name::PathName;

/// Twice as long as a playlist request may be held, with segments of 20 s.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(120);

/// Sessions at once; beyond it new viewers are told to come again. Ten times the product's users with all their streams.
pub const SESSIONS_MAX: usize = 50_000;

/// Grants of one session: a page with all cameras of a large server. Further ones are left out.
pub const GRANTS_MAX: usize = 10_000;

/// What names a session: 128 bits that can't be guessed. Printing it with `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 16]);

impl SessionKey {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A key as it stands in a URL.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = is_hex.then(|| u128::from_str_radix(text, 16).ok())?;
        number.map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(***)")
    }
}

/// One viewer's session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) ip: IpAddr,
    pub(super) user: String,
    pub(super) grants: HashSet<CameraGrant>,
    pub(super) seen: Instant,
}

/// There are [`SESSIONS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many sessions as there may be")]
pub struct SessionsFull;

/// All sessions.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    pub(super) table: HashMap<SessionKey, Session>,
}

impl Sessions {
    /// Opens a session, or adds to it.
    ///
    /// # Errors
    /// [`SessionsFull`].
    pub fn open(
        &mut self,
        key: SessionKey,
        (ip, user): (IpAddr, &str),
        grants: impl IntoIterator<Item = CameraGrant>,
        now: Instant,
    ) -> Result<(), SessionsFull> {
        self.forget_idle(now);
        if self.table.len() >= SESSIONS_MAX && !self.table.contains_key(&key) {
            return Err(SessionsFull);
        }
        let new =
            || Session { ip: ip.to_canonical(), user: user.to_owned(), grants: HashSet::new(), seen: now };
        let session = self.table.entry(key).or_insert_with(new);
        session.seen = now;
        for grant in grants {
            if session.grants.len() < GRANTS_MAX {
                session.grants.insert(grant);
            }
        }
        Ok(())
    }

    /// The grant that a session holds for its own viewer.
    pub fn find(
        &mut self,
        key: SessionKey,
        ip: IpAddr,
        (action, path): (Action, &PathName),
        now: Instant,
    ) -> Option<CameraGrant> {
        let session = self.table.get_mut(&key).filter(|session| !session.is_idle(now))?;
        if session.ip != ip.to_canonical() {
            return None;
        }
        session.seen = session.seen.max(now);
        session.grants.get(&CameraGrant { path: path.clone(), action }).cloned()
    }

    /// Who opened a session, as it called itself.
    pub fn user(&self, key: SessionKey) -> Option<&str> {
        self.table.get(&key).map(|session| session.user.as_str())
    }

    /// Ends all: the rules have changed.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// How many there are.
    pub fn count(&self, now: Instant) -> usize {
        self.table.values().filter(|session| !session.is_idle(now)).count()
    }

    fn forget_idle(&mut self, now: Instant) {
        self.table.retain(|_, session| !session.is_idle(now));
    }
}

impl Session {
    fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) >= SESSION_IDLE_MAX
    }
}
