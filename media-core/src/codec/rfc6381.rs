//! Codec strings: what playlists and browsers call a codec configuration.
//!
//! Spec: RFC 6381 s3.3, s3.4; ISO/IEC 14496-15 Annex E (H.265); correctness: F3.

use std::fmt::Write as _;

use crate::track::{CodecConfig, H265Config};

/// The `codecs` parameter for a track in fMP4; `None` for G.711, which no player takes there.
pub fn codec_string(codec: &CodecConfig) -> Option<String> {
    match codec {
        CodecConfig::H264(config) => {
            let (profile, constraints) = (config.profile_idc, config.constraint_flags);
            Some(format!("avc1.{profile:02X}{constraints:02X}{:02X}", config.level_idc))
        }
        CodecConfig::H265(config) => Some(hvc1(config)),
        CodecConfig::Aac(config) => Some(format!("mp4a.40.{}", config.object_type)),
        CodecConfig::Opus { .. } => Some("opus".to_owned()),
        CodecConfig::G711 { .. } => None,
    }
}

/// Profile space and profile, compatibility flags in reverse bit order, tier and level, constraint
/// bytes without trailing zero bytes.
fn hvc1(config: &H265Config) -> String {
    let space = match config.general_profile >> 6 {
        1 => "A",
        2 => "B",
        3 => "C",
        _ => "",
    };
    let tier = if config.general_profile & 0x20 == 0 { 'L' } else { 'H' };
    let profile = config.general_profile & 0x1f;
    let compatibility = config.profile_compatibility.reverse_bits();
    let mut name = format!("hvc1.{space}{profile}.{compatibility:X}.{tier}{}", config.level_idc);
    let used = config.constraint_indicator.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in config.constraint_indicator.iter().take(used) {
        // Writing to a String can't fail.
        write!(name, ".{byte:X}").unwrap_or_default();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::{AacConfig, H264Config};

    // correctness: F3
    #[test]
    fn codec_strings_are_those_of_the_standards_examples() {
        // ISO/IEC 14496-15 Annex E gives hvc1.1.6.L93.B0: Main, compatible with profiles 1 and 2, level
        // 3.1, constraint byte B0; and hev1.A12.4.H120 style spaces and tiers.
        let mut config = H265Config {
            vps: bytes::Bytes::new(),
            sps: bytes::Bytes::new(),
            pps: bytes::Bytes::new(),
            width: 0,
            height: 0,
            general_profile: 1,
            profile_compatibility: 0x6000_0000,
            constraint_indicator: [0xb0, 0, 0, 0, 0, 0],
            level_idc: 93,
            chroma_format_idc: 1,
            bit_depth_luma_minus8: 0,
            bit_depth_chroma_minus8: 0,
        };
        assert_eq!(hvc1(&config), "hvc1.1.6.L93.B0");
        config.general_profile = 0x40 | 0x20 | 12;
        config.profile_compatibility = 0x2000_0000;
        config.constraint_indicator = [0; 6];
        assert_eq!(hvc1(&config), "hvc1.A12.4.H93");
        config.constraint_indicator = [0, 0x0c, 0, 0, 0, 0];
        assert_eq!(hvc1(&config), "hvc1.A12.4.H93.0.C");
    }

    // correctness: F3
    #[test]
    fn each_codec_has_its_string() {
        let avc = H264Config::from_parameter_sets(
            b"\x67\x4d\x40\x1f\xda\x01\x40\x16\xec\x04\x40\x00\x00\x03\x00\x40\x00\x00\x0c\x83\xc6\x0c\xa8",
            b"\x68\xef\x3c\x80",
        );
        assert_eq!(codec_string(&CodecConfig::H264(avc.unwrap())).unwrap(), "avc1.4D401F");
        let aac = AacConfig::from_audio_specific_config(&[0x11, 0x90]).unwrap();
        assert_eq!(codec_string(&CodecConfig::Aac(aac)).unwrap(), "mp4a.40.2");
        assert_eq!(codec_string(&CodecConfig::Opus { channels: 2 }).unwrap(), "opus");
    }
}
