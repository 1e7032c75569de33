//! Handshake: the three blocks that each side sends first, in their plain form.
//!
//! Spec: RTMP s5.2. The digests of Flash players are not answered: encoders and players of today take a server without a version.

use bytes::{BufMut as _, Bytes, BytesMut};

/// The version of plain RTMP.
pub(super) const VERSION: u8 = 3;

/// Bytes of C1, C2, S1 and S2.
pub(super) const BLOCK_BYTES: usize = 1536;

/// The version in front of C1, and C1.
pub(super) const HELLO_BYTES: usize = 1 + BLOCK_BYTES;

/// S0, S1 and S2 to C0 and C1; `None` when it is not RTMP that the peer speaks, or is encrypted in RTMP's own way.
pub(super) fn answer(hello: &[u8]) -> Option<Bytes> {
    let (&version, c1) = hello.split_first()?;
    if version != VERSION {
        return None;
    }
    let mut out = BytesMut::with_capacity(HELLO_BYTES + BLOCK_BYTES);
    out.put_u8(VERSION);
    // Time zero and version zero, then filling that only has to come back.
    out.put_bytes(0, BLOCK_BYTES);
    out.put_slice(c1.get(..BLOCK_BYTES)?);
    Some(out.freeze())
}

/// C0 and C1: what whoever connects sends first.
pub(super) fn hello() -> Bytes {
    let mut out = BytesMut::with_capacity(HELLO_BYTES);
    out.put_u8(VERSION);
    out.put_bytes(0, BLOCK_BYTES);
    out.freeze()
}
