//! What an attacker does: bundles that no tool of ours would make, and disks written by hand.

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::driver::{Memory, RollbackStore, Source, SourceError, read_more};
use stillboot::format::{
    Digest, Envelope, KeyKind, KeyRole, Manifest, Mark, MarkKind, PayloadType, Record, Signature,
    Slot, SlotState, envelope, record,
};
use stillboot::layout::Part;
use stillboot::verify::{SoftSha256, digest_of};
use stillboot_release::keys::{Signer, sign_envelope};
use stillboot_sim::disk::{PowerCut, RamDisk};
use stillboot_sim::driver;
use stillboot_sim::{Publisher, World};

use crate::RamWorld;

/// Keyset envelope, manifest envelope and the rest of a bundle. Bundles for devices that trust one
/// key have no keyset: the first part is then empty.
///
/// # Panics
/// If `bundle` does not start with these envelopes.
#[must_use]
pub fn split(bundle: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (_, body) = envelopes(bundle).expect("the envelopes of a bundle");
    let (first, rest) = Envelope::parse(bundle).expect("seen above");
    let keyset_len = if is_keyset(&first) { bundle.len() - rest.len() } else { 0 };
    let (keyset, rest) = bundle.split_at(keyset_len);
    let (manifest, body) = rest.split_at(rest.len() - body.len());
    (keyset, manifest, body)
}

/// The envelope of the manifest and what follows it.
fn envelopes(bundle: &[u8]) -> Option<(Envelope<'_>, &[u8])> {
    let (first, rest) = Envelope::parse(bundle).ok()?;
    if is_keyset(&first) { Envelope::parse(rest).ok() } else { Some((first, rest)) }
}

fn is_keyset(envelope: &Envelope<'_>) -> bool {
    envelope.payload_type() == PayloadType::Keyset
}

/// The bytes of a manifest, whether or not it keeps the rules.
///
/// # Panics
/// If it is longer than any manifest.
#[must_use]
pub fn raw(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    postcard::to_slice(manifest, &mut bytes).expect("room").to_vec()
}

/// The payload of the manifest envelope.
#[must_use]
pub fn payload(bundle: &[u8]) -> Vec<u8> {
    let (_, manifest, _) = split(bundle);
    Envelope::parse(manifest).expect("split has parsed it").0.payload().to_vec()
}

/// SHA-256 of the manifest: the identity of the update.
#[must_use]
pub fn digest(bundle: &[u8]) -> Digest {
    digest_of::<SoftSha256>(&payload(bundle))
}

/// As [`digest`], of what may have no manifest at all.
#[must_use]
pub fn find_digest(bundle: &[u8]) -> Option<Digest> {
    let (manifest, _) = envelopes(bundle)?;
    Some(digest_of::<SoftSha256>(manifest.payload()))
}

/// `bundle` with these bytes as its manifest, signed in `role` by `signer`.
///
/// # Panics
/// If the bytes are too long for an envelope.
#[must_use]
pub fn signed_as(
    publisher: &Publisher,
    bundle: &[u8],
    payload: &[u8],
    role: KeyRole,
    signer: &dyn Signer,
) -> Vec<u8> {
    let (keyset, _, body) = split(bundle);
    let product = publisher.device().product;
    let signers = [(role, signer)];
    let manifest = sign_envelope(PayloadType::Manifest, &product, payload, &signers);
    [keyset, &manifest.expect("sign"), body].concat()
}

/// `bundle` with another manifest, signed by the release key: the work of an attacker who stole the
/// key, or of a release engineer who makes a mistake.
#[must_use]
pub fn with_manifest(
    publisher: &Publisher,
    bundle: &[u8],
    change: impl FnOnce(&mut Manifest),
) -> Vec<u8> {
    let mut manifest = Manifest::parse(&payload(bundle)).expect("a sound bundle to start from");
    change(&mut manifest);
    signed_as(publisher, bundle, &raw(&manifest), KeyRole::Release, &publisher.release)
}

/// A key and a signature of a kind that this build cannot check: made-up bytes, of the right
/// lengths.
#[derive(Clone, Debug)]
pub struct Foreign {
    kind: KeyKind,
    public: Vec<u8>,
    bytes: Vec<u8>,
}

impl Foreign {
    /// One that `seed` makes.
    #[must_use]
    pub fn new(kind: KeyKind, seed: u8) -> Self {
        let public = vec![seed; kind.public_len()];
        Self { kind, public, bytes: vec![!seed; kind.signature_len()] }
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> Digest {
        if self.kind == KeyKind::Ed25519 {
            [self.public[0]; 32]
        } else {
            digest_of::<SoftSha256>(&self.public)
        }
    }

    /// The signature, as an envelope has it.
    #[must_use]
    pub fn signature(&self) -> Signature<'_> {
        let public = if self.kind == KeyKind::Ed25519 { &[][..] } else { &self.public };
        Signature { kind: self.kind, name: self.name(), public, bytes: &self.bytes }
    }
}

