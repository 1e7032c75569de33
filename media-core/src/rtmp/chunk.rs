//! Chunks: messages cut into pieces of interleaved chunk streams, put together again; and the other way.
//!
//! Spec: RTMP s5.3 (chunks), s5.4.1 and s5.4.2 (chunk size, abort). Deviation, for encoders: a chunk that goes on with a message may leave
//! out the extended timestamp.
//!
//! Invariant: what is kept of an unfinished message is what came of it, never what its header promises.
//! Limits: [`MESSAGE_BYTES_MAX`], [`CHUNK_STREAMS_MAX`], [`UNFINISHED_BYTES_MAX`]: a peer beyond one is a [`ChunkError`], which ends its
//! connection.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::kind;
use crate::access_unit::ACCESS_UNIT_BYTES_MAX;

/// The longest message: the largest access unit with its tag's header.
pub const MESSAGE_BYTES_MAX: usize = ACCESS_UNIT_BYTES_MAX + 64;

/// Chunk streams that a peer may use; encoders use four or five.
pub const CHUNK_STREAMS_MAX: usize = 32;

/// Bytes of unfinished messages of all chunk streams: the longest picture, and a megabyte of sound and commands beside it.
pub const UNFINISHED_BYTES_MAX: usize = MESSAGE_BYTES_MAX + (1 << 20);

/// The size of a peer's chunks until it says another.
const CHUNK_BYTES_DEFAULT: usize = 128;

/// The size of our chunks: what players are used to; a picture is a few of them.
pub const CHUNK_BYTES_OUT: usize = 65_536;

/// Slices up to this long are copied behind their header, longer ones are written as they are.
const COPIED_BYTES_MAX: usize = 1024;

/// A timestamp field with this value says that the timestamp follows in 32 bits.
const EXTENDED: u32 = 0x00ff_ffff;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One of [`kind`].
    pub kind: u8,
    /// Its message stream.
    pub stream: u32,
    /// Milliseconds since whatever the sender counts from; wraps.
    pub timestamp_ms: u32,
    /// What it holds.
    pub payload: Bytes,
}

/// Why a peer's chunks can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// A message over [`MESSAGE_BYTES_MAX`].
    #[error("message of {got} bytes, the limit is {MESSAGE_BYTES_MAX}")]
    MessageTooLong {
        /// The bytes that its header promises.
        got: usize,
    },
    /// More than [`CHUNK_STREAMS_MAX`].
    #[error("more than {CHUNK_STREAMS_MAX} chunk streams")]
    TooManyChunkStreams,
    /// More than [`UNFINISHED_BYTES_MAX`].
    #[error("unfinished messages over the limit of {UNFINISHED_BYTES_MAX} bytes")]
    TooMuchUnfinished,
    /// A chunk size of zero, or none.
    #[error("chunk size that can't be used")]
    ChunkSize,
    /// A short header on a chunk stream that had no whole one.
    #[error("chunk stream {id} begins without a whole header")]
    NoHeader {
        /// The chunk stream.
        id: u32,
    },
}

/// What is remembered of a chunk stream.
#[derive(Debug, Default)]
struct ChunkStream {
    header: Header,
    /// What came of the message under way.
    unfinished: BytesMut,
    is_under_way: bool,
}

/// The fields of a header, as far as chunks may leave them out.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    timestamp_ms: u32,
    /// The timestamp field: a time in a whole header, a difference in a short one.
    field_ms: u32,
    is_extended: bool,
    bytes: usize,
    kind: u8,
    stream: u32,
}

/// Puts messages together.
#[derive(Debug)]
pub struct ChunkReader {
    chunk_bytes: usize,
    streams: BTreeMap<u32, ChunkStream>,
    /// The chunk under way: its chunk stream, and the bytes that it lacks.
    open: Option<(u32, usize)>,
    unfinished_bytes: usize,
}

