//! Source: what the supervisor must know of a camera, free of the configuration file's words.

use std::time::Duration;

use media_core::rtsp::Credentials;
use url::Url;

/// How RTP is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceTransport {
    /// UDP, and TCP when the camera refuses it or nothing arrives.
    Automatic,
    /// Interleaved in the RTSP connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// How a camera's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPolicy {
    /// By the certificates the operating system trusts.
    SystemRoots,
    /// Only the certificate with this SHA-256 (`sourceFingerprint`).
    Pinned([u8; 32]),
}

/// When an on-demand source runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDemand {
    /// How long a reader waits for the first picture.
    pub(crate) start_timeout: Duration,
    /// How long the source goes on without readers.
    pub(crate) close_after: Duration,
}

/// One RTSP camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtspSource {
    /// Name or address to connect to.
    pub(crate) host: String,
    /// Port to connect to.
    pub(crate) port: u16,
    /// The URL in requests, without credentials.
    pub(crate) url: Url,
    /// User and password.
    pub(crate) credentials: Option<Credentials>,
    /// `rtsps` and how to judge the certificate; `None` for `rtsp`.
    pub(crate) tls: Option<TlsPolicy>,
    /// How RTP is asked for.
    pub(crate) transport: SourceTransport,
    /// Connected only while there are readers.
    pub(crate) on_demand: Option<OnDemand>,
}
