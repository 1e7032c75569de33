//! What real encoders do is tested with them (-> tests/black_box/rtmp.rs); here is what they do not do.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::amf0::{self, AmfError, Value};
use super::chunk::{CHUNK_STREAMS_MAX, Heading, MESSAGE_BYTES_MAX, UNFINISHED_BYTES_MAX, chunks};
use super::flv::{self, AudioCodec, AudioTag, TagError, VideoCodec, VideoTag};
use super::incoming::WAITING_UNITS_MAX;
use super::server::object_of;
use super::{
    ChunkError, ChunkReader, Event, Incoming, IncomingError, IncomingEvent, Message, Refusal,
    ServerConnection, ServerError, Target, kind, record,
};

/// A header of format 0, without the payload.
fn whole_header(chunk_stream: u8, timestamp_ms: u32, bytes: u32, kind: u8) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(chunk_stream);
    out.put_uint(timestamp_ms.into(), 3);
    out.put_uint(bytes.into(), 3);
    out.put_u8(kind);
    out.put_u32_le(1);
    out
}

fn read_all(reader: &mut ChunkReader, buf: &mut BytesMut) -> Vec<Message> {
    std::iter::from_fn(|| reader.next_message(buf).unwrap()).collect()
}

#[test]
fn interleaved_chunks_become_messages_with_times_that_add_up() {
    let sound = [7_u8; 200];
    let mut wire = whole_header(4, 1000, 200, kind::AUDIO);
    wire.put_slice(&sound[..128]);
    // Another chunk stream in between, of two bytes' number (64 + 6), then the rest of the first.
    wire.put_slice(&[0, 6]);
    wire.put_slice(&whole_header(0, 5, 1, kind::VIDEO)[1..]);
    wire.put_u8(9);
    wire.put_u8(0xc4);
    wire.put_slice(&sound[128..]);
    // Format 2: 20 ms later, the same length; format 3: again 20 ms later; format 1: 10 ms, one byte.
    wire.put_slice(&[0x84, 0, 0, 20]);
    wire.put_slice(&sound[..128]);
    wire.put_u8(0xc4);
    wire.put_slice(&sound[128..]);
    wire.put_u8(0xc4);
    wire.put_slice(&sound[..128]);
    wire.put_u8(0xc4);
    wire.put_slice(&sound[128..]);
    wire.put_slice(&[0x44, 0, 0, 10, 0, 0, 1, kind::AUDIO, 3]);
    let mut at_once = wire.clone();
    let got = read_all(&mut ChunkReader::default(), &mut at_once);
    let seen: Vec<_> = got.iter().map(|m| (m.kind, m.timestamp_ms, m.payload.len())).collect();
    let audio = kind::AUDIO;
    assert_eq!(
        seen,
        [(kind::VIDEO, 5, 1), (audio, 1000, 200), (audio, 1020, 200), (audio, 1040, 200), (audio, 1050, 1)]
    );
    // The same byte by byte.
    let (mut reader, mut buf, mut slowly) = (ChunkReader::default(), BytesMut::new(), Vec::new());
    for byte in wire {
        buf.put_u8(byte);
        slowly.extend(read_all(&mut reader, &mut buf));
    }
    assert_eq!(slowly, got);
}

#[test]
fn long_messages_of_ours_come_back_also_with_times_of_32_bits() {
    for timestamp_ms in [0, 0x00ff_fffe, 0x00ff_ffff, 0xfedc_ba98] {
        let heading = Heading { chunk_stream: 6, kind: kind::VIDEO, stream: 1, timestamp_ms };
        let payload = Bytes::from(vec![5; 200_000]);
        let pieces = chunks(heading, &[1, 2, 3], payload.clone());
        assert!(pieces.iter().any(|piece| piece.as_ptr() == payload.as_ptr()), "the payload was copied");
        let mut wire = BytesMut::new();
        let size = Heading { chunk_stream: 2, kind: kind::SET_CHUNK_SIZE, stream: 0, timestamp_ms: 0 };
        chunks(size, &65_536_u32.to_be_bytes(), Bytes::new()).iter().for_each(|piece| wire.put_slice(piece));
        pieces.iter().for_each(|piece| wire.put_slice(piece));
        let got = read_all(&mut ChunkReader::default(), &mut wire);
        let expected = [&[1, 2, 3][..], &payload].concat();
        assert_eq!((got.len(), got[0].timestamp_ms, &got[0].payload[..]), (1, timestamp_ms, &expected[..]));
    }
}