impl Default for ChunkReader {
    fn default() -> Self {
        let streams = BTreeMap::new();
        Self { chunk_bytes: CHUNK_BYTES_DEFAULT, streams, open: None, unfinished_bytes: 0 }
    }
}

impl ChunkReader {
    /// Takes the next whole message from the front of `buf`; `None` until more comes. Chunk sizes and aborts are followed here.
    ///
    /// # Errors
    /// [`ChunkError`]: nothing after it makes sense.
    pub fn next_message(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        loop {
            let (id, lacking) = match self.open {
                Some(open) => open,
                None => match self.begin_chunk(buf)? {
                    Some(open) => open,
                    None => return Ok(None),
                },
            };
            let taken = lacking.min(buf.len());
            self.unfinished_bytes += taken;
            if self.unfinished_bytes > UNFINISHED_BYTES_MAX {
                return Err(ChunkError::TooMuchUnfinished);
            }
            let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
            stream.unfinished.extend_from_slice(buf.get(..taken).unwrap_or_default());
            buf.advance(taken);
            if taken < lacking {
                self.open = Some((id, lacking - taken));
                return Ok(None);
            }
            self.open = None;
            if stream.unfinished.len() < stream.header.bytes {
                continue;
            }
            stream.is_under_way = false;
            let payload = stream.unfinished.split().freeze();
            self.unfinished_bytes -= payload.len();
            let Header { kind, stream, timestamp_ms, .. } = stream.header;
            match kind {
                kind::SET_CHUNK_SIZE => self.set_chunk_size(&payload)?,
                kind::ABORT => self.abort(&payload),
                _ => return Ok(Some(Message { kind, stream, timestamp_ms, payload })),
            }
        }
    }

    /// Reads a chunk's header, once it is whole, and says whose it is and how much follows.
    fn begin_chunk(&mut self, buf: &mut BytesMut) -> Result<Option<(u32, usize)>, ChunkError> {
        let mut rest: &[u8] = buf;
        let Some((format, id)) = basic_header(&mut rest) else { return Ok(None) };
        let before = self.streams.get(&id).map(|stream| (stream.header, stream.is_under_way));
        let Some((header, begins)) = message_header(&mut rest, (format, id), before)? else {
            return Ok(None);
        };
        if header.bytes > MESSAGE_BYTES_MAX {
            return Err(ChunkError::MessageTooLong { got: header.bytes });
        }
        if before.is_none() && self.streams.len() == CHUNK_STREAMS_MAX {
            return Err(ChunkError::TooManyChunkStreams);
        }
        let read = buf.len() - rest.len();
        buf.advance(read);
        let stream = self.streams.entry(id).or_default();
        if begins {
            self.unfinished_bytes -= stream.unfinished.len();
            stream.unfinished.clear();
        }
        stream.header = header;
        stream.is_under_way = true;
        Ok(Some((id, self.chunk_bytes.min(header.bytes - stream.unfinished.len()))))
    }

    fn set_chunk_size(&mut self, payload: &[u8]) -> Result<(), ChunkError> {
        let size = payload.first_chunk().map(|size| u32::from_be_bytes(*size) & 0x7fff_ffff);
        let size = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
        // No chunk is longer than its message.
        self.chunk_bytes = size.ok_or(ChunkError::ChunkSize)?.min(MESSAGE_BYTES_MAX);
        Ok(())
    }

    fn abort(&mut self, payload: &[u8]) {
        let id = payload.first_chunk().map(|id| u32::from_be_bytes(*id));
        if let Some(stream) = id.and_then(|id| self.streams.get_mut(&id)) {
            self.unfinished_bytes -= stream.unfinished.len();
            stream.unfinished.clear();
            stream.is_under_way = false;
        }
    }
}

/// Format and chunk stream (s5.3.1.1); `None` when more must come.
fn basic_header(rest: &mut &[u8]) -> Option<(u8, u32)> {
    let [first] = take::<1>(rest)?;
    let id = match first & 0x3f {
        0 => u32::from(take::<1>(rest)?[0]) + 64,
        1 => u32::from(u16::from_le_bytes(take::<2>(rest)?)) + 64,
        id => u32::from(id),
    };
    Some((first >> 6, id))
}

