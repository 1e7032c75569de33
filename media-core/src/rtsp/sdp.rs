//! SDP of a DESCRIBE answer: which tracks the camera offers and where to set them up (RFC 8866, RFC 2326 app. C).
//!
//! Limits: [`SDP_MEDIAS_MAX`]; the text itself is bounded by the message body's limit.

use url::Url;

/// The most media sections looked at; a camera has two to six. The rest is ignored.
pub const SDP_MEDIAS_MAX: usize = 32;

/// One media section with the first of its formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpMedia {
    /// `video`, `audio`, `application` ...
    pub media: String,
    /// RTP payload type of the first format.
    pub payload_type: u8,
    /// Upper-case encoding name (`H264`, `MPEG4-GENERIC`, `PCMA`); static payload types are named too (RFC 3551 s6).
    pub encoding_name: String,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Channels of audio, 1 where not said.
    pub channels: u8,
    /// Format parameters as `name=value; ...`, empty where absent.
    pub fmtp: String,
    /// The URL for SETUP.
    pub control: String,
    /// `a=sendonly` in a camera's answer marks a back channel: it wants audio from us (ONVIF
    /// Streaming Specification s5.3).
    pub is_back_channel: bool,
}

/// Why a DESCRIBE answer is no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not SDP.
    #[error("sdp can't be parsed: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
}

/// Reads the media sections. `base` is Content-Base, Content-Location or the request's URL.
pub(super) fn parse(body: &[u8], base: &str) -> Result<Vec<SdpMedia>, SdpError> {
    let session =
        sdp_types::Session::parse(body).map_err(|err| SdpError::Malformed { reason: err.to_string() })?;
    let session_control = attribute(&session.attributes, "control");
    let base = resolve(base, session_control.unwrap_or("*"));
    let medias = session.medias.iter().take(SDP_MEDIAS_MAX);
    Ok(medias.filter_map(|media| parse_media(media, &base)).collect())
}

fn parse_media(media: &sdp_types::Media, base: &str) -> Option<SdpMedia> {
    let payload_type: u8 = media.fmt.split_ascii_whitespace().next()?.parse().ok()?;
    let (encoding_name, clock_rate, channels) =
        rtpmap(media, payload_type).or_else(|| static_payload_type(payload_type))?;
    let control = resolve(base, attribute(&media.attributes, "control").unwrap_or("*"));
    Some(SdpMedia {
        media: media.media.to_ascii_lowercase(),
        payload_type,
        encoding_name,
        clock_rate,
        channels,
        fmtp: by_payload_type(media, "fmtp", payload_type).unwrap_or_default().to_owned(),
        control,
        is_back_channel: media.attributes.iter().any(|a| a.attribute.eq_ignore_ascii_case("sendonly")),
    })
}

/// `a=rtpmap:96 H264/90000` (RFC 8866 s6.6).
fn rtpmap(media: &sdp_types::Media, payload_type: u8) -> Option<(String, u32, u8)> {
    let mut parts = by_payload_type(media, "rtpmap", payload_type)?.split('/');
    let name = parts.next()?.trim().to_ascii_uppercase();
    let clock_rate = parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(90_000);
    let channels = parts.next().and_then(|channels| channels.trim().parse().ok()).unwrap_or(1);
    Some((name, clock_rate, channels))
}

/// Payload types that need no rtpmap (RFC 3551 s6), as far as cameras use them.
fn static_payload_type(payload_type: u8) -> Option<(String, u32, u8)> {
    let (name, clock_rate) = match payload_type {
        0 => ("PCMU", 8_000),
        8 => ("PCMA", 8_000),
        26 => ("JPEG", 90_000),
        _ => return None,
    };
    Some((name.to_owned(), clock_rate, 1))
}

fn by_payload_type<'a>(media: &'a sdp_types::Media, name: &str, payload_type: u8) -> Option<&'a str> {
    let values = media.attributes.iter().filter(|a| a.attribute.eq_ignore_ascii_case(name));
    values
        .filter_map(|a| a.value.as_deref()?.trim().split_once(char::is_whitespace))
        .find_map(|(number, rest)| (number.parse() == Ok(payload_type)).then_some(rest.trim()))
}

fn attribute<'a>(attributes: &'a [sdp_types::Attribute], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|a| a.attribute.eq_ignore_ascii_case(name))?;
    found.value.as_deref().map(str::trim)
}

/// Where a control attribute points. Not RFC 3986 resolution: cameras (and every client they were
/// tested with) append the control to the base, query included.
fn resolve(base: &str, control: &str) -> String {
    if control == "*" || control.is_empty() {
        return base.to_owned();
    }
    if Url::parse(control).is_ok_and(|url| matches!(url.scheme(), "rtsp" | "rtsps")) {
        return control.to_owned();
    }
    let control = control.strip_prefix('/').unwrap_or(control);
    if base.ends_with('/') { format!("{base}{control}") } else { format!("{base}/{control}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAHUA: &str = "v=0\r\no=- 2251938191 2251938191 IN IP4 0.0.0.0\r\ns=Media Server\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
        a=control:*\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\na=framerate:25.000000\r\na=rtpmap:96 H264/90000\r\n\
        a=fmtp:96 packetization-mode=1;profile-level-id=4D401F;sprop-parameter-sets=Z01AH6kYFAFu,aM4xEg==\r\na=recvonly\r\n\
        m=audio 0 RTP/AVP 8\r\na=control:trackID=1\r\nm=application 0 RTP/AVP 107\r\na=control:trackID=4\r\n\
        a=rtpmap:107 vnd.onvif.metadata/90000\r\n";

    #[test]
    fn dahua_h264_pcma_onvif_with_query_in_the_base() {
        let base = "rtsp://192.168.1.9/cam/realmonitor?channel=1&subtype=0";
        let medias = parse(DAHUA.as_bytes(), base).unwrap();
        let brief: Vec<_> =
            medias.iter().map(|m| (m.media.as_str(), m.encoding_name.as_str(), m.clock_rate)).collect();
        assert_eq!(
            brief,
            [
                ("video", "H264", 90_000),
                ("audio", "PCMA", 8_000),
                ("application", "VND.ONVIF.METADATA", 90_000)
            ]
        );
        assert_eq!(medias[0].control, format!("{base}/trackID=0"));
        assert!(medias[0].fmtp.contains("sprop-parameter-sets=Z01AH6kYFAFu,aM4xEg=="));
    }

    #[test]
    fn controls_are_appended_or_taken_whole() {
        assert_eq!(resolve("rtsp://h/a/", "trackID=1"), "rtsp://h/a/trackID=1");
        assert_eq!(resolve("rtsp://h/a", "/trackID=1"), "rtsp://h/a/trackID=1");
        assert_eq!(resolve("rtsp://h/a", "rtsp://h/b/track1"), "rtsp://h/b/track1");
        assert_eq!(resolve("rtsp://h/a", "*"), "rtsp://h/a");
    }

    #[test]
    fn text_that_is_not_sdp_is_an_error() {
        assert!(parse(b"<html>not found</html>", "rtsp://h/").is_err());
    }
}
