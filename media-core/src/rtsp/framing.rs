//! Framing: cuts a byte stream into RTSP messages and interleaved data (RFC 2326 s10.12).
//!
//! Limits: [`MESSAGE_HEAD_BYTES_MAX`], [`MESSAGE_BODY_BYTES_MAX`]; beyond them the connection is
//! given up, because the next message's beginning can't be known.

use bytes::{Buf, Bytes, BytesMut};
use rtsp_types::{Message, ParseError, Request, Response};

/// The longest message head (start line and headers) taken, in bytes. Real cameras stay under 2 KB.
pub const MESSAGE_HEAD_BYTES_MAX: usize = 16 << 10;

/// The longest message body taken, in bytes. An SDP with many tracks stays under 10 KB.
pub const MESSAGE_BODY_BYTES_MAX: usize = 256 << 10;

/// Bytes before the payload of interleaved data: `$`, channel, 16-bit length.
const INTERLEAVED_HEADER_BYTES: usize = 4;

/// What stood next in the stream.
#[derive(Debug)]
pub(super) enum Frame {
    Data { channel: u8, payload: Bytes },
    Response(Response<Vec<u8>>),
    Request(Request<Vec<u8>>),
}

/// Why the stream can't be cut any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The head does not end within [`MESSAGE_HEAD_BYTES_MAX`].
    #[error("message head has more than {MESSAGE_HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// Content-Length is over [`MESSAGE_BODY_BYTES_MAX`].
    #[error("message body of {got} bytes announced, the limit is {MESSAGE_BODY_BYTES_MAX}")]
    BodyTooLong {
        /// Content-Length.
        got: u64,
    },
    /// Neither `$` nor an RTSP message.
    #[error("neither interleaved data nor an rtsp message: begins with {begin}")]
    Garbage {
        /// The first bytes, escaped.
        begin: String,
    },
}

/// Remembers how far the head of an incomplete message was searched.
#[derive(Debug, Default)]
pub(super) struct Framer {
    searched: usize,
}

impl Framer {
    /// Takes the next frame off `buf`; `None` when more bytes are needed.
    pub(super) fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, FramingError> {
        // Some cameras send an empty line between messages.
        while self.searched == 0 && buf.first().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
            buf.advance(1);
        }
        match buf.first() {
            None => Ok(None),
            Some(b'$') => Ok(take_interleaved(buf)),
            Some(first) if !first.is_ascii_uppercase() => Err(garbage(buf)),
            Some(_) => self.take_message(buf),
        }
    }

    fn take_message(&mut self, buf: &mut BytesMut) -> Result<Option<Frame>, FramingError> {
        let Some(head_len) = self.find_head_end(buf)? else { return Ok(None) };
        let body_len = content_length(buf.get(..head_len).unwrap_or_default());
        if body_len > MESSAGE_BODY_BYTES_MAX as u64 {
            return Err(FramingError::BodyTooLong { got: body_len });
        }
        let total = head_len + usize::try_from(body_len).unwrap_or(MESSAGE_BODY_BYTES_MAX);
        if buf.len() < total {
            return Ok(None);
        }
        self.searched = 0;
        let bytes = buf.split_to(total);
        match Message::<&[u8]>::parse(&bytes[..]) {
            Ok((Message::Response(response), _)) => {
                Ok(Some(Frame::Response(response.map_body(<[u8]>::to_vec))))
            }
            Ok((Message::Request(request), _)) => Ok(Some(Frame::Request(request.map_body(<[u8]>::to_vec)))),
            Ok((Message::Data(_), _)) | Err(ParseError::Error | ParseError::Incomplete(_)) => {
                Err(garbage(&bytes))
            }
        }
    }

    /// Length of the head with its empty line, once that has arrived.
    fn find_head_end(&mut self, buf: &BytesMut) -> Result<Option<usize>, FramingError> {
        let from = self.searched.saturating_sub(3);
        let window = buf.get(from..).unwrap_or_default();
        let end = window.windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4);
        let head_len = end.unwrap_or(buf.len());
        if head_len > MESSAGE_HEAD_BYTES_MAX {
            return Err(FramingError::HeadTooLong);
        }
        // An RTSP head is text; binary junk that begins with a capital letter is told at once, whole or not.
        let is_junk = |b: &u8| b.is_ascii_control() && !matches!(b, b'\t' | b'\r' | b'\n');
        if buf.get(from..head_len).unwrap_or_default().iter().any(is_junk) {
            return Err(garbage(buf));
        }
        if end.is_none() {
            self.searched = buf.len();
        }
        Ok(end)
    }
}

