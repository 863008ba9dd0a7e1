//! BOOTX64.EFI and BOOTAA64.EFI: a boot loader of a few lines, on stillboot.
//!
//! It has no configuration. The keys it trusts and its device class were compiled in (`build.rs`).
//! Everything else is in the boot record and in signed manifests. It prints nothing unless
//! something is wrong, or an operator presses a key while it starts.
//!
//! # Features
//!
//! None is on by default; `cargo xtask efi` has an option for each.
//!
//! - `devicetree`: gives the kernel the device tree of the machine, from the slot's set of trees.
//! - `tpm`: measures into the TPM what is started.
//! - `tpm-floor`: keeps the floor with a counter of the TPM, which the machine must have.
//! - `unsigned-kernels`: starts verified kernels under Secure Boot that the firmware would refuse;
//!   see `docs/SECURE_BOOT.md`.

#![cfg_attr(target_os = "uefi", no_std, no_main)]
// On the host this is compiled to be checked; nothing calls it.
#![cfg_attr(not(target_os = "uefi"), allow(dead_code, unused_imports))]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use stillboot::boot::{Boot, BootConfig, Event};
use stillboot::device::BlockDevice;
use stillboot::driver::{self, RollbackStore};
use stillboot_sha256::{Provider, Sha256};
use stillboot_uefi::clock::{Clock, Timed};
use stillboot_uefi::disks::{self, Reach};
use stillboot_uefi::memory::{ComponentMemory, Pages};
use stillboot_uefi::menu::{self, ReadOnly, Unraised};
use stillboot_uefi::{ARCHITECTURE, FLOORS, console, nonce, report, start, variables, watchdog};
use uefi::Status;
use uefi::runtime::{self, ResetType};

mod identity {
    #![allow(missing_docs, reason = "generated")]
    use stillboot_uefi::plan::Pinned;
    include!(concat!(env!("OUT_DIR"), "/pinned.rs"));
    include!(concat!(env!("OUT_DIR"), "/identity.rs"));
}

/// The keys of the test suite are public, so any party can sign with them. The core refuses them as
/// well. This check reports them when the loader is built, and not when it is needed.
const _: () = assert!(
    !identity::TEST_ROOTS || cfg!(debug_assertions),
    "the roots are keys of the test suite: a release build of the loader refuses them"
);

/// The provider of SHA-256.
type Hash = Timed<Sha256>;

/// How often a slot may be tried that is found without a boot record.
const TRIES: u8 = 3;
/// How long the reason stands on the console when nothing can be started.
const PATIENCE: Duration = Duration::from_secs(60);
const BUFFER_LEN: usize = 64 << 10;

#[cfg(target_os = "uefi")]
#[uefi::entry]
fn main() -> Status {
    boot()
}

#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("this is a boot loader: `cargo xtask efi` builds it for UEFI");
}

fn boot() -> ! {
    let clock = Clock::start();
    let _ = watchdog::arm(watchdog::SECONDS);
    console::warn_of_test_keys("LOADER");
    let mut reach = Reach::Own;
    let mut failure = run(&clock, &mut reach);
    if reach == Reach::Own {
        // Nothing on the loader's own disk starts, but a recovery slot may be on another disk.
        failure += &format!("\r\non all disks:\r\n{}", run(&clock, &mut Reach::All));
    }
    console::line(format_args!("stillboot: nothing can be started\r\n{failure}"));
    let _ = watchdog::arm(2 * PATIENCE.as_secs() as usize);
    let _ = console::wait_for_key(PATIENCE);
    // The failure may be gone the next time. An operator who is there can press a key then.
    runtime::reset(ResetType::COLD, Status::LOAD_ERROR, None)
}

