//! The bytes of one frame, through a small buffer.

use stillboot::driver::{Source, SourceError};

use crate::frame::Fault;

/// Bytes of the buffer between a source and a decoder.
const BUFFER_LEN: usize = 512;

/// The bytes of one frame. It never reads beyond the frame.
pub struct Input<'a> {
    source: &'a mut dyn Source,
    /// Bytes of the frame that are still in the source.
    unread: usize,
    buffer: [u8; BUFFER_LEN],
    at: usize,
    filled: usize,
}

impl core::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Input({} bytes left)", self.left())
    }
}

impl<'a> Input<'a> {
    /// The next `len` bytes of `source`.
    pub fn new(source: &'a mut dyn Source, len: usize) -> Self {
        Self { source, unread: len, buffer: [0; BUFFER_LEN], at: 0, filled: 0 }
    }

    /// How many bytes of the frame are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.unread + self.filled - self.at
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Fault::Damaged`] at the end of the frame, [`Fault::Source`].
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Fault> {
        if self.at == self.filled {
            self.refill()?;
        }
        let byte = self.buffer[self.at];
        self.at += 1;
        Ok(byte)
    }

    /// The bytes that are in the buffer, at least one.
    ///
    /// # Errors
    /// As [`byte`](Self::byte).
    pub fn some(&mut self) -> Result<&[u8], Fault> {
        if self.at == self.filled {
            self.refill()?;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    /// Takes `len` bytes of those that [`some`](Self::some) gave.
    pub fn consume(&mut self, len: usize) {
        self.at = (self.at + len).min(self.filled);
    }

    /// Fills `into`.
    ///
    /// # Errors
    /// As [`byte`](Self::byte).
    pub fn fill(&mut self, into: &mut [u8]) -> Result<(), Fault> {
        if into.len() > self.left() {
            return Err(Fault::Damaged);
        }
        let buffered = into.len().min(self.filled - self.at);
        into[..buffered].copy_from_slice(&self.buffer[self.at..][..buffered]);
        self.at += buffered;
        read_all(self.source, &mut into[buffered..])?;
        self.unread -= into.len() - buffered;
        Ok(())
    }

    /// Runs `decode` on the next `len` bytes alone.
    ///
    /// # Errors
    /// That of `decode`; [`Fault::Damaged`] if the frame is shorter, or if `decode` leaves some.
    pub fn within(
        &mut self,
        len: usize,
        decode: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let held_back = self.left().checked_sub(len).ok_or(Fault::Damaged)?;
        // What is in the buffer already may belong to both parts.
        let kept = held_back.saturating_sub(self.unread);
        let filled = self.filled;
        self.filled -= kept;
        self.unread -= held_back - kept;
        decode(self)?;
        if self.left() != 0 {
            return Err(Fault::Damaged);
        }
        if kept > 0 {
            (self.at, self.filled) = (filled - kept, filled);
        }
        self.unread += held_back - kept;
        Ok(())
    }

    /// Skips what is left of the frame.
    ///
    /// # Errors
    /// [`Fault::Source`].
    pub fn finish(mut self) -> Result<(), Fault> {
        self.source.skip(self.unread as u64).map_err(|_| Fault::Source)?;
        self.unread = 0;
        Ok(())
    }

    fn refill(&mut self) -> Result<(), Fault> {
        let len = self.unread.min(BUFFER_LEN);
        if len == 0 {
            return Err(Fault::Damaged);
        }
        read_all(self.source, &mut self.buffer[..len])?;
        (self.at, self.filled) = (0, len);
        self.unread -= len;
        Ok(())
    }
}

/// Fills `into` from `source`.
pub(crate) fn read_all(source: &mut dyn Source, into: &mut [u8]) -> Result<(), Fault> {
    let mut at = 0;
    while at < into.len() {
        match source.read(&mut into[at..]) {
            Ok(0) => return Err(Fault::Ended),
            Ok(len) if len <= into.len() - at => at += len,
            // A source that claims more than it was given room for is broken.
            _ => return Err(Fault::Source),
        }
    }
    Ok(())
}

/// Bytes in memory as a source.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Source for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = into.len().min(self.0.len());
        let (now, rest) = self.0.split_at(len);
        into[..len].copy_from_slice(now);
        self.0 = rest;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let len = usize::try_from(len).map_err(|_| SourceError)?;
        self.0 = self.0.get(len..).ok_or(SourceError)?;
        Ok(())
    }
}
