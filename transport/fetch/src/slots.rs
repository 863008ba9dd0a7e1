//! What the slots of this device hold: chunks that need not be fetched, and what patches start from.

use std::fs::File;
use std::sync::{Arc, PoisonError, RwLock};

use stillboot::driver::SourceError;
use stillboot::format::{Component, Digest, Manifest, Slot};
use stillboot::layout::{Layout, Region};
use stillboot::verify::{IndexFold, SoftSha256};
use stillboot_transport::old::Old;

use crate::read_at::read_full;

/// Longest index that is kept in memory; chunks of longer components are not looked for.
pub(crate) const INDEX_LEN_MAX: u64 = 8 << 20;

/// The slot that is written to, once that is known. The host of an installation sets it before
/// anything is written.
#[derive(Clone, Debug, Default)]
pub struct Target(Arc<RwLock<Option<Written>>>);

/// The slot that is written, and where the components of the update go, unless they are for
/// another slot.
#[derive(Debug)]
struct Written {
    slot: Slot,
    data: Vec<Option<Region>>,
}

impl Target {
    /// This slot is written to, with the components of `manifest`.
    pub fn set(&self, layout: &Layout<'_>, slot: Slot, manifest: &Manifest) {
        let written = Written { slot, data: regions(layout, slot, manifest) };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(written);
    }

    fn is(&self, slot: Slot) -> bool {
        self.with(|written| written.slot == slot).unwrap_or(false)
    }

    fn with<T>(&self, look: impl FnOnce(&Written) -> T) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }
}

/// Where the components of `manifest` are in `slot`, `None` for one that is for another slot.
fn regions(layout: &Layout<'_>, slot: Slot, manifest: &Manifest) -> Vec<Option<Region>> {
    let components = manifest.components.iter().enumerate();
    let region = |(number, component): (usize, &Component)| {
        component.fits(slot).then(|| layout.component(slot, manifest, number).ok()).flatten()
    };
    components.map(region).collect()
}

/// A component that a slot holds.
#[derive(Clone, Debug)]
struct Held {
    slot: Slot,
    bundle: Digest,
    data: Region,
    length: u64,
    /// Of the bundle.
    chunk_size: u32,
    /// Its stored index is the one that its manifest names.
    is_indexed: bool,
    /// The slot has, or had, what its index says.
    is_complete: bool,
}

/// A bundle that a slot holds.
#[derive(Clone, Debug)]
struct Installed {
    slot: Slot,
    digest: Digest,
    /// Of each component in the order of the manifest: its length, and where it is, unless it is
    /// for another slot.
    components: Vec<(u64, Option<Region>)>,
}

/// A chunk that a slot holds, if its stored index is right: the start of its digest, the component,
/// and where it starts in that.
type Chunk = (u64, u32, u64);

/// What the slots hold, as their heads and stored indexes said before anything was written. All of
/// it may be wrong: what is taken from here is a proposal.
#[derive(Debug)]
pub struct Slots {
    devices: Vec<File>,
    target: Target,
    held: Vec<Held>,
    /// Sorted.
    chunks: Vec<Chunk>,
    /// The bundles in the slots.
    bundles: Vec<Installed>,
    /// Stored indexes that are those of their manifests: of which slot and component, and their
    /// bytes.
    indexes: Vec<(Slot, u8, Vec<u8>)>,
}

impl Slots {
    /// No slots yet. `devices` are files of their own on the devices of the layout, in their order;
    /// they are only read.
    #[must_use]
    pub fn new(devices: Vec<File>, target: Target) -> Self {
        Self {
            devices,
            target,
            held: Vec::new(),
            chunks: Vec::new(),
            bundles: Vec::new(),
            indexes: Vec::new(),
        }
    }

    /// Adds what `slot` holds by its head, `manifest` with this digest. What cannot be read is left
    /// out. `is_complete` says that the slot has what its index says, as far as its record knows.
    pub fn add(
        &mut self,
        layout: &Layout<'_>,
        slot: Slot,
        manifest: &Manifest,
        digest: Digest,
        is_complete: bool,
    ) {
        let mut components = Vec::new();
        let regions = regions(layout, slot, manifest);
        for (number, (component, data)) in manifest.components.iter().zip(regions).enumerate() {
            components.push((component.length, data));
            let Some(data) = data else { continue };
            let held = self.held.len() as u32;
            self.held.push(Held {
                slot,
                bundle: digest,
                data,
                length: component.length,
                chunk_size: manifest.chunk_size,
                is_indexed: false,
                is_complete,
            });
            let len = component.index_len(manifest.chunk_size);
            let Ok(index) = layout.index(slot, manifest, number) else { continue };
            if len > INDEX_LEN_MAX {
                continue;
            }
            let mut bytes = vec![0; len as usize];
            if self.read(index.device, index.offset, &mut bytes).is_err() {
                continue;
            }
            let size = u64::from(manifest.chunk_size);
            let entries = bytes.as_chunks::<32>().0.iter().enumerate();
            self.chunks.extend(entries.map(|(at, entry)| (prefix(entry), held, at as u64 * size)));
            // One that is damaged would name wrong chunks, each time.
            let mut fold = IndexFold::<SoftSha256>::new(component.length, manifest.chunk_size);
            fold.entries(&bytes);
            if fold.finish() == component.index_root {
                self.indexes.push((slot, number as u8, bytes));
                self.held[held as usize].is_indexed = true;
            }
        }
        self.bundles.push(Installed { slot, digest, components });
        self.chunks.sort_unstable();
    }

