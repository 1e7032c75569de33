//! Control: what the API and the metrics tell of streams, muxers and sessions.
//!
//! Snapshots are taken from the running parts; nothing here holds up media.

pub(crate) mod access;
pub(crate) mod config;
pub(crate) mod hls;
pub(crate) mod rtmp;
pub(crate) mod rtsp;
pub(crate) mod webrtc;

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use control_api::forward::{ForwardConf, ForwardDest};
use control_api::model::{
    Camera, CameraCounters, CameraState, CodecProps, PathReader, PathReaderType, PathSource, PathSourceType,
    PathTrack, Time,
};
use control_api::paging::Piece;
use media_core::path_name::PathName;
use media_core::time::WallTime;
use media_core::track::{CodecConfig, G711Law, TrackInfo};

use crate::access::Access;
use crate::config::pulled::SourceKind;
use crate::config::redirect::SentOn;
use crate::decode::pool::DecodePool;
use crate::egress::forward::ForwardRecord;
use crate::egress::hls::viewers::Viewer;
use crate::egress::recorder::RecordersSlot;
use crate::egress::rtmp::stats::ConnRecord as RtmpConnRecord;
use crate::egress::rtsp::stats::{Encryption, Role, SessionFacts, SessionRecord as RtspSessionRecord};
use crate::egress::webrtc::stats::{SessionFacts as WebRtcFacts, SessionRecord};
use crate::hooks::Hooks;
use crate::listeners::Egress;
use crate::reconciler::reloads::Reloads;
use crate::registry::{PathEntry, Registry};
use crate::stream::{IngestSnapshot, ReaderKind, SourceState, SourceStatus, Stream};
use crate::telemetry::forward_metrics::ForwardMetrics;
use crate::telemetry::hls_metrics::HlsMuxerMetrics;
use crate::telemetry::metrics::{MetricsSnapshot, MetricsSource};
use crate::telemetry::path_metrics::{PathMetrics, Readiness, SourceMetrics};
use crate::telemetry::process::ProcessMetrics;
use crate::telemetry::recording_metrics::RecordingMetrics;
use crate::telemetry::rtmp_metrics::RtmpMetrics;
use crate::telemetry::rtsp_metrics::RtspMetrics;
use crate::telemetry::webrtc_metrics::WebRtcSessionMetrics;
use crate::webhooks::Webhooks;

/// Looks at everything that runs.
pub(crate) struct Observer {
    /// Who may do what.
    pub(crate) access: Access,
    /// The paths.
    pub(crate) registry: Arc<Registry>,
    /// What serves media.
    pub(crate) egress: Arc<Egress>,
    /// Recording, when something is recorded or played back.
    pub(crate) recorders: RecordersSlot,
    /// How changes of the configuration went.
    pub(crate) reloads: Arc<Reloads>,
    /// Commands on events.
    pub(crate) hooks: Arc<Hooks>,
    /// Events posted elsewhere.
    pub(crate) webhooks: Arc<Webhooks>,
    /// When the server was started.
    pub(crate) started: WallTime,
    /// Decodes for snapshots and thumbnails.
    pub(crate) pool: Arc<DecodePool>,
}

/// Who watches all paths, looked at once for an answer about many: a look-up for each path would go through all muxers
/// and sessions, and their locks, as often as there are paths.
struct Audience {
    /// Bytes sent by each path's HLS muxer that now runs.
    hls_bytes: HashMap<PathName, u64>,
    hls_viewers: Vec<Arc<Viewer>>,
    sessions: Vec<Arc<SessionRecord>>,
    rtsp_sessions: Vec<Arc<RtspSessionRecord>>,
    rtmp_conns: Vec<Arc<RtmpConnRecord>>,
}

impl Observer {
    fn audience(&self) -> Audience {
        let muxers = self.egress.hls().map(|hls| hls.snapshot()).unwrap_or_default();
        let hls_bytes = muxers.into_iter().map(|muxer| (muxer.path, muxer.sent_bytes)).collect();
        let rtsp_sessions = self.egress.rtsp().map(|rtsp| rtsp.sessions()).unwrap_or_default();
        let rtmp_conns = self.egress.rtmp().map(|rtmp| rtmp.conns()).unwrap_or_default();
        let hls_viewers = self.egress.hls().map(|hls| hls.viewers()).unwrap_or_default();
        Audience { hls_bytes, hls_viewers, sessions: self.sessions(), rtsp_sessions, rtmp_conns }
    }