/// Starts a system. Returns only if there is none, with the reasons.
fn run(clock: &Clock, reach: &mut Reach) -> String {
    let mut notes = Vec::new();
    let mut asked = console::key().is_some();
    let (plan, mut disks) = match disks::plan(identity::PINNED, reach, &mut notes) {
        Ok(found) => found,
        Err(error) => return format!("{error}\r\n{}", notes.join("\r\n")),
    };
    notes.extend(plan.notes.iter().cloned());
    let slots = plan.slots();
    let layout = match plan.layout(&slots) {
        Ok(layout) => layout,
        Err(error) => return format!("{error}"),
    };
    let mut devices: Vec<_> = disks.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();
    let Some(mut buffer) = Pages::new(BUFFER_LEN) else { return "not enough memory".into() };
    notes.push(format!("time: {} us until all disks were found", clock.micros()));
    notes.push(format!("hashing: {}", Provider::best().name()));
    let mut config =
        BootConfig::new(identity::DEVICE.with_architecture(ARCHITECTURE), layout, nonce::nonce())
            .with_tries(TRIES)
            .with_store(true)
            .with_watchdog_reset(variables::take_came_back());
    let mut power_on = Starter { clock, notes, buffer: &mut buffer };
    let mut floors = FLOORS;
    // A key that is held down repeats, and the firmware may have read the first presses.
    asked |= console::key().is_some();
    loop {
        let buffer = power_on.buffer.bytes_mut();
        let entry = asked.then(|| menu::ask::<Hash>(&config, &mut devices, buffer)).flatten();
        let Some(entry) = entry else {
            match power_on.start(&config, &mut devices, &mut floors, false) {
                Some(failure) => return failure,
                None => (asked, config.watchdog_reset) = (true, false),
            }
            continue;
        };
        let only: Vec<_> = slots.iter().copied().filter(|slot| slot.slot == entry.slot).collect();
        if let Ok(layout) = plan.layout(&only) {
            let chosen = {
                let mut changed = config;
                changed.layout = layout;
                changed.watchdog_reset = false;
                changed
            };
            let store = &mut Unraised(&mut floors);
            let failure = if menu::must_count(&entry.state) {
                power_on.start(&chosen, &mut devices, store, true)
            } else {
                let guard = |disk| ReadOnly(disk);
                let mut guarded: Vec<_> = devices.iter_mut().map(|d| guard(&mut **d)).collect();
                let mut guarded: Vec<_> =
                    guarded.iter_mut().map(|disk| disk as &mut dyn BlockDevice).collect();
                power_on.start(&chosen, &mut guarded, store, true)
            };
            let failure = failure.unwrap_or_default();
            console::line(format_args!("stillboot: not started\r\n{failure}"));
            config.nonce = nonce::nonce();
        }
        asked = true;
    }
}

/// What every start of this power-on uses.
struct Starter<'a> {
    clock: &'a Clock,
    notes: Vec<String>,
    buffer: &'a mut Pages,
}

impl Starter<'_> {
    /// Runs the core until something is started. Returns the report if nothing was started, and
    /// `None` if an operator pressed a key. With `chosen`, no key is looked for, and a floor that
    /// was ignored because no other slot reaches it is obeyed.
    fn start(
        &mut self,
        config: &BootConfig<'_>,
        devices: &mut [&mut dyn BlockDevice],
        store: &mut dyn RollbackStore,
        chosen: bool,
    ) -> Option<String> {
        let mut machine = Boot::<Hash>::new(config);
        let mut memory = ComponentMemory::default();
        let mut event = Event::Start;
        loop {
            let buffer = self.buffer.bytes_mut();
            let proof = driver::boot(&mut machine, event, devices, store, &mut memory, buffer);
            let (Some(proof), Some(manifest)) = (proof, machine.manifest()) else { break };
            if chosen && machine.report().floor_ignored {
                self.notes.push("note: it is below the floor".into());
                break;
            }
            // A key that was pressed meanwhile. On trial it is too late: the try is counted.
            if !chosen && proof.attempt == 0 && console::key().is_some() {
                return None;
            }
            self.notes.push(self.clock.verified());
            let text = report::text(machine.report(), &self.notes);
            let refusal = start::hand_over(self.clock, &proof, manifest, &memory, text);
            self.notes.push(format!("note: slot {}: {refusal}", proof.slot));
            event = refusal.event();
        }
        Some(report::text(machine.report(), &self.notes).replace('\n', "\r\n"))
    }
}

/// A panic of the loader must not stop the device for good: it resets, and the try is counted.
#[cfg(target_os = "uefi")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::line(format_args!("stillboot: {info}"));
    runtime::reset(ResetType::COLD, Status::ABORTED, None)
}
