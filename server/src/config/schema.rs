//! Schema: every setting's JSON type and default, for the API: MediaMTX 1.20's names and types, then ours.
//!
//! Defaults are those of this server: where it differs from MediaMTX (`recordDeleteAfter`, protocols that it does not have),
//! the API tells what is so.
//! Belongs here: one setting's value as JSON, and back. Does not: what it means (-> `resolve`), which are implemented (-> `keys`).

use std::time::Duration;

use serde_json::{Map, Number, Value as Json};

use super::access::DEFAULT_USERS;
use super::tree::{Node, Value};
use super::values;

/// What a setting is in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true`, `false`.
    Bool,
    /// A whole number.
    Int,
    /// A text.
    Text,
    /// A text as Go writes durations, with days: `1d`, `1h0m0s`.
    Duration,
    /// A text: `50M`.
    Size,
    /// A list of texts.
    Texts,
    /// A list of whole numbers.
    Ints,
    /// A list of objects.
    Objects,
    /// As it is written.
    Any,
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its type.
    pub(crate) kind: Kind,
    /// Its default, as it would be written on one line.
    default: &'static str,
}

const fn bool(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Bool, default }
}

const fn int(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Int, default }
}

const fn text(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Text, default }
}

const fn duration(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Duration, default }
}

const fn size(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Size, default }
}

const fn texts(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Texts, default }
}

const fn ints(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Ints, default }
}

const fn objects(name: &'static str, default: &'static str) -> Field {
    Field { name, kind: Kind::Objects, default }
}

