//! Session: one try to send a path's media to another server: what it works with, and how it ends, whatever the protocol.
//!
//! ```text
//!  rtsp(s) ─► egress::rtsp::forward      rtmp(s) ─► egress::rtmp::forward      whip(s) ─► egress::webrtc::forward
//! ```
//!
//! Limits: [`CONNECT_MAX`], [`OFFLINE_MAX`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use media_core::gate::{Action, CameraGrant, Gate};
use tokio_util::sync::CancellationToken;

use super::{ForwardLimits, ForwardRecord};
use crate::config::source_url::SourceScheme;
use crate::egress::rtmp::forward::{self as rtmp, RtmpForwardError};
use crate::egress::rtsp::forward::{self as rtsp, ForwardError};
use crate::egress::webrtc::forward::{self as whip, WhipError};
use crate::stream::{SourceState, SourceStatus, Stream};

/// From the first packet to a server that takes the media.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A source may be away for so long without the session being given up: a camera that is connected anew.
const OFFLINE_MAX: Duration = Duration::from_secs(5);

/// How a session that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForwardEnd {
    /// It was cancelled.
    Cancelled,
    /// There is nothing to send any more.
    SourceGone,
}

/// Why a session failed. Texts are for people and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Rtsp(#[from] ForwardError),
    #[error(transparent)]
    Rtmp(#[from] RtmpForwardError),
    #[error(transparent)]
    Whip(#[from] WhipError),
}

/// What a session works with; lent by its task.
pub(crate) struct Forwarding<'a> {
    /// What is sent.
    pub(crate) stream: &'a Arc<Stream>,
    /// Where to, and what came of it.
    pub(crate) record: &'a Arc<ForwardRecord>,
    /// What it keeps to.
    pub(crate) limits: ForwardLimits,
    /// Cancelled to end it.
    pub(crate) token: &'a CancellationToken,
}

impl Forwarding<'_> {
    /// Where to is the operator's word; nobody outside asks.
    pub(crate) fn grant(&self) -> CameraGrant {
        Gate::on_own_behalf(Action::Read, self.stream.name())
    }
}

/// Runs one session until it ends.
pub(super) async fn run(forwarding: Forwarding<'_>) -> Result<ForwardEnd, SessionError> {
    match forwarding.record.dest.url.scheme() {
        SourceScheme::Rtmp | SourceScheme::Rtmps => Ok(Box::pin(rtmp::run(forwarding)).await?),
        SourceScheme::Whip | SourceScheme::Whips => Ok(Box::pin(whip::run(forwarding)).await?),
        // The configuration lets no others through.
        _ => Ok(Box::pin(rtsp::run(forwarding)).await?),
    }
}

/// Since when the source has been away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absence(Option<Instant>);

impl Absence {
    /// Takes news of the source.
    pub(crate) fn note(&mut self, state: &SourceState, now: Instant) {
        match state.status {
            SourceStatus::Online => self.0 = None,
            _ => {
                self.0.get_or_insert(now);
            }
        }
    }

    /// When it is not waited for any longer.
    pub(crate) fn ends_at(self) -> Option<Instant> {
        self.0.map(|since| since + OFFLINE_MAX)
    }

    /// Whether that is now.
    pub(crate) fn is_over(self, now: Instant) -> bool {
        self.ends_at().is_some_and(|at| now >= at)
    }
}
