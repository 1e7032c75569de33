//! Tests of the configuration as a whole: what a person writes and what comes of it.

use std::time::Duration;

use media_core::gate::Action;
use media_core::path_name::PathName;

use super::pattern::PathPattern;
use super::pulled::PulledSource;
use super::resolved::{
    HlsVariant, InterfaceIps, LogFormat, LogSink, OnDemand, PathSource, Replacing, RtspTransport,
};
use super::{Config, ConfigError, Fault, Layer, Loaded, access, understand};

fn understood(yaml: &str, variables: &[(String, String)]) -> Result<Loaded, Vec<Fault>> {
    understand(yaml, variables, &Layer::default())
}

fn good(yaml: &str) -> (Config, Vec<String>) {
    match understood(yaml, &[]) {
        Ok(loaded) => (loaded.config, loaded.warnings.iter().map(ToString::to_string).collect()),
        Err(faults) => panic!("{}", ConfigError { name: "t.yml".into(), text: yaml.into(), faults }),
    }
}

fn bad(yaml: &str) -> String {
    let faults = understood(yaml, &[]).expect_err("must be refused");
    ConfigError { name: "t.yml".into(), text: yaml.into(), faults }.to_string()
}

#[test]
fn an_empty_file_gives_mediamtx_defaults_on_our_servers() {
    let (config, warnings) = good("");
    assert_eq!(warnings, Vec::<String>::new());
    assert!(config.api.is_none() && config.metrics.is_none());
    let hls = config.hls.unwrap();
    assert_eq!(hls.http.address, "[::]:8888".parse().unwrap());
    assert_eq!((hls.variant, hls.segment_count), (HlsVariant::LowLatency, 7));
    assert_eq!(
        (hls.segment_duration, hls.part_duration),
        (Duration::from_secs(1), Duration::from_millis(200))
    );
    assert_eq!((hls.segment_max_bytes, hls.muxer_close_after), (52_428_800, Duration::from_secs(60)));
    assert_eq!(hls.http.allow_origins, ["*"]);
    let webrtc = config.webrtc.unwrap();
    assert_eq!(webrtc.http.address, "[::]:8889".parse().unwrap());
    assert_eq!(webrtc.local_udp_address, Some("[::]:8189".parse().unwrap()));
    assert_eq!(webrtc.interface_ips, InterfaceIps::All);
    assert_eq!(config.control.unwrap().address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.timeouts.read, Duration::from_secs(10));
    assert_eq!(config.logging.format, LogFormat::Text);
    assert!(config.paths.is_empty());
}

#[test]
fn a_database_that_makes_no_sense_is_told_without_its_password() {
    let (config, _) = good("database: postgres://ana:not-told@db.example/city?sslmode=require\n");
    assert_eq!(config.database.to_string(), "postgres://db.example:5432/city");
    assert!(!format!("{config:?}").contains("not-told"));
    for wrong in ["postgres://ana:not-told@db/city?pasword=not-told", "mysql://ana:not-told@db/city"] {
        let error = bad(&format!("database: {wrong}\n"));
        assert!(error.contains("\"database\" is not an address of"), "{error}");
        assert!(!error.contains("not-told"), "{error}");
    }
}

#[test]
fn paths_take_what_they_lack_from_path_defaults() {
    let (config, _) = good(
        "pathDefaults:\n  rtspTransport: tcp\n  sourceOnDemandCloseAfter: 1m30s\n\
         paths:\n  a:\n    source: rtsp://u:p@10.0.0.1/x\n    sourceOnDemand: yes\n\
         \x20 b:\n    source: rtsp://10.0.0.2/x\n    rtspTransport: udp\n  c:\n",
    );
    let path = |name: &str| config.paths.iter().find(|(key, _)| key.as_str() == name).unwrap().1.clone();
    let transport = |name: &str| match path(name).source {
        PathSource::Pulled(PulledSource::Rtsp(source)) => source.transport,
        other => panic!("{name} has {other:?}"),
    };
    assert_eq!((transport("a"), transport("b")), (RtspTransport::Tcp, RtspTransport::Udp));
    let on_demand = OnDemand { start_timeout: Duration::from_secs(10), close_after: Duration::from_secs(90) };
    assert_eq!(path("a").on_demand, Some(on_demand));
    assert_eq!(path("b").on_demand, None);
    assert_eq!(path("c").source, PathSource::Publisher(Replacing::Allowed));
}

