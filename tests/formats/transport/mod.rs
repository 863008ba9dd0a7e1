//! Framed files and patches: what encoders write is what decoders read, and damage is only damage.

mod damage;
mod delta;
mod golden;
mod rounds;
mod steps;

use stillboot::driver::{Source, SourceError, read_more};
use stillboot::format::{Load, Role, SlotKind};
use stillboot_sim::Publisher;
use stillboot_sim::disk::Random;
use stillboot_sim::release::{Piece, content};
use stillboot_sim::transport::text;

/// A bundle of components without a slot of their own.
fn bundle(publisher: &Publisher, sequence: u64, chunk_size: u32, parts: &[&[u8]]) -> Vec<u8> {
    let pieces: Vec<_> = parts
        .iter()
        .zip(Role::ALL)
        .map(|(bytes, role)| Piece { role: *role, load: Load::Ram, linked: None, bytes })
        .collect();
    let mut manifest = publisher.manifest(sequence);
    manifest.chunk_size = chunk_size;
    publisher.bundle(manifest, SlotKind::Update, &pieces).unwrap()
}

/// Words as a compiler writes them: few operations, and addresses that are all different.
fn code(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut out = Vec::new();
    while out.len() < len {
        let word = match random.below(4) {
            0 => 0x9400_0000 | random.below(1 << 16) as u32,
            1 => 0xf940_0000 | (random.below(32) as u32) << 5,
            2 => 0xaa00_03e0 | (random.below(31) as u32) << 16,
            _ => 0xd65f_03c0,
        };
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Bytes of every kind, of one length.
fn kinds(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut holes = content(3, len);
    for (at, byte) in holes.iter_mut().enumerate() {
        if at / 1000 % 3 != 0 {
            *byte = 0;
        }
    }
    vec![
        ("zeros", vec![0; len]),
        ("ones", vec![0xff; len]),
        ("chance", content(1, len)),
        ("text", text(2, len)),
        ("code", code(4, len)),
        ("holes", holes),
        ("a period of seven", b"0123456".iter().copied().cycle().take(len).collect()),
    ]
}

/// A file in memory, in pieces of at most `most` bytes, and what follows it: nothing, or bytes
/// without end.
#[derive(Clone)]
struct File<'a> {
    bytes: &'a [u8],
    most: usize,
    is_endless: bool,
}

impl<'a> File<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, most: usize::MAX, is_endless: false }
    }
}

impl Source for File<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        if self.bytes.is_empty() && self.is_endless {
            into.fill(0xee);
            return Ok(into.len());
        }
        let len = into.len().min(self.bytes.len()).min(self.most);
        into[..len].copy_from_slice(&self.bytes[..len]);
        self.bytes = &self.bytes[len..];
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.bytes.len());
        self.bytes = &self.bytes[len.ok_or(SourceError)?..];
        Ok(())
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}
