//! The stub for arm64: one image with everything in it, and the right device tree for the machine.

use std::fs;
use std::path::PathBuf;

use stillboot::format::{Fault, Slot, SlotState};
use stillboot_devicetree::chid::{Fields, Kind};
use stillboot_devicetree::set::{self, Machine as Known};
use stillboot_tests::chores::{renamed, succeed, xtask};

use crate::disk::{Image, forge, record, text};
use crate::machine::{Arch, FOREIGN_OPTIONS, Hardware, Machine, Settings};
use crate::release::{CLASS, Release, works};
use crate::stories::{assert_runs, confirm, report};

pub const ARCH: Arch = Arch::Aarch64;

/// The machine that the set knows.
pub const LAPTOP: &str = "type=1,manufacturer=Maker,product=Laptop 1,family=Laptops,sku=L1";
/// What its firmware says by that.
pub fn laptop_fields() -> Fields<'static> {
    Fields {
        manufacturer: Some("Maker"),
        family: Some("Laptops"),
        product_name: Some("Laptop 1"),
        product_sku: Some("L1"),
        ..Fields::default()
    }
}
/// One of the same maker.
pub const OTHER: &str = "type=1,manufacturer=Maker,product=Server 9,family=Servers,sku=S9";

/// What its tree is called in the set.
pub const LAPTOP_TREE: &str = "laptop.dtb";

/// What the trees of the set call the machine.
const LAPTOP_MODEL: &str = "stillboot test laptop";
const VIRT_MODEL: &str = "stillboot test virt";

/// What the firmware's tree says first, when there is one.
pub const VIRT: &str = "linux,dummy-virt";

/// A machine without disks, started by its firmware with this image.
pub fn settings(image: PathBuf, identity: &str, by_tree: bool) -> Settings {
    Settings {
        kernel: Some(image),
        options: Some(FOREIGN_OPTIONS),
        identity: vec![identity.into()],
        by_tree,
        ..Settings::default()
    }
}

/// The tree of the machine in QEMU, under other names. With ACPI as without it, the devices are the
/// same.
pub fn tree(hardware: &Hardware, model: &str, compatible: &[&str]) -> Vec<u8> {
    renamed(&hardware.tree(&Settings::default()), model, compatible)
}

/// A set with two trees that both describe the machine in QEMU: one for the laptop by its ids, one
/// for whatever firmware calls by QEMU's own name.
pub fn set(hardware: &Hardware) -> Vec<u8> {
    let laptop = "maker,laptop-1";
    let trees = [
        (LAPTOP_TREE.to_owned(), tree(hardware, LAPTOP_MODEL, &[laptop, VIRT])),
        ("virt.dtb".to_owned(), tree(hardware, VIRT_MODEL, &[VIRT])),
    ];
    let kind = Kind::from_number(4).expect("by maker, family, product and SKU");
    let chid = kind.chid(&laptop_fields()).expect("all fields are there");
    let known = Known::new("Laptop 1", laptop, [chid]);
    set::build(&trees, &[known]).expect("no two of them are alike")
}

/// The stub, with nothing in it.
fn empty() -> PathBuf {
    let stub = works().folder().join("stub.efi");
    let mut build = xtask();
    build.args(["stub", "--class", CLASS, "--revision", "1", "--roots"]);
    succeed(build.arg(&works().roots).arg("--out").arg(&stub));
    stub
}

/// The image: the stub with this release in it.
pub fn image(hardware: &Hardware, release: &Release) -> PathBuf {
    let (stub, out) = (empty(), hardware.path("image.efi"));
    let [bundle, stub, roots, path] =
        [&release.file(), &stub, &works().roots, &out].map(|path| path.display().to_string());
    works().on_host(&[
        "stub",
        "build",
        &bundle,
        "--stub",
        &stub,
        "--roots",
        &roots,
        "--class",
        CLASS,
        "--revision",
        "1",
        "--arch",
        "aarch64",
        "--out",
        &path,
    ]);
    out
}

pub fn release(set: Vec<u8>, is_required: bool) -> Release {
    let mut release = Release::new(ARCH, 31, 0);
    release.trees = Some((set, is_required));
    release.talkative = true;
    release
}

/// What the kernel said of the machine, once the system is there.
fn comes_up(machine: &mut Machine) -> String {
    let boot = machine.ready();
    // What started it is no slot, and load options of the firmware do not count.
    assert!(!boot.cmdline.contains("stillboot.proof"), "{}", boot.cmdline);
    assert!(!boot.cmdline.contains("nonexistent"), "{}", boot.cmdline);
    let said = machine.transcript();
    // What the kernel's own stub has to say comes through, and it has nothing to complain of.
    assert!(said.contains("EFI stub: ") && !said.contains("not aligned"), "{said}");
    said
}

fn model(said: &str) -> Option<&str> {
    said.lines().find_map(|line| Some(line.split_once("Machine model: ")?.1))
}

pub fn stub_gives_a_known_machine_its_tree() {
    let hardware = Hardware::new(ARCH, &[]);
    let image = image(&hardware, &release(set(&hardware), true));
    let mut machine = hardware.start(&settings(image, LAPTOP, false));
    let said = comes_up(&mut machine);
    assert_eq!(model(&said), Some(LAPTOP_MODEL), "{said}");
    assert!(said.contains("ACPI: Interpreter disabled"), "{said}");
    let chosen = machine.run("cat /proc/device-tree/chosen/bootargs; echo", 0);
    assert!(chosen.contains("stillboot.commands"), "{chosen}");
    let compatible = machine.run("tr '\\0' ' ' < /proc/device-tree/compatible; echo", 0);
    assert!(compatible.contains("maker,laptop-1 linux,dummy-virt"), "{compatible}");
    println!("note: stub, identity matched by id, ACPI on: Machine model: {LAPTOP_MODEL}");
}

