//! The metadata area as a log, on flash that fails: what cannot be read for a while, cells whose
//! programming was cut, and blocks of later versions.

use std::ops::Range;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::log::{CELL_LEN, Cell, EntryKind, HEADER_LEN, emit_header, parse_header};
use stillboot::format::{BootProof, Notes, Slot, SlotKind, SlotState, crc32};
use stillboot::request::{Request, RequestError};

use stillboot::record::{CopyState, RecordStatus};
use stillboot_sim::disk::RamDisk;
use stillboot_sim::{DeviceMap, Publisher, World};

const BLOCK: u64 = 8 << 10;
const GRANULE: u64 = 32;
const DIRECTORY: u64 = BLOCK / 8;

/// Does not read some bytes.
#[derive(Clone)]
struct Hole {
    disk: RamDisk,
    unread: Range<u64>,
    /// What it does not write, with an error that says nothing.
    unwritten: Range<u64>,
}

impl BlockDevice for Hole {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        if offset < self.unread.end && self.unread.start < offset + into.len() as u64 {
            return Err(DeviceError::Io);
        }
        self.disk.read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if offset < self.unwritten.end && self.unwritten.start < offset + bytes.len() as u64 {
            return Err(DeviceError::Io);
        }
        self.disk.write(offset, bytes)
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.disk.erase(offset, len)
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.disk.flush()
    }
}

type Flash<'a> = World<'a, Hole>;

/// A new device with so many log blocks of 8 KiB, written in units of 32 bytes.
fn flash(publisher: &Publisher, blocks: u64) -> Flash<'_> {
    let geometry = Geometry {
        logical_block_bytes: 1,
        write_granule_bytes: GRANULE as u32,
        erase_block_bytes: BLOCK as u32,
        capacity_bytes: 0,
        erased: Some(0xff),
    };
    let ground = DeviceMap::log(geometry, blocks, BLOCK, &[Slot::A, Slot::B], 128 << 10);
    let disks = ground.geometries().iter().map(|g| RamDisk::new(*g, 0xff));
    let disks = disks.map(|disk| Hole { disk, unread: 0..0, unwritten: 0..0 }).collect();
    World::new(publisher.device(), ground, disks)
}

fn boot(world: &mut Flash<'_>) -> BootProof {
    world.power_on().unwrap().proof.expect("a slot starts")
}

/// Installs, tries and confirms; gives the proof of the boot after that.
fn take(
    world: &mut Flash<'_>,
    publisher: &Publisher,
    number: u64,
    proof: Option<BootProof>,
) -> BootProof {
    let bundle = publisher.simple(number, SlotKind::Update).unwrap();
    world.install(&bundle, proof).unwrap();
    let trial = boot(world);
    world.perform(Request::MarkGood(trial)).unwrap();
    boot(world)
}

/// A device with update 1 good in A and update 2 good in B, which runs.
fn two_good(publisher: &Publisher, blocks: u64) -> (Flash<'_>, BootProof) {
    let mut world = flash(publisher, blocks);
    let proof = take(&mut world, publisher, 1, None);
    let proof = take(&mut world, publisher, 2, Some(proof));
    assert_eq!(proof.slot, Slot::B);
    (world, proof)
}

fn bytes(world: &Flash<'_>, offset: u64, len: u64) -> Vec<u8> {
    world.disks[0].disk.bytes(offset, len as usize)
}

fn head(world: &Flash<'_>, slot: Slot) -> Option<(u64, usize)> {
    let mut get = |at: u64, len: usize| world.disks[0].disk.bytes(at, len);
    world.ground.head(&mut get, slot)
}

/// A change of the record.
fn change(world: &mut Flash<'_>, number: u64) -> Result<(), RequestError> {
    world.perform(Request::NoteIssue(number)).map(|_| ())
}

/// The last change that the record knows.
fn changed(world: &mut Flash<'_>) -> u64 {
    let (record, ..) = world.record().unwrap();
    Notes::parse(&record.body.notes).unwrap().index_issue
}

fn generation(world: &Flash<'_>, block: u64) -> Option<u64> {
    parse_header(&bytes(world, block * BLOCK, HEADER_LEN as u64)).ok()
}

/// The block that counts.
fn active(world: &mut Flash<'_>) -> u64 {
    match world.record().unwrap().1 {
        RecordStatus::Current { copy } => copy.into(),
        other => panic!("{other:?}"),
    }
}

