//! Gate: the one place where it is decided who may have a camera's media, or use the server itself (correctness: S1).
//!
//! ```text
//!  caller ─► Gate::camera(caller, action, path, evidence) ─┬─► Admission: CameraGrant ─► any media function
//!                             ▲                            ├─► Denied
//!                             └─ evidence ◄─ the shell ◄───┴─► Question: a slow hash, a server, a token
//! ```
//!
//! Every function that returns media bytes takes a [`CameraGrant`]; only [`Gate`] can make one, so an endpoint that
//! forgets the check does not compile. A question is answered by the shell, which then asks again with what it learned.
//!
//! Belongs here: rules, credentials, the decision, sessions that remember one, who tries too often. Does not: reading
//! requests, hashing for seconds, asking others (-> server).
//! Limits: those of `sessions` and `slowdown`; how many rules there are is bounded where they are read.

pub mod credentials;
pub mod digest;
pub mod rules;
pub mod sessions;
pub mod slowdown;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use crate::path_name::PathName;

pub use credentials::{Credentials, Password};
pub use digest::{Challenger, Digest, DigestAnswer, REALM, Shown};
pub use rules::{BadPattern, PathRule, Permission, Secret, SecretError, User, Who};
pub use sessions::{SessionKey, Sessions, SessionsFull};
pub use slowdown::{Slowdown, TooManyTries};

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

impl Action {
    /// As configurations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Playback => "playback",
            Self::Publish => "publish",
        }
    }
}

/// A part of the server that is no camera's (MediaMTX's other permission actions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The API.
    Api,
    /// Metrics.
    Metrics,
    /// Profiles.
    Pprof,
}

impl Service {
    /// As configurations write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Metrics => "metrics",
            Self::Pprof => "pprof",
        }
    }
}

/// Who asks, as the protocol's shell read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The address the request came from (behind trusted proxies: the forwarded one).
    pub ip: IpAddr,
    /// What it shows of itself.
    pub credentials: Credentials,
}

impl Caller {
    /// A caller that shows nothing.
    pub fn anonymous(ip: IpAddr) -> Self {
        Self { ip, credentials: Credentials::default() }
    }
}

/// Proof that the gate let a caller at one path for one action.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// Proof that the gate let a caller at a part of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceGrant(());

/// A decision in the caller's favour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission<G> {
    /// What it was let at.
    pub grant: G,
    /// Whom it was made for.
    pub basis: Basis,
}

/// Whom a decision was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Anyone at that address, whatever they show: the next request will be let in too.
    Anyone,
    /// Whoever shows these credentials; the user's name, empty where a token or a server vouches for them.
    Known(String),
}

impl Basis {
    /// The user's name; empty where anyone is let in.
    pub fn user(&self) -> &str {
        match self {
            Self::Anyone => "",
            Self::Known(user) => user,
        }
    }
}

/// Why there is no grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// No rule allows this caller this.
    Denied,
    /// It depends.
    Unsure(Question),
}

/// What the shell must find out before the gate can decide.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether an argon2 hash is that of a text.
    Hash {
        /// The hash as configured (PHC).
        encoded: String,
        /// The text.
        guess: String,
    },
    /// What the authentication server says to all of it.
    Server,
    /// What a token says that is worth believing.
    Token(String),
}

impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hash { .. } => "Hash(***)",
            Self::Server => "Server",
            Self::Token(_) => "Token(***)",
        })
    }
}

/// What the shell found out about one request.
#[derive(Clone, Default)]
pub struct Evidence {
    hashes: Vec<(String, String, Matches)>,
    is_vouched_for: bool,
    token: Option<TokenFacts>,
}

/// Whether a hash is that of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matches {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// What a token says whose signature, time, issuer and audience are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// Whom it is about; may be empty.
    pub subject: String,
    /// What they may do.
    pub permissions: Vec<Permission>,
}

impl Evidence {
    /// The answer to [`Question::Hash`].
    pub fn note_hash(&mut self, encoded: String, guess: String, matches: Matches) {
        self.hashes.push((encoded, guess, matches));
    }

    /// The answer to [`Question::Server`], where it said yes.
    pub fn note_vouched_for(&mut self) {
        self.is_vouched_for = true;
    }

    /// The answer to [`Question::Token`], where it is in order.
    pub fn note_token(&mut self, facts: TokenFacts) {
        self.token = Some(facts);
    }

    fn hash(&self, encoded: &str, guess: &str) -> Option<Matches> {
        let mut known = self.hashes.iter();
        known.find(|(hash, text, _)| hash == encoded && text == guess).map(|(_, _, matches)| *matches)
    }
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// A list of users (`authMethod: internal`).
    Users(Vec<User>),
    /// A server decides, but for what is open (`authMethod: http`).
    Server {
        /// What anyone may do without being asked.
        open: Vec<Permission>,
    },
    /// A token decides, but for what is open (`authMethod: jwt`).
    Token {
        /// What anyone may do without a token.
        open: Vec<Permission>,
    },
}

