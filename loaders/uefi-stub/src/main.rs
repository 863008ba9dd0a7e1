//! A kernel as one image for UEFI: this stub, and behind it a signed bundle in the section
//! `.bundle`, which `stillboot stub build` puts there.
//!
//! The stub verifies every byte of the bundle against the roots that were compiled in, picks the
//! device tree of the machine from it, and starts its kernel with its initrd and its command line.
//! It has no slots and counts nothing: whatever starts it decides which image to start, and gets
//! the machine back as it was if that cannot be. The load options of the firmware are not looked at.
//!
//! # Features
//!
//! - `tpm-floor`, off by default: obeys the floor of loaders that keep it with a counter of the TPM.

#![cfg_attr(target_os = "uefi", no_std, no_main)]
// On the host this is compiled to be checked; nothing calls it.
#![cfg_attr(not(target_os = "uefi"), allow(dead_code, unused_imports))]

extern crate alloc;

use alloc::format;
use alloc::string::{String, ToString as _};

use stillboot::driver::RollbackStore as _;
use stillboot::format::{Floor, Slot, SlotKind};
use stillboot_sha256::{Provider, Sha256};
use stillboot_uefi::bundle::Bundle;
use stillboot_uefi::clock::{Clock, Timed};
use stillboot_uefi::start::Ready;
use stillboot_uefi::{ARCHITECTURE, FLOORS, console, image, pe};
use uefi::Status;

mod identity {
    #![allow(missing_docs, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/identity.rs"));
}

/// The keys of the test suite are public, so any party can sign with them. The core refuses them as
/// well. This check reports them when the stub is built, and not when it is needed.
const _: () = assert!(
    !identity::TEST_ROOTS || cfg!(debug_assertions),
    "the roots are keys of the test suite: a release build of the stub refuses them"
);

/// Where the bundle is.
const SECTION: &str = ".bundle";

#[cfg(target_os = "uefi")]
#[uefi::entry]
fn main() -> Status {
    let clock = Clock::start();
    console::warn_of_test_keys("STUB");
    run(&clock).unwrap_or_else(|reason| {
        console::line(format_args!("stillboot: not started: {reason}"));
        Status::LOAD_ERROR
    })
}

#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("this runs under firmware: `cargo xtask stub` builds it for UEFI");
}

/// Starts the kernel. Returns if it came back, with what it says.
///
/// # Errors
/// Why it was not started; the machine is as it was.
fn run(clock: &Clock) -> Result<Status, String> {
    let image = image::own().ok_or("the firmware does not say where this image is")?;
    let bytes = pe::section(image, SECTION).and_then(|at| image.get(at));
    let bytes = bytes.ok_or("it carries no bundle: `stillboot stub build` puts one in")?;
    let device = identity::DEVICE.with_architecture(ARCHITECTURE);
    let bundle = Bundle::verify::<Timed<Sha256>>(&device, Slot::A, bytes)
        .map_err(|error| error.to_string())?;
    let manifest = bundle.manifest();
    // If a loader keeps a floor, an old image must not get below it.
    let own = Floor { keyset_version: manifest.keyset_version(), level: manifest.level };
    match { FLOORS }.read(SlotKind::Update) {
        Ok(Some(floor)) if own < floor => {
            return Err(format!(
                "keyset {} level {} is below the floor, keyset {} level {}",
                own.keyset_version, own.level, floor.keyset_version, floor.level
            ));
        }
        Ok(_) => {}
        Err(_) => return Err("the floor cannot be read".into()),
    }
    let ready = Ready::new(None, manifest.digest(), manifest, |role| bundle.component(role))
        .map_err(|refusal| refusal.to_string())?;
    let report = format!(
        "stub: version {}\nhashing: {}\n{}\n",
        manifest.version.as_str(),
        Provider::best().name(),
        clock.verified(),
    );
    Ok(ready.start(clock, report))
}

/// A panic of the stub must not leave the machine hanging.
#[cfg(target_os = "uefi")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::line(format_args!("stillboot: {info}"));
    uefi::runtime::reset(uefi::runtime::ResetType::COLD, Status::ABORTED, None)
}
