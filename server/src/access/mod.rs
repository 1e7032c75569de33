//! Access: feeds the gate: reads who asks, finds out what the gate wants to know, slows those who guess.
//!
//! ```text
//!  request ─► Visitor ─► open to anyone? ──yes──────────────────────────────────► CameraGrant
//!                          └─no─► failed often? wait ─► Gate ◄─► hashes, authority, tokens ─► CameraGrant │ Refused
//!  session in the URL ─► Sessions ──────────────────────────────────────────────► the CameraGrant that was given
//! ```
//!
//! What is open to anyone is decided without a look at credentials, and costs nobody a try. Credentials that were right
//! lately are not slowed by what others try from the same address.
//!
//! Belongs here: credentials of requests, waiting, asking, sessions. Does not: the decision (-> `media_core::gate`), what a
//! refusal looks like on the wire (-> each protocol).
//! Limits: [`HASHES_PER_TRY_MAX`], and those of the modules and of `media_core::gate`.

mod authority;
mod counters;
pub(crate) mod hashes;
mod memory;
mod outbound;
mod page;
mod refused;
#[cfg(test)]
mod tests;
mod tokens;
mod visitor;

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use media_core::gate::{
    Action, Admission, Caller, CameraGrant, Evidence, Gate, Hindrance, Policy, Question, Service,
    ServiceGrant, SessionKey, Sessions, SessionsFull, Slowdown,
};
use media_core::path_name::PathName;
use tracing::{info, warn};

use self::authority::{Authority, Said};
pub(crate) use self::counters::AccessSnapshot;
use self::counters::Counters;
use self::hashes::Hashes;
use self::memory::Memory;
pub(crate) use self::refused::Refused;
use self::tokens::{Judged, Tokens};
pub(crate) use self::visitor::{Protocol, Visitor, session_of};
use crate::config::access::{self as config, AccessConfig, InHttpQuery};
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::tls_client::SetupError;

/// Slow hashes checked for one try: users whose very names are hashed cost one each.
const HASHES_PER_TRY_MAX: usize = 64;

/// Credentials that were right are not slowed for so long.
const PROVEN_LIFETIME: Duration = Duration::from_secs(600);

/// What is asked for, for whoever else is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// Something with a camera.
    Camera(Action, &'a PathName),
    /// A part of the server.
    Service(Service),
}

impl Asked<'_> {
    fn action(&self) -> &'static str {
        match self {
            Self::Camera(action, _) => action.as_str(),
            Self::Service(service) => service.as_str(),
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Camera(_, path) => path.as_str(),
            Self::Service(_) => "",
        }
    }
}

/// Why there is no decision in the caller's favour.
enum Failure {
    /// The rules say no.
    Denied,
    /// Whoever had to be asked did not answer: not the caller's fault.
    NoAnswer,
}

/// Who else is asked.
enum Asking {
    Nobody,
    Authority(Box<Authority>),
    Tokens(Box<Tokens>),
}

/// The rules in force and who is asked with them.
struct Rules {
    config: AccessConfig,
    gate: Gate,
    asking: Asking,
    in_http_query: InHttpQuery,
}

impl Rules {
    fn new(config: &AccessConfig, tasks: &TaskSet) -> Result<Self, SetupError> {
        let in_http_query = match &config.authority {
            Some(config::Authority::Tokens(tokens)) => tokens.in_http_query,
            _ => InHttpQuery::Refused,
        };
        let asking = match &config.authority {
            None => Asking::Nobody,
            Some(config::Authority::Server(peer)) => {
                Asking::Authority(Box::new(Authority::new(peer, config.timeout, tasks)?))
            }
            Some(config::Authority::Tokens(tokens)) => {
                Asking::Tokens(Box::new(Tokens::new(tokens, config.timeout, tasks)?))
            }
        };
        Ok(Self { config: config.clone(), gate: Gate::new(config.policy.clone()), asking, in_http_query })
    }
}

