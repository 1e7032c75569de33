//! Source URL: where a camera, or a server, is, with its credentials taken out so that nothing prints them
//! (correctness: S5).
//!
//! People paste passwords into URLs without encoding them. The rules, in order:
//!
//! 1. The authority ends at the first `/` or `?`, and its last `@` ends the credentials. If the
//!    host found so is an address, a dotted name, `localhost` or carries a port, that is it.
//! 2. Else, when credentials are there, the last `@` of the whole URL that a host follows ends
//!    them: `rtsp://user:p@ss/w%23rd@host/x` is user `user`, password `p@ss/w#rd`, host `host`.
//! 3. Else the reading of rule 1.
//!
//! `%XX` is decoded in user and password; a `%` that begins no escape stays as it is. `#` is an
//! ordinary character: RTSP has no fragments and passwords have it.
//!
//! Spec: RFC 3986 s3.2 (rule 1), RFC 2326 s3.2. Deviations: rule 2, `#`.

use std::fmt;

use super::values::Expected;

/// The longest source URL, in bytes; a longer one is refused.
pub(crate) const SOURCE_URL_BYTES_MAX: usize = 2048;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is spoken, and whether it is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceScheme {
    /// `rtsp://`, default port 554.
    Rtsp,
    /// `rtsps://`, default port 322.
    Rtsps,
    /// `rtmp://`, default port 1935.
    Rtmp,
    /// `rtmps://`, default port 443.
    Rtmps,
    /// `http://`, default port 80: HLS.
    Http,
    /// `https://`, default port 443: HLS.
    Https,
    /// `whep://`, WHEP over HTTP.
    Whep,
    /// `wheps://`, WHEP over HTTPS.
    Wheps,
    /// `whip://`, WHIP over HTTP: only sent to.
    Whip,
    /// `whips://`, WHIP over HTTPS: only sent to.
    Whips,
}

/// What to write instead of another scheme.
const SCHEMES: &str =
    "it must begin with rtsp, rtmp, http or whep, or one of these with an s behind it, and ://";

/// User name and password of a camera.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The user name, decoded.
    pub(crate) username: String,
    /// The password, decoded; may be empty.
    pub(crate) password: Secret,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// A source's address. `Debug` and `Display` show neither credentials nor the query, which
/// may hold some.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SourceUrl {
    scheme: SourceScheme,
    url: url::Url,
    credentials: Option<Credentials>,
}

impl SourceUrl {
    /// Parses URLs of [`SourceScheme`]s by the rules in the module header.
    ///
    /// # Errors
    /// [`Expected::Url`] with what is wrong; never with the URL's text.
    pub(crate) fn parse(text: &str) -> Result<Self, Expected> {
        if text.len() > SOURCE_URL_BYTES_MAX {
            return Err(Expected::Url("it is longer than 2048 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Expected::Url("it has control characters"));
        }
        let (scheme, rest) = split_scheme(text).ok_or(Expected::Url(SCHEMES))?;
        let scheme = SourceScheme::parse(scheme).ok_or(Expected::Url(SCHEMES))?;
        let (userinfo, host_and_path) = split_userinfo(rest).ok_or(Expected::Url("it has no valid host"))?;
        let credentials = userinfo.map(parse_credentials).transpose()?;
        // `#` would begin a fragment for the URL parser, which would cut it off.
        let clean = format!("{}://{}", scheme.spoken(), host_and_path.replace('#', "%23"));
        let url = url::Url::parse(&clean).map_err(|_| Expected::Url("its host or port is not valid"))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(Expected::Url("it has no host"));
        }
        Ok(Self { scheme, url, credentials })
    }

    /// What is spoken there.
    pub(crate) fn scheme(&self) -> SourceScheme {
        self.scheme
    }

    /// The URL without credentials, as it may be sent to the source.
    pub(crate) fn url(&self) -> &url::Url {
        &self.url
    }

    /// The credentials, decoded.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// The host to connect to.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.url.port().unwrap_or(self.scheme.default_port())
    }
}