/// A head that cannot be read for a while was left out when the log moved to another block: the
/// slot was lost for good.
#[test]
fn a_head_that_cannot_be_read_for_a_while_is_not_left_behind() {
    let publisher = Publisher::new(1);
    for blocks in [2, 3, 4] {
        let (mut world, proof) = two_good(&publisher, blocks);
        let mut failed = 0;
        for number in 1..40 {
            // Wherever it has moved to.
            let (at, len) = head(&world, Slot::A).expect("the head of the other slot is lost");
            world.disks[0].unread = at..at + len as u64;
            failed += u64::from(change(&mut world, number).is_err());
            assert_eq!(boot(&mut world).slot, Slot::B, "{blocks} blocks");
        }
        assert!(failed > 0, "{blocks} blocks: no write wanted to move");
        // Readable again, it is what it was.
        let mut again = world.clone();
        again.disks[0].unread = 0..0;
        change(&mut again, 99).unwrap();
        again.perform(Request::Rollback(Slot::B)).unwrap();
        assert_eq!(boot(&mut again).slot, Slot::A, "{blocks} blocks");
        // Never readable again, it is in the way of nothing once its slot is written.
        let (at, len) = head(&world, Slot::A).unwrap();
        world.disks[0].unread = at..at + len as u64;
        let bundle = publisher.simple(3, SlotKind::Update).unwrap();
        world.install(&bundle, Some(proof)).unwrap();
        let trial = boot(&mut world);
        assert_eq!(trial.slot, Slot::A, "{blocks} blocks");
        world.perform(Request::MarkGood(trial)).unwrap();
        change(&mut world, 100).unwrap();
    }
}

/// What was written beside a block that could not be read was lost when it could be read again.
#[test]
fn a_block_that_comes_back_does_not_outrank_what_was_written_without_it() {
    let publisher = Publisher::new(1);
    let mut went_on = 0;
    for blocks in [3, 4] {
        for moves in 0..6 {
            let (mut world, _) = two_good(&publisher, blocks);
            let mut number = 0;
            // The block in force is one that was just moved to, after some moves.
            for _ in 0..moves {
                let before = active(&mut world);
                while active(&mut world) == before {
                    number += 1;
                    change(&mut world, number).unwrap();
                }
            }
            let newest = active(&mut world) * BLOCK;
            world.disks[0].unread = newest..newest + BLOCK;
            // Without any other block there is nothing to go on with.
            if !matches!(world.record(), Ok((_, RecordStatus::Current { .. }, _))) {
                continue;
            }
            went_on += 1;
            assert_ne!(active(&mut world) * BLOCK, newest);
            for more in 1..4 {
                change(&mut world, 500 + more).unwrap();
                assert_eq!(changed(&mut world), 500 + more);
                let mut again = world.clone();
                again.disks[0].unread = 0..0;
                assert_eq!(changed(&mut again), 500 + more, "{blocks} blocks, {moves} moves");
            }
        }
    }
    assert!(went_on > 5, "{went_on} cases alone had another block");
}

/// The block that counted before.
fn older(world: &mut Flash<'_>, blocks: u64) -> u64 {
    let newest = active(world);
    (0..blocks)
        .filter(|block| *block != newest && generation(world, *block).is_some())
        .max_by_key(|block| generation(world, *block))
        .expect("it has moved")
}

/// The first cell of a block that was not begun.
fn free_cell(world: &Flash<'_>, block: u64) -> Option<u64> {
    (GRANULE..DIRECTORY - GRANULE)
        .step_by(GRANULE as usize)
        .map(|at| block * BLOCK + at)
        .find(|at| bytes(world, *at, GRANULE).iter().all(|byte| *byte == 0xff))
}

