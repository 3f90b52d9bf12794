//! Buffers that nobody needs just now, a few on each thread: a connection has one only while it holds bytes, and a busy
//! one would ask the allocator for it with every read and every write.

use std::cell::RefCell;

use bytes::BytesMut;

/// Kept on a thread. A connection fills two at a time, input and output; a layer between takes a third.
const KEPT_MAX: usize = 4;
/// What a new one has room for: a read, and the answers to it.
const BYTES: usize = 8 * 1024;
/// So few bytes are copied rather than held in a large buffer.
const LITTLE: usize = 512;
/// One that has grown beyond is not kept.
const BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// Sees to it that `buffer` has memory to write to.
pub(crate) fn lend(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        *buffer = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
        buffer.reserve(BYTES);
    }
}

/// Takes the memory of `buffer` back, if there is little in it: the begin of a packet that may never go on is held in as much
/// memory as it takes.
pub(crate) fn take_back(buffer: &mut BytesMut) {
    if buffer.len() > LITTLE || buffer.capacity() == 0 {
        return;
    }
    let left = if buffer.is_empty() { BytesMut::new() } else { BytesMut::from(buffer.as_ref()) };
    let mut spare = std::mem::replace(buffer, left);
    spare.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_MAX && spare.capacity() <= BYTES_MAX {
            kept.push(spare);
        }
    });
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn an_empty_buffer_goes_back_and_is_lent_again_whole() {
        let mut buffer = BytesMut::new();
        lend(&mut buffer);
        buffer.extend_from_slice(&[1; BYTES]);
        let memory = buffer.as_ptr();
        take_back(&mut buffer);
        assert_eq!(buffer.len(), BYTES, "it holds bytes");
        buffer.advance(BYTES);
        take_back(&mut buffer);
        assert_eq!(buffer.capacity(), 0);
        lend(&mut buffer);
        assert!(buffer.is_empty() && buffer.capacity() >= BYTES);
        assert_eq!(buffer.as_ptr(), memory);
    }

    #[test]
    fn the_begin_of_a_packet_holds_no_large_buffer() {
        let mut buffer = BytesMut::new();
        lend(&mut buffer);
        buffer.extend_from_slice(&[7; 5]);
        take_back(&mut buffer);
        assert_eq!(buffer.as_ref(), [7; 5]);
        assert!(buffer.capacity() < 64);
    }

    #[test]
    fn what_is_kept_on_a_thread_is_bounded() {
        let mut buffers: Vec<BytesMut> = (0..100).map(|_| BytesMut::with_capacity(BYTES)).collect();
        buffers.push(BytesMut::with_capacity(BYTES_MAX + 1));
        buffers.reverse();
        for buffer in &mut buffers {
            take_back(buffer);
        }
        KEPT.with_borrow(|kept| {
            assert_eq!(kept.len(), KEPT_MAX);
            assert!(kept.iter().all(|spare| spare.capacity() <= BYTES_MAX));
        });
    }
}
