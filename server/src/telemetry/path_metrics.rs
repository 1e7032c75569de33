//! Path metrics: paths under MediaMTX's names, and what is ours of their sources.

use super::columns::{Column, Empty, counter, gauge, none_at_all, whole, write_columns};
use super::metrics_text::{Family, Kind, Number, Text};

/// One path.
#[derive(Clone, Debug, Default)]
pub(crate) struct PathMetrics {
    /// Its name.
    pub(crate) name: String,
    /// Whether it can be watched: MediaMTX's `ready` or `notReady`.
    pub(crate) readiness: Readiness,
    /// How many readers of each of MediaMTX's types (`webRTCSession` ...).
    pub(crate) readers: Vec<(&'static str, u64)>,
    /// Bytes received.
    pub(crate) inbound_bytes: u64,
    /// Bytes sent.
    pub(crate) outbound_bytes: u64,
    /// Access units damaged or lost.
    pub(crate) inbound_frames_in_error: u64,
    /// Payload bytes in the ring.
    pub(crate) ring_bytes: u64,
    /// Its source, where one is pulled.
    pub(crate) source: Option<SourceMetrics>,
}

/// Whether a path can be watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It can.
    Ready,
    /// It can't.
    #[default]
    NotReady,
}

/// The states of a source, as [`SourceMetrics::state`] names them.
pub(crate) const SOURCE_STATES: [&str; 6] =
    ["idle", "connecting", "online", "frozen", "backingOff", "openCircuit"];

/// One pulled source; totals since the server's start.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceMetrics {
    /// One of [`SOURCE_STATES`].
    pub(crate) state: &'static str,
    /// Connections made again.
    pub(crate) reconnects: u64,
    /// Times it froze.
    pub(crate) frozen: u64,
    /// Panics of its task.
    pub(crate) panics: u64,
    /// Access units published.
    pub(crate) units: u64,
    /// RTP packets that never came.
    pub(crate) lost_packets: u64,
    /// Access units lost with them.
    pub(crate) lost_units: u64,
    /// Timestamps repaired.
    pub(crate) repaired_timestamps: u64,
    /// Units stamped far away and dropped.
    pub(crate) stray_units: u64,
    /// Times that our own clock was set meanwhile.
    pub(crate) clock_steps: u64,
    /// Jumps of the timeline.
    pub(crate) discontinuities: u64,
    /// Packets that made no sense.
    pub(crate) malformed_packets: u64,
    /// Access units over the size limit.
    pub(crate) oversized_units: u64,
    /// Audio frames that could not be transcoded.
    pub(crate) transcode_errors: u64,
    /// Jitter of RTP packets, of the track that does worst; `None` while none come.
    pub(crate) jitter_seconds: Option<f64>,
    /// The camera's clock minus ours; `None` without sane sender reports.
    pub(crate) clock_offset_seconds: Option<f64>,
}

/// Writes these paths; they are all, or the one that is `wanted`.
pub(super) fn write(text: &mut Text, paths: &[&PathMetrics], wanted: &str) {
    let empty = none_at_all(paths, wanted);
    write_columns(text, PATHS, paths, empty, path_labels);
    write_readers(text, paths, empty);
    write_columns(text, PATHS_OURS, paths, Empty::Silent, |path| vec![("name", path.name.as_str())]);
    write_source_states(text, paths);
    write_columns(text, SOURCES, paths, Empty::Silent, |path| vec![("name", path.name.as_str())]);
}

fn path_labels(path: &PathMetrics) -> Vec<(&'static str, &str)> {
    vec![("name", &path.name), ("state", readiness_label(path))]
}

fn readiness_label(path: &PathMetrics) -> &'static str {
    match path.readiness {
        Readiness::Ready => "ready",
        Readiness::NotReady => "notReady",
    }
}

/// One sample for each type of reader; one of 0 with an empty type where there is none.
fn write_readers(text: &mut Text, paths: &[&PathMetrics], empty: Empty) {
    const NAME: &str = "paths_readers";
    if paths.is_empty() && empty == Empty::Silent {
        return;
    }
    text.family(Family { name: NAME, kind: Kind::Gauge, help: "Readers of a path, by type." });
    if paths.is_empty() {
        text.sample(NAME, &[], Number::Whole(0));
    }
    for path in paths {
        let readers: &[(&str, u64)] = if path.readers.is_empty() { &[("", 0)] } else { &path.readers };
        for (kind, count) in readers {
            let labels =
                [("name", path.name.as_str()), ("readerType", kind), ("state", readiness_label(path))];
            text.sample(NAME, &labels, Number::Whole(*count));
        }
    }
}

