//! Round: one subject under one scenario, from its start to a row of figures.
//!
//! ```text
//!  simulator ─► subject starts ─► all online ─► viewers enter ─► first pictures ─► warm-up
//!      ─► [ window: processor time, pictures, delays ] ─► memory, audit ─► end
//! ```
//!
//! Units: MB and GB are powers of ten. What each figure means: `benches/README.md`.

mod floor;
mod row;
mod window;

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

pub(crate) use self::row::Row;
use self::window::{Spent, Window};
use crate::audit;
use crate::bucket::Bucket;
use crate::clip::Clip;
use crate::file_watch::{FileWatch, Written};
use crate::poller::Poller;
use crate::scenario::{Hls, Record, Scenario, Source};
use crate::server::Server;
use crate::simulator::Simulator;
use crate::stats::{Percentiles, number};
use crate::subject::{OURS, Peer, Subject};
use crate::usage::Memory;
use crate::viewer::{Arrival, Audience, Kind, Seen, Viewer};

/// From the first viewer's entry until all have a picture; who has none then is counted as failed.
const FIRST_PICTURES_LIMIT: Duration = Duration::from_secs(40);
/// A viewer without a picture for so long lacks all pictures since.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Cameras that send less of what is due are worth a line.
const PACE_MIN: f64 = 0.98;
/// Pictures before the window whose sending must be known, for those under way at its beginning.
const SENT_BEFORE_S: u64 = 10;

/// Runs one subject once.
///
/// # Errors
/// When something does not start, or a figure can't be taken.
pub(crate) async fn run(
    scenario: &Scenario,
    subject: &Subject,
    clip: &Clip,
    round: u32,
) -> anyhow::Result<Row> {
    let simulator = Simulator::start(scenario, clip).await?;
    let mut row = Row::new(scenario, subject, round);
    let under_test = UnderTest { scenario, clip, simulator: &simulator };
    match subject {
        Subject::Server(peer) => under_test.serve(peer, &mut row).await?,
        Subject::Floor(floor) => under_test.stand_on(*floor, &mut row).await?,
    }
    Ok(row)
}

struct UnderTest<'a> {
    scenario: &'a Scenario,
    clip: &'a Clip,
    simulator: &'a Simulator,
}

