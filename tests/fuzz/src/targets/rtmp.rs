//! RTMP: dialogues of clients and servers, FLV tags and AMF0 values.

use bytes::{Buf as _, Bytes, BytesMut};
use media_core::rtmp::client::{Authentication, ClientConfig, Purpose, User};
use media_core::rtmp::{
    ClientConnection, ClientEvent, Event, Incoming, IncomingEvent, Message, ServerConnection, amf0, kind,
};

use super::READS;
use crate::pipeline::Pipeline;

/// Bytes that we may send besides what a peer's bytes bring about: the handshake.
const HANDSHAKE_BYTES_MAX: usize = 8 << 10;

/// Bytes sent for one received: the longest answer to the shortest command.
const ANSWER_EXPANSION_MAX: usize = 32;

/// An input up to this long holds no text that is cut when it is written back.
const ROUND_TRIP_BYTES_MAX: usize = 16 << 10;

/// What a client sends means the same however it arrives, and what comes of its media is sound.
pub(super) fn server(input: &[u8]) {
    let [whole, crumbs] = READS.map(|read| server_dialogue(input, read));
    assert_eq!(whole, crumbs, "it matters how the client's bytes arrive");
    let messages = whole.0.into_iter().filter_map(|event| match event {
        Event::Media(message) => Some(message),
        _ => None,
    });
    publish(messages);
}

fn server_dialogue(input: &[u8], read: usize) -> (Vec<Event>, Vec<u8>, bool) {
    let mut server = ServerConnection::default();
    let (mut events, mut sent, mut buf) = (Vec::new(), Vec::new(), BytesMut::new());
    for piece in input.chunks(read) {
        buf.extend_from_slice(piece);
        loop {
            let event = server.next_event(&mut buf);
            std::iter::from_fn(|| server.poll_transmit()).for_each(|bytes| sent.extend_from_slice(&bytes));
            assert!(
                sent.len() <= HANDSHAKE_BYTES_MAX + ANSWER_EXPANSION_MAX * input.len(),
                "{} bytes sent",
                sent.len()
            );
            match event {
                Ok(Some(event)) => {
                    match &event {
                        Event::Publish(_) => server.publishing(),
                        Event::Play(_) => server.playing(),
                        _ => {}
                    }
                    events.push(event);
                }
                Ok(None) => break,
                Err(_) => return (events, sent, true),
            }
        }
    }
    (events, sent, false)
}

/// What a server sends means the same however it arrives.
pub(super) fn client(input: &[u8]) {
    for purpose in [Purpose::Play, Purpose::Publish] {
        let [whole, crumbs] = READS.map(|read| client_dialogue(input, purpose, read));
        assert_eq!(whole, crumbs, "it matters how the server's bytes arrive");
        let messages = whole.0.into_iter().filter_map(|event| match event {
            ClientEvent::Media(message) => Some(message),
            ClientEvent::Publishing { .. } | ClientEvent::Ended => None,
        });
        publish(messages);
    }
}

fn client_dialogue(input: &[u8], purpose: Purpose, read: usize) -> (Vec<ClientEvent>, bool) {
    let mut client = ClientConnection::new(ClientConfig {
        server: "rtmp://192.0.2.1:1935".to_owned(),
        app: "live".to_owned(),
        stream: "cam".to_owned(),
        user: Some(User { name: "user".to_owned(), password: "top-secret".to_owned() }),
        authentication: Authentication::None,
        purpose,
        user_agent: "fuzz".to_owned(),
        nonce: 7,
    });
    let (mut events, mut buf) = (Vec::new(), BytesMut::new());
    for piece in input.chunks(read) {
        buf.extend_from_slice(piece);
        loop {
            match client.next_event(&mut buf) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().contains("top-secret"), "a password in an error: {error}");
                    return (events, true);
                }
            }
        }
        let sent: usize = std::iter::from_fn(|| client.poll_transmit()).map(|bytes| bytes.len()).sum();
        assert!(sent <= HANDSHAKE_BYTES_MAX + ANSWER_EXPANSION_MAX * input.len(), "{sent} bytes sent");
    }
    (events, false)
}

/// The tags of an FLV file, as messages.
pub(super) fn tags(input: &[u8]) {
    let mut file = Bytes::copy_from_slice(input);
    // `FLV`, version, flags, size of the header; and the size of the tag before the first, which is not there.
    file.advance(13.min(file.len()));
    let messages = std::iter::from_fn(move || {
        let (&[kind, l0, l1, l2, t0, t1, t2, extended, _, _, _], _) = file.split_first_chunk::<11>()?;
        file.advance(11);
        let len = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap_or(0).min(file.len());
        let payload = file.split_to(len);
        file.advance(4.min(file.len()));
        let timestamp_ms = u32::from_be_bytes([extended, t0, t1, t2]);
        Some(Message { kind, stream: 1, timestamp_ms, payload })
    });
    publish(messages);
}

/// A publisher's messages on their way.
fn publish(messages: impl Iterator<Item = Message>) {
    let (mut incoming, mut pipeline, mut events) = (Incoming::default(), Pipeline::new(), Vec::new());
    for message in messages {
        if message.kind == kind::DATA {
            round_trip(&message.payload);
        }
        // What a message is refused for, the server only tells.
        incoming.handle(&message, &mut events).ok();
        for event in events.drain(..) {
            match event {
                IncomingEvent::Tracks(setups) => drop(pipeline.start(&setups)),
                IncomingEvent::ParameterSets { track, nals } => pipeline.parameter_sets(track, &nals),
                IncomingEvent::Unit { track, rtp_timestamp, payload } => {
                    pipeline.unit(track, rtp_timestamp, payload);
                }
            }
        }
    }
}

/// AMF0: what was read and written again reads the same.
pub(super) fn values(input: &[u8]) {
    round_trip(input);
}

fn round_trip(input: &[u8]) {
    let Ok(values) = amf0::read_all(input) else { return };
    if input.len() > ROUND_TRIP_BYTES_MAX {
        return;
    }
    let written = amf0::write_all(&values);
    let again = amf0::read_all(&written).expect("what we wrote");
    // Bytes, for numbers that are none are not equal to themselves.
    assert_eq!(amf0::write_all(&again), written);
}
