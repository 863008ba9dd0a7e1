//! A bundle in a file that is read at any place: as it is, or in frames.

use std::path::Path;

use stillboot::format::Digest;
use stillboot::format::envelope::{Envelope, HEADER_LEN, MAGIC};
use stillboot::verify::{HEAD_LEN_MAX, Sha256 as _, SoftSha256};
use stillboot_transport::decode::Decoder;
use stillboot_transport::frame::{
    self, ENTRY_LEN, Encoding, Entry, Fault, HEADER_LEN_MIN, Header, Part, Piece,
};
use stillboot_transport::input::Bytes;
use stillboot_transport::old::Old;
use stillboot_transport::outline::Outline;

use crate::error::FetchError;
use crate::read_at::{ReadAt, Started};
use crate::spool::{Spool, Spooled};
use crate::start::Start;

/// Most frames of a file that is read at any place: its table stays in memory. With chunks of 64 KiB
/// that is a bundle of 64 GiB.
const FRAMES_MAX: u64 = 1 << 20;
/// The place of every so manieth frame is kept; those between are counted from there.
const STEP: usize = 256;

/// What is asked for first: most headers and heads are shorter. An installation that is cut often
/// asks for it each time.
const START_LEN: usize = 1024;

/// A bundle, or a patch, in a file that is read at any place.
pub struct PieceFile {
    reader: Box<dyn ReadAt>,
    header: Header,
    /// `None` for a bundle as it is.
    table: Option<Table>,
    /// What stands before the frames, or the head: it tells this file from others.
    key: Digest,
    /// The frame at hand.
    frame: Vec<u8>,
}

impl std::fmt::Debug for PieceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PieceFile").field("header", &self.header).finish_non_exhaustive()
    }
}

/// A file of which only the length is known.
struct OnlyLength(u64);

impl ReadAt for OnlyLength {
    fn name(&self) -> String {
        String::new()
    }

    fn file_len(&mut self) -> Result<u64, FetchError> {
        Ok(self.0)
    }

    fn read_at(&mut self, _offset: u64, _into: &mut [u8]) -> Result<usize, FetchError> {
        Ok(0)
    }
}

/// The entries of the frames.
struct Table {
    entries: Vec<[u8; ENTRY_LEN]>,
    /// Where the first frame of each [`STEP`] starts in the file.
    starts: Vec<u64>,
}

impl PieceFile {
    /// Opens a bundle, as it is or in frames, or a patch.
    ///
    /// # Errors
    /// [`FetchError`]. An encoding that this build lacks is refused here.
    pub fn open(mut reader: Box<dyn ReadAt>) -> Result<Self, FetchError> {
        let mut start = vec![0; START_LEN];
        let len = reader.read_at(0, &mut start)?;
        start.truncate(len);
        Self::open_started(reader, start)
    }

