//! Stories of a machine's life.

use crate::disk::Disk;
use crate::machine::{Level, Machine};
use crate::release::{Kernel, kernel, loader};

/// What a power-on is to be.
struct Expected<'a> {
    level: Level,
    slot: &'a str,
    claim: &'a str,
    kernel: &'a Kernel,
    attempt: u8,
}

/// Follows a power-on to its end, in the kernel that was expected and in its userspace. Gives the
/// proof that userspace found.
fn follow(mut machine: Machine, expected: &Expected<'_>) -> String {
    let &Expected { level, slot, claim, kernel, attempt } = expected;
    machine.expect_before(&format!("slot {slot} ({claim}): started"), Some("started"));
    let time = machine.expect("time: ");
    assert!(time.ends_with(level.name()), "expected {}, found `{time}`", level.name());
    machine.expect_before(&format!("Linux version {}", kernel.version), Some("Linux version"));
    machine.expect(&format!("started at {}", level.name()));
    let ready = machine.expect_before("stillboot-init: ready ", Some("Kernel panic"));
    assert!(ready.starts_with(&format!("KERNEL={} ", kernel.version)), "{ready}");
    let proof = machine.expect("story: proof ");
    let bootargs = machine.expect("story: bootargs ");
    machine.expect("story: done");
    let lasted = machine.wait_for_end();

    // What the device tree has, what the kernel took from it, and what userspace reads are one.
    let (before, on_line) = bootargs.split_once(" stillboot.proof=").expect("it has the proof");
    assert_eq!(before, "console=ttyAMA0 panic=1");
    assert_eq!(on_line, proof);
    assert!(ready.ends_with(&format!("CMDLINE={bootargs}")), "{ready}");
    let mut parts = proof.split(':');
    assert_eq!(parts.nth(1), Some(slot));
    assert_eq!(parts.nth(1), Some(&*format!("{attempt:02x}")), "{proof}");
    println!(
        "bare: {}: slot {slot}, {claim}: {time}; {lasted:.1?} until it was off",
        kernel.version
    );
    proof
}

/// Update, trial and commit; a kernel that panics at every try and the way back; the next update.
fn lives(level: Level) {
    let [one, two, three] = [0, 1, 2].map(kernel);
    let disk = Disk::new();
    let start = || Machine::start(loader(), Some(disk.path()), level);
    let expected = |slot, claim, kernel, attempt| Expected { level, slot, claim, kernel, attempt };

    disk.fill(&one.healthy(1));
    let proof = follow(start(), &expected("a", "trial", &one, 1));
    disk.confirm(&proof);

    disk.update(&two.healthy(2), &proof);
    let proof = follow(start(), &expected("b", "trial", &two, 1));
    disk.confirm(&proof);
    let proof = follow(start(), &expected("b", "good", &two, 0));

    disk.update(&three.panics(3), &proof);
    let mut machine = start();
    for attempt in 1..=3 {
        machine.expect_before("slot a (trial): started", Some("started"));
        machine.expect(&format!("Linux version {}", three.version));
        let proof = machine.expect("stillboot.proof=1:a:");
        let number = proof.split(':').nth(1).expect("a proof has more parts").to_owned();
        assert_eq!(number, format!("{attempt:02x}"));
        machine.expect_before("Kernel panic", Some("stillboot-init: ready"));
    }
    let proof = follow(machine, &expected("b", "good", &two, 0));
    let status = disk.status();
    assert!(status.contains("exhausted"), "{status}");

    disk.update(&three.healthy(4), &proof);
    let proof = follow(start(), &expected("a", "trial", &three, 1));
    disk.confirm(&proof);
    follow(start(), &expected("a", "good", &three, 0));
}

#[test]
#[ignore = "boots Linux in QEMU nine times"]
fn at_el1_updates_are_tried_committed_and_rolled_back() {
    lives(Level::One);
}

#[test]
#[ignore = "boots Linux in QEMU nine times"]
fn at_el2_updates_are_tried_committed_and_rolled_back() {
    lives(Level::Two);
}

#[test]
#[ignore = "boots Linux in QEMU twice"]
fn a_rotten_slot_and_a_kernel_that_cannot_be_started_are_passed_over() {
    let [one, two] = [0, 1].map(kernel);
    let disk = Disk::new();
    let start = || Machine::start(loader(), Some(disk.path()), Level::One);
    disk.fill(&one.healthy(1));
    let expected =
        |claim, attempt| Expected { level: Level::One, slot: "a", claim, kernel: &one, attempt };
    let proof = follow(start(), &expected("trial", 1));
    disk.confirm(&proof);

    // Signed and whole, but no kernel that anybody could jump to.
    let mut packed = vec![0x1f, 0x8b, 8, 0];
    packed.resize(64 << 10, 7);
    disk.update(&two.replaced(2, &packed), &proof);
    let mut machine = start();
    machine.expect_before("slot b (trial): its image returned", Some("Linux version"));
    machine.expect("slot a (good): started");
    machine.expect("note: slot b: kernel: it is compressed");
    // The first kernel's own start was seen above.
    drop(machine);

    disk.update(&two.healthy(3), &proof);
    disk.rot("b", 20 << 20);
    let mut machine = start();
    machine.expect_before("slot b (trial): corrupt", Some("Linux version"));
    machine.expect("slot a (good): started");
    machine.expect(&format!("Linux version {}", one.version));
}

#[test]
#[ignore = "boots a machine in QEMU"]
fn without_anything_to_start_the_reason_is_said_and_the_machine_reset() {
    for level in [Level::One, Level::Two] {
        let mut machine = Machine::start(loader(), None, level);
        for _ in 0..2 {
            machine.expect("stillboot: nothing can be started");
            machine.expect("partition stillboot-record: not found on any disk");
        }
    }
    let disk = Disk::new();
    let mut machine = Machine::start(loader(), Some(disk.path()), Level::One);
    for _ in 0..2 {
        machine.expect("stillboot: nothing can be started");
        machine.expect("record: factory");
    }
}