/// The message's header (s5.3.1.2, s5.3.1.3) with what it leaves out taken from the one before, and whether a message begins; `None` when
/// more must come.
fn message_header(
    rest: &mut &[u8],
    (format, id): (u8, u32),
    before: Option<(Header, bool)>,
) -> Result<Option<(Header, bool)>, ChunkError> {
    let (mut header, is_under_way) = match (format, before) {
        (0, before) => (before.map_or_else(Header::default, |(header, _)| header), false),
        (_, Some(before)) => before,
        (_, None) => return Err(ChunkError::NoHeader { id }),
    };
    let begins = format < 3 || !is_under_way;
    let mut whole = || -> Option<()> {
        if format < 3 {
            header.field_ms = u24(take::<3>(rest)?);
            header.is_extended = header.field_ms == EXTENDED;
        }
        if format < 2 {
            header.bytes = usize::try_from(u24(take::<3>(rest)?)).unwrap_or(usize::MAX);
            [header.kind] = take::<1>(rest)?;
        }
        if format == 0 {
            header.stream = u32::from_le_bytes(take::<4>(rest)?);
        }
        if header.is_extended {
            let mut after = *rest;
            let extended = u32::from_be_bytes(take::<4>(&mut after)?);
            if format < 3 || extended == header.field_ms {
                *rest = after;
                header.field_ms = extended;
            }
        }
        Some(())
    };
    if whole().is_none() {
        return Ok(None);
    }
    if begins {
        let from = if format == 0 { 0 } else { header.timestamp_ms };
        header.timestamp_ms = header.field_ms.wrapping_add(from);
    }
    Ok(Some((header, begins)))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}

fn u24([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}

/// What a message of ours says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// 2 to 63.
    pub chunk_stream: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// Its message stream.
    pub stream: u32,
    /// Its time.
    pub timestamp_ms: u32,
}

/// Cuts a message, `head` and then `payload`, into what is to be written one after the other. Long payloads are not copied.
pub fn chunks(heading: Heading, head: &[u8], mut payload: Bytes) -> Vec<Bytes> {
    let Heading { chunk_stream, kind, stream, timestamp_ms } = heading;
    debug_assert!((2..64).contains(&chunk_stream) && head.len() < COPIED_BYTES_MAX);
    let total = u32::try_from(head.len() + payload.len()).unwrap_or(u32::MAX);
    let extended = (timestamp_ms >= EXTENDED).then_some(timestamp_ms);
    let mut pieces = Vec::new();
    let mut bytes = BytesMut::with_capacity(18 + head.len() + payload.len().min(COPIED_BYTES_MAX));
    bytes.put_u8(chunk_stream);
    bytes.put_uint(timestamp_ms.min(EXTENDED).into(), 3);
    bytes.put_uint(total.into(), 3);
    bytes.put_u8(kind);
    bytes.put_u32_le(stream);
    extended.into_iter().for_each(|timestamp_ms| bytes.put_u32(timestamp_ms));
    bytes.put_slice(head);
    let mut room = CHUNK_BYTES_OUT - head.len();
    loop {
        let slice = payload.split_to(room.min(payload.len()));
        if slice.len() <= COPIED_BYTES_MAX {
            bytes.put_slice(&slice);
        } else {
            pieces.push(bytes.split().freeze());
            pieces.push(slice);
        }
        if payload.is_empty() {
            break;
        }
        bytes.put_u8(3 << 6 | chunk_stream);
        extended.into_iter().for_each(|timestamp_ms| bytes.put_u32(timestamp_ms));
        room = CHUNK_BYTES_OUT;
    }
    if !bytes.is_empty() {
        pieces.push(bytes.freeze());
    }
    pieces
}
