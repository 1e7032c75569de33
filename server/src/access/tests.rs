//! Access as a whole, by the clock of tests: who is let in, who waits, who is not heard.

use std::net::IpAddr;

use http::HeaderMap;
use media_core::gate::{Basis, PathRule, Permission, Secret, User, Who};

use super::*;

const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn path(name: &str) -> PathName {
    PathName::parse(name).unwrap()
}

/// `maria` may read `cam_1` with the password `s3cret`; anyone may read `lobby`.
fn access() -> Access {
    let named = |user: &str, password: &str| Who::Named {
        user: Secret::parse(user).unwrap(),
        password: Secret::parse(password).unwrap(),
    };
    let reads = |camera: &str| vec![Permission::Camera(Action::Read, PathRule::parse(camera).unwrap())];
    let users = vec![
        User { who: named("maria", "s3cret"), ips: Vec::new(), permissions: reads("cam_1") },
        User { who: Who::Anyone, ips: Vec::new(), permissions: reads("lobby") },
    ];
    let config =
        AccessConfig { policy: Policy::Users(users), authority: None, timeout: Duration::from_secs(1) };
    Access::new(&config, &TaskSet::new("test")).unwrap()
}

/// `MARIA` shows the right password, `WRONG` another one.
const MARIA: &str = "Basic bWFyaWE6czNjcmV0";
const WRONG: &str = "Basic bWFyaWE6Z3Vlc3M=";

fn headers(authorization: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !authorization.is_empty() {
        headers.insert(http::header::AUTHORIZATION, http::HeaderValue::from_static(authorization));
    }
    headers
}

async fn ask(
    access: &Access,
    ip: IpAddr,
    authorization: &'static str,
    camera: &str,
) -> Result<Basis, Refused> {
    let headers = headers(authorization);
    let visitor = access.http_visitor(ip, Some(Protocol::Hls), &headers, "");
    access.camera(&visitor, Action::Read, &path(camera)).await.map(|admission| admission.basis)
}

// correctness: S1
#[tokio::test]
async fn without_a_configuration_cameras_are_open_and_the_api_is_this_machines() {
    let access = Access::by_default();
    for action in [Action::Read, Action::Playback, Action::Publish] {
        let headers = headers("");
        let visitor = access.http_visitor(ELSEWHERE, None, &headers, "");
        assert!(access.camera(&visitor, action, &path("a")).await.is_ok());
        assert_eq!(access.service(&visitor, Service::Api).await, Err(Refused::CredentialsWanted));
        let visitor = access.http_visitor(IpAddr::from([127, 0, 0, 1]), None, &headers, "");
        assert!(access.service(&visitor, Service::Api).await.is_ok());
    }
}