#[test]
fn entries_of_a_later_version_count_only_in_the_block_in_force() {
    let publisher = Publisher::new(1);
    let cell = Cell { kind: EntryKind::Unknown(7), slot: 0, component: 0, offset: 0, cells: 0 };
    // Whichever of them stands first.
    let mut orders = [false; 2];
    for moves in 1..4 {
        let (mut world, proof) = two_good(&publisher, 3);
        let mut number = 0;
        for _ in 0..moves {
            let before = active(&mut world);
            while active(&mut world) == before {
                number += 1;
                change(&mut world, number).unwrap();
            }
        }
        let (newest, old) = (active(&mut world), older(&mut world, 3));
        orders[usize::from(old < newest)] = true;
        let mut in_old = world.clone();
        // It was left because it was full.
        let at = old * BLOCK + DIRECTORY - 2 * GRANULE;
        in_old.disks[0].disk.poke(at, &cell.emit(generation(&world, old).unwrap()));
        change(&mut in_old, 900).unwrap();
        assert_eq!(take(&mut in_old, &publisher, 3, Some(proof)).slot, Slot::A);
        // In the block in force nothing may be written, and what is good starts.
        let at = free_cell(&world, newest).expect("there is room");
        let of_newest = cell.emit(generation(&world, newest).unwrap());
        world.disks[0].disk.poke(at, &of_newest);
        assert_eq!(change(&mut world, 901), Err(RequestError::NoRecord(RecordStatus::Newer)));
        assert_eq!(boot(&mut world).slot, Slot::B);
    }
    assert_eq!(orders, [true; 2], "both orders of blocks");
}

/// A header of a later version was taken for damage where the directory could not be read as one.
#[test]
fn a_header_of_a_later_version_is_told_also_where_a_cell_cannot_be_read() {
    let publisher = Publisher::new(1);
    let (mut world, _) = two_good(&publisher, 3);
    let newest = active(&mut world);
    let mut header = emit_header(generation(&world, newest).unwrap());
    header[4] = 2;
    let sum = crc32(&header[..HEADER_LEN - 4]);
    header[HEADER_LEN - 4..].copy_from_slice(&sum.to_le_bytes());
    for last in [0, DIRECTORY - GRANULE] {
        world.disks[0].disk.poke(newest * BLOCK + last, &header);
    }
    for unread in [0..0, 2 * GRANULE..3 * GRANULE] {
        let unread = newest * BLOCK + unread.start..newest * BLOCK + unread.end;
        world.disks[0].unread = if unread.is_empty() { 0..0 } else { unread.clone() };
        assert_eq!(
            change(&mut world, 1),
            Err(RequestError::NoRecord(RecordStatus::Newer)),
            "{unread:?} cannot be read"
        );
    }
}

/// A cell whose writing was cut reads as erased, and is refused by an error that does not say why:
/// installations ended there for ever.
#[test]
fn a_cell_that_is_refused_by_any_error_is_left_out() {
    let publisher = Publisher::new(1);
    for blocks in [2, 3] {
        for changes in 0..12 {
            let (mut world, proof) = two_good(&publisher, blocks);
            for number in 0..changes {
                change(&mut world, 1 + number).unwrap();
            }
            let newest = active(&mut world);
            let Some(free) = free_cell(&world, newest) else { continue };
            world.disks[0].unwritten = free..free + GRANULE;
            let good = take(&mut world, &publisher, 3, Some(proof));
            assert_eq!(good.slot, Slot::A, "{blocks} blocks, {changes} changes");
        }
    }
}

/// Flash with error correction gives neither a cell nor a body whose programming was cut.
#[test]
fn cells_and_bodies_that_were_cut_cannot_be_read_and_are_in_the_way_of_nothing() {
    let publisher = Publisher::new(1);
    let (world, proof) = two_good(&publisher, 3);
    let newest = active(&mut world.clone());
    let (start, free) = (newest * BLOCK, free_cell(&world, newest).expect("there is room"));
    // A cell, and the first granules behind all bodies: as a write leaves them that was cut there.
    let content = bytes(&world, start + DIRECTORY, BLOCK - DIRECTORY);
    let used = content.iter().rposition(|byte| *byte != 0xff).unwrap() as u64 + 1;
    let behind = start + DIRECTORY + used.next_multiple_of(GRANULE);
    for unread in [free..free + GRANULE, behind..behind + 2 * GRANULE] {
        let mut world = world.clone();
        // Programmed, with anything.
        world.disks[0]
            .disk
            .write(unread.start, &vec![0x5a; (unread.end - unread.start) as usize])
            .unwrap();
        world.disks[0].unread = unread.clone();
        let (record, choice, states) = world.record().unwrap();
        assert_eq!(choice, RecordStatus::Current { copy: newest as u8 });
        assert!(matches!(states[newest as usize], CopyState::Valid { .. }));
        assert_eq!(record.body.slot(Slot::B).state, SlotState::Good);
        change(&mut world, 1).unwrap();
        assert_eq!(take(&mut world, &publisher, 3, Some(proof)).slot, Slot::A);
        assert_eq!(CELL_LEN, 16);
    }
}
