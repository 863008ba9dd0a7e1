//! What a loader measures, and what it counts, in a machine with a trusted platform module.

use std::collections::BTreeMap;

use serde_json::Value;
use stillboot::format::{Slot, SlotState};

use crate::disk::{Image, device_words, forge, text, words};
use crate::machine::{Arch, Hardware, Machine, Settings};
use crate::release::{Release, works};
use crate::stories::{assert_runs, confirm, give_roots, install, report, two};
use crate::stub::{LAPTOP, LAPTOP_TREE, set};
use crate::tpm::Tpm;

/// A register as the kernel shows it.
fn register(machine: &mut Machine, bank: &str, number: u32) -> String {
    let file = format!("/sys/class/tpm/tpm0/pcr-{bank}/{number}");
    machine.run(&format!("cat {file}"), 0).trim().to_lowercase()
}

/// What the tool says a register will be.
#[derive(Debug)]
struct Predicted {
    sha256: String,
    sha384: String,
    events: Vec<String>,
}

/// What the tool says the registers will be.
fn predicted_of(release: &Release, tree: Option<&str>) -> BTreeMap<u32, Predicted> {
    let (bundle, device) = (release.file(), device_words(release.arch));
    let mut command = vec!["pcr", "predict", text(&bundle), "--json"];
    command.extend(words(&device));
    command.extend(tree.iter().flat_map(|tree| ["--tree", tree]));
    let said: Value = serde_json::from_str(&works().on_host(&command)).expect("it prints JSON");
    let registers = said["registers"].as_array().expect("it has registers");
    registers
        .iter()
        .map(|register| {
            let number = register["pcr"].as_u64().expect("a number") as u32;
            let text = |value: &Value| value.as_str().expect("it is text").to_owned();
            let events = register["events"].as_array().expect("it has events");
            let predicted = Predicted {
                sha256: text(&register["sha256"]),
                sha384: text(&register["sha384"]),
                events: events.iter().map(text).collect(),
            };
            (number, predicted)
        })
        .collect()
}

/// Fails unless the registers are what was predicted, and what the firmware's log says they are.
fn assert_measured(machine: &mut Machine, release: &Release, tree: Option<&str>) {
    let predicted = predicted_of(release, tree);
    for (number, wanted) in &predicted {
        assert_eq!(register(machine, "sha256", *number), wanted.sha256, "register {number}");
        assert_eq!(register(machine, "sha384", *number), wanted.sha384, "register {number}");
    }
    // Nothing was chosen, nothing was measured.
    if tree.is_none() {
        assert_eq!(register(machine, "sha256", 12), "0".repeat(64));
    }
    let (replayed, texts) = replay(machine);
    assert!(replayed.len() > 5, "{replayed:?}");
    for (number, value) in replayed {
        assert_eq!(register(machine, "sha256", number), value, "register {number} by its log");
    }
    // No other program extends these registers.
    for number in [8, 12] {
        let wanted = predicted.get(&number).map(|wanted| &wanted.events[..]).unwrap_or_default();
        assert_eq!(texts.get(&number).map(|found| &found[..]).unwrap_or_default(), wanted);
    }
}

/// The registers that the firmware's log makes, each event hashed onto what was there; and what the
/// events of the type `EV_IPL` say.
fn replay(machine: &mut Machine) -> (BTreeMap<u32, String>, BTreeMap<u32, Vec<String>>) {
    machine
        .run("mountpoint -q /sys/kernel/security || mount -t securityfs s /sys/kernel/security", 0);
    let file = "/sys/kernel/security/tpm0/binary_bios_measurements";
    let log = machine.read(file);
    let mut rest = &log[..];
    let mut take = |len: usize| {
        let (taken, later) = rest.split_at(len);
        rest = later;
        (taken, later.is_empty())
    };
    let short = |bytes: &[u8]| u16::from_le_bytes(bytes.try_into().expect("two bytes"));
    let long = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    // The first event is of the old form: register, type, digest of 20 bytes, length. It says what
    // the others look like.
    take(28);
    let len = long(take(4).0) as usize;
    let specification = take(len).0;
    assert!(specification.starts_with(b"Spec ID Event03\0"), "{specification:x?}");
    let count = long(&specification[24..28]) as usize;
    let sizes: BTreeMap<u16, usize> = (0..count)
        .map(|at| {
            let entry = &specification[28 + 4 * at..][..4];
            (short(&entry[..2]), short(&entry[2..]).into())
        })
        .collect();
    let mut registers = BTreeMap::<u32, [u8; 32]>::new();
    let mut texts = BTreeMap::<u32, Vec<String>>::new();
    loop {
        // Register, type, digests of each bank, and the event itself.
        let number = long(take(4).0);
        let kind = long(take(4).0);
        for _ in 0..long(take(4).0) {
            let bank = short(take(2).0);
            let digest = take(sizes[&bank]).0;
            // SHA-256; EV_NO_ACTION extends nothing.
            if bank == 0x000b && kind != 3 {
                let register = registers.entry(number).or_default();
                *register = sha256(&[&register[..], digest].concat());
            }
        }
        let len = long(take(4).0) as usize;
        let (event, is_last) = take(len);
        if kind == 13 {
            texts.entry(number).or_default().push(String::from_utf8_lossy(event).into_owned());
        }
        if is_last {
            break;
        }
    }
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (registers.into_iter().map(|(number, value)| (number, hex(value))).collect(), texts)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    stillboot::verify::digest_of::<stillboot::verify::SoftSha256>(bytes)
}

