//! The framed file: a header, a table of entries, and a frame for each piece of the bundle.
//!
//! ```text
//!   0   4  magic "SBFR"
//!   4   1  version = 1
//!   5   1  encodings that stand in the file, a bit for each
//!   6   1  number of components n, 1..=8
//!   7   1  zero
//!   8   4  chunk size: a power of two, 4096..=1048576
//!  12   4  length of the head, 1..=24576
//!  16  32  SHA-256 of the manifest of the bundle
//!  48  32  SHA-256 of the manifest that a patch starts from; zeros for a bundle
//!  80  8n  length of each component, 1..=2^48
//!  ..  4f  table: an entry for each of the f frames
//!  ..      frames: of each its entry again, then its bytes
//! ```
//!
//! The pieces are the head of the bundle, then of each component its index and its bytes, both cut
//! every chunk size. Nothing here is signed. What a piece decodes to is verified by the core.

use stillboot::format::{Digest, manifest};
use stillboot::verify::HEAD_LEN_MAX;

/// How a framed file begins.
pub const MAGIC: [u8; 4] = *b"SBFR";
/// The version of the format.
pub const VERSION: u8 = 1;
/// Length of a header without the lengths of the components.
pub const HEADER_LEN_MIN: usize = 80;
/// Length of the longest header.
pub const HEADER_LEN_MAX: usize = HEADER_LEN_MIN + 8 * manifest::COMPONENTS_MAX;
/// Length of an entry.
pub const ENTRY_LEN: usize = 4;
/// Most chunks of all components together.
const CHUNKS_MAX: u64 = 1 << 24;
/// Longest component.
const COMPONENT_LEN_MAX: u64 = 1 << 48;
/// Bits of an entry that hold the length; those above hold the encoding.
const LENGTH_BITS: u32 = 28;

/// How a frame holds its piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
pub enum Encoding {
    /// The bytes themselves.
    Raw = 0,
    /// The piece is all zeros; the frame is empty.
    Zero = 1,
    /// One block of LZ4.
    Lz4 = 2,
    /// One frame of zstd (RFC 8878).
    Zstd = 3,
    /// One stream of LZMA, see [`lzma`](crate::lzma).
    Lzma = 4,
    /// A difference from the old bytes, see [`patch`](crate::patch).
    Patch = 5,
    /// The piece is not here, but in the bundle; the frame is empty.
    Absent = 6,
}

impl Encoding {
    /// All of them, by number.
    pub const ALL: [Self; 7] =
        [Self::Raw, Self::Zero, Self::Lz4, Self::Zstd, Self::Lzma, Self::Patch, Self::Absent];

    /// Its bit in a header.
    #[must_use]
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Zero => "zero",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Lzma => "lzma",
            Self::Patch => "patch",
            Self::Absent => "absent",
        }
    }

    /// Whether this build decodes it.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        !matches!(self, Self::Zstd) || cfg!(feature = "zstd")
    }
}

/// What is wrong with a framed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Fault {
    /// It does not begin as a framed file.
    Magic,
    /// It is of this version, and the build reads version 1.
    Version(u8),
    /// A field of the header is outside its bounds.
    Header,
    /// It uses an encoding that this build does not decode, or that is unknown: its number.
    Encoding(u8),
    /// An entry has an encoding that the header does not name, or a length that cannot be.
    Entry,
    /// The bytes of a frame do not decode to its piece.
    Damaged,
    /// The piece is only in the bundle.
    Absent,
    /// The bytes that a patch starts from could not be read.
    Old,
    /// The file ends too early.
    Ended,
    /// The source failed.
    Source,
    /// A piece was read in parts, and there is no buffer for that.
    Buffer,
    /// More bytes follow the last frame.
    Trailing,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("it does not begin as a framed file"),
            Self::Version(found) => write!(f, "expected version {VERSION}, found {found}"),
            Self::Header => f.write_str("a field of the header is outside its bounds"),
            Self::Encoding(number) => match Encoding::ALL.get(usize::from(*number)) {
                Some(encoding) => {
                    write!(f, "this build does not decode {} frames", encoding.name())
                }
                None => write!(f, "frames of the unknown encoding {number}"),
            },
            Self::Entry => f.write_str("an entry of a frame is not as it can be"),
            Self::Damaged => f.write_str("a frame is damaged: it does not decode to its piece"),
            Self::Absent => f.write_str("the piece is only in the bundle itself"),
            Self::Old => f.write_str("the bytes that the patch starts from could not be read"),
            Self::Ended => f.write_str("the file ends too early"),
            Self::Source => f.write_str("the source failed"),
            Self::Buffer => f.write_str("a piece was read in parts, without a buffer for it"),
            Self::Trailing => f.write_str("more bytes follow the last frame"),
        }
    }
}