#[test]
fn an_extended_time_may_be_left_out_where_a_message_goes_on() {
    let mut wire = whole_header(4, 0x00ff_ffff, 130, kind::AUDIO);
    wire.put_u32(0x0100_0000);
    wire.put_bytes(1, 128);
    wire.put_slice(&[0xc4, 1, 1]);
    // What tells is more than the message has left; the next one begins after it.
    wire.extend_from_slice(&whole_header(5, 1, 1, kind::AUDIO));
    wire.put_u8(2);
    let got = read_all(&mut ChunkReader::default(), &mut wire);
    let seen: Vec<_> = got.iter().map(|m| (m.timestamp_ms, m.payload.len())).collect();
    assert_eq!(seen, [(0x0100_0000, 130), (1, 1)]);
}

#[test]
fn a_peer_beyond_a_limit_is_an_error_and_nothing_grows() {
    let fails = |mut wire: BytesMut| ChunkReader::default().next_message(&mut wire).unwrap_err();
    let too_long = u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap();
    let header = whole_header(4, 0, too_long, kind::VIDEO);
    assert_eq!(fails(header), ChunkError::MessageTooLong { got: MESSAGE_BYTES_MAX + 1 });
    assert_eq!(fails(BytesMut::from(&[0xc7][..])), ChunkError::NoHeader { id: 7 });
    let mut size = whole_header(2, 0, 4, kind::SET_CHUNK_SIZE);
    size.put_u32(0x8000_0000);
    assert_eq!(fails(size), ChunkError::ChunkSize);

    let mut reader = ChunkReader::default();
    let mut last = Ok(None);
    for id in 0..=u8::try_from(CHUNK_STREAMS_MAX).unwrap() {
        let mut wire = whole_header(3 + id, 0, 0, kind::AUDIO);
        last = reader.next_message(&mut wire);
    }
    assert_eq!(last, Err(ChunkError::TooManyChunkStreams));
}

#[test]
fn unfinished_messages_of_many_chunk_streams_come_to_an_end() {
    let mut reader = ChunkReader::default();
    let mut size = whole_header(2, 0, 4, kind::SET_CHUNK_SIZE);
    size.put_u32(1 << 20);
    assert_eq!(reader.next_message(&mut size), Ok(None));
    // A chunk of a megabyte of each message of two, without end.
    let begin = |id: u8| {
        let mut wire = whole_header(id, 0, 2 << 20, kind::VIDEO);
        wire.put_bytes(0, 1 << 20);
        wire
    };
    let results: Vec<_> = (3..20).map(|id| reader.next_message(&mut begin(id))).collect();
    assert_eq!(results.last(), Some(&Err(ChunkError::TooMuchUnfinished)));
    assert!(results.iter().filter(|result| result.is_ok()).count() * (1 << 20) <= UNFINISHED_BYTES_MAX);
    // An abort makes room.
    let mut reader = ChunkReader::default();
    let mut size = whole_header(2, 0, 4, kind::SET_CHUNK_SIZE);
    size.put_u32(1 << 20);
    assert_eq!(reader.next_message(&mut size), Ok(None));
    for _ in 0..32 {
        assert_eq!(reader.next_message(&mut begin(5)), Ok(None));
        let mut abort = whole_header(2, 0, 4, kind::ABORT);
        abort.put_u32(5);
        assert_eq!(reader.next_message(&mut abort), Ok(None));
    }
}

/// Bytes that look like anything.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn noise_never_panics_anywhere() {
    for seed in 0..2000 {
        let bytes = noise(seed, 300);
        let mut buf = BytesMut::from(&bytes[..]);
        let mut reader = ChunkReader::default();
        while let Ok(Some(_)) = reader.next_message(&mut buf) {}
        let bytes = Bytes::from(bytes);
        for start in [0, 1, 2, 3, 5, 8] {
            let part = bytes.slice(start..);
            drop((amf0::read_all(&part), flv::read_video(part.clone()), flv::read_audio(part.clone())));
            drop((record::read_avc(&part), record::read_hevc(&part), record::read_opus(&part)));
            let mut incoming = Incoming::default();
            let mut events = Vec::new();
            for kind in [kind::VIDEO, kind::AUDIO, kind::DATA, kind::DATA_AMF3] {
                let message = Message { kind, stream: 1, timestamp_ms: 0, payload: part.clone() };
                drop(incoming.handle(&message, &mut events));
            }
        }
    }
}

