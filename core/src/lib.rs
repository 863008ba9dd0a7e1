//! A/B updates that always still boot: a signed bundle streams into the slot that is not running,
//! is verified chunk by chunk before it is written, becomes bootable in one atomic step, is tried a
//! counted number of times, is committed on proof of health and rolled back otherwise, with the
//! power failing at any instant.
//!
//! No `std`, no `alloc`, no unsafe code. The same machines decide on a microcontroller, in UEFI, in
//! an initramfs, in a Linux service and in the simulator that proves them.
//!
//! # The map
//!
//! Bytes become values, values become proofs, proofs lead to a decision, a decision to actions; the
//! arrow goes one way, and modules stand in its order:
//!
//! | module | what it does |
//! |---|---|
//! | [`mod@format`] | bytes to values and back |
//! | [`verify`] | digests, signatures, and [`Verified`](verify::Verified), the token that says both held |
//! | [`layout`] | where everything stands on the devices |
//! | [`record`] | which copy of the boot record is true, and how it changes |
//! | [`select`] | in which order slots are tried |
//! | [`boot`] | the machine of one power-on |
//! | [`install`] | the machine of one update |
//! | [`operate`] | the machine of one request: confirm, mark bad, roll back, hold |
//! | [`io`] | what the machines ask for instead of doing it |
//! | [`device`] | what a block device must do, and may do when the power fails |
//! | [`driver`] | the only I/O: carries out what the machines ask for |
//!
//! # Linking it
//!
//! A boot loader provides a [`BlockDevice`](device::BlockDevice), the keys it trusts and a layout,
//! and runs [`driver::boot`]:
//!
//! ```
//! use stillboot::boot::{Boot, BootConfig, Event};
//! use stillboot::device::BlockDevice;
//! use stillboot::driver::{self, Memory, RollbackStore};
//! use stillboot::format::{Architecture, BootProof, Rule, Slot};
//! use stillboot::layout::{Area, Layout, LayoutError, Region, SlotLayout, SlotRegion};
//! use stillboot::verify::{Device, RootKey, SoftSha256, Trust};
//!
//! const ROOTS: &[RootKey] = &[RootKey::ed25519([0x42; 32])]; // from the key ceremony, built in
//!
//! fn boot(
//!     flash: &mut dyn BlockDevice,
//!     store: &mut dyn RollbackStore,
//!     memory: &mut dyn Memory,
//!     nonce: u64,
//! ) -> Result<Option<BootProof>, LayoutError> {
//!     let geometries = [flash.geometry()];
//!     let region = |offset, len| Region { device: 0, offset, len };
//!     // The metadata: three places of the record, then a head for each slot.
//!     let record = [region(0, 0x1000), region(0x1000, 0x1000), region(0x2000, 0x1000)];
//!     let (head_a, head_b) = (region(0x3000, 0x3000), region(0x6000, 0x3000));
//!     // An image starts at the first byte of its region.
//!     let image_a = [SlotRegion { region: region(0x1_0000, 0x7_0000), roles: &[] }];
//!     let image_b = [SlotRegion { region: region(0x8_0000, 0x7_0000), roles: &[] }];
//!     let slots = [
//!         SlotLayout { slot: Slot::A, head: Some(head_a), index: None, regions: &image_a },
//!         SlotLayout { slot: Slot::B, head: Some(head_b), index: None, regions: &image_b },
//!     ];
//!     let config = BootConfig {
//!         device: Device {
//!             trust: Trust::Roots { keys: ROOTS, rule: Rule::ed25519(1) },
//!             product: *b"example gateway\0",
//!             class: *b"gateway model 1\0",
//!             revision: 1,
//!             architecture: Architecture::Thumbv7em,
//!         },
//!         layout: Layout::new(&geometries, Area::Blocks(&record), &slots)?,
//!         tries: 3,
//!         nonce,
//!         has_store: true,
//!         check_late: false,
//!         watchdog_reset: false,
//!     };
//!     let mut machine = Boot::<SoftSha256>::new(&config);
//!     let mut buffer = [0; 4096];
//!     let devices: &mut [&mut dyn BlockDevice] = &mut [flash];
//!     Ok(driver::boot(&mut machine, Event::Start, devices, store, memory, &mut buffer))
//! }
//! ```
//!
//! `Some(proof)` means that every component that the loader loads verified and, if it is a trial, that the try is
//! counted: start what [`Memory`](driver::Memory) holds and hand it the proof. `None` means that
//! nothing can be started; [`Boot::report`](boot::Boot::report) says why for each slot.

#![no_std]
#![forbid(unsafe_code)]

mod area;
pub mod boot;
#[cfg(stillboot_canary)]
pub mod canary;
#[cfg(not(stillboot_canary))]
mod canary;
pub mod device;
pub mod driver;
pub mod format;
pub mod install;
pub mod io;
pub mod layout;
pub mod operate;
pub mod record;
pub mod select;
mod units;
pub mod verify;
