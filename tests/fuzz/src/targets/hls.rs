//! HLS: playlists of other servers, and their segments, MPEG-TS and fMP4.

use std::time::{Duration, Instant};

use bytes::Bytes;
use media_core::hls::{
    Brought, Demuxer, Follower, Haste, Pacer, Playlist, SEGMENTS_MAX, Step, URI_BYTES_MAX,
};

use crate::pipeline::Pipeline;

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
