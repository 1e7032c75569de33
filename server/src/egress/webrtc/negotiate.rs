//! Negotiation: an offer and a stream's format become a peer connection and its answer.
//!
//! The offer is narrowed to what the stream has (media_core::egress::webrtc::track_map) before str0m
//! sees it, so that the answer holds one payload type per served section, `sendonly` (correctness: W1).
//! Full ICE, not ICE-lite: consent freshness (W5) needs our own checks, and a viewer behind a NAT is
//! reached from inside; MediaMTX does the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use media_core::egress::webrtc::track_map::{Flow, MappedTrack, Offer, OfferedPayload, TrackMap, WireCodec};
use str0m::change::SdpOffer;
use str0m::config::{CryptoProvider, DtlsCert};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, Mid, Pt};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Rtc, RtcConfig, RtcError};

use super::keys::{self, Tap};

/// Sender reports each second, so that a player can place pictures in time soon after it joined.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often str0m tells its statistics (loss, round trip).
const STATS_INTERVAL: Duration = Duration::from_secs(1);
/// Checks of a live pair go out at least so often; RFC 7675 s5.1 says every 5 s, ours are denser so that
/// nine losses in a row stay under its 30 s.
const STUN_RTO_MAX: Duration = Duration::from_secs(2);

/// Our identity toward every viewer, made once at the start.
#[derive(Clone)]
pub(crate) struct Identity {
    certificate: DtlsCert,
    crypto: Arc<CryptoProvider>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Holds a private key.
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// A new self-signed certificate; viewers trust it by the fingerprint in the answer.
    pub(crate) fn generate() -> Option<Self> {
        let crypto = Arc::new(keys::tapped_provider());
        let certificate = crypto.dtls_provider.generate_certificate()?;
        Some(Self { certificate, crypto })
    }
}

/// Why an offer that could be served could not be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NegotiateError {
    /// str0m refused the offer.
    #[error("offer is not usable: {0}")]
    Offer(String),
    /// Neither UDP nor TCP has an address that a viewer could reach.
    #[error("no address to be reached at; see webrtcAdditionalHosts")]
    NoCandidates,
}

/// A peer connection with its answer, not yet driven.
#[derive(Debug)]
pub(crate) struct Negotiated {
    /// The peer connection.
    pub(crate) rtc: Box<Rtc>,
    /// What it encrypts with.
    pub(crate) tap: Arc<Tap>,
    /// The answer with all our candidates.
    pub(crate) answer: String,
    /// Our ICE user name fragment.
    pub(crate) ufrag: String,
    /// The offer as str0m saw it; an ICE restart is answered from it.
    pub(crate) narrowed_offer: String,
}

/// Answers an offer.
///
/// # Errors
/// [`NegotiateError`] says what was wrong with it.
pub(crate) fn negotiate(
    identity: &Identity,
    offer: &Offer,
    map: &TrackMap,
    candidates: Vec<Candidate>,
    now: Instant,
) -> Result<Negotiated, NegotiateError> {
    if candidates.is_empty() {
        return Err(NegotiateError::NoCandidates);
    }
    let (mut rtc, tap) = keys::tapped(|| Box::new(config(identity, map).build(now)));
    for candidate in candidates {
        rtc.add_local_candidate(candidate);
    }
    let narrowed_offer = offer.narrowed(map);
    let (answer, ufrag) = answer(&mut rtc, &narrowed_offer)?;
    Ok(Negotiated { rtc, tap, answer, ufrag, narrowed_offer })
}

/// Lets `rtc` answer `offer`; returns the answer and our user name fragment.
///
/// # Errors
/// [`NegotiateError::Offer`] with str0m's reason.
pub(crate) fn answer(rtc: &mut Rtc, offer: &str) -> Result<(String, String), NegotiateError> {
    let refused = |error: &dyn std::fmt::Display| NegotiateError::Offer(error.to_string());
    let offer = SdpOffer::from_sdp_string(offer).map_err(|error| refused(&error))?;
    let answer = rtc.sdp_api().accept_offer(offer).map_err(|error: RtcError| refused(&error))?;
    let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
    Ok((with_reachable_candidates(&answer.to_sdp_string()), ufrag))
}