    fn sessions(&self) -> Vec<Arc<SessionRecord>> {
        self.egress.webrtc().map(|webrtc| webrtc.sessions()).unwrap_or_default()
    }
}

impl Audience {
    fn camera(&self, entry: &PathEntry) -> Camera {
        let stream = &entry.stream;
        let state = stream.state();
        let online_since = online_since(&state);
        let viewers = self.hls_viewers.iter().filter(|viewer| viewer.path == *stream.name());
        let viewers =
            viewers.map(|viewer| PathReader { kind: PathReaderType::HlsSession, id: viewer.id.to_string() });
        let watches = |session: &&Arc<SessionRecord>| {
            session.facts.path == *stream.name() && session.facts.role == Role::Read
        };
        let sessions = self.sessions.iter().filter(watches);
        let sessions = sessions.map(|session| PathReader {
            kind: PathReaderType::WebRtcSession,
            id: session.facts.id.to_string(),
        });
        let format = stream.format();
        let tracks = format.iter().flat_map(|format| format.source_tracks().map(path_track)).collect();
        Camera {
            name: stream.name().to_string(),
            conf_name: entry.conf_name.to_string(),
            source: self.source(entry),
            state: camera_state(state.status),
            state_reason: state.reason,
            state_since: time(state.since),
            available_since: entry.always_since.map(time).or(online_since),
            online_since,
            tracks,
            readers: viewers
                .chain(sessions)
                .chain(self.rtsp_readers(stream))
                .chain(self.rtmp_readers(stream))
                .collect(),
            counters: self.camera_counters(stream),
        }
    }

    /// Where the stream comes from: pulled, or the session that publishes it.
    fn source(&self, entry: &PathEntry) -> Option<PathSource> {
        if matches!(entry.sent_on, Some(SentOn::Always(_))) {
            return Some(PathSource { kind: PathSourceType::Redirect, id: String::new() });
        }
        if let Some(pulled) = entry.pulled {
            let kind = match pulled {
                SourceKind::Rtsp => PathSourceType::RtspSource,
                SourceKind::Rtmp => PathSourceType::RtmpSource,
                SourceKind::Hls => PathSourceType::HlsSource,
                SourceKind::WebRtc => PathSourceType::WebRtcSource,
            };
            return Some(PathSource { kind, id: String::new() });
        }
        let publishes = |session: &&Arc<RtspSessionRecord>| {
            session.facts.path == *entry.stream.name() && session.state() == "publish"
        };
        let Some(session) = self.rtsp_sessions.iter().find(publishes) else {
            let path = entry.stream.name();
            return self.rtmp_source(path).or_else(|| self.webrtc_source(path));
        };
        let facts = &session.facts;
        let kind = match facts.encryption {
            Encryption::None => PathSourceType::RtspSession,
            Encryption::Tls => PathSourceType::RtspsSession,
        };
        Some(PathSource { kind, id: facts.id.to_string() })
    }

    fn rtmp_source(&self, path: &PathName) -> Option<PathSource> {
        let conn = self.rtmp_conns.iter().find(|conn| conn.is_at(path, Role::Publish))?;
        let kind = match conn.encryption {
            Encryption::None => PathSourceType::RtmpConn,
            Encryption::Tls => PathSourceType::RtmpsConn,
        };
        Some(PathSource { kind, id: conn.id.to_string() })
    }

    fn webrtc_source(&self, path: &PathName) -> Option<PathSource> {
        let sends = |facts: &&WebRtcFacts| facts.path == *path && facts.role == Role::Publish;
        let facts = self.sessions.iter().map(|session| &session.facts).find(sends)?;
        Some(PathSource { kind: PathSourceType::WebRtcSession, id: facts.id.to_string() })
    }

    fn rtmp_readers<'a>(&'a self, stream: &'a Stream) -> impl Iterator<Item = PathReader> + 'a {
        let reads = |conn: &&Arc<RtmpConnRecord>| conn.is_at(stream.name(), Role::Read);
        self.rtmp_conns.iter().filter(reads).map(|conn| PathReader {
            kind: match conn.encryption {
                Encryption::None => PathReaderType::RtmpConn,
                Encryption::Tls => PathReaderType::RtmpsConn,
            },
            id: conn.id.to_string(),
        })
    }

