//! The server machine, request by request: which status, which state, which event.

use std::time::{Duration, Instant};

use super::*;

struct Dialogue {
    server: ServerConnection,
    now: Instant,
    cseq: u32,
}

impl Dialogue {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn new() -> Self {
        let config = ServerConfig {
            server: "test".to_owned(),
            session_id: "f00d".to_owned(),
            idle_timeout: Duration::from_secs(10),
        };
        let now = Instant::now();
        Self { server: ServerConnection::new(config, now), now, cseq: 0 }
    }

    fn send(&mut self, request: &str) -> Option<Event> {
        self.server.next_event(&mut BytesMut::from(request), self.now).unwrap()
    }

    /// Sends a request and gives the event, the status (0 when there is no answer yet) and the answer.
    fn ask(&mut self, line: &str, more: &str) -> (Option<Event>, u16, String) {
        self.cseq += 1;
        let event = self.send(&format!("{line} RTSP/1.0\r\nCSeq: {}\r\n{more}\r\n", self.cseq));
        let (status, answer) = self.answer();
        (event, status, answer)
    }

    fn status(&mut self, line: &str, more: &str) -> u16 {
        self.ask(line, more).1
    }

    fn answer(&mut self) -> (u16, String) {
        let Some(bytes) = self.server.poll_transmit() else { return (0, String::new()) };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        // correctness: R1
        assert!(text.contains(&format!("CSeq: {}\r\n", self.cseq)), "{text}");
        (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
    }

    fn set_up(&mut self, track: usize) -> (u16, String) {
        let session = if self.server.has_session() { "Session: f00d\r\n" } else { "" };
        let more = format!(
            "Transport: RTP/AVP/TCP;unicast;interleaved={}-{}\r\n{session}",
            track * 2,
            track * 2 + 1
        );
        let (event, status, _) = self.ask(&format!("SETUP rtsp://h/cam/trackID={track}"), &more);
        assert_eq!(status, 0, "left to the driver");
        let Some(Event::Setup(request)) = event else { panic!("{event:?}") };
        assert_eq!(request.target.track, Some(track));
        let rtp_channel = u8::try_from(track * 2).unwrap();
        let transport = ServerTransport::Tcp { rtp_channel, rtcp_channel: rtp_channel + 1 };
        self.server.set_up(SetUpTrack { track, transport, ssrc: Some(0xabcd) });
        self.answer()
    }

    fn play(&mut self) -> (u16, String) {
        let (event, status, _) = self.ask("PLAY rtsp://h/cam/", "Session: f00d\r\n");
        assert_eq!((event, status), (Some(Event::Play), 0));
        self.server.playing(&[RtpInfo { track: 0, seq: 7, rtp_timestamp: 90_000 }]);
        self.answer()
    }
}

#[test]
fn a_reader_describes_sets_up_plays_pauses_and_leaves() {
    let mut dialogue = Dialogue::new();
    let (_, status, answer) = dialogue.ask("OPTIONS *", "");
    assert_eq!(status, 200);
    assert!(answer.starts_with("RTSP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Public: OPTIONS, DESCRIBE"), "{answer}");
    let (event, status, _) = dialogue.ask("DESCRIBE rtsp://user:word@h/cam?x=y", "User-Agent: probe\r\n");
    let target = Target { path: "cam".to_owned(), query: "x=y".to_owned(), track: None };
    assert_eq!((event, status), (Some(Event::Describe(target)), 0));
    dialogue.server.described("v=0\r\n");
    let (status, answer) = dialogue.answer();
    assert_eq!(status, 200);
    assert!(
        answer.contains("Content-Base: rtsp://h/cam?x=y/\r\n") && answer.ends_with("\r\n\r\nv=0\r\n"),
        "{answer}"
    );
    assert_eq!(dialogue.server.user_agent(), "probe");

    let (status, answer) = dialogue.set_up(0);
    assert_eq!(status, 200);
    assert!(answer.contains("Session: f00d;timeout=60"), "{answer}");
    assert!(answer.contains("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=0000ABCD"), "{answer}");
    assert_eq!(dialogue.set_up(1).0, 200);
    let (status, answer) = dialogue.play();
    assert_eq!(status, 200);
    assert!(answer.contains("RTP-Info: url=rtsp://h/cam/trackID=0;seq=7;rtptime=90000"), "{answer}");
    let report = dialogue.send("$\x01\x00\x03abc");
    let expect = Event::Data { track: 0, kind: MediaKind::Rtcp, packet: Bytes::from_static(b"abc") };
    assert_eq!(report, Some(expect));
    assert_eq!(dialogue.send("$\x09\x00\x03abc"), None, "a channel that nobody set up");
    assert_eq!(dialogue.ask("PAUSE rtsp://h/cam/", "Session: f00d\r\n").0, Some(Event::Pause));
    dialogue.server.done();
    assert_eq!(dialogue.answer().0, 200);
    assert_eq!(dialogue.play().0, 200);
    let (event, status, _) = dialogue.ask("TEARDOWN rtsp://h/cam/", "Session: f00d\r\n");
    assert_eq!((event, status), (Some(Event::Teardown), 200));
    assert!(!dialogue.server.has_session());
}

// correctness: R1
#[test]
fn what_is_out_of_place_gets_its_own_status() {
    let mut dialogue = Dialogue::new();
    let tcp = "Transport: RTP/AVP/TCP;interleaved=0-1\r\n";
    for (line, more, status) in [
        ("PLAY rtsp://h/cam", "", 454),
        ("PLAY rtsp://h/cam", "Session: beef\r\n", 454),
        ("PAUSE rtsp://h/cam", "Session: f00d\r\n", 454),
        ("TEARDOWN rtsp://h/cam", "", 454),
        ("GET_PARAMETER rtsp://h/cam", "Session: beef\r\n", 454),
        ("DESCRIBE rtsp://h/cam", "Require: implicit-play\r\n", 551),
        ("SETUP rtsp://h/cam/trackID=0", "Transport: RTP/SAVP;multicast\r\n", 461),
        ("SETUP rtsp://h/cam/trackID=0", "Transport: RAW/RAW/UDP\r\n", 461),
        ("SETUP rtsp://h/cam/trackID=0", "", 400),
        ("SETUP rtsp://h/cam/trackID=0", "Transport: RTP/AVP/TCP;interleaved=0-1;mode=record\r\n", 455),
        ("RECORD rtsp://h/cam", "", 454),
        ("DESCRIBE *", "", 400),
        ("ANNOUNCE rtsp://h/cam", "", 415),
        ("FLY rtsp://h/cam", "", 501),
    ] {
        assert_eq!(dialogue.status(line, more), status, "{line} {more}");
    }
    let (_, _, answer) = dialogue.ask("OPTIONS *", "Require: funky\r\n");
    assert!(answer.contains("Unsupported: funky"), "{answer}");

    dialogue.set_up(0);
    let session = "Session: f00d\r\n";
    for (line, more, status) in [
        ("PAUSE rtsp://h/cam", session.to_owned(), 200),
        ("RECORD rtsp://h/cam", session.to_owned(), 455),
        ("SETUP rtsp://h/cam/trackID=0", format!("{tcp}{session}"), 455),
        ("SETUP rtsp://h/cam/trackID=1", tcp.to_owned(), 455),
        ("SETUP rtsp://h/other/trackID=1", format!("{tcp}{session}"), 459),
        ("SETUP rtsp://h/cam/trackID=1", format!("Transport: RTP/AVP;client_port=1-2\r\n{session}"), 461),
        ("GET_PARAMETER rtsp://h/cam", session.to_owned(), 200),
    ] {
        assert_eq!(dialogue.status(line, &more), status, "{line} {more}");
    }
    dialogue.set_up(1);
    assert_eq!(dialogue.status("PLAY rtsp://h/cam/trackID=0", session), 460);
    dialogue.play();
    assert_eq!(dialogue.status("SETUP rtsp://h/cam/trackID=2", &format!("{tcp}{session}")), 455);
    assert_eq!(dialogue.status("PLAY rtsp://h/cam", session), 200);
}

#[test]
fn a_request_without_cseq_or_of_another_version_is_refused() {
    let mut dialogue = Dialogue::new();
    assert_eq!(dialogue.send("OPTIONS * RTSP/1.0\r\n\r\n"), None);
    let answer = dialogue.server.poll_transmit().unwrap();
    assert!(answer.starts_with(b"RTSP/1.0 400"), "{answer:?}");
    assert_eq!(dialogue.send("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n"), None);
    let answer = dialogue.server.poll_transmit().unwrap();
    assert!(answer.starts_with(b"RTSP/1.0 505"), "{answer:?}");
}

#[test]
fn nothing_that_a_request_says_becomes_a_header_of_the_answer() {
    let mut dialogue = Dialogue::new();
    for request in [
        "OPTIONS * RTSP/1.0\r\nCSeq: 1\nLocation: rtsp://elsewhere/\r\n\r\n",
        "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nRequire: a\nLocation: rtsp://elsewhere/\r\n\r\n",
    ] {
        assert_eq!(dialogue.send(request), None);
        let answer = String::from_utf8(dialogue.server.poll_transmit().unwrap().to_vec()).unwrap();
        assert!(answer.starts_with("RTSP/1.0 4") || answer.starts_with("RTSP/1.0 551"), "{answer}");
        assert!(!answer.contains("elsewhere"), "{answer}");
    }
}

#[test]
fn requests_sent_ahead_wait_for_the_answer_before_them() {
    let mut dialogue = Dialogue::new();
    let mut buf = BytesMut::from(
        "DESCRIBE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n",
    );
    let now = dialogue.now;
    assert!(matches!(dialogue.server.next_event(&mut buf, now), Ok(Some(Event::Describe(_)))));
    assert_eq!(dialogue.server.next_event(&mut buf, now), Ok(None));
    assert_eq!(dialogue.server.poll_transmit(), None);
    dialogue.server.refuse(&Refusal::NotFound);
    assert_eq!(dialogue.server.next_event(&mut buf, now), Ok(None));
    let answers: Vec<Bytes> = std::iter::from_fn(|| dialogue.server.poll_transmit()).collect();
    assert!(answers[0].starts_with(b"RTSP/1.0 404"), "{answers:?}");
    assert!(answers[1].starts_with(b"RTSP/1.0 200"), "{answers:?}");
}

// correctness: R1
#[test]
fn a_silent_client_is_timed_out_and_a_keep_alive_prevents_it() {
    let mut dialogue = Dialogue::new();
    let second = Duration::from_secs(1);
    assert_eq!(dialogue.server.poll_timeout(), dialogue.now + 10 * second);
    let late = dialogue.now + 10 * second;
    assert_eq!(dialogue.server.handle_timeout(late), Err(ServerError::Idle(10 * second)));
    assert_eq!(dialogue.status("OPTIONS *", ""), 200);
    assert_eq!(dialogue.server.poll_timeout(), dialogue.now + SESSION_TIMEOUT);
    dialogue.set_up(0);
    dialogue.play();
    dialogue.now += 50 * second;
    assert_eq!(dialogue.status("GET_PARAMETER rtsp://h/cam", "Session: f00d\r\n"), 200);
    dialogue.now += 50 * second;
    assert_eq!(dialogue.server.handle_timeout(dialogue.now), Ok(()));
    dialogue.server.note_alive(dialogue.now);
    dialogue.now += 60 * second;
    assert_eq!(dialogue.server.handle_timeout(dialogue.now), Err(ServerError::SessionTimeout));
}

#[test]
fn a_publisher_announces_sets_up_and_records() {
    let mut dialogue = Dialogue::new();
    let sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
               a=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n";
    let head = format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    dialogue.cseq += 1;
    let event =
        dialogue.send(&format!("ANNOUNCE rtsp://h/cam RTSP/1.0\r\nCSeq: {}\r\n{head}", dialogue.cseq));
    let Some(Event::Announce { target, medias }) = event else { panic!("{event:?}") };
    assert_eq!((target.path.as_str(), medias.len()), ("cam", 1));
    assert_eq!(medias[0].control, "rtsp://h/cam/streamid=0");
    dialogue.server.done();
    assert_eq!(dialogue.answer().0, 200);
    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n";
    assert_eq!(dialogue.status("SETUP rtsp://h/other/streamid=0", tcp), 455);
    let (event, status, _) = dialogue.ask("SETUP rtsp://h/cam/streamid=0", tcp);
    let Some(Event::Setup(request)) = event else { panic!("{status} {event:?}") };
    assert_eq!((request.mode, request.url.as_str()), (Mode::Record, "rtsp://h/cam/streamid=0"));
    let transport = ServerTransport::Tcp { rtp_channel: 0, rtcp_channel: 1 };
    dialogue.server.set_up(SetUpTrack { track: 0, transport, ssrc: None });
    let (status, answer) = dialogue.answer();
    assert_eq!(status, 200);
    assert!(answer.contains("Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n"), "{answer}");
    assert_eq!(dialogue.status("PLAY rtsp://h/cam", "Session: f00d\r\n"), 455);
    let (event, _, _) = dialogue.ask("RECORD rtsp://h/cam", "Session: f00d\r\n");
    assert_eq!(event, Some(Event::Record));
    dialogue.server.done();
    assert_eq!(dialogue.answer().0, 200);
    let media = dialogue.send("$\x00\x00\x03abc");
    let expect = Event::Data { track: 0, kind: MediaKind::Rtp, packet: Bytes::from_static(b"abc") };
    assert_eq!(media, Some(expect));
    dialogue.now += Duration::from_secs(10);
    let silent = ServerError::Silent(Duration::from_secs(10));
    assert_eq!(dialogue.server.handle_timeout(dialogue.now), Err(silent));
}

#[test]
fn each_challenge_is_a_header_of_its_own() {
    let mut dialogue = Dialogue::new();
    let authorization = "Authorization: Basic abc\r\n";
    let (event, status, _) = dialogue.ask("DESCRIBE rtsp://user:word@h/cam?x=y", authorization);
    assert!(matches!((event, status), (Some(Event::Describe(_)), 0)));
    let signature = dialogue.server.signature().unwrap();
    assert_eq!((signature.method, signature.url.path()), ("DESCRIBE", "/cam"));
    assert_eq!(signature.authorization.as_deref(), Some("Basic abc"));
    let challenges = vec!["Digest realm=\"r\", nonce=\"n\"".to_owned(), "Basic realm=\"r\"".to_owned()];
    dialogue.server.refuse(&Refusal::Unauthorized { challenges });
    let (status, answer) = dialogue.answer();
    assert_eq!(status, 401);
    let end = "\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\nWWW-Authenticate: Basic realm=\"r\"\r\n\r\n";
    assert!(answer.ends_with(end), "{answer:?}");
    dialogue.ask("DESCRIBE rtsp://h/cam", "");
    dialogue.server.refuse(&Refusal::Unauthorized { challenges: Vec::new() });
    let (status, answer) = dialogue.answer();
    assert!(
        status == 401 && !answer.contains("WWW-Authenticate") && answer.ends_with("\r\n\r\n"),
        "{answer:?}"
    );
}

#[test]
fn a_reader_that_is_sent_elsewhere_is_told_where() {
    let mut dialogue = Dialogue::new();
    let (event, status, _) = dialogue.ask("DESCRIBE rtsp://h/cam", "");
    assert!(matches!(event, Some(Event::Describe(_))) && status == 0);
    dialogue.server.refuse(&Refusal::Elsewhere { location: "rtsp://h/other".to_owned() });
    let (status, answer) = dialogue.answer();
    assert!(status == 302 && answer.contains("Location: rtsp://h/other\r\n"), "{answer}");
}
