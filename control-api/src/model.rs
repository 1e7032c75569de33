//! Model: what the server tells of a camera, and the JSON it becomes.
//!
//! [`Camera`] is filled by the server. [`Path`] is MediaMTX's `Path` object, its deprecated fields
//! included, with ours after them; [`CameraItem`] is what the page reads.

use std::fmt;

use serde::{Serialize, Serializer};

/// A point in time, microseconds since 1970 UTC; in JSON RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub unix_us: i64,
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A time outside the calendar (beyond year 9999) is a wrong clock: the epoch says so.
        let time = jiff::Timestamp::from_microsecond(self.unix_us).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{time}")
    }
}

/// Where a camera's source stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CameraState {
    /// On demand, and nobody asks.
    Idle,
    /// Connecting, or waiting for the first picture.
    Connecting,
    /// Pictures arrive.
    Online,
    /// Connected without pictures.
    Frozen,
    /// Waiting before the next try.
    BackingOff,
    /// Too many failures in a row: waiting longer.
    OpenCircuit,
}

/// One camera as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    /// Its path name.
    pub name: String,
    /// The name of its entry in the configuration; the same unless that is a pattern.
    pub conf_name: String,
    /// Where its media comes from; `None` for a path nobody publishes to.
    pub source: Option<PathSource>,
    /// Where the source stands.
    pub state: CameraState,
    /// Why, for a person; without secrets; empty when there is nothing to say.
    pub state_reason: String,
    /// Since when.
    pub state_since: Time,
    /// Since when it can be watched; MediaMTX's `ready`, which scripts read as "the camera is up".
    pub available_since: Option<Time>,
    /// Since when the source is online.
    pub online_since: Option<Time>,
    /// Its tracks, without transcoded ones; empty until it was online once.
    pub tracks: Vec<PathTrack>,
    /// Who reads it.
    pub readers: Vec<PathReader>,
    /// What was counted.
    pub counters: CameraCounters,
}

/// Totals of one camera since the server's start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CameraCounters {
    /// Bytes from the camera.
    pub inbound_bytes: u64,
    /// Bytes to viewers.
    pub outbound_bytes: u64,
    /// Access units that arrived damaged or not at all.
    pub inbound_frames_in_error: u64,
    /// Connections made again.
    pub reconnects: u64,
    /// Times it froze.
    pub frozen: u64,
    /// RTP packets that never came.
    pub lost_packets: u64,
    /// Timestamps repaired.
    pub repaired_timestamps: u64,
    /// Jumps of the timeline.
    pub discontinuities: u64,
    /// How unevenly RTP packets come now, seconds, of the track that does worst; `None` where none come.
    pub jitter_seconds: Option<f64>,
    /// The camera's clock minus ours, seconds.
    pub clock_offset_seconds: Option<f64>,
}

/// A path's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathSource {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: PathSourceType,
    /// Its id; empty for a pulled source.
    pub id: String,
}

/// MediaMTX's names of sources, as far as we have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathSourceType {
    /// Pulled over RTSP or RTSPS.
    RtspSource,
    /// Pulled over RTMP or RTMPS.
    RtmpSource,
    /// Pulled over HLS.
    HlsSource,
    /// Pulled with WHEP.
    #[serde(rename = "webRTCSource")]
    WebRtcSource,
    /// None: RTSP readers are sent elsewhere.
    Redirect,
    /// Published over RTSP.
    RtspSession,
    /// Published over RTSPS.
    RtspsSession,
    /// Published over RTMP.
    RtmpConn,
    /// Published over RTMPS.
    RtmpsConn,
    /// Published with WHIP.
    #[serde(rename = "webRTCSession")]
    WebRtcSession,
}

/// One reader of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathReader {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: PathReaderType,
    /// Its id.
    pub id: String,
}

/// MediaMTX's names of readers, as far as we have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PathReaderType {
    /// One HLS viewer.
    #[serde(rename = "hlsSession")]
    HlsSession,
    /// One WebRTC viewer.
    #[serde(rename = "webRTCSession")]
    WebRtcSession,
    /// One RTSP reader.
    #[serde(rename = "rtspSession")]
    RtspSession,
    /// One RTSP reader over TLS.
    #[serde(rename = "rtspsSession")]
    RtspsSession,
    /// One RTMP reader.
    #[serde(rename = "rtmpConn")]
    RtmpConn,
    /// One RTMP reader over TLS.
    #[serde(rename = "rtmpsConn")]
    RtmpsConn,
}

/// A track of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathTrack {
    /// MediaMTX's name of the codec (`H264`, `MPEG-4 Audio` ...).
    pub codec: &'static str,
    /// What is known of it.
    pub codec_props: Option<CodecProps>,
}

