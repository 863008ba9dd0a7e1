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
        let result = decode(self);
        // What is held back is a part of the frame also after damage: it is taken with the rest.
        let unused = self.left();
        self.unread += held_back - kept;
        if kept > 0 {
            // All of the buffer was read from the source before.
            (self.at, self.filled) = (filled - kept, filled);
        }
        match unused {
            0 => result,
            _ => result.and(Err(Fault::Damaged)),
        }
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

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(!self.0.is_empty())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// Endless bytes 0, 1, 2, ..., in pieces, that counts what was taken.
    struct Counting {
        taken: u64,
        piece: usize,
    }

    impl Source for Counting {
        fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
            let len = into.len().min(self.piece);
            for (at, byte) in into[..len].iter_mut().enumerate() {
                *byte = (self.taken + at as u64) as u8;
            }
            self.taken += len as u64;
            Ok(len)
        }

        fn skip(&mut self, len: u64) -> Result<(), SourceError> {
            self.taken += len;
            Ok(())
        }

        fn has_more(&mut self) -> Result<bool, SourceError> {
            Ok(true)
        }
    }

    fn expected(from: usize, len: usize) -> Vec<u8> {
        (from..from + len).map(|at| at as u8).collect()
    }

    #[test]
    fn a_frame_ends_where_its_length_says_however_it_is_read() {
        for len in [0, 1, 2, 511, 512, 513, 1024, 5000] {
            for piece in [1, 7, 512, 100_000] {
                let mut source = Counting { taken: 0, piece };
                let mut input = Input::new(&mut source, len);
                let mut found = Vec::new();
                while input.left() > 0 {
                    match found.len() % 3 {
                        0 => found.push(input.byte().unwrap()),
                        1 => {
                            let some = input.some().unwrap();
                            let take = some.len().div_ceil(2);
                            found.extend_from_slice(&some[..take]);
                            input.consume(take);
                        }
                        _ => {
                            let mut more = vec![0; input.left().min(5)];
                            input.fill(&mut more).unwrap();
                            found.extend_from_slice(&more);
                        }
                    }
                }
                assert_eq!(found, expected(0, len));
                assert_eq!(input.byte(), Err(Fault::Damaged));
                assert_eq!(input.some().map(<[u8]>::len), Err(Fault::Damaged));
                assert_eq!(input.fill(&mut [0]), Err(Fault::Damaged));
                assert_eq!(input.finish(), Ok(()));
                assert_eq!(source.taken, len as u64);
            }
        }
    }

    #[test]
    fn finish_takes_exactly_the_rest_of_the_frame() {
        for read in [0, 1, 511, 512, 600, 2000] {
            let mut source = Counting { taken: 0, piece: 100 };
            let mut input = Input::new(&mut source, 2000);
            for _ in 0..read {
                input.byte().unwrap();
            }
            input.finish().unwrap();
            assert_eq!(source.taken, 2000);
        }
    }

    #[test]
    fn a_part_of_a_frame_hides_the_rest_from_its_decoder() {
        for before in [0, 1, 500, 512] {
            for len in [0, 1, 11, 12, 13, 512, 700, 1500] {
                let mut source = Counting { taken: 0, piece: 64 };
                let mut input = Input::new(&mut source, 3000);
                for _ in 0..before {
                    input.byte().unwrap();
                }
                let result = input.within(len, |input| {
                    assert_eq!(input.left(), len);
                    let mut all = vec![0; len];
                    input.fill(&mut all)?;
                    assert_eq!(all, expected(before, len));
                    assert_eq!(input.byte(), Err(Fault::Damaged));
                    Ok(())
                });
                assert_eq!(result, Ok(()));
                assert_eq!(input.left(), 3000 - before - len);
                assert_eq!(input.byte(), Ok((before + len) as u8));
                input.finish().unwrap();
                assert_eq!(source.taken, 3000);
            }
        }
    }

    /// After damage inside a part, the rest of the frame was left in the source.
    #[test]
    fn the_whole_frame_is_taken_when_a_part_of_it_is_damaged() {
        for (part, read) in [(10, 3), (10, 10), (600, 3), (600, 550), (1500, 1400), (2000, 0)] {
            for fails in [true, false] {
                let mut source = Counting { taken: 0, piece: 64 };
                let mut input = Input::new(&mut source, 2000);
                let result = input.within(part, |input| {
                    for _ in 0..read {
                        input.byte()?;
                    }
                    if fails { Err(Fault::Damaged) } else { Ok(()) }
                });
                let is_whole = !fails && read == part;
                assert_eq!(result.is_ok(), is_whole);
                input.finish().unwrap();
                assert_eq!(source.taken, 2000, "{part} {read}");
            }
        }
        let mut source = Counting { taken: 0, piece: 64 };
        let mut input = Input::new(&mut source, 10);
        assert_eq!(input.within(11, |_| Ok(())), Err(Fault::Damaged));
        assert_eq!(input.left(), 10);
    }

    #[test]
    fn a_source_that_claims_too_much_or_ends_is_an_error() {
        struct Lying(usize);
        impl Source for Lying {
            fn read(&mut self, _: &mut [u8]) -> Result<usize, SourceError> {
                Ok(self.0)
            }
            fn skip(&mut self, _: u64) -> Result<(), SourceError> {
                Err(SourceError)
            }
            fn has_more(&mut self) -> Result<bool, SourceError> {
                Err(SourceError)
            }
        }
        let mut all = [0; 20];
        for (claims, fault) in [(21, Fault::Source), (usize::MAX, Fault::Source), (0, Fault::Ended)]
        {
            assert_eq!(read_all(&mut Lying(claims), &mut all), Err(fault));
            let mut source = Lying(claims.max(513) * usize::from(claims > 0));
            assert_eq!(Input::new(&mut source, 600).byte(), Err(fault));
            assert_eq!(Input::new(&mut source, 600).finish(), Err(Fault::Source));
        }
    }
}