/// Settings of the whole server.
pub(crate) const GLOBAL: &[Field] = &[
    text("logLevel", "info"),
    texts("logDestinations", "['stdout']"),
    bool("logStructured", "false"),
    text("logFile", "mediamtx.log"),
    text("sysLogPrefix", "mediamtx"),
    bool("dumpPackets", "false"),
    duration("readTimeout", "10s"),
    duration("writeTimeout", "10s"),
    int("writeQueueSize", "512"),
    int("udpMaxPayloadSize", "1452"),
    int("udpReadBufferSize", "0"),
    text("runOnConnect", ""),
    bool("runOnConnectRestart", "false"),
    text("runOnDisconnect", ""),
    text("authMethod", "internal"),
    objects("authInternalUsers", DEFAULT_USERS),
    text("authHTTPAddress", ""),
    text("authHTTPFingerprint", ""),
    objects("authHTTPExclude", "[]"),
    text("authJWTJWKS", ""),
    text("authJWTJWKSFingerprint", ""),
    text("authJWTClaimKey", "mediamtx_permissions"),
    objects("authJWTExclude", "[]"),
    text("authJWTIssuer", ""),
    text("authJWTAudience", ""),
    bool("api", "false"),
    text("apiAddress", ":9997"),
    bool("apiEncryption", "false"),
    text("apiServerKey", "server.key"),
    text("apiServerCert", "server.crt"),
    texts("apiAllowOrigins", "['*']"),
    texts("apiTrustedProxies", "[]"),
    bool("metrics", "false"),
    text("metricsAddress", ":9998"),
    bool("metricsEncryption", "false"),
    text("metricsServerKey", "server.key"),
    text("metricsServerCert", "server.crt"),
    texts("metricsAllowOrigins", "['*']"),
    texts("metricsTrustedProxies", "[]"),
    bool("pprof", "false"),
    text("pprofAddress", ":9999"),
    bool("pprofEncryption", "false"),
    text("pprofServerKey", "server.key"),
    text("pprofServerCert", "server.crt"),
    texts("pprofAllowOrigins", "['*']"),
    texts("pprofTrustedProxies", "[]"),
    bool("playback", "false"),
    text("playbackAddress", ":9996"),
    bool("playbackEncryption", "false"),
    text("playbackServerKey", "server.key"),
    text("playbackServerCert", "server.crt"),
    texts("playbackAllowOrigins", "['*']"),
    texts("playbackTrustedProxies", "[]"),
    bool("rtsp", "true"),
    texts("rtspTransports", "['udp', 'multicast', 'tcp']"),
    text("rtspEncryption", "no"),
    text("rtspAddress", ":8554"),
    text("rtspsAddress", ":8322"),
    text("rtpAddress", ":8000"),
    text("rtcpAddress", ":8001"),
    text("multicastIPRange", "224.1.0.0/16"),
    int("multicastRTPPort", "8002"),
    int("multicastRTCPPort", "8003"),
    text("srtpAddress", ":8004"),
    text("srtcpAddress", ":8005"),
    int("multicastSRTPPort", "8006"),
    int("multicastSRTCPPort", "8007"),
    text("rtspServerKey", "server.key"),
    text("rtspServerCert", "server.crt"),
    texts("rtspAuthMethods", "['basic']"),
    texts("rtspTrustedProxies", "[]"),
    bool("rtmp", "true"),
    text("rtmpEncryption", "no"),
    text("rtmpAddress", ":1935"),
    text("rtmpsAddress", ":1936"),
    text("rtmpServerKey", "server.key"),
    text("rtmpServerCert", "server.crt"),
    texts("rtmpTrustedProxies", "[]"),
    bool("hls", "true"),
    text("hlsAddress", ":8888"),
    bool("hlsEncryption", "false"),
    text("hlsServerKey", "server.key"),
    text("hlsServerCert", "server.crt"),
    texts("hlsAllowOrigins", "['*']"),
    texts("hlsTrustedProxies", "[]"),
    bool("hlsAlwaysRemux", "false"),
    text("hlsVariant", "lowLatency"),
    int("hlsSegmentCount", "7"),
    duration("hlsSegmentDuration", "1s"),
    duration("hlsPartDuration", "200ms"),
    size("hlsSegmentMaxSize", "50M"),
    text("hlsDirectory", ""),
    duration("hlsMuxerCloseAfter", "60s"),
    text("hlsCDNSecret", ""),
    bool("webrtc", "true"),
    text("webrtcAddress", ":8889"),
    bool("webrtcEncryption", "false"),
    text("webrtcServerKey", "server.key"),
    text("webrtcServerCert", "server.crt"),
    texts("webrtcAllowOrigins", "['*']"),
    texts("webrtcTrustedProxies", "[]"),
    text("webrtcLocalUDPAddress", ":8189"),
    text("webrtcLocalTCPAddress", ""),
    bool("webrtcIPsFromInterfaces", "true"),
    texts("webrtcIPsFromInterfacesList", "[]"),
    texts("webrtcAdditionalHosts", "[]"),
    objects("webrtcICEServers2", "[]"),
    duration("webrtcSTUNGatherTimeout", "5s"),
    duration("webrtcHandshakeTimeout", "10s"),
    duration("webrtcTrackGatherTimeout", "2s"),
    bool("srt", "false"),
    text("srtAddress", ":8890"),
    bool("moq", "false"),
    text("moqHTTP2Address", ":8892"),
    text("moqHTTP3Address", ":8892"),
    text("moqQUICAddress", ":8893"),
    text("moqServerKey", "auto.key"),
    text("moqServerCert", "auto.crt"),
    texts("moqAllowOrigins", "['*']"),
    texts("moqTrustedProxies", "[]"),
    // Ours.
    bool("control", "true"),
    text("controlAddress", "127.0.0.1:8080"),
    texts("controlAllowedHosts", "[]"),
    bool("allowUnauthenticated", "false"),
    text("database", "sqlite:gtvision.db"),
    size("recordQuotaTotal", "0"),
    int("recordDiskAlarm", "85"),
    int("recordDiskDelete", "90"),
    int("recordDiskStop", "95"),
    objects("webhooks", "[]"),
];