    /// As [`open`](Self::open), with the start of the file as an earlier call kept it. The caller
    /// asked the server whether it [still has](crate::http::Remote::is_still) that file. A start
    /// that says too little, or something else, is not used.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn open_kept(reader: Box<dyn ReadAt>, start: Start) -> Result<Self, FetchError> {
        match Self::open_started(Box::new(OnlyLength(start.identity.len)), start.bytes.clone()) {
            Ok(_) => Self::open_started(reader, start.bytes),
            Err(_) => Self::open(reader),
        }
    }

    fn open_started(inner: Box<dyn ReadAt>, start: Vec<u8>) -> Result<Self, FetchError> {
        let first = start[..start.len().min(START_LEN)].to_vec();
        let mut reader: Box<dyn ReadAt> = Box::new(Started { inner, start });
        if first.starts_with(&frame::MAGIC) {
            return match first.first_chunk() {
                Some(start) => Self::open_framed(reader, start),
                None => Err(FetchError::Frames { name: reader.name(), fault: Fault::Ended }),
            };
        }
        if !first.starts_with(&MAGIC) {
            let start = first;
            return Err(FetchError::NotABundle { name: reader.name(), start });
        }
        let outline = read_outline(&mut *reader)?;
        let name = reader.name();
        let header =
            outline.header().map_err(|fault| FetchError::Frames { name: name.clone(), fault })?;
        let (expected, found) = (outline.bundle_len(), reader.file_len()?);
        if expected != found {
            return Err(FetchError::Length { name, expected, found });
        }
        let key = key(&outline.digest, &[], found);
        Ok(Self { reader, header, table: None, key, frame: Vec::new() })
    }

    fn open_framed(
        mut reader: Box<dyn ReadAt>,
        start: &[u8; HEADER_LEN_MIN],
    ) -> Result<Self, FetchError> {
        let name = reader.name();
        let frames = |fault| FetchError::Frames { name: name.clone(), fault };
        let len = Header::len_of(start).map_err(frames)?;
        let mut bytes = vec![0; len];
        read_all(&mut *reader, 0, &mut bytes)?;
        let header = Header::parse(&bytes).map_err(frames)?;
        header.check_supported().map_err(frames)?;
        let found = header.frames();
        if found > FRAMES_MAX {
            return Err(FetchError::Frameful { name, most: FRAMES_MAX, found });
        }
        reader.expect(header.frames_start());
        let mut bytes = vec![0; found as usize * ENTRY_LEN];
        read_all(&mut *reader, header.header_len(), &mut bytes)?;
        let entries = bytes.as_chunks().0.to_vec();
        let (mut starts, mut at) = (Vec::new(), header.frames_start());
        for (number, (piece, entry)) in header.pieces().zip(&entries).enumerate() {
            if number % STEP == 0 {
                starts.push(at);
            }
            at += Entry::parse(*entry, &header, &piece).map_err(frames)?.frame_len();
        }
        // A file that was cut short is refused before anything is erased.
        let found = reader.file_len()?;
        if found != at {
            return Err(FetchError::Length { name, expected: at, found });
        }
        let key = key(&header.digest, &bytes, found);
        let table = Some(Table { entries, starts });
        Ok(Self { reader, header, table, key, frame: Vec::new() })
    }

    /// The same beside a spool called `name` in `folder`: what comes over the network is kept there
    /// until the installation is complete, and so is the start of this file. Without a spool it is
    /// fetched again after a kill.
    #[must_use]
    pub fn with_spool(mut self, folder: &Path, name: &str) -> Self {
        if let Ok(spool) = Spool::open(folder, name, &self.key) {
            if let (Some(identity), Ok(bytes)) = (self.reader.identity(), self.start()) {
                // Where it cannot be kept, it is fetched again.
                let _ = Start { identity, bytes }.keep(folder, name);
            }
            self.reader = Box::new(Spooled::new(self.reader, spool));
        }
        self
    }

    /// Header and table of a framed file, and what was read first of a bundle as it is: it is here
    /// already.
    fn start(&mut self) -> Result<Vec<u8>, FetchError> {
        let Some(table) = &self.table else {
            let mut start = vec![0; START_LEN];
            let len = self.reader.read_at(0, &mut start)?;
            start.truncate(len);
            return Ok(start);
        };
        let mut start = vec![0; self.header.header_len() as usize];
        read_all(&mut *self.reader, 0, &mut start)?;
        start.extend_from_slice(table.entries.as_flattened());
        Ok(start)
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.reader.name()
    }

    /// Whether it is on a web server.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.reader.is_remote()
    }

    /// Bytes that came over a network.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.reader.received()
    }

    /// The parts of the bundle.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The manifest that a patch starts from; `None` for a bundle.
    #[must_use]
    pub fn from(&self) -> Option<Digest> {
        self.header.is_patch().then_some(self.header.from)
    }

    /// Whether every piece is in this file.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.header.is_whole()
    }

    /// Whether `piece` is in this file, and not in the bundle alone.
    #[must_use]
    pub fn has(&self, piece: &Piece) -> bool {
        self.entry(piece).is_ok_and(|entry| entry.encoding != Encoding::Absent)
    }

    /// Whether the file has `piece` as a difference from old bytes.
    #[must_use]
    pub fn is_difference(&self, piece: &Piece) -> bool {
        self.entry(piece).is_ok_and(|entry| entry.encoding == Encoding::Patch)
    }

    /// Where the piece is in the file: its first byte, and one past its last.
    ///
    /// # Errors
    /// [`Fault::Entry`] for a piece of another bundle.
    pub fn place(&self, piece: &Piece) -> Result<(u64, u64), Fault> {
        let Some(table) = &self.table else {
            let start = plain_start(&self.header, piece);
            return Ok((start, start + piece.len as u64));
        };
        let number = piece.number as usize;
        let group = number / STEP;
        let between = table.entries.get(group * STEP..number).ok_or(Fault::Entry)?;
        let before: u64 = between.iter().map(|entry| frame_len(*entry)).sum();
        let start = *table.starts.get(group).ok_or(Fault::Entry)? + before;
        let entry = table.entries.get(number).ok_or(Fault::Entry)?;
        Ok((start, start + frame_len(*entry)))
    }

    /// The pieces up to `end`, a place in the file, will be wanted.
    pub fn expect(&mut self, end: u64) {
        self.reader.expect(end);
    }

    /// From how many places a piece may come.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.reader.choices()
    }

    /// `piece` was read, and is wrong. Whether it is of use to read it again.
    pub fn distrust(&mut self, piece: &Piece) -> bool {
        self.place(piece).is_ok_and(|(start, end)| self.reader.distrust(start, end))
    }

    /// Reads `piece` to `out`, which has its length.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn read<O: Old>(
        &mut self,
        piece: &Piece,
        decoder: &mut Decoder<O>,
        out: &mut [u8],
    ) -> Result<(), FetchError> {
        let name = self.reader.name();
        let frames = |fault| FetchError::Frames { name: name.clone(), fault };
        let (start, _) = self.place(piece).map_err(frames)?;
        if self.table.is_none() {
            return read_all(&mut *self.reader, start, out);
        }
        let entry = self.entry(piece).map_err(frames)?;
        self.frame.resize(entry.frame_len() as usize, 0);
        read_all(&mut *self.reader, start, &mut self.frame)?;
        // The entry stands twice. If both differ, the places of all frames behind are in doubt.
        let (copy, frame) = self.frame.split_at(ENTRY_LEN);
        if *copy != entry.emit() {
            return Err(frames(Fault::Entry));
        }
        decoder.decode(&self.header, piece, entry, &mut Bytes(frame), out).map_err(frames)
    }

    fn entry(&self, piece: &Piece) -> Result<Entry, Fault> {
        let Some(table) = &self.table else {
            return Ok(Entry { encoding: Encoding::Raw, len: piece.len as u32 });
        };
        let entry = table.entries.get(piece.number as usize).ok_or(Fault::Entry)?;
        Entry::parse(*entry, &self.header, piece)
    }
}

