//! Rules: users, their secrets and what they may do, as data.
//!
//! Comparing a secret takes the same time whatever is guessed (correctness: S5): digests are compared, not texts.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::credentials::{Credentials, Password};
use super::{Action, Evidence, Matches, Question, Service};
use crate::path_name::PathName;

/// The most memory that a pattern may take when compiled; a larger one is refused.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// One user of the internal list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who it is.
    pub who: Who,
    /// Whence it may come; empty for anywhere.
    pub ips: Vec<IpNet>,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

impl User {
    /// Whether it may come from an address.
    pub(super) fn admits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.ips.is_empty() || self.ips.iter().any(|net| net.contains(&ip))
    }
}

/// Who a user is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Anybody, known or not (`user: any`).
    Anyone,
    /// Whoever knows both.
    Named {
        /// Its name, which may be hashed too.
        user: Secret,
        /// Its password.
        password: Secret,
    },
}

/// Something a user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Something with some cameras.
    Camera(Action, PathRule),
    /// Use a part of the server.
    Service(Service),
}

/// A pattern is none, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a regular expression that can be used")]
pub struct BadPattern;

impl Permission {
    /// A permission as configurations and tokens write it; the path means nothing to a part of the server. `None` where
    /// there is no such action.
    ///
    /// # Errors
    /// [`BadPattern`] of a path.
    pub fn parse(action: &str, path: &str) -> Result<Option<Self>, BadPattern> {
        let actions = [Action::Read, Action::Playback, Action::Publish];
        if let Some(action) = actions.into_iter().find(|known| known.as_str() == action) {
            return Ok(Some(Self::Camera(action, PathRule::parse(path)?)));
        }
        let mut services = [Service::Api, Service::Metrics, Service::Pprof].into_iter();
        Ok(services.find(|known| known.as_str() == action).map(Self::Service))
    }
}

/// Which paths a permission is for.
#[derive(Clone, Debug)]
pub enum PathRule {
    /// All.
    Any,
    /// One.
    Exact(String),
    /// Those that match somewhere.
    Pattern(Regex),
}

impl PartialEq for PathRule {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Pattern(a), Self::Pattern(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Eq for PathRule {}

impl PathRule {
    /// A rule as configurations write it: nothing for all, `~` before a pattern.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        match text.strip_prefix('~') {
            _ if text.is_empty() => Ok(Self::Any),
            None => Ok(Self::Exact(text.to_owned())),
            Some(pattern) => {
                let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
                built.map(Self::Pattern).map_err(|_| BadPattern)
            }
        }
    }

    /// Whether it is for a path.
    pub fn covers(&self, path: &PathName) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == path.as_str(),
            Self::Pattern(pattern) => pattern.is_match(path.as_str()),
        }
    }
}

/// A user's name or password as it is configured. Printing it shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Whatever is shown will do: none is configured.
    Whatever,
    /// In clear.
    Plain(String),
    /// Its SHA-256 (`sha256:`).
    Sha256([u8; 32]),
    /// Its argon2 hash in PHC format (`argon2:`).
    Argon2(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret is written in a way that nothing could match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a SHA-256")]
pub struct SecretError;

impl Secret {
    /// A secret as configurations write it. Whether an argon2 hash is one, is for whoever can compute it to say.
    ///
    /// # Errors
    /// [`SecretError`] for `sha256:` with something else behind it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(encoded) = text.strip_prefix("sha256:") {
            let digest = STANDARD.decode(encoded).ok().and_then(|bytes| bytes.try_into().ok());
            return digest.map(Self::Sha256).ok_or(SecretError);
        }
        Ok(match text.strip_prefix("argon2:") {
            Some(encoded) => Self::Argon2(encoded.to_owned()),
            None if text.is_empty() => Self::Whatever,
            None => Self::Plain(text.to_owned()),
        })
    }

    /// Whether it can't be read back, so that no challenge can be checked with it.
    pub fn is_hashed(&self) -> bool {
        matches!(self, Self::Sha256(_) | Self::Argon2(_))
    }

    fn check(&self, guess: &str, evidence: &Evidence) -> Result<Matches, Question> {
        let guessed = || Sha256::digest(guess);
        let is_same = match self {
            Self::Whatever => true,
            Self::Plain(text) => Sha256::digest(text).ct_eq(&guessed()).into(),
            Self::Sha256(digest) => digest.ct_eq(guessed().as_slice()).into(),
            Self::Argon2(encoded) => {
                let question = || Question::Hash { encoded: encoded.clone(), guess: guess.to_owned() };
                return evidence.hash(encoded, guess).ok_or_else(question);
            }
        };
        Ok(if is_same { Matches::Yes } else { Matches::No })
    }

    /// As the other side of a challenge needs it.
    fn in_clear(&self) -> Option<&str> {
        match self {
            Self::Whatever => Some(""),
            Self::Plain(text) => Some(text),
            Self::Sha256(_) | Self::Argon2(_) => None,
        }
    }
}

/// Whether credentials are those of a user.
pub(super) fn proves(
    user: &Secret,
    password: &Secret,
    shown: &Credentials,
    evidence: &Evidence,
) -> Result<Matches, Question> {
    match &shown.password {
        Password::Digest(answer) => Ok(match (user.in_clear(), password.in_clear()) {
            (Some(user), Some(password)) => answer.check(user, password),
            _ => Matches::No,
        }),
        Password::Plain(guess) => match user.check(&shown.user, evidence)? {
            Matches::No => Ok(Matches::No),
            Matches::Yes => password.check(guess, evidence),
        },
    }
}
