//! RTSP by hand: requests over a raw socket, for what no player sends.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than any answer takes on a loaded machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A connection to an RTSP server.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    unread: Vec<u8>,
    cseq: u32,
    /// The session that a SETUP made.
    pub session: String,
}

/// An answer's head and body.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Everything, as it came.
    pub text: String,
}

impl RawClient {
    /// Connects to `127.0.0.1`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        Ok(Self { stream, unread: Vec::new(), cseq: 0, session: String::new() })
    }

    /// Sends a request with further header lines and gives the answer; media in between is dropped. A session is named
    /// once there is one.
    ///
    /// # Errors
    /// When the connection breaks, no answer comes, or it is to another request.
    pub async fn ask(&mut self, method: &str, url: &str, headers: &str) -> anyhow::Result<Answer> {
        self.ask_with(method, url, headers, "").await
    }

    /// The same with a body, whose length is among the headers.
    ///
    /// # Errors
    /// As [`RawClient::ask`].
    pub async fn ask_with(
        &mut self,
        method: &str,
        url: &str,
        headers: &str,
        body: &str,
    ) -> anyhow::Result<Answer> {
        self.cseq += 1;
        let session = match self.session.as_str() {
            "" => String::new(),
            id => format!("Session: {id}\r\n"),
        };
        let request =
            format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{session}{headers}\r\n{body}", self.cseq);
        self.stream.write_all(request.as_bytes()).await?;
        let text = tokio::time::timeout(ANSWER_LIMIT, self.answer()).await.context("no answer")??;
        // correctness: R1
        ensure!(header(&text, "cseq") == Some(self.cseq.to_string().as_str()), "another CSeq: {text}");
        let status = text.split(' ').nth(1).context("status")?.parse()?;
        if let Some(id) = header(&text, "session") {
            id.split(';').next().unwrap_or_default().clone_into(&mut self.session);
        }
        Ok(Answer { status, text })
    }

    /// DESCRIBE, SETUP of track 0 over TCP and PLAY.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn play(&mut self, url: &str) -> anyhow::Result<()> {
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        for (method, url, headers) in [
            ("DESCRIBE", url.to_owned(), ""),
            ("SETUP", format!("{url}/trackID=0"), transport),
            ("PLAY", url.to_owned(), ""),
        ] {
            let answer = self.ask(method, &url, headers).await?;
            ensure!(answer.status == 200, "{method}: {}", answer.text);
        }
        Ok(())
    }

    /// The next interleaved packet: channel and bytes.
    ///
    /// # Errors
    /// When the connection ends, or nothing comes.
    pub async fn packet(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        let next = async {
            loop {
                if let Some(packet) = self.take_packet()? {
                    return Ok(packet);
                }
                self.read_more().await?;
            }
        };
        tokio::time::timeout(ANSWER_LIMIT, next).await.context("no packet")?
    }

    /// Reads what comes until the server closes the connection.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn drain(mut self, limit: Duration) -> anyhow::Result<()> {
        let drained = async {
            while self.read_more().await.is_ok() {
                self.unread.clear();
            }
        };
        tokio::time::timeout(limit, drained).await.context("the connection stays open")
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        loop {
            while self.unread.first() == Some(&b'$') && self.take_packet()?.is_some() {}
            let is_answer = self.unread.first().is_some_and(|first| *first != b'$');
            let end = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n").filter(|_| is_answer);
            if let Some(end) = end.map(|at| at + 4) {
                let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                let body: usize = header(&head, "content-length").map_or(Ok(0), str::parse)?;
                if self.unread.len() >= end + body {
                    let whole: Vec<u8> = self.unread.drain(..end + body).collect();
                    return Ok(String::from_utf8_lossy(&whole).into_owned());
                }
            }
            self.read_more().await?;
        }
    }

    fn take_packet(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let Some(&[dollar, channel, high, low]) = self.unread.first_chunk() else { return Ok(None) };
        ensure!(dollar == b'$', "byte {dollar:#x} where a packet is due");
        let end = 4 + usize::from(u16::from_be_bytes([high, low]));
        if self.unread.len() < end {
            return Ok(None);
        }
        let packet = self.unread.drain(..end).skip(4).collect();
        Ok(Some((channel, packet)))
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        let mut chunk = vec![0; 64 << 10];
        match self.stream.read(&mut chunk).await? {
            0 => bail!("the server closed the connection"),
            count => self.unread.extend_from_slice(&chunk[..count]),
        }
        Ok(())
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}
