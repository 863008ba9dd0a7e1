//! The power fails while an update is installed, confirmed or tried; afterwards the device goes on.

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::{Slot, SlotKind, SlotState};
use stillboot::install::{InstallError, Nothing, Running};
use stillboot::request::Request;
use stillboot_sim::disk::{Cut, PowerCut, RamDisk, Random, Tear};
use stillboot_sim::fault::FailsLate;
use stillboot_sim::world::Bytes;
use stillboot_sim::{Publisher, World};
use stillboot_tests::{blank, commission, confirm, media, seed};

const AB: &[Slot] = &[Slot::A, Slot::B];

type CutWorld<'a> = World<'a, PowerCut<RamDisk>>;

/// The same world, on disks whose power can be cut.
fn with_cuts<'a>(world: &World<'a, RamDisk>) -> CutWorld<'a> {
    let disks = world.disks.iter().map(|disk| PowerCut::new(disk.fork())).collect();
    let mut cut = World::new(world.device, world.ground.clone(), disks);
    cut.nonce = world.nonce;
    cut
}

fn any_cut(random: &mut Random) -> Cut {
    match random.below(5) {
        0 => Cut::Before,
        1 => Cut::After,
        2 => Cut::Torn(Tear::Prefix(random.below(5000))),
        3 => Cut::Torn(Tear::Suffix(random.below(5000))),
        _ => Cut::Torn(Tear::Mixed(random.next_u64())),
    }
}

/// How many changes of the disk an undisturbed installation makes.
fn operations(start: &CutWorld<'_>, bundle: &[u8], running: Running) -> (u64, RamDisk) {
    let mut world = start.clone();
    let mut source = Bytes::new(bundle, usize::MAX);
    let before = world.disks[0].operations();
    world.install_with(&mut source, running, |_| {}).expect("undisturbed");
    (world.disks[0].operations() - before, world.disks[0].device().fork())
}

#[test]
fn resume_after_a_cut_at_each_of_200_instants_ends_with_the_same_bytes() {
    let mut random = Random::new(seed("resume_after_a_cut"));
    let publisher = Publisher::new(1);
    let update = publisher.simple(2, SlotKind::Update).unwrap();
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
        let start = with_cuts(&world);
        let running = Running::Proof(proof);
        let (operations, whole) = operations(&start, &update, running);
        let slot_b = start.ground.slots()[1].regions[0].region;
        let expected = whole.bytes(slot_b.offset, slot_b.len as usize);
        let mut resumed = 0;
        // 40 instants on each of 5 media.
        for _ in 0..40 {
            let mut world = start.clone();
            let at = world.disks[0].operations() + random.below(operations);
            let cut = any_cut(&mut random);
            world.disks[0].cut_at(at, cut);
            let mut source = Bytes::new(&update, 1 + random.below(3000) as usize);
            let result = world.install_with(&mut source, running, |_| {});
            let context = format!("{name}, {cut:?} at {at}");
            // Cut after the very last operation, everything was done already.
            if world.disks[0].is_off() {
                world.disks[0].power_on();
            } else {
                result.expect(&context);
            }
            let power_on = world.power_on().unwrap();
            let runs = power_on.proof.unwrap_or_else(|| panic!("{context}: {:?}", power_on.report));
            if runs.slot == Slot::B {
                // The switch had happened: then everything is in place.
                assert_eq!(
                    world.disks[0].device().bytes(slot_b.offset, slot_b.len as usize),
                    expected,
                    "{context}"
                );
                continue;
            }
            assert_eq!(runs.digest, proof.digest, "{context}");
            let mut source = Bytes::new(&update, usize::MAX);
            let installed = world.install_with(&mut source, Running::Proof(runs), |_| {});
            let installed = installed.unwrap_or_else(|error| panic!("{context}: {error}"));
            resumed += u32::from(installed.resumed);
            let found = world.disks[0].device().bytes(slot_b.offset, slot_b.len as usize);
            assert!(found == expected, "{context}: other bytes than without a cut");
            let proof = world.power_on().unwrap().proof.unwrap();
            assert_eq!(proof.slot, Slot::B, "{context}");
            world.perform(Request::MarkGood(proof)).unwrap();
        }
        assert!(resumed > 5, "{name}: only {resumed} of 40 were resumed, the rest started over");
    }
}

