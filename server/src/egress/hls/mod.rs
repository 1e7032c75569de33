//! HLS server: playlists and media over HTTP/1.1 and HTTP/2 from one muxer per stream.
//!
//! ```text
//!  Stream's remuxer ─► Muxer (a sink) ─► Mutex<Window> + watch(version)
//!                                            ▲ answer, media
//!  socket ─► http_listener ─► routes ─┴─► body: head + payloads, never joined
//! ```
//!
//! Belongs here: sockets, waiting, HTTP. Does not: what is listed and answered (-> media_core::egress::hls).
//! Limits: `http_listener` (connections, headers, slow peers), [`muxers::FIRST_PLAYLIST_WAIT`].
//! Spec: draft-pantos-hls-rfc8216bis; RFC 9110 (ranges), RFC 9111 (caching), Fetch (CORS).

mod body;
mod cors;
mod dvr;
mod muxer;
mod muxers;
mod recorded;
mod response;
mod routes;
#[cfg(test)]
mod tests;
pub(crate) mod viewers;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use storage::Recordings;
use tracing::info_span;

pub(crate) use muxer::MuxerSnapshot;
use muxers::Muxers;
use uuid::Uuid;

use self::body::ChunkBody;
use self::viewers::{Viewer, Viewers};
use crate::access::Access;
use crate::config::resolved::{HlsConfig, HttpConfig};
use crate::http_listener::{self, Answer, Endpoint, ListenError};
use crate::registry::Registry;
use crate::runtime::tasks::TaskSet;

/// A page or script that ships inside the binary.
#[derive(Clone, Debug)]
pub(crate) struct Asset {
    /// Its `Content-Type`.
    pub(crate) content_type: &'static str,
    /// Its bytes.
    pub(crate) body: Bytes,
}

/// Where pages come from.
pub(crate) trait Pages: Send + Sync {
    /// The player page of a path, `/{path}/`.
    fn player(&self) -> Option<Asset>;
    /// What lies under `/_/`; `name` is without it.
    fn asset(&self, name: &str) -> Option<Asset>;
}

/// What the HLS server stands on.
#[derive(Clone)]
pub(crate) struct HlsDeps {
    /// The configured paths.
    pub(crate) registry: Arc<Registry>,
    /// Who may watch.
    pub(crate) access: Access,
    /// Owns every task of the server.
    pub(crate) tasks: TaskSet,
    /// What is recorded, where something is: recording may begin late.
    pub(crate) recordings: Arc<dyn Fn() -> Option<Recordings> + Send + Sync>,
    /// The player page and its scripts.
    pub(crate) pages: Arc<dyn Pages>,
}

/// The HLS server: its muxers and how to answer a request. Sockets are `http_listener`'s.
pub(crate) struct HlsServer {
    config: HlsConfig,
    deps: HlsDeps,
    muxers: Muxers,
    viewers: Viewers,
}

impl HlsServer {
    /// A server without a muxer.
    pub(crate) fn new(config: HlsConfig, deps: HlsDeps) -> Arc<Self> {
        let muxers = Muxers::new(config.clone(), deps.clone());
        Arc::new(Self { config, deps, muxers, viewers: Viewers::default() })
    }

    /// Listens, and tends the muxers until the tasks are shut down.
    ///
    /// # Errors
    /// [`ListenError`] when the address or the certificate can't be used.
    pub(crate) async fn listen(self: &Arc<Self>) -> Result<SocketAddr, ListenError> {
        let http = &self.config.http;
        let endpoint = Endpoint { name: "hls", address: http.address, tls: http.tls.as_ref() };
        let bound = http_listener::serve(endpoint, Arc::clone(self), &self.deps.tasks).await?;
        let tended = Arc::clone(self);
        self.deps
            .tasks
            .spawn(info_span!("hls_tend"), async move { tended.muxers.tend(&tended.viewers).await });
        Ok(bound)
    }

    /// Where it listens, and how.
    pub(crate) fn listener(&self) -> &HttpConfig {
        &self.config.http
    }

    /// Closes all muxers, once the server's tasks are cancelled.
    pub(crate) fn close(&self) {
        self.muxers.close_all();
    }

    /// What every muxer did so far, in the order of their paths.
    pub(crate) fn snapshot(&self) -> Vec<MuxerSnapshot> {
        self.muxers.snapshot()
    }

    /// Who watches, in no order.
    pub(crate) fn viewers(&self) -> Vec<Arc<Viewer>> {
        self.viewers.all()
    }

    /// Ends a viewer's session; says whether there is one of this id.
    pub(crate) fn kick(&self, id: Uuid) -> bool {
        self.viewers.kick(id)
    }
}

impl Answer for HlsServer {
    type Body = ChunkBody;

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<ChunkBody> {
        Self::answer(self, &request, peer).await
    }
}
