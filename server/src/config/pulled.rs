//! Pulled: where a path's media is asked for, by protocol.

use std::time::Duration;

use super::resolved::RtspSource;
use super::source_url::{Secret, SourceUrl};

/// Whom a path's media is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PulledSource {
    /// `rtsp://`, `rtsps://`.
    Rtsp(RtspSource),
    /// `rtmp://`, `rtmps://`.
    Rtmp(RemoteSource),
    /// `http://`, `https://`: a playlist of HLS.
    Hls(RemoteSource),
    /// `whep://`, `wheps://`.
    Whep(WhepSource),
}

/// A server that is asked for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteSource {
    /// Its address; printing it shows no password.
    pub(crate) url: SourceUrl,
    /// `sourceFingerprint`: SHA-256 of the certificate that it must show when encrypted; `None` means that it must be valid.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

/// A WebRTC server that is asked for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WhepSource {
    /// Where its endpoint is.
    pub(crate) remote: RemoteSource,
    /// `whepBearerToken`, shown in place of user and password; default empty, which is none.
    pub(crate) bearer_token: Option<Secret>,
    /// `whepHandshakeTimeout`, default 10 s: from the offer to a connection.
    pub(crate) handshake_timeout: Duration,
    /// `whepTrackGatherTimeout`, default 2 s: how long tracks that the server accepted are waited for once one has come.
    pub(crate) track_gather_timeout: Duration,
}

/// The protocol of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceKind {
    /// RTSP, encrypted or not.
    Rtsp,
    /// RTMP, encrypted or not.
    Rtmp,
    /// HLS, encrypted or not.
    Hls,
    /// WHEP, encrypted or not.
    WebRtc,
}

impl SourceKind {
    /// MediaMTX's name of it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rtsp => "rtspSource",
            Self::Rtmp => "rtmpSource",
            Self::Hls => "hlsSource",
            Self::WebRtc => "webRTCSource",
        }
    }
}

impl PulledSource {
    /// Its protocol.
    pub(crate) fn kind(&self) -> SourceKind {
        match self {
            Self::Rtsp(_) => SourceKind::Rtsp,
            Self::Rtmp(_) => SourceKind::Rtmp,
            Self::Hls(_) => SourceKind::Hls,
            Self::Whep(_) => SourceKind::WebRtc,
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &SourceUrl {
        match self {
            Self::Rtsp(source) => &source.url,
            Self::Rtmp(source) | Self::Hls(source) => &source.url,
            Self::Whep(source) => &source.remote.url,
        }
    }

    /// The same with another address, of the same scheme.
    pub(crate) fn at(mut self, url: SourceUrl) -> Self {
        match &mut self {
            Self::Rtsp(source) => source.url = url,
            Self::Rtmp(source) | Self::Hls(source) => source.url = url,
            Self::Whep(source) => source.remote.url = url,
        }
        self
    }

    /// The certificate that it must show.
    pub(crate) fn fingerprint(&self) -> Option<[u8; 32]> {
        match self {
            Self::Rtsp(source) => source.fingerprint,
            Self::Rtmp(source) | Self::Hls(source) => source.fingerprint,
            Self::Whep(source) => source.remote.fingerprint,
        }
    }
}
