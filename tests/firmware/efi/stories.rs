//! What must happen on real firmware with real kernels.

use std::fs;
use std::time::Instant;

use serde_json::Value;
use stillboot::format::{BootProof, Fault, Slot, SlotState};
use stillboot_linux::guid;

use crate::count::Reads;
use crate::disk::{Image, components, forge, kernel, record, record_start, rot, text, words};
use crate::machine::{Arch, Boot, Hardware, Machine, Off, Settings};
use crate::release::{DEVICE, Kernel, Release, works};

/// The system's disk, in the machine.
const DISK: &str = "/dev/vda";
/// The disk that it installs from.
const MEDIUM: &str = "/dev/vdb";

/// Two releases with successive kernels.
pub fn two(arch: Arch) -> [Release; 2] {
    [Release::new(arch, 1, 0), Release::new(arch, 2, 1)]
}

/// A disk with release 1, confirmed, in slot a and release 2 ready in slot b.
fn one_good_one_ready(arch: Arch, tries: u8) -> Image {
    let [one, two] = two(arch);
    let image = Image::factory(&one);
    image.confirm().install(&two, tries);
    image
}

/// A disk with releases 1 and 2, both confirmed: slot b goes first.
fn both_good(arch: Arch) -> Image {
    let image = one_good_one_ready(arch, 3);
    image.confirm();
    image
}

/// The report that the loader left for the system.
pub fn report(machine: &mut Machine) -> String {
    let file = format!("/sys/firmware/efi/efivars/StillBootReport-{}", guid::VENDOR);
    // The variable's attributes stand before its value.
    machine.run(&format!("tail -c +5 {file}"), 0)
}

/// Whether the system is that release, in that slot, on that attempt.
#[track_caller]
pub fn assert_runs(boot: &Boot, release: &Release, slot: Slot, attempt: u8) {
    let proof = BootProof::parse(boot.proof()).expect("a proof");
    let runs = (boot.kernel.clone(), proof.slot, proof.attempt);
    assert_eq!(runs, (release.kernel_version(), slot, attempt), "{boot:?}");
}

fn mark_good(machine: &mut Machine, status: u8) -> String {
    machine.run(&confirm(), status)
}

/// The command that confirms what runs.
pub fn confirm() -> String {
    format!("stillboot mark-good --disk {DISK}")
}

/// Gives the machine the roots, which it needs to install.
///
/// # Errors
/// The machine was switched off.
pub fn give_roots(machine: &mut Machine) -> Result<(), Off> {
    let roots = fs::read_to_string(&works().roots).expect("it was written");
    machine.try_run(": > /roots.toml")?;
    for line in roots.lines() {
        machine.try_run(&format!("echo '{line}' >> /roots.toml"))?;
    }
    Ok(())
}

/// The command that installs what is on the medium.
pub fn install(arch: Arch, len: usize) -> String {
    format!(
        "head -c {len} {MEDIUM} | stillboot install - --disk {DISK} --roots /roots.toml {DEVICE} \
         --arch {}",
        arch.name()
    )
}

fn done(story: &str, arch: Arch, machine: &Machine) {
    println!("note: {story} on {}: {} boots", arch.name(), machine.boots());
}