struct Inner {
    tasks: TaskSet,
    rules: ArcSwap<Rules>,
    hashes: Hashes,
    proven: Memory,
    unseen: Memory,
    slowdown: Mutex<Slowdown>,
    sessions: Mutex<Sessions>,
    counters: Counters,
}

/// The one way to a grant for requests from outside. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

impl Access {
    /// Access by these rules; connections to whoever is asked are tasks of `tasks`.
    ///
    /// # Errors
    /// [`SetupError`] when who is asked is asked over TLS, and nothing can be trusted.
    pub(crate) fn new(config: &AccessConfig, tasks: &TaskSet) -> Result<Self, SetupError> {
        Ok(Self(Arc::new(Inner {
            tasks: tasks.clone(),
            rules: ArcSwap::from_pointee(Rules::new(config, tasks)?),
            hashes: Hashes::default(),
            proven: Memory::new(PROVEN_LIFETIME),
            unseen: Memory::new(page::UNSEEN_LIFETIME),
            slowdown: Mutex::default(),
            sessions: Mutex::default(),
            counters: Counters::default(),
        })))
    }

    /// Access for anyone to everything, for tests.
    #[cfg(test)]
    pub(crate) fn open() -> Self {
        let policy = Gate::open().policy().clone();
        let config = AccessConfig { policy, authority: None, timeout: Duration::from_secs(10) };
        Self::new(&config, &TaskSet::new("test")).unwrap()
    }

    /// Access as it is without a configuration, for tests.
    #[cfg(test)]
    pub(crate) fn by_default() -> Self {
        Self::new(&crate::config::default_access(), &TaskSet::new("test")).unwrap()
    }

    /// Takes other rules, for what is asked from now on. Sessions go on where nothing was taken from anybody; else whoever
    /// watches in one has to show itself anew.
    ///
    /// # Errors
    /// As [`Access::new`]; the rules stay as they are.
    pub(crate) fn replace(&self, config: &AccessConfig) -> Result<(), SetupError> {
        let before = self.0.rules.load_full();
        if before.config == *config {
            return Ok(());
        }
        self.0.rules.store(Arc::new(Rules::new(config, &self.0.tasks)?));
        if !gives_as_much(&before.config, config) {
            self.lock_sessions().clear();
        }
        self.0.unseen.clear();
        info!("access rules replaced");
        Ok(())
    }

    /// Keys of tokens are fetched anew for the next one.
    pub(crate) async fn refresh_keys(&self) {
        if let Asking::Tokens(tokens) = &self.0.rules.load_full().asking {
            tokens.forget_keys().await;
        }
    }

    /// Lets a visitor at a camera, or does not.
    ///
    /// # Errors
    /// [`Refused`], perhaps after a while.
    pub(crate) async fn camera(
        &self,
        visitor: &Visitor<'_>,
        action: Action,
        path: &PathName,
    ) -> Result<Admission<CameraGrant>, Refused> {
        let look =
            |gate: &Gate, caller: &Caller, evidence: &Evidence| gate.camera(caller, action, path, evidence);
        self.decide(visitor, Asked::Camera(action, path), look).await
    }

    /// Lets a visitor at a part of the server, or does not.
    ///
    /// # Errors
    /// [`Refused`], perhaps after a while.
    pub(crate) async fn service(
        &self,
        visitor: &Visitor<'_>,
        service: Service,
    ) -> Result<Admission<ServiceGrant>, Refused> {
        let look =
            |gate: &Gate, caller: &Caller, evidence: &Evidence| gate.service(caller, service, evidence);
        self.decide(visitor, Asked::Service(service), look).await
    }

    /// Opens the session that holds a visitor's grant; the same visitor gets the same one again.
    ///
    /// # Errors
    /// [`SessionsFull`].
    pub(crate) fn open_session(
        &self,
        visitor: &Visitor<'_>,
        grant: CameraGrant,
    ) -> Result<SessionKey, SessionsFull> {
        let (action, path) = (grant.action().as_str(), grant.path().as_str());
        let key = self.session_key(visitor, &[action, path, visitor.query]);
        self.lock_sessions().open(key, (visitor.ip, &visitor.credentials.user), [grant], clock::now())?;
        Ok(key)
    }

