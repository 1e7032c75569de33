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
