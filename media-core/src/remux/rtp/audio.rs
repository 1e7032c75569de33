//! Audio payload formats: AAC-hbr, Opus, G.711.
//!
//! Spec: RFC 3640 s3.2, s3.3.6; RFC 7587 s4.2; RFC 3551 s4.5.14.

use super::{PacketizeError, RtpPayload, payload};

/// The longest AAC frame whose length fits the 13 bits of AAC-hbr (RFC 3640 s3.3.6).
const AAC_FRAME_BYTES_MAX: u16 = 0x1fff;

/// AU-headers-length and one AU-header (RFC 3640 s3.2.1).
const AAC_HEADER_BYTES: usize = 4;

/// One AAC frame a packet; a longer one in fragments, each of which says the whole frame's length.
pub(super) fn aac(frame: &[u8], max: usize) -> Result<Vec<RtpPayload>, PacketizeError> {
    let too_long =
        || PacketizeError::FrameLength { bytes: frame.len(), bytes_max: usize::from(AAC_FRAME_BYTES_MAX) };
    let length = u16::try_from(frame.len()).map_err(|_| too_long())?;
    if length > AAC_FRAME_BYTES_MAX {
        return Err(too_long());
    }
    let [size_high, size_low] = (length << 3).to_be_bytes();
    // 16 bits of AU headers: 13 bits of size, 3 bits of index (0).
    let header = [0, 16, size_high, size_low];
    let chunks = frame.chunks(max - AAC_HEADER_BYTES);
    let mut out: Vec<RtpPayload> = chunks.map(|chunk| payload(&[&header, chunk])).collect();
    if let Some(last) = out.last_mut() {
        last.marker = true;
    }
    Ok(out)
}

/// One Opus packet a packet; there is no fragmentation.
pub(super) fn opus(packet: &[u8], max: usize) -> Result<Vec<RtpPayload>, PacketizeError> {
    match packet.len() {
        0 => Ok(Vec::new()),
        bytes if bytes > max => Err(PacketizeError::FrameLength { bytes, bytes_max: max }),
        _ => Ok(vec![payload(&[packet])]),
    }
}

/// G.711 bytes in packets of whole sample frames, each at its own time.
pub(super) fn g711(bytes: &[u8], channels: usize, max: usize) -> Vec<RtpPayload> {
    let frames_max = (max / channels).max(1);
    let chunks = bytes.chunks(frames_max * channels).enumerate();
    let at = |index: usize| u32::try_from(index * frames_max).unwrap_or(u32::MAX);
    chunks.map(|(index, chunk)| RtpPayload { offset_ticks: at(index), ..payload(&[chunk]) }).collect()
}