pub fn first_boot_then_update_then_commit(arch: Arch) {
    let [one, two] = two(arch);
    let image = Image::factory(&one);
    let mut hardware = Hardware::new(arch, &[image.path()]);
    let bundle = two.bundle();
    hardware.offer(&bundle);
    let trace = hardware.path("trace");
    let mut machine =
        hardware.start(&Settings { trace: Some(trace.clone()), ..Settings::default() });
    assert_runs(&machine.ready(), &one, Slot::A, 1);
    // The kernel itself looks at the table of partitions only.
    machine.switch_off();
    let reads = Reads::new(&trace, record_start(hardware.disk()));
    for (role, place) in components(hardware.disk(), Slot::A) {
        reads.assert_once(&role.to_string(), place);
    }
    let begin = Instant::now();
    let mut machine = hardware.start(&Settings::default());
    machine.expect("BdsDxe: starting Boot");
    let firmware = begin.elapsed();
    assert_runs(&machine.ready(), &one, Slot::A, 2);
    let until_init = begin.elapsed() - firmware;
    // A loader that has nothing to complain of says nothing.
    let said = machine.transcript();
    let (before, _) = said.split_once("stillboot-init: ready").expect("it was waited for");
    assert!(!before.contains("stillboot: "), "{before}");
    let said = report(&mut machine);
    assert!(said.contains("slot a (trial): started"), "{said}");
    // QEMU's x86_64 processors have no SHA-NI, this Arm processor has the instructions.
    let hashing = match arch {
        Arch::X86_64 => "hashing: soft",
        Arch::Aarch64 => "hashing: armv8 sha2",
    };
    assert!(said.contains(hashing), "{said}");
    println!(
        "note: a boot on {}: firmware {firmware:.1?}, loader and kernel until the first process \
         {until_init:.1?}, of it the loader:\n{said}",
        arch.name()
    );

    mark_good(&mut machine, 0);
    // Good already: a unit that confirms at every start is well.
    mark_good(&mut machine, 0);
    give_roots(&mut machine).expect("its power stays on");
    machine.run(&install(arch, bundle.len()), 0);
    let boot = machine.reboot();
    assert_runs(&boot, &two, Slot::B, 1);
    mark_good(&mut machine, 0);
    let boot = machine.reboot();
    assert_runs(&boot, &two, Slot::B, 0);
    let status = machine.run(&format!("stillboot status --disk {DISK}"), 0);
    assert!(status.contains("2.0.0"), "{status}");
    done("update and commit", arch, &machine);
    if let Some(folder) = std::env::var_os("STILLBOOT_TRANSCRIPTS") {
        let file = std::path::Path::new(&folder).join(format!("{}.txt", arch.name()));
        fs::write(file, machine.transcript()).expect("the folder can be written");
    }
}

pub fn a_kernel_that_panics_on_every_try_is_rolled_back(arch: Arch) {
    let [one, two] = two(arch);
    let image = one_good_one_ready(arch, 3);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    for attempt in 1..=3 {
        assert_runs(&machine.ready(), &two, Slot::B, attempt);
        machine.send("echo c > /proc/sysrq-trigger\n");
    }
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    done("panic and rollback", arch, &machine);
    machine.kill();
    assert_eq!(
        record(hardware.disk()).body.slot(Slot::B).state,
        SlotState::Bad { fault: Fault::Exhausted }
    );
}

pub fn a_hang_of_the_system_ends_by_softdog_and_is_rolled_back(arch: Arch) {
    let [one, two] = two(arch);
    let image = one_good_one_ready(arch, 2);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    for attempt in 1..=2 {
        assert_runs(&machine.ready(), &two, Slot::B, attempt);
        machine.run("rmmod softdog; modprobe softdog soft_margin=3", 0);
        // Opened, fed never again.
        machine.send("exec 3> /dev/watchdog; while :; do :; done\n");
    }
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    done("softdog and rollback", arch, &machine);
}

pub fn a_hang_of_the_kernel_ends_by_the_hardware_watchdog(arch: Arch) {
    let [one, two] = two(arch);
    let two = Release { kernel: Kernel::Generic, ..two };
    let image = Image::factory(&one);
    image.confirm().install(&two, 1);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings { watchdog: true, ..Settings::default() });
    assert_runs(&machine.ready(), &two, Slot::B, 1);
    let name = machine.run("cat /sys/class/watchdog/watchdog0/identity", 0);
    assert!(name.contains("i6300ESB"), "{name}");
    machine.run("watchdog -T 10 -t 1 /dev/watchdog", 0);
    // It goes into the background first and arms the device then: a kernel that died in between
    // would hang for ever.
    let sys = "/sys/class/watchdog/watchdog0";
    machine.run(
        &format!("until grep -q ^active {sys}/state && grep -q ^10 {sys}/timeout; do :; done"),
        0,
    );
    // A panic that does not restart: nothing in this machine does anything any more.
    machine.run("echo 0 > /proc/sys/kernel/panic", 0);
    machine.send("echo c > /proc/sysrq-trigger\n");
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    done("hardware watchdog", arch, &machine);
}