/// The envelope with these signatures beside those that it has.
///
/// # Panics
/// If it is no envelope, or too long with them.
#[must_use]
pub fn with_signatures(envelope: &[u8], more: &[Foreign]) -> Vec<u8> {
    let (found, rest) = Envelope::parse(envelope).expect("an envelope");
    assert!(rest.is_empty(), "one envelope");
    let mut signatures: Vec<_> = found.signatures().collect();
    signatures.extend(more.iter().map(Foreign::signature));
    signatures.sort_by_key(|signature| (signature.kind.code(), signature.name));
    let mut bytes = vec![0; envelope::LEN_MAX];
    let len = Envelope::emit(found.payload_type(), &signatures, found.payload(), &mut bytes);
    bytes.truncate(len.expect("an envelope with more signatures"));
    bytes
}

/// Writes a forged record over all copies.
///
/// # Panics
/// If there is no record to start from.
pub fn forge_record(world: &mut RamWorld<'_>, change: impl FnOnce(&mut Record)) {
    let (mut record, ..) = world.record().expect("record");
    change(&mut record);
    let mut bytes = [0; record::LEN_MAX];
    record.emit(&mut bytes).expect("a record that can be written");
    poke_records(world, &bytes);
}

/// Destroys all copies of the record.
pub fn lose_record(world: &mut RamWorld<'_>) {
    poke_records(world, &[7; record::LEN_MAX]);
}

/// Writes these bytes over every copy of the record.
pub fn poke_records(world: &mut RamWorld<'_>, bytes: &[u8]) {
    for place in world.ground.places() {
        world.disks[usize::from(place.device)].poke(place.offset, bytes);
    }
}

/// Writes `bundle` into `slot` with both marks, as an attacker with write access to the disk would:
/// head, indexes and components, as far as there are any and places for them.
///
/// # Panics
/// If the device has no such slot.
pub fn plant(world: &mut RamWorld<'_>, slot: Slot, bundle: &[u8]) {
    let ground = world.ground.clone();
    let slots = ground.slots();
    let layout = ground.layout(&slots).expect("layout");
    let trust = layout.part(slot, Part::Trust).expect("slot");
    let disk = &mut world.disks[usize::from(trust.device)];
    // What stood there before must not complete what is planted.
    disk.poke(trust.offset, &vec![0; trust.len as usize]);
    let Some((manifest, body)) = envelopes(bundle) else {
        // No head that can be distinguished from the rest.
        let len = bundle.len().min(trust.len as usize);
        disk.poke(trust.offset, &bundle[..len]);
        return;
    };
    let (head, payload) = (&bundle[..bundle.len() - body.len()], manifest.payload());
    disk.poke(trust.offset, head);
    let digest = digest_of::<SoftSha256>(payload);
    for (part, kind) in
        [(Part::Commit, MarkKind::Committed), (Part::Confirmed, MarkKind::Confirmed)]
    {
        let place = layout.part(slot, part).expect("slot");
        disk.poke(place.offset, &Mark { kind, digest }.emit());
    }
    let Ok(manifest) = Manifest::parse(payload) else { return };
    let mut rest = body;
    for (number, component) in manifest.components.iter().enumerate() {
        let index = layout.index(slot, &manifest, number);
        let data = layout.component(slot, &manifest, number);
        for (place, len) in
            [(index, component.index_len(manifest.chunk_size)), (data, component.length)]
        {
            let (now, later) = rest.split_at(rest.len().min(len as usize));
            rest = later;
            if let Ok(region) = place {
                world.disks[usize::from(region.device)].poke(region.offset, now);
            }
        }
    }
}

/// Makes the record say that `slot` is good, holds `bundle` and goes first.
pub fn recommend(world: &mut RamWorld<'_>, slot: Slot, digest: Digest) {
    forge_record(world, |record| {
        let body = &mut record.body;
        let entry = body.slot_mut(slot);
        entry.state = SlotState::Good;
        entry.digest = digest;
        entry.priority = 200;
    });
}

/// The same world on devices that count what is asked of them, and whose power can be cut.
#[must_use]
pub fn counted<'a>(world: &RamWorld<'a>) -> World<'a, PowerCut<RamDisk>> {
    on(world, |disk| PowerCut::new(disk.fork()))
}

/// The same world on other devices.
#[must_use]
pub fn on<'a, D: BlockDevice>(world: &RamWorld<'a>, make: impl Fn(&RamDisk) -> D) -> World<'a, D> {
    let disks = world.disks.iter().map(make).collect();
    let mut other = World::new(world.device, world.ground.clone(), disks);
    other.store = world.store.clone();
    other.nonce = world.nonce;
    other.tries = world.tries;
    other.host = world.host.clone();
    other
}

