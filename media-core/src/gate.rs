//! Gate: the one place where it is decided who may have a camera's media (correctness: S1).
//!
//! ```text
//!  request ─► Gate::authorize(credentials, action, path) ─► CameraGrant ─► any media function
//! ```
//!
//! Every function that returns media bytes takes a [`CameraGrant`]; only [`Gate`] can make one, so
//! an endpoint that forgets the check does not compile.
//!
//! Belongs here: the decision. Does not: reading credentials from a protocol (-> server), users
//! in a database (-> control-api). The policy is for now MediaMTX's default: anyone may read,
//! publish and play back; `api` and `metrics` from loopback only.

use std::net::IpAddr;

use crate::path_name::PathName;

/// What a caller wants to do with a path (MediaMTX's permission actions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Watch live video.
    Read,
    /// Watch or export recorded video.
    Playback,
    /// Send video in.
    Publish,
}

/// Who asks, as the protocol's shell read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address the request came from (behind trusted proxies: the forwarded one).
    pub ip: IpAddr,
}

/// Proof that the gate let a caller at one path for one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraGrant {
    path: PathName,
    action: Action,
}

impl CameraGrant {
    /// The path this grant is for.
    pub fn path(&self) -> &PathName {
        &self.path
    }

    /// What it allows.
    pub fn action(&self) -> Action {
        self.action
    }
}

/// Why the gate refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No rule allows this caller this action on this path.
    #[error("not authorized")]
    NotAuthorized,
}

/// The authorization gate with the policy in force.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    policy: Policy,
}

/// The rules in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Policy {
    /// MediaMTX's default users: anyone reads, publishes and plays back every path.
    #[default]
    Open,
}

impl Gate {
    /// Decides whether `caller` may do `action` on `path`.
    ///
    /// # Errors
    /// [`Denied`] when no rule allows it.
    pub fn authorize(&self, caller: &Caller, action: Action, path: &PathName) -> Result<CameraGrant, Denied> {
        let allowed = match self.policy {
            Policy::Open => true,
        };
        tracing::trace!(ip = %caller.ip, ?action, %path, allowed, "gate decided");
        if allowed { Ok(CameraGrant { path: path.clone(), action }) } else { Err(Denied::NotAuthorized) }
    }
}
