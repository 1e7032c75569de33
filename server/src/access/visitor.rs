//! Visitor: who asks, out of a request of any protocol.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, header};
use media_core::gate::{Credentials, Password, Policy, SessionKey};
use uuid::Uuid;

use super::{Access, InHttpQuery, Refused};

/// What a visitor speaks; for whoever else is asked, and the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// RTSP, encrypted or not.
    Rtsp,
    /// RTMP, encrypted or not.
    Rtmp,
    /// HLS.
    Hls,
    /// WebRTC.
    WebRtc,
}

impl Protocol {
    /// As MediaMTX writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rtsp => "rtsp",
            Self::Rtmp => "rtmp",
            Self::Hls => "hls",
            Self::WebRtc => "webrtc",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Visitor<'a> {
    /// Whence, behind trusted proxies.
    pub(crate) ip: IpAddr,
    /// What it shows of itself.
    pub(crate) credentials: Credentials,
    /// What it speaks; `None` for playback, API and metrics.
    pub(crate) protocol: Option<Protocol>,
    /// The session or connection that it is for, where there is one.
    pub(crate) id: Option<Uuid>,
    /// The query of its URL.
    pub(crate) query: &'a str,
    /// What it calls itself.
    pub(crate) user_agent: &'a str,
}

impl Visitor<'_> {
    /// What tells it from others that come from its address; `None` where that changes with each request.
    pub(super) fn mark(&self) -> Option<Vec<&str>> {
        let Credentials { user, password, token } = &self.credentials;
        match password {
            Password::Plain(password) => Some(vec!["proven", user, password, token]),
            Password::Digest(_) => None,
        }
    }

    /// How it is refused.
    pub(super) fn refused(&self) -> Refused {
        if self.credentials.is_empty() { Refused::CredentialsWanted } else { Refused::Wrong }
    }
}

impl Access {
    /// The visitor behind an HTTP request.
    pub(crate) fn http_visitor<'a>(
        &self,
        ip: IpAddr,
        protocol: Option<Protocol>,
        headers: &'a HeaderMap,
        query: &'a str,
    ) -> Visitor<'a> {
        let values = headers.get_all(header::AUTHORIZATION).iter();
        let shown = Credentials::from_authorization(values.filter_map(|value| value.to_str().ok()));
        let credentials = match self.0.rules.load().in_http_query {
            InHttpQuery::Allowed => shown.or_token_of(query),
            InHttpQuery::Refused => shown,
        };
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = agent.unwrap_or_default();
        Visitor { ip, credentials, protocol, id: None, query, user_agent }
    }

    /// The visitor behind an RTSP request; it may show a token in its URL, having no other place for one.
    pub(crate) fn rtsp_visitor<'a>(
        &self,
        ip: IpAddr,
        shown: Credentials,
        (id, query, user_agent): (Uuid, &'a str, &'a str),
    ) -> Visitor<'a> {
        let credentials = match self.0.rules.load().gate.policy() {
            Policy::Users(_) => shown,
            Policy::Server { .. } | Policy::Token { .. } => shown.or_token_of(query),
        };
        let protocol = Some(Protocol::Rtsp);
        Visitor { ip, credentials, protocol, id: Some(id), query, user_agent }
    }

    /// The visitor behind an RTMP connection, which has no place for credentials but its URL.
    pub(crate) fn rtmp_visitor<'a>(
        &self,
        ip: IpAddr,
        (id, query, user_agent): (Uuid, &'a str, &'a str),
    ) -> Visitor<'a> {
        let shown = Credentials::from_query(query);
        let visitor = self.rtsp_visitor(ip, shown, (id, query, user_agent));
        Visitor { protocol: Some(Protocol::Rtmp), ..visitor }
    }
}

/// A URL's path without the folder that names a session (`/cam_1/session=KEY/index.m3u8`), and the session. `=` stands in
/// no camera's name.
pub(crate) fn session_of(path: &str) -> (Cow<'_, str>, Option<SessionKey>) {
    let parts = path.rsplit_once('/').and_then(|(folder, file)| {
        let (camera, last) = folder.rsplit_once('/')?;
        Some((camera, SessionKey::parse(last.strip_prefix("session=")?)?, file))
    });
    match parts {
        Some((camera, key, file)) => (format!("{camera}/{file}").into(), Some(key)),
        None => (path.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_folder() {
        let key = "00112233445566778899aabbccddeeff";
        for (path, bare, expect) in [
            (format!("/city/cam_1/session={key}/index.m3u8"), "/city/cam_1/index.m3u8", Some(key)),
            (format!("/cam_1/session={key}/"), "/cam_1/", Some(key)),
            (format!("/session={key}/index.m3u8"), "/index.m3u8", Some(key)),
            ("/cam_1/index.m3u8".to_owned(), "/cam_1/index.m3u8", None),
            ("/cam_1/session=1/index.m3u8".to_owned(), "/cam_1/session=1/index.m3u8", None),
        ] {
            let (found, session) = session_of(&path);
            let session = session.map(|key| key.to_string());
            assert_eq!((found.as_ref(), session.as_deref()), (bare, expect), "{path}");
        }
    }
}
