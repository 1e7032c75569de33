//! Tokens: JSON Web Tokens with `authMethod: jwt`: whether one is worth believing, and what it allows.
//!
//! ```text
//!  JWKS ─first use, hourly, POST /v3/auth/jwks/refresh, unknown key─► keys ─► token: signature, exp, nbf, iss, aud ─► permissions
//! ```
//!
//! Which algorithms a key is for is the key's to say, never the token's. Keys that are shared secrets are passed over: whoever
//! can read them can sign.
//!
//! Limits: [`KEYS_MAX`], [`PERMISSIONS_MAX`]. Keys that can't be fetched anew are used on for [`STALE_MAX`].
//! Spec: RFC 7515, RFC 7517, RFC 7519.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::Method;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use media_core::gate::{Permission, TokenFacts};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{debug, info};

use super::outbound::{NoAnswer, Outbound};
use crate::config::access::TokensConfig;
use crate::runtime::clock;
use crate::runtime::tasks::TaskSet;
use crate::tls_client::SetupError;

/// Keys are fetched anew after this, MediaMTX's.
const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// A try that failed, and one for a key that nobody knows, is not repeated within this.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Without an answer, keys are used on for so long.
const STALE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Keys of one set; further ones are left out.
const KEYS_MAX: usize = 64;
/// Permissions of one token; a token with more is not believed.
const PERMISSIONS_MAX: usize = 1000;
/// How far clocks may differ.
const LEEWAY_SECS: u64 = 5;

/// A key that signatures can be checked with.
struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// The keys of one fetch.
struct Keys {
    keys: Vec<Key>,
    fetched: Instant,
}

/// Believes tokens or does not.
pub(super) struct Tokens {
    config: TokensConfig,
    outbound: Outbound,
    keys: ArcSwapOption<Keys>,
    /// When a fetch was last tried; held while one is under way.
    tried: Mutex<Option<Instant>>,
}

/// What became of a token.
pub(super) enum Judged {
    /// It says this.
    Believed(TokenFacts),
    /// It is not in order.
    Refused,
    /// There is nothing to check it with.
    NoKeys,
}

impl Tokens {
    /// Tokens signed by those whose keys are at the configured place.
    ///
    /// # Errors
    /// [`SetupError`] when that is encrypted and nothing can be trusted.
    pub(super) fn new(config: &TokensConfig, timeout: Duration, tasks: &TaskSet) -> Result<Self, SetupError> {
        let outbound = Outbound::new(&config.keys, "authJWTJWKSFingerprint", timeout, tasks)?;
        Ok(Self { config: config.clone(), outbound, keys: ArcSwapOption::empty(), tried: Mutex::default() })
    }

    /// The next token is checked with keys fetched anew.
    pub(super) async fn forget_keys(&self) {
        let mut tried = self.tried.lock().await;
        *tried = None;
        self.keys.store(None);
    }

    /// What a token is worth.
    pub(super) async fn judge(&self, token: &str) -> Judged {
        let Ok(header) = jsonwebtoken::decode_header(token) else { return Judged::Refused };
        let Some(mut keys) = self.fresh_keys().await else { return Judged::NoKeys };
        let is_known = |keys: &Keys| keys.keys.iter().any(|key| key.id == header.kid);
        if header.kid.is_some() && !is_known(&keys) {
            // The signer may have a new key.
            let Some(newer) = self.fetch(Some(keys.fetched)).await else { return Judged::NoKeys };
            keys = newer;
        }
        let candidates = keys.keys.iter().filter(|key| header.kid.is_none() || key.id == header.kid);
        for key in candidates.filter(|key| key.algorithms.contains(&header.alg)) {
            match jsonwebtoken::decode::<Value>(token, &key.key, &self.validation(key)) {
                Ok(decoded) => {
                    let facts = self.facts(&decoded.claims);
                    return facts.map_or(Judged::Refused, Judged::Believed);
                }
                Err(error) => debug!(%error, "token refused"),
            }
        }
        Judged::Refused
    }

    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::default();
        validation.algorithms.clone_from(&key.algorithms);
        validation.leeway = LEEWAY_SECS;
        validation.validate_nbf = true;
        validation.validate_aud = self.config.audience.is_some();
        validation.required_spec_claims.clear();
        if let Some(issuer) = &self.config.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        if let Some(audience) = &self.config.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        validation
    }

    /// The permissions of a token: a list, or a text that holds one, as some providers can only do.
    fn facts(&self, claims: &Value) -> Option<TokenFacts> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            action: String,
            #[serde(default)]
            path: Option<String>,
        }
        let claim = claims.get(&self.config.claim)?;
        let written: Vec<Written> = match claim {
            Value::String(text) => serde_json::from_str(text).ok()?,
            claim => serde_json::from_value(claim.clone()).ok()?,
        };
        if written.len() > PERMISSIONS_MAX {
            return None;
        }
        let permissions = written.into_iter().map(|Written { action, path }| {
            Permission::parse(&action, &path.unwrap_or_default()).ok().flatten()
        });
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(TokenFacts { subject, permissions: permissions.collect::<Option<_>>()? })
    }

    async fn fresh_keys(&self) -> Option<Arc<Keys>> {
        let now = clock::now();
        if let Some(keys) = self.keys.load_full()
            && now < keys.fetched + REFRESH_EVERY
        {
            return Some(keys);
        }
        let outdated = self.keys.load().as_ref().map(|keys| keys.fetched);
        self.fetch(outdated).await
    }

    /// Fetches the keys, unless somebody else did since those of `outdated`, or just tried.
    async fn fetch(&self, outdated: Option<Instant>) -> Option<Arc<Keys>> {
        let mut tried = self.tried.lock().await;
        let now = clock::now();
        let usable = || self.keys.load_full().filter(|keys| now < keys.fetched + STALE_MAX);
        let is_newer = usable().is_some_and(|keys| Some(keys.fetched) != outdated);
        if is_newer || tried.is_some_and(|tried| now < tried + RETRY_AFTER) {
            return usable();
        }
        *tried = Some(now);
        match self.fetch_now().await {
            Ok(keys) => {
                info!(keys = keys.keys.len(), "keys of tokens fetched");
                self.keys.store(Some(Arc::new(keys)));
            }
            Err(error) => self.outbound.complain(&error),
        }
        usable()
    }

    async fn fetch_now(&self) -> Result<Keys, NoAnswer> {
        let answer = self.outbound.ask(Method::GET, Bytes::new()).await?;
        if !answer.status.is_success() {
            return Err(NoAnswer::Status(answer.status));
        }
        let keys = read_keys(&answer.body)?;
        Ok(Keys { keys, fetched: clock::now() })
    }
}

