//! Resolved configuration: typed, complete and consistent; what each subsystem is started with.
//!
//! Each subsystem has its own struct with `PartialEq`, so that a reload is a comparison. `None`
//! means that the subsystem is off. Defaults are MediaMTX's unless the field says otherwise.
//!
//! Units: durations are `Duration`, sizes end in `_bytes`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use media_core::gate::Digest;
use media_core::path_name::PathName;
use media_core::remux::fmp4::SegmenterConfig;
use media_core::slate::Slate;
use storage::{BucketConfig, DatabaseUrl, DiskLevels, RecordPath};

use super::access::AccessConfig;
use super::forward::ForwardDest;
use super::hooks::{HookPair, PathHooks};
use super::pattern::PathPattern;
use super::play::PlayHeaders;
use super::pulled::PulledSource;
use super::redirect::Destination;
use super::source_url::{Secret, SourceUrl};
use super::webhooks::WebhookConfig;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where logs go and how much of them.
    pub(crate) logging: LoggingConfig,
    /// Network time-outs.
    pub(crate) timeouts: TimeoutsConfig,
    /// Who may do what, keys `auth*`; by default anyone with cameras, and this machine with the API and metrics.
    pub(crate) access: AccessConfig,
    /// MediaMTX's API, key `api`; off by default.
    pub(crate) api: Option<ApiConfig>,
    /// Prometheus metrics, key `metrics`; off by default.
    pub(crate) metrics: Option<MetricsConfig>,
    /// The page and our own API, key `control`; on by default.
    pub(crate) control: Option<ControlConfig>,
    /// HLS, key `hls`; on by default.
    pub(crate) hls: Option<HlsConfig>,
    /// WebRTC, key `webrtc`; on by default.
    pub(crate) webrtc: Option<WebRtcConfig>,
    /// Serving RTSP, key `rtsp`; on by default.
    pub(crate) rtsp: Option<RtspConfig>,
    /// RTMP, key `rtmp`; on by default.
    pub(crate) rtmp: Option<RtmpConfig>,
    /// Playback of recordings, key `playback`; off by default.
    pub(crate) playback: Option<PlaybackConfig>,
    /// The catalogue of recordings, key `database`; ours, default `sqlite:gtvision.db`.
    pub(crate) database: DatabaseUrl,
    /// What of recordings is kept, of all paths together.
    pub(crate) retention: RetentionLimits,
    /// The bucket that recordings are copied to, section `s3`; ours, off by default.
    pub(crate) s3: Option<S3Config>,
    /// The cameras.
    pub(crate) paths: BTreeMap<PathName, PathConfig>,
    /// Entries that stand for many paths, in the order in which they are tried.
    pub(crate) patterns: Vec<PathPattern>,
    /// `runOnConnect`, `runOnDisconnect`.
    pub(crate) connect_hooks: HookPair,
    /// `webhooks`; ours.
    pub(crate) webhooks: Vec<WebhookConfig>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// A person must act.
    Error,
    /// Something went wrong and was handled.
    Warn,
    /// What the server does, a few lines for each camera.
    Info,
    /// What peers do.
    Debug,
}

/// Logging; keys `logLevel`, `logDestinations`, `logStructured`, `logFile`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggingConfig {
    /// How much; default `info`.
    pub(crate) level: LogLevel,
    /// To standard output; default yes.
    pub(crate) stdout: LogSink,
    /// To this file, appended; default no.
    pub(crate) file: Option<PathBuf>,
    /// Text or JSON; key `logStructured`, default text.
    pub(crate) format: LogFormat,
}

/// Whether a log goes to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogSink {
    /// It does.
    On,
    /// It does not.
    Off,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Network time-outs; keys `readTimeout`, `writeTimeout`, 10 s each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeoutsConfig {
    /// The longest wait for a peer to say something.
    pub(crate) read: Duration,
    /// The longest wait for a peer to take something.
    pub(crate) write: Duration,
}

/// What every HTTP listener has; keys `<server>Address`, `<server>Encryption` and so on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    /// Where to listen. `[::]` stands for every address, IPv4 too.
    pub(crate) address: SocketAddr,
    /// Certificate and key when encrypted.
    pub(crate) tls: Option<TlsFiles>,
    /// Origins that browsers may call from: exact, with `*` in the host, or `*`.
    pub(crate) allow_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// `<server>ServerKey`, default `server.key`.
    pub(crate) key: PathBuf,
    /// `<server>ServerCert`, default `server.crt`.
    pub(crate) certificate: PathBuf,
}

