//! Keys: every setting that MediaMTX 1.20 knows, and ours, with what becomes of each here.
//!
//! A key that is not in these tables is an error. A key that is here without being implemented
//! is named in one warning, unless it stands at its default: a stock configuration file lists
//! everything, and what changes nothing needs no warning.

/// What a known key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It works.
    Works,
    /// It has no effect yet. `default` is MediaMTX's, as it would be written on one line.
    Later {
        /// What it belongs to.
        area: Area,
        /// Its default.
        default: &'static str,
    },
    /// An older name of another key.
    RenamedTo(&'static str),
    /// An older name with the opposite meaning (`hlsDisable`).
    NegatedAs(&'static str),
    /// Understood where it stands, silently without effect: it tunes what does not exist here.
    Moot,
}

/// What a key without effect belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Area {
    /// Details of serving RTSP.
    RtspServer,
    /// Details of RTMP.
    Rtmp,
    /// SRT in and out.
    Srt,
    /// Media over QUIC.
    Moq,
    /// Recording, where older versions had it.
    Recording,
    /// The playback server, where older versions had it.
    Playback,
    /// Profiling endpoints.
    Profiling,
    /// Sources that are not pulled yet.
    OtherSources,
    /// Details of RTSP sources.
    RtspSource,
    /// Details of HLS.
    Hls,
    /// Details of WebRTC.
    WebRtc,
    /// Logging to other places.
    Logging,
    /// Limits and buffers.
    Tuning,
}

impl Area {
    /// Its name and why nothing happens, for the warning.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::RtspServer => "serving RTSP does not have this yet",
            Self::Rtmp => "RTMP does not have this yet",
            Self::Srt => "SRT is not implemented yet",
            Self::Moq => "MoQ is not implemented yet",
            Self::Recording => "it stands in pathDefaults today",
            Self::Playback => "it is for the whole server today",
            Self::Profiling => "profiling endpoints are not implemented",
            Self::OtherSources => "such sources are not implemented yet",
            Self::RtspSource => "RTSP sources do not have this yet",
            Self::Hls => "HLS does not have this yet",
            Self::WebRtc => "WebRTC does not have this yet",
            Self::Logging => "logs go to stdout or a file only",
            Self::Tuning => "this server sizes its own buffers",
        }
    }
}

/// A key and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What becomes of it.
    pub(crate) support: Support,
}

const fn works(name: &'static str) -> Key {
    Key { name, support: Support::Works }
}

const fn later(name: &'static str, area: Area, default: &'static str) -> Key {
    Key { name, support: Support::Later { area, default } }
}

const fn renamed(name: &'static str, to: &'static str) -> Key {
    Key { name, support: Support::RenamedTo(to) }
}

const fn negated(name: &'static str, of: &'static str) -> Key {
    Key { name, support: Support::NegatedAs(of) }
}

const fn moot(name: &'static str) -> Key {
    Key { name, support: Support::Moot }
}