#[test]
fn values_come_back_and_hostile_ones_are_refused() {
    let values = [
        Value::text("onMetaData"),
        object_of([
            ("width", Value::Number(1920.0)),
            ("stereo", Value::Boolean(true)),
            ("none", Value::Null),
        ]),
        Value::Array(vec![Value::Number(1.0), Value::text("two")]),
    ];
    let bytes = amf0::write_all(&values);
    assert_eq!(amf0::read_all(&bytes).unwrap(), values);
    let entries = vec![("width".to_owned(), Value::Number(1.0))];
    let keyed = amf0::write_all(&[Value::KeyedArray(entries.clone())]);
    assert_eq!((keyed[0], amf0::read_all(&keyed).unwrap()), (8, vec![Value::Object(entries)]));
    // A keyed array whose count is wrong, and a date.
    let keyed = [&[8, 0, 0, 0, 99, 0, 1, b'a', 11][..], &1.5_f64.to_be_bytes(), &[0, 0, 0, 0, 9]].concat();
    assert_eq!(amf0::read_all(&keyed).unwrap(), [object_of([("a", Value::Number(1.5))])]);
    assert_eq!(amf0::read_all(&[10, 0, 0, 0, 1].repeat(100)), Err(AmfError::TooDeep));
    assert_eq!(amf0::read_all(&[5].repeat(1000)), Err(AmfError::TooMany));
    assert_eq!(amf0::read_all(&[10, 0xff, 0xff, 0xff, 0xff]), Err(AmfError::Truncated));
    assert_eq!(amf0::read_all(&[12, 0xff, 0xff, 0xff, 0xff, b'x']), Err(AmfError::Truncated));
    assert_eq!(amf0::read_all(&[7, 0, 0]), Err(AmfError::Marker { marker: 7 }));
}

#[test]
fn tags_of_both_kinds_are_read() {
    let video = |bytes: &'static [u8]| flv::read_video(Bytes::from_static(bytes));
    let nals = Bytes::from_static(b"xy");
    let picture = |codec, composition_ms| VideoTag::Picture { codec, composition_ms, nals: nals.clone() };
    assert_eq!(video(b"\x17\x01\x00\x00\x28xy").unwrap(), picture(VideoCodec::Avc, 40));
    assert_eq!(video(b"\x27\x01\xff\xff\xd8xy").unwrap(), picture(VideoCodec::Avc, -40));
    assert_eq!(video(b"\x1c\x01\x00\x00\x00xy").unwrap(), picture(VideoCodec::Hevc, 0));
    assert_eq!(video(b"\x91hvc1\x00\x00\x28xy").unwrap(), picture(VideoCodec::Hevc, 40));
    assert_eq!(video(b"\xa3hvc1xy").unwrap(), picture(VideoCodec::Hevc, 0));
    // A modifier of three bytes (nanoseconds) before coded frames.
    assert_eq!(video(b"\x97\x02abc\x03hvc1xy").unwrap(), picture(VideoCodec::Hevc, 0));
    assert_eq!(video(b"\x27\x02\x00\x00\x00").unwrap(), VideoTag::Other);
    assert_eq!(video(b"\x96hvc1xy"), Err(TagError::Multitrack));
    assert_eq!(video(b"\x91av01xy"), Err(TagError::Codec { codec: "av01".to_owned() }));
    assert_eq!(video(b"\x97\xff\xff\xffxy"), Err(TagError::Truncated));
    let audio = |bytes: &'static [u8]| flv::read_audio(Bytes::from_static(bytes));
    let frame = |codec| AudioTag::Frame { codec, frame: nals.clone() };
    assert_eq!(audio(b"\xaf\x01xy").unwrap(), frame(AudioCodec::Aac));
    assert_eq!(audio(b"\x91Opusxy").unwrap(), frame(AudioCodec::Opus));
    assert_eq!(audio(b"\x2fxy"), Err(TagError::Codec { codec: "2".to_owned() }));
}

/// What a client sends up to its `command` with a stream's name.
fn client(app: &str, command: &str, name: &str) -> BytesMut {
    let mut wire = BytesMut::new();
    wire.put_u8(3);
    wire.put_bytes(7, 1536 + 1536);
    let size = Heading { chunk_stream: 2, kind: kind::SET_CHUNK_SIZE, stream: 0, timestamp_ms: 0 };
    chunks(size, &65_536_u32.to_be_bytes(), Bytes::new()).iter().for_each(|piece| wire.put_slice(piece));
    let mut say = |values: &[Value]| {
        let heading = Heading { chunk_stream: 3, kind: kind::COMMAND, stream: 0, timestamp_ms: 0 };
        let pieces = chunks(heading, &[], amf0::write_all(values));
        pieces.iter().for_each(|piece| wire.put_slice(piece));
    };
    let object = object_of([("app", Value::text(app)), ("flashVer", Value::text("test"))]);
    say(&[Value::text("connect"), Value::Number(1.0), object]);
    say(&[Value::text("createStream"), Value::Number(2.0), Value::Null]);
    say(&[Value::text(command), Value::Number(0.0), Value::Null, Value::text(name)]);
    wire
}