/// MediaMTX's API, `:9997`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiConfig {
    /// The listener.
    pub(crate) http: HttpConfig,
}

/// Metrics, `:9998`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetricsConfig {
    /// The listener.
    pub(crate) http: HttpConfig,
}

/// Playback of recordings, `:9996`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlaybackConfig {
    /// The listener.
    pub(crate) http: HttpConfig,
}

/// The page and our own API. Ours: not in MediaMTX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlConfig {
    /// `controlAddress`, default `127.0.0.1:8080`: loopback, like what shows more than one camera at MediaMTX.
    pub(crate) address: SocketAddr,
    /// `controlAllowedHosts`: further names that the `Host` header may hold while the listener
    /// is on loopback (against DNS rebinding); default none.
    pub(crate) allowed_hosts: Vec<String>,
}

/// Playlists with or without partial segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HlsVariant {
    /// LL-HLS.
    LowLatency,
    /// Whole segments only.
    Fmp4,
}

/// HLS, `:8888`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HlsConfig {
    /// The listener.
    pub(crate) http: HttpConfig,
    /// `hlsAlwaysRemux`: muxers run without viewers; default no.
    pub(crate) muxers: HlsMuxers,
    /// `hlsVariant`, default `lowLatency`. `mpegts` is not implemented and becomes `fmp4`.
    pub(crate) variant: HlsVariant,
    /// `hlsSegmentCount`, default 7: segments listed. At least 7 for LL-HLS, 3 without, at most 1000.
    pub(crate) segment_count: usize,
    /// `hlsSegmentDuration`, default 1 s: the shortest segment. 100 ms to 1 min.
    pub(crate) segment_duration: Duration,
    /// `hlsPartDuration`, default 200 ms. 50 ms to the segment duration.
    pub(crate) part_duration: Duration,
    /// `hlsSegmentMaxSize`, default 50 MiB.
    pub(crate) segment_max_bytes: u64,
    /// `hlsMuxerCloseAfter`, default 60 s: a muxer nobody asks closes after this.
    pub(crate) muxer_close_after: Duration,
    /// `hlsCDNSecret`: whoever shows it as a bearer token may watch everything; default nobody.
    pub(crate) cdn_secret: Option<Secret>,
}

/// When a muxer exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HlsMuxers {
    /// From the first request until nobody asks any more.
    OnRequest,
    /// As long as the camera is there.
    Always,
}

/// WebRTC, `:8889` and `:8189`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebRtcConfig {
    /// The listener for WHEP and the page.
    pub(crate) http: HttpConfig,
    /// `webrtcLocalUDPAddress`, default `:8189`; empty turns UDP off.
    pub(crate) local_udp_address: Option<SocketAddr>,
    /// `webrtcLocalTCPAddress`, default empty, which is off.
    pub(crate) local_tcp_address: Option<SocketAddr>,
    /// `webrtcIPsFromInterfaces`, default yes, and `webrtcIPsFromInterfacesList`.
    pub(crate) interface_ips: InterfaceIps,
    /// `webrtcAdditionalHosts`: addresses and names to announce besides.
    pub(crate) additional_hosts: Vec<String>,
    /// `webrtcICEServers2`.
    pub(crate) ice_servers: Vec<IceServer>,
    /// `webrtcHandshakeTimeout`, default 10 s.
    pub(crate) handshake_timeout: Duration,
}

/// Serving RTSP, `:8554`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtspConfig {
    /// `rtspAddress`, default `:8554`; `None` with `rtspEncryption: strict`.
    pub(crate) address: Option<SocketAddr>,
    /// The RTSPS listener, with `rtspEncryption: optional` or `strict`; off by default.
    pub(crate) tls: Option<RtspTls>,
    /// `rtspTransports`.
    pub(crate) transports: RtspTransports,
    /// `rtspAuthMethods`, default `[basic]`: how clients show who they are.
    pub(crate) digest: Digest,
    /// `writeQueueSize`, default 512, a power of two: packets that may wait for one reader.
    pub(crate) write_queue_packets: usize,
    /// `udpMaxPayloadSize`, default 1452: the longest RTP packet, over TCP too.
    pub(crate) packet_bytes_max: usize,
    /// `readTimeout`: how long a client without a session may be silent.
    pub(crate) read_timeout: Duration,
    /// `writeTimeout`: how long a client may take nothing of what is sent.
    pub(crate) write_timeout: Duration,
}