// correctness: S1
#[tokio::test]
async fn who_shows_nothing_is_asked_and_who_is_wrong_is_not() {
    let access = access();
    assert_eq!(ask(&access, ELSEWHERE, "", "lobby").await, Ok(Basis::Anyone));
    assert_eq!(ask(&access, ELSEWHERE, WRONG, "lobby").await, Ok(Basis::Anyone));
    assert_eq!(ask(&access, ELSEWHERE, "", "cam_1").await, Err(Refused::CredentialsWanted));
    assert_eq!(ask(&access, ELSEWHERE, WRONG, "cam_1").await, Err(Refused::Wrong));
    assert_eq!(ask(&access, ELSEWHERE, MARIA, "cam_1").await, Ok(Basis::Known("maria".to_owned())));
    assert_eq!(ask(&access, ELSEWHERE, MARIA, "cam_2").await, Err(Refused::Wrong));
    let snapshot = access.snapshot();
    assert_eq!((snapshot.denied, snapshot.challenged, snapshot.slowed), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn guessing_is_slowed_for_the_guessing_address_only() {
    let access = access();
    let other = IpAddr::from([192, 0, 2, 2]);
    // Somebody behind the same address is known already.
    assert!(ask(&access, ELSEWHERE, MARIA, "cam_1").await.is_ok());
    for _ in 0..10 {
        assert_eq!(ask(&access, ELSEWHERE, WRONG, "cam_1").await, Err(Refused::Wrong));
    }
    let begin = tokio::time::Instant::now();
    assert_eq!(ask(&access, ELSEWHERE, WRONG, "cam_1").await, Err(Refused::Wrong));
    assert!(begin.elapsed() >= Duration::from_secs(1), "waited {:?}", begin.elapsed());
    let mut refused = Vec::new();
    for _ in 0..3 {
        refused.push(ask(&access, ELSEWHERE, WRONG, "cam_1").await);
    }
    assert!(matches!(refused.last(), Some(Err(Refused::TooManyTries(_)))), "{refused:?}");
    let begin = tokio::time::Instant::now();
    assert!(ask(&access, ELSEWHERE, MARIA, "cam_1").await.is_ok(), "who was right is not slowed");
    assert!(ask(&access, ELSEWHERE, "", "lobby").await.is_ok());
    assert_eq!(ask(&access, ELSEWHERE, "", "cam_1").await, Err(Refused::CredentialsWanted));
    assert_eq!(ask(&access, other, WRONG, "cam_1").await, Err(Refused::Wrong));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let snapshot = access.snapshot();
    assert!(snapshot.slowed >= 1 && snapshot.refused_unseen >= 1 && snapshot.slowed_addresses == 1);
}

// correctness: S4
#[tokio::test]
async fn a_session_ends_when_rules_take_something_away_and_not_when_they_give() {
    let access = access();
    let headers = headers(MARIA);
    let visitor = access.http_visitor(ELSEWHERE, Some(Protocol::Hls), &headers, "");
    let camera = path("cam_1");
    let grant = access.camera(&visitor, Action::Read, &camera).await.unwrap().grant;
    let key = access.open_session(&visitor, grant.clone()).unwrap();
    assert_eq!(access.open_session(&visitor, grant.clone()), Ok(key), "the same visitor has one");
    let other = access.http_visitor(ELSEWHERE, Some(Protocol::Hls), &headers, "x=y");
    assert_ne!(access.open_session(&other, grant), Ok(key));
    assert!(access.of_session(key, ELSEWHERE, (Action::Read, &camera)).is_some());
    let mut config = access.0.rules.load().config.clone();
    let Policy::Users(users) = &mut config.policy else { panic!("users") };
    users.push(User { who: Who::Anyone, ips: Vec::new(), permissions: Vec::new() });
    access.replace(&config).unwrap();
    assert!(access.of_session(key, ELSEWHERE, (Action::Read, &camera)).is_some(), "somebody else came");
    access.replace(&crate::config::default_access()).unwrap();
    assert_eq!(access.of_session(key, ELSEWHERE, (Action::Read, &camera)), None);
}

// correctness: S1
#[tokio::test]
async fn the_page_sees_what_its_visitor_may_watch() {
    let access = access();
    let cameras = || ["cam_1", "cam_2", "lobby"].map(path).to_vec();
    let see = async |authorization, cameras: Vec<PathName>| {
        let headers = headers(authorization);
        let visitor = access.http_visitor(ELSEWHERE, None, &headers, "");
        let visible = access.visible(&visitor, cameras).await?;
        Ok((visible.paths.iter().map(ToString::to_string).collect::<Vec<_>>(), visible.session))
    };
    assert_eq!(see("", cameras()).await, Ok((vec!["lobby".to_owned()], None)));
    assert_eq!(see(WRONG, cameras()).await, Ok((vec!["lobby".to_owned()], None)));
    let (seen, session) = see(MARIA, cameras()).await.unwrap();
    assert_eq!(seen, ["cam_1", "lobby"]);
    let session = session.unwrap();
    assert_eq!(see(MARIA, cameras()).await.unwrap().1, Some(session), "the page polls");
    assert!(access.of_session(session, ELSEWHERE, (Action::Read, &path("cam_1"))).is_some());
    assert!(access.of_session(session, ELSEWHERE, (Action::Read, &path("cam_2"))).is_none());
    let closed = || vec![path("cam_1")];
    assert_eq!(see("", closed()).await, Err(Refused::CredentialsWanted));
    assert_eq!(see(WRONG, closed()).await, Err(Refused::Wrong));
    assert_eq!(see("", Vec::new()).await, Ok((Vec::new(), None)));
}
