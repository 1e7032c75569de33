//! Multivariant playlist: the one muxed variant with its codecs, size and measured bit rate.
//!
//! Spec: rfc8216bis s4.4.6.2.

use std::fmt::Write as _;

/// What the variant is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantFacts {
    /// The highest bit rate of a segment.
    pub peak_bps: u64,
    /// The mean bit rate of the listed segments.
    pub average_bps: u64,
    /// RFC 6381 codec strings; empty when they are not known.
    pub codecs: String,
    /// Width and height, if there is video.
    pub resolution: Option<(u32, u32)>,
    /// Pictures per second, thousandths; `None` for audio alone.
    pub frame_rate_milli: Option<u32>,
}

/// The name of the media playlist.
pub const MEDIA_PLAYLIST: &str = "main_stream.m3u8";

/// The playlist; `query` (without `?`) is kept on the child's URI.
pub fn render(facts: &VariantFacts, query: Option<&str>) -> String {
    render_for(facts, MEDIA_PLAYLIST, query)
}

/// The same for another child.
pub(super) fn render_for(facts: &VariantFacts, child: &str, query: Option<&str>) -> String {
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-STREAM-INF:");
    let VariantFacts { peak_bps, average_bps, codecs, .. } = facts;
    // Writing to a String can't fail.
    let _infallible = write!(text, "BANDWIDTH={peak_bps},AVERAGE-BANDWIDTH={average_bps}");
    if !codecs.is_empty() {
        let _infallible = write!(text, ",CODECS=\"{codecs}\"");
    }
    if let Some((width, height)) = facts.resolution {
        let _infallible = write!(text, ",RESOLUTION={width}x{height}");
    }
    if let Some(rate) = facts.frame_rate_milli {
        let _infallible = write!(text, ",FRAME-RATE={}.{:03}", rate / 1000, rate % 1000);
    }
    text.push('\n');
    text.push_str(child);
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        // A control character would end the line and begin a tag of the caller's own.
        text.push('?');
        text.extend(query.chars().filter(|c| c.is_ascii_graphic()));
    }
    text.push('\n');
    text
}
