//! Matrix: {ffmpeg, GStreamer} x {TCP, UDP, TLS} x formats, published and read. RTMP and WHIP are in modules of their own.
//!
//! Each way to publish takes each format, and each format is read in each way: not each way in by each way out, which
//! meet in the ring.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future;
use gtvision_tests::clips::{Clip, USUAL};
use gtvision_tests::gstreamer::{self, Take};
use gtvision_tests::process::Process;
use gtvision_tests::{Server, ffmpeg, machine};

use crate::rtsp::make_certificate;

/// As in `formats`, so that it is made once.
const CLIP: Clip = Clip { seconds: 10, ..USUAL };

/// A dozen programs start at once, on two cores that others use too.
const PATIENCE: Duration = Duration::from_secs(60);

/// `GStreamer` plays a file once: so often the clip is in it.
const ROUNDS: &str = "11";

/// Pictures that a reader is to get.
const PICTURES_MIN: usize = 20;

/// Packets of sound: ffmpeg puts an eighth of a second of G.711 into one.
const SOUNDS_MIN: usize = 5;

struct Format {
    name: &'static str,
    clip: Clip,
    /// As the API names them.
    tracks: &'static [&'static str],
    /// As ffprobe names them.
    codecs: &'static [&'static str],
    /// What takes them out of RTP in `GStreamer`, by kind of media.
    depayloaders: &'static [(&'static str, &'static str)],
}

const H264: (&str, &str) = ("video", "rtph264depay ! h264parse");

const FORMATS: [Format; 6] = [
    Format { name: "h264", clip: CLIP, tracks: &["H264"], codecs: &["h264"], depayloaders: &[H264] },
    Format {
        name: "b-frames",
        clip: Clip { bframes: 2, ..CLIP },
        tracks: &["H264"],
        codecs: &["h264"],
        depayloaders: &[H264],
    },
    Format {
        name: "h265",
        clip: Clip { codec: "h265", ..CLIP },
        tracks: &["H265"],
        codecs: &["hevc"],
        depayloaders: &[("video", "rtph265depay ! h265parse")],
    },
    Format {
        name: "aac",
        clip: Clip { audio: "aac", ..CLIP },
        tracks: &["H264", "MPEG-4 Audio"],
        codecs: &["h264", "aac"],
        depayloaders: &[H264, ("audio", "rtpmp4gdepay")],
    },
    Format {
        name: "g711",
        clip: Clip { audio: "pcma", ..CLIP },
        tracks: &["H264", "G711"],
        codecs: &["h264", "pcm_alaw"],
        depayloaders: &[H264, ("audio", "rtppcmadepay")],
    },
    Format {
        name: "opus",
        clip: Clip { audio: "opus", ..CLIP },
        tracks: &["H264", "Opus"],
        codecs: &["h264", "opus"],
        depayloaders: &[H264, ("audio", "rtpopusdepay")],
    },
];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Program {
    Ffmpeg,
    GStreamer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Transport {
    Tcp,
    Udp,
    Tls,
}

/// A program and what it sends or reads over.
#[derive(Debug, Clone, Copy)]
struct Way {
    program: Program,
    transport: Transport,
}

const WAYS: [Way; 6] = [
    Way { program: Program::Ffmpeg, transport: Transport::Tcp },
    Way { program: Program::Ffmpeg, transport: Transport::Udp },
    Way { program: Program::Ffmpeg, transport: Transport::Tls },
    Way { program: Program::GStreamer, transport: Transport::Tcp },
    Way { program: Program::GStreamer, transport: Transport::Udp },
    Way { program: Program::GStreamer, transport: Transport::Tls },
];

/// A clip as both programs play it.
struct Media {
    clip: PathBuf,
    /// The same several times over, in Matroska.
    long: PathBuf,
}

impl Media {
    async fn of(format: &Format, dir: &Path) -> anyhow::Result<Self> {
        let clip = format.clip.file().await?;
        let long = dir.join(format.name).with_extension("mkv");
        let (from, to) = (clip.to_string_lossy(), long.to_string_lossy());
        let output =
            ffmpeg::ffmpeg(&["-stream_loop", ROUNDS, "-i", &from, "-map", "0", "-c", "copy", &to]).await?;
        ensure!(output.success, "{to}: {}", output.stderr);
        Ok(Self { clip, long })
    }
}

impl Way {
    fn url(self, server: &Server, path: &str) -> String {
        match self.transport {
            Transport::Tls => format!("rtsps://127.0.0.1:{}/{path}", server.ports.rtsps),
            Transport::Tcp | Transport::Udp => server.rtsp(path),
        }
    }

    fn source_type(self) -> &'static str {
        if self.transport == Transport::Tls { "rtspsSession" } else { "rtspSession" }
    }

    /// What is below RTP and TLS, as both programs name it.
    fn lower(self) -> &'static str {
        if self.transport == Transport::Udp { "udp" } else { "tcp" }
    }

    fn name(self) -> String {
        format!("{:?}-{:?}", self.program, self.transport).to_lowercase()
    }

    fn publish(self, media: &Media, tracks: usize, url: &str) -> anyhow::Result<Process> {
        if self.program == Program::Ffmpeg {
            let mut command = Command::new("ffmpeg");
            command.args(["-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i"]).arg(&media.clip);
            command.args(["-c", "copy", "-f", "rtsp", "-rtsp_transport", self.lower(), url]);
            return Process::start("ffmpeg", &mut command);
        }
        let mut command = self.gstreamer(media, tracks, url);
        // Of two ways to send AAC it would take LATM, which cameras do not.
        Process::start("gst-launch-1.0", command.env("GST_PLUGIN_FEATURE_RANK", "rtpmp4apay:NONE"))
    }

    fn gstreamer(self, media: &Media, tracks: usize, url: &str) -> Command {
        let mut pipeline = format!(
            "filesrc location={} ! matroskademux name=file rtspclientsink name=sink location={url} protocols={} \
             tls-validation-flags=0 file.video_0 ! queue ! sink.sink_0",
            media.long.display(),
            self.lower(),
        );
        if tracks > 1 {
            pipeline += " file.audio_0 ! queue ! sink.sink_1";
        }
        let mut command = Command::new("gst-launch-1.0");
        command.args(pipeline.split(' ').filter(|word| !word.is_empty()));
        command
    }

    /// Reads pictures, and sound where there is some.
    async fn read(self, format: &Format, url: &str) -> anyhow::Result<()> {
        if self.program == Program::Ffmpeg {
            return ffmpeg_reads(format, self.lower(), url).await;
        }
        let chains = format.depayloaders.iter().enumerate();
        let takes: Vec<Take<'_>> =
            chains.map(|(number, (kind, chain))| Take { kind, count: wanted(number), chain }).collect();
        gstreamer::reads(url, self.lower(), &takes).await
    }
}

