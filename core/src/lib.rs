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
//! Bytes become values, values become proofs, proofs lead to a decision, and a decision to actions.
//! A module uses only those above it:
//!
//! | module | what it does |
//! |---|---|
//! | [`mod@format`] | turns bytes into values and back |
//! | [`verify`] | checks digests and signatures, and makes [`Verified`](verify::Verified), the token that says both held |
//! | [`device`] | states what a block device must do, and may do when the power fails |
//! | [`layout`] | says where each part stands on the devices |
//! | [`io`] | names what the machines ask for instead of doing it |
//! | [`record`] | decides which copy of the boot record is authoritative, and holds every way it changes |
//! | [`select`] | puts the slots in the order in which they are tried |
//! | [`boot`] | is the machine of one power-on |
//! | [`install`] | is the machine of one update |
//! | [`request`] | is the machine of one request: confirm, mark bad, roll back, hold |
//! | [`driver`] | carries out what the machines ask for: the only I/O, with `asynch` |
//! | `asynch` | is `driver` for asynchronous devices and streams |
//! | [`check`] | checks whole bundles and whole slots, with the driver's I/O |
//!
//! # Features
//!
//! Features add API and change no behaviour.
//!
//! | feature | what it adds |
//! |---|---|
//! | `keysets` (default) | [`Trust::Roots`](verify::Trust): keys come from keysets that roots sign. Without it a build trusts one key, which signs everything: the smallest case. |
//! | `log` | `layout::Area::Log`: the metadata area as an append-only log, for flash with large erase blocks |
//! | `embedded-storage` | `device::NorDevice`: any `NorFlash` of [embedded-storage](https://docs.rs/embedded-storage) as a block device |
//! | `async` | `asynch`: the drivers for devices and streams behind `embedded-storage-async` and `embedded-io-async` |
//! | `defmt` | `defmt::Format` on errors, reports and all values that a loader logs |
//! | `serde` | `serde` on the values of the formats, for tools |
//!
//! # Types of other crates
//!
//! Lists and texts of bounded length are the `Vec` and `String` of [`heapless`], which is public
//! here and exported again. A new major version of it is a new major version of this crate. The
//! same holds for the traits of `embedded-io` and `embedded-storage`, those of `embedded-io-async` and
//! `embedded-storage-async`, and for `defmt` and `serde` behind their features. `sha2`, `ed25519-compact` and `crc` are used inside only.
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
//! use stillboot::format::{Architecture, BootProof, Id, Rule, Slot};
//! use stillboot::layout::{Area, Layout, LayoutError, Region, SlotLayout, SlotRegion};
//! use stillboot::verify::{Device, RootKey, SoftSha256, Trust};
//!
//! // `stillboot-build` makes these of the file of roots.
//! const ROOTS: &[RootKey] = &[RootKey::ed25519([0x42; 32])];
//! const GATEWAY: Id = 0x0cab2fb2_c894_5e9c_b524_0ecce859bb4d_u128.to_be_bytes();
//! const MODEL_1: Id = 0x816807d1_e80b_5c7b_bef6_a36335ce4115_u128.to_be_bytes();
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
//!         SlotLayout::new(Slot::A, &image_a).with_head(head_a),
//!         SlotLayout::new(Slot::B, &image_b).with_head(head_b),
//!     ];
//!     let trust = Trust::Roots { keys: ROOTS, rule: Rule::ed25519(1) };
//!     let device = Device::new(trust, GATEWAY, MODEL_1)
//!         .with_revision(1)
//!         .with_architecture(Architecture::Thumbv7em);
//!     let layout = Layout::new(&geometries, Area::Blocks(&record), &slots)?;
//!     let config = BootConfig::new(device, layout, nonce).with_store(true);
//!     let mut machine = Boot::<SoftSha256>::new(&config);
//!     let mut buffer = [0; 4096];
//!     let devices: &mut [&mut dyn BlockDevice] = &mut [flash];
//!     Ok(driver::boot(&mut machine, Event::Start, devices, store, memory, &mut buffer))
//! }
//! ```
//!
//! `Some(proof)` means that every component that the loader loads verified and, if it is a trial,
//! that the try is counted: start what [`Memory`](driver::Memory) holds and hand it the proof.
//! `None` means that nothing can be started; [`Boot::report`](boot::Boot::report) says why for each
//! slot.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

// Why: docs/DESIGN.md#why-heapless-is-public
pub use heapless;

mod area;
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
pub mod asynch;
pub mod boot;
#[cfg(stillboot_canary)]
pub mod canary;
#[cfg(not(stillboot_canary))]
mod canary;
pub mod check;
pub mod device;
pub mod driver;
pub mod format;
pub mod install;
pub mod io;
pub mod layout;
pub mod record;
pub mod request;
pub mod select;
mod units;
pub mod verify;