/// How media travels to and from RTSP clients; key `rtspTransports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtspTransports {
    /// In the RTSP connection.
    pub(crate) tcp: bool,
    /// Over UDP.
    pub(crate) udp: Option<RtspUdp>,
    /// To groups that readers join.
    pub(crate) multicast: Option<RtspMulticast>,
}

/// Where media goes over UDP multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtspMulticast {
    /// `multicastIPRange`, default `224.1.0.0/16`: an address for each track that is read so.
    pub(crate) range: Ipv4Net,
    /// `multicastRTPPort`, default 8002.
    pub(crate) rtp_port: u16,
    /// `multicastRTCPPort`, default 8003.
    pub(crate) rtcp_port: u16,
}

/// The ports of media over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RtspUdp {
    /// `rtpAddress`, default `:8000`.
    pub(crate) rtp_address: SocketAddr,
    /// `rtcpAddress`, default `:8001`.
    pub(crate) rtcp_address: SocketAddr,
}

/// RTSPS, `:8322`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtspTls {
    /// `rtspsAddress`, default `:8322`.
    pub(crate) address: SocketAddr,
    /// `rtspServerKey` and `rtspServerCert`.
    pub(crate) files: TlsFiles,
}

/// RTMP, `:1935`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtmpConfig {
    /// `rtmpAddress`, default `:1935`; `None` with `rtmpEncryption: strict`.
    pub(crate) address: Option<SocketAddr>,
    /// The RTMPS listener, with `rtmpEncryption: optional` or `strict`; off by default.
    pub(crate) tls: Option<RtmpTls>,
    /// `writeQueueSize`, default 512: access units that may wait for one reader.
    pub(crate) write_queue_units: usize,
    /// `readTimeout`: how long a publisher, or who has not said what it wants, may be silent.
    pub(crate) read_timeout: Duration,
    /// `writeTimeout`: how long a client may take nothing of what is sent.
    pub(crate) write_timeout: Duration,
}

/// RTMPS, `:1936`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtmpTls {
    /// `rtmpsAddress`, default `:1936`.
    pub(crate) address: SocketAddr,
    /// `rtmpServerKey` and `rtmpServerCert`.
    pub(crate) files: TlsFiles,
}

/// Which of the machine's own addresses are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceIps {
    /// None.
    None,
    /// Those of every interface.
    All,
    /// Those of these interfaces.
    Of(Vec<String>),
}

/// A STUN or TURN server that clients are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IceServer {
    /// `stun:host:port`, `turn:...`, `turns:...`.
    pub(crate) url: String,
    /// User name; `AUTH_SECRET` asks for HMAC credentials made from the password.
    pub(crate) username: String,
    /// Password.
    pub(crate) password: Secret,
    /// `clientOnly`: the server itself does not use it. It never does here.
    pub(crate) client_only: bool,
}

/// One camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathConfig {
    /// Where its media comes from.
    pub(crate) source: PathSource,
    /// Set when the source is pulled only while somebody watches.
    pub(crate) on_demand: Option<OnDemand>,
    /// `maxReaders`; `None`, key 0, is no limit.
    pub(crate) readers_max: Option<usize>,
    /// `fallback`: where RTSP readers are sent while nobody sends; default nowhere.
    pub(crate) fallback: Option<Destination>,
    /// `forward`: where else its media is sent.
    pub(crate) forwards: Vec<ForwardDest>,
    /// Set when it is recorded, key `record`.
    pub(crate) record: Option<RecordConfig>,
    /// What is shown while its source is away: `alwaysAvailable`, `alwaysAvailableTracks`, `alwaysAvailableFile`; default nothing.
    pub(crate) slate: Option<Arc<Slate>>,
    /// `runOn...`.
    pub(crate) hooks: Arc<PathHooks>,
}

