//! Scenario: what one load is, read from a file of `benches/scenarios`.
//!
//! Belongs here: the fields, their limits, and that a file makes sense. Does not: doing it (-> round).
//! Units are in the names. Unknown keys are errors.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use gtvision_tests::workspace;
use serde::Deserialize;

/// Most cameras of a scenario: what the simulator takes connections for, with room for a reader beside.
const CAMERAS_MAX: usize = 1000;

/// One load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The file's name without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    /// One line for `--list`.
    pub(crate) about: String,
    /// How many cameras are configured.
    pub(crate) cameras: usize,
    /// What each of them sends.
    #[serde(default)]
    pub(crate) clip: ClipSpec,
    /// How a camera writes a picture.
    #[serde(default)]
    pub(crate) pacing: Pacing,
    /// How the server pulls.
    #[serde(default)]
    pub(crate) transport: Transport,
    /// When parts are built.
    pub(crate) hls: Hls,
    /// Cameras are connected always, or while somebody watches.
    #[serde(default)]
    pub(crate) source: Source,
    /// Whether everything is recorded.
    #[serde(default)]
    pub(crate) record: Record,
    /// How long a recorded file gets; the server's own default where it is left out.
    pub(crate) segment_s: Option<u64>,
    /// Who watches.
    #[serde(default)]
    pub(crate) viewers: Viewers,
    /// From all being there to the window: rings and playlists fill.
    pub(crate) warm_up_s: u64,
    /// How long is measured.
    pub(crate) window_s: u64,
    /// Requests of `/v3/paths/list` a second meanwhile; 0 for none.
    #[serde(default)]
    pub(crate) api_polls_per_s: u32,
    /// Which bytes CPU seconds are divided by.
    pub(crate) per_gb_of: Traffic,
    /// Floors that run beside.
    #[serde(default)]
    pub(crate) floors: Vec<Floor>,
    /// What makes the program fail.
    #[serde(default)]
    pub(crate) verdict: Verdict,
}

/// The clip that all cameras play.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClipSpec {
    /// `h264` or `h265`.
    pub(crate) codec: String,
    /// `WIDTHxHEIGHT`.
    pub(crate) size: String,
    /// Frames per second.
    pub(crate) fps: u32,
    /// Frames from one random access point to the next.
    pub(crate) gop: u32,
    /// Of the picture.
    pub(crate) bitrate_bps: u32,
    /// `none`, `aac`, `opus`.
    pub(crate) audio: String,
    /// Length before it repeats. Longer than any delay and any pause that is to be told from a repeat.
    pub(crate) seconds: u32,
}

impl Default for ClipSpec {
    fn default() -> Self {
        Self {
            codec: "h264".to_owned(),
            size: "1920x1080".to_owned(),
            fps: 25,
            gop: 50,
            bitrate_bps: 4_000_000,
            audio: "none".to_owned(),
            seconds: 20,
        }
    }
}

/// As `camera-sim --pacing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pacing {
    /// A picture in one write.
    #[default]
    Frame,
    /// Packet by packet, spread over the time to the next picture.
    Packet,
}

/// As MediaMTX's `rtspTransport`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Transport {
    /// RTP interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// RTP over UDP.
    Udp,
}

/// When parts are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Hls {
    /// `hlsAlwaysRemux: yes`
    Always,
    /// While somebody watches.
    OnDemand,
    /// `hls: no`
    Off,
}

/// When cameras are connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// From the start.
    #[default]
    Always,
    /// `sourceOnDemand: yes`
    OnDemand,
}

/// Recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    /// Nothing.
    #[default]
    Off,
    /// Every camera, as fMP4.
    All,
    /// The same, and each file that is closed is copied to a bucket: by ours; a peer records only.
    Bucket,
}

/// Whose bytes are counted for CPU seconds per GB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Traffic {
    /// What the cameras send.
    Ingest,
    /// What the viewers receive.
    Egress,
}

/// The least that a job can cost (-> floor); names as in `load floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Floor {
    /// Reads all cameras.
    BareReader,
    /// Reads all cameras into files.
    BareWriter,
    /// Sends a file to as many connections as there are LL-HLS viewers.
    Sendfile,
    /// Serves parts to as many clients as there are LL-HLS viewers.
    Nginx,
    /// Sends encrypted packets to as many sockets as there are WHEP viewers.
    GsoGcm,
}

impl Floor {
    /// Its name on the command line, in tables and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BareReader => "bare-reader",
            Self::BareWriter => "bare-writer",
            Self::Sendfile => "sendfile",
            Self::Nginx => "nginx",
            Self::GsoGcm => "gso-gcm",
        }
    }
}

/// What makes the program end with a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Nothing: it measures.
    #[default]
    None,
    /// A lost frame, or a figure that could not be taken.
    Strict,
}

/// Viewers by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Viewers {
    /// LL-HLS players.
    pub(crate) llhls: Crowd,
    /// WHEP players.
    pub(crate) whep: Crowd,
    /// RTSP players over TCP.
    pub(crate) rtsp: Crowd,
}

