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

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]

pub mod handoff;
pub mod image;

#[cfg(test)]
extern crate std;
