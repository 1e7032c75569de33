//! RTMP: a client of our own making for what the peers on this machine can't do yet: Enhanced RTMP, and not reading.
//!
//! Spec: Adobe RTMP 1.0; Enhanced RTMP v2.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fmp4::{self, Init, Kind};

/// The longest wait for a message.
const LIMIT: Duration = Duration::from_secs(30);

/// Larger than any message that is sent: each is one chunk.
const CHUNK_BYTES: u32 = 1 << 20;

/// Audio.
pub const AUDIO: u8 = 8;
/// Video.
pub const VIDEO: u8 = 9;

/// A message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// Its time.
    pub timestamp_ms: u32,
    /// What it holds.
    pub payload: Bytes,
}

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    socket: TcpStream,
    buf: BytesMut,
    chunk_bytes: usize,
    unfinished: HashMap<u8, (Message, usize, BytesMut)>,
}

impl RawClient {
    /// Publishes to, or plays (`command`), a path; says with which code the server answered.
    ///
    /// # Errors
    /// When the connection breaks or nothing comes.
    pub async fn open(port: u16, command: &str, path: &str) -> anyhow::Result<(Self, String)> {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        let hello = [&[3][..], &[0; 1536]].concat();
        socket.write_all(&hello).await?;
        let mut answer = vec![0; 1 + 1536 + 1536];
        tokio::time::timeout(LIMIT, socket.read_exact(&mut answer)).await??;
        ensure!(answer[0] == 3 && answer[1 + 1536..] == hello[1..], "S0 or S2 is wrong");
        socket.write_all(&answer[1..1537]).await?;
        let (buf, unfinished) = (BytesMut::new(), HashMap::new());
        let mut client = Self { socket, buf, chunk_bytes: 128, unfinished };
        client.send(1, 0, &CHUNK_BYTES.to_be_bytes()).await?;
        let connect =
            [&text("connect")[..], &number(1.0), &[3], &key("app"), &text(path), &[0, 0, 9]].concat();
        client.send(20, 0, &connect).await?;
        client.send(20, 0, &[&text("createStream")[..], &number(2.0), &[5]].concat()).await?;
        client.send(20, 0, &[&text(command)[..], &number(3.0), &[5], &text("")].concat()).await?;
        loop {
            let message = client.message().await?;
            let said = String::from_utf8_lossy(&message.payload).into_owned();
            let code =
                said.split(['\0', '\u{2}', '\t']).find(|part| part.contains("NetStream.")).map(str::to_owned);
            match code.and_then(|code| code.find("NetStream.").map(|at| code[at..].to_owned())) {
                Some(code) if !code.contains("Reset") => return Ok((client, code)),
                _ => {}
            }
        }
    }

    /// Sends a message in one chunk.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, kind: u8, timestamp_ms: u32, payload: &[u8]) -> anyhow::Result<()> {
        let mut wire = BytesMut::new();
        wire.put_u8(if kind == 1 { 2 } else { 4 });
        wire.put_uint(timestamp_ms.into(), 3);
        wire.put_uint(payload.len().try_into()?, 3);
        wire.put_u8(kind);
        wire.put_u32_le(1);
        wire.put_slice(payload);
        Ok(self.socket.write_all(&wire).await?)
    }

    /// The next message of any kind.
    ///
    /// # Errors
    /// When the connection ends, or nothing comes for half a minute.
    pub async fn message(&mut self) -> anyhow::Result<Message> {
        loop {
            let message = self.chunk().await?;
            match message {
                Some(message) if message.kind == 1 => {
                    self.chunk_bytes = message.payload.clone().get_u32().try_into()?;
                }
                Some(message) => return Ok(message),
                None => {}
            }
        }
    }

    /// Reads to the end of the connection.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn drain(&mut self) -> anyhow::Result<()> {
        let mut sink = vec![0; 1 << 16];
        let reading = async { while self.socket.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(LIMIT, reading).await.context("the connection does not end")
    }

    async fn chunk(&mut self) -> anyhow::Result<Option<Message>> {
        let first = self.take(1).await?.get_u8();
        let id = first & 0x3f;
        ensure!(id > 1, "chunk stream of a long number");
        match first >> 6 {
            0 => {
                let mut header = self.take(11).await?;
                let mut timestamp_ms: u32 = header.get_uint(3).try_into()?;
                let bytes: usize = header.get_uint(3).try_into()?;
                let kind = header.get_u8();
                if timestamp_ms == 0x00ff_ffff {
                    timestamp_ms = self.take(4).await?.get_u32();
                }
                let message = Message { kind, timestamp_ms, payload: Bytes::new() };
                ensure!(
                    self.unfinished.insert(id, (message, bytes, BytesMut::new())).is_none(),
                    "a message inside another of its chunk stream"
                );
            }
            3 => {}
            other => bail!("chunk format {other}"),
        }
        let (_, bytes, so_far) = self.unfinished.get(&id).context("a chunk of no message")?;
        let (bytes, part) = (*bytes, self.chunk_bytes.min(bytes - so_far.len()));
        let part = self.take(part).await?;
        let (mut message, _, mut so_far) = self.unfinished.remove(&id).context("gone")?;
        so_far.extend_from_slice(&part);
        if so_far.len() < bytes {
            self.unfinished.insert(id, (message, bytes, so_far));
            return Ok(None);
        }
        message.payload = so_far.freeze();
        Ok(Some(message))
    }

    async fn take(&mut self, bytes: usize) -> anyhow::Result<Bytes> {
        while self.buf.len() < bytes {
            let read = tokio::time::timeout(LIMIT, self.socket.read_buf(&mut self.buf)).await?;
            ensure!(read.context("nothing came")? > 0, "the connection ended");
        }
        Ok(self.buf.split_to(bytes).freeze())
    }
}

