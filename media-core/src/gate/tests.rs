//! The gate: who gets a grant for what, who is slowed, and what a session gives to whom.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::sessions::Session;
use super::slowdown::{ADDRESSES_MAX, SAVED_MAX, TRY_COST, WAIT_MAX};
use super::*;

/// `printf s3cret | openssl dgst -binary -sha256 | openssl base64`
const SHA256: &str = "sha256:HsHCa1DV08WNlYMYGvgHZlX+AHVr9yhZQLo2cPmfy6A=";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn path(name: &str) -> PathName {
    PathName::parse(name).unwrap()
}

fn permissions(rules: &[(&str, &str)]) -> Vec<Permission> {
    rules.iter().map(|(action, path)| Permission::parse(action, path).unwrap().unwrap()).collect()
}

fn user(name: &str, password: &str, ips: &[&str], rules: &[(&str, &str)]) -> User {
    let who = match name {
        "any" => Who::Anyone,
        _ => Who::Named { user: Secret::parse(name).unwrap(), password: Secret::parse(password).unwrap() },
    };
    let ips = ips.iter().map(|net| net.parse().unwrap()).collect();
    User { who, ips, permissions: permissions(rules) }
}

fn gate() -> Gate {
    Gate::new(Policy::Users(vec![
        user("maria", "s3cret", &[], &[("read", "cam_1"), ("playback", "~^gate/"), ("api", "")]),
        user("joão", SHA256, &["10.0.0.0/8"], &[("read", "")]),
        user("pushes", "argon2:$hash", &[], &[("publish", "")]),
        user("any", "", &[], &[("read", "lobby")]),
        user("any", "", &["127.0.0.1/32", "::1/128"], &[("metrics", "ignored")]),
    ]))
}

/// `None` for denied; the user's name, empty for anyone.
fn asked(gate: &Gate, caller: &Caller, action: Action, name: &str) -> Option<String> {
    match gate.camera(caller, action, &path(name), &Evidence::default()) {
        Ok(Admission { grant, basis }) => {
            assert_eq!((grant.path(), grant.action()), (&path(name), action));
            Some(match basis {
                Basis::Anyone => String::new(),
                Basis::Known(user) => user,
            })
        }
        Err(Hindrance::Denied) => None,
        Err(Hindrance::Unsure(question)) => panic!("{question:?}"),
    }
}

fn caller(from: &str, user: &str, password: &str) -> Caller {
    Caller { ip: ip(from), credentials: Credentials::plain(user, password) }
}

// correctness: S1
#[test]
fn a_user_gets_what_it_is_permitted_and_no_more() {
    let gate = gate();
    let known = |name: &str| Some(name.to_owned());
    for (from, name, password, action, camera, expect) in [
        ("192.0.2.1", "maria", "s3cret", Action::Read, "cam_1", known("maria")),
        ("192.0.2.1", "maria", "s3cret", Action::Read, "cam_10", None),
        ("192.0.2.1", "maria", "s3cret", Action::Read, "gate/north", None),
        ("192.0.2.1", "maria", "s3cret", Action::Playback, "gate/north", known("maria")),
        ("192.0.2.1", "maria", "s3cret", Action::Playback, "x/gate/north", None),
        ("192.0.2.1", "maria", "s3cret", Action::Publish, "cam_1", None),
        ("192.0.2.1", "maria", "secret", Action::Read, "cam_1", None),
        ("192.0.2.1", "maria", "", Action::Read, "cam_1", None),
        ("192.0.2.1", "Maria", "s3cret", Action::Read, "cam_1", None),
        ("192.0.2.1", "", "", Action::Read, "cam_1", None),
        ("10.1.2.3", "joão", "s3cret", Action::Read, "cam_9", known("joão")),
        ("::ffff:10.1.2.3", "joão", "s3cret", Action::Read, "cam_9", known("joão")),
        ("192.0.2.1", "joão", "s3cret", Action::Read, "cam_9", None),
        ("10.1.2.3", "joão", "secret", Action::Read, "cam_9", None),
        ("192.0.2.1", "", "", Action::Read, "lobby", known("")),
        ("192.0.2.1", "maria", "wrong", Action::Read, "lobby", known("")),
        ("192.0.2.1", "any", "", Action::Read, "cam_1", None),
    ] {
        let caller = caller(from, name, password);
        assert_eq!(asked(&gate, &caller, action, camera), expect, "{name} {action:?} {camera} from {from}");
    }
    let service = |caller: &Caller, service| gate.service(caller, service, &Evidence::default()).is_ok();
    assert!(service(&caller("192.0.2.1", "maria", "s3cret"), Service::Api));
    assert!(!service(&caller("127.0.0.1", "", ""), Service::Api));
    assert!(service(&caller("127.0.0.1", "", ""), Service::Metrics));
    assert!(service(&caller("::1", "", ""), Service::Metrics));
    assert!(!service(&caller("192.0.2.1", "", ""), Service::Metrics));
    assert!(!service(&caller("127.0.0.1", "", ""), Service::Pprof));
}

