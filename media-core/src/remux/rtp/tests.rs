//! The packetizer against GStreamer's depayloaders, and rule by rule.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;

use super::nal::{Kind, NalCodec};
use super::*;
use crate::audio::testing::{adts_frames, ffmpeg, sound};
use crate::time::{Timescale, WallTime};
use crate::track::{AacConfig, G711Law, H264Config, H265Config, TrackId};

const MAX: usize = 1200;

fn track(codec: CodecConfig) -> TrackInfo {
    TrackInfo { id: TrackId(0), timescale: Timescale::VIDEO, codec, transcoded_from: None }
}

fn unit(payload: impl Into<Bytes>) -> AccessUnit {
    AccessUnit {
        track: TrackId(0),
        dts_ticks: 0,
        pts_ticks: 0,
        wall: WallTime(0),
        is_random_access: true,
        payload: payload.into(),
    }
}

fn h264(sps: &[u8], pps: &[u8]) -> TrackInfo {
    track(CodecConfig::H264(H264Config {
        sps: Bytes::copy_from_slice(sps),
        pps: Bytes::copy_from_slice(pps),
        width: 0,
        height: 0,
        profile_idc: 0,
        constraint_flags: 0,
        level_idc: 0,
    }))
}

fn h265(vps: &[u8], sps: &[u8], pps: &[u8]) -> TrackInfo {
    track(CodecConfig::H265(H265Config {
        vps: Bytes::copy_from_slice(vps),
        sps: Bytes::copy_from_slice(sps),
        pps: Bytes::copy_from_slice(pps),
        width: 0,
        height: 0,
        general_profile: 0,
        profile_compatibility: 0,
        constraint_indicator: [0; 6],
        level_idc: 0,
        chroma_format_idc: 1,
        bit_depth_luma_minus8: 0,
        bit_depth_chroma_minus8: 0,
    }))
}

/// NAL units of a byte stream.
fn annex_b(stream: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> =
        (0..stream.len()).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    starts.push(stream.len());
    let between = starts.windows(2).map(|pair| &stream[(pair[0] + 3).min(pair[1])..pair[1]]);
    between.map(|nal| &nal[..nal.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]).collect()
}

fn framed(nals: &[&[u8]]) -> Vec<u8> {
    let length = |nal: &[u8]| u32::try_from(nal.len()).unwrap().to_be_bytes();
    nals.iter().flat_map(|nal| [length(nal).to_vec(), nal.to_vec()].concat()).collect()
}

/// A noisy moving picture whose access units begin with delimiters and repeat their parameter sets.
fn video(encoder: &[&str]) -> Vec<u8> {
    let source = "testsrc2=s=640x360:r=25:d=3,noise=alls=30:allf=t:all_seed=5";
    ffmpeg(&[&["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p"], encoder, &["pipe:1"]].concat(), &[])
}

/// Payloads of access units as an RFC 4571 stream, through this depayloader.
fn depayload(packetizer: &Packetizer, units: &[AccessUnit], caps: &str, depayloader: &str) -> Vec<u8> {
    let (mut stream, mut seq) = (Vec::new(), 65_530_u16);
    for (timestamp, unit) in (90_000_u32..).step_by(3_600).zip(units) {
        for rtp in packetizer.packetize(unit).unwrap() {
            assert!(rtp.payload.len() <= packetizer.payload_bytes_max);
            stream.extend(u16::try_from(rtp.payload.len() + 12).unwrap().to_be_bytes());
            stream.extend([0x80, if rtp.marker { 0x80 | 96 } else { 96 }]);
            stream.extend(seq.to_be_bytes());
            stream.extend((timestamp + rtp.offset_ticks).to_be_bytes());
            stream.extend([1, 2, 3, 4]);
            stream.extend_from_slice(&rtp.payload);
            seq = seq.wrapping_add(1);
        }
    }
    let caps = format!("application/x-rtp-stream,payload=96,{caps}");
    let pipeline = format!("fdsrc fd=0 ! {caps} ! rtpstreamdepay ! {depayloader} ! fdsink fd=1");
    let mut child = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(pipeline.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gstreamer is installed");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&stream).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        output.stdout
    })
}

/// Groups a stream with delimiters into access units; random access where it has parameter sets.
fn access_units<C: NalCodec>(nals: &[&[u8]]) -> Vec<AccessUnit> {
    let mut units: Vec<Vec<&[u8]>> = Vec::new();
    for nal in nals {
        match C::kind(nal) {
            Kind::Delimiter => units.push(vec![nal]),
            _ => units.last_mut().unwrap().push(nal),
        }
    }
    let is_set = |nal: &&[u8]| matches!(C::kind(nal), Kind::ParameterSet(_));
    let make =
        |nals: &Vec<&[u8]>| AccessUnit { is_random_access: nals.iter().any(is_set), ..unit(framed(nals)) };
    units.iter().map(make).collect()
}