impl core::error::Error for Fault {}

/// The header of a framed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// Encodings that stand in the file: [`Encoding::bit`].
    pub encodings: u8,
    /// Chunk size in bytes.
    pub chunk_size: u32,
    /// Length of the head of the bundle in bytes.
    pub head_len: u32,
    /// SHA-256 of the manifest of the bundle.
    pub digest: Digest,
    /// SHA-256 of the manifest that a patch starts from; zeros for a bundle.
    pub from: Digest,
    count: u8,
    lengths: [u64; manifest::COMPONENTS_MAX],
}

impl Header {
    /// The header of a bundle with this head, chunk size and lengths of components.
    ///
    /// # Errors
    /// [`Fault::Header`].
    pub fn new(
        digest: Digest,
        head_len: u32,
        chunk_size: u32,
        components: &[u64],
    ) -> Result<Self, Fault> {
        let mut lengths = [0; manifest::COMPONENTS_MAX];
        lengths.get_mut(..components.len()).ok_or(Fault::Header)?.copy_from_slice(components);
        let header = Self {
            encodings: 0,
            chunk_size,
            head_len,
            digest,
            from: [0; 32],
            count: components.len() as u8,
            lengths,
        };
        header.check()?;
        Ok(header)
    }

    /// The same with other [`encodings`](Self::encodings).
    #[must_use]
    pub const fn with_encodings(mut self, encodings: u8) -> Self {
        self.encodings = encodings;
        self
    }

    /// The same for patches [`from`](Self::from) this manifest.
    #[must_use]
    pub const fn with_from(mut self, from: Digest) -> Self {
        self.from = from;
        self
    }

    /// How long a header is that begins with `start`, [`HEADER_LEN_MIN`] bytes.
    ///
    /// # Errors
    /// [`Fault`]; nothing more needs to be read then.
    pub fn len_of(start: &[u8; HEADER_LEN_MIN]) -> Result<usize, Fault> {
        if start[..4] != MAGIC {
            return Err(Fault::Magic);
        }
        if start[4] != VERSION {
            return Err(Fault::Version(start[4]));
        }
        match usize::from(start[6]) {
            count @ 1..=manifest::COMPONENTS_MAX => Ok(HEADER_LEN_MIN + 8 * count),
            _ => Err(Fault::Header),
        }
    }

