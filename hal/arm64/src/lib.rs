//! Kernel images for arm64, and the hand-over to one without EFI.
//!
//! | module | what it does |
//! |---|---|
//! | [`image`] | reads the header of a kernel, and says where it may stand |
//! | [`handoff`] | places a kernel, its initramfs and its tree in memory and starts it |
//!
//! No input makes it panic, and only the last instructions of [`handoff`] are unsafe. It needs no
//! operating system and no heap.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `defmt` | `defmt::Format` on errors and on the small values in them |
//!
//! # Types of other crates
//!
//! None are public, but for the traits of `defmt` with that feature. `heapless` is used inside only.
//!
//! # Example
//!
//! ```
//! use stillboot_arm64::handoff::{Arena, FreeMemory};
//! use stillboot_arm64::image::Image;
//!
//! // The machine has 256 MiB at 1 GiB, and this program is at their start.
//! let mut free = FreeMemory::new();
//! free.add(0x4000_0000, 0x1000_0000)?;
//! free.take(0x4000_0000, 0x20_0000)?;
//! let mut arena = Arena::new(&free).expect("there is room");
//! let start = arena.kernel(64).expect("it fits");
//! assert_eq!(start, 0x4020_0000);
//!
//! // The kernel was read to that place, and verified there. It needs 16 MiB.
//! let mut kernel = [0; 64];
//! kernel[16..24].copy_from_slice(&0x100_0000_u64.to_le_bytes());
//! kernel[56..60].copy_from_slice(b"ARM\x64");
//! let place = arena.place(&Image::parse(&kernel)?)?;
//! assert_eq!((place.entry, place.end), (start, start + 0x100_0000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]

pub mod handoff;
pub mod image;

#[cfg(test)]
extern crate std;