#[test]
fn a_slow_hash_is_asked_for_and_decides() {
    let gate = gate();
    let caller = caller("192.0.2.1", "pushes", "p");
    let look = |evidence: &Evidence| gate.camera(&caller, Action::Publish, &path("a"), evidence);
    let question = Question::Hash { encoded: "$hash".to_owned(), guess: "p".to_owned() };
    assert_eq!(look(&Evidence::default()), Err(Hindrance::Unsure(question)));
    let known = |matches| {
        let mut evidence = Evidence::default();
        evidence.note_hash("$hash".to_owned(), "p".to_owned(), matches);
        evidence
    };
    assert!(look(&known(Matches::Yes)).is_ok());
    assert_eq!(look(&known(Matches::No)), Err(Hindrance::Denied));
    let stranger = Caller { credentials: Credentials::plain("other", "p"), ..caller.clone() };
    let denied = gate.camera(&stranger, Action::Publish, &path("a"), &Evidence::default());
    assert_eq!(denied, Err(Hindrance::Denied), "another user's name costs no hash");
}

#[test]
fn a_server_is_asked_unless_anyone_may() {
    let gate = Gate::new(Policy::Server { open: permissions(&[("read", "lobby"), ("api", "")]) });
    let anonymous = Caller::anonymous(ip("192.0.2.1"));
    assert_eq!(asked(&gate, &anonymous, Action::Read, "lobby"), Some(String::new()));
    let look = |evidence: &Evidence| gate.camera(&anonymous, Action::Read, &path("cam_1"), evidence);
    assert_eq!(look(&Evidence::default()), Err(Hindrance::Unsure(Question::Server)));
    let mut evidence = Evidence::default();
    evidence.note_vouched_for();
    assert!(look(&evidence).is_ok_and(|admission| admission.basis == Basis::Known(String::new())));
    assert!(gate.service(&anonymous, Service::Api, &Evidence::default()).is_ok());
}

#[test]
fn a_token_allows_what_it_says() {
    let gate = Gate::new(Policy::Token { open: Vec::new() });
    let anonymous = Caller::anonymous(ip("192.0.2.1"));
    assert_eq!(asked(&gate, &anonymous, Action::Read, "cam_1"), None);
    let caller = caller("192.0.2.1", "whoever", "a.b.c");
    let look = |name: &str, evidence: &Evidence| gate.camera(&caller, Action::Read, &path(name), evidence);
    let question = Question::Token("a.b.c".to_owned());
    assert_eq!(look("cam_1", &Evidence::default()), Err(Hindrance::Unsure(question)));
    let mut evidence = Evidence::default();
    let facts = TokenFacts { subject: "maria".to_owned(), permissions: permissions(&[("read", "cam_1")]) };
    evidence.note_token(facts);
    let basis = look("cam_1", &evidence).map(|admission| admission.basis);
    assert_eq!(basis, Ok(Basis::Known("maria".to_owned())));
    assert_eq!(look("cam_2", &evidence), Err(Hindrance::Denied));
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    assert_eq!(Permission::parse("read", "~["), Err(BadPattern));
    assert_eq!(Permission::parse("fly", ""), Ok(None));
    assert_eq!(Secret::parse("sha256:abc"), Err(SecretError));
    let shown = format!("{:?}", user("maria", "hunter2", &[], &[]));
    assert!(!shown.contains("hunter2") && !shown.contains("maria"), "{shown}");
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn begin() -> Instant {
    Instant::now()
}

// correctness: S4
#[test]
fn a_session_gives_its_grants_to_its_own_address_only() {
    let now = begin();
    let mut sessions = Sessions::default();
    let key = SessionKey::new([7; 16]);
    assert_eq!(SessionKey::parse(&key.to_string()), Some(key));
    let grant = Gate::on_own_behalf(Action::Read, &path("cam_1"));
    let viewer = ip("192.0.2.1");
    sessions.open(key, (viewer, "ana"), [grant.clone()], now).unwrap();
    assert_eq!(sessions.user(key), Some("ana"));
    let wanted = path("cam_1");
    assert_eq!(sessions.find(key, viewer, (Action::Read, &wanted), now), Some(grant.clone()));
    assert_eq!(sessions.find(key, ip("192.0.2.2"), (Action::Read, &wanted), now), None, "another address");
    assert_eq!(sessions.find(key, viewer, (Action::Playback, &wanted), now), None, "another action");
    assert_eq!(sessions.find(key, viewer, (Action::Read, &path("cam_2")), now), None, "another camera");
    let other = SessionKey::new([8; 16]);
    assert_eq!(sessions.find(other, viewer, (Action::Read, &wanted), now), None);
    let later = now + Duration::from_secs(119);
    assert!(sessions.find(key, viewer, (Action::Read, &wanted), later).is_some());
    assert_eq!(sessions.count(later + Duration::from_secs(119)), 1, "asking kept it");
    let late = later + Duration::from_secs(120);
    assert_eq!(sessions.find(key, viewer, (Action::Read, &wanted), late), None);
    sessions.open(key, (viewer, "ana"), [grant], late).unwrap();
    sessions.clear();
    assert_eq!(sessions.find(key, viewer, (Action::Read, &wanted), late), None);
}

#[test]
fn keys_of_sessions_are_32_hexadecimal_digits() {
    for text in ["", "0", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32), &format!("+{}", "0".repeat(31))]
    {
        assert_eq!(SessionKey::parse(text), None, "{text}");
    }
    assert_eq!(format!("{:?}", SessionKey::new([1; 16])), "SessionKey(***)");
}