/// Settings of one path, and of `pathDefaults`.
pub(crate) const PATH: &[Field] = &[
    text("source", "publisher"),
    text("sourceFingerprint", ""),
    bool("sourceOnDemand", "false"),
    duration("sourceOnDemandStartTimeout", "10s"),
    duration("sourceOnDemandCloseAfter", "10s"),
    int("maxReaders", "0"),
    text("srtReadPassphrase", ""),
    bool("useAbsoluteTimestamp", "false"),
    bool("alwaysAvailable", "false"),
    objects("alwaysAvailableTracks", "[]"),
    text("alwaysAvailableFile", ""),
    objects("forward", "[]"),
    bool("record", "false"),
    text("recordPath", "./recordings/%path/%Y-%m-%d_%H-%M-%S-%f"),
    text("recordFormat", "fmp4"),
    duration("recordPartDuration", "1s"),
    size("recordMaxPartSize", "50M"),
    duration("recordSegmentDuration", "1h"),
    duration("recordDeleteAfter", "7d"),
    bool("overridePublisher", "true"),
    text("srtPublishPassphrase", ""),
    bool("rtspDemuxMpegts", "false"),
    text("rtspTransport", "automatic"),
    bool("rtspAnyPort", "false"),
    text("rtspRangeType", ""),
    text("rtspRangeStart", ""),
    text("rtspScale", ""),
    ints("rtspUDPSourcePortRange", "[32768, 60999]"),
    text("rtpSDP", ""),
    text("moqTransport", "quic"),
    text("whepBearerToken", ""),
    duration("whepSTUNGatherTimeout", "5s"),
    duration("whepHandshakeTimeout", "10s"),
    duration("whepTrackGatherTimeout", "2s"),
    text("sourceRedirect", ""),
    text("runOnInit", ""),
    bool("runOnInitRestart", "false"),
    text("runOnDemand", ""),
    bool("runOnDemandRestart", "false"),
    duration("runOnDemandStartTimeout", "10s"),
    duration("runOnDemandCloseAfter", "10s"),
    text("runOnUnDemand", ""),
    text("runOnAvailable", ""),
    bool("runOnAvailableRestart", "false"),
    text("runOnUnavailable", ""),
    text("runOnOnline", ""),
    bool("runOnOnlineRestart", "false"),
    text("runOnOffline", ""),
    text("runOnRead", ""),
    bool("runOnReadRestart", "false"),
    text("runOnUnread", ""),
    text("runOnRecordSegmentCreate", ""),
    text("runOnRecordSegmentComplete", ""),
    // Ours.
    size("recordQuota", "0"),
    text("recordThumbnails", "no"),
];

/// Settings of older versions, shown where they are written.
const OLDER: &[Field] = &[
    text("externalAuthenticationURL", ""),
    bool("authJWTInHTTPQuery", "false"),
    text("fallback", ""),
    text("publishUser", ""),
    text("publishPass", ""),
    texts("publishIPs", "[]"),
    text("readUser", ""),
    text("readPass", ""),
    texts("readIPs", "[]"),
];

/// What the objects of a list have.
const MEMBERS: &[(&str, &[Field])] = &[
    (
        "authInternalUsers",
        &[text("user", ""), text("pass", ""), texts("ips", "[]"), objects("permissions", "[]")],
    ),
    ("authHTTPExclude", PERMISSION),
    ("authJWTExclude", PERMISSION),
    ("permissions", PERMISSION),
    (
        "webrtcICEServers2",
        &[text("url", ""), text("username", ""), text("password", ""), bool("clientOnly", "false")],
    ),
    ("webhooks", &[text("url", ""), texts("events", "[]"), text("secret", "")]),
    ("forward", &[text("dest", ""), text("destFingerprint", ""), text("whipBearerToken", "")]),
    (
        "alwaysAvailableTracks",
        &[text("codec", ""), int("sampleRate", "0"), int("channelCount", "0"), bool("muLaw", "false")],
    ),
];

