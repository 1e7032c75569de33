//! HLS muxers and viewers, as MediaMTX's API lists them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use control_api::HlsClients;
use control_api::hls::{HlsMuxer, HlsSession};
use uuid::Uuid;

use super::{Observer, time};
use crate::egress::rtmp::stats::shown;
use crate::listeners::Egress;

/// Looks at the HLS listener.
pub(crate) struct HlsObserver {
    egress: Arc<Egress>,
}

impl HlsObserver {
    /// An observer; `None` when HLS is off.
    pub(crate) fn of(observer: &Observer) -> Option<Arc<dyn HlsClients>> {
        observer.egress.hls()?;
        Some(Arc::new(Self { egress: Arc::clone(&observer.egress) }))
    }
}

impl HlsClients for HlsObserver {
    fn muxers(&self) -> Vec<HlsMuxer> {
        let muxers = self.egress.hls().map(|hls| hls.snapshot()).unwrap_or_default();
        let shown = muxers.into_iter().map(|muxer| HlsMuxer {
            path: muxer.path.to_string(),
            created: time(muxer.created),
            last_request: time(muxer.last_request),
            outbound_bytes: muxer.sent_bytes,
            outbound_frames_discarded: muxer.segmenter.dropped_units,
            bytes_sent: muxer.sent_bytes,
        });
        shown.collect()
    }

    fn sessions(&self) -> Vec<HlsSession> {
        let mut viewers = self.egress.hls().map(|hls| hls.viewers()).unwrap_or_default();
        viewers.sort_by_key(|viewer| (viewer.created, viewer.id));
        let shown = viewers.iter().map(|viewer| HlsSession {
            id: viewer.id.to_string(),
            created: time(viewer.created),
            remote_addr: viewer.remote_addr.to_string(),
            path: viewer.path.to_string(),
            query: shown(&viewer.query),
            user: viewer.user.clone(),
            user_agent: viewer.user_agent.clone(),
            is_cdn: viewer.is_cdn,
            outbound_bytes: viewer.outbound_bytes.load(Relaxed),
        });
        shown.collect()
    }

    fn kick(&self, id: &str) -> bool {
        let Ok(id) = Uuid::try_parse(id) else { return false };
        self.egress.hls().is_some_and(|hls| hls.kick(id))
    }
}