fn without_sets<C: NalCodec>(unit: &AccessUnit) -> AccessUnit {
    let mut nals = Vec::new();
    let mut rest = &unit.payload[..];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (nal, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        if !matches!(C::kind(nal), Kind::ParameterSet(_)) {
            nals.push(nal);
        }
        rest = after;
    }
    AccessUnit { payload: framed(&nals).into(), ..unit.clone() }
}

fn check_video<C: NalCodec>(stream: &[u8], track: &TrackInfo, caps: &str, depayloader: &str) {
    let nals = annex_b(stream);
    let units = access_units::<C>(&nals);
    assert_eq!(units.len(), 75);
    assert!(nals.iter().any(|nal| nal.len() > 5 * MAX), "fragments are needed");
    let as_sent = Packetizer::new(track, MAX, ParameterSets::AsSent).unwrap();
    assert!(annex_b(&depayload(&as_sent, &units, caps, depayloader)) == nals);

    let inserting = Packetizer::new(track, MAX, ParameterSets::BeforeRandomAccess).unwrap();
    assert!(annex_b(&depayload(&inserting, &units, caps, depayloader)) == nals, "nothing is added twice");
    let bare: Vec<AccessUnit> = units.iter().map(without_sets::<C>).collect();
    assert!(bare.iter().zip(&units).any(|(bare, unit)| bare.payload != unit.payload));
    assert!(annex_b(&depayload(&inserting, &bare, caps, depayloader)) == nals, "each set is where it was");
}

// correctness: R2
#[test]
fn gstreamer_gets_back_every_h264_nal_unit() {
    let params = "keyint=25:bframes=2:slices=3:aud=1:repeat-headers=1:crf=18";
    let stream = video(&["-c:v", "libx264", "-preset", "veryfast", "-x264-params", params, "-f", "h264"]);
    let nals = annex_b(&stream);
    let set = |kind| *nals.iter().find(|nal| h264::H264::kind(nal) == Kind::ParameterSet(kind)).unwrap();
    let caps = "media=video,clock-rate=90000,encoding-name=H264,packetization-mode=(string)1";
    let depayloader = "rtph264depay ! video/x-h264,stream-format=byte-stream,alignment=au";
    check_video::<h264::H264>(&stream, &h264(set(7), set(8)), caps, depayloader);
}

// correctness: R2
#[test]
fn gstreamer_gets_back_every_h265_nal_unit() {
    let params = "keyint=25:bframes=2:aud=1:repeat-headers=1:crf=18:log-level=none:pools=1";
    let stream = video(&["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", params, "-f", "hevc"]);
    let nals = annex_b(&stream);
    let set = |kind| *nals.iter().find(|nal| h265::H265::kind(nal) == Kind::ParameterSet(kind)).unwrap();
    let caps = "media=video,clock-rate=90000,encoding-name=H265";
    let depayloader = "rtph265depay ! video/x-h265,stream-format=byte-stream,alignment=au";
    check_video::<h265::H265>(&stream, &h265(set(32), set(33), set(34)), caps, depayloader);
}

#[test]
fn gstreamer_gets_back_every_aac_frame() {
    let adts = sound(&["-c:a", "aac", "-b:a", "256k", "-t", "3", "-f", "adts"]);
    let (config, frames) = adts_frames(&adts);
    let config =
        AacConfig { audio_specific_config: config, object_type: 2, sample_rate: 48_000, channels: 2 };
    let units: Vec<AccessUnit> = frames.iter().map(|frame| unit(frame.clone())).collect();
    let caps = "media=audio,clock-rate=48000,encoding-name=MPEG4-GENERIC,encoding-params=(string)2,streamtype=(string)5,\
                profile-level-id=(string)1,mode=(string)AAC-hbr,sizelength=(string)13,indexlength=(string)3,\
                indexdeltalength=(string)3,config=(string)1190";
    let expect = frames.concat();
    for max in [MAX, 256] {
        let packetizer =
            Packetizer::new(&track(CodecConfig::Aac(config.clone())), max, ParameterSets::AsSent).unwrap();
        assert!(frames.iter().any(|frame| frame.len() > 256), "fragments are needed");
        assert!(depayload(&packetizer, &units, caps, "rtpmp4gdepay") == expect);
    }
}