fn answers(connection: &mut ServerConnection) -> String {
    let bytes: Vec<u8> = std::iter::from_fn(|| connection.poll_transmit()).flatten().collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_client_publishes_or_is_refused() {
    let check = |app: &str, name: &str, path: &str, query: &str| {
        let mut connection = ServerConnection::default();
        let mut wire = client(app, "publish", name);
        let target = Target { path: path.to_owned(), query: query.to_owned() };
        assert_eq!(connection.next_event(&mut wire), Ok(Some(Event::Publish(target))));
        assert!(answers(&mut connection).contains("NetConnection.Connect.Success"));
        (connection, wire)
    };
    check("live", "cam_1", "live/cam_1", "");
    check("cam_1/", "?user=u&pass=p", "cam_1", "user=u&pass=p");
    check("", "/a/b?x=1", "a/b", "x=1");
    check("a?x=1", "b?y=2", "a/b", "x=1&y=2");
    let (mut connection, mut wire) = check("live", "cam_1", "live/cam_1", "");
    connection.publishing();
    assert!(answers(&mut connection).contains("NetStream.Publish.Start") && !connection.is_undecided());
    // It may not begin again.
    wire.extend_from_slice(&client("live", "publish", "cam_2")[3073..]);
    assert!(matches!(connection.next_event(&mut wire), Err(ServerError::OutOfTurn(_))));
    let (mut connection, _) = check("live", "cam_1", "live/cam_1", "");
    connection.refuse(Refusal::Unauthorized);
    assert!(answers(&mut connection).contains("NetStream.Publish.Denied") && connection.is_undecided());
}

#[test]
fn who_speaks_something_else_or_out_of_turn_is_not_answered() {
    let mut connection = ServerConnection::default();
    let mut http = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
    assert_eq!(connection.next_event(&mut http), Err(ServerError::Version));
    let long = "x".repeat(5000);
    let mut connection = ServerConnection::default();
    assert_eq!(
        connection.next_event(&mut client("", "play", &long)),
        Err(ServerError::UrlTooLong { got: 5000 })
    );
    // Media before it was let in is nothing.
    let mut connection = ServerConnection::default();
    let mut wire = client("a", "createStream", "");
    let heading = Heading { chunk_stream: 6, kind: kind::VIDEO, stream: 1, timestamp_ms: 0 };
    chunks(heading, &[0x17], Bytes::new()).iter().for_each(|piece| wire.put_slice(piece));
    assert_eq!(connection.next_event(&mut wire), Ok(None));
}

#[test]
fn an_acknowledgement_comes_each_time_the_window_is_full() {
    let mut connection = ServerConnection::default();
    let mut wire = client("a", "createStream", "");
    let heading = Heading { chunk_stream: 2, kind: kind::WINDOW_SIZE, stream: 0, timestamp_ms: 0 };
    chunks(heading, &10_000_u32.to_be_bytes(), Bytes::new()).iter().for_each(|piece| wire.put_slice(piece));
    assert_eq!(connection.next_event(&mut wire), Ok(None));
    answers(&mut connection);
    let heading = Heading { chunk_stream: 6, kind: kind::AUDIO, stream: 1, timestamp_ms: 0 };
    for _ in 0..100 {
        let mut wire = BytesMut::new();
        chunks(heading, &[], Bytes::from_static(&[0; 100])).iter().for_each(|piece| wire.put_slice(piece));
        assert_eq!(connection.next_event(&mut wire), Ok(None));
    }
    let sent: Vec<_> = std::iter::from_fn(|| connection.poll_transmit()).collect();
    assert_eq!(sent.len(), 1, "one for more than ten thousand bytes");
    assert_eq!(sent[0][7], kind::ACKNOWLEDGEMENT);
}

const AAC_48_STEREO: [u8; 2] = [0x11, 0x90];

fn message(kind: u8, timestamp_ms: u32, payload: &[u8]) -> Message {
    Message { kind, stream: 1, timestamp_ms, payload: Bytes::copy_from_slice(payload) }
}

fn aac_record() -> Message {
    message(kind::AUDIO, 0, &[&[0xaf, 0][..], &AAC_48_STEREO].concat())
}

fn announcing(entries: &[(&str, f64)]) -> Message {
    let entries = entries.iter().map(|(name, number)| ((*name).to_owned(), Value::Number(*number))).collect();
    let values = [Value::text("@setDataFrame"), Value::text("onMetaData"), Value::Object(entries)];
    message(kind::DATA, 0, &amf0::write_all(&values))
}

#[test]
fn sound_goes_back_on_the_grid_that_milliseconds_took_it_from() {
    let mut incoming = Incoming::default();
    let mut events = Vec::new();
    incoming.handle(&announcing(&[("audiocodecid", 10.0)]), &mut events).unwrap();
    incoming.handle(&aac_record(), &mut events).unwrap();
    let IncomingEvent::Tracks(tracks) = events.remove(0) else { panic!("{events:?}") };
    assert_eq!((tracks.len(), tracks[0].clock_rate), (1, 48_000));
    // 1024 samples at 48 kHz are 21.3 ms. After a pause of a second the times are taken as they come.
    for ms in [0, 21, 43, 64, 85, 107, 1107, 1128] {
        incoming.handle(&message(kind::AUDIO, ms, &[0xaf, 1, 0x21]), &mut events).unwrap();
    }
    let times: Vec<_> = events
        .iter()
        .map(|event| match event {
            IncomingEvent::Unit { track: 0, rtp_timestamp, .. } => *rtp_timestamp,
            other => panic!("{other:?}"),
        })
        .collect();
    let after = 1107 * 48;
    assert_eq!(times, [0, 1024, 2048, 3072, 4096, 5120, after, after + 1024]);
}

#[test]
fn tracks_that_nobody_announced_are_waited_for_a_second_and_not_for_ever() {
    let mut incoming = Incoming::default();
    let mut events = Vec::new();
    incoming.handle(&aac_record(), &mut events).unwrap();
    for ms in (0..1000).step_by(100) {
        incoming.handle(&message(kind::AUDIO, ms, &[0xaf, 1, 0x21]), &mut events).unwrap();
        assert!(events.is_empty(), "at {ms} ms");
    }
    incoming.handle(&message(kind::AUDIO, 1000, &[0xaf, 1, 0x21]), &mut events).unwrap();
    assert_eq!(events.len(), 1 + 11, "nothing of the first second is lost");
    // A codec that is not carried, and nothing else.
    let mut incoming = Incoming::default();
    let results: Vec<_> = (0..WAITING_UNITS_MAX)
        .map(|_| incoming.handle(&message(kind::AUDIO, 0, &[0x2f, 1]), &mut events))
        .collect();
    assert!(
        results[..WAITING_UNITS_MAX - 1].iter().all(|result| matches!(result, Err(IncomingError::Tag(_))))
    );
    assert_eq!(results.last(), Some(&Err(IncomingError::NoTracks)));
}

#[test]
fn pictures_wait_for_nothing_that_metadata_rules_out() {
    // An avcC with lengths of 2 bytes.
    let avc = [0x17, 0, 0, 0, 0, 1, 66, 0xc0, 12, 0xfd, 0xe1, 0, 3, 0x67, 66, 0, 1, 0, 2, 0x68, 0xce];
    let mut incoming = Incoming::default();
    let mut events = Vec::new();
    incoming.handle(&announcing(&[("videocodecid", 7.0), ("audiocodecid", 0.0)]), &mut events).unwrap();
    incoming.handle(&message(kind::VIDEO, 0, &avc), &mut events).unwrap();
    let picture = [0x17, 1, 0, 0, 80, 0, 2, 0x65, 0x88, 0, 0, 0, 9, 0x41];
    incoming.handle(&message(kind::VIDEO, 40, &picture), &mut events).unwrap();
    let [IncomingEvent::Tracks(tracks), sets, unit] = &events[..] else { panic!("{events:?}") };
    assert_eq!((tracks.len(), tracks[0].encoding.as_str()), (1, "H264"));
    let nals = vec![Bytes::from_static(&[0x67, 66, 0]), Bytes::from_static(&[0x68, 0xce])];
    assert_eq!(*sets, IncomingEvent::ParameterSets { track: 0, nals });
    // The empty unit is left out, the cut one kept as far as it goes.
    let payload = Bytes::from_static(&[0, 0, 0, 2, 0x65, 0x88, 0, 0, 0, 1, 0x41]);
    assert_eq!(*unit, IncomingEvent::Unit { track: 0, rtp_timestamp: 120 * 90, payload });
    // Sound after all: the tracks are told anew.
    events.clear();
    incoming.handle(&aac_record(), &mut events).unwrap();
    assert!(matches!(&events[0], IncomingEvent::Tracks(tracks) if tracks.len() == 2), "{events:?}");
}
