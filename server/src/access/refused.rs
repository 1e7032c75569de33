//! Refused: why a request is not let in, and what HTTP clients are told of it: MediaMTX's status and headers, and 429.

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use media_core::gate::TooManyTries;

/// Why a request is refused. The text is what the client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Nothing was shown: the client may not know that it should.
    #[error("authentication error")]
    CredentialsWanted,
    /// What was shown is not enough.
    #[error("authentication error")]
    Wrong,
    /// Its address failed too often; nobody looked.
    #[error(transparent)]
    TooManyTries(#[from] TooManyTries),
}

impl Refused {
    /// The status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::CredentialsWanted | Self::Wrong => StatusCode::UNAUTHORIZED,
            Self::TooManyTries(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// What the answer says besides. Players that showed something wrong are not asked again: most would try for ever.
    pub(crate) fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::CredentialsWanted => Some((WWW_AUTHENTICATE, challenge())),
            Self::Wrong => None,
            Self::TooManyTries(tries) => Some((RETRY_AFTER, HeaderValue::from(tries.again_after.as_secs()))),
        }
    }

    /// The same for a page: a person who mistyped a password is asked again.
    pub(crate) fn page_header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Wrong => Some((WWW_AUTHENTICATE, challenge())),
            other => other.header(),
        }
    }
}

fn challenge() -> HeaderValue {
    // media_core::gate::REALM; a header's value is made at compile time.
    HeaderValue::from_static("Basic realm=\"mediamtx\"")
}
