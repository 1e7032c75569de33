//! RTSP viewer: PLAY over TCP, every interleaved packet read.
//!
//! Spec: RFC 2326 s10.12 (interleaving). Limits: what a test server sends: no authentication, one
//! request at a time.

use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use bytes::{Buf as _, BytesMut};
use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Viewer;
use crate::rtp::{Assembler, Packet};

const READ_BYTES: usize = 64 << 10;
/// Longest response that is read.
const RESPONSE_BYTES_MAX: usize = 64 << 10;
/// The RTP channel of the first track, which is the picture.
const VIDEO_CHANNEL: u8 = 0;

/// Watches until something goes wrong.
///
/// # Errors
/// What went wrong.
pub(super) async fn watch(viewer: &Viewer, url: &str) -> anyhow::Result<()> {
    let address = Url::parse(url)?;
    let host = address.host_str().context("host")?;
    let stream = TcpStream::connect((host, address.port().unwrap_or(554))).await?;
    let mut connection = Connection { stream, unread: BytesMut::new(), cseq: 0, session: String::new() };
    let description = connection.ask("DESCRIBE", url, "Accept: application/sdp\r\n").await?;
    for (track, control) in controls(&description, url).iter().enumerate() {
        let (rtp, rtcp) = (track * 2, track * 2 + 1);
        let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}\r\n");
        connection.ask("SETUP", control, &transport).await?;
    }
    connection.ask("PLAY", url, "Range: npt=0.000-\r\n").await?;
    connection.read_packets(viewer).await
}

/// Control addresses of the tracks, in order (RFC 2326 appendix C.1.1).
fn controls(description: &str, url: &str) -> Vec<String> {
    let media = description.split("\nm=").skip(1);
    let controls = media.filter_map(|section| {
        let line = section.lines().find_map(|line| line.strip_prefix("a=control:"))?;
        Some(line.trim().to_owned())
    });
    let absolute = |control: String| {
        if control.starts_with("rtsp://") {
            control
        } else {
            format!("{}/{control}", url.trim_end_matches('/'))
        }
    };
    controls.map(absolute).collect()
}

struct Connection {
    stream: TcpStream,
    unread: BytesMut,
    cseq: u32,
    session: String,
}

impl Connection {
    /// Sends a request and gives head and body of the response.
    async fn ask(&mut self, method: &str, url: &str, headers: &str) -> anyhow::Result<String> {
        self.cseq += 1;
        let session = match self.session.as_str() {
            "" => String::new(),
            id => format!("Session: {id}\r\n"),
        };
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{session}{headers}\r\n", self.cseq);
        self.stream.write_all(request.as_bytes()).await?;
        let response = self.response().await.with_context(|| format!("answer to {method}"))?;
        ensure!(response.starts_with("RTSP/1.0 200"), "{method}: {response}");
        if let Some(id) = header(&response, "session") {
            id.split(';').next().unwrap_or_default().clone_into(&mut self.session);
        }
        Ok(response)
    }

    async fn response(&mut self) -> anyhow::Result<String> {
        loop {
            let end = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4);
            if let Some(end) = end {
                let head = String::from_utf8_lossy(self.unread.get(..end).unwrap_or_default()).into_owned();
                let body = header(&head, "content-length").map_or(Ok(0), |length| length.parse::<usize>())?;
                ensure!(body <= RESPONSE_BYTES_MAX, "a body of {body} bytes");
                if self.unread.len() >= end + body {
                    let whole = self.unread.split_to(end + body);
                    return Ok(String::from_utf8_lossy(&whole).into_owned());
                }
            }
            ensure!(self.unread.len() <= RESPONSE_BYTES_MAX, "an endless response");
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> anyhow::Result<usize> {
        self.unread.reserve(READ_BYTES);
        let count = self.stream.read_buf(&mut self.unread).await?;
        ensure!(count > 0, "the server closed the connection");
        Ok(count)
    }

    async fn read_packets(&mut self, viewer: &Viewer) -> anyhow::Result<()> {
        let mut assembler = Assembler::new();
        loop {
            while let Some((channel, packet)) = self.packet()? {
                let ended = (channel == VIDEO_CHANNEL).then(|| push(&mut assembler, &packet)).flatten();
                if let Some(identity) = ended {
                    viewer.pictures(&[identity], SystemTime::now());
                }
            }
            let count = self.read_more().await?;
            viewer.bytes(count);
        }
    }

    /// The next whole interleaved frame.
    fn packet(&mut self) -> anyhow::Result<Option<(u8, BytesMut)>> {
        let Some(&[dollar, channel, high, low]) = self.unread.first_chunk() else {
            return Ok(None);
        };
        ensure!(dollar == b'$', "a byte {dollar:#x} where a frame is due");
        let length = usize::from(u16::from_be_bytes([high, low]));
        if self.unread.len() < 4 + length {
            return Ok(None);
        }
        self.unread.advance(4);
        Ok(Some((channel, self.unread.split_to(length))))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(field, value)| field.eq_ignore_ascii_case(name).then(|| value.trim()))
}

/// RFC 3550 s5.1: fixed header, contributing sources and extension are left out.
fn push(assembler: &mut Assembler, packet: &[u8]) -> Option<crate::frames::Identity> {
    let (head, rest) = packet.split_first_chunk::<12>()?;
    let marker = head[1] & 0x80 != 0;
    let timestamp = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let mut payload = rest.get(usize::from(head[0] & 0x0f) * 4..)?;
    if head[0] & 0x10 != 0 {
        let length = u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]);
        payload = payload.get(4 + usize::from(length) * 4..)?;
    }
    assembler.push(&Packet { timestamp, marker, payload })
}