    /// The grant that a session holds for whoever comes from its address.
    pub(crate) fn of_session(
        &self,
        key: SessionKey,
        ip: IpAddr,
        (action, path): (Action, &PathName),
    ) -> Option<CameraGrant> {
        self.lock_sessions().find(key, ip, (action, path), clock::now())
    }

    /// Who opened a session; empty where it is not known.
    pub(crate) fn user_of(&self, key: SessionKey) -> String {
        self.lock_sessions().user(key).unwrap_or_default().to_owned()
    }

    /// How it went so far, for metrics.
    pub(crate) fn snapshot(&self) -> AccessSnapshot {
        let (now, counters) = (clock::now(), &self.0.counters);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        AccessSnapshot {
            denied: counters.denied.load(Ordering::Relaxed),
            challenged: counters.challenged.load(Ordering::Relaxed),
            slowed: counters.slowed.load(Ordering::Relaxed),
            refused_unseen: counters.refused_unseen.load(Ordering::Relaxed),
            unanswered: counters.unanswered.load(Ordering::Relaxed),
            hashes: self.0.hashes.computed(),
            slowed_addresses: count(self.lock_slowdown().slowed(now)),
            sessions: count(self.lock_sessions().count(now)),
        }
    }

    async fn decide<G>(
        &self,
        visitor: &Visitor<'_>,
        asked: Asked<'_>,
        look: impl Fn(&Gate, &Caller, &Evidence) -> Result<Admission<G>, Hindrance> + Send + Sync,
    ) -> Result<Admission<G>, Refused> {
        let rules = self.0.rules.load_full();
        let anonymous = Caller::anonymous(visitor.ip);
        if let Ok(admission) = look(&rules.gate, &anonymous, &Evidence::default()) {
            return Ok(admission);
        }
        let attempt = self.begin_try(&rules, visitor).await?;
        let decided = self.find_out(&rules, visitor, asked, look).await;
        self.end_try(visitor, attempt, decided, asked)
    }

    /// Asks the gate until it knows enough.
    async fn find_out<G>(
        &self,
        rules: &Rules,
        visitor: &Visitor<'_>,
        asked: Asked<'_>,
        look: impl Fn(&Gate, &Caller, &Evidence) -> Result<Admission<G>, Hindrance> + Send + Sync,
    ) -> Result<Admission<G>, Failure> {
        let caller = Caller { ip: visitor.ip, credentials: visitor.credentials.clone() };
        let mut evidence = Evidence::default();
        for _ in 0..=HASHES_PER_TRY_MAX {
            match look(&rules.gate, &caller, &evidence) {
                Ok(admission) => return Ok(admission),
                Err(Hindrance::Denied) => return Err(Failure::Denied),
                Err(Hindrance::Unsure(question)) => {
                    self.answer(rules, question, (visitor, asked), &mut evidence).await?;
                }
            }
        }
        Err(Failure::Denied)
    }

    async fn answer(
        &self,
        rules: &Rules,
        question: Question,
        (visitor, asked): (&Visitor<'_>, Asked<'_>),
        evidence: &mut Evidence,
    ) -> Result<(), Failure> {
        match (question, &rules.asking) {
            (Question::Hash { encoded, guess }, _) => {
                let matches = self.0.hashes.check(&encoded, &guess).await.ok_or(Failure::NoAnswer)?;
                evidence.note_hash(encoded, guess, matches);
            }
            (Question::Server, Asking::Authority(authority)) => match authority.ask(visitor, asked).await {
                Some(Said::Yes) => evidence.note_vouched_for(),
                Some(Said::No) => return Err(Failure::Denied),
                None => return Err(Failure::NoAnswer),
            },
            (Question::Token(token), Asking::Tokens(tokens)) => match tokens.judge(&token).await {
                Judged::Believed(facts) => evidence.note_token(facts),
                Judged::Refused => return Err(Failure::Denied),
                Judged::NoKeys => return Err(Failure::NoAnswer),
            },
            // Nobody is there to ask: whoever is not known stays outside.
            (Question::Server | Question::Token(_), _) => return Err(Failure::NoAnswer),
        }
        Ok(())
    }