#[test]
fn gstreamer_gets_back_g711_and_opus() {
    let bytes = sound(&["-ar", "8000", "-ac", "1", "-t", "3", "-f", "alaw"]);
    let codec = CodecConfig::G711 { law: G711Law::A, sample_rate: 8_000, channels: 1 };
    let packetizer = Packetizer::new(&track(codec), 160, ParameterSets::AsSent).unwrap();
    let units: Vec<AccessUnit> = bytes.chunks(400).map(|chunk| unit(chunk.to_vec())).collect();
    let caps = "media=audio,clock-rate=8000,encoding-name=PCMA";
    assert!(depayload(&packetizer, &units, caps, "rtppcmadepay") == bytes);

    let packetizer =
        Packetizer::new(&track(CodecConfig::Opus { channels: 2 }), MAX, ParameterSets::AsSent).unwrap();
    let packets: Vec<Vec<u8>> = (1..40).map(|length| vec![0xfc; length]).collect();
    let units: Vec<AccessUnit> = packets.iter().map(|packet| unit(packet.clone())).collect();
    let caps = "media=audio,clock-rate=48000,encoding-name=OPUS";
    assert!(depayload(&packetizer, &units, caps, "rtpopusdepay") == packets.concat());
}

fn payloads(packetizer: &Packetizer, nals: &[&[u8]]) -> Vec<RtpPayload> {
    packetizer.packetize(&unit(framed(nals))).unwrap()
}

// correctness: R2
#[test]
fn marker_is_on_the_last_packet_alone_and_no_fragment_is_both_ends() {
    let packetizer = Packetizer::new(&h264(&[0x67], &[0x68]), 64, ParameterSets::AsSent).unwrap();
    // Lengths around every boundary: one packet, two fragments of 62 bytes, three.
    for length in 60..200 {
        let slice = [vec![0x65], vec![0xaa; length]].concat();
        let out = payloads(&packetizer, &[&[0x67, 1], &slice, &slice]);
        let (last, others) = out.split_last().unwrap();
        assert!(last.marker && others.iter().all(|rtp| !rtp.marker), "{length}");
        for rtp in &out {
            assert!(rtp.payload.len() <= 64, "{length}");
            if rtp.payload[0] & 0x1f == 28 {
                assert_ne!(rtp.payload[1] & 0xc0, 0xc0, "{length}");
                assert_eq!(rtp.payload[1] & 0x20, 0, "reserved bit");
            }
        }
    }
}

#[test]
fn fragment_headers_are_those_of_rfc_6184_s5_8() {
    let packetizer = Packetizer::new(&h264(&[0x67], &[0x68]), 64, ParameterSets::AsSent).unwrap();
    let slice = [vec![0x41], (0..150).collect()].concat();
    let out = payloads(&packetizer, &[&slice]);
    let headers: Vec<[u8; 2]> = out.iter().map(|rtp| [rtp.payload[0], rtp.payload[1]]).collect();
    // NRI 2 and type 28; S, nothing, E with type 1.
    assert_eq!(headers, [[0x5c, 0x81], [0x5c, 0x01], [0x5c, 0x41]]);
    let data: Vec<u8> = out.iter().flat_map(|rtp| rtp.payload[2..].to_vec()).collect();
    assert_eq!(data, slice[1..]);
}

#[test]
fn parameter_sets_share_one_stap_a_with_the_highest_nri() {
    let packetizer = Packetizer::new(&h264(&[0x67], &[0x68]), MAX, ParameterSets::AsSent).unwrap();
    let out = payloads(&packetizer, &[&[0x09, 0xf0], &[0x27, 1, 2], &[0x68, 3], &[0x06, 4], &[0x65, 5]]);
    assert_eq!(out.len(), 2);
    let expect = [0x78, 0, 2, 0x09, 0xf0, 0, 3, 0x27, 1, 2, 0, 2, 0x68, 3, 0, 2, 0x06, 4];
    assert_eq!(*out[0].payload, expect);
    assert_eq!(*out[1].payload, [0x65, 5]);
}

#[test]
fn parameter_sets_share_one_ap_with_the_lowest_layer_and_temporal_id() {
    let packetizer = Packetizer::new(&h265(&[0x40, 1], &[], &[]), MAX, ParameterSets::AsSent).unwrap();
    let out = payloads(&packetizer, &[&[0x40, 0x02, 7], &[0x42, 0x01, 8], &[0x26, 0x01, 9]]);
    assert_eq!(*out[0].payload, [0x60, 0x01, 0, 3, 0x40, 0x02, 7, 0, 3, 0x42, 0x01, 8]);
    assert_eq!(*out[1].payload, [0x26, 0x01, 9]);
}

// correctness: R2
#[test]
fn nal_units_that_look_like_aggregates_or_fragments_are_not_sent() {
    let packetizer = Packetizer::new(&h264(&[0x67], &[0x68]), MAX, ParameterSets::AsSent).unwrap();
    let out = payloads(&packetizer, &[&[0x78, 0, 1, 0x65], &[0x7c, 0x85, 1], &[], &[0x65, 1]]);
    assert_eq!(out.iter().map(|rtp| rtp.payload.to_vec()).collect::<Vec<_>>(), [[0x65, 1]]);
    assert!(out[0].marker);
    let packetizer = Packetizer::new(&h265(&[], &[], &[]), MAX, ParameterSets::AsSent).unwrap();
    let out = payloads(&packetizer, &[&[0x60, 1, 0, 1, 0x40], &[0x62, 1, 0x80], &[0x40], &[0x26, 1, 2]]);
    assert_eq!(out.iter().map(|rtp| rtp.payload.to_vec()).collect::<Vec<_>>(), [[0x26, 1, 2]]);
}

