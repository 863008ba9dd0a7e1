//! Bundles piece by piece, from wherever is nearest; sources that fail, lie and end early.

mod ahead;
mod assembly;
mod open;
mod pipe;

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use stillboot::device::Geometry;
use stillboot::driver::{Source, SourceError};
use stillboot::format::{Load, Role, Slot, SlotKind};
use stillboot::layout::Region;
use stillboot_fetch::error::FetchError;
use stillboot_fetch::framed::PieceFile;
use stillboot_fetch::read_at::ReadAt;
use stillboot_fetch::slots::{Slots, Target};
use stillboot_release::delta::Full;
use stillboot_release::frames::Compression;
use stillboot_sim::disk::RamDisk;
use stillboot_sim::release::{Piece, content};
use stillboot_sim::transport::{changed, framed, patch, text};
use stillboot_sim::{DeviceMap, Publisher, World};
use stillboot_transport::outline::Outline;

const CHUNK: usize = 4096;

/// What happened to a file in memory.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Events>>);

#[derive(Debug, Default)]
struct Events {
    /// Offset and length of each read.
    reads: Vec<(u64, usize)>,
    /// Places up to which reads were announced, and how many reads were before.
    expected: Vec<(usize, u64)>,
    /// Reads that reach this place fail.
    fails_from: Option<u64>,
}

impl Log {
    fn events(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap()
    }

    fn clear(&self) {
        *self.events() = Events::default();
    }

    /// Whether a read touched any of these bytes.
    fn has_read(&self, from: u64, to: u64) -> bool {
        self.events().reads.iter().any(|(at, len)| *at < to && from < at + *len as u64)
    }
}

/// A file in memory as if it were on a server.
struct Memory {
    bytes: Vec<u8>,
    /// What it says of its length.
    len: u64,
    log: Log,
    received: u64,
}

impl ReadAt for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn file_len(&mut self) -> Result<u64, FetchError> {
        Ok(self.len)
    }

    fn expect(&mut self, end: u64) {
        let mut events = self.log.events();
        let before = events.reads.len();
        events.expected.push((before, end));
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, FetchError> {
        let mut events = self.log.events();
        events.reads.push((offset, into.len()));
        if events.fails_from.is_some_and(|from| offset + into.len() as u64 > from) {
            let error = std::io::ErrorKind::TimedOut.into();
            return Err(FetchError::Io { name: "memory".into(), error });
        }
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = into.len().min(rest.len());
        into[..len].copy_from_slice(&rest[..len]);
        self.received += len as u64;
        Ok(len)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn received(&self) -> u64 {
        self.received
    }
}

fn memory(bytes: &[u8], log: &Log) -> Box<dyn ReadAt> {
    let len = bytes.len() as u64;
    Box::new(Memory { bytes: bytes.to_vec(), len, log: log.clone(), received: 0 })
}

fn open(bytes: &[u8], log: &Log) -> PieceFile {
    PieceFile::open(memory(bytes, log)).unwrap()
}

/// A device with an old bundle in slot A, and a new bundle.
struct Bench {
    old: Vec<u8>,
    new: Vec<u8>,
    map: DeviceMap,
    disk: RamDisk,
}

/// Chunks of the first component that the old bundle has as they are, of eight.
const KEPT: usize = 3;
/// Those that resemble old ones; the last two are new.
const CHANGED: usize = 3;

impl Bench {
    fn new() -> Self {
        let publisher = Publisher::new(1);
        let bundle = |sequence, kernel: &[u8], initramfs: &[u8]| {
            let piece = |role, bytes| Piece { role, load: Load::Ram, linked: None, bytes };
            let parts = [piece(Role::Kernel, kernel), piece(Role::Initramfs, initramfs)];
            publisher.bundle(publisher.manifest(sequence), SlotKind::Update, &parts).unwrap()
        };
        let kernel = content(1, 8 * CHUNK);
        let mut next = kernel[..KEPT * CHUNK].to_vec();
        next.extend(changed(&kernel[KEPT * CHUNK..(KEPT + CHANGED) * CHUNK], 2));
        next.extend(content(3, 2 * CHUNK));
        let old = bundle(1, &kernel, &text(5, 5000));
        let new = bundle(2, &next, &text(6, 5000));
        let map = DeviceMap::new(Geometry::disk(512, 0), &[Slot::A, Slot::B], 128 << 10);
        let disk = RamDisk::new(map.geometries()[0], 0);
        let mut world = World::new(publisher.device(), map.clone(), vec![disk]);
        world.install(&old, None).unwrap();
        Self { old, new, map, disk: world.disks.swap_remove(0) }
    }

    fn patch(&self) -> Vec<u8> {
        patch(&self.old, &self.new, Full::Absent(Compression::Lz4))
    }

    fn framed(&self) -> Vec<u8> {
        framed(&self.new, Compression::Lz4)
    }

    /// Where component `number` of the old bundle stands, and its index.
    fn places(&self, number: usize) -> (Region, Region) {
        let slots = self.map.slots();
        let layout = self.map.layout(&slots).unwrap();
        let manifest = Outline::of(&self.old).unwrap().manifest;
        let data = layout.component(Slot::A, &manifest, number).unwrap();
        (data, layout.index(Slot::A, &manifest, number).unwrap())
    }

    /// What the slots hold, from a file with the bytes of the disk.
    fn slots(&self, target: &Target) -> Arc<Slots> {
        self.slots_of(target, true)
    }

    fn slots_of(&self, target: &Target, is_complete: bool) -> Arc<Slots> {
        let capacity = self.map.geometries()[0].capacity_bytes as usize;
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(&self.disk.bytes(0, capacity)).unwrap();
        let layouts = self.map.slots();
        let layout = self.map.layout(&layouts).unwrap();
        let outline = Outline::of(&self.old).unwrap();
        let mut slots = Slots::new(vec![file], target.clone());
        slots.add(&layout, Slot::A, &outline.manifest, outline.digest, is_complete);
        Arc::new(slots)
    }

    /// Says that the new bundle is written over the old one.
    fn overwrite(&self, target: &Target) {
        let layouts = self.map.slots();
        let layout = self.map.layout(&layouts).unwrap();
        target.set(&layout, Slot::A, &Outline::of(&self.new).unwrap().manifest);
    }
}

/// All that a source gives, in steps of `step`.
fn all(source: &mut dyn Source, step: usize) -> Result<Vec<u8>, SourceError> {
    let (mut found, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(found),
            len => found.extend_from_slice(&buffer[..len]),
        }
    }
}