pub fn a_flipped_bit_in_the_active_kernel_boots_the_other_slot(arch: Arch) {
    let [one, _] = two(arch);
    let image = both_good(arch);
    rot(image.path(), Slot::B);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    let said = report(&mut machine);
    assert!(said.contains("slot b (good): corrupt: the kernel does not match"), "{said}");
    assert!(said.contains("slot a (good): started"), "{said}");
    done("flipped bit", arch, &machine);
}

pub fn an_unreadable_sector_boots_the_other_slot(arch: Arch) {
    let [one, _] = two(arch);
    let image = both_good(arch);
    let place = kernel(image.path(), Slot::B);
    let hardware = Hardware::new(arch, &[image.path()]);
    let sector = (place.offset + place.len / 2) / 512;
    let settings = Settings { unreadable: Some(sector), ..Settings::default() };
    let mut machine = hardware.start(&settings);
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    let said = report(&mut machine);
    assert!(said.contains("slot b (good): skipped this time: "), "{said}");
    assert!(!said.contains("corrupt"), "an error of the device condemns no slot: {said}");
    done("unreadable sector", arch, &machine);
    machine.kill();
    assert_eq!(record(hardware.disk()).body.slot(Slot::B).state, SlotState::Good);
}

pub fn two_bad_slots_end_in_recovery(arch: Arch) {
    let [one, two] = two(arch);
    let recovery = Release { recovery: true, ..Release::new(arch, 3, 2) };
    let (bundle, rescue) = (one.file(), recovery.file());
    let image = Image::new(arch, &["--bundle", text(&bundle), "--recovery", text(&rescue)]);
    image.confirm().install(&two, 3).confirm();
    rot(image.path(), Slot::A);
    rot(image.path(), Slot::B);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    let boot = machine.ready();
    let proof = BootProof::parse(boot.proof()).expect("a proof");
    assert_eq!((&*boot.kernel, proof.slot), (&*recovery.kernel_version(), Slot::Recovery));
    let said = report(&mut machine);
    for slot in ["slot a (good): corrupt", "slot b (good): corrupt", "(recovery): started"] {
        assert!(said.contains(slot), "{said}");
    }
    done("recovery", arch, &machine);
    machine.kill();

    // The same with recovery on a second disk, which is not looked at while the first one serves.
    let image = both_good(arch);
    let second = Image::new(arch, &["--recovery", text(&rescue)]);
    let hardware = Hardware::new(arch, &[image.path(), second.path()]);
    let mut machine = hardware.start(&Settings { boot_index: true, ..Settings::default() });
    assert_runs(&machine.ready(), &two, Slot::B, 0);
    machine.kill();
    rot(hardware.disk(), Slot::A);
    rot(hardware.disk(), Slot::B);
    let mut machine = hardware.start(&Settings { boot_index: true, ..Settings::default() });
    assert_eq!(machine.ready().kernel, recovery.kernel_version());
    done("recovery on a second disk", arch, &machine);
}

pub fn two_bad_slots_without_recovery_end_in_a_report(arch: Arch) {
    let image = both_good(arch);
    rot(image.path(), Slot::A);
    rot(image.path(), Slot::B);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    machine.expect("stillboot: nothing can be started");
    machine.expect("slot b (good): corrupt: the kernel does not match");
    machine.expect("slot a (good): corrupt: the kernel does not match");
    done("report", arch, &machine);
}