/// Settings of the whole server.
pub(crate) const GLOBAL: &[Key] = &[
    // Ours.
    works("control"),
    works("controlAddress"),
    works("controlAllowedHosts"),
    works("allowUnauthenticated"),
    works("database"),
    works("recordQuotaTotal"),
    works("recordDiskAlarm"),
    works("recordDiskDelete"),
    works("recordDiskStop"),
    works("s3"),
    works("webhooks"),
    // General.
    works("logLevel"),
    works("logDestinations"),
    works("logStructured"),
    works("logFile"),
    later("sysLogPrefix", Area::Logging, "mediamtx"),
    later("dumpPackets", Area::Logging, "false"),
    works("readTimeout"),
    works("writeTimeout"),
    works("writeQueueSize"),
    works("udpMaxPayloadSize"),
    later("udpReadBufferSize", Area::Tuning, "0"),
    works("runOnConnect"),
    works("runOnConnectRestart"),
    works("runOnDisconnect"),
    // Authentication.
    works("authMethod"),
    works("authInternalUsers"),
    works("authHTTPAddress"),
    works("authHTTPFingerprint"),
    works("authHTTPExclude"),
    works("authJWTJWKS"),
    works("authJWTJWKSFingerprint"),
    works("authJWTClaimKey"),
    works("authJWTExclude"),
    works("authJWTIssuer"),
    works("authJWTAudience"),
    // Control API, metrics, profiling, playback.
    works("api"),
    works("apiAddress"),
    works("apiEncryption"),
    works("apiServerKey"),
    works("apiServerCert"),
    works("apiAllowOrigins"),
    works("apiTrustedProxies"),
    works("metrics"),
    works("metricsAddress"),
    works("metricsEncryption"),
    works("metricsServerKey"),
    works("metricsServerCert"),
    works("metricsAllowOrigins"),
    works("metricsTrustedProxies"),
    later("pprof", Area::Profiling, "false"),
    moot("pprofAddress"),
    moot("pprofEncryption"),
    moot("pprofServerKey"),
    moot("pprofServerCert"),
    moot("pprofAllowOrigins"),
    moot("pprofTrustedProxies"),
    works("playback"),
    works("playbackAddress"),
    works("playbackEncryption"),
    works("playbackServerKey"),
    works("playbackServerCert"),
    works("playbackAllowOrigins"),
    works("playbackTrustedProxies"),
    // RTSP server.
    works("rtsp"),
    works("rtspTransports"),
    works("rtspEncryption"),
    works("rtspAddress"),
    works("rtspsAddress"),
    works("rtpAddress"),
    works("rtcpAddress"),
    works("multicastIPRange"),
    works("multicastRTPPort"),
    works("multicastRTCPPort"),
    later("srtpAddress", Area::RtspServer, ":8004"),
    later("srtcpAddress", Area::RtspServer, ":8005"),
    later("multicastSRTPPort", Area::RtspServer, "8006"),
    later("multicastSRTCPPort", Area::RtspServer, "8007"),
    works("rtspServerKey"),
    works("rtspServerCert"),
    works("rtspAuthMethods"),
    later("rtspTrustedProxies", Area::RtspServer, "[]"),
    // RTMP, SRT, MoQ.
    works("rtmp"),
    works("rtmpEncryption"),
    works("rtmpAddress"),
    works("rtmpsAddress"),
    works("rtmpServerKey"),
    works("rtmpServerCert"),
    later("rtmpTrustedProxies", Area::Rtmp, "[]"),
    later("srt", Area::Srt, "false"),
    later("srtAddress", Area::Srt, ":8890"),
    later("moq", Area::Moq, "false"),
    later("moqHTTP2Address", Area::Moq, ":8892"),
    later("moqHTTP3Address", Area::Moq, ":8892"),
    later("moqQUICAddress", Area::Moq, ":8893"),
    later("moqServerKey", Area::Moq, "auto.key"),
    later("moqServerCert", Area::Moq, "auto.crt"),
    later("moqAllowOrigins", Area::Moq, "['*']"),
    later("moqTrustedProxies", Area::Moq, "[]"),
    // HLS.
    works("hls"),
    works("hlsAddress"),
    works("hlsEncryption"),
    works("hlsServerKey"),
    works("hlsServerCert"),
    works("hlsAllowOrigins"),
    works("hlsTrustedProxies"),
    works("hlsAlwaysRemux"),
    works("hlsVariant"),
    works("hlsSegmentCount"),
    works("hlsSegmentDuration"),
    works("hlsPartDuration"),
    works("hlsSegmentMaxSize"),
    later("hlsDirectory", Area::Hls, ""),
    works("hlsMuxerCloseAfter"),
    works("hlsCDNSecret"),
    // WebRTC.
    works("webrtc"),
    works("webrtcAddress"),
    works("webrtcEncryption"),
    works("webrtcServerKey"),
    works("webrtcServerCert"),
    works("webrtcAllowOrigins"),
    works("webrtcTrustedProxies"),
    works("webrtcLocalUDPAddress"),
    works("webrtcLocalTCPAddress"),
    works("webrtcIPsFromInterfaces"),
    works("webrtcIPsFromInterfacesList"),
    works("webrtcAdditionalHosts"),
    works("webrtcICEServers2"),
    later("webrtcSTUNGatherTimeout", Area::WebRtc, "5s"),
    works("webrtcHandshakeTimeout"),
    later("webrtcTrackGatherTimeout", Area::WebRtc, "2s"),
    // Names of older versions.
    renamed("apiAllowOrigin", "apiAllowOrigins"),
    renamed("metricsAllowOrigin", "metricsAllowOrigins"),
    renamed("hlsAllowOrigin", "hlsAllowOrigins"),
    renamed("webrtcAllowOrigin", "webrtcAllowOrigins"),
    renamed("playbackAllowOrigin", "playbackAllowOrigins"),
    renamed("webrtcICEUDPMuxAddress", "webrtcLocalUDPAddress"),
    renamed("webrtcICETCPMuxAddress", "webrtcLocalTCPAddress"),
    renamed("webrtcICEHostNAT1To1IPs", "webrtcAdditionalHosts"),
    negated("hlsDisable", "hls"),
    negated("webrtcDisable", "webrtc"),
    negated("rtspDisable", "rtsp"),
    negated("rtmpDisable", "rtmp"),
    works("externalAuthenticationURL"),
    works("authJWTInHTTPQuery"),
    moot("readBufferCount"),
    moot("pprofAllowOrigin"),
    renamed("protocols", "rtspTransports"),
    renamed("encryption", "rtspEncryption"),
    renamed("serverKey", "rtspServerKey"),
    renamed("serverCert", "rtspServerCert"),
    renamed("authMethods", "rtspAuthMethods"),
    later("rtspUDPReadBufferSize", Area::Tuning, "0"),
    later("webrtcICEServers", Area::WebRtc, "[]"),
    renamed("moqHTTPS2Address", "moqHTTP2Address"),
    renamed("moqHTTPS3Address", "moqHTTP3Address"),
    later("record", Area::Recording, "false"),
    moot("recordPath"),
    moot("recordFormat"),
    moot("recordPartDuration"),
    moot("recordSegmentDuration"),
    moot("recordDeleteAfter"),
    // Containers.
    works("pathDefaults"),
    works("paths"),
];

