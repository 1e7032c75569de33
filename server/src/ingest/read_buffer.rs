//! Read buffer: where a camera's bytes arrive, a block from a store that the cameras of one thread share.
//!
//! ```text
//!  spare blocks of the thread ─► block ─► read ─► packets (slices) ─► access unit (its own copy)
//!             ▲                                                           │ all used up, nobody holds a slice
//!             └───────────────────────────────────────────────────────────┘
//! ```
//!
//! A camera that waits for its next picture holds no block, so a few of them, warm in the processor's cache, serve all
//! cameras of a thread. One that has half a message, or packets of a picture that is not whole yet, keeps its block.
//!
//! Limits: [`BLOCK_BYTES`] a camera; [`SPARE_BLOCKS_MAX`] kept a thread.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Bytes asked of the kernel at once. Large enough for a key frame's burst at 4 Mbit/s, so that a camera costs
/// one read a picture and not one a packet.
const BLOCK_BYTES: usize = 64 << 10;

/// With less room than this a block is not worth a read.
const ROOM_BYTES_MIN: usize = BLOCK_BYTES / 4;

/// Blocks kept for the next camera; more are given back to the allocator.
const SPARE_BLOCKS_MAX: usize = 32;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// One camera's buffer: empty, or a block.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer {
    block: BytesMut,
}

impl ReadBuffer {
    /// Reads what is there behind the bytes not yet used; without any, gives the block back and waits.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut (impl AsyncRead + ?Sized)>,
    ) -> Poll<io::Result<usize>> {
        let read = poll_read_buf(from, cx, self.with_room());
        if read.is_pending() {
            self.settle();
        }
        read
    }

    /// The bytes not yet used, with room behind them for a read.
    fn with_room(&mut self) -> &mut BytesMut {
        if self.block.capacity() - self.block.len() < ROOM_BYTES_MIN {
            let mut block = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
            // A block that other slices of it have not left yet is not in the store: this allocates at most once.
            block.reserve(self.block.len() + BLOCK_BYTES);
            block.extend_from_slice(&self.block);
            self.block = block;
        }
        &mut self.block
    }

    /// The bytes not yet used.
    pub(super) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.block
    }

    /// The last read left no room: more may wait.
    pub(super) fn is_full(&self) -> bool {
        self.block.len() == self.block.capacity()
    }

    /// Gives the block to the store if nothing of it is in use.
    fn settle(&mut self) {
        if self.block.is_empty() && self.block.capacity() > 0 && self.block.try_reclaim(BLOCK_BYTES) {
            let block = std::mem::take(&mut self.block);
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BLOCKS_MAX {
                    spare.push(block);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_shared_by_cameras_once_nothing_of_it_is_in_use() {
        let (mut first, mut second) = (ReadBuffer::default(), ReadBuffer::default());
        first.with_room().extend_from_slice(b"packet");
        let begin = first.bytes().as_ptr();
        let packet = first.bytes().split().freeze();
        first.settle();
        assert_ne!(second.with_room().as_ptr(), begin, "the packet is still in use");
        assert_eq!(packet, b"packet"[..]);
        drop(packet);
        first.settle();
        assert_eq!(ReadBuffer::default().with_room().as_ptr(), begin);
    }

    #[test]
    fn half_a_message_moves_with_its_camera_to_a_block_with_room() {
        let mut buffer = ReadBuffer::default();
        let full = vec![7; BLOCK_BYTES - 10];
        buffer.with_room().extend_from_slice(&full);
        let first = buffer.bytes().split_to(full.len() - 100).freeze();
        assert_eq!(buffer.with_room().as_ref(), [7; 100]);
        assert!(buffer.bytes().capacity() >= BLOCK_BYTES);
        drop(first);
    }
}