    /// The stored index of component `number` of the bundle `digest`, where a slot has it: the one
    /// whose root its manifest names.
    #[must_use]
    pub fn index_of(&self, digest: &Digest, number: u8) -> Option<&[u8]> {
        let mut slots =
            self.bundles.iter().filter(|bundle| bundle.digest == *digest).map(|found| found.slot);
        slots.find_map(|slot| {
            let is_its = |(at, n, _): &&(Slot, u8, _)| *at == slot && *n == number;
            self.indexes.iter().find(is_its).map(|(_, _, bytes)| &bytes[..])
        })
    }

    /// Places where a chunk with this digest may be, each a device and an offset. It may have been
    /// overwritten by now.
    pub(crate) fn places(&self, digest: &Digest, len: usize) -> Vec<(u8, u64)> {
        let alike: Vec<(&Held, u64)> = self
            .alike(digest)
            .filter_map(|(_, held, at)| {
                let held = &self.held[*held as usize];
                let fits = at + len as u64 <= held.length;
                fits.then_some((held, *at))
            })
            .collect();
        // In the slot that is written it may be gone by now.
        let (last, first): (Vec<_>, Vec<_>) =
            alike.into_iter().partition(|(held, _)| self.target.is(held.slot));
        let few = first.into_iter().take(PLACES_MAX).chain(last.into_iter().take(PLACES_MAX));
        few.map(|(held, at)| (held.data.device, held.data.offset + at)).collect()
    }

    /// Whether all that the slots hold is known by chunks of this size. Otherwise equal bytes may
    /// have been cut into other chunks, and to look at them may find more.
    #[must_use]
    pub fn knows_all(&self, chunk_size: u32) -> bool {
        self.held.iter().all(|held| held.is_indexed && held.chunk_size == chunk_size)
    }

    /// Whether the slot that is written held the chunk with this digest where the update has it: at
    /// byte `start` of component `number`. By its stored index, which was not compared with
    /// the bytes, and by the first 8 bytes of the digest.
    pub(crate) fn holds(&self, number: u8, start: u64, digest: &Digest, len: usize) -> bool {
        let goes_to = |written: &Written| {
            let data = written.data.get(usize::from(number)).copied().flatten()?;
            Some((written.slot, data.device, data.offset + start))
        };
        let Some((slot, device, at)) = self.target.with(goes_to).flatten() else { return false };
        self.alike(digest).any(|(_, held, from)| {
            let held = &self.held[*held as usize];
            let is_there = held.slot == slot
                && held.data.device == device
                && held.data.offset + from == at
                && from + len as u64 <= held.length;
            held.is_indexed && held.is_complete && is_there
        })
    }

    /// Whether a slot with another bundle than `bundle` may have the chunk. The slot that is written
    /// has the index of its bundle before it has the chunks.
    pub(crate) fn may_have(&self, digest: &Digest, bundle: &Digest) -> bool {
        self.alike(digest).any(|(_, held, _)| self.held[*held as usize].bundle != *bundle)
    }

    fn alike(&self, digest: &Digest) -> impl Iterator<Item = &Chunk> {
        let wanted = prefix(digest);
        let first = self.chunks.partition_point(|chunk| chunk.0 < wanted);
        self.chunks[first..].iter().take_while(move |chunk| chunk.0 == wanted)
    }

    /// Fills `into` from a device.
    pub(crate) fn read(&self, device: u8, at: u64, into: &mut [u8]) -> Result<(), SourceError> {
        let file = self.devices.get(usize::from(device)).ok_or(SourceError)?;
        match read_full(file, at, into) {
            Ok(len) if len == into.len() => Ok(()),
            _ => Err(SourceError),
        }
    }

    /// Whether a slot holds the bundle with this digest and is not written to.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.old(digest).is_some()
    }

    fn old(&self, digest: &Digest) -> Option<&[(u64, Option<Region>)]> {
        let is_old = |bundle: &&Installed| bundle.digest == *digest && !self.target.is(bundle.slot);
        self.bundles.iter().find(is_old).map(|bundle| &bundle.components[..])
    }
}

/// A chunk is looked for in at most so many places of the slot that is written, and of the others.
const PLACES_MAX: usize = 2;

/// The part of a digest that chunks are sorted by.
fn prefix(digest: &[u8; 32]) -> u64 {
    let mut start = [0; 8];
    start.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(start)
}

/// The components of the old bundle, for patches from it.
#[derive(Clone, Debug)]
pub struct OldBundle {
    slots: Arc<Slots>,
    digest: Digest,
}

impl OldBundle {
    /// Those of the bundle with this digest.
    #[must_use]
    pub const fn new(slots: Arc<Slots>, digest: Digest) -> Self {
        Self { slots, digest }
    }
}

impl Old for OldBundle {
    fn read(&mut self, mut offset: u64, mut into: &mut [u8]) -> Result<(), SourceError> {
        let parts = self.slots.old(&self.digest).ok_or(SourceError)?;
        for (length, data) in parts {
            if into.is_empty() {
                break;
            }
            if offset >= *length {
                offset -= length;
                continue;
            }
            let len = into.len().min((length - offset).min(usize::MAX as u64) as usize);
            let (now, rest) = into.split_at_mut(len);
            let data = data.as_ref().ok_or(SourceError)?;
            self.slots.read(data.device, data.offset + offset, now)?;
            (offset, into) = (0, rest);
        }
        if into.is_empty() { Ok(()) } else { Err(SourceError) }
    }
}
