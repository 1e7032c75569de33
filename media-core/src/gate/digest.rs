//! Digest: challenges to RTSP clients, and their answers.
//!
//! ```text
//!  challenge: nonce ─► client: hash of user, password, nonce, method, URL ─► DigestAnswer ─► the same hash here?
//! ```
//!
//! A nonce is a connection's own and ends after [`NONCE_LIFETIME`]; an answer to another one is told so (`stale=true`), and its
//! client computes anew without asking anyone. No `qop` is offered: half of the players leave it out.
//!
//! Belongs here: texts and hashes. Does not: who the users are (-> `rules`).
//! Spec: RFC 2617 s3.2, RFC 7616 s3.4. Deviations: the answer's URL is held against the request's by path and query only, since
//! players differ in what they sign (correctness: R1).

use std::time::{Duration, Instant};

use http_auth::ChallengeRef;
use md5::Md5;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::Matches;
use super::credentials::{CREDENTIALS_BYTES_MAX, Credentials, Password};

/// What callers are told that they sign in to; MediaMTX's.
pub const REALM: &str = "mediamtx";

/// A nonce is good for so long.
pub const NONCE_LIFETIME: Duration = Duration::from_secs(300);

/// Hash functions of the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

/// Whether Digest is offered besides Basic (`rtspAuthMethods`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// Basic only.
    No,
    /// Both.
    Offered,
    /// Digest only: passwords never travel.
    Only,
}

/// A client's answer to a challenge, for the right nonce, realm and URL. Printing it shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestAnswer {
    algorithm: Algorithm,
    user: String,
    nonce: String,
    method: String,
    uri: String,
    /// Count, client's nonce and quality, where the client sends them.
    quality: Option<(String, String, String)>,
    response: String,
}

impl DigestAnswer {
    /// Whether its sender knows a user's password.
    pub(super) fn check(&self, user: &str, password: &str) -> Matches {
        let expect = match self.algorithm {
            Algorithm::Md5 => self.response::<Md5>(user, password),
            Algorithm::Sha256 => self.response::<Sha256>(user, password),
        };
        let is_same: bool = expect.as_bytes().ct_eq(self.response.as_bytes()).into();
        if self.user == user && is_same { Matches::Yes } else { Matches::No }
    }

    /// RFC 7616 s3.4.1; without `qop` as in RFC 2069.
    fn response<D: sha2::Digest>(&self, user: &str, password: &str) -> String {
        let who = hex::<D>(&format!("{user}:{REALM}:{password}"));
        let what = hex::<D>(&format!("{}:{}", self.method, self.uri));
        let nonce = &self.nonce;
        match &self.quality {
            None => hex::<D>(&format!("{who}:{nonce}:{what}")),
            Some((count, client_nonce, quality)) => {
                hex::<D>(&format!("{who}:{nonce}:{count}:{client_nonce}:{quality}:{what}"))
            }
        }
    }
}

