//! Secure Boot: the firmware starts what a signer it trusts has signed, and our loader works under
//! that rule.

use std::fs;
use std::path::PathBuf;

use stillboot::format::{BootProof, Slot};
use stillboot_tests::chores::{succeed, xtask};

use crate::disk::{Image, text};
use crate::machine::{Arch, Hardware, Machine, Settings};
use crate::release::{CLASS, Release, Signature, works};
use crate::sign;
use crate::stories::{assert_runs, confirm, give_roots, install, report};

/// A loader, built with these options and signed.
pub fn loader(arch: Arch, extras: &[&str]) -> PathBuf {
    let out = works().folder().join(format!("{}{}", arch.name(), extras.concat()));
    let mut efi = xtask();
    efi.args(["efi", "--arch", arch.name(), "--class", CLASS, "--revision", "1", "--roots"]);
    succeed(efi.arg(&works().roots).args(extras).arg("--out").arg(&out));
    let name = match arch {
        Arch::X86_64 => "BOOTX64.EFI",
        Arch::Aarch64 => "BOOTAA64.EFI",
    };
    let built = fs::read(out.join(name)).expect("it was just built");
    let signed = out.join("signed.efi");
    fs::write(&signed, sign::sign(&built)).expect("the target folder can be written");
    signed
}

fn signed_by(release: Release, signature: Signature) -> Release {
    Release { signature, ..release }
}

/// Fails unless Secure Boot is on.
fn assert_is_on(machine: &mut Machine) {
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    // Four bytes of attributes, and the value.
    assert_eq!(machine.read(variable), [6, 0, 0, 0, 1]);
}

pub fn signed(arch: Arch) {
    // The firmware refuses the loader itself.
    let image = Image::new(arch, &["--loader-only"]);
    let hardware = Hardware::secure(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    machine.expect("Access Denied");
    drop(machine);

    let loader = loader(arch, &[]);
    let one = signed_by(Release::new(arch, 1, 0), Signature::Missing);
    let two = signed_by(Release::new(arch, 2, 1), Signature::Debian);
    let recovery = Release { recovery: true, ..Release::new(arch, 3, 2) };
    let recovery = signed_by(recovery, Signature::Ours);
    let (bundle, rescue) = (one.file(), recovery.file());
    let words = ["--loader", text(&loader), "--bundle", text(&bundle), "--recovery", text(&rescue)];
    let image = Image::new(arch, &words);
    image.confirm().install(&two, 3).confirm();
    let mut hardware = Hardware::secure(arch, &[image.path()]);
    let four = Release { unified: true, ..Release::new(arch, 4, 0) };
    let four = signed_by(four, Signature::Ours);
    let bundle = four.bundle();
    hardware.offer(&bundle);

    // Signed by a foreign signer, without a signature, and as it should be.
    let mut machine = hardware.start(&Settings::default());
    let boot = machine.ready();
    assert_is_on(&mut machine);
    let proof = BootProof::parse(boot.proof()).expect("a proof");
    assert_eq!((&*boot.kernel, proof.slot), (&*recovery.kernel_version(), Slot::Recovery));
    let said = report(&mut machine);
    for slot in ["a", "b"] {
        let line = format!("note: slot {slot}: the firmware refuses its image: ACCESS_DENIED");
        assert!(said.contains(&line), "{said}");
    }
    // A unified image, which carries its own signature.
    give_roots(&mut machine).expect("its power stays on");
    machine.run(&install(arch, bundle.len()), 0);
    let boot = machine.reboot();
    assert_eq!(boot.kernel, four.kernel_version());
    assert_is_on(&mut machine);
    machine.run(&confirm(), 0);
    println!("note: Secure Boot on {}: {} boots", arch.name(), machine.boots());
}

pub fn allowed(arch: Arch) {
    let loader = loader(arch, &["--unsigned-kernels"]);
    let one = signed_by(Release::new(arch, 1, 0), Signature::Missing);
    let bundle = one.file();
    let words = ["--loader", text(&loader), "--bundle", text(&bundle)];
    let image = Image::new(arch, &words);
    let hardware = Hardware::secure(arch, &[image.path()]);
    let mut machine = hardware.start(&Settings::default());
    assert_runs(&machine.ready(), &one, Slot::A, 1);
    assert_is_on(&mut machine);
    let said = report(&mut machine);
    assert!(said.contains("image: allowed by the manifest"), "{said}");
    println!(
        "note: Secure Boot on {}, a verified kernel without a signature: started",
        arch.name()
    );
}