impl HlsConfig {
    /// How a path is remuxed, its recording included.
    pub(crate) fn segmenter(&self) -> SegmenterConfig {
        SegmenterConfig {
            segment_duration: self.segment_duration,
            part_duration: self.part_duration,
            segment_bytes_max: usize::try_from(self.segment_max_bytes).unwrap_or(usize::MAX),
            first_msn: 0,
        }
    }
}

/// How a camera is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordConfig {
    /// `recordPath`, default `./recordings/%path/%Y-%m-%d_%H-%M-%S-%f`; UTC.
    pub(crate) path: RecordPath,
    /// `recordPartDuration`, default 1 s. With HLS on, its shorter parts are what is recorded.
    pub(crate) part_duration: Duration,
    /// `recordMaxPartSize`, default 50 MiB. With HLS on, `hlsSegmentMaxSize` stands in its place.
    pub(crate) part_bytes_max: u64,
    /// `recordSegmentDuration`, default 1 h, at most a day: a new file begins after it.
    pub(crate) segment_duration: Duration,
    /// `recordDeleteAfter`; `None`, key 0, keeps for ever. Default 7 days, MediaMTX's is one.
    pub(crate) delete_after: Option<Duration>,
    /// `recordQuota`, ours: above it the path's oldest files go; `None`, key 0 and the default, for no limit.
    pub(crate) quota_bytes: Option<u64>,
    /// `recordThumbnails`, ours: a small picture is kept at each whole multiple of this; `None`, key "no" and the default, for
    /// none: they are made of the recording when they are asked for.
    pub(crate) thumbnails_every: Option<Duration>,
}

/// Limits of all recordings together; ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetentionLimits {
    /// `recordQuotaTotal`: above it the oldest files of all paths go; `None`, key 0 and the default, for no limit.
    pub(crate) quota_total_bytes: Option<u64>,
    /// `recordDiskAlarm`, `recordDiskDelete`, `recordDiskStop`: percent of each disk; 85, 90 and 95.
    pub(crate) disk_levels: DiskLevels,
}

/// Copies of recordings in a bucket; ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3Config {
    /// The bucket; keys `endpoint`, `region`, `bucket`, `prefix`, `pathStyle`, `credentialsFile`, `serverSideEncryption`,
    /// `kmsKeyId`, `bandwidth` and `concurrency`.
    pub(crate) bucket: BucketConfig,
    /// `localRetention`: files whose copy is confirmed leave their disk after this; `None`, key 0 and the default, keeps
    /// them there as long as the recording itself.
    pub(crate) local_retention: Option<Duration>,
}

/// Where a path's media comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a path has one, in a configuration that is boxed")]
pub(crate) enum PathSource {
    /// Somebody sends it (`source: publisher`, the default).
    Publisher(Replacing),
    /// A camera, or another server, is asked for it.
    Pulled(PulledSource),
    /// Its RTSP readers are sent there (`source: redirect`, `sourceRedirect`).
    Redirect(Destination),
}

/// What happens to a publisher when another one comes; key `overridePublisher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replacing {
    /// It is ended; the default.
    Allowed,
    /// The other one is refused.
    Refused,
}

/// A camera that speaks RTSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RtspSource {
    /// Its address; printing it shows no password.
    pub(crate) url: SourceUrl,
    /// How RTP travels.
    pub(crate) transport: RtspTransport,
    /// SHA-256 of the certificate an `rtsps://` camera must show; `None` means that it must
    /// be valid.
    pub(crate) fingerprint: Option<[u8; 32]>,
    /// `rtspRangeType`, `rtspRangeStart`, `rtspScale`.
    pub(crate) play: PlayHeaders,
}

/// How RTP travels from a camera; key `rtspTransport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RtspTransport {
    /// UDP, then TCP; the default.
    Automatic,
    /// UDP only.
    Udp,
    /// Interleaved in the RTSP connection.
    Tcp,
}

/// A source that runs only while somebody watches; key `sourceOnDemand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnDemand {
    /// `sourceOnDemandStartTimeout`, default 10 s: how long viewers wait for it.
    pub(crate) start_timeout: Duration,
    /// `sourceOnDemandCloseAfter`, default 10 s: how long it runs on without viewers.
    pub(crate) close_after: Duration,
}