fn hex<D: sha2::Digest>(text: &str) -> String {
    D::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a request shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown {
    /// These; perhaps none.
    Credentials(Credentials),
    /// An answer to a nonce that is over: challenge it again.
    Stale,
}

/// The challenges of one connection.
#[derive(Clone, Debug)]
pub struct Challenger {
    digest: Digest,
    nonce: String,
    made: Instant,
}

impl Challenger {
    /// Challenges with a nonce: random, not to be guessed.
    pub fn new(digest: Digest, nonce: String, now: Instant) -> Self {
        Self { digest, nonce, made: now }
    }

    /// Whether the nonce is over and [`Challenger::renew`] is due.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.made + NONCE_LIFETIME
    }

    /// Takes a new nonce.
    pub fn renew(&mut self, nonce: String, now: Instant) {
        (self.nonce, self.made) = (nonce, now);
    }

    /// The challenges, one a header. Of several Digest ones most players take the last, and know only MD5.
    pub fn challenges(&self, shown: &Shown) -> Vec<String> {
        let stale = if *shown == Shown::Stale { ", stale=true" } else { "" };
        let digest = format!("Digest realm=\"{REALM}\", nonce=\"{}\"{stale}", self.nonce);
        let mut challenges = Vec::with_capacity(3);
        if self.digest != Digest::No {
            challenges.push(format!("{digest}, algorithm=SHA-256"));
            challenges.push(digest);
        }
        if self.digest != Digest::Only {
            challenges.push(format!("Basic realm=\"{REALM}\""));
        }
        challenges
    }

    /// Reads the Authorization header of a request.
    pub fn read(&self, authorization: Option<&str>, method: &str, url: &Url, now: Instant) -> Shown {
        let header = authorization.unwrap_or_default().trim();
        let is_digest = header.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("digest "));
        match (is_digest, self.digest) {
            (true, Digest::Offered | Digest::Only) if header.len() <= CREDENTIALS_BYTES_MAX => {
                self.read_digest(header, method, url, now)
            }
            (false, Digest::No | Digest::Offered) => {
                Shown::Credentials(Credentials::from_authorization(Some(header)))
            }
            _ => Shown::Credentials(Credentials::default()),
        }
    }

    fn read_digest(&self, header: &str, method: &str, url: &Url, now: Instant) -> Shown {
        let nothing = Shown::Credentials(Credentials::default());
        let Ok(parsed) = http_auth::parse_challenges(header) else { return nothing };
        let Some(fields) = parsed.first() else { return nothing };
        if field(fields, "nonce") != self.nonce || self.is_over(now) {
            return Shown::Stale;
        }
        let algorithm = match field(fields, "algorithm").to_ascii_uppercase().as_str() {
            "" | "MD5" => Algorithm::Md5,
            "SHA-256" => Algorithm::Sha256,
            _ => return nothing,
        };
        let uri = field(fields, "uri");
        if field(fields, "realm") != REALM || !is_same_resource(&uri, url) {
            return nothing;
        }
        let quality = match field(fields, "qop") {
            quality if quality.is_empty() => None,
            quality => Some((field(fields, "nc"), field(fields, "cnonce"), quality)),
        };
        let user = field(fields, "username");
        let answer = DigestAnswer {
            algorithm,
            user: user.clone(),
            nonce: self.nonce.clone(),
            method: method.to_owned(),
            uri,
            quality,
            response: field(fields, "response").to_ascii_lowercase(),
        };
        let password = Password::Digest(Box::new(answer));
        Shown::Credentials(Credentials { user, password, token: String::new() })
    }
}

/// Empty where there is no such field.
fn field(fields: &ChallengeRef<'_>, name: &str) -> String {
    let mut found = fields.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.to_unescaped()).unwrap_or_default()
}

/// Whether a signed URL, whole or without its host, is that of a request: one of them may name a track, or end with a slash.
fn is_same_resource(signed: &str, url: &Url) -> bool {
    let signed = match Url::parse(signed) {
        Ok(signed) => whole(&signed),
        Err(_) => signed.to_owned(),
    };
    let (signed, asked) = (signed.trim_end_matches('/'), whole(url));
    let asked = asked.trim_end_matches('/');
    let goes_on = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    goes_on(signed, asked) || goes_on(asked, signed)
}