    /// Reads a header, all of `bytes`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let start = bytes.first_chunk().ok_or(Fault::Ended)?;
        if Self::len_of(start)? != bytes.len() || start[7] != 0 {
            return Err(Fault::Header);
        }
        let unknown = start[5] >> Encoding::ALL.len();
        if unknown != 0 {
            let number = Encoding::ALL.len() as u32 + unknown.trailing_zeros();
            return Err(Fault::Encoding(number as u8));
        }
        let mut lengths = [0; manifest::COMPONENTS_MAX];
        for (length, bytes) in lengths.iter_mut().zip(bytes[HEADER_LEN_MIN..].as_chunks().0) {
            *length = u64::from_le_bytes(*bytes);
        }
        let header = Self {
            encodings: start[5],
            chunk_size: u32_at(start, 8),
            head_len: u32_at(start, 12),
            digest: digest_at(start, 16),
            from: digest_at(start, 48),
            count: start[6],
            lengths,
        };
        header.check()?;
        // No manifest has that digest: no device could have what is missing.
        if (header.has_patches() || !header.is_whole()) && !header.is_patch() {
            return Err(Fault::Header);
        }
        Ok(header)
    }

    /// Writes it to the start of `out`; returns its length.
    ///
    /// # Panics
    /// If `out` is shorter than [`HEADER_LEN_MAX`].
    pub fn emit(&self, out: &mut [u8]) -> usize {
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&[VERSION, self.encodings, self.count, 0]);
        out[8..12].copy_from_slice(&self.chunk_size.to_le_bytes());
        out[12..16].copy_from_slice(&self.head_len.to_le_bytes());
        out[16..48].copy_from_slice(&self.digest);
        out[48..80].copy_from_slice(&self.from);
        for (length, out) in self.components().iter().zip(out[HEADER_LEN_MIN..].as_chunks_mut().0) {
            *out = length.to_le_bytes();
        }
        HEADER_LEN_MIN + 8 * usize::from(self.count)
    }

    /// Refuses encodings that this build does not decode.
    ///
    /// # Errors
    /// [`Fault::Encoding`].
    pub fn check_supported(&self) -> Result<(), Fault> {
        let missing = |e: &&Encoding| self.encodings & e.bit() != 0 && !e.is_supported();
        match Encoding::ALL.iter().find(missing) {
            Some(encoding) => Err(Fault::Encoding(*encoding as u8)),
            None => Ok(()),
        }
    }

    /// The lengths of the components in bytes.
    #[must_use]
    pub fn components(&self) -> &[u64] {
        &self.lengths[..usize::from(self.count)]
    }

    /// Whether the file was written for devices that have a certain older bundle, which
    /// [`from`](Self::from) names. Its pieces may be patches then, or be missing.
    #[must_use]
    pub fn is_patch(&self) -> bool {
        self.from != [0; 32]
    }

    /// Whether every piece is in this file.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.encodings & Encoding::Absent.bit() == 0
    }

    /// Whether some pieces are patches of old bytes.
    #[must_use]
    pub fn has_patches(&self) -> bool {
        self.encodings & Encoding::Patch.bit() != 0
    }

    /// Length of the header in bytes.
    #[must_use]
    pub fn header_len(&self) -> u64 {
        (HEADER_LEN_MIN + 8 * usize::from(self.count)) as u64
    }

    /// How many frames there are.
    #[must_use]
    pub fn frames(&self) -> u64 {
        let piece = u64::from(self.chunk_size);
        let of = |length: &u64| {
            let chunks = length.div_ceil(piece);
            chunks + (chunks * 32).div_ceil(piece)
        };
        u64::from(self.head_len).div_ceil(piece) + self.components().iter().map(of).sum::<u64>()
    }

    /// Where the frames start.
    #[must_use]
    pub fn frames_start(&self) -> u64 {
        self.header_len() + self.frames() * ENTRY_LEN as u64
    }

    /// Length of the bundle in bytes.
    #[must_use]
    pub fn bundle_len(&self) -> u64 {
        let piece = u64::from(self.chunk_size);
        let of = |length: &u64| length + length.div_ceil(piece) * 32;
        u64::from(self.head_len) + self.components().iter().map(of).sum::<u64>()
    }

    /// The pieces of the bundle, from its start.
    #[must_use]
    pub const fn pieces(&self) -> Pieces {
        Pieces { header: *self, number: 0, section: 0, at: 0 }
    }

    /// The pieces from `piece` on, which is one of this bundle's.
    #[must_use]
    pub fn pieces_from(&self, piece: &Piece) -> Pieces {
        let section = match piece.part {
            Part::Head => 0,
            Part::Index(number) => 1 + 2 * usize::from(number),
            Part::Chunk(number) => 2 + 2 * usize::from(number),
        };
        Pieces { header: *self, number: piece.number, section, at: piece.start }
    }

    fn check(&self) -> Result<(), Fault> {
        let is_size = self.chunk_size.is_power_of_two()
            && (manifest::CHUNK_SIZE_MIN..=manifest::CHUNK_SIZE_MAX).contains(&self.chunk_size);
        let is_length = |length: &u64| (1..=COMPONENT_LEN_MAX).contains(length);
        if !is_size
            || !(1..=HEAD_LEN_MAX as u32).contains(&self.head_len)
            || self.count == 0
            || !self.components().iter().all(is_length)
        {
            return Err(Fault::Header);
        }
        let chunks = |length: &u64| length.div_ceil(self.chunk_size.into());
        if self.components().iter().map(chunks).sum::<u64>() > CHUNKS_MAX {
            return Err(Fault::Header);
        }
        Ok(())
    }
}