/// Packets that are wanted of a stream; pictures come first.
fn wanted(stream: usize) -> usize {
    if stream == 0 { PICTURES_MIN } else { SOUNDS_MIN }
}

/// ffmpeg copies a second and lists its packets, each of a line that begins with its stream's number.
async fn ffmpeg_reads(format: &Format, lower: &str, url: &str) -> anyhow::Result<()> {
    let args =
        ["-rtsp_transport", lower, "-i", url, "-t", "1", "-map", "0", "-c", "copy", "-f", "framecrc", "-"];
    let output = ffmpeg::ffmpeg(&args).await?;
    ensure!(output.success, "{}", output.stderr);
    for (number, codec) in format.codecs.iter().enumerate() {
        let is_told = output.stdout.contains(&format!("#codec_id {number}: {codec}\n"));
        let begin = format!("{number},");
        let packets = output.stdout.lines().filter(|line| line.starts_with(&begin)).count();
        ensure!(is_told && packets >= wanted(number), "{packets} packets of {codec}:\n{}", output.stdout);
    }
    Ok(())
}

/// A format is published in one way and read in another.
async fn cell(
    server: &Server,
    format: &Format,
    media: &Media,
    (into, out): (Way, Way),
) -> anyhow::Result<()> {
    let path = format!("{}-{}", format.name, into.name());
    let _publisher = into.publish(media, format.tracks.len(), &into.url(server, &path))?;
    let state = server.wait_path(&path, "online", PATIENCE, |state| state["online"] == true).await?;
    ensure!(state["tracks"] == serde_json::json!(format.tracks), "{path}: {state}");
    ensure!(state["source"]["type"] == into.source_type(), "{path}: {state}");
    let read = out.read(format, &out.url(server, &path)).await;
    read.with_context(|| format!("{path} read by {}; log:\n{}", out.name(), server.log_tail()))
}

/// All ways to publish a format at once; each is read in another way.
async fn row(server: &Server, (number, format): (usize, &Format), dir: &Path) -> anyhow::Result<()> {
    let media = Media::of(format, dir).await?;
    let outs = WAYS.iter().cycle().skip(number);
    let cells = WAYS.iter().zip(outs).map(|(into, out)| cell(server, format, &media, (*into, *out)));
    future::try_join_all(cells).await?;
    Ok(())
}

/// Sound that nobody takes stops no pictures, and is told.
async fn latm_is_left_out(server: &Server, dir: &Path) -> anyhow::Result<()> {
    let [.., aac, _, _] = &FORMATS;
    let media = Media::of(aac, dir).await?;
    let way = Way { program: Program::GStreamer, transport: Transport::Tcp };
    let _publisher =
        Process::start("gst-launch-1.0", &mut way.gstreamer(&media, 2, &way.url(server, "latm")))?;
    let state = server.wait_path("latm", "online", PATIENCE, |state| state["online"] == true).await?;
    ensure!(state["tracks"] == serde_json::json!(["H264"]), "{state}");
    server.wait_log("MP4A-LATM", 1).await.map(drop)
}

#[tokio::test]
async fn every_format_is_published_and_read_in_every_way() -> anyhow::Result<()> {
    let _machine = machine::shared().await;
    let dir = tempfile::tempdir()?;
    let (key, certificate) = (dir.path().join("key.pem"), dir.path().join("certificate.pem"));
    make_certificate(&key, &certificate).await?;
    let config = format!(
        "rtspEncryption: optional\nrtspServerKey: {}\nrtspServerCert: {}\npaths:\n  all_others:\n",
        key.display(),
        certificate.display()
    );
    let server = Server::start(&config).await?;
    let rows: Vec<(usize, &Format)> = FORMATS.iter().enumerate().collect();
    for pair in rows.chunks(2) {
        future::try_join_all(pair.iter().map(|one| row(&server, *one, dir.path()))).await?;
    }
    latm_is_left_out(&server, dir.path()).await
}