#[test]
fn every_fault_is_told_at_once_with_its_line() {
    let text =
        bad("hlsSegmentDuration: 1x\nhlsAdress: :1\napi: maybe\npaths:\n  a b:\n    source: publisher\n");
    assert_eq!(
        text,
        "t.yml:1:21: \"hlsSegmentDuration\": \"1x\" is not a duration such as 500ms, 10s, 1h30m or 1d\n    \
         hlsSegmentDuration: 1x\n\
         t.yml:2:1: unknown key \"hlsAdress\", did you mean \"hlsAddress\"?\n    hlsAdress: :1\n\
         t.yml:3:6: \"api\": \"maybe\" is not a boolean: write true or false\n    api: maybe\n\
         t.yml:5:3: path name \"a b\" has the character ' '; allowed are letters, digits, '_', '-', '.' and '/'\
         \n    a b:"
    );
}

#[test]
fn a_fault_from_the_environment_names_the_variable() {
    let variables = [("MTX_READTIMEOUT".to_owned(), "soon".to_owned())];
    let faults = understood("", &variables).unwrap_err();
    let text = ConfigError { name: "t.yml".into(), text: String::new(), faults }.to_string();
    assert!(text.starts_with("MTX_READTIMEOUT: \"readTimeout\": \"soon\" is not a duration"), "{text}");
}

#[test]
fn values_out_of_range_are_refused() {
    for yaml in [
        "hlsSegmentCount: 6",
        "hlsVariant: fmp4\nhlsSegmentCount: 2",
        "hlsPartDuration: 2s",
        "hlsSegmentMaxSize: 1K",
        "readTimeout: 0s",
        "writeQueueSize: 500",
        "udpMaxPayloadSize: 1500",
        "rtspTransports: [quic]",
        "multicastIPRange: 10.0.0.0/8",
        "multicastRTPPort: 0",
        "rtspEncryption: perhaps",
        "rtmpEncryption: perhaps",
        "rtmpAddress: :8888",
        "rtspAddress: :8888",
        "rtspEncryption: strict\nrtspsAddress: :8889",
        "apiAddress: localhost",
        "hlsTrustedProxies: [here]",
        "api: yes\nmetrics: yes\nmetricsAddress: 127.0.0.1:9997",
        "hlsAddress: :8889",
        "webrtcLocalUDPAddress: ''",
        "webrtcIPsFromInterfaces: no",
        "webrtcICEServers2: [{url: 'http://x'}]",
        "webrtcICEServers2: [{uri: 'stun:x'}]",
        "logDestinations: [papyrus]",
        "paths: {a: {source: 'rtsp://h/', rtspTransport: quic}}",
        "paths: {a: {source: 'rtsps://h/', sourceFingerprint: abcd}}",
        "paths: {a: {source: [rtsp://h/]}}",
        "paths: {a: {sourceOnDemand: yes}}",
        "paths: {a: {source: redirect}}",
        "paths: {a: {source: redirect, sourceRedirect: 'http://h/x'}}",
        "paths: {a: {fallback: elsewhere}}",
        "paths: {a: {forward: [{dest: 'http://h/x'}]}}",
        "paths: {a: {forward: [{url: 'rtsp://h/x'}]}}",
        "paths: {a: {forward: [{dest: 'whep://h/x'}]}}",
        "paths: {a: {source: 'whip://h/x/whip'}}",
        "paths: {a: {forward: [{dest: 'rtsps://h/x', destFingerprint: ab}]}}",
        "paths: {a: {forward: rtsp://h/x}}",
        "paths: {a: {source: 'rtsp://h/', rtspRangeType: clock, rtspRangeStart: noon}}",
        "paths: {a: {source: 'rtsp://h/', rtspScale: fast}}",
        "paths: {'~^c(.*)$': {source: 'rtsp://h/'}}",
        "paths: {a: {source: 'rtsp://h/', runOnDemand: ffmpeg}}",
        "paths: {/a: }",
    ] {
        bad(yaml);
    }
    good("hlsVariant: fmp4\nhlsSegmentCount: 3");
    good("webrtcICEServers2: [{url: 'turn:x:3478?transport=tcp', username: AUTH_SECRET, password: s}]");
}

