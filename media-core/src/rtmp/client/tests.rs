//! The client against servers that say what others have been seen to say.

use super::*;
use crate::rtmp::chunk::{Heading, chunks};
use crate::rtmp::{Event, ServerConnection, Target};

fn config(target: &str) -> ClientConfig {
    let (app, stream) = ClientConfig::cut(target);
    ClientConfig {
        server: "rtmp://10.0.0.1:1935".to_owned(),
        app,
        stream,
        user: Some(User { name: "ana".to_owned(), password: "s3cret".to_owned() }),
        authentication: Authentication::None,
        purpose: Purpose::Play,
        user_agent: "test".to_owned(),
        nonce: 0xc0ff_ee11,
    }
}

fn said(client: &mut ClientConnection) -> BytesMut {
    std::iter::from_fn(|| client.poll_transmit()).flatten().collect()
}

/// A client whose server has come through the handshake.
fn connecting(config: ClientConfig) -> (ClientConnection, String) {
    let mut client = ClientConnection::new(config);
    let hello = said(&mut client);
    let mut answer = BytesMut::from(&handshake::answer(&hello).unwrap()[..]);
    assert_eq!(client.next_event(&mut answer), Ok(None));
    let connect = said(&mut client)[handshake::BLOCK_BYTES..].to_vec();
    (client, String::from_utf8_lossy(&connect).into_owned())
}

fn command(values: &[Value]) -> BytesMut {
    let heading = Heading { chunk_stream: 3, kind: kind::COMMAND, stream: 0, timestamp_ms: 0 };
    let mut wire = BytesMut::from(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 1, 0, 0][..]);
    chunks(heading, &[], amf0::write_all(values)).iter().for_each(|piece| wire.extend_from_slice(piece));
    wire
}

fn refusing(description: &str) -> BytesMut {
    let information = object_of([
        ("level", Value::text("error")),
        ("code", Value::text("NetConnection.Connect.Rejected")),
        ("description", Value::text(description)),
    ]);
    command(&[Value::text("_error"), Value::Number(1.0), Value::Null, information])
}

#[test]
fn a_url_is_cut_as_encoders_cut_it() {
    let cut = |target, app: &str, stream: &str| {
        assert_eq!(ClientConfig::cut(target), (app.to_owned(), stream.to_owned()), "{target}");
    };
    cut("/live", "live", "");
    cut("/live?a=b", "live?a=b", "");
    cut("/live/cam", "live", "cam");
    cut("/live/cam?user=u&pass=a/b", "live", "cam?user=u&pass=a/b");
    cut("/live/inst/cam/7", "live/inst", "cam/7");
    cut("", "", "");
}

#[test]
fn a_server_of_ours_is_asked_for_what_the_url_names() {
    let mut client = ClientConnection::new(config("/live/cam_1?x=1"));
    let mut server = ServerConnection::default();
    let mut to_server = said(&mut client);
    let mut event = None;
    for _ in 0..8 {
        event = event.or(server.next_event(&mut to_server).unwrap());
        let mut to_client: BytesMut = std::iter::from_fn(|| server.poll_transmit()).flatten().collect();
        assert_eq!(client.next_event(&mut to_client), Ok(None));
        to_server.extend_from_slice(&said(&mut client));
    }
    let target = Target { path: "live/cam_1".to_owned(), query: "x=1".to_owned() };
    assert_eq!(event, Some(Event::Play(target)));
    server.playing();
    let heading = Heading { chunk_stream: 6, kind: kind::VIDEO, stream: 1, timestamp_ms: 40 };
    let mut to_client: BytesMut = std::iter::from_fn(|| server.poll_transmit()).flatten().collect();
    chunks(heading, &[0x17], Bytes::new()).iter().for_each(|piece| to_client.extend_from_slice(piece));
    let Ok(Some(ClientEvent::Media(message))) = client.next_event(&mut to_client) else { panic!("no media") };
    assert_eq!((message.kind, message.timestamp_ms), (kind::VIDEO, 40));
    server.refuse(crate::rtmp::Refusal::NotFound);
    let mut to_client: BytesMut = std::iter::from_fn(|| server.poll_transmit()).flatten().collect();
    let refused = Err(ClientError::Refused { code: "NetStream.Play.StreamNotFound".to_owned() });
    assert_eq!(client.next_event(&mut to_client), refused);
}

#[test]
fn a_server_of_ours_is_offered_what_the_url_names() {
    let offering = ClientConfig { purpose: Purpose::Publish, ..config("/live/cam_1?x=1") };
    let mut client = ClientConnection::new(offering);
    let mut server = ServerConnection::default();
    let mut to_server = said(&mut client);
    let mut to_client = BytesMut::new();
    let (mut asked, mut taken) = (None, None);
    for _ in 0..8 {
        asked = asked.or(server.next_event(&mut to_server).unwrap());
        to_client.extend(std::iter::from_fn(|| server.poll_transmit()).flatten());
        taken = taken.or(client.next_event(&mut to_client).unwrap());
        to_server.extend_from_slice(&said(&mut client));
    }
    let target = Target { path: "live/cam_1".to_owned(), query: "x=1".to_owned() };
    assert_eq!((asked, taken), (Some(Event::Publish(target)), None), "it waits to be let");
    server.publishing();
    to_client.extend(std::iter::from_fn(|| server.poll_transmit()).flatten());
    assert_eq!(client.next_event(&mut to_client), Ok(Some(ClientEvent::Publishing { stream: 1 })));
    client.leave();
    assert_eq!(server.next_event(&mut said(&mut client)), Ok(Some(Event::Done)));
}

