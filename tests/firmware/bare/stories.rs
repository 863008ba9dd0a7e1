//! Stories of a machine's life.

use stillboot_devicetree::fdt::Fdt;
use stillboot_devicetree::set;
use stillboot_tests::chores::renamed;

use crate::disk::Disk;
use crate::machine::{Level, MEMORY, Machine};
use crate::release::{Kernel, Release, kernel, loader};

/// What a power-on is to be.
struct Expected<'a> {
    level: Level,
    slot: &'a str,
    claim: &'a str,
    kernel: &'a Kernel,
    attempt: u8,
    model: &'a str,
}

/// What QEMU calls its machine.
const MODEL: &str = "linux,dummy-virt";

/// Follows a power-on to its end, in the kernel that was expected and in its userspace, which
/// confirms it. Gives the proof that userspace found.
fn follow(mut machine: Machine, expected: &Expected<'_>) -> String {
    let &Expected { level, slot, claim, kernel, attempt, model } = expected;
    machine.expect_before(&format!("slot {slot} ({claim}): started"), Some("started"));
    assert_eq!(machine.expect("hashing: "), level.hashing());
    let time = machine.expect("time: ");
    assert!(time.ends_with(level.name()), "expected {}, found `{time}`", level.name());
    machine.expect_before(&format!("Linux version {}", kernel.version), Some("Linux version"));
    assert_eq!(machine.expect("Machine model: "), model);
    machine.expect(&format!("started at {}", level.name()));
    let ready = machine.expect_before("stillboot-init: ready ", Some("Kernel panic"));
    assert!(ready.starts_with(&format!("KERNEL={} ", kernel.version)), "{ready}");
    let proof = machine.expect("story: proof ");
    let bootargs = machine.expect("story: bootargs ");
    // A trial becomes good; what is good already stays so, and that is well too.
    assert_eq!(machine.expect("story: mark-good "), "0");
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
        "note: bare: {}: slot {slot}, {claim}, {model}: {time}; {lasted:.1?} until it was off",
        kernel.version
    );
    proof
}

/// Update, trial and commit; a kernel that panics at every try and the way back; the next update.
fn lives(level: Level) {
    let [one, two, three] = [0, 1, 2].map(kernel);
    let disk = Disk::new();
    let start = || Machine::start(loader(), Some(disk.path()), level);
    let expected = |slot, claim, kernel, attempt| Expected {
        level,
        slot,
        claim,
        kernel,
        attempt,
        model: MODEL,
    };

    disk.fill(&one.release(1).bundle());
    let proof = follow(start(), &expected("a", "trial", &one, 1));
    disk.update(&two.release(2).bundle(), &proof);
    let proof = follow(start(), &expected("b", "trial", &two, 1));

    disk.update(&Release { panics: true, ..three.release(3) }.bundle(), &proof);
    let mut machine = start();
    for attempt in 1..=2 {
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

    disk.update(&three.release(4).bundle(), &proof);
    follow(start(), &expected("a", "trial", &three, 1));
    let status = disk.status();
    assert!(!status.contains("trial"), "{status}");
}

#[test]
#[ignore = "boots Linux in QEMU six times"]
fn at_el1_updates_are_tried_committed_and_rolled_back() {
    lives(Level::One);
}

#[test]
#[ignore = "boots Linux in QEMU six times"]
fn at_el2_updates_are_tried_committed_and_rolled_back() {
    lives(Level::Two);
}

#[test]
#[ignore = "boots Linux in QEMU"]
fn a_processor_without_sha2_hashes_all_the_same() {
    let one = kernel(0);
    let disk = Disk::new();
    disk.fill(&one.release(1).bundle());
    let machine = Machine::start(loader(), Some(disk.path()), Level::Hidden);
    let expected = Expected {
        level: Level::Hidden,
        slot: "a",
        claim: "trial",
        kernel: &one,
        attempt: 1,
        model: MODEL,
    };
    follow(machine, &expected);
}

/// A set with one tree, of a machine in QEMU with so much memory, under another name.
fn set(memory: u32, model: &str, compatible: &str) -> Vec<u8> {
    let tree = renamed(&Level::One.tree(memory), model, &[compatible]);
    assert_eq!(Fdt::parse(&tree).expect("it is sound").model(), Some(model));
    set::build(&[("tree.dtb".to_owned(), tree)], &[]).expect("one tree is unlike all others")
}

#[test]
#[ignore = "boots Linux in QEMU four times"]
fn what_rots_or_cannot_be_started_is_skipped() {
    let [one, two] = [0, 1].map(kernel);
    let disk = Disk::new();
    let start = || Machine::start(loader(), Some(disk.path()), Level::One);
    let model = "stillboot test virt";
    let own = set(MEMORY, model, MODEL);
    disk.fill(&Release { trees: Some((&own, true)), ..one.release(1) }.bundle());
    let expected =
        Expected { level: Level::One, slot: "a", claim: "trial", kernel: &one, attempt: 1, model };
    let proof = follow(start(), &expected);
    let falls_back = |bundle: &[u8], why: &str| {
        disk.update(bundle, &proof);
        let mut machine = start();
        machine.expect_before("slot b (trial): its image returned", Some("Linux version"));
        machine.expect("slot a (good): started");
        machine.expect(why);
    };

    // Signed and whole, but no kernel that anybody could jump to.
    let mut packed = vec![0x1f, 0x8b, 8, 0];
    packed.resize(64 << 10, 7);
    let release = Release { image: Some(&packed), ..two.release(2) };
    falls_back(&release.bundle(), "note: slot b: kernel: it is compressed");
    // The tree of some other machine; of this one, with memory that it has not; and no tree at all.
    let other = set(MEMORY, "other", "maker,other");
    let release = Release { trees: Some((&other, true)), ..two.release(3) };
    falls_back(&release.bundle(), "slot b: it needs the device tree of this machine");
    let large = set(2 * MEMORY, "large", MODEL);
    let release = Release { trees: Some((&large, false)), ..two.release(4) };
    falls_back(&release.bundle(), "slot b: its device tree has other memory than this machine");
    // A set that is none never gets into a slot.
    let release = Release { trees: Some((b"stillDTB", false)), ..two.release(5) };
    let said = disk.refuses(&release.bundle(), &proof);
    assert!(said.contains("set of device trees: "), "{said}");

    disk.update(&two.release(6).bundle(), &proof);
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