#[test]
fn rtmp_is_served_as_the_keys_say() {
    let (config, warnings) = good("writeQueueSize: 64\nreadTimeout: 5s\n");
    let rtmp = config.rtmp.unwrap();
    assert_eq!(rtmp.address.map(|address| address.port()), Some(1935));
    assert_eq!((rtmp.tls, rtmp.write_queue_units, rtmp.read_timeout.as_secs()), (None, 64, 5));
    assert!(warnings.is_empty(), "{warnings:?}");
    let (config, _) = good("rtmpEncryption: strict\nrtmpServerKey: a.key\n");
    let rtmp = config.rtmp.unwrap();
    let tls = rtmp.tls.unwrap();
    assert_eq!((rtmp.address, tls.address.port(), tls.files.key.to_str()), (None, 1936, Some("a.key")));
    assert!(good("rtmp: no").0.rtmp.is_none() && good("rtmpDisable: yes").0.rtmp.is_none());
}

#[test]
fn rtsp_is_served_as_the_keys_say() {
    let (config, warnings) =
        good("rtspEncryption: strict\nrtspTransports: [tcp, multicast]\nwriteQueueSize: 64\n");
    let rtsp = config.rtsp.unwrap();
    assert_eq!((rtsp.address, rtsp.transports.udp, rtsp.write_queue_packets), (None, None, 64));
    assert!(rtsp.transports.tcp && rtsp.tls.is_some_and(|tls| tls.address.port() == 8322));
    assert!(warnings.is_empty(), "{warnings:?}");
    let (config, warnings) = good("rtspTransports: [udp, multicast, tcp]\nrtsp: yes\n");
    let rtsp = config.rtsp.unwrap();
    assert_eq!(rtsp.address.map(|address| address.port()), Some(8554));
    assert!(rtsp.transports.udp.is_some() && rtsp.tls.is_none() && warnings.is_empty(), "{warnings:?}");
    assert!(good("rtsp: no").0.rtsp.is_none());
    let (config, _) = good("paths: {a: {overridePublisher: no}, b: {disablePublisherOverride: yes}}");
    for path in ["a", "b"] {
        let path = &config.paths[&PathName::parse(path).unwrap()];
        assert_eq!(path.source, PathSource::Publisher(Replacing::Refused));
    }
}

// correctness: S2
#[test]
fn sources_that_run_commands_are_refused() {
    for source in
        ["exec:ffmpeg -i x", "ffmpeg:x#video=h264", "echo://x", "file:///etc/passwd", "exec://sh", "x"]
    {
        let text = bad(&format!("paths:\n  a:\n    source: {source}\n"));
        assert!(text.contains("3:13: \"source\" is not a source"), "{text}");
    }
}

// correctness: S5
#[test]
fn no_message_shows_a_password() {
    for yaml in [
        "paths:\n  a:\n    source: rtsp://user:hunter2@:bad\n",
        "paths:\n  a: {source: 'rtsp://user:hunter2@/x@y z:'}\n",
        "paths:\n  a:\n    source: http+x://h/?password=hunter2\n",
        "paths:\n  a:\n    readPass: [hunter2\n",
        "paths:\n  a:\n    srtReadPassphrase: hunter2\n    nope: 1\n    readUser: someone\n",
        "webrtcICEServers2:\n- url: nope:x\n  password: hunter2\n",
        "webrtcICEServers2: [{url: nope, password: hunter2}]\n",
        "paths: {a: {source: 'rtsp://u:hunter2@h/', nope: 1}}\n",
        "paths:\n  a:\n    runOnInit: curl -u 'me:hunter2\n",
        "webhooks:\n- url: http://me:hunter2@h/\n",
        "webhooks: [{url: http://h/, secret: hunter2, nope: 1}]\n",
        "authInternalUsers:\n- user: a\n  pass: [hunter2]\n  nope: 1\n",
        "authInternalUsers: [{user: a, pass: hunter2, nope: 1}]\n",
        "authMethod: http\nauthHTTPAddress: ftp://u:hunter2@h/\n",
    ] {
        let text = bad(yaml);
        assert!(!text.contains("hunter2"), "{text}");
    }
    let (config, warnings) = good("paths:\n  a:\n    source: rtsp://hunter2:hunter2@h.example/?x=hunter2\n");
    assert!(!format!("{config:?}{warnings:?}").contains("hunter2"));
}

