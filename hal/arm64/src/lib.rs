//! stillboot for arm64: the right device tree for the machine, and what a kernel needs in it.
//!
//! Everything here reads bytes that somebody else wrote: firmware, build tools, an attacker with a
//! disk. No input makes it panic, and nothing is unsafe but the last instructions of [`handoff`]. It
//! runs without an operating system and without a heap, so the same code decides in firmware, in a
//! bare loader and on the host.
//!
//! | module | what it does |
//! |---|---|
//! | [`fdt`] | reads flattened device trees, and writes one anew with what a boot adds |
//! | [`smbios`] | what a machine says of itself |
//! | [`chid`] | ids of kinds of machines, made from that |
//! | [`hwids`] | tables of ids as unified kernel images carry them |
//! | [`set`] | the trees of a bundle, with the machines that they are for |
//! | [`choice`] | which of them a machine gets |
//! | [`image`] | reads the header of a kernel, and says where it may stand |
//! | [`handoff`] | places a kernel in memory and starts it, without EFI |

#![no_std]
#![deny(unsafe_code, unsafe_op_in_unsafe_fn)]

pub mod chid;
pub mod choice;
pub mod fdt;
pub mod handoff;
pub mod hwids;
pub mod image;
pub mod set;
mod sha1;
pub mod smbios;

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(test)]
extern crate std;

#[cfg(all(test, feature = "alloc"))]
mod testing;