const PERMISSION: &[Field] = &[text("action", ""), text("path", "")];

/// Texts that are never shown: users' passwords, as in MediaMTX, what webhooks are signed with and a CDN is known by.
const SECRETS: [&str; 7] =
    ["pass", "publishPass", "readPass", "secret", "password", "hlsCDNSecret", "whipBearerToken"];

/// What stands in their place.
pub(crate) const REDACTED: &str = "<redacted>";

/// The type of a setting; [`Kind::Any`] of one that is not listed.
pub(crate) fn kind_of(table: &[Field], name: &str) -> Kind {
    let mut fields = table.iter().chain(OLDER);
    fields.find(|field| field.name == name).map_or(Kind::Any, |field| field.kind)
}

/// All settings of a table, from the first of `maps` that says something, and else by default; then what the first one has
/// besides.
pub(crate) fn shown(table: &[Field], maps: &[&Node], hidden: &[&str]) -> Map<String, Json> {
    let mut shown = Map::new();
    let written =
        |name: &str| maps.iter().find_map(|map| map.get(name).filter(|node| node.value != Value::Null));
    for field in table {
        let value = written(field.name)
            .map_or_else(|| default_of(field), |node| to_json(field.name, field.kind, node));
        shown.insert(field.name.to_owned(), value);
    }
    for entry in maps.iter().flat_map(|map| map.entries()) {
        let name = entry.key.as_str();
        if !shown.contains_key(name) && !hidden.contains(&name) {
            shown.insert(name.to_owned(), to_json(name, kind_of(table, name), &entry.node));
        }
    }
    if let Some(Json::String(database)) = shown.get_mut("database")
        && !database.starts_with("sqlite:")
    {
        REDACTED.clone_into(database);
    }
    shown
}

fn default_of(field: &Field) -> Json {
    match field.kind {
        Kind::Text => Json::String(field.default.to_owned()),
        kind => Node::parse(field.default).map_or(Json::Null, |node| to_json(field.name, kind, &node)),
    }
}

/// A value as the API shows it. What is not of its type is shown as it is written.
fn to_json(name: &str, kind: Kind, node: &Node) -> Json {
    let text = node.text().unwrap_or_default();
    if SECRETS.contains(&name) && !text.is_empty() {
        return Json::String(REDACTED.to_owned());
    }
    match kind {
        Kind::Bool => values::boolean(text).map_or_else(|_| as_written(node), Json::Bool),
        Kind::Int => whole(text).map_or_else(|| as_written(node), Json::Number),
        Kind::Duration => {
            values::duration(text).map_or_else(|_| as_written(node), |it| Json::String(go_duration(it)))
        }
        Kind::Size => {
            values::size_bytes(text).map_or_else(|_| as_written(node), |it| Json::String(byte_size(it)))
        }
        Kind::Text => Json::String(text.to_owned()),
        Kind::Texts => list(node, |item| Json::String(item.text().unwrap_or_default().to_owned())),
        Kind::Ints => list(node, |item| to_json("", Kind::Int, item)),
        Kind::Objects => list(node, |item| object(name, item)),
        Kind::Any => as_written(node),
    }
}

fn object(of: &str, node: &Node) -> Json {
    let members = MEMBERS.iter().find(|(name, _)| *name == of).map_or([].as_slice(), |(_, members)| *members);
    Json::Object(shown(members, &[node], &[]))
}

/// A single text stands for a list of one.
fn list(node: &Node, item: impl Fn(&Node) -> Json) -> Json {
    match &node.value {
        Value::List(items) => Json::Array(items.iter().map(item).collect()),
        Value::Text(text) if !text.is_empty() => Json::Array(vec![item(node)]),
        Value::Null | Value::Text(_) | Value::Map(_) => Json::Array(Vec::new()),
    }
}

