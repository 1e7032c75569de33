//! ICE servers as `Link` headers (RFC 9725 s4.6), with short-lived TURN credentials.
//!
//! With the user `AUTH_SECRET` the credentials are those of the TURN REST API that coturn and others
//! speak: user = expiry time `:` a random name, password = base64(HMAC-SHA1(secret, user)).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use media_core::time::WallTime;

use crate::config::resolved::IceServer;

/// The user name that asks for generated credentials (MediaMTX).
const AUTH_SECRET: &str = "AUTH_SECRET";
/// How long generated credentials hold, in seconds: a day, as MediaMTX.
const CREDENTIAL_SECS: i64 = 24 * 3600;

/// The value of one `Link` header for this server; `nonce` makes generated users differ.
pub(crate) fn link(server: &IceServer, nonce: &str, now: WallTime) -> String {
    let url = quoted(&server.url);
    let mut link = format!("<{url}>; rel=\"ice-server\"");
    if server.username.is_empty() {
        return link;
    }
    let (user, password) = if server.username == AUTH_SECRET {
        generated(server.password.expose(), nonce, now)
    } else {
        (server.username.clone(), server.password.expose().to_owned())
    };
    link.push_str(&format!(
        "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
        quoted(&user),
        quoted(&password)
    ));
    link
}

fn generated(secret: &str, nonce: &str, now: WallTime) -> (String, String) {
    let expires = now.unix_us() / 1_000_000 + CREDENTIAL_SECS;
    let user = format!("{expires}:{nonce}");
    // SHA-1 is what TURN servers check (draft-uberti-behave-turn-rest s2.2).
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let password = BASE64_STANDARD.encode(hmac::sign(&key, user.as_bytes()));
    (user, password)
}

/// The text for a quoted string of a header: no quotes, backslashes or controls survive unescaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !c.is_control()) {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source_url::Secret;

    fn server(username: &str, password: &str) -> IceServer {
        IceServer {
            url: "turn:turn.example.net:3478".into(),
            username: username.into(),
            password: Secret::new(password),
            client_only: true,
        }
    }

    #[test]
    fn link_has_the_form_of_rfc_9725() {
        assert_eq!(
            link(&server("u", "p\"w"), "n", WallTime(0)),
            "<turn:turn.example.net:3478>; rel=\"ice-server\"; username=\"u\"; credential=\"p\\\"w\"; \
             credential-type=\"password\""
        );
        assert_eq!(
            link(&server("", ""), "n", WallTime(0)),
            "<turn:turn.example.net:3478>; rel=\"ice-server\""
        );
    }

    #[test]
    fn auth_secret_makes_credentials_that_coturn_accepts() {
        // printf '86400:n' | openssl dgst -sha1 -hmac north -binary | base64
        let link = link(&server("AUTH_SECRET", "north"), "n", WallTime(0));
        assert!(link.contains("username=\"86400:n\""), "{link}");
        assert!(link.contains("credential=\"/O4y7lUQ+0NzXDRzZ5x1LTXAhW8=\""), "{link}");
        assert!(!link.contains("north"), "the secret itself must not leave");
    }
}
