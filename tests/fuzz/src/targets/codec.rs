//! Codecs: parameter sets and what describes sound, out of band or in.

use bytes::Bytes;
use media_core::codec::aac::AudioSpecificConfig;
use media_core::codec::{codec_string, h264, h265, nal, opus};
use media_core::ingest::TrackSetup;
use media_core::rtmp::record;
use media_core::track::{AacConfig, CodecConfig, H264Config, H265Config};

/// The largest picture that any level of either codec has, in pixels a side.
const SIDE_MAX: u32 = 65_535;

/// NAL units of a byte stream, read as both codecs; what can be used is written into records and read back.
pub(super) fn parameter_sets(input: &[u8]) {
    let nals: Vec<&[u8]> = nal::annex_b(input).collect();
    let bytes: usize = nals.iter().map(|nal| nal.len()).sum();
    assert!(bytes <= input.len(), "{bytes} bytes of {}", input.len());
    for nal in &nals {
        assert!(nal::unescape(nal, usize::MAX).len() <= nal.len());
        h264_nal(nal);
        h265_nal(nal);
        opus::duration_samples(nal).inspect(|samples| assert!(*samples <= opus::DURATION_SAMPLES_MAX));
    }
    for [first, second] in nals.as_chunks::<2>().0 {
        if let Ok(config) = H264Config::from_parameter_sets(first, second) {
            assert!(
                config.width <= SIDE_MAX && config.height <= SIDE_MAX,
                "{}x{}",
                config.width,
                config.height
            );
            if let Some(read) = record::read_avc(&record::write_avc(&config)) {
                assert_eq!((read.nals, read.length_bytes), (vec![config.sps.clone(), config.pps.clone()], 4));
            }
            codec_string(&CodecConfig::H264(config)).expect("a name for H.264");
        }
    }
    for [vps, sps, pps] in nals.as_chunks::<3>().0 {
        if let Ok(config) = H265Config::from_parameter_sets(vps, sps, pps) {
            assert!(
                config.width <= SIDE_MAX && config.height <= SIDE_MAX,
                "{}x{}",
                config.width,
                config.height
            );
            if let Some(read) = record::read_hevc(&record::write_hevc(&config)) {
                let nals = vec![config.vps.clone(), config.sps.clone(), config.pps.clone()];
                assert_eq!((read.nals, read.length_bytes), (nals, 4));
            }
            codec_string(&CodecConfig::H265(config)).expect("a name for H.265");
        }
    }
    let record = Bytes::copy_from_slice(input);
    for read in [record::read_avc(&record), record::read_hevc(&record)].into_iter().flatten() {
        assert!(read.nals.iter().map(Bytes::len).sum::<usize>() <= input.len());
    }
}

fn h264_nal(nal: &[u8]) {
    h264::parse_slice_start(nal).ok();
    h264::is_recovery_point(nal);
    h264::Pps::parse(nal).ok();
    if let Ok(sps) = h264::Sps::parse(nal) {
        sps.reorder_depth();
        h264::SliceHeader::parse(nal, &sps).ok();
    }
}

fn h265_nal(nal: &[u8]) {
    h265::parse_vps_id(nal).ok();
    h265::parse_slice_start(nal).ok();
    if let (Ok(sps), Ok(pps)) = (h265::Sps::parse(nal), h265::Pps::parse(nal)) {
        h265::parse_poc_lsb(nal, &sps, &pps).ok();
    }
}

/// An AudioSpecificConfig as bytes, and format parameters as a description of a session has them: `NAME/RATE/CHANNELS PARAMETERS`.
pub(super) fn aac_config(input: &[u8]) {
    if let Ok(config) = AudioSpecificConfig::parse(input) {
        assert!(config.frame_samples > 0 && config.output_rate > 0 && config.core_rate > 0, "{config:?}");
        let config = AacConfig::from_audio_specific_config(input).expect("the same bytes");
        codec_string(&CodecConfig::Aac(config)).expect("a name for AAC");
    }
    record::read_opus(input);
    let Some((map, fmtp)) = std::str::from_utf8(input).ok().and_then(|text| text.split_once(' ')) else {
        return;
    };
    let mut map = map.split('/');
    let setup = TrackSetup {
        encoding: map.next().unwrap_or_default().to_owned(),
        clock_rate: map.next().and_then(|rate| rate.parse().ok()).unwrap_or(90_000),
        channels: map.next().and_then(|channels| channels.parse().ok()),
        fmtp: Some(fmtp.to_owned()),
        rtp_info_timestamp: None,
    };
    setup.kind().ok();
}