/// Viewers of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Crowd {
    /// How many.
    pub(crate) count: usize,
    /// Over how many cameras, in turn from the first.
    pub(crate) cameras: usize,
}

impl Crowd {
    /// The camera of each viewer, numbers from 1.
    pub(crate) fn cameras(self) -> impl Iterator<Item = usize> {
        (0..self.count).map(move |viewer| viewer % self.cameras.max(1) + 1)
    }
}

impl Viewers {
    /// All kinds.
    pub(crate) fn total(&self) -> usize {
        self.llhls.count + self.whep.count + self.rtsp.count
    }

    /// Another number of viewers, of each kind that there are any of.
    fn set_count(&mut self, count: usize) {
        for crowd in [&mut self.llhls, &mut self.whep, &mut self.rtsp] {
            if crowd.count > 0 {
                crowd.count = count;
            }
        }
    }
}

impl Scenario {
    fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut scenario: Self = serde_saphyr::from_str(text)?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    /// That it makes sense; again after a number was changed from the command line.
    ///
    /// # Errors
    /// What does not.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let cameras = self.cameras;
        ensure!((1..=CAMERAS_MAX).contains(&cameras), "cameras: {cameras} is not in 1..={CAMERAS_MAX}");
        ensure!(self.window_s > 0, "window_s: 0");
        ensure!(self.segment_s != Some(0), "segment_s: 0");
        for (kind, crowd) in
            [("llhls", self.viewers.llhls), ("whep", self.viewers.whep), ("rtsp", self.viewers.rtsp)]
        {
            let fits = crowd.count == 0 || (1..=cameras).contains(&crowd.cameras);
            ensure!(fits, "viewers.{kind}.cameras: {} of {cameras} cameras", crowd.cameras);
        }
        ensure!(self.hls != Hls::Off || self.viewers.llhls.count == 0, "viewers.llhls without hls");
        ensure!(
            self.per_gb_of == Traffic::Ingest || self.viewers.total() > 0,
            "per_gb_of: egress without viewers"
        );
        ensure!(self.source == Source::Always || self.hls != Hls::Always, "hls: always wants source: always");
        Ok(())
    }

    /// The same with other numbers of cameras and of viewers, who spread over no more cameras than there are.
    pub(crate) fn sized(&self, cameras: usize, viewers: Option<usize>) -> Self {
        let mut scenario = self.clone();
        scenario.cameras = cameras;
        if let Some(count) = viewers {
            scenario.viewers.set_count(count);
        }
        let viewers = &mut scenario.viewers;
        for crowd in [&mut viewers.llhls, &mut viewers.whep, &mut viewers.rtsp] {
            crowd.cameras = crowd.cameras.min(cameras);
        }
        scenario
    }
}

fn directory() -> PathBuf {
    workspace::root().join("benches/scenarios")
}

/// A scenario by name.
///
/// # Errors
/// When there is no such file, or it makes no sense.
pub(crate) fn load(name: &str) -> anyhow::Result<Scenario> {
    read(&directory().join(name).with_extension("yml"))
}

/// All scenarios, by name.
///
/// # Errors
/// The first file that can't be read.
pub(crate) fn all() -> anyhow::Result<Vec<Scenario>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory())?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> anyhow::Result<Scenario> {
    let name = file.file_stem().and_then(|name| name.to_str()).context("a scenario's file name")?;
    let text = std::fs::read_to_string(file).with_context(|| format!("no scenario {name}; see --list"))?;
    Scenario::parse(name, &text).with_context(|| format!("scenario {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "about: x\ncameras: 4\nhls: always\nwarm_up_s: 1\nwindow_s: 2\nper_gb_of: ingest\n";

    #[test]
    fn every_scenario_file_is_read() {
        let names: Vec<String> = all().unwrap().into_iter().map(|scenario| scenario.name).collect();
        for due in ["ingest-frame", "ingest-packet", "smoke"] {
            assert!(names.iter().any(|name| name == due), "{due} is not in {names:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        for (change, complaint) in [
            ("colour: red\n", "colour"),
            ("viewers: { llhls: { count: 3, cameras: 9 } }\n", "viewers.llhls.cameras"),
            ("viewers: { whep: { count: 3, cameras: 0 } }\n", "viewers.whep.cameras"),
            ("source: on-demand\n", "hls: always"),
        ] {
            let error = Scenario::parse("x", &format!("{TEXT}{change}")).unwrap_err();
            assert!(format!("{error:#}").contains(complaint), "{change}: {error:#}");
        }
    }

    #[test]
    fn viewers_are_spread_over_their_cameras_in_turn() {
        let crowd = Crowd { count: 5, cameras: 2 };
        assert_eq!(crowd.cameras().collect::<Vec<_>>(), [1, 2, 1, 2, 1]);
        let text = format!("{TEXT}viewers: {{ llhls: {{ count: 3, cameras: 3 }} }}\n");
        let small = Scenario::parse("x", &text).unwrap().sized(2, Some(5));
        assert_eq!((small.cameras, small.viewers.llhls), (2, Crowd { count: 5, cameras: 2 }));
        assert_eq!(small.viewers.total(), 5, "a kind without viewers stays so");
        small.check().unwrap();
    }
}
