//! HLS: playlists of other servers, and their segments, MPEG-TS and fMP4; and what viewers ask of ours.

use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::egress::hls::{Answer, Directives, MediaName, Prefix};
use media_core::hls::{
    Brought, Demuxer, Follower, Haste, Pacer, Playlist, SEGMENTS_MAX, Step, URI_BYTES_MAX,
};

use super::rtp;
use crate::pipeline::Pipeline;

/// No request is held longer (correctness: H7): three of the longest target durations.
const HOLD_MAX: Duration = Duration::from_secs(63);

thread_local! {
    /// A stream that is served, of the seed of H.264.
    static SERVED: Pipeline = {
        let mut pipeline = rtp::h264_pipeline(include_bytes!("../../corpus/rtp_h264/ffmpeg"));
        pipeline.finish();
        assert!(pipeline.window.is_ready(), "a seed that makes a playlist");
        pipeline
    };
}

/// No segment is waited for longer; its own limit is a minute, and a playlist says three of them at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Numbers of a playlist's segments rise, its URIs are bounded, and following it ends.
pub(super) fn playlist(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let playlist = match Playlist::parse(text) {
        Ok(Playlist::Multivariant(variants)) => {
            if let Ok(choice) = variants.choose() {
                assert!(choice.uri.len() <= URI_BYTES_MAX);
                assert!(choice.sound_uri.is_none_or(|uri| uri.len() <= URI_BYTES_MAX));
            }
            return;
        }
        Ok(Playlist::Media(playlist)) => playlist,
        Err(_) => return,
    };
    let segments = &playlist.segments;
    assert!(segments.len() <= SEGMENTS_MAX, "{} segments", segments.len());
    assert!(segments.windows(2).all(|pair| pair[0].msn <= pair[1].msn), "numbers that fall");
    assert!(segments.iter().all(|segment| segment.uri.len() <= URI_BYTES_MAX));
    let now = Instant::now();
    let mut follower = Follower::new(now);
    // Twice, as a live one is loaded again; the second time nothing is new.
    for _ in 0..2 {
        follower.handle_playlist(playlist.clone(), now);
        let fetched = std::iter::from_fn(|| match follower.step() {
            Step::Fetch(segment) => Some(segment),
            Step::ReloadAt(at) => {
                assert!(at > now && at - now <= WAIT_MAX, "playlist again in {:?}", at - now);
                None
            }
            Step::Over => None,
        });
        assert!(fetched.count() <= segments.len());
        assert_eq!(follower.backlog(), 0);
    }
}

/// A file has one name, no request is held for ever, and a query adds no line to a playlist.
pub(super) fn request(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Some((prefix, name)) = MediaName::parse(text) {
        let ours = Prefix::from_number(7);
        let file = name.file(&ours).to_string();
        assert_eq!(file.strip_prefix(ours.as_str()), text.strip_prefix(prefix), "two names for {name:?}");
    }
    SERVED.with(|served| {
        if let Ok(directives) = Directives::parse(text)
            && let Answer::Wait { left } = served.window.answer(&directives, Duration::ZERO)
        {
            assert!(left <= HOLD_MAX, "{directives:?} is held for {left:?}");
        }
        // What stands in a request line holds none.
        if !text.contains(char::is_control) {
            let lines = |query| served.window.multivariant(query).map(|text| text.lines().count());
            assert_eq!(lines(Some(text)), lines(None));
        }
    });
}

/// A segment's units come in the order of decoding, and what comes of them is sound. An input with `ftyp` is an init segment and a segment
/// in one; it is given twice, as the next segment of the same.
pub(super) fn segments(input: &[u8]) {
    let (mut demuxer, mut pipeline, mut pacer) = (Demuxer::default(), Pipeline::new(), Pacer::default());
    let segment = Bytes::copy_from_slice(input);
    let now = Instant::now();
    for _ in 0..2 {
        let mut brought = Vec::new();
        // The next segment is welcome.
        demuxer.segment(&segment, &mut brought).ok();
        let mut last_us = i64::MIN;
        for item in brought {
            match item {
                Brought::Tracks(setups) => drop(pipeline.start(&setups)),
                Brought::ParameterSets { track, nals } => pipeline.parameter_sets(track, &nals),
                Brought::Unit(unit) => {
                    assert!(unit.at_us >= last_us, "{} after {last_us}", unit.at_us);
                    last_us = unit.at_us;
                    pacer.due(unit.at_us, Haste::None, now);
                    pipeline.unit(unit.track, unit.rtp_timestamp, unit.payload);
                }
            }
        }
    }
}