fn take_interleaved(buf: &mut BytesMut) -> Option<Frame> {
    let (&[_, channel, high, low], _) = buf.split_first_chunk::<INTERLEAVED_HEADER_BYTES>()?;
    let total = INTERLEAVED_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if buf.len() < total {
        // One allocation for what is on its way instead of many small ones.
        buf.reserve(total - buf.len());
        return None;
    }
    let mut payload = buf.split_to(total).freeze();
    payload.advance(INTERLEAVED_HEADER_BYTES);
    Some(Frame::Data { channel, payload })
}

/// Content-Length of a head, 0 when absent or unreadable (the message parser then complains).
fn content_length(head: &[u8]) -> u64 {
    let lines = head.split(|b| *b == b'\n');
    for line in lines {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if name.trim_ascii().eq_ignore_ascii_case(b"content-length") {
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            let text = std::str::from_utf8(digits).unwrap_or_default();
            return text.parse().unwrap_or(if digits.len() > 19 { u64::MAX } else { 0 });
        }
    }
    0
}

fn garbage(bytes: &[u8]) -> FramingError {
    FramingError::Garbage {
        begin: bytes.get(..bytes.len().min(24)).unwrap_or_default().escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(input: &[u8], step: usize) -> Result<Vec<String>, FramingError> {
        let mut framer = Framer::default();
        let mut buf = BytesMut::new();
        let mut seen = Vec::new();
        for chunk in input.chunks(step) {
            buf.extend_from_slice(chunk);
            while let Some(frame) = framer.next(&mut buf)? {
                seen.push(match frame {
                    Frame::Data { channel, payload } => format!("data {channel} {}", payload.len()),
                    Frame::Response(r) => format!("response {} {}", u16::from(r.status()), r.body().len()),
                    Frame::Request(r) => format!("request {:?}", r.method()),
                });
            }
        }
        Ok(seen)
    }

    const MIXED: &[u8] = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nhello\
        $\x00\x00\x03abc\r\n$\x01\x00\x00OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n$\x02\x00\x01x";

    #[test]
    fn messages_and_data_are_told_apart_however_they_arrive() {
        let expect = ["response 200 5", "data 0 3", "data 1 0", "request Options", "data 2 1"];
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(frames(MIXED, step).unwrap(), expect, "step {step}");
        }
    }

    // correctness: S6
    #[test]
    fn endless_head_and_endless_body_are_given_up_at_their_limits() {
        let mut endless = b"RTSP/1.0 200 OK\r\n".to_vec();
        while endless.len() < MESSAGE_HEAD_BYTES_MAX + 1000 {
            endless.extend_from_slice(b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        }
        assert_eq!(frames(&endless, 1460), Err(FramingError::HeadTooLong));
        let huge = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-length: 99999999999\r\n\r\n";
        assert_eq!(frames(huge, 1460), Err(FramingError::BodyTooLong { got: 99_999_999_999 }));
        let absurd = b"RTSP/1.0 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n";
        assert_eq!(frames(absurd, 1460), Err(FramingError::BodyTooLong { got: u64::MAX }));
    }

    #[test]
    fn garbage_is_an_error_and_not_waited_for() {
        assert!(matches!(frames(b"\x80\x60garbage", 100), Err(FramingError::Garbage { .. })));
        assert!(matches!(frames(b"R\x01\x02\x03\x04\x05", 100), Err(FramingError::Garbage { .. })));
        assert!(matches!(frames(b"HELLO\r\n\r\n", 100), Err(FramingError::Garbage { .. })));
        for step in [7, 100] {
            let junk = frames(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: \x01\x02\r\n\r\n", step);
            assert!(matches!(junk, Err(FramingError::Garbage { .. })), "read by {step}: {junk:?}");
        }
    }
}
