//! A framed file from front to back, as a source of the bundle.

use stillboot::driver::{Source, SourceError, read_more};

use crate::decode::Decoder;
use crate::frame::{ENTRY_LEN, Encoding, Entry, Fault, HEADER_LEN_MAX, HEADER_LEN_MIN, Header};
use crate::frame::{Piece, Pieces};
use crate::input::read_all;
use crate::old::Old;

/// Reads what stands before the frames of a framed file that is read from front to back.
///
/// # Errors
/// [`Fault`]. An encoding that this build lacks is refused here, before anything is erased; so is a
/// patch that does not hold the whole bundle.
pub fn read_header(source: &mut dyn Source) -> Result<Header, Fault> {
    let mut bytes = [0; HEADER_LEN_MAX];
    let (start, rest) = bytes.split_at_mut(HEADER_LEN_MIN);
    read_all(source, start)?;
    let len = Header::len_of(start.first_chunk().ok_or(Fault::Ended)?)?;
    read_all(source, &mut rest[..len - HEADER_LEN_MIN])?;
    let header = Header::parse(&bytes[..len])?;
    header.check_supported()?;
    if header.encodings & Encoding::Absent.bit() != 0 {
        return Err(Fault::Absent);
    }
    // The entries stand before the frames again.
    source.skip(header.frames() * ENTRY_LEN as u64).map_err(|_| Fault::Source)?;
    Ok(header)
}

/// A bundle out of a framed file that streams in.
///
/// An installation asks for whole chunks, and these are decoded in the place that they were asked
/// for. A reader that asks for less needs a spare buffer of a chunk.
pub struct Framed<S, O, B> {
    source: S,
    header: Header,
    pieces: Pieces,
    decoder: Decoder<O>,
    spare: B,
    /// The piece that was read in part, and the next byte of it.
    open: Option<(Piece, Open)>,
    fault: Option<Fault>,
}

/// Where the bytes are of a piece that was read in part.
#[derive(Clone, Copy)]
enum Open {
    /// In the source, as they are; so many were read.
    Raw(usize),
    /// In the spare buffer; so many were read.
    Spare(usize),
}

impl<S, O, B> core::fmt::Debug for Framed<S, O, B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Framed").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<S: Source, O: Old, B: AsMut<[u8]>> Framed<S, O, B> {
    /// A bundle from `source`, of which [`read_header`] read `header`. `spare` may be empty for an
    /// installation; other readers need room for one chunk.
    pub fn new(source: S, header: Header, old: O, spare: B) -> Self {
        Self {
            source,
            header,
            pieces: header.pieces(),
            decoder: Decoder::new(old),
            spare,
            open: None,
            fault: None,
        }
    }

    /// The header of the file.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What was wrong, after a [`SourceError`].
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The source that it reads.
    pub const fn source(&mut self) -> &mut S {
        &mut self.source
    }

    fn entry(&mut self, piece: &Piece) -> Result<Entry, Fault> {
        let mut bytes = [0; ENTRY_LEN];
        read_all(&mut self.source, &mut bytes)?;
        Entry::parse(bytes, &self.header, piece)
    }

    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        let (piece, open) = match self.open.take() {
            Some(open) => open,
            None => {
                let Some(piece) = self.pieces.next() else { return self.end() };
                let entry = self.entry(&piece)?;
                if entry.encoding == Encoding::Raw {
                    (piece, Open::Raw(0))
                } else if let Some(out) = into.get_mut(..piece.len) {
                    self.decode(&piece, entry, out)?;
                    return Ok(piece.len);
                } else {
                    self.decode_to_spare(&piece, entry)?;
                    (piece, Open::Spare(0))
                }
            }
        };
        let (Open::Raw(at) | Open::Spare(at)) = open;
        let len = into.len().min(piece.len - at);
        match open {
            Open::Raw(_) => read_all(&mut self.source, &mut into[..len])?,
            Open::Spare(_) => into[..len].copy_from_slice(&self.spare.as_mut()[at..at + len]),
        }
        self.keep_open(piece, open, at + len);
        Ok(len)
    }

    /// Notes that the piece was read up to `at`.
    fn keep_open(&mut self, piece: Piece, open: Open, at: usize) {
        self.open = (at < piece.len).then_some(match open {
            Open::Raw(_) => (piece, Open::Raw(at)),
            Open::Spare(_) => (piece, Open::Spare(at)),
        });
    }

    fn skip_some(&mut self, len: u64) -> Result<u64, Fault> {
        let Some((piece, open)) = self.open.take() else {
            let Some(piece) = self.pieces.next() else { return Err(Fault::Ended) };
            let entry = self.entry(&piece)?;
            if piece.len as u64 <= len {
                self.source.skip(entry.len.into()).map_err(|_| Fault::Source)?;
                return Ok(piece.len as u64);
            }
            let open = match entry.encoding {
                Encoding::Raw => Open::Raw(0),
                _ => {
                    self.decode_to_spare(&piece, entry)?;
                    Open::Spare(0)
                }
            };
            self.open = Some((piece, open));
            return Ok(0);
        };
        let (Open::Raw(at) | Open::Spare(at)) = open;
        let step = len.min((piece.len - at) as u64);
        if let Open::Raw(_) = open {
            self.source.skip(step).map_err(|_| Fault::Source)?;
        }
        self.keep_open(piece, open, at + step as usize);
        Ok(step)
    }

    fn decode(&mut self, piece: &Piece, entry: Entry, out: &mut [u8]) -> Result<(), Fault> {
        self.decoder.decode(&self.header, piece, entry, &mut self.source, out)
    }

    fn decode_to_spare(&mut self, piece: &Piece, entry: Entry) -> Result<(), Fault> {
        let out = self.spare.as_mut().get_mut(..piece.len).ok_or(Fault::Buffer)?;
        self.decoder.decode(&self.header, piece, entry, &mut self.source, out)
    }

    /// The end of the bundle, which has to be the end of the file.
    fn end(&mut self) -> Result<usize, Fault> {
        match self.source.has_more() {
            Ok(false) => Ok(0),
            Ok(true) => Err(Fault::Trailing),
            Err(SourceError) => Err(Fault::Source),
        }
    }

    fn note<T>(&mut self, result: Result<T, Fault>) -> Result<T, SourceError> {
        result.map_err(|fault| {
            self.fault = Some(fault);
            SourceError
        })
    }
}

impl<S: Source, O: Old, B: AsMut<[u8]>> Source for Framed<S, O, B> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        if into.is_empty() {
            return Ok(0);
        }
        // What comes after a fault is not where it seems to be.
        if self.fault.is_some() {
            return Err(SourceError);
        }
        let result = self.read_some(into);
        self.note(result)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), SourceError> {
        if self.fault.is_some() {
            return Err(SourceError);
        }
        while len > 0 {
            let result = self.skip_some(len);
            len -= self.note(result)?;
        }
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}