impl SourceScheme {
    const ALL: [Self; 10] = [
        Self::Rtsp,
        Self::Rtsps,
        Self::Rtmp,
        Self::Rtmps,
        Self::Http,
        Self::Https,
        Self::Whep,
        Self::Wheps,
        Self::Whip,
        Self::Whips,
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rtsp => "rtsp",
            Self::Rtsps => "rtsps",
            Self::Rtmp => "rtmp",
            Self::Rtmps => "rtmps",
            Self::Http => "http",
            Self::Https => "https",
            Self::Whep => "whep",
            Self::Wheps => "wheps",
            Self::Whip => "whip",
            Self::Whips => "whips",
        }
    }

    /// The scheme of the address that is asked: WHEP's and WHIP's is HTTP's.
    fn spoken(self) -> &'static str {
        match self {
            Self::Whep | Self::Whip => Self::Http.name(),
            Self::Wheps | Self::Whips => Self::Https.name(),
            other => other.name(),
        }
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Self::Rtsps | Self::Rtmps | Self::Https | Self::Wheps | Self::Whips)
    }

    /// The port when the URL names none.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Rtsp => 554,
            Self::Rtsps => 322,
            Self::Rtmp => 1935,
            Self::Http | Self::Whep | Self::Whip => 80,
            Self::Rtmps | Self::Https | Self::Wheps | Self::Whips => 443,
        }
    }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.credentials.is_some() { "***@" } else { "" };
        write!(f, "{}://{credentials}{}", self.scheme.name(), self.host())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        // Some cameras take the password in the path (`/user=admin_password=...`).
        if self.url.path().to_ascii_lowercase().contains("pass") {
            return f.write_str("/***");
        }
        f.write_str(self.url.path())?;
        if self.url.query().is_some() { f.write_str("?***") } else { Ok(()) }
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({self})")
    }
}

/// Splits `scheme://rest`; `None` without a scheme.
pub(crate) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (!scheme.is_empty() && scheme.chars().all(valid)).then_some((scheme, rest))
}

/// Splits `user:pass@host/path` into user information and the rest.
fn split_userinfo(rest: &str) -> Option<(Option<&str>, &str)> {
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let by_rfc = match authority.rfind('@') {
        Some(at) => rest.split_at_checked(at).map(|(user, host)| (Some(user), host.trim_start_matches('@'))),
        None => Some((None, rest)),
    };
    let by_rfc = by_rfc.filter(|(_, host)| host_kind(host) != HostKind::Invalid);
    match by_rfc {
        Some((None, _)) => return by_rfc,
        Some((Some(_), host)) if host_kind(host) == HostKind::Certain => return by_rfc,
        Some(_) | None => {}
    }
    let last = rest.match_indices('@').rev().find_map(|(at, _)| {
        let (user, host) = rest.split_at_checked(at)?;
        let host = host.strip_prefix('@')?;
        (host_kind(host) != HostKind::Invalid).then_some((Some(user), host))
    });
    last.or(by_rfc)
}

#[derive(PartialEq, Eq)]
enum HostKind {
    /// An address, a dotted name, `localhost`, or anything with a port.
    Certain,
    /// A single word, which may as well be the middle of a password.
    Word,
    Invalid,
}

/// What stands before the first `/` or `?` of `text`, taken as a host.
fn host_kind(text: &str) -> HostKind {
    let authority = text.split(['/', '?']).next().unwrap_or(text);
    if let Some(v6) = authority.strip_prefix('[') {
        let parsed =
            v6.split_once(']').map(|(v6, rest)| v6.parse::<std::net::Ipv6Addr>().is_ok() && port_ok(rest));
        return if parsed == Some(true) { HostKind::Certain } else { HostKind::Invalid };
    }
    let (host, port) = authority.find(':').map_or((authority, ""), |colon| authority.split_at(colon));
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let only_digits = host.chars().all(|c| c.is_ascii_digit());
    if host.is_empty() || only_digits || !host.chars().all(valid) || !port_ok(port) {
        HostKind::Invalid
    } else if host.contains('.') || host == "localhost" || !port.is_empty() {
        HostKind::Certain
    } else {
        HostKind::Word
    }
}

