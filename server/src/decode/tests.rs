//! Tests of decoding with pictures that ffmpeg coded, compared with what ffmpeg makes of them, and with broken ones.

use std::path::Path;
use std::process::Command;

use bytes::{BufMut as _, Bytes, BytesMut};
use media_core::codec::nal::{annex_b, length_prefixed};
use media_core::key_frame::{KeyFrame, PictureCodec};
use media_core::time::WallTime;

use super::jpeg::jpeg;
use super::pool::{DecodePool, Purpose};
use super::{Jpeg, NotNow, PictureError, Wanted, Width};
use crate::runtime::clock;

const SMALL: Wanted = Wanted { width: Width::THUMBNAIL, quality: 90 };

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The first picture of a byte stream.
fn key_frame(codec: PictureCodec, stream: &[u8]) -> KeyFrame {
    let mut payload = BytesMut::new();
    let is_slice = |nal: &[u8]| match codec {
        PictureCodec::H264 => matches!(nal[0] & 0x1f, 1 | 5),
        PictureCodec::H265 => nal[0] >> 1 & 0x3f < 32,
    };
    let is_first_slice = |nal: &[u8]| match codec {
        // first_mb_in_slice of 0, first_slice_segment_in_pic_flag.
        PictureCodec::H264 => nal[1] & 0x80 != 0,
        PictureCodec::H265 => nal[2] & 0x80 != 0,
    };
    let mut pictures = 0;
    for nal in annex_b(stream) {
        pictures += usize::from(is_slice(nal) && is_first_slice(nal));
        if pictures > 1 {
            break;
        }
        payload.put_u32(u32::try_from(nal.len()).unwrap());
        payload.put_slice(nal);
    }
    KeyFrame { codec, parameter_sets: Vec::new(), payload: payload.freeze(), wall: WallTime(7) }
}

/// A picture coded by ffmpeg: a byte stream in a file.
fn coded(folder: &Path, size: &str, pix_fmt: &str, filter: &str, encoder: &[&str]) -> (KeyFrame, String) {
    let is_h265 = encoder.contains(&"libx265");
    let (format, codec) = if is_h265 { ("hevc", PictureCodec::H265) } else { ("h264", PictureCodec::H264) };
    let file = folder.join(format!("{size}-{pix_fmt}.{format}")).to_string_lossy().into_owned();
    let source = format!("testsrc2=size={size}:rate=25:duration=0.2,{filter}format={pix_fmt}");
    let mut arguments = vec!["-v", "error", "-y", "-f", "lavfi", "-i", source.as_str(), "-c:v"];
    arguments.extend(encoder);
    arguments.extend(["-f", format, &file]);
    run("ffmpeg", &arguments);
    (key_frame(codec, &std::fs::read(&file).unwrap()), file)
}

/// Red, green and blue of the first picture of a file, in a size.
fn pixels(input: &str, (width, height): (u32, u32), colours: &str) -> Vec<u8> {
    let filter = format!("scale={width}:{height}:flags=area{colours},format=rgb24");
    run("ffmpeg", &["-v", "error", "-i", input, "-frames:v", "1", "-vf", &filter, "-f", "rawvideo", "-"])
}

fn size_of(file: &str) -> (u32, u32) {
    let arguments = ["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", "-i", file];
    let text = String::from_utf8(run("ffprobe", &arguments)).unwrap();
    let (width, height) = text.trim().split_once(',').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}

/// How far our picture is from ffmpeg's, as the mean of all colours' differences.
fn distance(folder: &Path, ours: &Jpeg, file: &str, size: (u32, u32), colours: &str) -> f64 {
    let jpeg = folder.join("ours.jpg").to_string_lossy().into_owned();
    std::fs::write(&jpeg, &ours.bytes).unwrap();
    assert_eq!(size_of(&jpeg), size, "{file}");
    let (ours, theirs) = (pixels(&jpeg, size, ""), pixels(file, size, colours));
    assert_eq!(ours.len(), theirs.len());
    let sum: u64 = ours.iter().zip(&theirs).map(|(ours, theirs)| u64::from(ours.abs_diff(*theirs))).sum();
    f64::from(u32::try_from(sum).unwrap()) / f64::from(u32::try_from(ours.len()).unwrap())
}

