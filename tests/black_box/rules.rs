//! Rules: our LL-HLS held against its standard, rule by rule, by a viewer that keeps to
//! them (`llhls`), and by a parser that was not written here.

use std::time::Duration;

use anyhow::Context as _;
use gtvision_tests::llhls::{self, Run, rules};
use gtvision_tests::{Server, Simulator, clips, latency, machine, peers, server};

/// Several segments, several GOPs, and time for parts to leave the playlist.
const WATCHED: Duration = Duration::from_secs(14);

#[tokio::test]
async fn a_live_playlist_keeps_to_every_rule_of_the_standard() -> anyhow::Result<()> {
    let _machine = machine::alone().await;
    let clip = clips::Clip {
        audio: "aac",
        ..clips::USUAL
    }
    .file()
    .await?;
    let simulator = Simulator::start(&[("cam_1", &clip)]).await?;
    let server = Server::start(&server::pull(&[("cam_1", simulator.url("cam_1"))])).await?;
    server.wait_online("cam_1").await?;
    let run = llhls::follow(&server.hls("cam_1"), WATCHED).await?;

    let mut broken = Vec::new();
    let mut note = |rule: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            broken.push(format!("{rule}: {error:#}"));
        }
    };
    for rendition in &run.renditions {
        // correctness: H1
        note("H1", rules::h1_hold_backs(rendition));
        // correctness: H2
        note("H2", rules::h2_part_durations(rendition));
        // correctness: H3
        note(
            "H3",
            rules::h3_parts_in_time(rendition)
                .and_then(|worst_ms| latency::note("longest wait for a part, ms", &worst_ms)),
        );
        // correctness: H4
        note("H4", rules::h4_segments_are_their_parts(rendition));
        // correctness: H5
        note("H5", rules::h5_tags_before_parts(rendition));
        // correctness: H6
        note("H6", rules::h6_reloads_wait(rendition));
        // correctness: H7
        note("H6, H7", rules::h6_h7_bad_reloads(&rendition.url).await);
        // correctness: H8
        note("H8", rules::h8_whole_playlists(rendition));
        // correctness: H9
        note("H9", rules::h9_delta_updates(&rendition.url).await);
        // correctness: H10
        note("H10", rules::h10_hints(rendition));
        // correctness: H11
        note("H11", rules::h11_old_parts_leave(rendition));
        note("H11", rules::h11_old_parts_can_be_had(rendition).await);
        // correctness: H13
        note("H13", rules::h13_target_duration(rendition));
        // correctness: H14
        note("H14", rules::h14_sequences(rendition));
        // correctness: H15
        note("H15", rules::h15_headers(rendition));
        // correctness: F1, F2
        note("F1, F2", rules::f1_f2_samples(rendition));
    }
    // correctness: H12
    note("H12", rules::h12_rendition_reports(&run));
    // correctness: F3
    note("F3", rules::f3_codecs(&run));
    anyhow::ensure!(broken.is_empty(), "broken rules:\n{}", broken.join("\n"));
    strict_parser_accepts(&run).await
}

/// npm hls-parser in strict mode over every playlist of the run.
async fn strict_parser_accepts(run: &Run) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (number, text) in run.playlist_texts().enumerate() {
        std::fs::write(dir.path().join(format!("{number:05}.m3u8")), text)?;
    }
    let dir = dir.path().to_string_lossy();
    let report = peers::script(
        "hls_validate.mjs",
        &["--dir", &dir],
        Duration::from_secs(30),
    )
    .await?;
    let errors = report["errors"].as_array().context("report")?;
    anyhow::ensure!(errors.is_empty(), "hls-parser: {errors:#?}");
    anyhow::ensure!(report["files"].as_u64() > Some(10), "{report}");
    Ok(())
}