/// Nothing, or a colon and a port number.
fn port_ok(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

/// MediaMTX wants user and password or neither; an explicitly empty password (`admin:@`) is taken
/// because cameras ship so.
fn parse_credentials(userinfo: &str) -> Result<Credentials, Expected> {
    let (username, password) =
        userinfo.split_once(':').ok_or(Expected::Url("it has a user name without a password"))?;
    if username.is_empty() {
        return Err(Expected::Url("it has a password without a user name"));
    }
    Ok(Credentials { username: percent_decode(username)?, password: Secret(percent_decode(password)?) })
}

fn percent_decode(text: &str) -> Result<String, Expected> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Expected::Url("its user name or password is not UTF-8 after decoding %XX"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, user: Option<(&str, &str)>, url: &str) {
        let parsed = SourceUrl::parse(text).unwrap();
        let credentials = parsed.credentials().map(|c| (c.username.as_str(), c.password.expose()));
        assert_eq!(credentials, user, "{text}");
        assert_eq!(parsed.url().as_str(), url, "{text}");
    }

    #[test]
    fn plain_urls_are_read_by_the_rfc() {
        check("rtsp://10.0.0.1", None, "rtsp://10.0.0.1");
        check("rtsp://cam/stream", None, "rtsp://cam/stream");
        check("rtsps://u:p@cam.example:322/a?b=c", Some(("u", "p")), "rtsps://cam.example:322/a?b=c");
        check("rtsp://u:p@[fe80::1]:554/a", Some(("u", "p")), "rtsp://[fe80::1]:554/a");
        check("RTSP://u:@10.0.0.1/", Some(("u", "")), "rtsp://10.0.0.1/");
        check("wheps://u:p@a.example/x/whep", Some(("u", "p")), "https://a.example/x/whep");
        check("whips://u:p@a.example/x/whip?a=b", Some(("u", "p")), "https://a.example/x/whip?a=b");
        check("https://u:p@a.example:443/x.m3u8", Some(("u", "p")), "https://a.example/x.m3u8");
        check("rtmps://u:p@a.example/x/y?z=1", Some(("u", "p")), "rtmps://a.example/x/y?z=1");
    }

    #[test]
    fn special_characters_in_passwords_are_understood() {
        check("rtsp://user:p@ss/w%23rd@host/x", Some(("user", "p@ss/w#rd")), "rtsp://host/x");
        check("rtsp://user:p@ss/w%23rd@host", Some(("user", "p@ss/w#rd")), "rtsp://host");
        check("rtsp://admin:p@ss@10.0.0.1:554/s", Some(("admin", "p@ss")), "rtsp://10.0.0.1:554/s");
        check("rtsp://admin:a/b?c@10.0.0.1/s", Some(("admin", "a/b?c")), "rtsp://10.0.0.1/s");
        check("rtsp://admin:p#1:2@10.0.0.1/s", Some(("admin", "p#1:2")), "rtsp://10.0.0.1/s");
        check("rtsp://admin:100%@10.0.0.1/s", Some(("admin", "100%")), "rtsp://10.0.0.1/s");
        check("rtsp://ad%3Amin:p%40%2F%25@10.0.0.1/s", Some(("ad:min", "p@/%")), "rtsp://10.0.0.1/s");
        check("rtsp://admin:sen%C3%A7a@10.0.0.1/s", Some(("admin", "sença")), "rtsp://10.0.0.1/s");
    }

    #[test]
    fn at_sign_in_path_or_query_belongs_to_it() {
        check("rtsp://10.0.0.1/cam@1", None, "rtsp://10.0.0.1/cam@1");
        check("rtsp://cam/live?user=a@b.c", None, "rtsp://cam/live?user=a@b.c");
        check("rtsp://u:p@10.0.0.1/cam@home", Some(("u", "p")), "rtsp://10.0.0.1/cam@home");
        check("rtsp://u:p@cam/stream@2", Some(("u", "p")), "rtsp://cam/stream@2");
    }

    #[test]
    fn unusable_urls_are_refused() {
        for text in [
            "ftp://host/",
            "rtsp:/host",
            "rtsp://",
            "rtsp:///path",
            "rtsp://user@host/",
            "rtsp://:pass@host/",
            "rtsp://host:99999/",
            "rtsp://u:p@/x",
            "rtsp://host\n/x",
            "rtsp://u:%ff@host.example/",
        ] {
            assert!(SourceUrl::parse(text).is_err(), "{text:?}");
        }
        assert!(SourceUrl::parse(&format!("rtsp://h.example/{}", "x".repeat(2048))).is_err());
    }

    // correctness: S5
    #[test]
    fn nothing_printed_holds_a_secret() {
        for text in [
            "rtsp://user:hunter2@cam.example:554/x",
            "rtsp://cam.example/x?pwd=hunter2",
            "rtsp://cam.example/user=admin_password=hunter2_channel=1",
            "rtsp://hunter2:hunter2@cam.example",
        ] {
            let url = SourceUrl::parse(text).unwrap();
            let shown = format!("{url} {url:?} {:?}", url.credentials());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("cam.example"), "{shown}");
        }
    }
}