#[test]
fn a_publisher_does_without_what_only_some_servers_know_and_is_told_why_it_is_refused() {
    let offering = ClientConfig { purpose: Purpose::Publish, ..config("/live/cam") };
    let (mut client, _) = connecting(offering);
    let status = |level, code| object_of([("level", Value::text(level)), ("code", Value::text(code))]);
    let result = |transaction, value| {
        command(&[Value::text("_result"), Value::Number(transaction), Value::Null, value])
    };
    assert_eq!(client.next_event(&mut result(CONNECT, Value::Null)), Ok(None));
    let first = String::from_utf8_lossy(&said(&mut client)).into_owned();
    let places = ["releaseStream", "FCPublish", "createStream"].map(|name| first.find(name));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{first}");
    for transaction in [RELEASE_STREAM, FC_PUBLISH] {
        let unknown = status("error", "NetConnection.Call.Failed");
        let error = [Value::text("_error"), Value::Number(transaction), Value::Null, unknown];
        assert_eq!(client.next_event(&mut command(&error)), Ok(None));
    }
    assert_eq!(client.next_event(&mut result(CREATE_STREAM, Value::Number(7.0))), Ok(None));
    let then = String::from_utf8_lossy(&said(&mut client)).into_owned();
    assert!(then.contains("publish") && then.contains("live"), "{then}");
    let said_of_it = |level, code| {
        command(&[Value::text("onStatus"), Value::Number(0.0), Value::Null, status(level, code)])
    };
    // No goodbye before the welcome.
    client.leave();
    assert!(said(&mut client).is_empty());
    let mut start = said_of_it("status", "NetStream.Publish.Start");
    assert_eq!(client.next_event(&mut start), Ok(Some(ClientEvent::Publishing { stream: 7 })));
    let refused = Err(ClientError::Refused { code: "NetStream.Publish.BadName".to_owned() });
    assert_eq!(client.next_event(&mut said_of_it("error", "NetStream.Publish.BadName")), refused);
}

/// The values were reckoned with Python's hashlib.
#[test]
fn adobes_authentication_takes_three_connections_and_shows_no_password() {
    let (mut client, connect) = connecting(config("/live/cam"));
    assert!(connect.contains("rtmp://10.0.0.1:1935/live") && !connect.contains("authmod"), "{connect}");
    let first = client.next_event(&mut refusing("[ code=403 need auth; authmod=adobe ] : "));
    assert_eq!(first, Err(ClientError::Authenticate(Authentication::Named)));
    let named = ClientConfig { authentication: Authentication::Named, ..config("/live/cam") };
    let (mut client, connect) = connecting(named);
    assert!(connect.contains("live?authmod=adobe&user=ana"), "{connect}");
    let text = "[ authmod=adobe ] : ?reason=needauth&user=ana&salt=5xQ=&challenge=aGk=&opaque=b3A=";
    let Err(ClientError::Authenticate(answer)) = client.next_event(&mut refusing(text)) else {
        panic!("no challenge")
    };
    let (mut client, connect) = connecting(ClientConfig { authentication: answer, ..config("/live/cam") });
    let expected = "&challenge=c0ffee11&response=NHDeNKvfOYZleOPxq79ytA==&opaque=b3A=";
    assert!(connect.contains(expected) && !connect.contains("s3cret"), "{connect}");
    // Wrong all the same: that is the end.
    assert!(matches!(client.next_event(&mut refusing(text)), Err(ClientError::Refused { .. })));
    let (mut client, _) = connecting(ClientConfig { user: None, ..config("/live/cam") });
    assert_eq!(client.next_event(&mut refusing("authmod=adobe")), Err(ClientError::NoUser));
}

#[test]
fn a_refusal_is_told_without_what_stands_beside_it() {
    let (mut client, _) = connecting(config("/live/cam"));
    let error = client.next_event(&mut refusing("wrong password s3cret")).unwrap_err();
    assert_eq!(error.to_string(), "server refuses: NetConnection.Connect.Rejected");
}

#[test]
fn hostile_servers_come_to_an_end_and_noise_never_panics() {
    let mut client = ClientConnection::new(config("/live/cam"));
    assert_eq!(client.next_event(&mut BytesMut::from("HTTP/1.1 400")), Err(ClientError::Version));
    let mut state = 7_u64;
    for _ in 0..500 {
        let (mut client, _) = connecting(config("/live/cam"));
        let mut noise = BytesMut::new();
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.extend_from_slice(&state.to_be_bytes()[..1]);
        }
        while let Ok(Some(_)) = client.next_event(&mut noise) {}
    }
    // A command of a megabyte is not read.
    let (mut client, _) = connecting(config("/live/cam"));
    let long = Value::Array(vec![Value::text(&"x".repeat(60_000)), Value::text(&"x".repeat(60_000))]);
    assert!(matches!(client.next_event(&mut command(&[long])), Err(ClientError::CommandTooLong { .. })));
    // Media before it was asked for is nothing.
    let (mut client, _) = connecting(config("/live/cam"));
    let heading = Heading { chunk_stream: 6, kind: kind::VIDEO, stream: 1, timestamp_ms: 0 };
    let mut wire = BytesMut::new();
    chunks(heading, &[0x17], Bytes::new()).iter().for_each(|piece| wire.extend_from_slice(piece));
    assert_eq!(client.next_event(&mut wire), Ok(None));
}
