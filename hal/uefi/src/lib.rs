//! stillboot on UEFI: what a loader needs around the core to start Linux kernels and unified kernel
//! images on x86_64 and aarch64.
//!
//! The core decides; this crate reads disks, provides memory, keeps the floor and starts what was
//! verified, from the very bytes that were verified. All of the project's unsafe code for UEFI is
//! here. A whole loader is in `loaders/uefi`.
//!
//! | module | what it does |
//! |---|---|
//! | [`gpt`], [`plan`] | are those of every loader and of the tool: see `stillboot-gpt` |
//! | [`report`], [`bundle`], [`pe`] | are those of every loader: see `stillboot-boot-support` |
//! | [`options`] | makes the load options of a kernel: the verified command line and the proof |
//! | [`menu`] | the text of the menu, and the start of one chosen slot |
//! | [`block`] | a disk of the firmware as a block device |
//! | [`disks`] | finds the disks that matter |
//! | [`memory`] | pages for whole components |
//! | [`variables`] | proof, report, the store of the floor |
//! | [`image`] | loads and starts an image from memory |
//! | `devicetree` | the tree of the machine; a feature of that name |
//! | `secure` | starts kernels without a signature under Secure Boot; the feature `unsigned-kernels` |
//! | `tpm` | measures what is started; a feature of that name |
//! | `counter` | the store of the floor with a counter of the TPM; the feature `tpm-floor` |
//! | [`initrd`] | offers the initial file system to the kernel |
//! | [`start`] | hands over to what was verified |
//! | [`clock`] | monotonic time |
//! | [`nonce`] | a number that no other power-on had |
//! | [`watchdog`] | the firmware's watchdog |
//! | [`console`] | lines out, keys in |
//! | [`sbat`] | the `.sbat` section that shim asks for |
//!
//! The modules down to `menu` call no firmware and are tested on the host.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `devicetree` | the module `devicetree`, which gives the kernel the device tree of the machine, chosen from the slot's set of trees |
//! | `tpm` | the module `tpm`, which measures into a TPM what is started |
//! | `tpm-floor` | the module `counter`, which binds the floor to a counter of the TPM, so that an old copy of the variables does not lower it. [`FLOORS`] is then that store. It includes `tpm`. |
//! | `unsigned-kernels` | the module `secure`, which starts a kernel that the manifest vouches for under Secure Boot although the firmware does not know its signature |
//!
//! None is on by default.
//!
//! # Types of other crates
//!
//! The types of the core, [`stillboot`], of [`stillboot_gpt`], `stillboot-boot-support` and, with that
//! feature, `stillboot-devicetree` are public here. So are those of the crate [`uefi`]: `Status`,
//! `Handle`, `Key`, `Guid`, `CStr16`, `MemoryType`. `uefi-raw` is used inside only.
//!
//! # Example
//!
//! ```
//! use stillboot_uefi::options::load_options;
//!
//! // What a kernel is started with, as UTF-16 with a zero behind it.
//! let options = load_options(b"root=/dev/sda2 quiet\n", None)?;
//! let expected: Vec<u16> = "root=/dev/sda2 quiet\0".encode_utf16().collect();
//! assert_eq!(options, expected);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
// Each unsafe operation needs a block of its own, also inside an unsafe function.
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

pub mod block;
pub mod clock;
pub mod console;
#[cfg(feature = "tpm-floor")]
pub mod counter;
#[cfg(feature = "devicetree")]
pub mod devicetree;
pub mod disks;
pub mod image;
pub mod initrd;
pub mod memory;
pub mod menu;
pub mod nonce;
pub mod options;
pub mod sbat;
#[cfg(any(feature = "unsigned-kernels", test))]
pub mod secure;
pub mod start;
#[cfg(feature = "tpm")]
pub mod tpm;
pub mod variables;
pub mod watchdog;

pub use stillboot_boot_support::{bundle, counted, measure, pe, report};
pub use stillboot_gpt as gpt;
pub use stillboot_gpt::plan;

use stillboot::format::Architecture;

/// What this firmware runs: a loader is of the same architecture.
#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: Architecture = Architecture::X86_64;
/// What this firmware runs: a loader is of the same architecture.
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: Architecture = Architecture::Aarch64;

/// Where a loader keeps the floor.
#[cfg(not(feature = "tpm-floor"))]
pub const FLOORS: variables::FloorVariables = variables::FloorVariables;
/// Where a loader keeps the floor.
#[cfg(feature = "tpm-floor")]
pub const FLOORS: counter::Store = counter::store();

#[cfg(test)]
extern crate std;