#[test]
fn hooks_and_webhooks_are_read_and_their_secrets_never_shown() {
    let (config, warnings) = good(
        "runOnConnect: log hunter2\npathDefaults:\n  runOnInit: init hunter2\n  runOnReady: ready\n  runOnReadyRestart: yes\n\
         webhooks:\n- {url: 'https://h.example/x?token=hunter2', events: [disk.alarm], secret: hunter2}\n- url: http://h/\n\
         paths:\n  a: {runOnDemand: send hunter2, runOnDemandCloseAfter: 3s}\n  b: {source: 'rtsp://h/', runOnRead: ''}\n  all:\n",
    );
    assert_eq!(warnings.len(), 1, "older names alone: {warnings:?}");
    assert!(!format!("{config:?}").contains("hunter2"));
    let hooks =
        |name: &str| config.paths.iter().find(|(key, _)| key.as_str() == name).unwrap().1.hooks.clone();
    let demand = hooks("a").on_demand.clone().unwrap();
    assert_eq!(demand.times.close_after, Duration::from_secs(3));
    assert_eq!(demand.pair.begin.unwrap().line.program(), "send");
    assert!(hooks("b").on_demand.is_none() && hooks("b").read.begin.is_none());
    let available = hooks("b").available.begin.clone().unwrap();
    assert_eq!((available.name, available.restarts), ("runOnAvailable", true));
    assert!(hooks("b").init.begin.is_some() && config.connect_hooks.begin.is_some());
    let name = PathName::parse("x").unwrap();
    let instance = config.patterns[0].instance(&name).unwrap().unwrap();
    assert!(instance.hooks.init.begin.is_none(), "patterns begin with a reader");
    let [first, second] = config.webhooks.as_slice() else { panic!("{:?}", config.webhooks) };
    assert_eq!(
        (first.url.host(), first.url.port(), first.url.target()),
        ("h.example", 443, "/x?token=hunter2")
    );
    assert_eq!((first.events.len(), second.events.len()), (1, 8));
    assert!(bad("webhooks: [{url: 'ftp://h/'}]").contains("must begin with http"));
    assert!(
        bad("webhooks: [{url: 'http://h/', events: [path.gone]}]")
            .contains("one of path.online, path.offline")
    );
}

// correctness: S1
#[test]
fn access_rules_are_taken_as_mediamtx_writes_them() {
    use media_core::gate::{Caller, Evidence, Gate};
    let may = |yaml: &str, (from, user, password): (&str, &str, &str), action, path: &str| {
        let gate = Gate::new(good(yaml).0.access.policy);
        let credentials = media_core::gate::Credentials::plain(user, password);
        let caller = Caller { ip: from.parse().unwrap(), credentials };
        let path = PathName::parse(path).unwrap();
        gate.camera(&caller, action, &path, &Evidence::default()).is_ok()
    };
    let (read, publish) = (Action::Read, Action::Publish);
    let stranger = ("192.0.2.1", "", "");
    assert!(may("", stranger, read, "a") && may("", stranger, publish, "a"));
    assert!(!may("authInternalUsers: []\n", stranger, read, "a"));
    let admin = "authInternalUsers: [{user: admin, pass: x, permissions: [{action: read}]}]\n";
    assert!(may(admin, ("192.0.2.1", "admin", "x"), read, "a"));
    assert!(!may(admin, ("192.0.2.1", "admin", "y"), read, "a") && !may(admin, stranger, read, "a"));
    assert!(!may(admin, ("192.0.2.1", "admin", "x"), publish, "a"));
    let inside =
        "authInternalUsers: [{user: any, ips: [10.0.0.0/8], permissions: [{action: read, path: ~^lo}]}]\n";
    assert!(may(inside, ("10.1.1.1", "", ""), read, "lobby") && !may(inside, stranger, read, "lobby"));
    assert!(!may(inside, ("10.1.1.1", "", ""), read, "hall"));
    let older = "pathDefaults: {publishIPs: [10.0.0.1]}\npaths: {a: {readUser: u, readPass: p}, b: }\n";
    assert!(may(older, ("192.0.2.1", "u", "p"), read, "a") && !may(older, stranger, read, "a"));
    assert!(may(older, stranger, read, "b") && !may(older, stranger, publish, "b"));
    assert!(may(older, ("10.0.0.1", "", ""), publish, "b") && may(older, stranger, Action::Playback, "a"));
    let patterns = "paths: {'~^cam': {readUser: u, readPass: p}, lobby: }\n";
    assert!(may(patterns, ("192.0.2.1", "u", "p"), read, "cam_7") && !may(patterns, stranger, read, "cam_7"));
    assert!(may(patterns, stranger, read, "lobby"));
    let all = "paths: {all_others: {readUser: u, readPass: p}}\n";
    assert!(may(all, ("192.0.2.1", "u", "p"), read, "x") && !may(all, stranger, read, "x"));
    let (config, _) = good("authMethod: http\nauthHTTPAddress: http://127.0.0.1:9/x\n");
    assert!(matches!(config.access.authority, Some(access::Authority::Server(_))));
    let (config, _) = good("externalAuthenticationURL: http://127.0.0.1:9/x\n");
    assert!(matches!(config.access.authority, Some(access::Authority::Server(_))));
    let (config, _) = good("authMethod: jwt\nauthJWTJWKS: https://id.example/certs\nauthJWTAudience: gtv\n");
    let Some(access::Authority::Tokens(tokens)) = config.access.authority else { panic!() };
    assert_eq!((tokens.claim.as_str(), tokens.audience.as_deref()), ("mediamtx_permissions", Some("gtv")));
    let open = "allowUnauthenticated: yes\nauthInternalUsers: []\n";
    assert!(good(open).1.iter().any(|warning| warning.contains("no effect any more")));
    assert_eq!(good("allowUnauthenticated: yes\n").1.len(), 0);
}

