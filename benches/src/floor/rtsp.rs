//! RTSP: the requests that make a camera play over its connection, by hand.
//!
//! ```text
//! OPTIONS ─► DESCRIBE ─► SETUP (each track) ─► PLAY ─► media, as it comes ... OPTIONS now and then
//! ```
//!
//! Belongs here: as much as the simulator asks for. Does not: authentication, redirects, RTCP: what plays here
//! is our own camera on loopback, and a floor does no more than it must.
//! Limits: `ANSWER_BYTES_MAX` (the camera is given up). Spec: RFC 2326.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The longest answer; a session description of two tracks has a tenth of it.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A camera that plays.
#[derive(Debug)]
pub(super) struct Playing {
    /// Media flows here.
    pub(super) stream: TcpStream,
    /// Media that came with the answer to PLAY.
    pub(super) first_media: Vec<u8>,
    /// The request that keeps the session alive; its answers come between the media.
    pub(super) keep_alive: String,
}

/// Makes `url` play all its tracks over a connection to `address`.
///
/// # Errors
/// When the camera can't be reached, refuses a request or answers with nonsense.
pub(super) async fn play(address: &str, url: &str) -> anyhow::Result<Playing> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let mut dialogue =
        Dialogue { stream, received: Vec::new(), session: String::new(), next_cseq: 1, url: url.to_owned() };
    dialogue.play().await.with_context(|| format!("play {url}"))?;
    let keep_alive = dialogue.request("OPTIONS", url, "");
    Ok(Playing { stream: dialogue.stream, first_media: dialogue.received, keep_alive })
}

struct Dialogue {
    stream: TcpStream,
    /// Bytes read and not yet used.
    received: Vec<u8>,
    /// The session's header line, once there is one.
    session: String,
    next_cseq: u32,
    url: String,
}

struct Answer {
    head: String,
    body: String,
}

impl Dialogue {
    async fn play(&mut self) -> anyhow::Result<()> {
        let url = self.url.clone();
        self.ask("OPTIONS", &url, "").await?;
        let described = self.ask("DESCRIBE", &url, "Accept: application/sdp\r\n").await?;
        let tracks = track_urls(&url, &described.body);
        ensure!(!tracks.is_empty(), "no tracks in the session description");
        for (index, track) in tracks.iter().enumerate() {
            let (rtp, rtcp) = (index * 2, index * 2 + 1);
            let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}\r\n");
            let answer = self.ask("SETUP", track, &transport).await?;
            let session = header(&answer.head, "Session").context("SETUP's answer names no session")?;
            let id = session.split(';').next().unwrap_or(session);
            self.session = format!("Session: {id}\r\n");
        }
        self.ask("PLAY", &url, "Range: npt=0.000-\r\n").await?;
        Ok(())
    }

    fn request(&mut self, method: &str, target: &str, headers: &str) -> String {
        let (cseq, session) = (self.next_cseq, &self.session);
        self.next_cseq += 1;
        format!("{method} {target} RTSP/1.0\r\nCSeq: {cseq}\r\n{session}{headers}\r\n")
    }

    async fn ask(&mut self, method: &str, target: &str, headers: &str) -> anyhow::Result<Answer> {
        let request = self.request(method, target, headers);
        self.stream.write_all(request.as_bytes()).await.context("write request")?;
        let answer = self.read_answer().await.with_context(|| format!("read answer to {method}"))?;
        let status = answer.head.lines().next().unwrap_or_default();
        ensure!(status.split(' ').nth(1) == Some("200"), "{method} answered with {status:?}");
        Ok(answer)
    }

    async fn read_answer(&mut self) -> anyhow::Result<Answer> {
        let head_end = loop {
            if let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(self.received.get(..head_end).unwrap_or_default()).into_owned();
        let body_len = match header(&head, "Content-Length") {
            Some(len) => len.parse::<usize>().with_context(|| format!("content length {len:?}"))?,
            None => 0,
        };
        ensure!(body_len <= ANSWER_BYTES_MAX, "body of {body_len} bytes");
        while self.received.len() < head_end + body_len {
            self.read_more().await?;
        }
        let rest = self.received.split_off(head_end + body_len);
        let answer = std::mem::replace(&mut self.received, rest);
        let body = String::from_utf8_lossy(answer.get(head_end..).unwrap_or_default()).into_owned();
        Ok(Answer { head, body })
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        ensure!(self.received.len() <= 2 * ANSWER_BYTES_MAX, "answer without end");
        let count = self.stream.read_buf(&mut self.received).await.context("read")?;
        if count == 0 {
            bail!("connection closed");
        }
        Ok(())
    }
}

/// A header's value; names are compared without case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let pairs = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    values.next()
}

/// Control URLs of the media sections (RFC 2326 appendix C.1.1).
fn track_urls(url: &str, sdp: &str) -> Vec<String> {
    let controls = sdp.lines().skip_while(|line| !line.starts_with("m="));
    let controls = controls.filter_map(|line| line.strip_prefix("a=control:"));
    controls
        .map(|control| match control {
            absolute if absolute.starts_with("rtsp://") => absolute.to_owned(),
            relative => format!("{}/{relative}", url.trim_end_matches('/')),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracks_are_those_of_the_media_sections_and_relative_to_the_camera() {
        let sdp = "v=0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n\
                   m=audio 0 RTP/AVP 97\r\na=control:rtsp://other/track\r\n";
        assert_eq!(track_urls("rtsp://h/cam_1/", sdp), ["rtsp://h/cam_1/trackID=0", "rtsp://other/track"]);
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        assert_eq!(
            header("RTSP/1.0 200 OK\r\nsession:  12;timeout=60\r\n\r\n", "Session"),
            Some("12;timeout=60")
        );
        assert_eq!(header("RTSP/1.0 200 OK\r\n\r\n", "Session"), None);
    }
}
