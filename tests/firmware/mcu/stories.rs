//! Stories of a board's life.

use mcu_map::FLASH_BYTES;
use stillboot::format::{Load, Role, Slot, SlotKind};
use stillboot_release::keys::id_of;
use stillboot_sim::{Piece, Publisher};

use crate::firmware::{self, Behaviour, manifest, publisher};
use crate::flash::{Flash, factory};
use crate::machine::{Machine, Settings};

const GOOD_ONE: &str = "app 1.0.0 slot a attempt 0";

/// A board with the first release, switched on.
fn board(settings: &Settings) -> (Flash, Machine) {
    let firmware = firmware::silent();
    let content = factory(&publisher(), &firmware.release(1, Behaviour::Healthy));
    let flash = Flash::new(&content);
    let mut machine = Machine::start(&firmware.boot, flash.path(), settings);
    machine.expect(GOOD_ONE);
    machine.expect("good already");
    (flash, machine)
}

/// Takes the plug out and puts it in again.
fn power_cycle(machine: Machine, flash: &Flash) -> Machine {
    machine.kill();
    Machine::start(&firmware::silent().boot, flash.path(), &Settings::default())
}

#[test]
#[ignore = "boots a board in QEMU"]
fn an_update_is_tried_and_confirmed_and_stays() {
    let (flash, mut machine) = board(&Settings::default());
    let bundle = firmware::silent().release(2, Behaviour::Healthy);
    machine.install(&bundle);
    machine.expect("installed to b");
    machine.reset();
    machine.expect("app 2.0.0 slot b attempt 1");
    machine.expect("confirmed");
    let mut machine = power_cycle(machine, &flash);
    machine.expect("app 2.0.0 slot b attempt 0");
    machine.expect("good already");
    machine.install(&bundle);
    machine.expect("not installed: nothing to do: this version runs already");
    for slot in [Slot::A, Slot::B] {
        flash.verifies(slot).unwrap_or_else(|reason| panic!("slot {slot}: {reason}"));
    }
}

/// The release is tried three times, then the one before comes back and stays.
fn fails_three_times(how: Behaviour, settings: &Settings) {
    let (flash, mut machine) = board(settings);
    let bundle = firmware::silent().release(2, how);
    machine.install(&bundle);
    machine.expect("installed to b");
    machine.reset();
    for attempt in 1..=3 {
        assert_eq!(machine.expect("app "), format!("2.0.0 slot b attempt {attempt}"));
    }
    assert_eq!(machine.expect("app "), GOOD_ONE.trim_start_matches("app "));
    machine.expect("good already");
    let mut machine = power_cycle(machine, &flash);
    assert_eq!(machine.expect("app "), GOOD_ONE.trim_start_matches("app "));
    machine.expect("good already");
    // It is not over for good: the next release has its own tries.
    machine.install(&firmware::silent().release(3, Behaviour::Healthy));
    machine.expect("installed to b");
    machine.reset();
    machine.expect("app 3.0.0 slot b attempt 1");
    machine.expect("confirmed");
}

/// Signed, for this board, and without anything that the board could start.
#[test]
#[ignore = "boots a board in QEMU"]
fn a_release_without_an_image_is_skipped() {
    let (flash, mut machine) = board(&Settings::default());
    let publisher = publisher();
    let settings = Piece { role: Role::Cmdline, load: Load::Ram, linked: None, bytes: b"2.0.0" };
    let bundle = publisher.bundle(manifest(&publisher, 2), SlotKind::Update, &[settings]);
    machine.install(&bundle.expect("the manifest keeps the rules"));
    machine.expect("installed to b");
    machine.reset();
    assert_eq!(machine.expect("app "), GOOD_ONE.trim_start_matches("app "));
    machine.expect("good already");
    // One that comes after it is welcome.
    let mut machine = power_cycle(machine, &flash);
    machine.expect(GOOD_ONE);
    machine.install(&firmware::silent().release(3, Behaviour::Healthy));
    machine.expect("installed to b");
    machine.reset();
    machine.expect("app 3.0.0 slot b attempt 1");
    machine.expect("confirmed");
}

#[test]
#[ignore = "boots a board in QEMU"]
fn a_release_that_crashes_is_tried_three_times_and_rolled_back() {
    fails_three_times(Behaviour::Crashes, &Settings::default());
}

#[test]
#[ignore = "boots a board in QEMU"]
fn a_release_that_hangs_is_ended_by_the_watchdog_and_rolled_back() {
    fails_three_times(Behaviour::Hangs, &Settings { watchdog: 8000, ..Settings::default() });
}

