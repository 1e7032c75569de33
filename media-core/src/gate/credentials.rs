//! Credentials: what a caller shows of itself, out of headers and queries.
//!
//! Spec: RFC 7617 (Basic), RFC 6750 s2.1 (Bearer); MediaMTX takes `Bearer user:pass` as well, for senders that can be given a
//! token only.
//! Limits: [`CREDENTIALS_BYTES_MAX`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::digest::DigestAnswer;

/// The longest user name, password or token; a longer one counts as none. Tokens of identity providers have 1 to 4 KB.
pub const CREDENTIALS_BYTES_MAX: usize = 16 << 10;

/// A user with a password, or a token. Printing it shows neither.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name, empty where none is shown.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// A token, empty where none is shown.
    pub token: String,
}

/// A password, or the proof that somebody has it.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// As it is; empty where none is shown.
    Plain(String),
    /// An answer to a challenge (RTSP Digest).
    Digest(Box<DigestAnswer>),
}

impl Default for Password {
    fn default() -> Self {
        Self::Plain(String::new())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Credentials(none)" } else { "Credentials(***)" })
    }
}

impl Credentials {
    /// Whether nothing is shown at all.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.plain_password().is_empty() && self.token.is_empty()
    }

    /// The password, where it was sent as it is.
    pub fn plain_password(&self) -> &str {
        match &self.password {
            Password::Plain(password) => password,
            Password::Digest(_) => "",
        }
    }

    /// The token; a password stands in for one, for clients that can't send tokens.
    pub fn token(&self) -> &str {
        if self.token.is_empty() { self.plain_password() } else { &self.token }
    }

    /// Reads the `Authorization` headers of a request: a Bearer one goes before a Basic one.
    pub fn from_authorization<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut basic = Self::default();
        for header in headers.into_iter().filter(|header| header.len() <= CREDENTIALS_BYTES_MAX) {
            let Some((scheme, value)) = header.trim().split_once(' ') else { continue };
            if scheme.eq_ignore_ascii_case("bearer") {
                return Self::from_bearer(value.trim());
            }
            if scheme.eq_ignore_ascii_case("basic")
                && let Some(found) = Self::from_basic(value.trim())
            {
                basic = found;
            }
        }
        basic
    }

    fn from_bearer(value: &str) -> Self {
        match value.split_once(':') {
            Some((user, password)) if !password.contains(':') => Self::plain(user, password),
            _ => Self { token: value.to_owned(), ..Self::default() },
        }
    }

    fn from_basic(value: &str) -> Option<Self> {
        let decoded = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Self::plain(user, password))
    }

    /// A user with a password.
    pub fn plain(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: Password::Plain(password.to_owned()), token: String::new() }
    }

    /// Reads the user with a password of a URL's query (`?user=&pass=`), for protocols that have no other place for them.
    pub fn from_query(query: &str) -> Self {
        let of = |name| only(query, name).unwrap_or_default();
        Self::plain(&of("user"), &of("pass"))
    }

    /// Adds the token of a URL's query (`?token=`, or `?jwt=` as older versions had it), unless something else is shown that
    /// could be one.
    #[must_use]
    pub fn or_token_of(mut self, query: &str) -> Self {
        if self.token().is_empty() {
            self.token = only(query, "token").or_else(|| only(query, "jwt")).unwrap_or_default();
        }
        self
    }
}

/// The value of a query's parameter that stands there once.
fn only(query: &str, name: &str) -> Option<String> {
    let query = Some(query).filter(|query| query.len() <= CREDENTIALS_BYTES_MAX)?;
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    values.next().filter(|_| values.next().is_none()).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&str]) -> (String, String, String) {
        let Credentials { user, password, token } = Credentials::from_authorization(headers.iter().copied());
        let Password::Plain(password) = password else { panic!("no digest here") };
        (user, password, token)
    }

    #[test]
    fn headers_are_read_as_mediamtx_reads_them() {
        let words = |user: &str, password: &str, token: &str| {
            (user.to_owned(), password.to_owned(), token.to_owned())
        };
        for (headers, expect) in [
            (&["Basic bWFyaWE6czpjcmV0"][..], words("maria", "s:cret", "")),
            (&["basic  bWFyaWE6czpjcmV0 "], words("maria", "s:cret", "")),
            (&["Bearer abc.def.ghi"], words("", "", "abc.def.ghi")),
            (&["Bearer maria:secret"], words("maria", "secret", "")),
            (&["Bearer a:b:c"], words("", "", "a:b:c")),
            (&["Basic bWFyaWE6czpjcmV0", "Bearer t"], words("", "", "t")),
            (&["Basic %%%"], words("", "", "")),
            (&["Digest username=\"maria\""], words("", "", "")),
            (&["Basic"], words("", "", "")),
            (&[], words("", "", "")),
        ] {
            assert_eq!(read(headers), expect, "{headers:?}");
        }
        let long = format!("Bearer {}", "x".repeat(CREDENTIALS_BYTES_MAX));
        assert_eq!(read(&[&long]), words("", "", ""), "longer than the limit");
    }

    #[test]
    fn a_query_gives_a_token_only_where_nothing_else_does() {
        let token = |query: &str| Credentials::default().or_token_of(query).token;
        assert_eq!(token("token=a.b&x=1"), "a.b");
        assert_eq!(token("jwt=a.b"), "a.b");
        assert_eq!(token("token=a&token=b"), "");
        assert_eq!(token("user=u&pass=p"), "");
        assert_eq!(Credentials::plain("u", "p").or_token_of("token=a").token(), "p");
        assert!(Credentials::from_query("user=u&pass=p%26q") == Credentials::plain("u", "p&q"));
        assert!(Credentials::from_query("user=u&user=v&pass=p&token=t") == Credentials::plain("", "p"));
        assert_eq!(format!("{:?}", Credentials::plain("u", "hunter2")), "Credentials(***)");
    }
}