/// str0m writes the candidates into the first section, even if that one is rejected, where browsers do
/// not look; they belong to the first section that is served. They are all there are.
fn with_reachable_candidates(answer: &str) -> String {
    let is_candidate = |line: &&str| line.starts_with("a=candidate:");
    let mut candidates: Vec<&str> = answer.lines().filter(is_candidate).collect();
    candidates.push("a=end-of-candidates");
    let mut out = String::with_capacity(answer.len() + 64);
    let mut is_waiting = true;
    let mut in_served_section = false;
    for line in answer.lines().filter(|line| !is_candidate(line) && *line != "a=end-of-candidates") {
        if let Some(fields) = line.strip_prefix("m=") {
            in_served_section = fields.split_ascii_whitespace().nth(1) != Some("0");
        }
        if is_waiting && in_served_section && line.starts_with("a=") {
            is_waiting = false;
            for candidate in &candidates {
                out.push_str(candidate);
                out.push_str("\r\n");
            }
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    out
}

fn config(identity: &Identity, map: &TrackMap) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(4, Extension::RtpMid);
    extensions.set(5, Extension::AbsoluteCaptureTime);
    extensions.set(6, Extension::PlayoutDelay);
    let mut config = RtcConfig::new()
        .set_crypto_provider(Arc::clone(&identity.crypto))
        .set_dtls_cert(identity.certificate.clone())
        .set_rtp_mode(true)
        // The only way to see a viewer's NACKs and reports; where str0m sends the media it copies each packet too.
        .enable_raw_packets(map.flow == Flow::Out)
        .clear_codecs()
        .set_extension_map(extensions)
        .set_rtcp_report_interval_audio(REPORT_INTERVAL)
        .set_rtcp_report_interval_video(REPORT_INTERVAL)
        .set_stats_interval(Some(STATS_INTERVAL));
    config.set_max_stun_rto(STUN_RTO_MAX);
    let mut known = Vec::new();
    for (payload, codec) in map.payloads() {
        if !known.contains(&payload.pt) {
            known.push(payload.pt);
            add_codec(&mut config, payload, codec);
        }
    }
    config
}

/// The payload type exactly as offered, so that str0m finds it equal and echoes it.
fn add_codec(config: &mut RtcConfig, offered: &OfferedPayload, codec: WireCodec) {
    let (codec, clock) = match codec {
        WireCodec::H264 => (Codec::H264, Frequency::NINETY_KHZ),
        WireCodec::H265 => (Codec::H265, Frequency::NINETY_KHZ),
        WireCodec::Opus => (Codec::Opus, Frequency::FORTY_EIGHT_KHZ),
        WireCodec::Pcma => (Codec::PCMA, Frequency::EIGHT_KHZ),
        WireCodec::Pcmu => (Codec::PCMU, Frequency::EIGHT_KHZ),
    };
    let rtx = offered.rtx_pt.map(Pt::new_with_value);
    let format = FormatParams::parse_line(&offered.fmtp);
    let codecs = config.codec_config();
    codecs.add_config(Pt::new_with_value(offered.pt), rtx, codec, clock, offered.channels, format);
    for params in codecs.iter_mut() {
        // We do not estimate bandwidth: a camera has one rate.
        params.set_fb_transport_cc(false);
        params.set_fb_remb(false);
    }
}

/// The section's id as str0m knows it.
pub(crate) fn mid_of(track: &MappedTrack) -> Mid {
    Mid::from(track.mid.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock;

    #[test]
    fn fuzz_an_offer_is_answered_or_refused() {
        let identity = Identity::generate().unwrap();
        gtvision_fuzz::feed("webrtc_offer", move |input| {
            let Ok(offer) = Offer::parse(&String::from_utf8_lossy(input)) else { return };
            let Ok(map) = offer.choose_published() else { return };
            let candidate = Candidate::host("192.0.2.1:8189".parse().unwrap(), "udp").unwrap();
            let Ok(made) = negotiate(&identity, &offer, &map, vec![candidate], clock::now()) else { return };
            assert!(made.answer.starts_with("v=0") && made.answer.contains(&made.ufrag), "{}", made.answer);
        });
    }
}
