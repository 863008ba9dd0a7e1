//! Bundles in frames and as patches, for devices of the simulator.

use std::io::Cursor;

use lzma_rust2::{LzmaOptions, LzmaWriter};
use stillboot::driver::{Source, SourceError};
use stillboot::format::Slot;
use stillboot::layout::Layout;
use stillboot_release::delta::{self, Full};
use stillboot_release::frames::{self, Compression};
use stillboot_transport::frame::Fault;
use stillboot_transport::lzma::Parameters;
use stillboot_transport::old::Old;
use stillboot_transport::outline::Outline;
use stillboot_transport::stream::{Framed, read_header};

use crate::disk::{RamDisk, Random};
use crate::world::DeviceMap;

/// `bundle` as a framed file.
///
/// # Panics
/// If it is no bundle.
#[must_use]
pub fn framed(bundle: &[u8], compression: Compression) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    frames::compress(&mut &bundle[..], compression, &mut out, &mut |_| {}).expect("a bundle");
    out.into_inner()
}

/// The patch from `old` to `new`.
///
/// # Panics
/// If these are no two bundles of one product.
#[must_use]
pub fn patch(old: &[u8], new: &[u8], full: Full) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    delta::write(old, new, full, &mut out, &mut |_| {}).expect("two bundles");
    out.into_inner()
}

/// `piece` as a stream of LZMA with any parameters that the decoder takes.
///
/// # Panics
/// If the encoder does not take them.
#[must_use]
pub fn lzma(piece: &[u8], parameters: Parameters) -> Vec<u8> {
    use std::io::Write as _;
    let mut options = LzmaOptions::with_preset(6);
    let Parameters { lc, lp, pb } = parameters;
    (options.lc, options.lp, options.pb) = (lc.into(), lp.into(), pb.into());
    options.dict_size = (piece.len() as u32).next_power_of_two().max(1 << 12);
    let start = vec![parameters.byte()];
    let len = Some(piece.len() as u64);
    let mut writer =
        LzmaWriter::new(start, &options, false, false, len).expect("parameters of LZMA");
    writer.write_all(piece).expect("memory takes it");
    writer.finish().expect("memory takes it")
}

/// The components of a plain bundle, one after the other: what patches from it start from.
///
/// # Panics
/// If it is no bundle.
#[must_use]
pub fn components(bundle: &[u8]) -> Vec<u8> {
    let outline = Outline::of(bundle).expect("a bundle");
    let part = |place: stillboot_transport::outline::Place| {
        bundle[place.data as usize..][..place.length as usize].to_vec()
    };
    outline.places().flat_map(part).collect()
}

/// The bundle that a framed file or a patch gives, as far as it gives one, and what ended it.
///
/// # Errors
/// What is wrong with its header.
pub fn expanded(file: &[u8], old: &mut dyn Old) -> Result<(Vec<u8>, Option<Fault>), Fault> {
    let mut source = FileBytes(file);
    let header = read_header(&mut source)?;
    let mut stream = Framed::new(source, header, old, Vec::new());
    let mut bundle = Vec::new();
    let mut buffer = vec![0; header.chunk_size as usize];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((bundle, None)),
            Ok(len) => bundle.extend_from_slice(&buffer[..len]),
            Err(SourceError) => return Ok((bundle, stream.fault())),
        }
    }
}

/// A framed file in memory that is its own source, and what its patches start from.
pub(crate) struct FramedFile(Framed<Owned, OldSlot, Vec<u8>>);

impl FramedFile {
    /// Of a file whose header is sound.
    pub(crate) fn new(file: Vec<u8>, old: OldSlot) -> Self {
        let mut source = Owned { file, at: 0 };
        let header = read_header(&mut source).expect("what was just written is read");
        Self(Framed::new(source, header, old, Vec::new()))
    }
}

impl Source for FramedFile {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read(into)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.0.skip(len)
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        self.0.has_more()
    }
}

/// A file in memory that belongs to its reader.
struct Owned {
    file: Vec<u8>,
    at: usize,
}

impl Source for Owned {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let mut rest = FileBytes(&self.file[self.at..]);
        let len = rest.read(into)?;
        self.at += len;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        FileBytes(&self.file[self.at..]).skip(len)?;
        self.at += len as usize;
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(self.at < self.file.len())
    }
}

/// A file in memory, from front to back.
#[derive(Clone, Debug)]
pub struct FileBytes<'a>(pub &'a [u8]);

impl Source for FileBytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let len = self.0.len().min(into.len());
        into[..len].copy_from_slice(&self.0[..len]);
        self.0 = &self.0[len..];
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.0.len());
        self.0 = &self.0[len.ok_or(SourceError)?..];
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        Ok(!self.0.is_empty())
    }
}

/// Where the components of a bundle stand when it is in a slot: of each its place on the joined
/// disk, `None` if it is not for this slot, and its length.
pub(crate) type OldParts = Vec<(Option<u64>, u64)>;

/// Those of the bundle with this head.
pub(crate) fn old_parts(
    ground: &DeviceMap,
    layout: &Layout<'_>,
    slot: Slot,
    outline: &Outline,
) -> OldParts {
    let manifest = &outline.manifest;
    let parts = manifest.components.iter().enumerate().map(|(number, component)| {
        let region = component.fits(slot).then(|| layout.component(slot, manifest, number));
        let region = region.and_then(Result::ok);
        (region.map(|region| ground.place(region)), component.length)
    });
    parts.collect()
}

/// The old bundle in a slot of a disk, whatever stands there by now.
#[derive(Debug)]
pub(crate) struct OldSlot {
    pub(crate) disk: RamDisk,
    pub(crate) parts: OldParts,
}

impl Old for OldSlot {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let mut rest = into;
        each_part(&self.parts, offset, rest.len(), |place, len| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
            now.copy_from_slice(&self.disk.bytes(place, len));
            rest = later;
            Ok(())
        })
    }
}

/// Calls `read` for each stretch on the disk of `len` old bytes at `offset`.
pub(crate) fn each_part(
    parts: &OldParts,
    mut offset: u64,
    len: usize,
    mut read: impl FnMut(u64, usize) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let mut left = len as u64;
    for (place, length) in parts {
        if left == 0 {
            break;
        }
        if offset >= *length {
            offset -= length;
            continue;
        }
        let now = left.min(length - offset);
        read(place.ok_or(SourceError)? + offset, now as usize)?;
        (offset, left) = (0, left - now);
    }
    if left == 0 { Ok(()) } else { Err(SourceError) }
}

/// `bytes` as a next release has them: some are other ones, and some more stand among them.
#[must_use]
pub fn changed(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = bytes.to_vec();
    for _ in 0..1 + out.len() / 700 {
        let at = random.below(out.len() as u64) as usize;
        out[at] ^= 1 + random.below(255) as u8;
    }
    let at = random.below(out.len() as u64) as usize;
    let mut more = [0; 9];
    random.fill(&mut more);
    out.splice(at..at, more);
    out.truncate(bytes.len());
    out
}

/// `len` bytes of lines that resemble each other.
#[must_use]
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = Vec::new();
    while out.len() < len {
        let line = format!("line {} of {seed}: {}\n", out.len(), random.below(1000));
        out.extend_from_slice(line.as_bytes());
    }
    out.truncate(len);
    out
}
