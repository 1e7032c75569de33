//! Access: who may do what, from the `auth*` keys and the older ones of paths.
//!
//! Names and rules are MediaMTX's: `user: any` for anyone, permissions with an action and a path, secrets in clear or
//! hashed. What no rule allows is refused.
//!
//! Limits: [`USERS_MAX`], [`RULES_MAX`].

use std::time::Duration;

use media_core::gate::{Action, Digest, PathRule, Permission, Policy, Secret, User, Who};
use media_core::path_name::PathName;

use super::check::{canonical, is_default};
use super::fault::{FaultKind, Faults, Place};
use super::pattern::{is_all, is_pattern};
use super::reader::Reader;
use super::tree::{Entry, Node, Value};
use super::values::{self, Expected};
use super::{Warning, paths};
use crate::access::hashes;

/// Users of the internal list. Each request looks at each; more belong into a server or an identity provider.
const USERS_MAX: usize = 1000;

/// Permissions, or addresses, of one user.
const RULES_MAX: usize = 1000;

/// MediaMTX's default users.
pub(crate) const DEFAULT_USERS: &str = "[{user: any, pass: '', ips: [], permissions: [{action: publish, path: ''}, \
    {action: read, path: ''}, {action: playback, path: ''}]}, {user: any, pass: '', ips: [127.0.0.1, '::1'], \
    permissions: [{action: api}, {action: metrics}, {action: pprof}]}]";

/// What is left to users of the older keys of paths: playback, and the server's own machine.
const USERS_BESIDE_PATHS: &str = "[{user: any, permissions: [{action: playback}]}, \
    {user: any, ips: [127.0.0.1, '::1'], permissions: [{action: api}, {action: metrics}, {action: pprof}]}]";

/// Who may do what, and who else is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessConfig {
    /// `authMethod` with its rules.
    pub(crate) policy: Policy,
    /// Who is asked, with `authMethod: http` or `jwt`.
    pub(crate) authority: Option<Authority>,
    /// `readTimeout`: how long whoever is asked may take.
    pub(crate) timeout: Duration,
}

/// Who is asked about callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// A server (`authHTTPAddress`).
    Server(Peer),
    /// Whoever signs tokens.
    Tokens(TokensConfig),
}

/// A server that is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Where; `http` or `https`. May hold credentials: printing it shows none.
    pub(crate) url: PeerUrl,
    /// SHA-256 of the certificate it must show; `None` means that it must be valid.
    pub(crate) fingerprint: Option<[u8; 32]>,
}

/// An `http://` or `https://` URL. Printing it shows its scheme, host and port only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PeerUrl(pub(crate) url::Url);

impl std::fmt::Debug for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Tokens that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokensConfig {
    /// Where the keys are (`authJWTJWKS`).
    pub(crate) keys: Peer,
    /// `authJWTClaimKey`: which claim holds the permissions.
    pub(crate) claim: String,
    /// `authJWTIssuer`; `None` is not looked at.
    pub(crate) issuer: Option<String>,
    /// `authJWTAudience`; `None` is not looked at.
    pub(crate) audience: Option<String>,
    /// `authJWTInHTTPQuery`: whether URLs of HTTP requests may hold a token. Those of RTSP may anyway.
    pub(crate) in_http_query: InHttpQuery,
}

/// Whether a token may stand in the URL of an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InHttpQuery {
    /// It may.
    Allowed,
    /// It may not: URLs are logged by whoever is between.
    Refused,
}

/// Reads the keys.
pub(crate) fn resolve(root: &Node, warnings: &mut Vec<Warning>, faults: &mut Faults) -> AccessConfig {
    let written = |key: &str| root.get(key).is_some_and(|node| !canonical(node).is_empty());
    let mut reader = Reader::new(root, None, faults);
    if reader.off("allowUnauthenticated")
        && (written("authMethod") || written("authInternalUsers") || written("externalAuthenticationURL"))
    {
        warnings.push(Warning::RulesAreEnforced);
    }
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    // A wrong value is told where it is read for cameras.
    let timeout = root.get("readTimeout").and_then(Node::text).and_then(|text| values::duration(text).ok());
    let timeout = timeout.unwrap_or(10 * second).clamp(second, hour);
    let (policy, authority) = match method(&mut reader) {
        Method::Internal => (Policy::Users(users(root, faults)), None),
        Method::Http => {
            let key =
                if written("authHTTPAddress") { "authHTTPAddress" } else { "externalAuthenticationURL" };
            let peer = peer(&mut reader, key, "authHTTPFingerprint");
            let open = exclusions(root, "authHTTPExclude", faults);
            (Policy::Server { open }, peer.map(Authority::Server))
        }
        Method::Jwt => {
            let tokens = tokens(&mut reader);
            let open = exclusions(root, "authJWTExclude", faults);
            (Policy::Token { open }, tokens.map(Authority::Tokens))
        }
    };
    check_digest(root, &policy, faults);
    AccessConfig { policy, authority, timeout }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Internal,
    Http,
    Jwt,
}