pub fn a_forged_record_moves_no_floor_and_no_trust(arch: Arch) {
    let [one, _] = two(arch);
    let image = one_good_one_ready(arch, 3);
    rot(image.path(), Slot::B);
    let hardware = Hardware::new(arch, &[image.path()]);
    // Once as it should be, so that the floor is in the variable.
    forge(hardware.disk(), |body| body.slot_mut(Slot::B).state = SlotState::Empty);
    let mut machine = hardware.start(&Settings::default());
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    machine.kill();
    let floors = hardware.floors();
    assert_eq!(floors, [(1, 1)], "keyset version and level of what is good");

    forge(hardware.disk(), |body| {
        let bad = body.slot_mut(Slot::B);
        (bad.state, bad.priority) = (SlotState::Good, 200);
        (body.floor.keyset_version, body.floor.level) = (u32::MAX, u32::MAX);
    });
    let mut machine = hardware.start(&Settings::default());
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    let said = report(&mut machine);
    assert!(said.contains("slot b (good): corrupt"), "{said}");
    assert!(said.contains("a recorded floor above all there is was ignored"), "{said}");
    done("forged record", arch, &machine);
    machine.kill();
    assert_eq!(hardware.floors(), floors, "the variable stays as it was");
}

pub fn the_floor_refuses_an_old_slot_that_is_signed(arch: Arch) {
    let [one, two] = two(arch);
    let two = Release { level: 2, ..two };
    let image = Image::factory(&one);
    let old = Image::factory(&one);
    old.confirm();
    // Nothing but release 2 is good: then its level is the floor.
    image.confirm().install(&two, 3).confirm();
    forge(image.path(), |body| body.slot_mut(Slot::A).state = SlotState::Empty);
    let mut hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    assert_runs(&machine.ready(), &two, Slot::B, 0);
    machine.kill();
    assert_eq!(hardware.floors(), [(1, 2)]);

    // An attacker puts back the whole disk as it was before.
    hardware.replace_disk(old.path());
    let mut machine = hardware.start(&Settings::default());
    machine.expect("stillboot: nothing can be started");
    machine.expect("slot a (good): refused: keyset 1 level 1 is below the floor");
    done("floor", arch, &machine);
}

pub fn a_record_that_cannot_be_written_means_no_trial(arch: Arch) {
    let [one, _] = two(arch);
    let image = one_good_one_ready(arch, 3);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings { read_only: true, ..Settings::default() });
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    let said = report(&mut machine);
    assert!(said.contains("the boot record could not be written"), "{said}");
    done("read-only disk", arch, &machine);
    machine.kill();
    assert_eq!(record(hardware.disk()).body.slot(Slot::B).state, SlotState::Ready { tries: 3 });
}

pub fn a_wrong_proof_is_refused(arch: Arch) {
    let [_, two] = two(arch);
    let image = one_good_one_ready(arch, 3);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    let boot = machine.ready();
    assert_runs(&boot, &two, Slot::B, 1);
    let proof = BootProof::parse(boot.proof()).expect("a proof");
    let mut digest = proof.digest;
    digest[31] ^= 1;
    for wrong in [
        BootProof { nonce: proof.nonce ^ 1, ..proof },
        BootProof { attempt: 2, ..proof },
        BootProof { slot: Slot::A, ..proof },
        BootProof { digest, ..proof },
    ] {
        machine.run(&format!("echo {} > /proof", wrong.emit()), 0);
        let command = format!("stillboot mark-good --disk {DISK} --proof /proof");
        let said = machine.run(&command, 4);
        assert!(said.contains("proof"), "{said}");
    }
    mark_good(&mut machine, 0);
    done("wrong proofs", arch, &machine);
}

