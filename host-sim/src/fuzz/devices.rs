//! Whole devices: streams that are installed, and slots that hold anything.

use stillboot::device::Geometry;
use stillboot::driver::Memory as _;
use stillboot::format::{Digest, Slot, SlotKind};
use stillboot::install::Running;
use stillboot::request::Request;
use stillboot::verify::{SoftSha256, verify_head};
use twox_hash::XxHash3_128;

use super::formats::head;
use crate::disk::{RamDisk, Random};
use crate::release::{Publisher, content};
use crate::world::{Bytes, DeviceMap, World};

/// A stream in odd pieces, sound but for what the input changes in it, never harms what runs.
pub fn install(data: &[u8]) {
    let publisher = Publisher::new(1);
    let mut world = small(&publisher);
    let first = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    world.install(&first, None).expect("a blank device takes it");
    let trial = world.power_on().expect("sound").proof.expect("it boots");
    world.perform(Request::MarkGood(trial)).expect("it is confirmed");
    let proof = world.power_on().expect("sound").proof.expect("it boots");
    let mut bundle = publisher.simple(2, SlotKind::Update).expect("a sound bundle");
    let sound = bundle.clone();
    // Three bytes each: where, and what to do there.
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bundle.len();
        match change[2] % 4 {
            0 => bundle[at] ^= change[2] | 1,
            1 => bundle.truncate(at.max(1)),
            2 => bundle.insert(at, change[2]),
            _ => {
                bundle.remove(at);
                if bundle.is_empty() {
                    bundle.push(0);
                }
            }
        }
    }
    let pieces = pieces(data);
    let mut source = Bytes::in_pieces(&bundle, &pieces);
    let result = world.install_with(&mut source, Running::Proof(proof), |_| {});
    assert_eq!(result.is_ok(), bundle == sound);
    let next = world.power_on().expect("sound").proof.expect("something boots");
    assert_eq!(next.digest == proof.digest, bundle != sound);
}

/// How long the pieces are in which a stream comes: first what the bytes of the input say, then what
/// follows from all of them. Each is of its own length, from one byte to more than a chunk.
fn pieces(data: &[u8]) -> Vec<usize> {
    let mut random = Random::new(XxHash3_128::oneshot(data) as u64);
    let given = data.iter().map(|byte| 1 + usize::from(*byte));
    let more = (0..PIECES).map(|_| match random.below(4) {
        0 => 1 + random.below(8) as usize,
        1 | 2 => 1 + random.below(600) as usize,
        _ => 1 + random.below(6000) as usize,
    });
    given.chain(more).collect()
}

/// Lengths of pieces beside those that an input says.
const PIECES: usize = 61;

/// Erase blocks of the disk.
const BLOCK: usize = 4096;

/// A slot and a record with anything in them never start what was not signed, and never stop the
/// other slot.
///
/// The first byte says which copies of the record are hit as well, and whether the slot holds a
/// sound update below it all. Then come pieces: a number of a block, a length of two bytes, and
/// what stands there.
pub fn slot(data: &[u8]) {
    let Some((shape, mut rest)) = data.split_first() else { return };
    head(rest);
    let publisher = Publisher::new(1);
    let (mut world, update) = two_slots(&publisher, shape & 4 != 0);
    let b = world.ground.slots()[1].regions[0].region;
    for copy in (0..2).filter(|copy| shape & 1 << copy != 0) {
        let region = world.ground.record(copy);
        world.disks[0].poke(region.offset, &rest[..rest.len().min(512)]);
    }
    while let Some(([block, low, high], bytes)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
        let at = usize::from(*block) * BLOCK % b.len as usize;
        let fits = len.min(b.len as usize - at);
        world.disks[0].poke(b.offset + at as u64, &bytes[..fits]);
        rest = &bytes[len..];
    }
    let mut power_on = world.power_on().expect("sound");
    match power_on.slot() {
        Some(Slot::A) => {}
        Some(Slot::B) => {
            let manifest = power_on.manifest.as_ref().expect("what runs has one");
            assert_eq!(*manifest.digest(), update.digest);
            for (number, bytes) in update.contents.iter().enumerate() {
                assert!(power_on.memory.bytes(number).starts_with(bytes), "other bytes run");
            }
        }
        other => panic!("{other:?} starts: {:?}", power_on.report),
    }
}

/// What may start from the second slot.
struct Update {
    digest: Digest,
    contents: [Vec<u8>; 2],
}

/// A device with one system, and perhaps an update that waits.
fn two_slots(publisher: &Publisher, has_update: bool) -> (World<'_, RamDisk>, Update) {
    let mut world = small(publisher);
    let first = publisher.simple(1, SlotKind::Update).expect("a sound bundle");
    world.install(&first, None).expect("a blank device takes it");
    let second = publisher.simple(2, SlotKind::Update).expect("a sound bundle");
    if has_update {
        world.install(&second, None).expect("the other slot takes it");
    }
    let (verified, _) =
        verify_head::<SoftSha256>(&publisher.device(), SlotKind::Update, &second).expect("signed");
    let contents = [content(2, 10_000), content(1_000_002, 5_000)];
    (world, Update { digest: *verified.digest(), contents })
}

/// The heads of a sound slot, piece by piece, on an empty one and on a sound one.
pub(super) fn slot_seeds() -> Vec<Vec<u8>> {
    let publisher = Publisher::new(1);
    let (world, _) = two_slots(&publisher, true);
    let b = world.ground.slots()[1].regions[0].region;
    let mut pieces = Vec::new();
    for block in 0..4_u8 {
        let at = b.offset + u64::from(block) * BLOCK as u64;
        let mut bytes = world.disks[0].bytes(at, BLOCK);
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        pieces.push(block);
        pieces.extend((bytes.len() as u16).to_le_bytes());
        pieces.extend(bytes);
    }
    let with = |shape: u8| [&[shape], &pieces[..]].concat();
    vec![with(0), with(4), with(7), vec![4, 2, 1, 0, 9], vec![3; 600]]
}

pub(super) fn small(publisher: &Publisher) -> World<'_, RamDisk> {
    let geometry = Geometry::disk(512, 0);
    let ground = DeviceMap::new(geometry, &[Slot::A, Slot::B], 64 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0)).collect();
    World::new(publisher.device(), ground, disks)
}