fn method(reader: &mut Reader<'_>) -> Method {
    let default = match reader.find("externalAuthenticationURL").and_then(Node::text) {
        None | Some("") => Method::Internal,
        Some(_) => Method::Http,
    };
    reader.value("authMethod", default, |text| match text {
        "internal" => Ok(default),
        "http" => Ok(Method::Http),
        "jwt" => Ok(Method::Jwt),
        _ => Err(Expected::OneOf(&["internal", "http", "jwt"])),
    })
}

fn peer(reader: &mut Reader<'_>, key: &str, fingerprint_key: &str) -> Option<Peer> {
    let fingerprint = reader.value(fingerprint_key, None, |text| match text {
        "" => Ok(None),
        text => values::fingerprint(text).map(Some),
    });
    let expected = || Expected::Other("a URL that begins with http:// or https://");
    let node = reader.find(key);
    let url = node.and_then(Node::text).and_then(|text| url::Url::parse(text).ok());
    match url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        Some(url) => Some(Peer { url: PeerUrl(url), fingerprint }),
        None => {
            let place = node.map_or(Place::Whole, |node| node.place.clone());
            reader.faults().add(&place, FaultKind::BadSecret { key: key.to_owned(), expected: expected() });
            None
        }
    }
}

fn tokens(reader: &mut Reader<'_>) -> Option<TokensConfig> {
    let claim = reader.value("authJWTClaimKey", "mediamtx_permissions".to_owned(), |text| match text {
        "" => Err(Expected::Other("the name of a claim")),
        text => Ok(text.to_owned()),
    });
    let optional = |text: String| (!text.is_empty()).then_some(text);
    let (issuer, audience) = (reader.text("authJWTIssuer", ""), reader.text("authJWTAudience", ""));
    let in_http_query = match reader.off("authJWTInHTTPQuery") {
        true => InHttpQuery::Allowed,
        false => InHttpQuery::Refused,
    };
    let keys = peer(reader, "authJWTJWKS", "authJWTJWKSFingerprint")?;
    Some(TokensConfig { keys, claim, issuer: optional(issuer), audience: optional(audience), in_http_query })
}

fn users(root: &Node, faults: &mut Faults) -> Vec<User> {
    let written = root.get("authInternalUsers").filter(|node| node.value != Value::Null);
    let of_paths = users_of_paths(root, faults);
    if of_paths.is_empty() {
        return match written {
            Some(list) => read_users(list, faults),
            None => stock(DEFAULT_USERS, faults),
        };
    }
    if let Some(list) = written.filter(|list| !is_default(list, DEFAULT_USERS)) {
        let message = "\"authInternalUsers\" and the older keys of paths (publishUser, publishPass, publishIPs, \
                       readUser, readPass, readIPs) exclude each other";
        faults.add(&list.place, FaultKind::Conflict(message.to_owned()));
    }
    let mut users = stock(USERS_BESIDE_PATHS, faults);
    users.extend(of_paths);
    users
}

fn stock(text: &str, faults: &mut Faults) -> Vec<User> {
    Node::parse(text).map(|list| read_users(&list, faults)).unwrap_or_default()
}

fn read_users(list: &Node, faults: &mut Faults) -> Vec<User> {
    let items = bounded(list, "authInternalUsers", USERS_MAX, faults);
    items.iter().filter_map(|item| user(item, faults)).collect()
}

/// The items of a list of maps.
fn bounded<'a>(list: &'a Node, key: &str, max: usize, faults: &mut Faults) -> &'a [Node] {
    if !matches!(&list.value, Value::List(_) | Value::Null) && !canonical(list).is_empty() {
        let kind = FaultKind::WrongShape { key: key.to_owned(), expected: "a list" };
        faults.add(&list.place, kind);
    }
    let items = list.items();
    if items.len() > max {
        faults.add(&list.place, FaultKind::TooMany { what: "items in a list", got: items.len(), max });
    }
    items.get(..max).unwrap_or(items)
}

