//! Wire: what both sides of a dialogue do alike: whole messages in, acknowledged and pings answered; messages of ours out.
//!
//! Spec: RTMP s5.4 (acknowledgements), s6.2 (pings). Limits: those of `chunk`.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::amf0::{self, Value};
use super::chunk::{CHUNK_BYTES_OUT, ChunkError, ChunkReader, Heading, Message, chunks};
use super::kind;

/// How much each side may have under way, and how often it should acknowledge; nobody holds to it.
pub(super) const WINDOW_BYTES: u32 = 2_500_000;

/// Chunk streams of ours.
const CONTROL: u8 = 2;
const COMMANDS: u8 = 3;

/// Events of user control messages (s6.2).
pub(super) const STREAM_BEGIN: u16 = 0;
const PING: u16 = 6;
const PONG: u16 = 7;

/// One side's end of a connection.
#[derive(Debug, Default)]
pub(super) struct Wire {
    reader: ChunkReader,
    out: VecDeque<Bytes>,
    received: u64,
    acknowledged: u64,
    /// How often the peer wants to be told what came; 0 for never.
    window_bytes: u64,
}

impl Wire {
    /// The next bytes to be written, in order.
    pub(super) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.out.pop_front()
    }

    /// Takes a block of the handshake, once it is whole.
    pub(super) fn take_block(&mut self, buf: &mut BytesMut, bytes: usize) -> Option<BytesMut> {
        if buf.len() < bytes {
            return None;
        }
        self.count(bytes);
        Some(buf.split_to(bytes))
    }

    /// Writes bytes as they are: the handshake's.
    pub(super) fn put(&mut self, bytes: Bytes) {
        self.out.push_back(bytes);
    }

    /// Takes the next message that is not the wire's own affair; `None` until more comes.
    pub(super) fn next_message(&mut self, buf: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        loop {
            let before = buf.len();
            let message = self.reader.next_message(buf);
            self.count(before - buf.len());
            match message? {
                Some(message) if self.is_answered(&message) => {}
                message => return Ok(message),
            }
        }
    }

    /// Bytes came: the peer is told when it is due.
    fn count(&mut self, bytes: usize) {
        self.received += u64::try_from(bytes).unwrap_or(0);
        if self.window_bytes > 0 && self.received - self.acknowledged >= self.window_bytes {
            self.acknowledged = self.received;
            let low = u32::try_from(self.received & u64::from(u32::MAX)).unwrap_or(0);
            self.control(kind::ACKNOWLEDGEMENT, &low.to_be_bytes());
        }
    }

    /// Follows what is about the connection itself.
    fn is_answered(&mut self, message: &Message) -> bool {
        match message.kind {
            kind::WINDOW_SIZE => {
                let bytes = message.payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                self.window_bytes = bytes.unwrap_or(0).into();
                true
            }
            kind::USER_CONTROL => match message.payload.split_first_chunk::<2>() {
                Some((event, rest)) if u16::from_be_bytes(*event) == PING => {
                    let time = rest.first_chunk().copied().unwrap_or([0; 4]);
                    self.user_control(PONG, u32::from_be_bytes(time));
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// From here on our chunks are as long as they get.
    pub(super) fn set_chunk_size(&mut self) {
        let chunk_bytes = u32::try_from(CHUNK_BYTES_OUT).unwrap_or(u32::MAX);
        self.control(kind::SET_CHUNK_SIZE, &chunk_bytes.to_be_bytes());
    }

    /// Says a command on a message stream.
    pub(super) fn command(&mut self, stream: u32, values: &[Value]) {
        self.send(COMMANDS, kind::COMMAND, stream, amf0::write_all(values));
    }

    /// Says an event.
    pub(super) fn user_control(&mut self, event: u16, argument: u32) {
        let mut payload = BytesMut::with_capacity(6);
        payload.put_u16(event);
        payload.put_u32(argument);
        self.control(kind::USER_CONTROL, &payload);
    }

    /// Says something about the connection.
    pub(super) fn control(&mut self, kind: u8, payload: &[u8]) {
        self.send(CONTROL, kind, 0, Bytes::copy_from_slice(payload));
    }

    fn send(&mut self, chunk_stream: u8, kind: u8, stream: u32, payload: Bytes) {
        let heading = Heading { chunk_stream, kind, stream, timestamp_ms: 0 };
        self.out.extend(chunks(heading, &[], payload));
    }
}
