//! Page: which cameras a visitor of the page may watch, and the session that its players watch them in.
//!
//! The page is on another port than the video. A browser shows its credentials to the port that asked for them, so the page's
//! players are given a session instead.

use std::collections::BTreeSet;
use std::time::Duration;

use media_core::gate::{Action, Caller, CameraGrant, Evidence, Gate, Policy, SessionKey};
use media_core::path_name::PathName;

use super::{Access, Asked, Failure, Refused, Rules, Try, Visitor};
use crate::runtime::clock;

/// A camera that a server did not let a visitor watch is not asked about again for so long: a page polls.
pub(super) const UNSEEN_LIFETIME: Duration = Duration::from_secs(60);

/// What a visitor may watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visible {
    /// These.
    pub(crate) paths: BTreeSet<PathName>,
    /// Where some are not open to anyone: the session that holds them.
    pub(crate) session: Option<SessionKey>,
}

impl Access {
    /// Which of these cameras a visitor may watch.
    ///
    /// # Errors
    /// [`Refused`] when there are cameras, and it is none of them.
    pub(crate) async fn visible(
        &self,
        visitor: &Visitor<'_>,
        cameras: Vec<PathName>,
    ) -> Result<Visible, Refused> {
        let rules = self.0.rules.load_full();
        let anonymous = Caller::anonymous(visitor.ip);
        let is_open =
            |path: &PathName| rules.gate.camera(&anonymous, Action::Read, path, &Evidence::default()).is_ok();
        let (mut paths, closed): (BTreeSet<_>, Vec<_>) = (BTreeSet::new(), Vec::new());
        let closed = cameras.into_iter().fold(closed, |mut closed, path| {
            if is_open(&path) {
                paths.insert(path);
            } else {
                closed.push(path);
            }
            closed
        });
        let Some(first) = closed.first() else { return Ok(Visible { paths, session: None }) };
        let attempt = self.begin_try(&rules, visitor).await?;
        let key = self.session_key(visitor, &["page"]);
        let found = self.find_visible(&rules, (visitor, attempt), &closed, key).await;
        let granted = match self.end_try(visitor, attempt, found, Asked::Camera(Action::Read, first)) {
            Ok(granted) => granted,
            Err(_) if !paths.is_empty() => return Ok(Visible { paths, session: None }),
            Err(refused) => return Err(refused),
        };
        paths.extend(granted.iter().map(|grant| grant.path().clone()));
        let opened =
            self.lock_sessions().open(key, (visitor.ip, &visitor.credentials.user), granted, clock::now());
        Ok(Visible { paths, session: opened.is_ok().then_some(key) })
    }

    /// The grants for those of the cameras that the visitor may watch, denied when it is none; what its session holds is
    /// not asked about again.
    async fn find_visible(
        &self,
        rules: &Rules,
        (visitor, attempt): (&Visitor<'_>, Try),
        cameras: &[PathName],
        key: SessionKey,
    ) -> Result<Vec<CameraGrant>, Failure> {
        let (name, is_server) = (key.to_string(), matches!(rules.gate.policy(), Policy::Server { .. }));
        let mut granted = Vec::new();
        for path in cameras {
            if let Some(grant) = self.of_session(key, visitor.ip, (Action::Read, path)) {
                granted.push(grant);
                continue;
            }
            let tag = self.0.unseen.tag(&[&name, path.as_str()]);
            if is_server && self.0.unseen.knows(&tag) {
                continue;
            }
            let look = |gate: &Gate, caller: &Caller, evidence: &Evidence| {
                gate.camera(caller, Action::Read, path, evidence)
            };
            match self.find_out(rules, visitor, Asked::Camera(Action::Read, path), look).await {
                Ok(admission) => granted.push(admission.grant),
                Err(Failure::NoAnswer) => return Err(Failure::NoAnswer),
                // Who shows nothing does not make a server be asked about all cameras.
                Err(Failure::Denied) if matches!(attempt, Try::Nothing) => break,
                Err(Failure::Denied) => self.0.unseen.note(tag),
            }
        }
        if granted.is_empty() { Err(Failure::Denied) } else { Ok(granted) }
    }
}
