//! The places of the boot record: three or four of them, one of them dead. A whole life goes on,
//! and only the report on the copies shows the dead place.

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::{BootProof, Hold, Slot, SlotKind, SlotState, record};
use stillboot::install::{InstallError, Wait};
use stillboot::layout::Region;
use stillboot::record::{CopyState, RecordStatus};
use stillboot::request::{Answer, Request};
use stillboot_sim::Publisher;
use stillboot_sim::disk::{Cut, PowerCut, RamDisk, Tear, Torn};
use stillboot_tests::bench::Bench;
use stillboot_tests::media;

/// How a place is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Erasing and writing fail; what stood there can be read.
    Writes,
    /// Reading fails; writing seems to succeed.
    Reads,
    /// All fails.
    All,
    /// Writing seems to succeed, and what stood there stays.
    Stuck,
    /// Writing seems to succeed, and something else can be read afterwards.
    Garbles,
}

const DEATHS: [Death; 5] = [Death::Writes, Death::Reads, Death::All, Death::Stuck, Death::Garbles];

/// A disk with dead places.
#[derive(Clone, Debug)]
struct Dying {
    disk: RamDisk,
    dead: Vec<(Region, Death)>,
}

impl Dying {
    fn death(&self, offset: u64, len: u64) -> Option<Death> {
        let touches =
            |region: &Region| region.offset < offset + len && offset < region.offset + region.len;
        self.dead.iter().find(|(region, _)| touches(region)).map(|(_, death)| *death)
    }
}

impl Torn for Dying {}

impl BlockDevice for Dying {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        match self.death(offset, into.len() as u64) {
            Some(Death::Reads | Death::All) => Err(DeviceError::Io),
            _ => self.disk.read(offset, into),
        }
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        match self.death(offset, bytes.len() as u64) {
            None | Some(Death::Reads) => self.disk.write(offset, bytes),
            Some(Death::Writes | Death::All) => Err(DeviceError::Io),
            Some(Death::Stuck) => Ok(()),
            Some(Death::Garbles) => {
                let garbled: Vec<_> = bytes.iter().map(|byte| byte & 0x5a).collect();
                self.disk.write(offset, &garbled)
            }
        }
    }
    fn erase(&mut self, offset: u64, len: u64) -> Result<(), DeviceError> {
        match self.death(offset, len) {
            None | Some(Death::Reads | Death::Garbles) => self.disk.erase(offset, len),
            Some(Death::Writes | Death::All) => Err(DeviceError::Io),
            Some(Death::Stuck) => Ok(()),
        }
    }
    fn flush(&mut self) -> Result<(), DeviceError> {
        self.disk.flush()
    }
}

/// A blank device with so many places, then slots A and B.
fn bench<'a, D: BlockDevice>(
    publisher: &'a Publisher,
    geometry: Geometry,
    count: u64,
    make: impl Fn(RamDisk) -> D,
) -> Bench<'a, D> {
    let block = u64::from(geometry.erase_block_bytes);
    let len = (record::LEN_MAX as u64).next_multiple_of(block);
    let places: Vec<_> = (0..count).map(|at| Region { device: 0, offset: at * len, len }).collect();
    let (data, trust) = (96 << 10, 2048_u64.next_multiple_of(block));
    let slots = Bench::<D>::pair(0, &geometry, count * len, data, trust);
    let end = slots.last().map_or(0, |slot| slot.head.offset + slot.head.len);
    let geometry = Geometry { capacity_bytes: end, ..geometry };
    let disk = RamDisk::new(geometry, geometry.erased.unwrap_or(0));
    Bench::new(publisher.device(), places, slots, vec![make(disk)])
}

fn update(publisher: &Publisher, sequence: u64) -> Vec<u8> {
    publisher.simple(sequence, SlotKind::Update).unwrap()
}

/// Installs, tries and confirms; gives the proof of the boot after that.
fn take<D: BlockDevice>(
    bench: &mut Bench<'_, D>,
    bundle: &[u8],
    running: Option<BootProof>,
    context: &str,
) -> BootProof {
    let installed = bench.install(bundle, running).unwrap_or_else(|e| panic!("{context}: {e}"));
    let trial = bench.boot();
    assert_eq!((trial.slot, trial.attempt), (installed.slot, 1), "{context}");
    let (answer, ..) = bench.perform(Request::MarkGood(trial)).expect(context);
    assert_eq!(answer, Answer::Done, "{context}");
    let good = bench.boot();
    assert_eq!((good.slot, good.attempt), (installed.slot, 0), "{context}");
    good
}