#[test]
#[ignore = "boots a board in QEMU"]
fn a_release_that_finds_itself_sick_is_rolled_back() {
    fails_three_times(Behaviour::Sick, &Settings::default());
}

/// The board refuses the bundle for that reason, and still boots what it did before.
fn refuses(machine: &mut Machine, bundle: &[u8], reason: &str) {
    machine.install(bundle);
    let found = machine.expect("not installed: ");
    assert!(found.contains(reason), "expected `{reason}`, found `{found}`");
}

#[test]
#[ignore = "boots a board in QEMU"]
fn forged_bundles_are_refused() {
    let (flash, mut machine) = board(&Settings::default());
    let firmware = firmware::silent();
    let genuine = firmware.release(2, Behaviour::Healthy);

    let mallory = Publisher::new(666);
    let stranger = firmware.bundle(&mallory, manifest(&mallory, 2), Behaviour::Healthy);
    refuses(&mut machine, &stranger, "not trusted");
    machine.reset();
    machine.expect(GOOD_ONE);

    // The first bytes that a signature covers: the keyset's.
    let mut changed = genuine.clone();
    changed[200] ^= 1;
    refuses(&mut machine, &changed, "not trusted");
    machine.reset();
    machine.expect(GOOD_ONE);

    // A byte of the image that comes over the line, rather than from the slot that runs. What was
    // written before it is thrown away.
    let mut changed = genuine.clone();
    let near_its_end = genuine.len() - firmware::NEW_BYTES / 2;
    changed[near_its_end] ^= 1;
    refuses(&mut machine, &changed, "the bytes of component 0 do not match the manifest");
    let mut machine = power_cycle(machine, &flash);
    machine.expect(GOOD_ONE);
    assert!(flash.verifies(Slot::B).is_err(), "half an image must not verify");

    machine.install(&genuine);
    machine.expect("resumed to b");
    machine.reset();
    machine.expect("app 2.0.0 slot b attempt 1");
    machine.expect("confirmed");
}

#[test]
#[ignore = "boots a board in QEMU"]
fn a_bundle_for_another_class_is_refused() {
    let (_flash, mut machine) = board(&Settings::default());
    let (firmware, publisher) = (firmware::silent(), publisher());
    let mut other = manifest(&publisher, 2);
    other.class = id_of("another class");
    let bundle = firmware.bundle(&publisher, other, Behaviour::Healthy);
    refuses(&mut machine, &bundle, "class");
    machine.reset();
    machine.expect(GOOD_ONE);
    machine.expect("good already");
}

#[test]
#[ignore = "boots a board in QEMU"]
fn the_floor_rises_with_good_slots_and_refuses_what_is_below() {
    let (_flash, mut machine) = board(&Settings::default());
    let (firmware, publisher) = (firmware::silent(), publisher());
    let release = |number, level| {
        let mut manifest = manifest(&publisher, number);
        manifest.level = level;
        firmware.bundle(&publisher, manifest, Behaviour::Healthy)
    };
    for (number, slot) in [(2, "b"), (3, "a")] {
        machine.install(&release(number, 5));
        machine.expect(&format!("installed to {slot}"));
        machine.reset();
        machine.expect(&format!("app {number}.0.0 slot {slot} attempt 1"));
        machine.expect("confirmed");
    }
    // It takes a start of a good slot: until then the other may be needed.
    machine.reset();
    machine.expect("app 3.0.0 slot a attempt 0");
    machine.expect("good already");
    refuses(&mut machine, &release(4, 4), "below the floor");
    machine.reset();
    machine.expect("app 3.0.0 slot a attempt 0");
    machine.expect("good already");
    machine.install(&release(5, 5));
    machine.expect("installed to b");
}

#[test]
#[ignore = "boots a board in QEMU"]
fn a_slot_that_rots_is_skipped_and_an_empty_flash_boots_nothing() {
    let (flash, mut machine) = board(&Settings::default());
    let firmware = firmware::silent();
    machine.install(&firmware.release(2, Behaviour::Healthy));
    machine.expect("installed to b");
    machine.reset();
    machine.expect("app 2.0.0 slot b attempt 1");
    machine.expect("confirmed");
    machine.kill();

    // In the midst of the image in slot B.
    let mut content = flash.content();
    content[Flash::image_byte(Slot::B)] ^= 0x10;
    let rotten = Flash::new(&content);
    let mut machine = Machine::start(&firmware.boot, rotten.path(), &Settings::default());
    machine.expect(GOOD_ONE);
    machine.expect("good already");
    machine.kill();

    let empty = Flash::new(&[0xff; FLASH_BYTES]);
    let mut machine = Machine::start(&firmware.boot, empty.path(), &Settings::default());
    machine.expect("nothing boots");
}
