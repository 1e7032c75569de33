//! Report: rows to a table for people, and the verdict of a strict scenario.

use std::collections::BTreeMap;

use anyhow::ensure;

use crate::round::Row;
use crate::scenario::{Record, Scenario};
use crate::stats::{self, Percentiles, Spread};
use crate::subject::OURS;

/// One line about one row, while rounds run.
pub(crate) fn line(row: &Row) -> String {
    let of = |what: &Option<Percentiles>| match what {
        Some(what) => format!("{:.0}/{:.0} ms", what.p50, what.p99),
        None => "-".to_owned(),
    };
    format!(
        "  cpu {:.3} (user {:.3} system {:.3}), {} CPU-s/GB, rss {:.0} MB, lost {:?} of {}, parts {}, whep {}, api {}, \
         file {}, writes {:.0}/s, start {:.1} s; simulator {:.2} (pace {:.3}), viewers {:.2}, idle {:.2}",
        row.cpu_s_per_s,
        row.cpu_user_s_per_s,
        row.cpu_system_s_per_s,
        row.cpu_s_per_gb.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}")),
        row.rss_mb,
        row.frames_lost,
        row.frames_out + row.frames_audited + row.frames_recorded,
        of(&row.part_delay_ms),
        of(&row.whep_delay_ms),
        of(&row.api_ms),
        of(&row.file_delay_ms),
        row.write_calls_per_s,
        row.start_s.unwrap_or_default(),
        row.simulator_cpu_s_per_s,
        row.simulator_pace,
        row.load_cpu_s_per_s,
        row.machine_idle_cores,
    )
}

type Figure = (&'static str, fn(&Row) -> Option<f64>);

/// The columns of the table.
const FIGURES: [Figure; 11] = [
    ("cores", |row| Some(row.cpu_s_per_s)),
    ("CPU-s/GB", |row| row.cpu_s_per_gb),
    ("RSS MB", |row| Some(row.rss_mb)),
    ("MB/camera", |row| Some(row.rss_mb_per_camera)),
    ("lost", |row| row.frames_lost.map(stats::large)),
    ("part p50 ms", |row| row.part_delay_ms.map(|delay| delay.p50)),
    ("part p99 ms", |row| row.part_delay_ms.map(|delay| delay.p99)),
    ("file p99 ms", |row| row.file_delay_ms.map(|delay| delay.p99)),
    ("writes/s", |row| Some(row.write_calls_per_s)),
    ("API p99 ms", |row| row.api_ms.map(|took| took.p99)),
    ("start s", |row| row.start_s),
];

/// What ours is held against the others in.
const RATIOS: [Figure; 3] = [FIGURES[0], FIGURES[1], FIGURES[2]];

/// All rows: medians with their spread, ratios of ours to the others, slopes of a sweep.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut sizes: BTreeMap<(usize, usize), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        sizes.entry((row.cameras, row.viewers)).or_default().push(row);
    }
    let mut text = String::new();
    for ((cameras, viewers), rows) in &sizes {
        let name = rows.first().map_or("", |row| row.scenario.as_str());
        let rounds = rows.iter().map(|row| row.round).max().unwrap_or(0);
        text += &format!(
            "\n{name}, {cameras} cameras, {viewers} viewers; {rounds} rounds: median (least..greatest)\n\n"
        );
        text += &figures(rows);
        text += &ratios(rows);
    }
    text += &slopes(rows, "camera", |row| row.cameras);
    text += &slopes(rows, "viewer", |row| row.viewers);
    text
}

fn names<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.server.as_str()) {
            names.push(&row.server);
        }
    }
    names
}

