//! Archive: what is asked of a week of recordings is answered in milliseconds.

use std::time::{Duration, Instant};

use anyhow::ensure;
use gtvision_tests::postgres::Postgres;
use gtvision_tests::{Server, http, latency, machine, peers};
use jiff::{SignedDuration, Timestamp};

/// Of `./test`; a path has as many files as in the long run, so what is asked of one path costs the same.
const CAMERAS: u32 = 25;
/// The same on PostgreSQL, whose triggers take longer to fill it.
const CAMERAS_POSTGRES: u32 = 5;
/// Of a long run: 2.5 million rows.
const CAMERAS_LONG: u32 = 250;
/// Requests of each kind, of one camera after the other.
const ASKED: u32 = 40;
/// The most that a query may take.
const BAR_MS: f64 = 20.0;

/// Half of the answers come within this; the answers have a status of 2xx and `expected` in them.
async fn median_ms(url: impl Fn(u32) -> String, expected: &str) -> anyhow::Result<f64> {
    let mut took_ms = Vec::new();
    for number in 0..ASKED {
        let asked = Instant::now();
        let answer = http::get(&url(number)).await?.ok()?;
        took_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.text().contains(expected), "{}: {:.300}", url(number), answer.text());
    }
    took_ms.sort_by(f64::total_cmp);
    Ok(took_ms[took_ms.len() / 2])
}

fn cameras(usual: u32) -> u32 {
    if std::env::var_os("GTV_LONG").is_some() { CAMERAS_LONG } else { usual }
}

#[tokio::test]
async fn a_week_of_all_cameras_is_listed_in_milliseconds() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("catalogue.db");
    let config = format!("playback: yes\ndatabase: sqlite:{}\n", file.display());
    // It makes the catalogue; an empty one.
    drop(Server::start(&config).await?);
    let cameras = cameras(CAMERAS);
    let args = [&*file.to_string_lossy(), &cameras.to_string()];
    let filled = peers::script("fill_catalogue.py", &args, Duration::from_secs(900)).await?;
    ensure!(filled["rows"] == cameras * (7 * 24 * 60 - 6), "{filled}");
    measure(&Server::start(&config).await?, cameras, "archive").await
}

#[tokio::test]
async fn a_week_of_all_cameras_is_listed_in_milliseconds_from_postgresql() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let database = Postgres::start().await?;
    let config = format!("playback: yes\ndatabase: {}\n", database.url());
    drop(Server::start(&config).await?);
    let cameras = cameras(CAMERAS_POSTGRES);
    database.script("fill_postgres.sql", &[&format!("cameras={cameras}")]).await?;
    measure(&Server::start(&config).await?, cameras, "archive on PostgreSQL").await
}

/// Asks what pages ask.
async fn measure(server: &Server, cameras: u32, name: &str) -> anyhow::Result<()> {
    let day = |ago: i64| Timestamp::now() - SignedDuration::from_hours(24 * ago);
    let camera = |number: u32| number % cameras + 1;
    let bar = |what: &str, median: f64, bar: f64| latency::report(&format!("{name}/{what}"), median, bar);

    let list = median_ms(|n| server.playback(&format!("list?path=cam_{}", camera(n))), "86340").await?;
    bar("list of a week", list, BAR_MS)?;
    let (from, until) = (day(3), day(2));
    let timeline = |n| server.playback(&format!("timeline?path=cam_{}&start={from}&end={until}", camera(n)));
    bar("timeline of a day", median_ms(timeline, "ranges").await?, BAR_MS)?;
    // Not one query: the text lists some thousand segments.
    let playlist = |n| format!("{}?start={from}&end={until}", server.hls(&format!("cam_{}", camera(n))));
    bar("playlist of a day", median_ms(playlist, "#EXT-X").await?, 5.0 * BAR_MS)?;
    let figures =
        median_ms(|_| format!("http://127.0.0.1:{}/v1/storage", server.ports.api), "bytesPerDay").await?;
    bar("figures of all paths", figures, BAR_MS)
}