#[test]
fn parameter_sets_are_inserted_where_one_is_missing_and_only_at_random_access() {
    let packetizer =
        Packetizer::new(&h264(&[0x67, 1], &[0x68, 2]), MAX, ParameterSets::BeforeRandomAccess).unwrap();
    let stap = [0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x67, 1, 0, 2, 0x68, 2];
    assert_eq!(*payloads(&packetizer, &[&[0x09, 0xf0], &[0x65, 5]])[0].payload, stap);
    let with_sps_alone = payloads(&packetizer, &[&[0x67, 9], &[0x65, 5]]);
    assert_eq!(*with_sps_alone[0].payload, [0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2, 0, 2, 0x67, 9]);
    let inter = AccessUnit { is_random_access: false, ..unit(framed(&[&[0x41, 5]])) };
    assert_eq!(packetizer.packetize(&inter).unwrap().len(), 1);
}

#[test]
fn malformed_framing_is_an_error() {
    let packetizer = Packetizer::new(&h264(&[0x67], &[0x68]), MAX, ParameterSets::AsSent).unwrap();
    let packetize = |bytes: &[u8]| packetizer.packetize(&unit(bytes.to_vec()));
    assert_eq!(packetize(&[0, 0, 0, 1, 0x65, 0, 0, 0, 9, 0x65]), Err(PacketizeError::Framing { offset: 5 }));
    assert_eq!(packetize(&[0, 0]), Err(PacketizeError::Framing { offset: 0 }));
    assert_eq!(packetize(&[]), Ok(Vec::new()));
    let many = framed(&vec![[0x65, 1].as_slice(); NAL_UNITS_MAX + 1]);
    assert_eq!(packetize(&many), Err(PacketizeError::NalUnits));
}

#[test]
fn limits_are_kept() {
    let opus = track(CodecConfig::Opus { channels: 1 });
    let limit = Packetizer::new(&opus, 63, ParameterSets::AsSent).err();
    assert_eq!(limit, Some(PacketizeError::PayloadLimit { bytes: 63 }));
    let packetizer = Packetizer::new(&opus, 64, ParameterSets::AsSent).unwrap();
    assert!(packetizer.packetize(&unit(vec![0; 65])).is_err());
    let config =
        AacConfig { audio_specific_config: Bytes::new(), object_type: 2, sample_rate: 48_000, channels: 2 };
    let packetizer = Packetizer::new(&track(CodecConfig::Aac(config)), 64, ParameterSets::AsSent).unwrap();
    assert!(packetizer.packetize(&unit(vec![0; 8191])).is_ok());
    assert!(packetizer.packetize(&unit(vec![0; 8192])).is_err());
}

#[test]
fn split_g711_keeps_its_channels_and_time() {
    let codec = CodecConfig::G711 { law: G711Law::Mu, sample_rate: 8_000, channels: 2 };
    let packetizer = Packetizer::new(&track(codec), 65, ParameterSets::AsSent).unwrap();
    let out = packetizer.packetize(&unit(vec![1; 150])).unwrap();
    let shape: Vec<(usize, u32, bool)> =
        out.iter().map(|rtp| (rtp.payload.len(), rtp.offset_ticks, rtp.marker)).collect();
    assert_eq!(shape, [(64, 0, false), (64, 32, false), (22, 64, false)]);
}

proptest::proptest! {
    /// Whatever an access unit holds, nothing panics and no payload is too long.
    #[test]
    fn arbitrary_access_units_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..2000),
        cuts in proptest::collection::vec(1..400_usize, 1..8),
        max in PAYLOAD_BYTES_MIN..300,
        framing in 0..2_u8,
    ) {
        let mut nals: Vec<&[u8]> = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (nal, after) = rest.split_at(cut.min(rest.len()));
            nals.push(nal);
            rest = after;
        }
        let payload = if framing == 0 { framed(&nals) } else { bytes.clone() };
        for track in [h264(&[0x67], &[0x68]), h265(&[0x40, 1], &[0x42, 1], &[0x44, 1])] {
            let packetizer = Packetizer::new(&track, max, ParameterSets::BeforeRandomAccess).unwrap();
            for rtp in packetizer.packetize(&unit(payload.clone())).unwrap_or_default() {
                assert!(rtp.payload.len() <= max);
            }
        }
    }
}