fn as_written(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::String(String::new()),
        Value::Text(text) => match (text.as_str(), whole(text)) {
            ("true" | "yes", _) => Json::Bool(true),
            ("false" | "no", _) => Json::Bool(false),
            (_, Some(number)) => Json::Number(number),
            (text, None) => Json::String(text.to_owned()),
        },
        Value::List(items) => Json::Array(items.iter().map(as_written).collect()),
        Value::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), to_json(&entry.key, Kind::Any, &entry.node)))
                .collect(),
        ),
    }
}

fn whole(text: &str) -> Option<Number> {
    text.parse::<i64>().ok().map(Number::from)
}

/// As MediaMTX writes durations: days, then Go's way.
fn go_duration(duration: Duration) -> String {
    const DAY_S: u64 = 24 * 3600;
    let (days, rest_s) = (duration.as_secs() / DAY_S, duration.as_secs() % DAY_S);
    let nanos = duration.subsec_nanos();
    let day_text = if days > 0 { format!("{days}d") } else { String::new() };
    let (hours, minutes, seconds) = (rest_s / 3600, rest_s / 60 % 60, rest_s % 60);
    let fraction = |value: u32, digits: usize| {
        let text = format!("{value:0digits$}");
        let text = text.trim_end_matches('0');
        if text.is_empty() { String::new() } else { format!(".{text}") }
    };
    let rest = match (hours, minutes, seconds, nanos) {
        (0, 0, 0, 0) if days > 0 => String::new(),
        (0, 0, 0, 0) => "0s".to_owned(),
        (0, 0, 0, nanos) if nanos < 1_000 => format!("{nanos}ns"),
        (0, 0, 0, nanos) if nanos < 1_000_000 => format!("{}{}µs", nanos / 1_000, fraction(nanos % 1_000, 3)),
        (0, 0, 0, nanos) => format!("{}{}ms", nanos / 1_000_000, fraction(nanos % 1_000_000, 6)),
        (0, 0, seconds, nanos) => format!("{seconds}{}s", fraction(nanos, 9)),
        (0, minutes, seconds, nanos) => format!("{minutes}m{seconds}{}s", fraction(nanos, 9)),
        (hours, minutes, seconds, nanos) => format!("{hours}h{minutes}m{seconds}{}s", fraction(nanos, 9)),
    };
    day_text + &rest
}

/// As MediaMTX writes sizes, where that loses nothing.
fn byte_size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let fitting = units.iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << *shift));
    fitting.map_or_else(|| format!("{bytes}B"), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

/// Whether a JSON value has a setting's type.
///
/// # Errors
/// What it must be.
pub(crate) fn check_json(kind: Kind, value: &Json) -> Result<(), &'static str> {
    let all = |is: fn(&Json) -> bool| value.as_array().is_some_and(|items| items.iter().all(is));
    let (is_so, must) = match kind {
        Kind::Bool => (value.is_boolean(), "true or false"),
        Kind::Int => (value.is_i64() || value.is_u64(), "a whole number"),
        Kind::Text => (value.is_string(), "a text"),
        Kind::Duration => {
            let is_so = value.as_str().is_some_and(|text| values::duration(text).is_ok());
            (is_so, "a duration such as \"500ms\", \"10s\", \"1h30m\" or \"1d\"")
        }
        Kind::Size => {
            let is_so = value.as_str().is_some_and(|text| values::size_bytes(text).is_ok());
            (is_so, "a size such as \"512K\", \"50M\" or \"1G\"")
        }
        Kind::Texts => (all(Json::is_string), "a list of texts"),
        Kind::Ints => (all(Json::is_i64), "a list of whole numbers"),
        Kind::Objects => (all(Json::is_object), "a list of objects"),
        Kind::Any => (true, ""),
    };
    if is_so { Ok(()) } else { Err(must) }
}

