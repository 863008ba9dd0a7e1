//! What came over the network and is not in the slot yet, in a small file: an installation that is
//! killed does not fetch it again.
//!
//! ```text
//!  0   8  "SBSPOOL1"
//!  8  32  key: which file it is of
//! 40   8  turn: the file with the higher one is written, little-endian
//! ..      records, one after the other:
//!          0  8  offset in the file, little-endian
//!          8  4  length
//!         12  4  CRC-32 (ISO-HDLC) of offset, length and bytes
//!         16  .. bytes
//! ```
//!
//! Two such files take turns, so that the older bytes can be let go. Nothing is flushed: what a power
//! cut loses is fetched again. A record that is not whole ends its file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::FetchError;
use crate::http::Identity;
use crate::read_at::{ReadAt, read_full};
use crate::start::{self, CRC, FLAGS};

const MAGIC: &[u8; 8] = b"SBSPOOL1";
const KEY_END: usize = 40;
const START_LEN: u64 = 48;
const RECORD_LEN: usize = 16;
/// Bytes of a file after which the other one is begun: more than all buffers between the network
/// and a slot hold.
const LEN_MAX: u64 = 12 << 20;
/// Most bytes of a record.
const PIECE_LEN: usize = 64 << 10;

/// A file that is read at any place, beside a spool of what was read of it.
#[derive(Debug)]
pub struct Spooled<R> {
    inner: R,
    spool: Spool,
}

impl<R> Spooled<R> {
    /// `inner` beside `spool`.
    pub const fn new(inner: R, spool: Spool) -> Self {
        Self { inner, spool }
    }
}

impl<R: ReadAt> ReadAt for Spooled<R> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn file_len(&mut self) -> Result<u64, FetchError> {
        self.inner.file_len()
    }

    fn expect(&mut self, end: u64) {
        self.inner.expect(end);
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        let mut filled = 0;
        while filled < into.len() {
            let at = offset + filled as u64;
            let rest = &mut into[filled..];
            if let Some(len) = self.spool.read(at, rest) {
                filled += len;
                continue;
            }
            let most = self.spool.next(at).map_or(u64::MAX, |next| next - at);
            let most = most.min(PIECE_LEN.min(rest.len()) as u64) as usize;
            let len = self.inner.read_some(at, &mut rest[..most])?;
            if len == 0 {
                break;
            }
            self.spool.note(at, &rest[..len]);
            filled += len;
        }
        Ok(filled)
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn received(&self) -> u64 {
        self.inner.received()
    }

    fn identity(&self) -> Option<Identity> {
        self.inner.identity()
    }

    fn choices(&self) -> usize {
        self.inner.choices()
    }

    fn distrust(&mut self, start: u64, end: u64) -> bool {
        self.spool.forget(start, end);
        self.inner.distrust(start, end)
    }
}

/// Bytes of a file at places of another file.
#[derive(Debug)]
pub struct Spool {
    files: [File; 2],
    /// The file that is written, how long it is, and its turn.
    now: usize,
    len: u64,
    turn: u64,
    /// By offset: the length, the file, and where the bytes are in it.
    ranges: BTreeMap<u64, (u32, usize, u64)>,
    key: [u8; 32],
    /// It could not be written: what is there is still read.
    is_full: bool,
}