// correctness: S1
#[test]
fn access_rules_that_make_no_sense_are_refused() {
    let argon2 =
        "'argon2:$argon2id$v=19$m=4096,t=3,p=1$MTIzNDU2Nzg$OGGO0eCMN0ievb4YGSzvS/H+Vajx1pcbUmtLp2tRqRU'";
    for yaml in [
        "authMethod: oauth\n",
        "authMethod: http\n",
        "authMethod: http\nauthHTTPAddress: ftp://x/\n",
        "authMethod: jwt\n",
        "authMethod: jwt\nauthJWTJWKS: http://x/\nauthJWTClaimKey: ''\n",
        "authInternalUsers: [{user: admin, pass: x, permissions: [{action: fly}]}]\n",
        "authInternalUsers: [{user: admin, pass: x, permissions: [{path: a}]}]\n",
        "authInternalUsers: [{user: admin, pass: x, permissions: [{action: read, path: '~['}]}]\n",
        "authInternalUsers: [{user: admin, pass: x, ips: [here]}]\n",
        "authInternalUsers: [{user: any, pass: x}]\n",
        "authInternalUsers: [{pass: x}]\n",
        "authInternalUsers: [{user: a, pass: 'sha256:x'}]\n",
        "authInternalUsers: [{user: a, pass: 'argon2:x'}]\n",
        "authInternalUsers: [{user: a, password: x}]\n",
        "authInternalUsers: anyone\n",
        "authInternalUsers: []\npaths: {a: {readUser: u}}\n",
        "paths: {a: {readUser: u, readPass: p}, all_others: }\n",
        "paths: {'~^a': {readUser: u, readPass: p}, '~^ab': }\n",
        "rtspAuthMethods: [ntlm]\n",
        &format!("rtspAuthMethods: [digest]\nauthInternalUsers: [{{user: a, pass: {argon2}}}]\n"),
        "rtspAuthMethods: [basic, digest]\nauthMethod: http\nauthHTTPAddress: http://x/\n",
    ] {
        bad(yaml);
    }
    good(&format!("authInternalUsers: [{{user: a, pass: {argon2}}}]\n"));
    let (config, _) = good("rtspAuthMethods: [basic, digest]\n");
    assert_eq!(config.rtsp.unwrap().digest, media_core::gate::Digest::Offered);
}