fn whole(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "rtsp://h:8554/cam_1?x=y";

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn challenger(digest: Digest) -> (Challenger, Instant) {
        let now = Instant::now();
        (Challenger::new(digest, "n0nce".to_owned(), now), now)
    }

    /// The client half that the library has, which was not written here.
    fn answer(challenge: &str, uri: &str, password: &str) -> String {
        let mut client = http_auth::PasswordClient::try_from(challenge).unwrap();
        let params =
            http_auth::PasswordParams { username: "maria", password, uri, method: "DESCRIBE", body: None };
        let answer = client.respond(&params).unwrap();
        // It leaves the algorithm out where RFC 7616 wants it.
        if challenge.contains("SHA-256") { format!("{answer}, algorithm=SHA-256") } else { answer }
    }

    fn check(shown: &Shown) -> Option<Matches> {
        let Shown::Credentials(credentials) = shown else { return None };
        match &credentials.password {
            Password::Digest(answer) => Some(answer.check("maria", "s3cret")),
            Password::Plain(_) => None,
        }
    }

    #[test]
    fn answers_to_either_hash_are_checked() {
        let (challenger, now) = challenger(Digest::Offered);
        let none = Shown::Credentials(Credentials::default());
        let challenges = challenger.challenges(&none);
        assert_eq!(challenges.len(), 3, "{challenges:?}");
        assert_eq!(challenges[2], "Basic realm=\"mediamtx\"");
        let url = Url::parse(URL).unwrap();
        for challenge in &challenges[..2] {
            for uri in [URL, "/cam_1?x=y", "rtsp://h:8554/cam_1?x=y/", "rtsp://h:8554/cam_1?x=y/trackID=0"] {
                let read = |header: &str| challenger.read(Some(header), "DESCRIBE", &url, now);
                assert_eq!(check(&read(&answer(challenge, uri, "s3cret"))), Some(Matches::Yes), "{uri}");
                assert_eq!(check(&read(&answer(challenge, uri, "secret"))), Some(Matches::No), "{uri}");
            }
            let header = answer(challenge, URL, "s3cret");
            let played = challenger.read(Some(&header), "PLAY", &url, now);
            assert_eq!(check(&played), Some(Matches::No), "signed for another method");
            let other = Url::parse("rtsp://h:8554/cam_10?x=y").unwrap();
            assert!(challenger.read(Some(&header), "DESCRIBE", &other, now) == none, "another camera's");
        }
    }

    // correctness: S4
    #[test]
    fn a_nonce_is_a_connections_own_and_ends() {
        let (mut challenger, now) = challenger(Digest::Only);
        let none = Shown::Credentials(Credentials::default());
        let header = answer(&challenger.challenges(&none)[1], URL, "s3cret");
        let url = Url::parse(URL).unwrap();
        let late = now + NONCE_LIFETIME;
        assert!(challenger.read(Some(&header), "DESCRIBE", &url, late) == Shown::Stale);
        assert!(challenger.is_over(late) && !challenger.is_over(now));
        challenger.renew("another".to_owned(), late);
        let shown = challenger.read(Some(&header), "DESCRIBE", &url, late);
        assert!(shown == Shown::Stale);
        let challenges = challenger.challenges(&shown);
        assert_eq!(challenges[1], "Digest realm=\"mediamtx\", nonce=\"another\", stale=true");
        assert_eq!(challenges.len(), 2);
        let header = answer(&challenges[1], URL, "s3cret");
        assert_eq!(check(&challenger.read(Some(&header), "DESCRIBE", &url, late)), Some(Matches::Yes));
    }

    #[test]
    fn a_scheme_that_is_not_offered_shows_nothing() {
        let url = Url::parse(URL).unwrap();
        let none = Shown::Credentials(Credentials::default());
        let basic = "Basic bWFyaWE6czNjcmV0";
        let (only, now) = challenger(Digest::Only);
        assert!(only.read(Some(basic), "DESCRIBE", &url, now) == none);
        let header = answer(&only.challenges(&none)[1], URL, "s3cret");
        let (no, now) = challenger(Digest::No);
        assert!(no.read(Some(&header), "DESCRIBE", &url, now) == none);
        let shown = no.read(Some(basic), "DESCRIBE", &url, now);
        assert!(shown == Shown::Credentials(Credentials::plain("maria", "s3cret")));
        assert!(no.read(None, "DESCRIBE", &url, now) == none);
        assert!(no.read(Some("Digest"), "DESCRIBE", &url, now) == none);
    }
}