/// The sequences of the copies, where they are valid.
fn sequences(copies: &[CopyState]) -> Vec<Option<u64>> {
    let sequence = |copy: &CopyState| match copy {
        CopyState::Valid { sequence } => Some(*sequence),
        _ => None,
    };
    copies.iter().map(sequence).collect()
}

#[test]
fn three_and_four_places_are_written_in_turn() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        for count in [3_u64, 4] {
            let mut bench = bench(&publisher, geometry, count, |disk| disk);
            let mut proof = None;
            for sequence in 1..4 {
                proof = Some(take(&mut bench, &update(&publisher, sequence), proof, name));
            }
            // The last writes, each in the place behind the one before it.
            let mut found = sequences(&bench.copies());
            assert_eq!(found.len() as u64, count);
            let newest = found.iter().position(|one| *one == *found.iter().max().unwrap()).unwrap();
            found.rotate_left((newest + 1) % count as usize);
            let last = found.last().unwrap().unwrap();
            let expected: Vec<_> = (0..count).map(|at| Some(last + 1 + at - count)).collect();
            assert_eq!(found, expected, "{name}, {count} places");
        }
    }
}

/// Flash with error correction does not give a copy whose writing was cut. The place is whole: it
/// takes its turn, and holds a copy again.
#[test]
fn a_place_whose_writing_was_cut_is_not_taken_for_a_dead_one() {
    let publisher = Publisher::new(1);
    let geometry = Geometry {
        logical_block_bytes: 1,
        write_granule_bytes: 32,
        erase_block_bytes: 4096,
        capacity_bytes: 0,
        erased: Some(0xff),
    };
    for cut in 0..3 {
        let mut bench = bench(&publisher, geometry, 3, |disk| disk);
        take(&mut bench, &update(&publisher, 1), None, "nor32");
        let place = bench.places[cut];
        bench.disks[0].torn(place.offset + 64);
        assert_eq!(bench.copies()[cut], CopyState::Unreadable(DeviceError::Io));
        for number in 1..4 {
            bench.perform(Request::NoteIssue(number)).unwrap();
        }
        let copies = bench.copies();
        assert!(sequences(&copies).iter().all(Option::is_some), "{copies:?}");
    }
}