pub fn slots_on_a_second_disk_and_sectors_of_4096_bytes(arch: Arch) {
    let one = Release::new(arch, 1, 0);
    let [slots, twin] = ["slots", "twin"].map(|name| {
        let path = works().folder().join(format!("{}-{name}.img", arch.name()));
        let _ = fs::remove_file(&path);
        works().on_host(&["disk", "create", text(&path)]);
        path
    });
    // A third disk has partitions of the same names. The loader knows those that are meant.
    let shown = works().on_host(&["disk", "show", text(&slots), "--json"]);
    let shown: Value = serde_json::from_str(&shown).expect("it prints JSON");
    let mut options = vec!["--loader-only".to_owned()];
    for partition in shown["partitions"].as_array().expect("it has partitions") {
        let field = |name: &str| partition[name].as_str().expect("it is text").to_owned();
        options.extend(["--partuuid".into(), format!("{}={}", field("name"), field("guid"))]);
    }
    let loader = Image::new(arch, &words(&options));
    let bundle = one.file();
    let device = crate::disk::device_words(arch);
    works().on_host(
        &[
            &["install", text(&bundle), "--disk", text(&slots), "--offline", "--slot", "a"][..],
            &words(&device),
        ]
        .concat(),
    );
    let hardware = Hardware::new(arch, &[loader.path(), &slots, &twin]);
    // The firmware is given what to boot, so it connects nothing else by itself.
    let mut machine = hardware.start(&Settings { boot_index: true, ..Settings::default() });
    assert_runs(&machine.ready(), &one, Slot::A, 1);
    machine.run(&format!("stillboot mark-good --disk {MEDIUM}"), 0);
    done("second disk", arch, &machine);
    machine.kill();

    let words = ["--sector", "4096", "--bundle", text(&bundle)];
    let image = Image::new(arch, &words);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings { large_sectors: true, ..Settings::default() });
    assert_runs(&machine.ready(), &one, Slot::A, 1);
    mark_good(&mut machine, 0);
    done("sectors of 4096 bytes", arch, &machine);
}

pub fn a_unified_kernel_image_starts_as_it_is(arch: Arch) {
    let one = Release { unified: true, ..Release::new(arch, 1, 0) };
    let image = Image::factory(&one);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    let boot = machine.ready();
    assert_eq!(boot.kernel, one.kernel_version());
    assert!(!boot.cmdline.contains("stillboot.proof"), "{boot:?}");
    // The proof came in the variable.
    mark_good(&mut machine, 0);
    done("unified kernel image", arch, &machine);
}

pub fn the_menu_starts_a_slot_once(arch: Arch) {
    let [one, two] = two(arch);
    let image = both_good(arch);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings { key: true, ..Settings::default() });
    machine.expect("1  slot a");
    machine.expect("2  slot b");
    machine.expect("A number starts that slot once");
    machine.release_key();
    machine.send("1");
    assert_runs(&machine.ready(), &one, Slot::A, 0);
    assert_runs(&machine.reboot(), &two, Slot::B, 0);
    done("menu", arch, &machine);
}

pub fn a_system_that_refuses_health_is_left(arch: Arch) {
    let [one, two] = two(arch);
    let image = one_good_one_ready(arch, 3);
    let hardware = Hardware::new(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    assert_runs(&machine.ready(), &two, Slot::B, 1);
    machine.run(&format!("stillboot mark-bad b --disk {DISK}"), 0);
    assert_runs(&machine.reboot(), &one, Slot::A, 0);
    machine.send("poweroff -f\n");
    machine.expect_off();
    done("refused health", arch, &machine);
}

pub fn smbios_is_read_as_dmidecode_reads_it(arch: Arch) {
    crate::smbios::run(arch);
}

pub fn secure_boot_starts_what_is_signed_and_passes_over_the_rest(arch: Arch) {
    crate::secure::signed(arch);
}

pub fn secure_boot_and_a_loader_that_allows_verified_kernels(arch: Arch) {
    crate::secure::allowed(arch);
}

pub fn what_is_measured_was_predicted(arch: Arch) {
    crate::measured::predicted(arch);
}

pub fn the_power_is_cut(arch: Arch) {
    crate::torture::run(arch);
}
