//! Resolve: the checked tree into the typed configuration of each subsystem.
//!
//! Belongs here: values, defaults and rules of the whole server. Does not: paths (-> `paths`),
//! access rules (-> `access`).
//! Invariant: what is returned is usable; when it is not what was written, a fault says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv4Net;
use storage::DatabaseUrl;

use super::fault::{FaultKind, Faults};
use super::reader::Reader;
use super::resolved::{
    ApiConfig, Config, ControlConfig, HlsConfig, HlsMuxers, HlsVariant, HttpConfig, IceServer, InterfaceIps,
    LogFormat, LogLevel, LogSink, LoggingConfig, MetricsConfig, PlaybackConfig, RtmpConfig, RtmpTls,
    RtspConfig, RtspMulticast, RtspTls, RtspTransports, RtspUdp, TimeoutsConfig, TlsFiles, WebRtcConfig,
};
use super::source_url::Secret;
use super::tree::Node;
use super::values::{self, Expected};
use super::{Warning, access, hooks, paths, record, s3, webhooks};

/// The most origins, hosts, proxies or interfaces in one list.
pub(crate) const LIST_ITEMS_MAX: usize = 256;

/// The most ICE servers; a browser that is offered more than a few grows slow.
pub(crate) const ICE_SERVERS_MAX: usize = 16;

const HOUR: Duration = Duration::from_secs(3600);

/// Makes the configuration from a tree whose keys are checked.
pub(crate) fn resolve(
    root: &Node,
    variables: &[(String, String)],
    warnings: &mut Vec<Warning>,
    faults: &mut Faults,
) -> Config {
    let access = access::resolve(root, warnings, faults);
    let paths = paths::resolve(root, warnings, faults);
    let s3 = s3::resolve(root, variables, faults);
    let mut reader = Reader::new(root, None, faults);
    let second = Duration::from_secs(1);
    let read = reader.duration("readTimeout", 10 * second, second..=HOUR);
    let write = reader.duration("writeTimeout", 10 * second, second..=HOUR);
    // Read even where a server is off, so that a wrong value does not wait for the day it is turned on.
    let (api, metrics) = (http(&mut reader, "api", 9997), http(&mut reader, "metrics", 9998));
    let (hls, webrtc) = (hls(&mut reader, warnings), webrtc(&mut reader));
    let playback = http(&mut reader, "playback", 9996);
    let timeouts = TimeoutsConfig { read, write };
    let rtsp = rtsp(&mut reader, timeouts);
    let rtmp = rtmp(&mut reader, timeouts, rtsp.write_queue_packets);
    let control = control(&mut reader);
    let config = Config {
        logging: logging(&mut reader, warnings),
        timeouts,
        access,
        api: reader.off("api").then_some(ApiConfig { http: api }),
        metrics: reader.off("metrics").then_some(MetricsConfig { http: metrics }),
        control: reader.on("control").then_some(control),
        hls: reader.on("hls").then_some(hls),
        webrtc: reader.on("webrtc").then_some(webrtc),
        rtsp: reader.on("rtsp").then_some(rtsp),
        rtmp: reader.on("rtmp").then_some(rtmp),
        playback: reader.off("playback").then_some(PlaybackConfig { http: playback }),
        database: database(&mut reader),
        retention: record::limits(&mut reader),
        s3,
        paths: paths.named,
        patterns: paths.patterns,
        connect_hooks: hooks::connect(&mut reader),
        webhooks: webhooks::resolve(&mut reader),
    };
    if let Some(webrtc) = &config.webrtc {
        check_webrtc(webrtc, &mut reader);
    }
    check_addresses(&config, &mut reader);
    config
}