/// What was done while the newest copy could not be read was undone when it could be read again.
#[test]
fn a_copy_that_comes_back_does_not_outrank_what_was_written_without_it() {
    let publisher = Publisher::new(1);
    for (name, geometry) in media() {
        for count in [3_u64, 4] {
            for changes in 0..5 {
                let make = |disk| Dying { disk, dead: Vec::new() };
                let mut bench = bench(&publisher, geometry, count, make);
                let first = take(&mut bench, &update(&publisher, 1), None, name);
                take(&mut bench, &update(&publisher, 2), Some(first), name);
                for number in 0..changes {
                    bench.perform(Request::NoteIssue(1 + number)).unwrap();
                }
                let found = sequences(&bench.copies());
                let newest = found.iter().position(|one| *one == *found.iter().max().unwrap());
                let place = bench.places[newest.unwrap()];
                bench.disks[0].dead.push((place, Death::Reads));
                let hold = Hold { until: 77, since: 1 };
                bench.perform(Request::HoldUpdates(hold)).unwrap();
                for writes in 0..3 {
                    let mut again = bench.clone();
                    again.disks[0].dead.clear();
                    let (_, record, ..) = again.perform(Request::Read).unwrap();
                    let context = format!("{name}, {count} places, {changes} changes, {writes}");
                    assert_eq!(record.body.hold, hold, "{context}");
                    bench.perform(Request::NoteIssue(100 + writes)).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_whole_life_goes_on_with_one_dead_place_and_only_the_copies_show_it() {
    let publisher = Publisher::new(1);
    let bundles: Vec<_> = (1..=5).map(|sequence| update(&publisher, sequence)).collect();
    for (name, geometry) in [media()[0], media()[1], media()[3]] {
        for count in [3_u64, 4] {
            for dead in 0..count as usize {
                for death in DEATHS {
                    // Dead from the factory on, or after some time.
                    for dies_before in [0, 2] {
                        let context =
                            format!("{name}, {count} places, {dead} {death:?}, {dies_before}");
                        let make = |disk| Dying { disk, dead: Vec::new() };
                        let mut bench = bench(&publisher, geometry, count, make);
                        let place = bench.places[dead];
                        let mut proof = None;
                        for (number, bundle) in bundles.iter().enumerate() {
                            if number == dies_before {
                                proof = dies(&mut bench, place, death, proof, &context);
                            }
                            if number == 0 && dead == 0 && dies_before == 0 {
                                first_boot(&mut bench, death, bundle, &context);
                            }
                            proof = Some(take(&mut bench, bundle, proof, &context));
                            let (_, record, choice, _) = bench.perform(Request::Read).unwrap();
                            let is_dead = matches!(choice, RecordStatus::Current { copy } if usize::from(copy) == dead);
                            assert!(!is_dead || number < dies_before, "{context}: {choice:?}");
                            let running = proof.unwrap().slot;
                            assert_eq!(record.body.slot(running).state, SlotState::Good);
                        }
                        let copies = bench.copies();
                        let found = sequences(&copies);
                        let newest = found.iter().max().unwrap().unwrap();
                        for (number, copy) in copies.iter().enumerate() {
                            if number != dead {
                                // All others are written in turn. Beside a place that cannot be
                                // read each write leaves 16 numbers out.
                                let step = match death {
                                    Death::Reads | Death::All => 17,
                                    Death::Writes | Death::Stuck | Death::Garbles => 1,
                                };
                                let age = newest - found[number].expect(&context);
                                assert!(age < step * (count - 1), "{context}: {copies:?}");
                                continue;
                            }
                            let is_old = matches!(copy, CopyState::Valid { sequence } if newest - sequence > 3);
                            let shows = match death {
                                Death::Reads | Death::All => {
                                    *copy == CopyState::Unreadable(DeviceError::Io)
                                }
                                Death::Writes | Death::Stuck if dies_before == 0 => {
                                    *copy == CopyState::Blank
                                }
                                Death::Writes | Death::Stuck => is_old,
                                Death::Garbles => *copy == CopyState::Invalid,
                            };
                            assert!(shows, "{context}: {copies:?}");
                        }
                    }
                }
            }
        }
    }
}

/// The place dies. Gives the proof of what runs then.
fn dies(
    bench: &mut Bench<'_, Dying>,
    place: Region,
    death: Death,
    running: Option<BootProof>,
    context: &str,
) -> Option<BootProof> {
    let (_, _, choice, _) = bench.perform(Request::Read).unwrap();
    bench.disks[0].dead.push((place, death));
    let running = running?;
    let RecordStatus::Current { copy } = choice else { panic!("{context}: {choice:?}") };
    let is_lost =
        bench.places[usize::from(copy)] == place && matches!(death, Death::Reads | Death::All);
    if !is_lost {
        return Some(running);
    }
    // The newest copy is gone. The one before it is authoritative now; in it what runs is still on
    // trial.
    let again = bench.boot();
    assert_eq!(again.digest, running.digest, "{context}");
    if again.attempt == 0 {
        return Some(again);
    }
    bench.perform(Request::MarkGood(again)).expect(context);
    Some(bench.boot())
}

/// What a new device does whose first place is dead. Where that place cannot be read, it may hold the
/// only record there is: a power-on looks, and an installation waits for it.
fn first_boot(bench: &mut Bench<'_, Dying>, death: Death, bundle: &[u8], context: &str) {
    let (_, _, choice, copies) = bench.perform(Request::Read).unwrap();
    match death {
        Death::Reads | Death::All => {
            assert_eq!(choice, RecordStatus::Lost, "{context}");
            assert_eq!(copies[0], CopyState::Unreadable(DeviceError::Io), "{context}");
            assert_eq!(copies[1..], vec![CopyState::Blank; copies.len() - 1], "{context}");
            let waits = Err(InstallError::Deferred(Wait::RecordLost));
            assert_eq!(bench.install(bundle, None), waits, "{context}");
            let (proof, report) = bench.power_on();
            assert_eq!((proof, report.record_write_failed), (None, None), "{context}");
        }
        Death::Writes | Death::Stuck | Death::Garbles => {
            assert_eq!(choice, RecordStatus::Factory, "{context}");
            let (proof, report) = bench.power_on();
            assert_eq!((proof, report.record), (None, RecordStatus::Factory), "{context}");
        }
    }
}

/// With one dead place and the power cut at every change: the authoritative copy is never written
/// to, so there always is a record, and the slot that ran starts.
#[test]
fn with_one_dead_place_a_power_cut_at_every_change_loses_no_record() {
    let publisher = Publisher::new(1);
    let bundle = update(&publisher, 2);
    let mut cuts = 0;
    for (name, geometry) in [media()[0], media()[3]] {
        for count in [3_u64, 4] {
            for (dead, death) in (0..count as usize).flat_map(|at| DEATHS.map(|death| (at, death)))
            {
                let make = |disk| PowerCut::new(Dying { disk, dead: Vec::new() });
                let mut start = bench(&publisher, geometry, count, make);
                let place = start.places[dead];
                let proof = take(&mut start, &update(&publisher, 1), None, name);
                let whole = start.disks[0].device().disk.fork();
                for at in (0..).step_by(3) {
                    let disk = Dying { disk: whole.fork(), dead: vec![(place, death)] };
                    let (places, slots) = (start.places.clone(), start.slots.clone());
                    let mut bench =
                        Bench::new(publisher.device(), places, slots, vec![PowerCut::new(disk)]);
                    let cut = match at % 4 {
                        0 => Cut::Before,
                        1 => Cut::After,
                        2 => Cut::Torn(Tear::Prefix(300)),
                        _ => Cut::Torn(Tear::Mixed(at)),
                    };
                    bench.disks[0].cut_at(at, cut);
                    let context =
                        format!("{name}, {count} places, {dead} {death:?}, {cut:?} at {at}");
                    let _ = bench.install(&bundle, Some(proof));
                    let (trial, _) = bench.power_on();
                    if let Some(trial) = trial {
                        let _ = bench.perform(Request::MarkGood(trial));
                    }
                    let was_cut = bench.disks[0].is_off();
                    bench.disks[0].power_on();
                    let (_, _, choice, copies) = bench.perform(Request::Read).unwrap();
                    assert!(
                        matches!(choice, RecordStatus::Current { .. }),
                        "{context}: {copies:?}"
                    );
                    let runs = bench.boot();
                    assert!(runs.slot == proof.slot || runs.digest != proof.digest, "{context}");
                    if !was_cut {
                        assert_eq!(runs.slot, Slot::B, "{context}");
                        break;
                    }
                    cuts += 1;
                }
            }
        }
    }
    assert!(cuts > 500, "{cuts}");
}

/// Two dead places of four leave one to be written; of three, none: then nothing is tried or
/// installed, and what is good goes on starting.
#[test]
fn as_many_places_may_die_as_leave_one_beside_the_true_copy() {
    let publisher = Publisher::new(1);
    for death in DEATHS {
        for (count, goes_on) in [(4_u64, true), (3, false)] {
            for first in 0..count as usize {
                let context = format!("{count} places, {first} {death:?}");
                let make = |disk| Dying { disk, dead: Vec::new() };
                let mut bench = bench(&publisher, media()[0].1, count, make);
                let proof = take(&mut bench, &update(&publisher, 1), None, &context);
                let (_, _, choice, _) = bench.perform(Request::Read).unwrap();
                let RecordStatus::Current { copy } = choice else {
                    panic!("{context}: {choice:?}")
                };
                // Those that may die are the ones that are not true now.
                let dead = [first, (first + 1) % count as usize];
                if dead.contains(&usize::from(copy)) {
                    continue;
                }
                for number in dead {
                    let place = bench.places[number];
                    bench.disks[0].dead.push((place, death));
                }
                if goes_on {
                    take(&mut bench, &update(&publisher, 2), Some(proof), &context);
                    continue;
                }
                let result = bench.install(&update(&publisher, 2), Some(proof));
                assert!(matches!(result, Err(InstallError::Record(_))), "{context}: {result:?}");
                assert_eq!(bench.boot(), proof, "{context}");
                let (_, _, now, _) = bench.perform(Request::Read).unwrap();
                assert_eq!(now, choice, "{context}: the true copy is never written to");
            }
        }
    }
}