/// Settings of `s3`.
pub(crate) const S3: &[Key] = &[
    works("endpoint"),
    works("region"),
    works("bucket"),
    works("prefix"),
    works("pathStyle"),
    works("credentialsFile"),
    works("serverSideEncryption"),
    works("kmsKeyId"),
    works("localRetention"),
    works("bandwidth"),
    works("concurrency"),
];

/// Settings of one path, and of `pathDefaults`.
pub(crate) const PATH: &[Key] = &[
    works("source"),
    works("sourceFingerprint"),
    works("sourceOnDemand"),
    works("sourceOnDemandStartTimeout"),
    works("sourceOnDemandCloseAfter"),
    works("maxReaders"),
    works("rtspTransport"),
    moot("name"),
    later("srtReadPassphrase", Area::Srt, ""),
    // A source's own clock is followed wherever it is sane.
    moot("useAbsoluteTimestamp"),
    works("alwaysAvailable"),
    works("alwaysAvailableTracks"),
    works("alwaysAvailableFile"),
    works("forward"),
    works("record"),
    works("recordPath"),
    works("recordFormat"),
    works("recordPartDuration"),
    works("recordMaxPartSize"),
    works("recordSegmentDuration"),
    works("recordDeleteAfter"),
    works("recordQuota"),
    works("recordThumbnails"),
    works("overridePublisher"),
    later("srtPublishPassphrase", Area::Srt, ""),
    later("rtspDemuxMpegts", Area::RtspSource, "false"),
    // Datagrams are told apart by their address alone.
    moot("rtspAnyPort"),
    works("rtspRangeType"),
    works("rtspRangeStart"),
    works("rtspScale"),
    later("rtspUDPSourcePortRange", Area::RtspSource, "[32768, 60999]"),
    later("rtpSDP", Area::OtherSources, ""),
    later("moqTransport", Area::Moq, "quic"),
    works("whepBearerToken"),
    // The way is opened from here to the server's candidates: no STUN server is asked.
    moot("whepSTUNGatherTimeout"),
    works("whepHandshakeTimeout"),
    works("whepTrackGatherTimeout"),
    works("sourceRedirect"),
    works("runOnInit"),
    works("runOnInitRestart"),
    works("runOnDemand"),
    works("runOnDemandRestart"),
    works("runOnDemandStartTimeout"),
    works("runOnDemandCloseAfter"),
    works("runOnUnDemand"),
    works("runOnAvailable"),
    works("runOnAvailableRestart"),
    works("runOnUnavailable"),
    works("runOnOnline"),
    works("runOnOnlineRestart"),
    works("runOnOffline"),
    works("runOnRead"),
    works("runOnReadRestart"),
    works("runOnUnread"),
    works("runOnRecordSegmentCreate"),
    works("runOnRecordSegmentComplete"),
    // Names of older versions.
    works("fallback"),
    later("playback", Area::Playback, "true"),
    works("publishUser"),
    works("publishPass"),
    works("publishIPs"),
    works("readUser"),
    works("readPass"),
    works("readIPs"),
    negated("disablePublisherOverride", "overridePublisher"),
    renamed("sourceProtocol", "rtspTransport"),
    renamed("sourceAnyPortEnable", "rtspAnyPort"),
    later("rtspUDPReadBufferSize", Area::Tuning, "0"),
    later("mpegtsUDPReadBufferSize", Area::Tuning, "0"),
    later("rtpUDPReadBufferSize", Area::Tuning, "0"),
    renamed("runOnReady", "runOnAvailable"),
    renamed("runOnReadyRestart", "runOnAvailableRestart"),
    renamed("runOnNotReady", "runOnUnavailable"),
];