fn logging(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> LoggingConfig {
    let level = reader.value("logLevel", LogLevel::Info, |text| match text {
        "error" => Ok(LogLevel::Error),
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        _ => Err(Expected::OneOf(&["error", "warn", "info", "debug"])),
    });
    let destinations = reader.list("logDestinations", vec![Destination::Stdout], |text| match text {
        "stdout" => Ok(Destination::Stdout),
        "file" => Ok(Destination::File),
        "syslog" => Ok(Destination::Syslog),
        _ => Err(Expected::OneOf(&["stdout", "file"])),
    });
    let file = reader.text("logFile", "mediamtx.log");
    let to_stdout = match destinations.as_slice() {
        items if items.contains(&Destination::Syslog) => {
            warnings.push(Warning::SyslogDestination);
            true
        }
        items => items.contains(&Destination::Stdout),
    };
    LoggingConfig {
        level,
        stdout: if to_stdout { LogSink::On } else { LogSink::Off },
        file: destinations.contains(&Destination::File).then(|| PathBuf::from(file)),
        format: if reader.off("logStructured") { LogFormat::Json } else { LogFormat::Text },
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Destination {
    Stdout,
    File,
    /// Not implemented; standard output takes its place, which service managers collect.
    Syslog,
}

/// What the key prefix `api`, `metrics`, `hls`, `webrtc` or `playback` has in common.
fn http(reader: &mut Reader<'_>, prefix: &str, port: u16) -> HttpConfig {
    let key = |suffix: &str| format!("{prefix}{suffix}");
    let everywhere = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let tls = reader.off(&key("Encryption"));
    let files = TlsFiles {
        key: reader.text(&key("ServerKey"), "server.key").into(),
        certificate: reader.text(&key("ServerCert"), "server.crt").into(),
    };
    HttpConfig {
        address: reader.value(&key("Address"), everywhere, values::address),
        tls: tls.then_some(files),
        allow_origins: bounded(reader, &key("AllowOrigins"), vec!["*".to_owned()]),
        trusted_proxies: reader.list(&key("TrustedProxies"), Vec::new(), values::network),
    }
}

/// A list of texts of at most [`LIST_ITEMS_MAX`].
fn bounded(reader: &mut Reader<'_>, key: &str, default: Vec<String>) -> Vec<String> {
    let mut items = reader.list(key, default, |text| Ok(text.to_owned()));
    if items.len() > LIST_ITEMS_MAX
        && let Some(node) = reader.find(key)
    {
        let kind = FaultKind::TooMany { what: "items in a list", got: items.len(), max: LIST_ITEMS_MAX };
        reader.faults().add(&node.place, kind);
        items.truncate(LIST_ITEMS_MAX);
    }
    items
}

fn control(reader: &mut Reader<'_>) -> ControlConfig {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
    ControlConfig {
        address: reader.value("controlAddress", loopback, values::address),
        allowed_hosts: bounded(reader, "controlAllowedHosts", Vec::new()),
    }
}

fn hls(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> HlsConfig {
    let variant = reader.value("hlsVariant", HlsVariant::LowLatency, |text| match text {
        "lowLatency" => Ok(HlsVariant::LowLatency),
        "fmp4" => Ok(HlsVariant::Fmp4),
        "mpegts" => {
            warnings.push(Warning::MpegTsVariant);
            Ok(HlsVariant::Fmp4)
        }
        _ => Err(Expected::OneOf(&["lowLatency", "fmp4"])),
    });
    let ms = Duration::from_millis;
    let segment_duration = reader.duration("hlsSegmentDuration", ms(1000), ms(100)..=ms(60_000));
    let segment_max_bytes = reader.value("hlsSegmentMaxSize", 50 << 20, |text| {
        let bytes = values::size_bytes(text)?;
        let within = (1 << 20..=4 << 30).contains(&bytes);
        if within { Ok(bytes) } else { Err(Expected::Within("a size from 1M to 4G".to_owned())) }
    });
    // Apple's players keep a distance from the live edge that fewer segments do not cover.
    let segment_count_min = match variant {
        HlsVariant::LowLatency => 7,
        HlsVariant::Fmp4 => 3,
    };
    HlsConfig {
        http: http(reader, "hls", 8888),
        muxers: if reader.off("hlsAlwaysRemux") { HlsMuxers::Always } else { HlsMuxers::OnRequest },
        variant,
        segment_count: reader.number("hlsSegmentCount", 7, segment_count_min..=1000),
        segment_duration,
        part_duration: reader.duration(
            "hlsPartDuration",
            ms(200).min(segment_duration),
            ms(50)..=segment_duration,
        ),
        segment_max_bytes,
        muxer_close_after: reader.duration("hlsMuxerCloseAfter", ms(60_000), ms(1000)..=24 * HOUR),
        cdn_secret: reader
            .secret("hlsCDNSecret", None, |text| Ok((!text.is_empty()).then(|| Secret::new(text)))),
    }
}

fn webrtc(reader: &mut Reader<'_>) -> WebRtcConfig {
    let second = Duration::from_secs(1);
    let udp = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8189);
    let interfaces = bounded(reader, "webrtcIPsFromInterfacesList", Vec::new());
    let interface_ips = match (reader.on("webrtcIPsFromInterfaces"), interfaces.is_empty()) {
        (false, _) => InterfaceIps::None,
        (true, true) => InterfaceIps::All,
        (true, false) => InterfaceIps::Of(interfaces),
    };
    WebRtcConfig {
        http: http(reader, "webrtc", 8889),
        local_udp_address: reader.optional_address("webrtcLocalUDPAddress", Some(udp)),
        local_tcp_address: reader.optional_address("webrtcLocalTCPAddress", None),
        interface_ips,
        additional_hosts: bounded(reader, "webrtcAdditionalHosts", Vec::new()),
        ice_servers: ice_servers(reader),
        handshake_timeout: reader.duration("webrtcHandshakeTimeout", 10 * second, second..=HOUR),
    }
}

fn rtsp(reader: &mut Reader<'_>, timeouts: TimeoutsConfig) -> RtspConfig {
    /// Room for a payload that is more than headers.
    const PACKET_BYTES_MIN: usize = 200;
    let everywhere = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let write_queue_packets = reader.value("writeQueueSize", 512, |text| match values::number(text)? {
        // MediaMTX's rule; the limit keeps a reader's handles under a few megabytes.
        size if size.is_power_of_two() && size <= 1 << 16 => Ok(usize::try_from(size).unwrap_or(512)),
        _ => Err(Expected::Other("a power of two, at most 65536")),
    });
    let packet_bytes_max = reader.value("udpMaxPayloadSize", 1452, |text| match values::number(text)? {
        size @ 0..=1472 => Ok(usize::try_from(size).unwrap_or(1452).max(PACKET_BYTES_MIN)),
        _ => Err(Expected::Within("a number from 0 to 1472".to_owned())),
    });
    let transports = rtsp_transports(reader);
    let encryption = encryption(reader, "rtspEncryption");
    let address = reader.value("rtspAddress", everywhere(8554), values::address);
    let tls = RtspTls {
        address: reader.value("rtspsAddress", everywhere(8322), values::address),
        files: TlsFiles {
            key: reader.text("rtspServerKey", "server.key").into(),
            certificate: reader.text("rtspServerCert", "server.crt").into(),
        },
    };
    RtspConfig {
        address: (encryption != Encryption::Strict).then_some(address),
        tls: (encryption != Encryption::No).then_some(tls),
        transports,
        digest: access::rtsp_auth_methods(reader),
        write_queue_packets,
        packet_bytes_max,
        read_timeout: timeouts.read,
        write_timeout: timeouts.write,
    }
}

fn rtmp(reader: &mut Reader<'_>, timeouts: TimeoutsConfig, write_queue_units: usize) -> RtmpConfig {
    let everywhere = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let encryption = encryption(reader, "rtmpEncryption");
    let address = reader.value("rtmpAddress", everywhere(1935), values::address);
    let tls = RtmpTls {
        address: reader.value("rtmpsAddress", everywhere(1936), values::address),
        files: TlsFiles {
            key: reader.text("rtmpServerKey", "server.key").into(),
            certificate: reader.text("rtmpServerCert", "server.crt").into(),
        },
    };
    RtmpConfig {
        address: (encryption != Encryption::Strict).then_some(address),
        tls: (encryption != Encryption::No).then_some(tls),
        write_queue_units,
        read_timeout: timeouts.read,
        write_timeout: timeouts.write,
    }
}

/// `rtspEncryption`, `rtmpEncryption`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encryption {
    No,
    Optional,
    Strict,
}

fn encryption(reader: &mut Reader<'_>, key: &str) -> Encryption {
    reader.value(key, Encryption::No, |text| match text {
        "no" | "false" => Ok(Encryption::No),
        "optional" => Ok(Encryption::Optional),
        "strict" | "yes" | "true" => Ok(Encryption::Strict),
        _ => Err(Expected::OneOf(&["no", "optional", "strict"])),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Multicast,
    Tcp,
}

fn rtsp_transports(reader: &mut Reader<'_>) -> RtspTransports {
    const DEFAULT: [Transport; 3] = [Transport::Udp, Transport::Multicast, Transport::Tcp];
    let list = reader.list("rtspTransports", DEFAULT.to_vec(), |text| match text {
        "udp" => Ok(Transport::Udp),
        "multicast" => Ok(Transport::Multicast),
        "tcp" => Ok(Transport::Tcp),
        _ => Err(Expected::OneOf(&["udp", "multicast", "tcp"])),
    });
    let everywhere = |port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
    let udp = RtspUdp {
        rtp_address: reader.value("rtpAddress", everywhere(8000), values::address),
        rtcp_address: reader.value("rtcpAddress", everywhere(8001), values::address),
    };
    let default_range = Ipv4Net::new_assert(Ipv4Addr::new(224, 1, 0, 0), 16);
    let multicast = RtspMulticast {
        range: reader.value("multicastIPRange", default_range, |text| {
            let expected = Expected::Other("a range of IPv4 multicast addresses such as 224.1.0.0/16");
            let range = text.parse::<Ipv4Net>().ok().filter(|range| range.network().is_multicast());
            range.ok_or(expected)
        }),
        rtp_port: port(reader, "multicastRTPPort", 8002),
        rtcp_port: port(reader, "multicastRTCPPort", 8003),
    };
    RtspTransports {
        tcp: list.contains(&Transport::Tcp),
        udp: list.contains(&Transport::Udp).then_some(udp),
        multicast: list.contains(&Transport::Multicast).then_some(multicast),
    }
}

fn port(reader: &mut Reader<'_>, key: &str, default: u16) -> u16 {
    u16::try_from(reader.number(key, default.into(), 1..=65_535)).unwrap_or(default)
}

fn check_webrtc(config: &WebRtcConfig, reader: &mut Reader<'_>) {
    let announced = config.interface_ips != InterfaceIps::None || !config.additional_hosts.is_empty();
    if config.local_udp_address.is_none() && config.local_tcp_address.is_none() {
        conflict(
            reader,
            "webrtcLocalUDPAddress",
            "\"webrtcLocalUDPAddress\" and \"webrtcLocalTCPAddress\" are both empty: no viewer could connect",
        );
    } else if !announced {
        conflict(
            reader,
            "webrtcIPsFromInterfaces",
            "\"webrtcIPsFromInterfaces\" is off and \"webrtcAdditionalHosts\" is empty: no address to announce",
        );
    }
}

fn ice_servers(reader: &mut Reader<'_>) -> Vec<IceServer> {
    const KEY: &str = "webrtcICEServers2";
    let Some(list) = reader.find(KEY) else { return Vec::new() };
    if list.text().is_some() {
        reader.wrong_shape(list, KEY, "a list of servers, each with a \"url\"");
    }
    if list.items().len() > ICE_SERVERS_MAX {
        let kind = FaultKind::TooMany { what: "ICE servers", got: list.items().len(), max: ICE_SERVERS_MAX };
        reader.faults().add(&list.place, kind);
    }
    list.items().iter().take(ICE_SERVERS_MAX).filter_map(|item| ice_server(item, reader.faults())).collect()
}

fn ice_server(item: &Node, faults: &mut Faults) -> Option<IceServer> {
    for entry in item.entries() {
        if !["url", "username", "password", "clientOnly"].contains(&entry.key.as_str()) {
            faults.add(&entry.place, FaultKind::UnknownKey { key: entry.key.clone(), suggestion: None });
        }
    }
    let mut reader = Reader::new(item, None, faults);
    let url = reader.value("url", String::new(), |text| {
        let known = ["stun:", "turn:", "turns:"].iter().any(|scheme| text.starts_with(scheme));
        if known {
            Ok(text.to_owned())
        } else {
            Err(Expected::Other("a URL that begins with stun:, turn: or turns:"))
        }
    });
    if url.is_empty() {
        if item.get("url").is_none() {
            reader.wrong_shape(item, "webrtcICEServers2", "a list of servers, each with a \"url\"");
        }
        return None;
    }
    Some(IceServer {
        url,
        username: reader.text("username", ""),
        password: Secret::new(reader.text("password", "")),
        client_only: reader.off("clientOnly"),
    })
}

/// What is wrong is told without the value, which may hold a password.
fn database(reader: &mut Reader<'_>) -> DatabaseUrl {
    let default = DatabaseUrl::sqlite(Path::new("gtvision.db"));
    let Some(node) = reader.find("database") else { return default };
    match DatabaseUrl::parse(node.text().unwrap_or_default()) {
        Ok(database) => database,
        Err(error) => {
            conflict(reader, "database", &format!("\"database\" is {error}"));
            default
        }
    }
}

/// Notes a fault between settings, at the place of the first one if it is written.
fn conflict(reader: &mut Reader<'_>, key: &str, message: &str) {
    let place = reader.find(key).map_or(super::fault::Place::Whole, |node| node.place.clone());
    reader.faults().add(&place, FaultKind::Conflict(message.to_owned()));
}

/// Two TCP listeners can't share an address.
fn check_addresses(config: &Config, reader: &mut Reader<'_>) {
    let listeners: Vec<(&str, SocketAddr)> = [
        ("apiAddress", config.api.as_ref().map(|api| api.http.address)),
        ("metricsAddress", config.metrics.as_ref().map(|metrics| metrics.http.address)),
        ("controlAddress", config.control.as_ref().map(|control| control.address)),
        ("hlsAddress", config.hls.as_ref().map(|hls| hls.http.address)),
        ("webrtcAddress", config.webrtc.as_ref().map(|webrtc| webrtc.http.address)),
        ("playbackAddress", config.playback.as_ref().map(|playback| playback.http.address)),
        ("rtspAddress", config.rtsp.as_ref().and_then(|rtsp| rtsp.address)),
        ("rtspsAddress", config.rtsp.as_ref().and_then(|rtsp| Some(rtsp.tls.as_ref()?.address))),
        ("rtmpAddress", config.rtmp.as_ref().and_then(|rtmp| rtmp.address)),
        ("rtmpsAddress", config.rtmp.as_ref().and_then(|rtmp| Some(rtmp.tls.as_ref()?.address))),
        ("webrtcLocalTCPAddress", config.webrtc.as_ref().and_then(|webrtc| webrtc.local_tcp_address)),
    ]
    .into_iter()
    .filter_map(|(key, address)| Some((key, address?)))
    .collect();
    for (index, (key, address)) in listeners.iter().enumerate() {
        let clash = listeners.iter().take(index).find(|(_, other)| overlap(*address, *other));
        if let Some((other, _)) = clash {
            conflict(reader, key, &format!("\"{key}\" and \"{other}\" are both {address}"));
        }
    }
}

/// Port 0 is whichever is free.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_ip
}