fn u32_at(bytes: &[u8; HEADER_LEN_MIN], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn digest_at(bytes: &[u8; HEADER_LEN_MIN], at: usize) -> Digest {
    let mut field = [0; 32];
    field.copy_from_slice(&bytes[at..at + 32]);
    field
}

/// What a piece is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The head of the bundle.
    Head,
    /// The index of this component.
    Index(u8),
    /// The bytes of this component: a chunk.
    Chunk(u8),
}

/// A piece of the bundle, which one frame stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// Its number among all pieces.
    pub number: u64,
    /// What it is a part of.
    pub part: Part,
    /// Where it starts in that part, in bytes.
    pub start: u64,
    /// How many bytes it has.
    pub len: usize,
}

/// The pieces of a bundle, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    header: Header,
    number: u64,
    /// 0 for the head, then 1 + 2c for the index and 2 + 2c for the bytes of component c.
    section: usize,
    at: u64,
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let (part, total) = self.part()?;
        let len = (total - self.at).min(self.header.chunk_size.into());
        let piece = Piece { number: self.number, part, start: self.at, len: len as usize };
        self.number += 1;
        self.at += len;
        if self.at == total {
            self.section += 1;
            self.at = 0;
        }
        Some(piece)
    }
}

impl Pieces {
    /// The part that is due, and its length.
    fn part(&self) -> Option<(Part, u64)> {
        let Some(section) = self.section.checked_sub(1) else {
            return Some((Part::Head, self.header.head_len.into()));
        };
        let number = (section / 2) as u8;
        let length = *self.header.components().get(section / 2)?;
        Some(match section % 2 {
            0 => (Part::Index(number), length.div_ceil(self.header.chunk_size.into()) * 32),
            _ => (Part::Chunk(number), length),
        })
    }
}

/// What a frame is: its encoding and how many bytes it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How it holds its piece.
    pub encoding: Encoding,
    /// How many bytes it has, without its entry.
    pub len: u32,
}

impl Entry {
    /// Reads the entry of the frame of `piece`.
    ///
    /// # Errors
    /// [`Fault::Entry`] if the header does not name the encoding, or if a frame of this encoding
    /// cannot have this length.
    pub fn parse(bytes: [u8; ENTRY_LEN], header: &Header, piece: &Piece) -> Result<Self, Fault> {
        let word = u32::from_le_bytes(bytes);
        let len = word & ((1 << LENGTH_BITS) - 1);
        let encoding = *Encoding::ALL.get((word >> LENGTH_BITS) as usize).ok_or(Fault::Entry)?;
        // Heads and indexes do not compress, and a device without room for another chunk reads them
        // in parts.
        let is_plain = matches!(encoding, Encoding::Raw | Encoding::Absent);
        let fits = match encoding {
            Encoding::Raw => len as usize == piece.len,
            Encoding::Zero | Encoding::Absent => len == 0,
            // Anything longer would have been left as it is.
            _ => (1..piece.len).contains(&(len as usize)),
        };
        if header.encodings & encoding.bit() == 0
            || !fits
            || !(is_plain || matches!(piece.part, Part::Chunk(_)))
        {
            return Err(Fault::Entry);
        }
        Ok(Self { encoding, len })
    }

    /// Its bytes.
    #[must_use]
    pub const fn emit(self) -> [u8; ENTRY_LEN] {
        ((self.encoding as u32) << LENGTH_BITS | self.len).to_le_bytes()
    }