/// Whether what a file or a variable says has a setting's type; for those that nothing else reads.
///
/// # Errors
/// What should have stood there.
pub(crate) fn check_node(kind: Kind, node: &Node) -> Result<(), values::Expected> {
    use values::Expected;
    let Some(text) = node.text().filter(|text| !text.is_empty()) else { return Ok(()) };
    match kind {
        Kind::Bool => values::boolean(text).map(drop),
        Kind::Int => whole(text).map(drop).ok_or(Expected::Number),
        Kind::Duration => values::duration(text).map(drop),
        Kind::Size => values::size_bytes(text).map(drop),
        Kind::Objects => Err(Expected::Other("a list")),
        Kind::Text | Kind::Texts | Kind::Ints | Kind::Any => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn durations_and_sizes_are_written_as_mediamtx_writes_them() {
        // By Go's time.Duration.String and MediaMTX's internal/conf/duration.go.
        for (text, written) in [
            ("10s", "10s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1d", "1d"),
            ("36h", "1d12h0m0s"),
            ("200ms", "200ms"),
            ("1500ms", "1.5s"),
            ("0", "0s"),
            ("1us", "1µs"),
        ] {
            assert_eq!(go_duration(values::duration(text).unwrap()), written, "{text}");
        }
        for (bytes, written) in [(50 << 20, "50M"), (1 << 40, "1T"), (1000, "1000B"), (0, "0B")] {
            assert_eq!(byte_size(bytes), written);
        }
    }

    #[test]
    fn every_setting_has_a_type_and_a_default_of_it() {
        for (fields, keys) in [(GLOBAL, keys::GLOBAL), (PATH, keys::PATH)] {
            for field in fields {
                assert_eq!(check_json(field.kind, &default_of(field)), Ok(()), "{}", field.name);
                assert!(keys::find(keys, field.name).is_some(), "{} is not a setting", field.name);
            }
            let older =
                |support| matches!(support, keys::Support::RenamedTo(_) | keys::Support::NegatedAs(_));
            for key in keys.iter().filter(|key| !older(key.support) && key.support == keys::Support::Works) {
                let is_container = matches!(key.name, "paths" | "pathDefaults" | "s3");
                assert!(is_container || kind_of(fields, key.name) != Kind::Any, "{} has no type", key.name);
            }
        }
    }

    #[test]
    fn the_apis_document_has_every_setting() {
        let document: Json = serde_json::from_str(control_api::OPENAPI).unwrap();
        for (fields, schema) in [(GLOBAL, "GlobalConf"), (PATH, "PathConf")] {
            let described = &document["components"]["schemas"][schema]["properties"];
            for field in fields {
                assert!(described.get(field.name).is_some(), "{schema} has no {}", field.name);
            }
            let others = described.as_object().unwrap().keys().filter(|name| *name != "name");
            let unknown: Vec<_> =
                others.filter(|name| !fields.iter().any(|field| field.name == name.as_str())).collect();
            assert!(unknown.is_empty(), "{schema} has {unknown:?}");
        }
    }

    // correctness: S5
    #[test]
    fn passwords_of_users_are_not_shown_and_those_of_cameras_are() {
        let root = Node::parse(
            "authInternalUsers:\n- {user: a, pass: hunter2}\npaths:\n  a: {source: 'rtsp://u:p@h/', readPass: hunter2}\n",
        )
        .unwrap();
        let global = shown(GLOBAL, &[&root], &["paths"]);
        assert_eq!(global["authInternalUsers"][0]["pass"], REDACTED);
        assert_eq!(global["authInternalUsers"][0]["ips"], serde_json::json!([]));
        let turn =
            Node::parse("webrtcICEServers2: [{url: 'turn:h', username: u, password: hunter2}]\n").unwrap();
        assert_eq!(shown(GLOBAL, &[&turn], &[])["webrtcICEServers2"][0]["password"], REDACTED);
        let path = shown(PATH, &[root.get("paths").unwrap().get("a").unwrap()], &[]);
        assert_eq!((&path["readPass"], &path["source"]), (&REDACTED.into(), &"rtsp://u:p@h/".into()));
    }
}
