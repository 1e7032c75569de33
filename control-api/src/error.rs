//! Errors: the status and the public text of everything that is not answered.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::access::Denied;

/// Why a request is not answered. The text is what the caller reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A parameter that does not parse. 400.
    #[error("invalid {name}: {why}")]
    InvalidParameter {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// A body that is not what it should be. 400.
    #[error("invalid body: {why}")]
    InvalidBody {
        /// What is wrong, as the parser says it.
        why: String,
    },
    /// A configuration that can't be. 400.
    #[error("{why}")]
    InvalidConfiguration {
        /// What is wrong with which setting.
        why: String,
    },
    /// There is an entry of this name. 400, with MediaMTX's words.
    #[error("path already exists")]
    PathExists,
    /// The caller may not have this. 401 with MediaMTX's words, and its challenge when nothing was shown; 429.
    #[error("{}", denial(.0))]
    Denied(Denied),
    /// No such endpoint. 404.
    #[error("not found")]
    NoSuchEndpoint,
    /// No such path. 404, with MediaMTX's words.
    #[error("path not found")]
    PathNotFound,
    /// The path has no live video. 404.
    #[error("{why}")]
    Offline {
        /// What its source does.
        why: String,
    },
    /// More is asked for than can be done at once. 503; the same may be tried again.
    #[error("{why}")]
    Busy {
        /// What there is too much of.
        why: String,
    },
    /// What the camera sends can't be made a picture of. 500.
    #[error("{why}")]
    NoPicture {
        /// What is wrong with it.
        why: String,
    },
    /// No such hold. 404.
    #[error("hold not found")]
    HoldNotFound,
    /// No file of a recording begins then. 404.
    #[error("no recording of this path begins at that time")]
    SegmentNotFound,
    /// What is asked goes against how things stand. 409.
    #[error("{why}")]
    Conflict {
        /// How things stand, and what would help.
        why: String,
    },
    /// The catalogue does not answer. 500.
    #[error("recordings can't be asked: {why}")]
    StorageFailed {
        /// Why, as the database says it.
        why: String,
    },
    /// What is changed can't be kept, so it is not changed. 500.
    #[error("the configuration can't be kept, and is not changed: {why}")]
    ConfigurationNotKept {
        /// Why, as the database says it.
        why: String,
    },
    /// Nothing is recorded here, or the catalogue could not be opened. 503.
    #[error("recordings are off: no path has \"record\", or the catalogue can't be opened; see the log")]
    StorageOff,
    /// No such session. 404, with MediaMTX's words.
    #[error("session not found")]
    SessionNotFound,
    /// A path's media is not sent there. 404.
    #[error("forward destination not found")]
    ForwardNotFound,
    /// No such muxer. 404, with MediaMTX's words.
    #[error("muxer not found")]
    MuxerNotFound,
    /// No such connection. 404, with MediaMTX's words.
    #[error("connection not found")]
    ConnectionNotFound,
    /// The endpoint does not take this method. 405.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The `Host` header names somebody else (DNS rebinding). 421.
    #[error("the Host header does not name this server")]
    WrongHost,
    /// It took longer than [`crate::REQUEST_TIME_MAX`]. 504.
    #[error("the answer took too long")]
    TooSlow,
}

impl ApiError {
    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidParameter { .. }
            | Self::InvalidBody { .. }
            | Self::InvalidConfiguration { .. }
            | Self::PathExists => StatusCode::BAD_REQUEST,
            Self::Denied(Denied::TooManyTries { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied(_) => StatusCode::UNAUTHORIZED,
            Self::NoSuchEndpoint
            | Self::PathNotFound
            | Self::Offline { .. }
            | Self::HoldNotFound
            | Self::SegmentNotFound
            | Self::SessionNotFound
            | Self::MuxerNotFound
            | Self::ForwardNotFound
            | Self::ConnectionNotFound => StatusCode::NOT_FOUND,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::StorageFailed { .. } | Self::ConfigurationNotKept { .. } | Self::NoPicture { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::StorageOff | Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongHost => StatusCode::MISDIRECTED_REQUEST,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// MediaMTX's: a browser asks its user for a name and a password.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"mediamtx\"");

fn denial(denied: &Denied) -> &'static str {
    match denied {
        Denied::CredentialsWanted | Denied::Wrong => "authentication error",
        Denied::TooManyTries { .. } => "too many failed tries from this address; come again later",
    }
}

/// MediaMTX's error object.
#[derive(Serialize)]
struct ErrorBody {
    status: &'static str,
    error: String,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { status: "error", error: self.to_string() };
        let mut response = (self.status(), Json(body)).into_response();
        match self {
            Self::Denied(Denied::CredentialsWanted) => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
            }
            Self::Denied(Denied::TooManyTries { again_after }) => {
                let secs = HeaderValue::from(again_after.as_secs());
                response.headers_mut().insert(header::RETRY_AFTER, secs);
            }
            _ => {}
        }
        response
    }
}