#[test]
fn pictures_look_as_ffmpeg_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let check =
        |size: &str, pix_fmt: &str, filter: &str, encoder: &[&str], shown: (u32, u32), colours: &str| {
            let (frame, file) = coded(dir.path(), size, pix_fmt, filter, encoder);
            let ours = jpeg(&frame, SMALL).unwrap();
            assert_eq!(ours.taken, WallTime(7));
            let distance = distance(dir.path(), &ours, &file, shown, colours);
            assert!(distance < 4.0, "{encoder:?} {size} {pix_fmt}: {distance}");
        };
    let h264 = ["libx264", "-bf", "2"];
    let hd = ":in_color_matrix=bt709";
    check("1920x1080", "yuv420p", "", &h264, (320, 180), hd);
    check("1280x720", "yuv422p", "", &h264, (320, 180), hd);
    check("640x360", "yuv420p10le", "", &h264, (320, 180), "");
    check(
        "352x288",
        "yuv420p",
        "",
        &["libx264", "-x264-params", "slices=4:fullrange=on"],
        (320, 262),
        ":in_range=full",
    );
    // An old recorder's field pictures of samples that are not square.
    check("704x480", "yuv420p", "setsar=10/11,", &["libx264", "-flags", "+ildct+ilme"], (320, 240), "");
    let h265 = ["libx265", "-x265-params", "log-level=none"];
    check("1920x1080", "yuv420p", "", &h265, (320, 180), hd);
    check("640x360", "yuv420p10le", "", &h265, (320, 180), "");
}

#[test]
fn a_picture_is_never_made_larger_than_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (frame, file) = coded(dir.path(), "176x144", "yuv420p", "", &["libx264"]);
    let ours = jpeg(&frame, Wanted { width: Width::MAX, quality: 90 }).unwrap();
    assert!(distance(dir.path(), &ours, &file, (176, 144), "") < 4.0);
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused_before_it_costs_memory() {
    // x264's set of 704x480 with other sizes: 16 x 1100 macroblocks each way (ue(v) 1099), Baseline.
    let set = Bits::default()
        .bytes(&[0x67, 66, 0, 51])
        .ue(0)
        .ue(0)
        .ue(2)
        .ue(1)
        .bits(&[false])
        .ue(1099)
        .ue(1099)
        .bits(&[true, true, false, false, true])
        .0;
    let frame = KeyFrame {
        codec: PictureCodec::H264,
        parameter_sets: vec![packed(&set)],
        payload: Bytes::new(),
        wall: WallTime(0),
    };
    assert_eq!(jpeg(&frame, SMALL), Err(PictureError::TooLarge { width: 17_600, height: 17_600 }));
}

/// Bits that make up a parameter set.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn bits(mut self, bits: &[bool]) -> Self {
        self.0.extend(bits);
        self
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let bits: Vec<bool> =
            bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
        self.bits(&bits)
    }

    fn ue(self, value: u32) -> Self {
        let code = value + 1;
        let length = 32 - code.leading_zeros();
        let zeros = vec![false; usize::try_from(length - 1).unwrap()];
        let digits: Vec<bool> = (0..length).rev().map(|bit| code >> bit & 1 == 1).collect();
        self.bits(&zeros).bits(&digits)
    }
}

fn packed(bits: &[bool]) -> Bytes {
    let byte =
        |bits: &[bool]| bits.iter().enumerate().map(|(at, bit)| u8::from(*bit) << (7 - at)).sum::<u8>();
    bits.chunks(8).map(byte).collect::<Vec<u8>>().into()
}

/// Bytes changed here and there, the same ones each time: whatever comes out, the next picture is made.
#[test]
fn broken_pictures_cost_nothing_but_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let h265 = ["libx265", "-x265-params", "log-level=none"];
    let good = [
        coded(dir.path(), "320x192", "yuv420p", "", &["libx264", "-bf", "2"]).0,
        coded(dir.path(), "320x194", "yuv420p", "", &["libx264", "-coder", "0", "-x264-params", "slices=4"])
            .0,
        coded(dir.path(), "320x196", "yuv420p", "", &h265).0,
    ];
    let rounds: u64 = std::env::var("GTV_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pool = DecodePool::start().unwrap();
    for round in 0..rounds {
        for frame in &good {
            let mut nals: Vec<Vec<u8>> = length_prefixed(&frame.payload).map(<[u8]>::to_vec).collect();
            for _ in 0..=next(4) {
                let chosen = next(nals.len());
                let length = nals[chosen].len();
                match next(6) {
                    0 => nals[chosen].truncate(next(length)),
                    1 => nals.swap(chosen, 0),
                    2 => nals.push(nals[chosen].clone()),
                    _ => {
                        let at = next(length);
                        if let Some(byte) = nals[chosen].get_mut(at) {
                            *byte ^= 1 << next(8);
                        }
                    }
                }
            }
            let mut payload = BytesMut::new();
            for nal in &nals {
                payload.put_u32(u32::try_from(nal.len()).unwrap());
                payload.put_slice(nal);
            }
            let broken = KeyFrame { payload: payload.freeze(), ..frame.clone() };
            let began = clock::now();
            let made = runtime.block_on(pool.jpeg(broken, SMALL, Purpose::Thumbnail));
            assert!(!matches!(made, Err(NotNow::Stopped)), "round {round}");
            assert!(clock::now() - began < std::time::Duration::from_secs(10), "round {round}");
        }
    }
    for frame in good {
        runtime.block_on(pool.jpeg(frame, SMALL, Purpose::Snapshot)).unwrap().unwrap();
    }
    let figures = pool.figures();
    let made: u64 = figures.purposes.iter().map(|of| of.made + of.failed).sum();
    assert_eq!(made, rounds * 3 + 3);
    pool.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_queue_holds_is_refused_at_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let frame = coded(dir.path(), "1280x720", "yuv420p", "", &["libx264"]).0;
    let pool = DecodePool::start().unwrap();
    let asked = (0..200).map(|_| pool.jpeg(frame.clone(), SMALL, Purpose::Thumbnail));
    let answers = futures_util::future::join_all(asked).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(NotNow::Busy))).count();
    let made = answers.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    assert_eq!(made + refused, 200);
    assert!(refused >= 100, "{refused}");
    let of = pool.figures().purposes[1];
    assert_eq!((of.purpose, of.made, of.waiting), ("thumbnail", u64::try_from(made).unwrap(), 0));
    assert_eq!(of.refused, u64::try_from(refused).unwrap());
    pool.stop();
    let late = pool.jpeg(frame, SMALL, Purpose::Snapshot).await;
    assert_eq!(late, Err(NotNow::Stopped));
}

fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// `cargo test --release -p gtvision cost_of_pictures -- --nocapture`: the figures of ARCHITECTURE.md. `GTV_CLIPS` names other
/// clips, with `:` between.
#[test]
fn cost_of_pictures() {
    let dir = tempfile::tempdir().unwrap();
    // Film and a street, not test patterns: their detail is what decoding costs.
    let ours = ["bigbuckbunny-720p.mp4", "car-detection.mp4"]
        .map(|name| format!("{}/../fixtures/clips/{name}", env!("CARGO_MANIFEST_DIR")))
        .join(":");
    let clips = std::env::var("GTV_CLIPS").unwrap_or(ours);
    for clip in clips.split(':') {
        for (codec, size) in [
            (PictureCodec::H264, "1920:1080"),
            (PictureCodec::H265, "1920:1080"),
            (PictureCodec::H264, "640:360"),
            (PictureCodec::H265, "640:360"),
        ] {
            let frame = film(dir.path(), clip, codec, size);
            println!("{}: {}", Path::new(clip).file_stem().unwrap().display(), cost_of(&frame, size));
        }
    }
}

/// A key frame of a clip as a camera codes it at some 4 Mbit/s.
fn film(folder: &Path, clip: &str, codec: PictureCodec, size: &str) -> KeyFrame {
    let (format, encoder) = match codec {
        PictureCodec::H264 => ("h264", &["libx264", "-crf", "23"][..]),
        PictureCodec::H265 => ("hevc", &["libx265", "-x265-params", "log-level=none", "-crf", "25"][..]),
    };
    let file = folder.join(format!("film.{format}")).to_string_lossy().into_owned();
    let filter = format!("scale={size},format=yuv420p");
    let mut arguments =
        vec!["-v", "error", "-y", "-ss", "2", "-i", clip, "-frames:v", "2", "-vf", &filter, "-c:v"];
    arguments.extend(encoder);
    arguments.extend(["-f", format, &file]);
    run("ffmpeg", &arguments);
    key_frame(codec, &std::fs::read(&file).unwrap())
}

/// What a thumbnail and a snapshot of it cost.
fn cost_of(frame: &KeyFrame, size: &str) -> String {
    let measured = |wanted: Wanted| {
        let mut costs: Vec<f64> = (0..15)
            .map(|_| {
                let began = cpu_ms();
                jpeg(frame, wanted).unwrap();
                cpu_ms() - began
            })
            .collect();
        costs.sort_by(f64::total_cmp);
        (costs[costs.len() / 2], jpeg(frame, wanted).unwrap().bytes.len())
    };
    let (small_ms, small_bytes) = measured(Wanted::THUMBNAIL);
    let (whole_ms, whole_bytes) = measured(Wanted { width: Width::MAX, quality: 85 });
    format!(
        "{:?} {size}, {} KB: {small_ms:.1} ms of a core for 320 pixels ({:.1} KB); {whole_ms:.1} ms in full ({} KB)",
        frame.codec,
        frame.payload.len() / 1024,
        f64::from(u32::try_from(small_bytes).unwrap()) / 1024.0,
        whole_bytes / 1024,
    )
}