    /// Bytes that the frame takes in the file, its entry included.
    #[must_use]
    pub const fn frame_len(self) -> u64 {
        self.len as u64 + ENTRY_LEN as u64
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    fn sound() -> Header {
        let header = Header::new([1; 32], 700, 4096, &[10_000, 1]).unwrap();
        header.with_from([3; 32]).with_encodings(0x7f)
    }

    fn bytes(header: &Header) -> Vec<u8> {
        let mut bytes = [0; HEADER_LEN_MAX];
        let len = header.emit(&mut bytes);
        bytes[..len].to_vec()
    }

    fn changed(at: usize, field: &[u8]) -> Result<Header, Fault> {
        let mut bytes = bytes(&sound());
        bytes[at..at + field.len()].copy_from_slice(field);
        Header::parse(&bytes)
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for count in 1..=8 {
            let lengths: Vec<u64> = (0..count).map(|number| 1 << (4 * number)).collect();
            let header = Header::new([7; 32], 24576, 1 << 20, &lengths).unwrap();
            let header = header.with_encodings(0x21).with_from([9; 32]);
            let bytes = bytes(&header);
            assert_eq!(bytes.len() as u64, header.header_len());
            assert_eq!(Header::len_of(bytes.first_chunk().unwrap()), Ok(bytes.len()));
            assert_eq!(Header::parse(&bytes), Ok(header));
            assert_eq!(header.components(), lengths);
            for len in 0..bytes.len() {
                assert!(Header::parse(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn every_field_of_a_header_is_bounded() {
        assert_eq!(changed(0, b"SBFS"), Err(Fault::Magic));
        assert_eq!(changed(4, &[0]), Err(Fault::Version(0)));
        assert_eq!(changed(4, &[2]), Err(Fault::Version(2)));
        assert_eq!(changed(5, &[0x80]), Err(Fault::Encoding(7)));
        assert_eq!(changed(5, &[0xff]), Err(Fault::Encoding(7)));
        assert!(changed(5, &[0]).is_ok());
        // Without an old bundle there is nothing to take a patch from, or a missing piece.
        for (encodings, result) in [(0x1f, true), (0x20, false), (0x40, false), (0x61, false)] {
            let header = sound().with_from([0; 32]).with_encodings(encodings);
            assert_eq!(Header::parse(&bytes(&header)).is_ok(), result, "{encodings:#x}");
        }
        for count in [0, 1, 3, 8, 9, 255] {
            assert_eq!(changed(6, &[count]), Err(Fault::Header), "{count} components");
        }
        assert_eq!(changed(7, &[1]), Err(Fault::Header));
        for size in [0, 1, 2048, 4095, 4097, 12288, (1 << 20) + 1, 1 << 21, u32::MAX] {
            assert_eq!(changed(8, &size.to_le_bytes()), Err(Fault::Header), "chunks of {size}");
        }
        for size in (12..=20).map(|bits| 1_u32 << bits) {
            assert!(changed(8, &size.to_le_bytes()).is_ok(), "chunks of {size}");
        }
        for (len, is_sound) in [(0, false), (1, true), (24576, true), (24577, false)] {
            assert_eq!(changed(12, &u32::to_le_bytes(len)).is_ok(), is_sound, "head of {len}");
        }
        for (len, is_sound) in
            [(0, false), (1, true), (1 << 48, false), ((1 << 48) + 1, false), (u64::MAX, false)]
        {
            assert_eq!(changed(80, &u64::to_le_bytes(len)).is_ok(), is_sound, "component of {len}");
        }
        // As long as a component may be, with few enough chunks.
        assert_eq!(Header::new([0; 32], 1, 1 << 20, &[1 << 44]).map(|h| h.frames()), {
            // Of the index, 32768 digests stand in a piece.
            Ok(1 + (1 << 24) + (1 << 9))
        });
        assert_eq!(Header::new([0; 32], 1, 1 << 20, &[(1 << 44) + 1]), Err(Fault::Header));
        assert_eq!(Header::new([0; 32], 1, 4096, &[1 << 36, 1]), Err(Fault::Header));
        assert_eq!(Header::new([0; 32], 1, 4096, &[1; 9]), Err(Fault::Header));
        assert_eq!(Header::new([0; 32], 1, 4096, &[]), Err(Fault::Header));
    }

    #[test]
    fn pieces_are_the_bundle_without_a_gap() {
        let lengths = [1, 4095, 4096, 4097, 129 * 4096, 600_000];
        let header = Header::new([0; 32], 9000, 4096, &lengths).unwrap();
        let pieces: Vec<Piece> = header.pieces().collect();
        assert_eq!(pieces.len() as u64, header.frames());
        assert_eq!(pieces.iter().map(|piece| piece.len as u64).sum::<u64>(), header.bundle_len());
        let (mut part, mut at) = (Part::Head, 0);
        for (number, piece) in pieces.iter().enumerate() {
            if piece.part != part {
                (part, at) = (piece.part, 0);
            }
            assert_eq!((piece.number, piece.start), (number as u64, at));
            assert!((1..=4096).contains(&piece.len));
            at += piece.len as u64;
            let rest: Vec<Piece> = header.pieces_from(piece).collect();
            assert_eq!(rest, pieces[number..]);
        }
    }

    #[test]
    fn an_entry_has_a_length_that_its_encoding_can_have() {
        let header = sound();
        let pieces: Vec<Piece> = header.pieces().collect();
        let of = |part| *pieces.iter().find(|piece| piece.part == part).unwrap();
        let (head, index) = (of(Part::Head), of(Part::Index(0)));
        let (chunk, byte) = (of(Part::Chunk(0)), of(Part::Chunk(1)));
        let parse = |piece: &Piece, encoding: Encoding, len: usize| {
            let entry = Entry { encoding, len: len as u32 };
            let result = Entry::parse(entry.emit(), &header, piece);
            if let Ok(found) = result {
                assert_eq!(found, entry);
                assert_eq!(found.frame_len(), len as u64 + 4);
            }
            result.is_ok()
        };
        for piece in [&head, &index, &chunk, &byte] {
            let is_chunk = matches!(piece.part, Part::Chunk(_));
            for (len, is_sound) in [(piece.len, true), (piece.len + 1, false), (0, false)] {
                assert_eq!(parse(piece, Encoding::Raw, len), is_sound);
            }
            assert_eq!(parse(piece, Encoding::Zero, 0), is_chunk);
            assert!(!parse(piece, Encoding::Zero, 1));
            assert!(parse(piece, Encoding::Absent, 0));
            assert!(!parse(piece, Encoding::Absent, 1));
            use Encoding::{Lz4, Lzma, Patch, Zstd};
            for encoding in [Lz4, Zstd, Lzma, Patch] {
                assert!(!parse(piece, encoding, 0));
                assert!(!parse(piece, encoding, piece.len));
                assert!(!parse(piece, encoding, (1 << 28) - 1));
                assert_eq!(parse(piece, encoding, piece.len - 1), is_chunk && piece.len > 1);
                assert_eq!(parse(piece, encoding, 1), is_chunk && piece.len > 1);
            }
        }
        for number in 7_u32..16 {
            let bytes = (number << 28 | 10).to_le_bytes();
            assert_eq!(Entry::parse(bytes, &header, &chunk), Err(Fault::Entry));
        }
        // What the header does not name stands in no entry.
        for encoding in Encoding::ALL {
            let header = header.with_encodings(0x7f & !encoding.bit());
            let len = match encoding {
                Encoding::Raw => chunk.len as u32,
                Encoding::Zero | Encoding::Absent => 0,
                _ => 10,
            };
            let entry = Entry { encoding, len };
            assert_eq!(Entry::parse(entry.emit(), &header, &chunk), Err(Fault::Entry));
            assert_eq!(header.with_encodings(encoding.bit()).check_supported().is_ok(), {
                encoding.is_supported()
            });
        }
    }
}
