//! Opus: how long a packet lasts.
//!
//! Spec: RFC 6716 s3.1 (TOC byte), s3.2.5 (code 3 packets), RFC 7587 s4.2.

/// The longest an Opus packet may last: 120 ms (RFC 6716 s3.2.5, R5), in samples at 48 kHz.
pub const DURATION_SAMPLES_MAX: u32 = 5760;

/// Samples at 48 kHz that a packet decodes to; `None` for an empty or impossible packet.
pub fn duration_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880].get(usize::from(config % 4)).copied(),
        12..=15 => [480, 960].get(usize::from(config % 2)).copied(),
        _ => [120, 240, 480, 960].get(usize::from(config % 4)).copied(),
    }?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=DURATION_SAMPLES_MAX).contains(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_tables_of_rfc_6716() {
        // Config 31 (CELT fullband 20 ms), code 0; config 1 (SILK 20 ms), two frames; config 16
        // (CELT 2.5 ms) with 4 frames; config 3 (60 ms) twice is 120 ms.
        assert_eq!(duration_samples(&[31 << 3]), Some(960));
        assert_eq!(duration_samples(&[1 << 3 | 1, 0]), Some(1920));
        assert_eq!(duration_samples(&[16 << 3 | 3, 4]), Some(480));
        assert_eq!(duration_samples(&[3 << 3 | 2]), Some(5760));
        assert_eq!(duration_samples(&[15 << 3]), Some(960));
    }

    #[test]
    fn empty_and_impossible_packets_have_no_duration() {
        assert_eq!(duration_samples(&[]), None);
        assert_eq!(duration_samples(&[3]), None);
        assert_eq!(duration_samples(&[3 << 3 | 3, 3]), None);
        assert_eq!(duration_samples(&[31 << 3 | 3, 0]), None);
    }
}