#[test]
fn a_cut_at_every_operation_of_install_trial_and_confirmation_leaves_a_slot_that_boots() {
    let publisher = Publisher::new(1);
    let update = publisher.simple(2, SlotKind::Update).unwrap();
    let mut points = 0;
    for (name, geometry) in media() {
        let mut world = blank(&publisher, geometry, AB);
        let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
        let start = with_cuts(&world);
        let story = |world: &mut CutWorld<'_>| -> Option<()> {
            let running = Running::Proof(proof);
            world.install_with(&mut Bytes::new(&update, usize::MAX), running, |_| {}).ok()?;
            let trial = world.power_on().ok()?.proof?;
            world.perform(Request::MarkGood(trial)).ok()?;
            Some(())
        };
        let mut whole = start.clone();
        story(&mut whole).expect("undisturbed");
        let end = whole.disks[0].operations();
        for at in 0..end {
            for cut in [
                Cut::Before,
                Cut::After,
                Cut::Torn(Tear::Prefix(1)),
                Cut::Torn(Tear::Prefix(40)),
                Cut::Torn(Tear::Suffix(40)),
                Cut::Torn(Tear::Mixed(at)),
            ] {
                let mut world = start.clone();
                world.disks[0].cut_at(at, cut);
                let _ = story(&mut world);
                world.disks[0].power_on();
                points += 1;
                let context = format!("{name}: {cut:?} at operation {at} of {end}");
                let power_on = world.power_on().unwrap();
                let proof =
                    power_on.proof.unwrap_or_else(|| panic!("{context}: {:?}", power_on.report));
                let good = world.record().unwrap().0.body.slot(proof.slot).state;
                let next = match good {
                    SlotState::Good => proof,
                    _ => {
                        world.perform(Request::MarkGood(proof)).expect(&context);
                        world.power_on().unwrap().proof.expect(&context)
                    }
                };
                // The next update goes through without help.
                let third = publisher.simple(3, SlotKind::Update).unwrap();
                let mut source = Bytes::new(&third, usize::MAX);
                world
                    .install_with(&mut source, Running::Proof(next), |_| {})
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
            }
        }
    }
    println!("{points} cut points");
    assert!(points > 1000);
}

#[test]
fn a_device_that_fails_to_write_or_read_costs_nothing_but_the_update() {
    let publisher = Publisher::new(1);
    let update = publisher.simple(2, SlotKind::Update).unwrap();
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    let start = with_cuts(&world);
    let running = Running::Proof(proof);
    let (operations, _) = operations(&start, &update, running);
    for at in 0..operations {
        let mut world = start.clone();
        let now = world.disks[0].operations();
        world.disks[0].cut_at(now + at, Cut::Before);
        let result = world.install_with(&mut Bytes::new(&update, 999), running, |_| {});
        let gone = DeviceError::Gone;
        assert!(
            matches!(result, Err(InstallError::Device(e) | InstallError::Record(e)) if e == gone),
            "{at}: {result:?}"
        );
        world.disks[0].power_on();
        // The same process goes on, without a restart. If only the last flush was missing, the
        // record may say already that the slot is ready.
        match world.install_with(&mut Bytes::new(&update, 999), running, |_| {}) {
            Ok(installed) => assert_eq!(installed.slot, Slot::B, "{at}"),
            Err(InstallError::Nothing(Nothing::Ready(Slot::B))) if at + 1 == operations => {}
            Err(error) => panic!("{at} of {operations}: {error}"),
        }
        assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B), "{at}");
    }
}

#[test]
fn resume_after_the_running_system_was_confirmed_on_its_last_try() {
    let publisher = Publisher::new(1);
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    world.tries = 1;
    world.install(&publisher.simple(2, SlotKind::Update).unwrap(), Some(proof)).unwrap();
    assert_eq!(confirm(&mut world).slot, Slot::B);
    assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B));
}

/// A device that fails once, at a chosen read or write, and works before and after.
#[derive(Clone)]
struct FailsOnce {
    disk: RamDisk,
    /// Requests until it fails; `None` for a device that works.
    reads_left: Option<u32>,
    writes_left: Option<u32>,
    /// Where the write failed.
    failed_at: Option<u64>,
    error: DeviceError,
}

fn due(left: &mut Option<u32>) -> bool {
    match left {
        Some(0) => {
            *left = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl BlockDevice for FailsOnce {
    fn geometry(&self) -> Geometry {
        self.disk.geometry()
    }
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        if due(&mut self.reads_left) {
            return Err(self.error);
        }
        self.disk.read(offset, into)
    }
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if due(&mut self.writes_left) {
            self.failed_at = Some(offset);
            return Err(self.error);
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

fn fails_once<'a>(world: &World<'a, RamDisk>, error: DeviceError) -> World<'a, FailsOnce> {
    let disks = world
        .disks
        .iter()
        .map(|disk| FailsOnce {
            disk: disk.fork(),
            reads_left: None,
            writes_left: None,
            failed_at: None,
            error,
        })
        .collect();
    let mut failing = World::new(world.device, world.ground.clone(), disks);
    failing.nonce = world.nonce;
    failing
}

#[test]
fn a_full_disk_and_every_single_write_error_leave_the_running_slot_alone() {
    let publisher = Publisher::new(1);
    let update = publisher.simple(2, SlotKind::Update).unwrap();
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    let start = fails_once(&world, DeviceError::Full);
    let (mut refused, mut spared) = (0, 0);
    for at in 0.. {
        let mut world = start.clone();
        world.disks[0].writes_left = Some(at);
        let result = world.install(&update, Some(proof));
        let full = DeviceError::Full;
        match result {
            Err(InstallError::Device(error) | InstallError::Record(error)) => {
                assert_eq!(error, full, "write {at}");
                refused += 1;
            }
            Ok(_) if world.disks[0].writes_left.is_some() => break,
            Ok(_) => {
                // Nothing is lost by a place of the record: the next one took it.
                let failed = world.disks[0].failed_at.unwrap();
                let is_record = world.ground.places().iter().any(|place| place.offset == failed);
                assert!(is_record, "write {at} failed unnoticed");
                assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B), "write {at}");
                spared += 1;
                continue;
            }
            Err(error) => panic!("write {at}: {error}"),
        }
        let runs = world.power_on().unwrap().proof.unwrap();
        assert_eq!(runs.digest, proof.digest, "write {at}");
        world.install(&update, Some(runs)).unwrap_or_else(|error| panic!("write {at}: {error}"));
    }
    assert!(refused > 8 && spared == 2, "only {refused} and {spared} writes");
}