fn only_known(item: &Node, known: &[&str], faults: &mut Faults) {
    for entry in item.entries() {
        if !known.contains(&entry.key.as_str()) {
            faults.add(&entry.place, FaultKind::UnknownKey { key: entry.key.clone(), suggestion: None });
        }
    }
}

fn user(item: &Node, faults: &mut Faults) -> Option<User> {
    only_known(item, &["user", "pass", "ips", "permissions"], faults);
    let permissions = match item.get("permissions") {
        Some(list) => permissions(list, faults),
        None => Vec::new(),
    };
    let mut reader = Reader::new(item, None, faults);
    let ips = reader.list("ips", Vec::new(), values::network);
    let name = item.get("user").and_then(Node::text).unwrap_or_default();
    let place = item.get("user").map_or(&item.place, |node| &node.place);
    let password = secret(&mut reader, "pass");
    let who = match name {
        "" => {
            let expected = "a name; \"any\" stands for anyone";
            reader.faults().add(place, FaultKind::WrongShape { key: "user".to_owned(), expected });
            return None;
        }
        "any" if password != Secret::Whatever => {
            let message = "a password for \"user: any\" is not supported: anyone has none";
            reader.faults().add(place, FaultKind::Conflict(message.to_owned()));
            return None;
        }
        "any" => Who::Anyone,
        _ => Who::Named { user: secret(&mut reader, "user"), password },
    };
    Some(User { who, ips, permissions })
}

fn secret(reader: &mut Reader<'_>, key: &str) -> Secret {
    let Some(node) = reader.find(key) else { return Secret::Whatever };
    let text = node.text().unwrap_or_default();
    let bad = |expected| FaultKind::BadSecret { key: key.to_owned(), expected: Expected::Other(expected) };
    match Secret::parse(text) {
        Ok(Secret::Argon2(encoded)) if !hashes::is_usable(&encoded) => {
            let expected = "an argon2 hash that can be checked: \"argon2:$argon2id$v=19$m=4096,t=3,p=1$...\" \
                            with m at most 262144 and t and p at most 16";
            reader.faults().add(&node.place, bad(expected));
            Secret::Whatever
        }
        Ok(secret) => secret,
        Err(_) => {
            reader.faults().add(&node.place, bad("\"sha256:\" with the base64 of a SHA-256"));
            Secret::Whatever
        }
    }
}

fn exclusions(root: &Node, key: &str, faults: &mut Faults) -> Vec<Permission> {
    root.get(key).map(|list| permissions(list, faults)).unwrap_or_default()
}

fn permissions(list: &Node, faults: &mut Faults) -> Vec<Permission> {
    let items = bounded(list, "permissions", RULES_MAX, faults);
    items.iter().filter_map(|item| permission(item, faults)).collect()
}

fn permission(item: &Node, faults: &mut Faults) -> Option<Permission> {
    only_known(item, &["action", "path"], faults);
    let mut reader = Reader::new(item, None, faults);
    let path = reader.text("path", "");
    let Some(action) = item.get("action") else {
        reader.wrong_shape(item, "permissions", "a list of permissions, each with an \"action\"");
        return None;
    };
    match Permission::parse(action.text().unwrap_or_default(), &path) {
        Ok(Some(permission)) => Some(permission),
        Ok(None) => {
            let expected = Expected::OneOf(&["publish", "read", "playback", "api", "metrics", "pprof"]);
            reader.value("action", (), |_| Err(expected));
            None
        }
        Err(_) => {
            reader.value("path", (), |_| Err(Expected::Other("a regular expression behind its ~")));
            None
        }
    }
}