/// A power-on with a store and a memory of the test's own.
///
/// # Panics
/// If the ground is unsound.
pub fn power_on_with(
    world: &mut RamWorld<'_>,
    store: &mut dyn RollbackStore,
    memory: &mut dyn Memory,
) -> (Option<stillboot::format::BootProof>, stillboot::boot::Report) {
    use stillboot::boot::{Boot, BootConfig, Event};
    let ground = world.ground.clone();
    let slots = ground.slots();
    world.nonce += 1;
    let config = BootConfig::new(world.device, ground.layout(&slots).expect("layout"), world.nonce)
        .with_tries(world.tries)
        .with_store(true)
        .with_check_late(true);
    let mut machine = Boot::<SoftSha256>::new(&config);
    let mut buffer = vec![0; Boot::<SoftSha256>::buffer_len_min(&config.layout)];
    let mut disks: Vec<_> = world.disks.iter_mut().map(|d| d as &mut dyn BlockDevice).collect();
    let proof = driver::boot(&mut machine, Event::Start, &mut disks, store, memory, &mut buffer);
    (proof, machine.report().clone())
}

/// A disk of any size that keeps only what is not zero.
#[derive(Clone, Debug)]
pub struct SparseDisk {
    geometry: Geometry,
    pages: std::collections::BTreeMap<u64, Box<[u8; PAGE]>>,
}

const PAGE: usize = 4096;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Whether all bytes are zero: by comparison, which is as fast as memory.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()])
}

impl SparseDisk {
    /// A disk full of zeros.
    #[must_use]
    pub const fn new(geometry: Geometry) -> Self {
        Self { geometry, pages: std::collections::BTreeMap::new() }
    }

    /// How many bytes are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.pages.len() * PAGE
    }
}

impl BlockDevice for SparseDisk {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        into.fill(0);
        let end = offset + into.len() as u64;
        for (number, page) in self.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let start = number * PAGE as u64;
            let (from, to) = (start.max(offset), (start + PAGE as u64).min(end));
            into[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&page[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.geometry.check_write(offset, bytes.len() as u64)?;
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let (number, skip) = (place / PAGE as u64, (place % PAGE as u64) as usize);
            let len = (PAGE - skip).min(bytes.len() - at);
            let part = &bytes[at..at + len];
            if !is_zero(part) || self.pages.contains_key(&number) {
                let page = self.pages.entry(number).or_insert_with(|| Box::new([0; PAGE]));
                page[skip..skip + len].copy_from_slice(part);
            }
            at += len;
        }
        Ok(())
    }

    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.geometry.check_erase(offset, len)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// A device that returns one byte wrong at the n-th read, and at every `and_then`-th after it.
#[derive(Clone, Debug)]
pub struct Liar<D> {
    /// What is read from otherwise.
    pub disk: D,
    /// Reads until it lies, 0 for the next one; `None` for a device that tells the truth.
    pub truths: Option<u32>,
    /// Whether it goes on lying.
    pub for_good: bool,
    /// Offset and length of every read.
    pub reads: Vec<(u64, usize)>,
}

impl<D: BlockDevice> Liar<D> {
    /// A device that lies after so many reads.
    pub const fn new(disk: D, truths: Option<u32>, for_good: bool) -> Self {
        Self { disk, truths, for_good, reads: Vec::new() }
    }
}

impl<D: BlockDevice> BlockDevice for Liar<D> {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.disk.read(offset, into)?;
        self.reads.push((offset, into.len()));
        match &mut self.truths {
            Some(0) => {
                into[0] ^= 1;
                self.truths = self.for_good.then_some(0);
            }
            Some(truths) => *truths -= 1,
            None => {}
        }
        Ok(())
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.disk.write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.disk.erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.disk.flush()
    }
}

/// A stream that counts what is asked of it and, after its bytes, behaves as it was set up.
#[derive(Debug)]
pub struct Tap<'a> {
    bytes: &'a [u8],
    /// Bytes given or skipped.
    pub taken: u64,
    /// Reads that were answered with nothing.
    pub empty: u32,
    /// What comes after the bytes.
    pub after: After,
}

/// What a stream does when its bytes are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It ends.
    End,
    /// Zeros, for ever.
    Zeros,
    /// It fails.
    Fail,
}

impl<'a> Tap<'a> {
    /// A stream of `bytes`, then `after`.
    #[must_use]
    pub const fn new(bytes: &'a [u8], after: After) -> Self {
        Self { bytes, taken: 0, empty: 0, after }
    }
}

impl Source for Tap<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, SourceError> {
        let rest = self.bytes.get(self.taken as usize..).unwrap_or(&[]);
        let len = match (rest.len().min(into.len()), self.after) {
            (0, After::End) => {
                self.empty += 1;
                0
            }
            (0, After::Fail) => return Err(SourceError),
            (0, After::Zeros) => {
                into.fill(0);
                into.len()
            }
            (len, _) => {
                into[..len].copy_from_slice(&rest[..len]);
                len
            }
        };
        self.taken += len as u64;
        Ok(len)
    }

    fn skip(&mut self, len: u64) -> Result<(), SourceError> {
        self.taken = self.taken.saturating_add(len);
        if self.taken > self.bytes.len() as u64 { Err(SourceError) } else { Ok(()) }
    }

    fn has_more(&mut self) -> Result<bool, SourceError> {
        read_more(self)
    }
}