    /// Charges a try that could be a guess, and waits as long as its address has to.
    async fn begin_try(&self, rules: &Rules, visitor: &Visitor<'_>) -> Result<Try, Refused> {
        // A server may take what it likes in a URL for a secret.
        let is_shown = !visitor.credentials.is_empty()
            || (matches!(rules.gate.policy(), Policy::Server { .. }) && !visitor.query.is_empty());
        if !is_shown {
            return Ok(Try::Nothing);
        }
        let mark = visitor.mark().map(|fields| self.0.proven.tag(&fields));
        if mark.is_some_and(|mark| self.0.proven.knows(&mark)) {
            return Ok(Try::Proven(mark));
        }
        let charged = self.lock_slowdown().charge(visitor.ip, clock::now());
        let wait = charged.inspect_err(|_| {
            self.0.counters.refused_unseen.fetch_add(1, Ordering::Relaxed);
        })?;
        if !wait.is_zero() {
            self.0.counters.slowed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
        }
        Ok(Try::Charged(mark))
    }

    /// Counts what came of a try; one that failed by its own fault stays charged.
    fn end_try<T>(
        &self,
        visitor: &Visitor<'_>,
        attempt: Try,
        decided: Result<T, Failure>,
        asked: Asked<'_>,
    ) -> Result<T, Refused> {
        let counters = &self.0.counters;
        if matches!(attempt, Try::Charged(_)) && !matches!(decided, Err(Failure::Denied)) {
            self.lock_slowdown().refund(visitor.ip, clock::now());
        }
        match (decided, attempt) {
            (Ok(admitted), Try::Charged(mark) | Try::Proven(mark)) => {
                if let Some(mark) = mark {
                    self.0.proven.note(mark);
                }
                Ok(admitted)
            }
            (Ok(admitted), Try::Nothing) => Ok(admitted),
            (Err(Failure::NoAnswer), _) => {
                counters.unanswered.fetch_add(1, Ordering::Relaxed);
                Err(visitor.refused())
            }
            (Err(Failure::Denied), Try::Nothing) => {
                counters.challenged.fetch_add(1, Ordering::Relaxed);
                Err(visitor.refused())
            }
            (Err(Failure::Denied), _) => {
                counters.denied.fetch_add(1, Ordering::Relaxed);
                let protocol = visitor.protocol.map_or("", Protocol::as_str);
                warn!(ip = %visitor.ip, protocol, action = asked.action(), path = asked.path(), "failed to authenticate");
                Err(visitor.refused())
            }
        }
    }

    /// A key that nobody can guess and that is the same for the same visitor and purpose: nothing of it is kept.
    fn session_key(&self, visitor: &Visitor<'_>, purpose: &[&str]) -> SessionKey {
        let ip = visitor.ip.to_string();
        let mut fields = vec!["session", ip.as_str()];
        let shown = visitor.mark();
        fields.extend(shown.iter().flatten());
        fields.extend(purpose);
        let tag = self.0.proven.tag(&fields);
        let (half, _) = tag.split_at(16);
        SessionKey::new(half.try_into().unwrap_or_default())
    }

    fn lock_sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_slowdown(&self) -> MutexGuard<'_, Slowdown> {
        self.0.slowdown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether everybody may still do what they may before. Who else is asked may say something else from one day to the next
/// anyway, and how is not for a session to know.
fn gives_as_much(before: &AccessConfig, config: &AccessConfig) -> bool {
    match (&before.policy, &config.policy) {
        (Policy::Users(before), Policy::Users(users)) => before.iter().all(|user| users.contains(user)),
        _ => (&before.policy, &before.authority) == (&config.policy, &config.authority),
    }
}

/// What a try costs so far.
#[derive(Clone, Copy)]
enum Try {
    /// Nothing is shown that could be a guess.
    Nothing,
    /// What is shown was right lately.
    Proven(Option<memory::Tag>),
    /// Its address was charged.
    Charged(Option<memory::Tag>),
}