    fn rtsp_readers<'a>(&'a self, stream: &'a Stream) -> impl Iterator<Item = PathReader> + 'a {
        let sessions = self.rtsp_sessions.iter().map(|session| &session.facts);
        let reads = |facts: &&SessionFacts| facts.path == *stream.name() && facts.role == Role::Read;
        sessions.filter(reads).map(|facts| PathReader {
            kind: match facts.encryption {
                Encryption::None => PathReaderType::RtspSession,
                Encryption::Tls => PathReaderType::RtspsSession,
            },
            id: facts.id.to_string(),
        })
    }

    fn camera_counters(&self, stream: &Stream) -> CameraCounters {
        let ingest = ingest_of(stream);
        CameraCounters {
            inbound_bytes: stream.counters.inbound_bytes.load(Relaxed),
            outbound_bytes: self.outbound_bytes(stream),
            inbound_frames_in_error: frames_in_error(&ingest),
            reconnects: stream.counters.reconnects.load(Relaxed),
            frozen: stream.counters.frozen.load(Relaxed),
            lost_packets: ingest.counters.lost_packets,
            repaired_timestamps: ingest.counters.repaired_timestamps,
            discontinuities: ingest.counters.discontinuities,
            jitter_seconds: jitter_seconds(&stream.state(), &ingest),
            clock_offset_seconds: ingest.clock_offset_us.map(seconds),
        }
    }

    /// Bytes sent to viewers: by WebRTC, RTSP and RTMP since the start, by the HLS muxer that now runs.
    fn outbound_bytes(&self, stream: &Stream) -> u64 {
        let hls_bytes = self.hls_bytes.get(stream.name()).copied().unwrap_or(0);
        stream.counters.outbound_bytes.load(Relaxed) + hls_bytes
    }

    fn path_metrics(&self, entry: &PathEntry) -> PathMetrics {
        let stream = &entry.stream;
        let state = stream.state();
        let ingest = ingest_of(stream);
        let readers = stream.reader_changes().borrow().clone();
        let count =
            |kind| u64::try_from(readers.iter().filter(|reader| **reader == kind).count()).unwrap_or(0);
        let source = SourceMetrics {
            state: state.status.as_str(),
            reconnects: stream.counters.reconnects.load(Relaxed),
            frozen: stream.counters.frozen.load(Relaxed),
            panics: stream.counters.panics.load(Relaxed),
            units: stream.counters.units.load(Relaxed),
            lost_packets: ingest.counters.lost_packets,
            lost_units: ingest.counters.lost_units,
            repaired_timestamps: ingest.counters.repaired_timestamps,
            stray_units: ingest.counters.stray_units,
            clock_steps: ingest.counters.clock_steps,
            discontinuities: ingest.counters.discontinuities,
            malformed_packets: ingest.counters.malformed_packets,
            oversized_units: ingest.counters.oversized_units,
            transcode_errors: ingest.transcode_errors,
            jitter_seconds: jitter_seconds(&state, &ingest),
            clock_offset_seconds: ingest.clock_offset_us.map(seconds),
        };
        PathMetrics {
            name: stream.name().to_string(),
            readiness: match state.status {
                SourceStatus::Online => Readiness::Ready,
                _ if entry.always_since.is_some() => Readiness::Ready,
                _ => Readiness::NotReady,
            },
            readers: vec![
                ("hlsSession", count(ReaderKind::HlsSession)),
                ("webRTCSession", count(ReaderKind::WebRtcSession)),
                ("rtspSession", count(ReaderKind::RtspSession)),
                ("rtspsSession", count(ReaderKind::RtspsSession)),
                ("rtmpConn", count(ReaderKind::RtmpConn)),
                ("rtmpsConn", count(ReaderKind::RtmpsConn)),
            ],
            inbound_bytes: stream.counters.inbound_bytes.load(Relaxed),
            outbound_bytes: self.outbound_bytes(stream),
            inbound_frames_in_error: frames_in_error(&ingest),
            ring_bytes: u64::try_from(stream.ring_bytes()).unwrap_or(u64::MAX),
            source: Some(source),
        }
    }
}

impl control_api::Cameras for Observer {
    fn list(&self, skipped: usize, most: usize) -> Piece<Camera> {
        let audience = self.audience();
        let paths = self.registry.snapshot();
        let wanted = paths.values().skip(skipped).take(most);
        let items = wanted.map(|entry| audience.camera(entry)).collect();
        Piece { total: paths.len(), items }
    }