/// The 45 settings of the Raspberry Pi camera begin so; they are moot, since `source: rpiCamera`
/// is itself named in a warning.
pub(crate) const RPI_CAMERA_PREFIX: &str = "rpiCamera";

/// Looks a key up by its exact name.
pub(crate) fn find(table: &'static [Key], name: &str) -> Option<Support> {
    let exact = table.iter().find(|key| key.name == name).map(|key| key.support);
    let rpi = || name.starts_with(RPI_CAMERA_PREFIX).then_some(Support::Moot);
    exact.or_else(rpi)
}

/// The known key nearest to a misspelt one, if one is near enough to be meant.
pub(crate) fn nearest(table: &'static [Key], name: &str) -> Option<&'static str> {
    /// Below this similarity a suggestion confuses more than it helps.
    const SIMILARITY_MIN: f64 = 0.84;
    let lower = name.to_ascii_lowercase();
    table
        .iter()
        .map(|key| (strsim::jaro_winkler(&key.name.to_ascii_lowercase(), &lower), key.name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_new_names_exist() {
        for table in [GLOBAL, S3, PATH] {
            let names: HashSet<_> = table.iter().map(|key| key.name).collect();
            assert_eq!(names.len(), table.len());
            for key in table {
                if let Support::RenamedTo(to) | Support::NegatedAs(to) = key.support {
                    assert!(names.contains(to), "{} -> {to}", key.name);
                }
            }
        }
    }

    #[test]
    fn misspelt_keys_get_a_suggestion() {
        assert_eq!(nearest(GLOBAL, "hlsAdress"), Some("hlsAddress"));
        assert_eq!(nearest(GLOBAL, "loglevel"), Some("logLevel"));
        assert_eq!(nearest(PATH, "sourceOnDemnd"), Some("sourceOnDemand"));
        assert_eq!(nearest(PATH, "xyzzy"), None);
    }
}