pub fn predicted(arch: Arch) {
    let [mut one, mut two] = two(arch);
    let (extras, tree): (&[&str], _) = match arch {
        Arch::X86_64 => (&["--tpm"], None),
        Arch::Aarch64 => (&["--tpm", "--devicetree"], Some(LAPTOP_TREE)),
    };
    if arch == Arch::Aarch64 {
        // Its tree has to know of the module.
        let mut model = Hardware::new(arch, &[]);
        model.tpm = Some(Tpm::new());
        one.trees = Some((set(&model), true));
    }
    // Verified, tried, and refused by the firmware: it must leave no trace.
    two.instead = Some(vec![7; 64 << 10]);
    let bundle = one.file();
    let image = Image::new(arch, &[extras, &["--bundle", text(&bundle)]].concat());
    image.confirm().install(&two, 3);
    let mut hardware = Hardware::new(arch, &[image.path()]);
    hardware.tpm = Some(Tpm::new());
    let three = Release { unified: true, ..Release::new(arch, 3, 2) };
    let bundle = three.bundle();
    hardware.offer(&bundle);
    let settings = Settings { identity: vec![LAPTOP.into()], ..Settings::default() };

    let mut machine = hardware.start(&settings);
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    let said = report(&mut machine);
    assert!(said.contains("note: slot b: the firmware refuses its image"), "{said}");
    assert!(said.contains("events measured"), "{said}");
    assert_measured(&mut machine, &one, tree);
    give_roots(&mut machine).expect("its power stays on");
    machine.run(&install(arch, bundle.len()), 0);
    let boot = machine.reboot();
    assert_eq!(boot.kernel, three.kernel_version());
    assert_measured(&mut machine, &three, None);
    machine.kill();

    // The same machine without its module.
    hardware.tpm = None;
    let mut machine = hardware.start(&settings);
    assert_eq!(machine.ready().kernel, three.kernel_version());
    let said = report(&mut machine);
    assert!(said.contains("tpm: none"), "{said}");
    println!("note: measured on {}: {:?}", arch.name(), predicted_of(&one, tree));
}

pub fn a_floor_that_a_tpm_counts_is_not_put_back() {
    let arch = Arch::X86_64;
    let [one, two] = two(arch);
    let two = Release { level: 2, ..two };
    let first = one.file();
    let new = || Image::new(arch, &["--tpm-floor", "--bundle", text(&first)]);
    let (image, old) = (new(), new());
    old.confirm();
    image.confirm();
    let mut hardware = Hardware::new(arch, &[image.path()]);
    hardware.tpm = Some(Tpm::new());
    let boots = |hardware: &Hardware, release: &Release, slot, attempt| {
        let mut machine = hardware.start(&Settings::default());
        assert_runs(&machine.ready(), release, slot, attempt);
        let said = report(&mut machine);
        machine.kill();
        said
    };
    let failed = "note: the store of the floor failed";

    // The floor is stored, and counted, with the first good system; then it rises.
    let said = boots(&hardware, &one, Slot::A, 0);
    assert!(!said.contains(failed), "{said}");
    let before = hardware.flash();
    image.install(&two, 3).confirm();
    forge(image.path(), |body| body.slot_mut(Slot::A).state = SlotState::Empty);
    hardware.replace_disk(image.path());
    let said = boots(&hardware, &two, Slot::B, 0);
    assert!(!said.contains(failed), "{said}");
    let after = hardware.flash();

    // An attacker writes the old variables back: the store fails, and nothing new is tried.
    hardware.write_flash(&before);
    let three = Release { level: 2, ..Release::new(arch, 3, 2) };
    image.install(&three, 3);
    let at_peace = image.path().to_owned();
    hardware.replace_disk(&at_peace);
    let said = boots(&hardware, &two, Slot::B, 0);
    assert!(said.contains(failed), "{said}");
    // Without the module it is the same.
    let tpm = hardware.tpm.take();
    hardware.write_flash(&after);
    let said = boots(&hardware, &two, Slot::B, 0);
    assert!(said.contains(failed), "{said}");
    hardware.tpm = tpm;

    // A module that was cleared does not stop the device, and the floor is as high as before.
    hardware.tpm.as_mut().expect("it is back").clear();
    let mut machine = hardware.start(&Settings::default());
    assert_eq!(machine.ready().kernel, three.kernel_version());
    let said = report(&mut machine);
    assert!(!said.contains(failed), "{said}");
    machine.run(&confirm(), 0);
    machine.kill();
    hardware.replace_disk(old.path());
    let mut machine = hardware.start(&Settings::default());
    machine.expect("slot a (good): refused: keyset 1 level 1 is below the floor");
    println!("note: a floor that a TPM counts: absent, cleared and put back");
}