/// Users as versions before 1.9 had them: a reader and a publisher for each path.
fn users_of_paths(root: &Node, faults: &mut Faults) -> Vec<User> {
    const KEYS: [&str; 6] = ["publishUser", "publishPass", "publishIPs", "readUser", "readPass", "readIPs"];
    let defaults = root.get("pathDefaults");
    let is_rule = |map: &Node| {
        KEYS.iter().any(|key| map.get(key).is_some_and(|node| !matches!(canonical(node).as_str(), "" | "[]")))
    };
    let entries = root.get("paths").map(Node::entries).unwrap_or_default();
    let is_used = entries.iter().map(|entry| &entry.node).chain(defaults).any(is_rule);
    if !is_used {
        return Vec::new();
    }
    let mut users = Vec::new();
    for about in [(Action::Publish, "publish"), (Action::Read, "read")] {
        let mut found = Vec::new();
        for entry in entries.iter().take(paths::PATHS_MAX) {
            found.extend(user_of_path(entry, defaults, about, faults).map(|user| (entry, user)));
        }
        check_patterns(&found, faults);
        users.extend(found.into_iter().map(|(_, user)| user));
    }
    users
}

/// Users have no order: what an entry for many paths gives, it would give where another entry, which goes before it, gives less.
fn check_patterns(users: &[(&Entry, User)], faults: &mut Faults) {
    let patterns = users.iter().filter(|(entry, _)| is_pattern(&entry.key));
    for (pattern, of_pattern) in patterns {
        let rule = rule_of(&pattern.key);
        let covers = |name: &str| {
            let path = PathName::parse(name).ok();
            is_pattern(name) || path.is_none_or(|path| rule.as_ref().is_none_or(|rule| rule.covers(&path)))
        };
        let is_other = |user: &User| (&user.who, &user.ips) != (&of_pattern.who, &of_pattern.ips);
        if users.iter().any(|(entry, user)| is_other(user) && covers(&entry.key)) {
            let message = "the older keys (publishUser, publishPass, publishIPs, readUser, readPass, readIPs) can't \
                           tell this entry's paths from those of another one with other users: write authInternalUsers";
            faults.add(&pattern.place, FaultKind::Conflict(message.to_owned()));
        }
    }
}

/// Which paths an entry is for; what is wrong with its name is told where paths are read.
fn rule_of(name: &str) -> Option<PathRule> {
    if is_all(name) { Some(PathRule::Any) } else { PathRule::parse(name).ok() }
}

fn user_of_path(
    entry: &Entry,
    defaults: Option<&Node>,
    (action, prefix): (Action, &str),
    faults: &mut Faults,
) -> Option<User> {
    let mut reader = Reader::new(&entry.node, defaults, faults);
    let ips = reader.list(&format!("{prefix}IPs"), Vec::new(), values::network);
    let user = secret(&mut reader, &format!("{prefix}User"));
    let password = secret(&mut reader, &format!("{prefix}Pass"));
    let who = match user {
        Secret::Whatever => Who::Anyone,
        Secret::Plain(name) if name == "any" => Who::Anyone,
        user => Who::Named { user, password },
    };
    let rule = rule_of(&entry.key)?;
    Some(User { who, ips, permissions: vec![Permission::Camera(action, rule)] })
}

/// How RTSP clients show who they are.
pub(crate) fn rtsp_auth_methods(reader: &mut Reader<'_>) -> Digest {
    let methods = reader.list("rtspAuthMethods", vec!["basic"], |text| match text {
        "basic" => Ok("basic"),
        "digest" => Ok("digest"),
        _ => Err(Expected::OneOf(&["basic", "digest"])),
    });
    match (methods.contains(&"basic"), methods.contains(&"digest")) {
        (_, false) => Digest::No,
        (true, true) => Digest::Offered,
        (false, true) => Digest::Only,
    }
}

/// A challenge can only be checked with what it asks for.
fn check_digest(root: &Node, policy: &Policy, faults: &mut Faults) {
    let Some(methods) = root.get("rtspAuthMethods") else { return };
    let is_digest = methods.items().iter().chain([methods]).any(|node| node.text() == Some("digest"));
    let is_hashed = |user: &User| match &user.who {
        Who::Named { user, password } => user.is_hashed() || password.is_hashed(),
        Who::Anyone => false,
    };
    let message = match policy {
        Policy::Users(users) if users.iter().any(is_hashed) => {
            "\"rtspAuthMethods\": digest needs passwords in clear, and authInternalUsers has hashed ones"
        }
        Policy::Users(_) => return,
        Policy::Server { .. } | Policy::Token { .. } => {
            "\"rtspAuthMethods\": digest works with \"authMethod: internal\" only"
        }
    };
    if is_digest {
        faults.add(&methods.place, FaultKind::Conflict(message.to_owned()));
    }
}
