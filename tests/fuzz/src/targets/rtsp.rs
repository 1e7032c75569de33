//! RTSP: what cameras answer and what clients ask, SDP and interleaved packets included.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use media_core::ingest::TrackSetup;
use media_core::rtsp::server::{
    Event as Asked, Refusal, RtpInfo, ServerConfig, ServerConnection, ServerTransport, SetUpTrack,
    TransportOffer, track_control,
};
use media_core::rtsp::{
    Client, ClientConfig, Credentials, Event, LowerTransport, MediaKind, SDP_MEDIAS_MAX, SdpMedia,
};
use url::Url;

use super::READS;
use crate::pipeline::Pipeline;

/// The tracks of a camera that are set up.
const TRACKS: usize = 2;

/// Bytes that one message may bring us to send.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The headers of our answers.
const HEADERS: &[&str] = &[
    "CSeq",
    "Server",
    "Public",
    "Content-Base",
    "Content-Type",
    "Content-Length",
    "Transport",
    "Session",
    "RTP-Info",
    "Location",
    "Unsupported",
    "Allow",
    "WWW-Authenticate",
];

/// What a camera says means the same however it arrives, and what comes of its media is sound.
pub(super) fn client(input: &[u8]) {
    let [whole, crumbs] = READS.map(|read| client_dialogue(input, read));
    assert_eq!(whole, crumbs, "it matters how the camera's bytes arrive");
    let mut pipeline = Pipeline::new();
    for event in whole.0 {
        match event {
            Event::Described(medias) => {
                let tracks = medias.iter().take(TRACKS).map(|media| (media.payload_type, setup(media)));
                pipeline.start_rtp(tracks.collect());
            }
            Event::Media { track, kind, packet } => pipeline.rtp((track, kind), packet),
            _ => {}
        }
    }
}

fn setup(media: &SdpMedia) -> TrackSetup {
    TrackSetup {
        encoding: media.encoding_name.clone(),
        clock_rate: media.clock_rate,
        channels: Some(media.channels),
        fmtp: Some(media.fmtp.clone()),
        rtp_info_timestamp: None,
    }
}

/// What happened, and whether the dialogue ended.
fn client_dialogue(input: &[u8], read: usize) -> (Vec<Event>, bool) {
    let now = Instant::now();
    let config = ClientConfig {
        url: Url::parse("rtsp://192.0.2.1/cam").expect("a url"),
        credentials: Some(Credentials { user: "user".to_owned(), password: "top-secret".to_owned() }),
        user_agent: "fuzz".to_owned(),
        request_timeout: Duration::from_secs(10),
        range: "npt=0.000-".to_owned(),
        scale: None,
    };
    let mut client = Client::new(config, now);
    let (mut events, mut buf) = (Vec::new(), BytesMut::new());
    for piece in input.chunks(read) {
        buf.extend_from_slice(piece);
        loop {
            let event = match client.next_event(&mut buf, now) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().contains("top-secret"), "a password in an error: {error}");
                    return (events, true);
                }
            };
            if let Event::Described(medias) = &event {
                assert!(medias.len() <= SDP_MEDIAS_MAX, "{} media sections", medias.len());
                for (track, media) in medias.iter().take(TRACKS).enumerate() {
                    let channel = u8::try_from(2 * track).unwrap_or(0);
                    client.setup(track, media, LowerTransport::Tcp { channel }, now).ok();
                }
                client.play(now).ok();
            }
            events.push(event);
            let sent: usize = std::iter::from_fn(|| client.poll_transmit()).map(|bytes| bytes.len()).sum();
            assert!(sent <= ANSWER_BYTES_MAX + 2 * input.len(), "{sent} bytes sent for {}", input.len());
        }
    }
    (events, false)
}