fn figures(rows: &[&Row]) -> String {
    let titles = FIGURES.map(|(title, _)| title).join(" | ");
    let mut text = format!("| | {titles} |\n|{}\n", " --- |".repeat(FIGURES.len() + 1));
    for name in names(rows) {
        let cells = FIGURES.map(|(_, figure)| {
            let of_name = rows.iter().filter(|row| row.server == name);
            Spread::of(of_name.filter_map(|row| figure(row))).map_or_else(|| "-".to_owned(), cell)
        });
        text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    text
}

fn cell(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if (max - min).abs() < f64::EPSILON {
        return short(median);
    }
    format!("{} ({}..{})", short(median), short(min), short(max))
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Ours by each other one, round by round, then the median.
fn ratios(rows: &[&Row]) -> String {
    let ours: Vec<&&Row> = rows.iter().filter(|row| row.server == OURS).collect();
    let mut text = String::new();
    for name in names(rows).into_iter().filter(|name| *name != OURS) {
        let cells = RATIOS.map(|(title, figure)| {
            let pairs = ours.iter().filter_map(|row| {
                let other = rows.iter().find(|other| other.server == name && other.round == row.round)?;
                Some((figure(row)?, figure(other)?))
            });
            let spread = Spread::of(stats::ratios(pairs));
            format!("{title} {}", spread.map_or_else(|| "-".to_owned(), cell))
        });
        text += &format!("\n{OURS} / {name}: {}\n", cells.join(", "));
    }
    text
}

/// What one more of `what` costs, where there is more than one size of it.
fn slopes(rows: &[Row], what: &str, size: fn(&Row) -> usize) -> String {
    let all: Vec<&Row> = rows.iter().collect();
    let mut text = String::new();
    for name in names(&all) {
        let slope = |figure: fn(&Row) -> f64| {
            let of_name = rows.iter().filter(|row| row.server == name);
            let points: Vec<_> = of_name.map(|row| (stats::number(size(row)), figure(row))).collect();
            stats::slope(&points)
        };
        if let (Some(cpu), Some(rss)) = (slope(|row| row.cpu_s_per_s), slope(|row| row.rss_mb)) {
            text +=
                &format!("{name}, one more {what}: {:.3} ms of CPU a second, {rss:.2} MB\n", cpu * 1000.0);
        }
    }
    text
}

/// Fails when our server lost a frame, or a figure is missing that the scenario must give.
///
/// # Errors
/// What is wrong.
pub(crate) fn check_strict(scenario: &Scenario, rows: &[Row]) -> anyhow::Result<()> {
    let ours = rows.iter().filter(|row| row.server == OURS);
    for row in ours {
        ensure!(row.frames_lost == Some(0), "frames lost: {:?}", row.frames_lost);
        ensure!(row.frames_repeated == 0 && row.frames_damaged == 0, "repeated or damaged frames: {row:?}");
        ensure!(row.viewer_failures == 0, "{} viewers were thrown out", row.viewer_failures);
        ensure!(row.cameras_offline == 0, "{} cameras offline", row.cameras_offline);
        ensure!(row.cpu_s_per_s > 0.0 && row.cpu_s_per_gb.is_some(), "no processor time: {row:?}");
        ensure!(row.rss_mb > 1.0 && row.frames_in > 0, "no memory, no pictures: {row:?}");
        let viewers = &scenario.viewers;
        for (kind, crowd, delay, first) in [
            ("llhls", viewers.llhls, &row.part_delay_ms, &row.llhls_first_picture_ms),
            ("whep", viewers.whep, &row.whep_delay_ms, &row.whep_first_picture_ms),
            ("rtsp", viewers.rtsp, &row.rtsp_delay_ms, &row.rtsp_first_picture_ms),
        ] {
            ensure!(crowd.count == 0 || delay.is_some(), "no delay of {kind} viewers");
            let all = first.as_ref().map_or(0, |first| first.count);
            ensure!(all == crowd.count, "{all} of {} {kind} viewers have a picture", crowd.count);
        }
        ensure!(scenario.api_polls_per_s == 0 || row.api_ms.is_some(), "no answer of the API");
        ensure!(scenario.record == Record::Off || row.file_delay_ms.is_some(), "no delay of recordings");
        ensure!(row.api_failed == 0, "{} failures of the API", row.api_failed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: &str, round: u32, cpu_s_per_s: f64) -> Row {
        let (server, scenario) = (server.to_owned(), "x".to_owned());
        Row { server, scenario, round, cpu_s_per_s, cameras: 10, ..Row::default() }
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_then_the_median() {
        let rows = [
            (OURS, 1, 1.0),
            ("peer", 1, 4.0),
            (OURS, 2, 3.0),
            ("peer", 2, 6.0),
            (OURS, 3, 10.0),
            ("peer", 3, 10.0),
        ];
        let text = table(&rows.map(|(server, round, cpu)| row(server, round, cpu)));
        assert!(text.contains("gtvision / peer: cores 0.500 (0.250..1.000)"), "{text}");
        assert!(text.contains("| peer | 6.000 (4.000..10.000) |"), "{text}");
        assert!(!text.contains("one more"), "no sweep, no slope: {text}");
    }

    #[test]
    fn a_strict_scenario_fails_on_one_lost_frame() {
        let mut scenario = crate::scenario::load("smoke").unwrap();
        scenario.viewers = crate::scenario::Viewers::default();
        scenario.api_polls_per_s = 0;
        let good = Row {
            frames_lost: Some(0),
            cpu_s_per_gb: Some(1.0),
            rss_mb: 50.0,
            frames_in: 1,
            ..row(OURS, 1, 0.1)
        };
        check_strict(&scenario, std::slice::from_ref(&good)).unwrap();
        for bad in [
            Row { frames_lost: Some(1), ..good.clone() },
            Row { frames_lost: None, ..good.clone() },
            Row { viewer_failures: 1, ..good.clone() },
            Row { cpu_s_per_gb: None, ..good.clone() },
        ] {
            check_strict(&scenario, &[bad]).unwrap_err();
        }
    }
}