/// What tells a file from another one.
fn key(digest: &Digest, table: &[u8], len: u64) -> Digest {
    let mut hash = SoftSha256::new();
    hash.update(digest);
    hash.update(table);
    hash.update(&len.to_le_bytes());
    hash.finish()
}

/// Bytes of the frame with an entry that was checked already.
fn frame_len(entry: [u8; ENTRY_LEN]) -> u64 {
    // The length is below the four bits of the encoding.
    u64::from(u32::from_le_bytes(entry) & 0x0fff_ffff) + ENTRY_LEN as u64
}

/// Where a piece starts in the bundle itself.
pub(crate) fn plain_start(header: &Header, piece: &Piece) -> u64 {
    let size = u64::from(header.chunk_size);
    let whole = |length: &u64| length.div_ceil(size) * 32 + length;
    let before = |count: u8| {
        let components = &header.components()[..usize::from(count)];
        u64::from(header.head_len) + components.iter().map(whole).sum::<u64>()
    };
    match piece.part {
        Part::Head => piece.start,
        Part::Index(number) => before(number) + piece.start,
        Part::Chunk(number) => {
            let length = header.components()[usize::from(number)];
            before(number) + length.div_ceil(size) * 32 + piece.start
        }
    }
}

fn read_all(reader: &mut dyn ReadAt, offset: u64, into: &mut [u8]) -> Result<(), FetchError> {
    match reader.read_at(offset, into)? {
        len if len == into.len() => Ok(()),
        _ => Err(FetchError::Frames { name: reader.name(), fault: Fault::Ended }),
    }
}

/// Reads the head of a bundle, envelope by envelope: no more of it than there is.
fn read_outline(reader: &mut dyn ReadAt) -> Result<Outline, FetchError> {
    let mut head = Vec::new();
    while head.len() < HEAD_LEN_MAX {
        let from = head.len();
        head.resize(from + HEADER_LEN, 0);
        read_all(reader, from as u64, &mut head[from..])?;
        let header = head[from..].first_chunk().map(Envelope::len_from_header);
        let Some(Ok(len)) = header else { break };
        head.resize(from + len, 0);
        read_all(reader, (from + HEADER_LEN) as u64, &mut head[from + HEADER_LEN..])?;
        if let Some(outline) = Outline::of(&head) {
            return Ok(outline);
        }
    }
    Err(FetchError::NotABundle { name: reader.name(), start: head })
}