/// What a client asks means the same however it arrives, each request has one answer, and nothing of the request stands in it that could be
/// taken for a header.
pub(super) fn server(input: &[u8]) {
    let [whole, crumbs] = READS.map(|read| server_dialogue(input, read));
    assert_eq!(whole, crumbs, "it matters how the client's bytes arrive");
    let mut pipeline = Pipeline::new();
    for event in whole.0 {
        match event {
            Asked::Announce { medias, .. } => {
                let tracks = medias.iter().take(TRACKS).map(|media| (media.payload_type, setup(media)));
                pipeline.start_rtp(tracks.collect());
            }
            Asked::Data { track, kind, packet } => pipeline.rtp((track, kind), packet),
            _ => {}
        }
    }
}

/// What was asked, what was answered, and whether the dialogue ended.
fn server_dialogue(input: &[u8], read: usize) -> (Vec<Asked>, Vec<u8>, bool) {
    let now = Instant::now();
    let config = ServerConfig {
        server: "fuzz".to_owned(),
        session_id: "1234567890".to_owned(),
        idle_timeout: Duration::from_secs(10),
    };
    let mut server = ServerConnection::new(config, now);
    let (mut events, mut answers, mut buf) = (Vec::new(), Vec::new(), BytesMut::new());
    let mut asked = |server: &mut ServerConnection, buf: &mut BytesMut| loop {
        let event = match server.next_event(buf, now) {
            Ok(Some(event)) => event,
            other => {
                answered(server, &mut answers);
                return (other.is_err(), answers.clone());
            }
        };
        answer(server, &event);
        answered(server, &mut answers);
        events.push(event);
    };
    let mut ended = (false, Vec::new());
    for piece in input.chunks(read) {
        buf.extend_from_slice(piece);
        ended = asked(&mut server, &mut buf);
        if ended.0 {
            break;
        }
    }
    (events, ended.1, ended.0)
}

/// As a driver would that lets anybody do anything.
fn answer(server: &mut ServerConnection, event: &Asked) {
    match event {
        Asked::Describe(target) if target.path.is_empty() => server.refuse(&Refusal::NotFound),
        Asked::Describe(_) => {
            server.described("v=0\r\ns=a\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n")
        }
        Asked::Setup(request) => {
            assert!(!request.offers.is_empty(), "nothing to choose from");
            let track = request.target.track.unwrap_or(0);
            let transport = match request.offers[0] {
                TransportOffer::Tcp { channels } => {
                    let (rtp_channel, rtcp_channel) = channels.unwrap_or((0, 1));
                    ServerTransport::Tcp { rtp_channel, rtcp_channel }
                }
                TransportOffer::Udp { client_ports } => {
                    ServerTransport::Udp { client_ports, server_ports: (8000, 8001) }
                }
                TransportOffer::Multicast => ServerTransport::Multicast {
                    destination: Ipv4Addr::new(239, 0, 0, 1),
                    ports: (8002, 8003),
                    ttl: 1,
                },
            };
            server.set_up(SetUpTrack { track, transport, ssrc: Some(7) });
        }
        Asked::Play => server.playing(&[RtpInfo { track: 0, seq: 1, rtp_timestamp: 2 }]),
        Asked::Pause | Asked::Announce { .. } | Asked::Record => server.done(),
        Asked::Teardown | Asked::Data { .. } => {}
    }
    if let Asked::Data { kind: MediaKind::Rtp, track, .. } = event {
        assert!(server.tracks().iter().any(|set_up| set_up.track == *track), "data of a track not set up");
    }
}

/// Takes what is to be sent, and looks at its heads.
fn answered(server: &mut ServerConnection, answers: &mut Vec<u8>) {
    while let Some(bytes) = server.poll_transmit() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head that ends");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head in UTF-8");
        let mut lines = head.split("\r\n");
        assert!(lines.next().is_some_and(|first| first.starts_with("RTSP/1.0 ")), "{head:?}");
        for line in lines {
            let name = line.split_once(": ").map(|(name, _)| name);
            assert!(name.is_some_and(|name| HEADERS.contains(&name)), "{line:?} in {head:?}");
            assert!(!line.contains(['\r', '\n']), "{line:?} is more than a line");
        }
        assert!(bytes.len() <= ANSWER_BYTES_MAX, "answer of {} bytes", bytes.len());
        answers.extend_from_slice(&bytes);
    }
    debug_assert!(track_control(1).ends_with('1'));
}
