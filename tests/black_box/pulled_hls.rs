//! Sources over HLS: what ffmpeg cuts and nginx serves, what this server serves itself, and servers that mean no good.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use gtvision_tests::nginx::Nginx;
use gtvision_tests::process::Process;
use gtvision_tests::{Server, bitstream, ffmpeg, machine, ports};

use crate::pulled_rtmp::{answering, hides, wait_back};
use crate::rtmp::{CLIP, hls_shows};

const PATIENCE: Duration = Duration::from_secs(45);

/// ffmpeg cuts a clip without end: MPEG-TS, fMP4, and fMP4 whose sound is apart.
fn cut_live(clip: &Path, folder: &Path) -> anyhow::Result<Process> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(clip);
    let live =
        ["-c", "copy", "-f", "hls", "-hls_time", "2", "-hls_list_size", "6", "-hls_flags", "delete_segments"];
    let fmp4 = ["-hls_segment_type", "fmp4", "-hls_fmp4_init_filename"];
    command
        .args(["-map", "0"])
        .args(live)
        .arg("-hls_segment_filename")
        .arg(file("ts%d.ts"))
        .arg(file("ts.m3u8"));
    command.args(["-map", "0"]).args(live).args(fmp4).arg("init.mp4");
    command.arg("-hls_segment_filename").arg(file("f%d.m4s")).arg(file("fmp4.m3u8"));
    command.args(["-map", "0"]).args(live).args(fmp4).arg("init_%v.mp4");
    command.args([
        "-var_stream_map",
        "v:0,agroup:a a:0,agroup:a,default:yes",
        "-master_pl_name",
        "apart.m3u8",
    ]);
    command.arg("-hls_segment_filename").arg(file("apart_%v_%d.m4s")).arg(file("apart_%v.m3u8"));
    Process::start("ffmpeg", &mut command)
}

/// Sixteen seconds that are over, as ranges of one file.
async fn cut_past(clip: &Path, folder: &Path) -> anyhow::Result<()> {
    let (clip, past) = (clip.display().to_string(), folder.join("past.m3u8").display().to_string());
    let input = ["-v", "error", "-stream_loop", "3", "-i", &clip, "-c", "copy"];
    let output = ["-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_flags", "single_file", &past];
    let cut = ffmpeg::ffmpeg(&[&input[..], &output].concat()).await?;
    ensure!(cut.success, "ffmpeg: {}", cut.stderr);
    Ok(())
}

#[tokio::test]
async fn every_kind_of_segment_is_pulled_and_again_when_the_server_is_back() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let file = CLIP.file().await?;
    let clip = bitstream::of_clip(&file).await?;
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("www");
    std::fs::create_dir(&folder)?;
    cut_past(&file, &folder).await?;
    let _encoder = cut_live(&file, &folder)?;
    let port = ports::free()?;
    let nginx = Nginx::files(port, &folder).await?;
    let paths = ["ts", "fmp4", "apart", "past"];
    let mut config = String::from("paths:\n");
    for path in paths {
        let on_demand = if path == "past" { ", sourceOnDemand: yes" } else { "" };
        config += &format!(
            "  {path}: {{source: 'http://ana:hunter2@127.0.0.1:{port}/{path}.m3u8?t=hunter2'{on_demand}}}\n"
        );
    }
    let server = Server::start(&config).await?;
    for path in ["ts", "fmp4", "apart"] {
        // The encoder begins with the test: a playlist is there once a segment is.
        wait_back(&server, path).await?;
        let state = server.path(path).await?;
        ensure!(state["source"]["type"] == "hlsSource", "{state}");
        ensure!(state["tracks"] == serde_json::json!(["H264", "MPEG-4 Audio"]), "{state}");
    }
    // What this server makes of it is a source too.
    let chained = format!("  chained: {{source: 'http://127.0.0.1:{}/ts/index.m3u8'}}\n", server.ports.hls);
    server.reconfigure(&(config + &chained)).await?;
    tokio::try_join!(
        hls_shows(&server, "ts", &clip),
        hls_shows(&server, "fmp4", &clip),
        hls_shows(&server, "apart", &clip),
        hls_shows(&server, "past", &clip),
    )?;
    wait_back(&server, "chained").await?;
    hls_shows(&server, "chained", &clip).await?;
    nginx.stop()?;
    server.wait_path("ts", "offline", PATIENCE, |path| path["online"] == false).await?;
    let _nginx = Nginx::files(port, &folder).await?;
    wait_back(&server, "ts").await?;
    // correctness: S5
    hides(&server, "hunter2")
}

// correctness: S2
// correctness: S6
#[tokio::test]
async fn hostile_playlists_do_no_harm_and_say_why() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let playlist = |lines: &str| {
        let body = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n{lines}\n");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n#EXTM3U\n".to_vec(), vec![b'#'; 5 << 20]].concat();
    let around = "HTTP/1.1 302 X\r\nLocation: /x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let cases = [
        ("page", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_vec(), "no playlist"),
        ("gone", b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n".to_vec(), "server answered 410"),
        ("secret", playlist("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:1,\na.ts"), "encrypted (AES-128)"),
        ("file", playlist("#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST"), "begins with file:"),
        (
            "itself",
            playlist("#EXTINF:1,\na.ts\n#EXTINF:1,\nb.ts\n#EXTINF:1,\nc.ts"),
            "neither MPEG-TS nor fMP4",
        ),
        ("endless", endless, "more than 4194304 bytes"),
        ("around", around.as_bytes().to_vec(), "redirections"),
        ("noise", (0..=255).collect(), "can't get playlist"),
    ];
    let mut config = String::from("paths:\n");
    for (name, answer, _) in &cases {
        config += &format!(
            "  {name}: {{source: 'http://127.0.0.1:{}/a.m3u8'}}\n",
            answering(answer.clone()).await?
        );
    }
    let server = Server::start(&config).await?;
    for (name, _, expected) in &cases {
        let says =
            |path: &serde_json::Value| path["stateReason"].as_str().is_some_and(|why| why.contains(expected));
        server.wait_path(name, expected, PATIENCE, says).await?;
    }
    Ok(())
}