fn text(text: &str) -> Vec<u8> {
    [&[2][..], &key(text)].concat()
}

fn key(text: &str) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes()[..], text.as_bytes()].concat()
}

fn number(number: f64) -> Vec<u8> {
    [&[0][..], &number.to_be_bytes()].concat()
}

/// A clip of H.265 and Opus as an encoder that speaks Enhanced RTMP sends it.
#[derive(Debug)]
pub struct EnhancedClip {
    /// Sequence starts of pictures and sound.
    pub starts: [Message; 2],
    /// Pictures and sound in the order of their times.
    pub media: Vec<Message>,
}

impl EnhancedClip {
    /// Takes a file apart with ffmpeg.
    ///
    /// # Errors
    /// When that fails.
    pub async fn of(clip: &Path) -> anyhow::Result<Self> {
        let mut command = tokio::process::Command::new("ffmpeg");
        let flags = "frag_keyframe+empty_moov+default_base_moof+skip_trailer";
        command.args(["-nostdin", "-v", "error", "-i"]).arg(clip);
        command.args(["-map", "0", "-c", "copy", "-tag:v", "hvc1", "-movflags", flags, "-f", "mp4", "-"]);
        let output = tokio::time::timeout(LIMIT, command.kill_on_drop(true).output()).await??;
        ensure!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
        let (init_bytes, media) = fmp4::split_init(&Bytes::from(output.stdout))?;
        let init = Init::parse(&init_bytes)?;
        let video = init.video()?.id;
        ensure!(init.video()?.kind == Kind::H265, "not H.265");
        let mut messages = Vec::new();
        for sample in init.fragments(&media)?.into_iter().flat_map(|fragment| fragment.samples) {
            let timescale = i64::from(init.tracks.get(&sample.track).context("track")?.timescale);
            let ms = |ticks: i64| ticks * 1000 / timescale;
            let dts = i64::try_from(sample.dts)?;
            let timestamp_ms = u32::try_from(ms(dts))?;
            let payload = if sample.track == video {
                let composition = i32::try_from(ms(dts + sample.offset) - ms(dts))?.to_be_bytes();
                let head = if sample.sync { 0x91 } else { 0xa1 };
                [&[head][..], b"hvc1", &composition[1..], &sample.data].concat()
            } else {
                [&b"\x91Opus"[..], &sample.data].concat()
            };
            let kind = if sample.track == video { VIDEO } else { AUDIO };
            messages.push(Message { kind, timestamp_ms, payload: payload.into() });
        }
        messages.sort_by_key(|message| message.timestamp_ms);
        let record = [&b"\x90hvc1"[..], of_box(&init_bytes, b"hvcC")?].concat();
        let head = b"\x90OpusOpusHead\x01\x02\0\0\x80\xbb\0\0\0\0\0".to_vec();
        let start = |kind, payload: Vec<u8>| Message { kind, timestamp_ms: 0, payload: payload.into() };
        Ok(Self { starts: [start(VIDEO, record), start(AUDIO, head)], media: messages })
    }
}

fn of_box<'a>(init: &'a [u8], name: &[u8; 4]) -> anyhow::Result<&'a [u8]> {
    let at = init.windows(4).position(|window| window == name).context("box")?;
    let size = init.get(at - 4..at).context("size")?.get_u32();
    init.get(at + 4..at - 4 + usize::try_from(size)?).context("content")
}