/// The authorization gate with the policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    policy: Policy,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    Camera(Action, &'a PathName),
    Service(Service),
}

impl Gate {
    /// A gate with these rules.
    pub fn new(policy: Policy) -> Self {
        Self { policy }
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A gate that lets anyone do everything with every path, for tests.
    pub fn open() -> Self {
        let all = [Action::Read, Action::Playback, Action::Publish];
        let permissions = all.map(|action| Permission::Camera(action, PathRule::Any)).to_vec();
        Self::new(Policy::Users(vec![User { who: Who::Anyone, ips: Vec::new(), permissions }]))
    }

    /// A grant for what the server does by itself (recording, remuxing ahead of viewers): nobody outside gets to it. Where
    /// that is, is held by a test.
    pub fn on_own_behalf(action: Action, path: &PathName) -> CameraGrant {
        CameraGrant { path: path.clone(), action }
    }

    /// A grant to watch for who shows the secret that the server shares with its CDN, which lets viewers in by itself.
    pub fn of_cdn(secret: &str, shown: &str, path: &PathName) -> Option<CameraGrant> {
        use sha2::{Digest as _, Sha256};
        use subtle::ConstantTimeEq as _;
        let is_same: bool = Sha256::digest(secret).ct_eq(&Sha256::digest(shown)).into();
        (is_same && !secret.is_empty()).then(|| CameraGrant { path: path.clone(), action: Action::Read })
    }

    /// Decides whether `caller` may do `action` on `path`.
    ///
    /// # Errors
    /// [`Hindrance`]: it may not, or something must be found out first.
    pub fn camera(
        &self,
        caller: &Caller,
        action: Action,
        path: &PathName,
        evidence: &Evidence,
    ) -> Result<Admission<CameraGrant>, Hindrance> {
        let basis = self.decide(caller, Wanted::Camera(action, path), evidence)?;
        Ok(Admission { grant: CameraGrant { path: path.clone(), action }, basis })
    }

    /// Decides whether `caller` may use a part of the server.
    ///
    /// # Errors
    /// [`Hindrance`]: it may not, or something must be found out first.
    pub fn service(
        &self,
        caller: &Caller,
        service: Service,
        evidence: &Evidence,
    ) -> Result<Admission<ServiceGrant>, Hindrance> {
        let basis = self.decide(caller, Wanted::Service(service), evidence)?;
        Ok(Admission { grant: ServiceGrant(()), basis })
    }

    fn decide(&self, caller: &Caller, wanted: Wanted<'_>, evidence: &Evidence) -> Result<Basis, Hindrance> {
        match &self.policy {
            Policy::Users(users) => by_users(users, caller, wanted, evidence),
            Policy::Server { open } | Policy::Token { open } if permit(open, wanted) => Ok(Basis::Anyone),
            Policy::Server { .. } if evidence.is_vouched_for => {
                Ok(Basis::Known(caller.credentials.user.clone()))
            }
            Policy::Server { .. } => Err(Hindrance::Unsure(Question::Server)),
            Policy::Token { .. } => match &evidence.token {
                Some(facts) if permit(&facts.permissions, wanted) => Ok(Basis::Known(facts.subject.clone())),
                Some(_) => Err(Hindrance::Denied),
                None => match caller.credentials.token() {
                    "" => Err(Hindrance::Denied),
                    token => Err(Hindrance::Unsure(Question::Token(token.to_owned()))),
                },
            },
        }
    }
}

fn permit(permissions: &[Permission], wanted: Wanted<'_>) -> bool {
    permissions.iter().any(|permission| match (permission, wanted) {
        (Permission::Camera(action, rule), Wanted::Camera(asked, path)) => {
            *action == asked && rule.covers(path)
        }
        (Permission::Service(service), Wanted::Service(asked)) => *service == asked,
        _ => false,
    })
}

/// The first user who is permitted this and whom the caller proves to be; what is open to anyone is looked at first, so that
/// it never costs a hash.
fn by_users(
    users: &[User],
    caller: &Caller,
    wanted: Wanted<'_>,
    evidence: &Evidence,
) -> Result<Basis, Hindrance> {
    let mut unsure = None;
    let permitted = users.iter().filter(|user| user.admits(caller.ip) && permit(&user.permissions, wanted));
    for user in permitted {
        let Who::Named { user, password } = &user.who else { return Ok(Basis::Anyone) };
        match rules::proves(user, password, &caller.credentials, evidence) {
            Ok(Matches::Yes) => return Ok(Basis::Known(caller.credentials.user.clone())),
            Ok(Matches::No) => {}
            Err(question) => unsure = unsure.or(Some(question)),
        }
    }
    unsure.map_or(Err(Hindrance::Denied), |question| Err(Hindrance::Unsure(question)))
}