/// The usable keys of a set; keys that make no sense, or are of a kind unknown here, don't spoil the others.
fn read_keys(json: &[u8]) -> Result<Vec<Key>, NoAnswer> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let nonsense = |error: serde_json::Error| NoAnswer::Nonsense(error.to_string());
    let set: Set = serde_json::from_slice(json).map_err(nonsense)?;
    let known = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let set = JwkSet { keys: known.take(KEYS_MAX).collect() };
    Ok(set.keys.iter().filter_map(usable_key).collect())
}

fn usable_key(jwk: &Jwk) -> Option<Key> {
    let is_for_signing = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let algorithms = algorithms(jwk)?;
    let key = DecodingKey::from_jwk(jwk).ok()?;
    is_for_signing.then(|| Key { id: jwk.common.key_id.clone(), key, algorithms })
}

/// What a key is for: what it says, or all that its kind can do.
fn algorithms(jwk: &Jwk) -> Option<Vec<Algorithm>> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => return None,
    };
    match jwk.common.key_algorithm {
        None => Some(of_kind.to_vec()),
        Some(stated) => {
            let stated = signing_algorithm(stated)?;
            of_kind.contains(&stated).then(|| vec![stated])
        }
    }
}

fn signing_algorithm(stated: KeyAlgorithm) -> Option<Algorithm> {
    Some(match stated {
        KeyAlgorithm::RS256 => Algorithm::RS256,
        KeyAlgorithm::RS384 => Algorithm::RS384,
        KeyAlgorithm::RS512 => Algorithm::RS512,
        KeyAlgorithm::PS256 => Algorithm::PS256,
        KeyAlgorithm::PS384 => Algorithm::PS384,
        KeyAlgorithm::PS512 => Algorithm::PS512,
        KeyAlgorithm::ES256 => Algorithm::ES256,
        KeyAlgorithm::ES384 => Algorithm::ES384,
        KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7517 A.1 and RFC 8037 A.2, with fields put in and out.
    const EC: &str = r#""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#;
    const OKP: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    const RSA: &str = r#""kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB""#;

    fn of(fields: &str) -> Option<Vec<Algorithm>> {
        let keys = read_keys(format!("{{\"keys\":[{{{fields}}}]}}").as_bytes()).unwrap();
        keys.first().map(|key| key.algorithms.clone())
    }

    // correctness: S1
    #[test]
    fn a_keys_algorithms_are_its_own_to_say() {
        assert_eq!(of(EC), Some(vec![Algorithm::ES256]));
        assert_eq!(of(OKP), Some(vec![Algorithm::EdDSA]));
        assert_eq!(of(RSA).map(|algorithms| algorithms.len()), Some(6));
        assert_eq!(of(&format!("{RSA},\"alg\":\"RS256\"")), Some(vec![Algorithm::RS256]));
        assert_eq!(of(&format!("{RSA},\"alg\":\"HS256\"")), None, "a public key is no shared secret");
        assert_eq!(of(&format!("{EC},\"alg\":\"RS256\"")), None);
        assert_eq!(of(&format!("{RSA},\"use\":\"enc\"")), None);
        assert_eq!(of(r#""kty":"oct","k":"c2VjcmV0","alg":"HS256""#), None);
        assert_eq!(of(r#""kty":"odd""#), None);
    }

    #[test]
    fn one_odd_key_does_not_spoil_a_set() {
        let set = format!("{{\"keys\":[{{\"kty\":\"odd\"}},7,{{{EC},\"kid\":\"a\"}}]}}");
        let keys = read_keys(set.as_bytes()).unwrap();
        assert_eq!(keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("a")]);
        for nonsense in ["", "{}", "[]", "<html>"] {
            assert!(read_keys(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }

    // correctness: S1
    #[test]
    fn fuzz_no_token_is_believed_that_no_key_signed() {
        let keys = read_keys(format!("{{\"keys\":[{{{EC}}},{{{OKP}}},{{{RSA}}}]}}").as_bytes()).unwrap();
        gtvision_fuzz::feed("tokens", move |input| {
            read_keys(input).ok();
            let Ok(token) = std::str::from_utf8(input) else { return };
            let Ok(header) = jsonwebtoken::decode_header(token) else { return };
            for key in keys.iter().filter(|key| key.algorithms.contains(&header.alg)) {
                let mut validation = Validation::default();
                validation.algorithms.clone_from(&key.algorithms);
                assert!(jsonwebtoken::decode::<Value>(token, &key.key, &validation).is_err(), "{token}");
            }
        });
    }
}
