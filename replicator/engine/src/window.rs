//! Bytes read ahead of a socket: filled at the end, consumed from the start, compacted only between receives.

use std::ptr::NonNull;

/// A fixed piece of memory with received bytes in it.
pub(crate) struct Window {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Window {
    /// `capacity` bytes, with `leftover` as the first ones received.
    pub(crate) fn new(capacity: usize, leftover: &[u8]) -> Self {
        let mut bytes = vec![0; capacity.max(leftover.len())].into_boxed_slice();
        bytes[..leftover.len()].copy_from_slice(leftover);
        Self {
            bytes,
            start: 0,
            end: leftover.len(),
        }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, len: usize) {
        assert!(
            len <= self.end - self.start,
            "{len} bytes were never received"
        );
        self.start += len;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    pub(crate) const fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Room for the next receive: at most `most` bytes. Nothing else may touch the window until `received`.
    pub(crate) fn room(&mut self, most: usize) -> (NonNull<u8>, usize) {
        let room = self.room_mut(most);
        let address = NonNull::new(room.as_mut_ptr()).expect("a slice has an address");
        (address, room.len())
    }

    /// The same for bytes that are put there at once.
    pub(crate) fn room_mut(&mut self, most: usize) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = &mut self.bytes[self.end..];
        let len = room.len().min(most);
        &mut room[..len]
    }

    pub(crate) fn received(&mut self, len: usize) {
        self.end += len;
        assert!(
            self.end <= self.bytes.len(),
            "more bytes than there was room for"
        );
    }
}