    fn get(&self, name: &str) -> Option<Camera> {
        let name = PathName::parse(name).ok()?;
        self.registry.entry(&name).map(|entry| self.audience().camera(&entry))
    }

    fn forwards(&self, name: &str) -> Option<Vec<ForwardDest>> {
        let entry = self.registry.entry(&PathName::parse(name).ok()?)?;
        Some(entry.forwards.records().iter().map(|record| forward_dest(record)).collect())
    }
}

impl MetricsSource for Observer {
    fn snapshot(&self) -> MetricsSnapshot {
        let paths = self.registry.snapshot();
        let audience = self.audience();
        MetricsSnapshot {
            paths: paths.values().map(|entry| audience.path_metrics(entry)).collect(),
            hls_muxers: self.egress.hls().map(|hls| {
                let muxers = hls.snapshot();
                muxers
                    .into_iter()
                    .map(|muxer| HlsMuxerMetrics {
                        path: muxer.path.to_string(),
                        outbound_bytes: muxer.sent_bytes,
                        outbound_frames_discarded: muxer.segmenter.dropped_units,
                        window_bytes: u64::try_from(muxer.window_bytes).unwrap_or(u64::MAX),
                        requests: muxer.requests,
                        restarts: muxer.restarts,
                    })
                    .collect()
            }),
            forwards: paths.values().flat_map(|entry| forward_metrics(entry)).collect(),
            hls_sessions: self.egress.hls().map(|hls| hls.viewers()),
            webrtc_sessions: self
                .egress
                .webrtc()
                .map(|_| self.sessions().iter().map(|s| session_metrics(s)).collect()),
            webrtc_unroutable_datagrams: self
                .egress
                .webrtc()
                .map_or(0, |webrtc| webrtc.unroutable_datagrams()),
            rtsp: self.egress.rtsp().map(|rtsp| RtspMetrics {
                conns: rtsp.conns(),
                sessions: rtsp.sessions(),
                has_tls: rtsp.listens(Encryption::Tls),
                cut: rtsp.cut_readers(),
            }),
            rtmp: self.egress.rtmp().map(|rtmp| RtmpMetrics {
                conns: rtmp.conns(),
                has_tls: rtmp.listens(Encryption::Tls),
                cut: rtmp.cut_readers(),
            }),
            recording: self.recorders.get().map(|recorders| {
                let ledger = recorders.ledger();
                RecordingMetrics::of(recorders.snapshot(), ledger.recent_figures(), ledger.bucket_figures())
            }),
            access: self.access.snapshot(),
            reloads: self.reloads.snapshot(),
            decode: self.pool.figures(),
            hooks: self.hooks.snapshot(),
            webhooks: self.webhooks.snapshot(),
            process: ProcessMetrics::read(),
        }
    }
}

fn forward_dest(record: &ForwardRecord) -> ForwardDest {
    let (dest, fingerprint) = &record.dest.written;
    let (state, last_error) = record.status();
    ForwardDest {
        id: record.id.to_string(),
        // MediaMTX counts from 1.
        pos: record.pos + 1,
        created: time(record.created),
        conf: ForwardConf {
            // As the configuration is shown.
            dest: dest.expose().to_owned(),
            dest_fingerprint: fingerprint.clone(),
            whip_bearer_token: String::new(),
        },
        protocol: record.protocol(),
        state: state.as_str(),
        last_error,
        outbound_bytes: record.outbound_bytes.load(Relaxed),
    }
}

fn forward_metrics(entry: &PathEntry) -> impl Iterator<Item = ForwardMetrics> + use<> {
    let path = entry.stream.name().to_string();
    entry.forwards.records().into_iter().map(move |record| ForwardMetrics { path: path.clone(), record })
}

fn session_metrics(session: &SessionRecord) -> WebRtcSessionMetrics {
    let counters = &session.counters;
    WebRtcSessionMetrics {
        id: session.facts.id.to_string(),
        path: session.facts.path.to_string(),
        remote_addr: session.facts.remote_addr.to_string(),
        inbound_bytes: counters.inbound_bytes.load(Relaxed),
        outbound_bytes: counters.outbound_bytes.load(Relaxed),
        state: session.state(),
        inbound_rtp_packets: counters.inbound_rtp_packets.load(Relaxed),
        inbound_rtp_packets_lost: counters.inbound_rtp_packets_lost.load(Relaxed),
        inbound_rtp_packets_jitter: counters.inbound_rtp_packets_jitter.load(Relaxed),
        inbound_rtcp_packets: counters.inbound_rtcp_packets.load(Relaxed),
        outbound_rtcp_packets: counters.outbound_rtcp_packets.load(Relaxed),
        outbound_rtp_packets: counters.outbound_rtp_packets.load(Relaxed),
        outbound_frames_discarded: counters.discarded_units.load(Relaxed),
        retransmitted_packets: counters.retransmitted_packets.load(Relaxed),
        key_frame_requests: counters.key_frame_requests.load(Relaxed),
        restarts: counters.restarts.load(Relaxed),
        inbox_overflows: counters.inbox_overflows.load(Relaxed),
        send_errors: counters.send_errors.load(Relaxed),
    }
}

