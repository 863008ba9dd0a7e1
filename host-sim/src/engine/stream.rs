//! What an installation reads: a bundle, or a framed file or a patch of it.
//!
//! Old bytes that a patch needs are read from the disk at hand, by requests as the core makes them:
//! a fault of the device strikes them as well. A frame whose old bytes are missing is decoded again
//! once they are there.

use std::collections::BTreeMap;

use stillboot::driver::{Source as _, SourceError};
use stillboot::format::BootProof;
use stillboot::layout::Layout;
use stillboot_transport::frame::{HEADER_LEN_MAX, HEADER_LEN_MIN, Header};
use stillboot_transport::old::Old;
use stillboot_transport::outline::Outline;
use stillboot_transport::stream::Framed;
use twox_hash::XxHash3_128;

use super::program::Setting;
use crate::transport::{FileBytes, OldParts, each_part, old_parts};

/// Old bytes are read in blocks of this length, and those around them that the device asks for.
const BLOCK_LEN: u64 = 4096;

/// What an installation reads.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    bytes: &'a [u8],
    /// `None` for a bundle as it is.
    header: Option<Header>,
    /// How many bytes of the bundle were read.
    position: u64,
    old: OldBlocks,
    /// The target is said to hold what this has.
    stated: Option<&'a [u8]>,
}

/// The old bytes that were read from the disk.
#[derive(Debug)]
struct OldBlocks {
    parts: OldParts,
    /// Reads start and end at multiples of this.
    unit: u64,
    /// By place; `None` where the device does not read.
    known: BTreeMap<u64, Option<Vec<u8>>>,
}

/// What the next bytes take.
pub(super) enum Got {
    /// So many are there.
    Bytes(usize),
    /// These of the disk have to be read first.
    Old(u64, usize),
    /// They cannot be had.
    Failed,
}

impl<'a> Stream<'a> {
    /// Bundle `number`, on a device where this runs.
    pub(super) fn new(
        setting: &'a Setting<'_>,
        layout: &Layout<'_>,
        number: usize,
        running: Option<&BootProof>,
    ) -> Self {
        let bytes = &setting.bundles[number][..];
        let header = header_of(bytes);
        // The old bundle is what runs. Nothing else is known to be there.
        let old = header.zip(running).filter(|(header, proof)| header.from == proof.digest);
        let parts = old.and_then(|(header, proof)| {
            let outlines = setting.bundles.iter().filter_map(|bundle| Outline::of(bundle));
            let outline = outlines.into_iter().find(|outline| outline.digest == header.from)?;
            Some(old_parts(&setting.ground, layout, proof.slot, &outline))
        });
        let unit = setting.ground.joined().logical_block_bytes.into();
        let parts = parts.unwrap_or_default();
        let old = OldBlocks { parts, unit, known: BTreeMap::new() };
        let stated = setting.stated.contains(&number).then(|| &setting.bundles[0][..]);
        Self { bytes, header, position: 0, old, stated }
    }

    /// Fills `into`, as far as there is anything.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Got {
        let Some(header) = self.header else {
            let rest = &self.bytes[self.position as usize..];
            let len = into.len().min(rest.len());
            into[..len].copy_from_slice(&rest[..len]);
            self.position += len as u64;
            return Got::Bytes(len);
        };
        let mut missing = None;
        let file = FileBytes(&self.bytes[header.frames_start() as usize..]);
        let old = Reading { old: &self.old, missing: &mut missing };
        let mut framed = Framed::new(file, header, old, vec![0; header.chunk_size as usize]);
        let mut len = 0;
        let mut fill = || {
            framed.skip(self.position)?;
            while len < into.len() {
                match framed.read(&mut into[len..])? {
                    0 => break,
                    n => len += n,
                }
            }
            Ok(())
        };
        let result: Result<(), SourceError> = fill();
        match (result, missing) {
            (Ok(()), _) => {
                self.position += len as u64;
                Got::Bytes(len)
            }
            (Err(SourceError), Some((place, len))) => Got::Old(place, len),
            (Err(SourceError), None) => Got::Failed,
        }
    }

    /// Passes over `len` bytes; whether there are so many.
    pub(super) fn skip(&mut self, len: u64) -> bool {
        self.position += len;
        let all = match self.header {
            Some(header) => header.bundle_len(),
            None => self.bytes.len() as u64,
        };
        let is_there = self.position <= all;
        self.position = self.position.min(all);
        is_there
    }

    /// Whether the target is said to hold the next `len` bytes.
    pub(super) fn is_held(&self, len: u64) -> bool {
        let next =
            self.bytes.get(self.position as usize..).and_then(|rest| rest.get(..len as usize));
        let (Some(next), Some(stated)) = (next, self.stated) else { return false };
        stated.windows(next.len()).any(|bytes| bytes == next)
    }

    /// Notes what the disk has at `place`.
    pub(super) fn learn(&mut self, place: u64, bytes: Option<&[u8]>) {
        self.old.known.insert(place, bytes.map(<[u8]>::to_vec));
    }

    /// What it depends on beside the bundle: how far it was read, and the name of the old bytes.
    pub(super) fn state(&self) -> (u64, u128) {
        let mut name = XxHash3_128::new();
        for (place, bytes) in &self.old.known {
            name.write(&place.to_le_bytes());
            match bytes {
                Some(bytes) => name.write(bytes),
                None => name.write(b"?"),
            }
        }
        (self.position, name.finish_128())
    }
}

/// The header of a framed file; `None` for anything else.
fn header_of(bytes: &[u8]) -> Option<Header> {
    let len = Header::len_of(bytes.first_chunk::<HEADER_LEN_MIN>()?).ok()?;
    debug_assert!(len <= HEADER_LEN_MAX);
    Header::parse(bytes.get(..len)?).ok()
}

/// Old bytes as far as they are known; notes the first that are not.
struct Reading<'o> {
    old: &'o OldBlocks,
    missing: &'o mut Option<(u64, usize)>,
}

impl Old for Reading<'_> {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let OldBlocks { parts, unit, known } = self.old;
        let mut filled = 0;
        each_part(parts, offset, into.len(), |mut place, mut len| {
            while len > 0 {
                let part = parts.iter().find_map(|(at, length)| {
                    at.filter(|at| (*at..at + length).contains(&place)).map(|at| (at, *length))
                });
                let (start, length) = part.ok_or(SourceError)?;
                let block = start + (place - start) / BLOCK_LEN * BLOCK_LEN;
                let end = (block + BLOCK_LEN).min(start + length).next_multiple_of(*unit);
                let from = block / unit * unit;
                let Some(found) = known.get(&from) else {
                    self.missing.get_or_insert((from, (end - from) as usize));
                    return Err(SourceError);
                };
                let bytes = found.as_ref().ok_or(SourceError)?;
                let at = (place - from) as usize;
                let now = len.min(bytes.len() - at);
                into[filled..filled + now].copy_from_slice(&bytes[at..at + now]);
                (filled, place, len) = (filled + now, place + now as u64, len - now);
            }
            Ok(())
        })
    }
}