// correctness: S6
#[test]
fn sessions_and_their_grants_have_a_limit() {
    let now = begin();
    let mut sessions = Sessions::default();
    let viewer = ip("192.0.2.1");
    for number in 0..sessions::SESSIONS_MAX {
        let key = SessionKey::new(u128::try_from(number).unwrap().to_be_bytes());
        sessions
            .table
            .insert(key, Session { ip: viewer, user: String::new(), grants: HashSet::new(), seen: now });
    }
    let one_more = SessionKey::new([0xff; 16]);
    assert_eq!(sessions.open(one_more, (viewer, ""), [], now), Err(SessionsFull));
    assert_eq!(sessions.open(SessionKey::new([0; 16]), (viewer, ""), [], now), Ok(()), "one that is there");
    let later = now + sessions::SESSION_IDLE_MAX;
    assert_eq!(sessions.open(one_more, (viewer, ""), [], later), Ok(()));
    assert_eq!(sessions.count(later), 1);
}

#[test]
fn an_address_that_fails_often_waits_and_others_do_not() {
    let now = begin();
    let mut slowdown = Slowdown::default();
    let (guilty, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
    for _ in 0..10 {
        assert_eq!(slowdown.charge(guilty, now), Ok(Duration::ZERO));
    }
    assert_eq!(slowdown.charge(guilty, now), Ok(TRY_COST));
    assert_eq!(slowdown.charge(guilty, now), Ok(2 * TRY_COST));
    let refused = slowdown.charge(guilty, now).unwrap_err();
    assert!(refused.again_after >= TRY_COST && 2 * TRY_COST == WAIT_MAX, "{refused}");
    assert_eq!(slowdown.slowed(now), 1);
    assert_eq!(slowdown.charge(other, now), Ok(Duration::ZERO));
    assert_eq!(slowdown.charge(guilty, now + 2 * TRY_COST), Ok(TRY_COST), "one try every two seconds");
    let later = now + SAVED_MAX + 10 * TRY_COST;
    assert_eq!(slowdown.charge(guilty, later), Ok(Duration::ZERO));
}

#[test]
fn a_try_that_succeeds_costs_nothing() {
    let now = begin();
    let mut slowdown = Slowdown::default();
    let viewer = ip("192.0.2.1");
    for _ in 0..100 {
        assert_eq!(slowdown.charge(viewer, now), Ok(Duration::ZERO));
        slowdown.refund(viewer, now);
    }
    assert_eq!(slowdown.owing.len(), 0);
}

// correctness: S6
#[test]
fn addresses_are_remembered_within_a_limit() {
    let now = begin();
    let mut slowdown = Slowdown::default();
    let guilty = ip("192.0.2.1");
    slowdown.charge(guilty, now).unwrap();
    slowdown.charge(guilty, now).unwrap();
    for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 100 {
        let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        slowdown.charge(address, now).unwrap();
    }
    assert_eq!(slowdown.owing.len(), ADDRESSES_MAX);
    assert!(slowdown.owing.contains_key(&guilty), "the guiltiest stays");
    slowdown.charge(ip("2001:db8::1"), now).unwrap();
    slowdown.charge(ip("2001:db8::2"), now).unwrap();
    let until = slowdown.owing[&ip("2001:db8::")];
    assert_eq!(until, now + 2 * TRY_COST, "a /64 is one address");
}

#[test]
fn a_cdn_is_let_in_by_its_secret_and_nothing_else() {
    let path = PathName::parse("cam_1").unwrap();
    let grant = Gate::of_cdn("hunter2", "hunter2", &path).unwrap();
    assert_eq!((grant.path(), grant.action()), (&path, Action::Read));
    for (secret, shown) in [("hunter2", "hunter"), ("hunter2", ""), ("", "")] {
        assert_eq!(Gate::of_cdn(secret, shown, &path), None);
    }
}