pub fn stub_replaces_the_tree_of_the_firmware_by_its_own_kind() {
    let hardware = Hardware::new(ARCH, &[]);
    let image = image(&hardware, &release(set(&hardware), true));
    // Its ids are not asked: the firmware knows what it is. Nor does the program that starts it
    // need to give it options.
    let on = Settings { options: None, ..settings(image, LAPTOP, true) };
    let mut machine = hardware.start(&on);
    let said = comes_up(&mut machine);
    assert_eq!(model(&said), Some(VIRT_MODEL), "{said}");
    println!("note: stub, firmware with a tree: Machine model: {VIRT_MODEL}");
}

pub fn stub_leaves_an_unknown_machine_alone_unless_a_tree_is_required() {
    let hardware = Hardware::new(ARCH, &[]);
    let set = set(&hardware);
    let image_ = image(&hardware, &release(set.clone(), false));
    let mut machine = hardware.start(&settings(image_, OTHER, false));
    let said = comes_up(&mut machine);
    assert_eq!(model(&said), None, "{said}");
    assert!(said.contains("ACPI: Core revision"), "{said}");
    let report = report(&mut machine);
    assert!(report.contains("tree: none: the set does not know this machine"), "{report}");
    drop(machine);
    let image = image(&hardware, &release(set, true));
    let mut machine = hardware.start(&settings(image, OTHER, false));
    machine.expect("not started: it needs the device tree of this machine");
    println!("note: stub, unknown machine: left with its ACPI, or refused if a tree is required");
}

pub fn stub_refuses_what_was_not_signed() {
    let hardware = Hardware::new(ARCH, &[]);
    // Signed, and broken all the same: the first tree, which is that of the firmware's kind.
    let mut broken = set(&hardware);
    let at = broken.windows(4).position(|word| word == [0xd0, 0x0d, 0xfe, 0xed]);
    broken[at.expect("it has trees")] ^= 1;
    let path = image(&hardware, &release(broken, false));
    let mut machine = hardware.start(&settings(path.clone(), "type=0", true));
    machine.expect("not started: set of device trees");
    drop(machine);
    // Not signed: a bit of the kernel, which is by far the largest part.
    let mut bytes = fs::read(&path).expect("it was just built");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("the temporary folder can be written");
    let mut machine = hardware.start(&settings(path, LAPTOP, false));
    machine.expect("not started: the bundle's kernel does not match the manifest");
    println!("note: stub, broken set and changed byte: refused");
}

/// A stub without a bundle is a program that comes back.
pub fn an_image_that_comes_back_costs_its_tries_and_no_more() {
    let [one, mut two] = crate::stories::two(ARCH);
    two.instead = Some(fs::read(empty()).expect("it was just built"));
    let image = Image::factory(&one);
    image.confirm().install(&two, 2);
    let hardware = Hardware::new(ARCH, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    for _ in 0..2 {
        machine.expect("stillboot: the image of slot b came back: LOAD_ERROR");
    }
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    machine.kill();
    let bad = SlotState::Bad { fault: Fault::Exhausted };
    assert_eq!(record(hardware.disk()).body.slot(Slot::B).state, bad);

    // One that was good once: the other good one goes first the next time.
    forge(hardware.disk(), |body| {
        let slot = body.slot_mut(Slot::B);
        (slot.state, slot.priority) = (SlotState::Good, 200);
    });
    let mut machine = hardware.start(&Settings::default());
    machine.expect("stillboot: the image of slot b came back: LOAD_ERROR");
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    machine.kill();
    let body = record(hardware.disk()).body;
    assert_eq!(body.slot(Slot::B).state, SlotState::Good);
    assert!(body.slot(Slot::B).suspect && !body.slot(Slot::A).suspect);
    println!("note: images that come back: two tries, and a good slot skipped");
}

pub fn loader_gives_a_slot_its_tree_or_passes_it_over() {
    let [one, mut two] = crate::stories::two(ARCH);
    two.talkative = true;
    two.trees = Some((set(&Hardware::new(ARCH, &[])), true));
    let image = Image::new(ARCH, &["--devicetree", "--bundle", text(&one.file())]);
    image.confirm().install(&two, 3);
    // Another machine: the slot on trial must not be started without its tree.
    let hardware = Hardware::new(ARCH, &[image.path()]);
    let on = |identity: &str| Settings { identity: vec![identity.into()], ..Settings::default() };
    let mut machine = hardware.start(&on(OTHER));
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    let said = report(&mut machine);
    assert!(said.contains("slot b: it needs the device tree of this machine"), "{said}");
    drop(machine);
    let hardware = Hardware::new(ARCH, &[image.path()]);
    let mut machine = hardware.start(&on(LAPTOP));
    let boot = machine.ready();
    assert_runs(&boot, &two, Slot::B, 1);
    let said = machine.transcript();
    assert_eq!(model(&said), Some(LAPTOP_MODEL), "{said}");
    assert!(!said.contains("not aligned"), "{said}");
    // Userspace finds the proof in the tree as well.
    let proof = machine.run("tr -d '\\0' < /proc/device-tree/chosen/stillboot,proof; echo", 0);
    assert_eq!(proof.trim(), boot.proof());
    machine.run(&confirm(), 0);
    println!("note: loader, slot with a required tree: {LAPTOP_MODEL}, or the other slot");
}