#[test]
fn what_has_a_near_substitute_gets_it_with_a_warning() {
    let (config, warnings) = good(
        "hlsVariant: mpegts\nlogDestinations: [syslog]\n\
         paths: {a: {source: 'rtsp://h.example/', rtspTransport: multicast}}\n",
    );
    assert_eq!(config.hls.unwrap().variant, HlsVariant::Fmp4);
    assert_eq!(config.logging.stdout, LogSink::On);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn what_mediamtx_runs_and_we_do_not_is_left_out_with_a_warning() {
    let (config, warnings) = good(
        "paths:\n  cam: {source: 'rtsp://h.example/'}\n  old: {source: 'srt://h/x'}\n  \
         '~^q$': {source: 'rtsp://h/$MTX_QUERY', sourceOnDemand: yes}\n",
    );
    assert_eq!((config.paths.len(), config.patterns.len()), (1, 0));
    assert_eq!(
        warnings,
        ["paths left out: old (srt sources are not implemented yet), \
          ~^q$ (sources with $MTX_QUERY are not implemented yet)"]
    );
}

// correctness: S5
#[test]
fn destinations_of_every_protocol_but_srt_are_sent_to_and_show_no_secret() {
    let (config, warnings) = good(
        "paths:\n  a:\n    forward:\n    - dest: rtsps://u:hunter2@h.example/x\n    \
         - dest: RTMP://u:hunter2@h.example/live/x?token=hunter2\n    - dest: srt://h.example:8890?streamid=x\n    \
         - dest: whips://h.example/x/whip\n      whipBearerToken: hunter2\n",
    );
    assert_eq!(
        warnings,
        ["path \"a\": forwarding over srt is not implemented yet, only over rtsp, rtmp and whip"]
    );
    let forwards = &config.paths.values().next().unwrap().forwards;
    let shown: Vec<_> = forwards.iter().map(|dest| (dest.url.to_string(), dest.url.port())).collect();
    assert_eq!(
        shown,
        [
            ("rtsps://***@h.example/x".to_owned(), 322),
            ("rtmp://***@h.example/live/x?***".to_owned(), 1935),
            ("whips://h.example/x/whip".to_owned(), 443),
        ]
    );
    assert_eq!(forwards[1].to_string(), "rtmp://h.example:1935/***", "a stream's name may be a key");
    let token = forwards[2].bearer_token.as_ref().unwrap();
    assert_eq!(token.expose(), "hunter2");
    assert!(!format!("{forwards:?}").contains("hunter2"), "{forwards:?}");
}

// correctness: S5
#[test]
fn sources_of_every_protocol_are_understood_and_show_no_secret() {
    let (config, warnings) = good(
        "pathDefaults: {sourceFingerprint: '', rtspTransport: multicast}\npaths:\n  \
         a: {source: 'rtmps://u:hunter2@h.example/live/x?token=hunter2'}\n  \
         b: {source: 'https://u:hunter2@h.example/x/index.m3u8?token=hunter2'}\n  \
         c: {source: 'whep://h.example:8889/x/whep', whepBearerToken: hunter2, whepHandshakeTimeout: 3s}\n  \
         '~^d(\\d)$': {source: 'http://h.example/$G1/index.m3u8', sourceOnDemand: yes}\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    let kinds: Vec<_> = config
        .paths
        .values()
        .map(|path| match &path.source {
            PathSource::Pulled(source) => {
                (source.kind().as_str(), source.url().port(), source.url().to_string())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("rtmpSource", 443, "rtmps://***@h.example/live/x?***".to_owned()),
            ("hlsSource", 443, "https://***@h.example/x/index.m3u8?***".to_owned()),
            ("webRTCSource", 8889, "whep://h.example:8889/x/whep".to_owned()),
        ]
    );
    let PathSource::Pulled(PulledSource::Whep(whep)) = &config.paths.values().nth(2).unwrap().source else {
        panic!("not WHEP")
    };
    assert_eq!(whep.handshake_timeout, Duration::from_secs(3));
    assert!(!format!("{:?}", config.paths).contains("hunter2"));
    let made = config.patterns[0].instance(&PathName::parse("d7").unwrap()).unwrap().unwrap();
    let PathSource::Pulled(made) = made.source else { panic!("a publisher") };
    assert_eq!(made.url().to_string(), "http://h.example/7/index.m3u8");
}

#[test]
fn patterns_are_tried_by_name_and_the_one_for_all_others_last() {
    let (config, warnings) = good(
        "paths:\n  all_others:\n  '~^cam_(\\d+)$': {source: 'rtsp://u:p@10.0.0.$G1/$G1', sourceOnDemand: yes}\n  \
         '~^cam_':\n  cam_1:\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    let names: Vec<_> = config.patterns.iter().map(PathPattern::name).collect();
    assert_eq!(names, ["~^cam_", "~^cam_(\\d+)$", "all_others"]);
    let name = PathName::parse("cam_7").unwrap();
    let made = config.patterns[1].instance(&name).unwrap().unwrap();
    let PathSource::Pulled(source) = made.source else { panic!("a camera") };
    assert_eq!(source.url().to_string(), "rtsp://***@10.0.0.7/7");
    assert!(config.patterns[2].takes(&name) && config.patterns[2].is_published_to());
    assert!(config.patterns[1].instance(&PathName::parse("cam_x").unwrap()).is_none());
}

#[test]
fn patterns_that_can_stand_for_nothing_are_refused_with_their_place() {
    for (yaml, said) in [
        ("paths:\n  '~^(a$':\n", "t.yml:2:3: path \"~^(a$\" is not a usable regular expression"),
        ("paths:\n  all:\n  all_others:\n", "t.yml:3:3: \"all_others\", \"all\" and"),
        (
            "paths:\n  '~^a$':\n    source: rtsp://h/$G1\n    sourceOnDemand: yes\n",
            "t.yml:3:13: \"source\" is not a usable URL: it names a group",
        ),
        ("paths:\n  '~^a$':\n    source: rtsp://h/\n", "a pattern with a source needs"),
        ("paths:\n  '~^a$':\n    runOnInit: ffmpeg\n", "a pattern can't have \"runOnInit\""),
        ("paths:\n  all:\n    alwaysAvailable: yes\n", "excludes patterns"),
    ] {
        let text = bad(yaml);
        assert!(text.contains(said), "{text}");
    }
}

// correctness: S6
#[test]
fn ten_thousand_paths_are_taken_and_one_more_is_refused() {
    let yaml = |count: usize| {
        let paths: Vec<_> =
            (0..count).map(|n| format!("  cam_{n}: {{source: 'rtsp://10.0.0.1/{n}'}}\n")).collect();
        format!("paths:\n{}", paths.concat())
    };
    assert_eq!(good(&yaml(10_000)).0.paths.len(), 10_000);
    assert!(bad(&yaml(10_001)).contains("paths: 10001, the limit is 10000"));
}

#[test]
fn quotas_and_disk_levels_are_sizes_and_percent() {
    let (config, warnings) = good(
        "recordQuotaTotal: 2T\nrecordDiskAlarm: 70\nrecordDiskStop: 98%\npathDefaults:\n  record: yes\n  \
         recordQuota: 50G\npaths:\n  a:\n    source: rtsp://10.0.0.1/x\n  b:\n    source: rtsp://10.0.0.2/x\n    \
         recordQuota: 0\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    let quotas: Vec<_> =
        config.paths.values().map(|path| path.record.as_ref().unwrap().quota_bytes).collect();
    assert_eq!(quotas, [Some(50 << 30), None]);
    assert_eq!(config.retention.quota_total_bytes, Some(2 << 40));
    let levels = config.retention.disk_levels;
    assert_eq!((levels.alarm, levels.delete, levels.stop), (70, 90, 98));
    assert!(bad("recordDiskStop: 89").contains("must rise"));
    assert!(bad("recordDiskAlarm: 101").contains("a percentage from 1 to 100"));
    assert!(bad("paths:\n  a:\n    record: yes\n    recordQuota: lots\n").contains("recordQuota"));
}

#[test]
fn thumbnails_are_kept_at_a_distance_or_not_at_all() {
    let yaml = |value: &str| format!("paths:\n  a:\n    record: yes\n    recordThumbnails: {value}\n");
    let every = |value: &str| {
        let (config, _) = good(&yaml(value));
        config.paths.values().next().unwrap().record.as_ref().unwrap().thumbnails_every
    };
    assert_eq!(every("10s"), Some(Duration::from_secs(10)));
    assert_eq!([every("no"), every("false"), every("0"), every("")], [None; 4]);
    for wrong in ["yes", "500ms", "2h", "10"] {
        assert!(bad(&yaml(wrong)).contains("a duration from 1s to 1h"), "{wrong}");
    }
}

#[test]
fn fuzz_a_file_is_understood_or_its_faults_are_told() {
    gtvision_fuzz::feed("configuration", |input| {
        let Ok(yaml) = std::str::from_utf8(input) else { return };
        let Err(faults) = understood(yaml, &[]) else { return };
        assert!(!faults.is_empty(), "refused without a reason");
        let told = ConfigError { name: "t.yml".into(), text: yaml.into(), faults }.to_string();
        assert!(!told.is_empty());
    });
}