/// Properties of a track's codec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CodecProps {
    /// H.264 and H.265.
    Video {
        /// Width in luma samples.
        width: u32,
        /// Height in luma samples.
        height: u32,
        /// Profile, by name (`High`).
        profile: String,
        /// Level (`4.1`).
        level: String,
    },
    /// AAC.
    #[serde(rename_all = "camelCase")]
    Mpeg4Audio {
        /// Samples per second.
        sample_rate: u32,
        /// Channels.
        channel_count: u32,
    },
    /// Opus.
    #[serde(rename_all = "camelCase")]
    Opus {
        /// Channels.
        channel_count: u32,
    },
    /// G.711.
    #[serde(rename_all = "camelCase")]
    G711 {
        /// mu-law, else A-law.
        mu_law: bool,
        /// Samples per second.
        sample_rate: u32,
        /// Channels.
        channel_count: u32,
    },
}

/// What the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Info {
    /// Version of the server.
    pub version: String,
    /// When it was started.
    pub started: Time,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// How many there are on all pages.
    pub item_count: usize,
    /// How many pages there are.
    pub page_count: usize,
    /// This page's.
    pub items: Vec<T>,
}

/// MediaMTX's `Path`, then ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the object is MediaMTX's")]
pub struct Path {
    name: String,
    conf_name: String,
    ready: bool,
    ready_time: Option<Time>,
    available: bool,
    available_time: Option<Time>,
    online: bool,
    online_time: Option<Time>,
    source: Option<PathSource>,
    tracks: Vec<&'static str>,
    tracks2: Vec<PathTrack>,
    readers: Vec<PathReader>,
    inbound_bytes: u64,
    outbound_bytes: u64,
    inbound_frames_in_error: u64,
    bytes_received: u64,
    bytes_sent: u64,
    #[serde(flatten)]
    ours: PathExtension,
}

/// What we tell of a path besides.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct PathExtension {
    state: CameraState,
    state_reason: String,
    state_since: Time,
    reconnects: u64,
    frozen: u64,
    lost_packets: u64,
    repaired_timestamps: u64,
    discontinuities: u64,
    jitter_seconds: Option<f64>,
    clock_offset_seconds: Option<f64>,
}

impl From<Camera> for Path {
    fn from(camera: Camera) -> Self {
        let counters = camera.counters;
        Self {
            name: camera.name,
            conf_name: camera.conf_name,
            ready: camera.available_since.is_some(),
            ready_time: camera.available_since,
            available: camera.available_since.is_some(),
            available_time: camera.available_since,
            online: camera.online_since.is_some(),
            online_time: camera.online_since,
            source: camera.source,
            tracks: camera.tracks.iter().map(|track| track.codec).collect(),
            tracks2: camera.tracks,
            readers: camera.readers,
            inbound_bytes: counters.inbound_bytes,
            outbound_bytes: counters.outbound_bytes,
            inbound_frames_in_error: counters.inbound_frames_in_error,
            bytes_received: counters.inbound_bytes,
            bytes_sent: counters.outbound_bytes,
            ours: PathExtension {
                state: camera.state,
                state_reason: camera.state_reason,
                state_since: camera.state_since,
                reconnects: counters.reconnects,
                frozen: counters.frozen,
                lost_packets: counters.lost_packets,
                repaired_timestamps: counters.repaired_timestamps,
                discontinuities: counters.discontinuities,
                jitter_seconds: counters.jitter_seconds,
                clock_offset_seconds: counters.clock_offset_seconds,
            },
        }
    }
}

/// A camera on the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraItem {
    /// Its path name.
    pub name: String,
    /// Where its source stands.
    pub state: CameraState,
    /// Why.
    pub state_reason: String,
    /// Since when.
    pub state_since: Time,
    /// Pictures arrive.
    pub online: bool,
    /// Codec names.
    pub tracks: Vec<&'static str>,
    /// How many read it.
    pub readers: usize,
    /// Its HLS page; `null` when HLS is off.
    pub hls_url: Option<String>,
    /// Its WebRTC page; `null` when WebRTC is off.
    pub webrtc_url: Option<String>,
}

/// What the page reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CameraItems {
    /// All cameras, in the order of their names.
    pub items: Vec<CameraItem>,
    /// The HLS listener's port; `null` when it is off.
    pub hls_port: Option<u16>,
    /// The WebRTC listener's port; `null` when it is off.
    pub webrtc_port: Option<u16>,
    /// Where some of them are not open to anyone: what lets this caller's HLS players at them, as the folder
    /// `session={this}` below a camera's address. For players, not for people: it stands in for a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}