impl Spool {
    /// The spool called `name` in `folder`. `key` says which file it is of; bytes of another file
    /// are let go.
    ///
    /// # Errors
    /// What the system says if it cannot be opened.
    pub fn open(folder: &Path, name: &str, key: &[u8; 32]) -> io::Result<Self> {
        let paths = paths(folder, name);
        let open = |path: &PathBuf| -> io::Result<File> {
            let mut options = OpenOptions::new();
            // Others have no business with it.
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = options.custom_flags(FLAGS).open(path)?;
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::ErrorKind::InvalidInput.into()),
            }
        };
        let files = [open(&paths[0])?, open(&paths[1])?];
        // Another installation that writes to it too would mix up the places.
        files[0].try_lock()?;
        let (now, len, turn, ranges) = (0, 0, 0, BTreeMap::new());
        let mut spool = Self { files, now, len, turn, ranges, key: *key, is_full: false };
        let found = [spool.load(0)?, spool.load(1)?];
        for (number, (turn, len)) in found.into_iter().enumerate() {
            if turn > spool.turn {
                (spool.now, spool.len, spool.turn) = (number, len, turn);
            }
        }
        if spool.turn == 0 {
            spool.begin()?;
        }
        Ok(spool)
    }

    /// Reads the records of a file. Returns its turn, and its length as far as it is whole; a turn
    /// of 0 for another key.
    fn load(&mut self, number: usize) -> io::Result<(u64, u64)> {
        let file = &self.files[number];
        let mut start = [0; START_LEN as usize];
        let found = read_full(file, 0, &mut start)?;
        if found < start.len() || start[..8] != *MAGIC || start[8..KEY_END] != self.key {
            return Ok((0, 0));
        }
        let turn = start[KEY_END..].first_chunk().map_or(0, |turn| u64::from_le_bytes(*turn));
        let mut at = START_LEN;
        let mut bytes = vec![0; PIECE_LEN];
        loop {
            let mut head = [0; RECORD_LEN];
            if read_full(file, at, &mut head)? < head.len() {
                break;
            }
            let (offset, len, crc) =
                (number_at(&head, 0), number_at(&head, 8), number_at(&head, 12));
            let (len, crc) = (len as u32, crc as u32);
            let Some(bytes) = bytes.get_mut(..len as usize).filter(|bytes| !bytes.is_empty())
            else {
                break;
            };
            let place = at + RECORD_LEN as u64;
            if read_full(file, place, bytes)? < bytes.len() || checksum(offset, bytes) != crc {
                break;
            }
            self.ranges.insert(offset, (len, number, place));
            at = place + u64::from(len);
        }
        Ok((turn, at))
    }

    /// Empties the file that is written.
    fn begin(&mut self) -> io::Result<()> {
        let now = self.now;
        self.ranges.retain(|_, (_, number, _)| *number != now);
        let file = &self.files[now];
        file.set_len(0)?;
        file.write_all_at(MAGIC, 0)?;
        file.write_all_at(&self.key, MAGIC.len() as u64)?;
        self.turn = self.turn.saturating_add(1);
        file.write_all_at(&self.turn.to_le_bytes(), KEY_END as u64)?;
        self.len = START_LEN;
        Ok(())
    }

    /// Fills the start of `into` with the bytes at `at`, if they are here.
    fn read(&self, at: u64, into: &mut [u8]) -> Option<usize> {
        let (offset, (len, number, place)) = self.ranges.range(..=at).next_back()?;
        let skip = at - offset;
        let left = u64::from(*len).checked_sub(skip).filter(|left| *left > 0)?;
        let len = left.min(into.len() as u64) as usize;
        match read_full(&self.files[*number], place + skip, &mut into[..len]) {
            Ok(found) if found == len => Some(len),
            _ => None,
        }
    }

    /// Lets go of what overlaps these bytes, until the spool is opened again.
    fn forget(&mut self, start: u64, end: u64) {
        let is_apart = |at: u64, len: u32| at >= end || at + u64::from(len) <= start;
        self.ranges.retain(|at, (len, ..)| is_apart(*at, *len));
    }

    /// Where the next bytes that are here start, behind `at`.
    fn next(&self, at: u64) -> Option<u64> {
        self.ranges.range(at + 1..).next().map(|(offset, _)| *offset)
    }

    fn note(&mut self, offset: u64, bytes: &[u8]) {
        if self.is_full {
            return;
        }
        if self.append(offset, bytes).is_err() {
            self.is_full = true;
        }
    }

    fn append(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.len + (RECORD_LEN + bytes.len()) as u64 > LEN_MAX {
            self.now = 1 - self.now;
            self.begin()?;
        }
        let mut record = offset.to_le_bytes().to_vec();
        record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        record.extend_from_slice(&checksum(offset, bytes).to_le_bytes());
        record.extend_from_slice(bytes);
        self.files[self.now].write_all_at(&record, self.len)?;
        let place = self.len + RECORD_LEN as u64;
        self.ranges.insert(offset, (bytes.len() as u32, self.now, place));
        self.len += record.len() as u64;
        Ok(())
    }
}

/// Removes the spool called `name` in `folder`, and the [`start`] beside it, unless an installation
/// uses it.
pub fn clear(folder: &Path, name: &str) {
    let paths = paths(folder, name);
    let first = OpenOptions::new().read(true).custom_flags(FLAGS).open(&paths[0]);
    if first.is_ok_and(|file| file.try_lock().is_err()) {
        return;
    }
    start::clear(folder, name);
    for path in paths {
        // It may not be there.
        let _ = std::fs::remove_file(path);
    }
}

fn paths(folder: &Path, name: &str) -> [PathBuf; 2] {
    [0, 1].map(|number| folder.join(format!("{name}.spool.{number}")))
}

fn checksum(offset: u64, bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&offset.to_le_bytes());
    digest.update(&(bytes.len() as u32).to_le_bytes());
    digest.update(bytes);
    digest.finalize()
}

/// A number of 8 bytes at 0, of 4 bytes elsewhere.
fn number_at(head: &[u8; RECORD_LEN], at: usize) -> u64 {
    let len = if at == 0 { 8 } else { 4 };
    let mut bytes = [0; 8];
    bytes[..len].copy_from_slice(&head[at..at + len]);
    u64::from_le_bytes(bytes)
}