impl UnderTest<'_> {
    async fn serve(&self, peer: &Peer, row: &mut Row) -> anyhow::Result<()> {
        let scenario = self.scenario;
        let bucket = match scenario.record {
            Record::Bucket => Some(Bucket::start().await?),
            Record::Off | Record::All => None,
        };
        let mut server = Server::start(peer, scenario, self.simulator, bucket.as_ref()).await?;
        if scenario.source == Source::Always {
            row.start_s = Some(server.wait_online(scenario.cameras).await?.as_secs_f64());
        }
        let audience = Audience::enter(&scenario.viewers, &server, &self.clip.index).await;
        self.wait_first_pictures(&audience).await?;
        tokio::time::sleep(Duration::from_secs(scenario.warm_up_s)).await;

        let polls = scenario.api_polls_per_s;
        let poller = (polls > 0).then(|| Poller::start(server.api(), polls));
        let recorded = (scenario.record != Record::Off)
            .then(|| FileWatch::start(&server.recordings(), scenario.cameras, &self.clip.index));
        for viewer in &audience.viewers {
            drop(viewer.take());
        }
        let window = Window::open(server.id(), self.simulator).await?;
        tokio::time::sleep(Duration::from_secs(scenario.window_s)).await;
        let spent = window.close(self.simulator).await?;
        let seen: Vec<(&Viewer, Seen)> =
            audience.viewers.iter().map(|viewer| (viewer.as_ref(), viewer.take())).collect();
        if let Some(poller) = &poller {
            row.take_api(poller.take());
        }
        if let Some(recorded) = &recorded {
            row.file_delay_ms = self.file_delays(&recorded.take()).await?;
        }
        row.take_memory(Memory::of(server.id())?);
        self.take_spent(&spent, &seen, row);
        self.take_delays(&seen, row).await?;
        row.cameras_offline = scenario.cameras.saturating_sub(server.online().await?);
        if scenario.source == Source::OnDemand {
            row.cameras_offline = 0;
        }
        drop((poller, recorded, seen));
        drop(audience);
        if let Some(bucket) = &bucket {
            let files = bucket.files()?;
            crate::say(&format!("  {files} files in the bucket"));
            ensure!(files > 0 || peer.name != OURS, "nothing was uploaded:\n{}", server.log());
        }
        self.audit(&mut server, row).await
    }

    async fn wait_first_pictures(&self, audience: &Audience) -> anyhow::Result<()> {
        let begun = Instant::now();
        let without = || audience.viewers.iter().filter(|viewer| viewer.first_picture().is_none());
        while without().next().is_some() && begun.elapsed() < FIRST_PICTURES_LIMIT {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let Some(first) = without().next() else { return Ok(()) };
        let count = without().count();
        if count == audience.viewers.len() {
            bail!("no viewer has a picture; {:?}: {}", first.kind, first.last_failure().unwrap_or_default());
        }
        crate::say(&format!("{count} viewers have no picture; {:?}: {:?}", first.kind, first.last_failure()));
        Ok(())
    }

    /// Processor time, pictures and bytes.
    fn take_spent(&self, spent: &Spent, seen: &[(&Viewer, Seen)], row: &mut Row) {
        let egress: u64 = seen.iter().map(|(_, seen)| seen.bytes).sum();
        row.take_spent(spent, self.clip.bytes_of(spent.pictures), egress, self.scenario.per_gb_of);
        self.take_pace(spent, row);
        let mut counts = crate::frames::Counts::default();
        let window = Duration::from_secs(self.scenario.window_s);
        for (viewer, seen) in seen {
            counts.add(seen.counts);
            row.viewer_failures += seen.failures;
            // Who gets nothing has no gap between pictures either.
            let silent = viewer.silent_for().unwrap_or(window).min(window);
            if silent > SILENCE_MAX {
                row.viewers_silent += 1;
                counts.lost += silent.as_secs() * u64::from(self.clip.fps);
            }
        }
        row.take_viewed(counts, seen.iter().map(|(viewer, _)| *viewer));
    }

    fn take_pace(&self, spent: &Spent, row: &mut Row) {
        let due_per_s = number(self.scenario.cameras) * f64::from(self.clip.fps);
        row.take_pace(due_per_s * spent.wall.as_secs_f64());
        if (0.0..PACE_MIN).contains(&row.simulator_pace) && row.frames_in > 0 {
            crate::say(&format!(
                "  the cameras sent {:.3} of what was due: the machine is full",
                row.simulator_pace
            ));
        }
    }

    /// From the sending of a picture to its arrival.
    async fn take_delays(&self, seen: &[(&Viewer, Seen)], row: &mut Row) -> anyhow::Result<()> {
        let cameras: BTreeSet<usize> = seen.iter().map(|(viewer, _)| viewer.camera).collect();
        let mut by_camera = HashMap::new();
        for camera in cameras {
            by_camera.insert(camera, self.sendings(camera).await?);
        }
        let mut delays: HashMap<Kind, Vec<f64>> = HashMap::new();
        for (viewer, seen) in seen {
            let Some(sent) = by_camera.get(&viewer.camera) else { continue };
            let of_kind = delays.entry(viewer.kind).or_default();
            of_kind.extend(seen.arrivals.iter().filter_map(|arrival| delay_ms(arrival, sent)));
        }
        let mut of = |kind| delays.remove(&kind).and_then(Percentiles::of);
        (row.part_delay_ms, row.whep_delay_ms, row.rtsp_delay_ms) =
            (of(Kind::Llhls), of(Kind::Whep), of(Kind::Rtsp));
        Ok(())
    }

    /// From the sending of a picture until it stood in its file. Those that were there when the watch began are left out by their
    /// number: a file's beginning is seen at once.
    async fn file_delays(&self, written: &[Written]) -> anyhow::Result<Option<Percentiles>> {
        let cameras: BTreeSet<usize> = written.iter().map(|written| written.camera).collect();
        let mut delays = Vec::new();
        for camera in cameras {
            let sent = self.sendings(camera).await?;
            let mut of_camera = written.iter().filter(|written| written.camera == camera).peekable();
            let Some(first) = of_camera.peek().map(|written| written.arrival.at_unix_us) else { continue };
            let fresh = of_camera.filter(|written| written.arrival.at_unix_us > first);
            delays.extend(fresh.filter_map(|written| delay_ms(&written.arrival, &sent)));
        }
        Ok(Percentiles::of(delays))
    }

    /// When each picture of the clip left a camera lately.
    async fn sendings(&self, camera: usize) -> anyhow::Result<Sendings> {
        let last = (self.scenario.window_s + SENT_BEFORE_S) * u64::from(self.clip.fps);
        let mut sent = Sendings::new();
        for picture in self.simulator.sent(camera, last).await? {
            sent.entry(picture.frame).or_default().push(picture.sent_unix_us);
        }
        Ok(sent)
    }

    async fn audit(&self, server: &mut Server, row: &mut Row) -> anyhow::Result<()> {
        let scenario = self.scenario;
        if scenario.hls == Hls::Always {
            row.take_audit(audit::live(server, scenario.cameras, &self.clip.index).await?);
        }
        if let (lines @ 1.., last) = server.complaints() {
            crate::say(&format!("  {lines} lines of log, the last: {last}"));
        }
        server.end();
        if scenario.record != Record::Off {
            let found = audit::recorded(&server.recordings(), scenario.cameras, &self.clip.index)?;
            row.take_recorded(found);
        }
        Ok(())
    }
}

/// Microseconds since 1970, by the picture's rank in the clip.
type Sendings = HashMap<u32, Vec<u64>>;

/// From the latest sending of the picture before its arrival, milliseconds.
fn delay_ms(arrival: &Arrival, sent: &Sendings) -> Option<f64> {
    let times = sent.get(&arrival.frame)?;
    let before = times.iter().filter_map(|sent| arrival.at_unix_us.checked_sub(*sent)).min()?;
    Some(Duration::from_micros(before).as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_counts_from_the_pictures_latest_sending() {
        let sent = Sendings::from([(3, vec![1_000_000, 21_000_000])]);
        let delay = |frame, at_unix_us| delay_ms(&Arrival { frame, at_unix_us }, &sent);
        assert_eq!(delay(3, 21_050_000), Some(50.0));
        assert_eq!(delay(3, 1_200_000), Some(200.0));
        assert_eq!((delay(3, 900_000), delay(4, 21_050_000)), (None, None));
    }
}