/// Loses each write of an installation in turn, and reports it after `delay` more changes. Returns
/// how often that was tried, and how often the installation counted as done nevertheless.
fn lose_each_write(delay: u64, forgets: bool) -> (u32, u32) {
    let publisher = Publisher::new(1);
    let update = publisher.simple(2, SlotKind::Update).unwrap();
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    let (mut lost, mut installed) = (0, 0);
    for at in 0.. {
        let device = FailsLate::new(world.disks[0].fork(), at, delay);
        let device = if forgets { device.forgetful() } else { device };
        let mut late = World::new(world.device, world.ground.clone(), vec![device]);
        late.nonce = world.nonce;
        let result = late.install(&update, Some(proof));
        if !late.disks[0].has_struck() {
            result.unwrap();
            break;
        }
        lost += 1;
        if result.is_ok() {
            installed += 1;
            continue;
        }
        // The next power-on opens the device again, with what reached it.
        let disks = late.disks.into_iter().map(FailsLate::into_inner).collect();
        let mut after = World::new(world.device, world.ground.clone(), disks);
        after.nonce = late.nonce;
        let runs = after.power_on().unwrap().proof.unwrap();
        assert_eq!(runs.digest, proof.digest, "change {at}, {delay} later");
        let again = after.install(&update, Some(runs));
        again.unwrap_or_else(|error| panic!("change {at}, {delay} later: {error}"));
    }
    (lost, installed)
}

#[test]
fn a_write_that_fails_late_never_ends_as_installed_and_the_old_slot_boots() {
    for delay in [0, 1, 2, 5, 1000] {
        let (lost, installed) = lose_each_write(delay, false);
        assert!(lost > 8, "only {lost} writes were lost");
        assert_eq!(installed, 0, "{delay} changes later");
    }
}

/// The test above is known to work because it sees this bug.
#[test]
fn a_device_that_forgets_a_late_error_is_caught() {
    let installed: u32 = [0, 1, 2, 5].map(|delay| lose_each_write(delay, true).1).iter().sum();
    assert!(installed > 0, "a forgotten error was never missed");
}

#[test]
fn a_read_error_costs_an_update_at_most_and_condemns_nothing() {
    let publisher = Publisher::new(1);
    let update = publisher.simple(2, SlotKind::Update).unwrap();
    let mut world = blank(&publisher, media()[0].1, AB);
    let proof = commission(&mut world, &publisher.simple(1, SlotKind::Update).unwrap());
    let start = fails_once(&world, DeviceError::Io);
    for at in 0.. {
        let mut world = start.clone();
        world.disks[0].reads_left = Some(at);
        let result = world.install(&update, Some(proof));
        if world.disks[0].reads_left.is_some() {
            result.unwrap();
            break;
        }
        // Reading a copy of the record is tried twice, so the first two failures cost nothing.
        assert!(
            matches!(result, Ok(_) | Err(InstallError::Device(DeviceError::Io))),
            "read {at}: {result:?}"
        );
        let runs = world.power_on().unwrap().proof.unwrap();
        if result.is_err() {
            assert_eq!(runs.digest, proof.digest, "read {at}");
        }
    }
    // The same at power-on, with two good slots.
    world.install(&update, Some(proof)).unwrap();
    confirm(&mut world);
    let start = fails_once(&world, DeviceError::Io);
    for at in 0.. {
        let mut world = start.clone();
        let before = world.disks[0].disk.content_hash();
        world.disks[0].reads_left = Some(at);
        let slot = world.power_on().unwrap().slot();
        if world.disks[0].reads_left.is_some() {
            assert_eq!(slot, Some(Slot::B));
            break;
        }
        assert!(slot.is_some(), "read {at}");
        assert_eq!(world.disks[0].disk.content_hash(), before, "read {at}: nothing is written");
        assert_eq!(world.power_on().unwrap().slot(), Some(Slot::B), "read {at}: the next time");
    }
}
