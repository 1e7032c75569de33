//! Row: the figures of one subject in one round, as they stand in the JSON.
//!
//! A figure that does not apply is `null`. Units are in the names; `benches/README.md` defines each.

use std::time::Duration;

use serde::Serialize;

use super::window::Spent;
use crate::audit::Findings;
use crate::frames::Counts;
use crate::machine::Provenance;
use crate::poller::Answers;
use crate::scenario::{Scenario, Traffic};
use crate::stats::{Percentiles, large, number};
use crate::subject::Subject;
use crate::usage::Memory;
use crate::viewer::{Kind, Viewer};

const MB: f64 = 1e6;
const GB: f64 = 1e9;

/// One row.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) server: String,
    pub(crate) scenario: String,
    pub(crate) round: u32,
    pub(crate) cameras: usize,
    pub(crate) viewers: usize,
    pub(crate) window_s: f64,
    pub(crate) cpu_s_per_s: f64,
    pub(crate) cpu_user_s_per_s: f64,
    pub(crate) cpu_system_s_per_s: f64,
    pub(crate) cpu_s_per_gb: Option<f64>,
    pub(crate) rss_mb: f64,
    pub(crate) rss_mb_per_camera: f64,
    pub(crate) rss_peak_mb: f64,
    pub(crate) pss_mb: f64,
    pub(crate) pss_mb_per_camera: f64,
    pub(crate) ingest_gb_per_s: f64,
    pub(crate) egress_gb_per_s: f64,
    /// Pictures that cameras sent in the window.
    pub(crate) frames_in: u64,
    /// Pictures that viewers got in the window.
    pub(crate) frames_out: u64,
    /// Missing between pictures that were seen, by viewers in the window and by the audits after it.
    pub(crate) frames_lost: Option<u64>,
    pub(crate) frames_repeated: u64,
    pub(crate) frames_damaged: u64,
    /// Pictures that were looked at after the window in the playlists of all cameras.
    pub(crate) frames_audited: u64,
    pub(crate) cameras_audited: usize,
    /// Pictures that were looked at in recordings.
    pub(crate) frames_recorded: u64,
    pub(crate) cameras_offline: usize,
    pub(crate) viewer_failures: u64,
    pub(crate) viewers_silent: u64,
    pub(crate) start_s: Option<f64>,
    pub(crate) part_delay_ms: Option<Percentiles>,
    pub(crate) whep_delay_ms: Option<Percentiles>,
    pub(crate) rtsp_delay_ms: Option<Percentiles>,
    /// From the sending of a picture until it can be read from its recording.
    pub(crate) file_delay_ms: Option<Percentiles>,
    pub(crate) write_calls_per_s: f64,
    pub(crate) llhls_first_picture_ms: Option<Percentiles>,
    pub(crate) whep_first_picture_ms: Option<Percentiles>,
    pub(crate) rtsp_first_picture_ms: Option<Percentiles>,
    pub(crate) api_ms: Option<Percentiles>,
    pub(crate) api_failed: u64,
    /// Pictures sent by those due: below 1 the cameras themselves were late.
    pub(crate) simulator_pace: f64,
    pub(crate) simulator_cpu_s_per_s: f64,
    pub(crate) load_cpu_s_per_s: f64,
    /// Processors of the machine that had nothing to do, 0 to as many as there are.
    pub(crate) machine_idle_cores: f64,
    #[serde(flatten)]
    pub(crate) provenance: Provenance,
}

impl Row {
    pub(super) fn new(scenario: &Scenario, subject: &Subject, round: u32) -> Self {
        Self {
            server: subject.name().to_owned(),
            scenario: scenario.name.clone(),
            round,
            cameras: scenario.cameras,
            viewers: scenario.viewers.total(),
            ..Self::default()
        }
    }

    pub(super) fn take_spent(&mut self, spent: &Spent, ingest_bytes: f64, egress_bytes: u64, per: Traffic) {
        let wall_s = spent.wall.as_secs_f64();
        let egress_bytes = large(egress_bytes);
        let bytes = match per {
            Traffic::Ingest => ingest_bytes,
            Traffic::Egress => egress_bytes,
        };
        self.window_s = wall_s;
        self.cpu_s_per_s = spent.cpu.total_s() / wall_s;
        self.cpu_user_s_per_s = spent.cpu.user.as_secs_f64() / wall_s;
        self.cpu_system_s_per_s = spent.cpu.system.as_secs_f64() / wall_s;
        self.cpu_s_per_gb = (bytes > 0.0).then(|| spent.cpu.total_s() / (bytes / GB));
        self.ingest_gb_per_s = ingest_bytes / GB / wall_s;
        self.egress_gb_per_s = egress_bytes / GB / wall_s;
        self.simulator_cpu_s_per_s = spent.simulator.total_s() / wall_s;
        self.load_cpu_s_per_s = spent.load.total_s() / wall_s;
        self.machine_idle_cores = spent.idle.as_secs_f64() / wall_s;
        self.frames_in = spent.pictures;
        self.write_calls_per_s = large(spent.write_calls) / wall_s;
    }

    /// What a floor sent at a steady rate, when that is what its time is divided by.
    pub(super) fn take_egress_rate(&mut self, bytes: u64, secs: f64) {
        let gb_per_s = large(bytes) / GB / secs;
        self.egress_gb_per_s = gb_per_s;
        self.cpu_s_per_gb = (gb_per_s > 0.0).then(|| self.cpu_s_per_s / gb_per_s);
    }

    pub(super) fn take_memory(&mut self, memory: Memory) {
        let cameras = number(self.cameras);
        self.rss_mb = large(memory.rss_bytes) / MB;
        self.rss_peak_mb = large(memory.rss_peak_bytes) / MB;
        self.pss_mb = large(memory.pss_bytes) / MB;
        self.rss_mb_per_camera = self.rss_mb / cameras;
        self.pss_mb_per_camera = self.pss_mb / cameras;
    }

    /// `due` pictures should have left in the window.
    pub(super) fn take_pace(&mut self, due: f64) {
        self.simulator_pace = large(self.frames_in) / due;
    }

    pub(super) fn take_viewed<'a>(
        &mut self,
        counts: Counts,
        viewers: impl Iterator<Item = &'a Viewer> + Clone,
    ) {
        self.frames_out = counts.frames;
        if viewers.clone().next().is_some() {
            self.take_counts(counts);
        }
        let firsts = |kind| {
            let of_kind = viewers.clone().filter(|viewer| viewer.kind == kind);
            let took = of_kind.filter_map(Viewer::first_picture);
            Percentiles::of(took.map(millis).collect())
        };
        self.llhls_first_picture_ms = firsts(Kind::Llhls);
        self.whep_first_picture_ms = firsts(Kind::Whep);
        self.rtsp_first_picture_ms = firsts(Kind::Rtsp);
    }

    fn take_counts(&mut self, counts: Counts) {
        *self.frames_lost.get_or_insert(0) += counts.lost;
        self.frames_repeated += counts.repeated;
        self.frames_damaged += counts.damaged;
    }

    pub(super) fn take_audit(&mut self, found: Findings) {
        self.take_counts(found.counts);
        self.frames_audited = found.counts.frames;
        self.cameras_audited = found.cameras;
    }

    pub(super) fn take_recorded(&mut self, found: Findings) {
        self.take_counts(found.counts);
        self.frames_recorded = found.counts.frames;
    }

    pub(super) fn take_api(&mut self, answers: Answers) {
        self.api_ms = Percentiles::of(answers.took_ms);
        self.api_failed = answers.failed;
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