fn ingest_of(stream: &Stream) -> IngestSnapshot {
    stream.ingest.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn frames_in_error(ingest: &IngestSnapshot) -> u64 {
    ingest.counters.lost_units + ingest.counters.oversized_units + ingest.counters.malformed_packets
}

/// A source that sends nothing now has no jitter.
fn jitter_seconds(state: &SourceState, ingest: &IngestSnapshot) -> Option<f64> {
    let jitter_us = ingest.jitter_us.filter(|_| state.status == SourceStatus::Online)?;
    i64::try_from(jitter_us).ok().map(seconds)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a clock offset fit a double for centuries")]
fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

fn time(wall: WallTime) -> Time {
    Time { unix_us: wall.unix_us() }
}

fn online_since(state: &SourceState) -> Option<Time> {
    (state.status == SourceStatus::Online).then(|| time(state.since))
}

fn camera_state(status: SourceStatus) -> CameraState {
    match status {
        SourceStatus::Idle => CameraState::Idle,
        SourceStatus::Connecting => CameraState::Connecting,
        SourceStatus::Online => CameraState::Online,
        SourceStatus::Frozen => CameraState::Frozen,
        SourceStatus::BackingOff => CameraState::BackingOff,
        SourceStatus::OpenCircuit => CameraState::OpenCircuit,
    }
}

fn path_track(track: &TrackInfo) -> PathTrack {
    let codec_props = match &track.codec {
        CodecConfig::H264(config) => CodecProps::Video {
            width: config.width,
            height: config.height,
            profile: h264_profile(config.profile_idc, config.constraint_flags).to_owned(),
            level: level(u32::from(config.level_idc) * 10),
        },
        CodecConfig::H265(config) => CodecProps::Video {
            width: config.width,
            height: config.height,
            profile: h265_profile(config.general_profile & 0x1f).to_owned(),
            // general_level_idc is 30 times the level (ITU-T H.265 A.4.1).
            level: level(u32::from(config.level_idc) * 100 / 30),
        },
        CodecConfig::Aac(config) => {
            CodecProps::Mpeg4Audio { sample_rate: config.sample_rate, channel_count: config.channels.into() }
        }
        CodecConfig::Opus { channels } => CodecProps::Opus { channel_count: (*channels).into() },
        CodecConfig::G711 { law, sample_rate, channels } => CodecProps::G711 {
            mu_law: *law == G711Law::Mu,
            sample_rate: *sample_rate,
            channel_count: (*channels).into(),
        },
    };
    PathTrack { codec: track.codec.api_name(), codec_props: Some(codec_props) }
}

/// A level in hundredths as people write it: 410 is `4.1`, 400 is `4`.
fn level(hundredths: u32) -> String {
    match (hundredths / 100, hundredths % 100 / 10) {
        (whole, 0) => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

/// ITU-T H.264 A.2.
fn h264_profile(profile_idc: u8, constraint_flags: u8) -> &'static str {
    match profile_idc {
        66 if constraint_flags & 0x40 != 0 => "Constrained Baseline",
        66 => "Baseline",
        77 => "Main",
        88 => "Extended",
        100 => "High",
        110 => "High 10",
        122 => "High 4:2:2",
        244 => "High 4:4:4 Predictive",
        _ => "unknown",
    }
}

/// ITU-T H.265 A.3.
fn h265_profile(profile_idc: u8) -> &'static str {
    match profile_idc {
        1 => "Main",
        2 => "Main 10",
        3 => "Main Still Picture",
        4 => "Format Range Extensions",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_read_as_people_write_them() {
        assert_eq!([level(310), level(400), level(u32::from(120_u8) * 100 / 30)], ["3.1", "4", "4"]);
        assert_eq!(level(93 * 100 / 30), "3.1");
    }
}
