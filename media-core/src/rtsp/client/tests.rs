//! Tests of the dialogue: a scripted camera answers, events and requests are compared.

use super::*;

const SDP: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
    a=rtpmap:96 H264/90000\r\na=control:trackID=0\r\nm=audio 0 RTP/AVP 8\r\na=control:trackID=1\r\n";

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn start() -> Instant {
    Instant::now()
}

/// A client and what the camera would see and say.
struct Dialogue {
    client: Client,
    buf: BytesMut,
    now: Instant,
}

impl Dialogue {
    fn new(credentials: Option<(&str, &str)>) -> Self {
        let now = start();
        let config = ClientConfig {
            url: Url::parse("rtsp://camera/live?x=1").unwrap(),
            credentials: credentials
                .map(|(user, password)| Credentials { user: user.into(), password: password.into() }),
            user_agent: "test".into(),
            request_timeout: Duration::from_secs(10),
            range: "clock=20261126T140000Z-".into(),
            scale: Some("2".into()),
        };
        Self { client: Client::new(config, now), buf: BytesMut::new(), now }
    }

    fn sent(&mut self) -> String {
        let mut text = String::new();
        while let Some(bytes) = self.client.poll_transmit() {
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text
    }

    fn camera_says(&mut self, text: &str) -> Result<Option<Event>, ClientError> {
        self.buf.extend_from_slice(text.as_bytes());
        self.client.next_event(&mut self.buf, self.now)
    }

    fn describe(&mut self) -> Vec<SdpMedia> {
        assert!(self.sent().starts_with("OPTIONS rtsp://camera/live?x=1 RTSP/1.0\r\n"));
        assert_eq!(
            self.camera_says("RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS, GET_PARAMETER\r\n\r\n"),
            Ok(None)
        );
        assert!(self.sent().starts_with("DESCRIBE "));
        let answer = format!("RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {}\r\n\r\n{SDP}", SDP.len());
        match self.camera_says(&answer) {
            Ok(Some(Event::Described(medias))) => medias,
            other => panic!("{other:?}"),
        }
    }

    fn play(&mut self) {
        let medias = self.describe();
        self.client.setup(0, &medias[0], LowerTransport::Tcp { channel: 0 }, self.now).unwrap();
        assert!(self.sent().contains("Transport: RTP/AVP/TCP;unicast;interleaved=0-1"));
        let event = self.camera_says(
            "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: abc;timeout=20\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n",
        );
        assert!(matches!(event, Ok(Some(Event::SetUp { track: 0, .. }))));
        self.client.play(self.now).unwrap();
        let sent = self.sent();
        for header in ["Session: abc", "Range: clock=20261126T140000Z-", "Scale: 2"] {
            assert!(sent.contains(&format!("{header}\r\n")), "{header} is not in {sent}");
        }
        assert_eq!(
            self.camera_says("RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: abc\r\n\r\n"),
            Ok(Some(Event::Playing))
        );
    }
}

#[test]
fn dialogue_runs_from_options_to_media_and_keeps_the_session_alive() {
    let mut dialogue = Dialogue::new(None);
    dialogue.play();
    let event = dialogue.camera_says("$\0\0\x03rtp$\x01\0\x04rtcp$\x09\0\x01x").unwrap().unwrap();
    assert_eq!(event, Event::Media { track: 0, kind: MediaKind::Rtp, packet: Bytes::from_static(b"rtp") });
    let event = dialogue.camera_says("").unwrap().unwrap();
    assert_eq!(event, Event::Media { track: 0, kind: MediaKind::Rtcp, packet: Bytes::from_static(b"rtcp") });
    assert_eq!(dialogue.camera_says("").unwrap(), None);
    assert_eq!(dialogue.client.stats().unknown_channel_packets, 1);

    let due = dialogue.client.poll_timeout().unwrap();
    assert_eq!(due - dialogue.now, Duration::from_secs(10), "half the camera's 20 s");
    dialogue.now = due;
    dialogue.client.handle_timeout(due).unwrap();
    assert!(dialogue.sent().starts_with("GET_PARAMETER rtsp://camera/live?x=1 RTSP/1.0\r\n"));
}

#[test]
fn keep_alive_with_wrong_cseq_or_none_at_all_is_survived() {
    let mut dialogue = Dialogue::new(None);
    dialogue.play();
    dialogue.now = dialogue.client.poll_timeout().unwrap();
    dialogue.client.handle_timeout(dialogue.now).unwrap();
    dialogue.sent();
    assert_eq!(dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 999\r\n\r\n"), Ok(None));
    assert_eq!(dialogue.client.stats().wrong_cseqs, 1);
    for _ in 0..4 {
        dialogue.now = dialogue.client.poll_timeout().unwrap();
        dialogue.client.handle_timeout(dialogue.now).unwrap();
    }
    assert!(dialogue.client.stats().failed_keep_alives >= 1);
}

#[test]
fn digest_challenge_is_answered_with_the_uri_of_the_request() {
    let mut dialogue = Dialogue::new(Some(("admin", "p@ss/w#rd")));
    dialogue.sent();
    dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n").unwrap();
    dialogue.sent();
    let challenge = "RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\n\
        WWW-Authenticate: Digest realm=\"cam\", nonce=\"8b84a3b789283a8bea8da7fa7d41f08b\"\r\n\r\n";
    assert_eq!(dialogue.camera_says(challenge), Ok(None));
    let sent = dialogue.sent();
    assert!(sent.starts_with("DESCRIBE rtsp://camera/live?x=1 "), "{sent}");
    assert!(sent.contains("Authorization: Digest username=\"admin\""), "{sent}");
    assert!(sent.contains("uri=\"rtsp://camera/live?x=1\""), "{sent}");
    // The same challenge for ever is a refusal, not a loop.
    assert_eq!(dialogue.camera_says(challenge), Ok(None));
    assert!(matches!(dialogue.camera_says(challenge), Err(ClientError::CredentialsRefused { .. })));
}

#[test]
fn sha_256_challenge_without_qop_is_answered_with_its_algorithm() {
    let mut dialogue = Dialogue::new(Some(("admin", "p@ss/w#rd")));
    dialogue.sent();
    dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n").unwrap();
    dialogue.sent();
    let challenge = "RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\n\
        WWW-Authenticate: Digest realm=\"cam\", nonce=\"8b84a3b789283a8bea8da7fa7d41f08b\", algorithm=SHA-256\r\n\r\n";
    assert_eq!(dialogue.camera_says(challenge), Ok(None));
    let sent = dialogue.sent();
    assert!(sent.contains("algorithm=SHA-256"), "{sent}");
    // By Python's hashlib: H(H(user:realm:password):nonce:H(method:uri)).
    let response = "408ae145943ed42ae3981acb189b813849bf45fc5cd6ba284819395c3a5e09c7";
    assert!(sent.contains(response), "{sent}");
}

#[test]
fn missing_credentials_and_refusals_are_told_apart() {
    let refuse = |status: &str| {
        let mut dialogue = Dialogue::new(None);
        dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n").unwrap();
        dialogue.camera_says(&format!("RTSP/1.0 {status}\r\nCSeq: 2\r\n\r\n")).unwrap_err()
    };
    assert_eq!(refuse("401 Unauthorized"), ClientError::CredentialsMissing);
    assert!(matches!(refuse("503 Service Unavailable"), ClientError::Refused { status: 503, .. }));
    assert_eq!(refuse("302 Moved"), ClientError::Redirected { status: 302 });
}

#[test]
fn unanswered_request_ends_the_dialogue_in_time() {
    let mut dialogue = Dialogue::new(None);
    let due = dialogue.client.poll_timeout().unwrap();
    assert_eq!(due - dialogue.now, Duration::from_secs(10));
    assert!(matches!(dialogue.client.handle_timeout(due), Err(ClientError::Timeout { .. })));
}

#[test]
fn requests_of_the_camera_are_answered_with_their_cseq() {
    let mut dialogue = Dialogue::new(None);
    dialogue.play();
    assert_eq!(dialogue.camera_says("OPTIONS * RTSP/1.0\r\nCSeq: 77\r\n\r\n"), Ok(None));
    assert!(dialogue.sent().contains("CSeq: 77"));
    let end = dialogue.camera_says("TEARDOWN rtsp://camera/live RTSP/1.0\r\nCSeq: 78\r\n\r\n");
    assert!(matches!(end, Err(ClientError::EndedByCamera { .. })));
}

// correctness: S2
#[test]
fn control_url_with_another_scheme_is_refused() {
    assert!(parse_control("http://inside/").is_err());
    assert!(parse_control("file:///etc/passwd").is_err());
    assert_eq!(parse_control("rtsp://u:p@camera/live").unwrap().as_str(), "rtsp://camera/live");
}

#[test]
fn a_client_that_publishes_announces_sets_up_and_records() {
    let now = start();
    let config = ClientConfig {
        url: Url::parse("rtsp://server/live").unwrap(),
        credentials: Some(Credentials { user: "u".into(), password: "p".into() }),
        user_agent: "test".into(),
        request_timeout: Duration::from_secs(10),
        range: "npt=0.000-".into(),
        scale: None,
    };
    let mut dialogue =
        Dialogue { client: Client::publish(config, SDP.to_owned(), now), buf: BytesMut::new(), now };
    assert!(dialogue.sent().starts_with("OPTIONS rtsp://server/live RTSP/1.0\r\n"));
    dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n").unwrap();
    let announced = dialogue.sent();
    assert!(announced.starts_with("ANNOUNCE rtsp://server/live RTSP/1.0\r\n"), "{announced}");
    assert!(
        announced.contains("Content-Type: application/sdp\r\n") && announced.ends_with(SDP),
        "{announced}"
    );
    // The body goes again with the answer to a challenge.
    let challenge = "RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n";
    assert_eq!(dialogue.camera_says(challenge), Ok(None));
    let again = dialogue.sent();
    assert!(again.contains("Authorization: Basic dTpw\r\n") && again.ends_with(SDP), "{again}");
    assert_eq!(dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 3\r\n\r\n"), Ok(Some(Event::Announced)));
    dialogue.client.setup_recorded(0, "trackID=0", LowerTransport::Tcp { channel: 0 }, now).unwrap();
    let set_up = dialogue.sent();
    assert!(set_up.starts_with("SETUP rtsp://server/live/trackID=0 RTSP/1.0\r\n"), "{set_up}");
    assert!(set_up.contains("Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n"), "{set_up}");
    let event = dialogue.camera_says(
        "RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: abc\r\nTransport: RTP/AVP/TCP;interleaved=0-1;mode=record\r\n\r\n",
    );
    assert!(matches!(event, Ok(Some(Event::SetUp { track: 0, .. }))));
    dialogue.client.record(now).unwrap();
    assert!(dialogue.sent().starts_with("RECORD rtsp://server/live RTSP/1.0\r\n"));
    let event = dialogue.camera_says("RTSP/1.0 200 OK\r\nCSeq: 5\r\nSession: abc\r\n\r\n");
    assert_eq!(event, Ok(Some(Event::Recording)));
    assert!(dialogue.client.poll_timeout().is_some(), "the session is kept alive");
}