/// 1 for the state a source is in and 0 for the others, so that an alert can name one.
fn write_source_states(text: &mut Text, paths: &[&PathMetrics]) {
    const NAME: &str = "gtvision_source_state";
    let sources: Vec<_> =
        paths.iter().filter_map(|path| Some((path.name.as_str(), path.source.as_ref()?.state))).collect();
    if sources.is_empty() {
        return;
    }
    text.family(Family { name: NAME, kind: Kind::Gauge, help: "1 for the state that a source is in." });
    for (name, current) in sources {
        for state in SOURCE_STATES {
            text.sample(
                NAME,
                &[("name", name), ("state", state)],
                Number::Whole(u64::from(state == current)),
            );
        }
    }
}

const PATHS: &[Column<PathMetrics>] = &[
    gauge("paths", "Paths, each 1.", |_| whole(1)),
    counter("paths_inbound_bytes", "Bytes received.", |path| whole(path.inbound_bytes)),
    counter("paths_outbound_bytes", "Bytes sent.", |path| whole(path.outbound_bytes)),
    counter("paths_inbound_frames_in_error", "Frames received damaged or lost.", |path| {
        whole(path.inbound_frames_in_error)
    }),
    counter("paths_bytes_received", "Older name of paths_inbound_bytes.", |path| whole(path.inbound_bytes)),
    counter("paths_bytes_sent", "Older name of paths_outbound_bytes.", |path| whole(path.outbound_bytes)),
];

const PATHS_OURS: &[Column<PathMetrics>] =
    &[gauge("gtvision_ring_bytes", "Media bytes kept for joining viewers.", |path| whole(path.ring_bytes))];

/// A total of a path's source, where it has one.
fn of(path: &PathMetrics, total: fn(&SourceMetrics) -> u64) -> Option<Number> {
    path.source.as_ref().map(|source| Number::Whole(total(source)))
}

const SOURCES: &[Column<PathMetrics>] = &[
    counter("gtvision_source_reconnects_total", "Connections made again.", |path| of(path, |s| s.reconnects)),
    counter("gtvision_source_frozen_total", "Times no frame came for too long.", |path| {
        of(path, |s| s.frozen)
    }),
    counter("gtvision_source_panics_total", "Crashes of the source's task.", |path| of(path, |s| s.panics)),
    counter("gtvision_source_units_total", "Access units received whole.", |path| of(path, |s| s.units)),
    counter("gtvision_source_lost_packets_total", "RTP packets that never came.", |path| {
        of(path, |s| s.lost_packets)
    }),
    counter("gtvision_source_lost_units_total", "Access units lost.", |path| of(path, |s| s.lost_units)),
    counter("gtvision_source_repaired_timestamps_total", "Timestamps repaired.", |path| {
        of(path, |s| s.repaired_timestamps)
    }),
    counter("gtvision_source_stray_units_total", "Access units stamped far away and dropped.", |path| {
        of(path, |s| s.stray_units)
    }),
    counter("gtvision_source_clock_steps_total", "Times that this server's clock was set.", |path| {
        of(path, |s| s.clock_steps)
    }),
    counter("gtvision_source_discontinuities_total", "Jumps of the timeline.", |path| {
        of(path, |s| s.discontinuities)
    }),
    counter("gtvision_source_malformed_packets_total", "Packets that made no sense.", |path| {
        of(path, |s| s.malformed_packets)
    }),
    counter("gtvision_source_oversized_units_total", "Access units over the size limit.", |path| {
        of(path, |s| s.oversized_units)
    }),
    counter("gtvision_source_transcode_errors_total", "Audio frames that could not be transcoded.", |path| {
        of(path, |s| s.transcode_errors)
    }),
    gauge(
        "gtvision_source_jitter_seconds",
        "How unevenly RTP packets come (RFC 3550 s6.4.1), of the track that does worst.",
        |path| path.source.as_ref()?.jitter_seconds.map(Number::Real),
    ),
    gauge("gtvision_source_clock_offset_seconds", "The camera's clock minus the server's.", |path| {
        path.source.as_ref()?.clock_offset_seconds.map(Number::Real)
    }),
];
