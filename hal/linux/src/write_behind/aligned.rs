//! Buffers that start on a page: direct I/O takes no others.

use std::ops::{Deref, DerefMut};

/// The largest alignment that a disk asks of memory, and the smallest page of Linux.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes that start on a page.
#[derive(Debug)]
pub(super) struct Aligned {
    /// Never grows, so the bytes keep their address.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` bytes, all 0.
    pub(super) fn new(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        // The function may decline to answer. Then the bytes are not aligned, which is slower and
        // still right.
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, len }
    }
}

impl Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_on_a_page_and_have_the_length_asked_for() {
        for len in [1, 512, 4096, 1 << 20] {
            let mut buffer = Aligned::new(len);
            buffer.fill(7);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().addr() % ALIGNMENT, 0);
        }
    }
}
