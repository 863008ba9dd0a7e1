//! stillboot for arm64: the right device tree for the machine, and what a kernel needs in it.
//!
//! Everything here reads bytes that somebody else wrote: firmware, build tools, an attacker with a
//! disk. No input makes it panic, and nothing is unsafe. It runs without an operating system and
//! without a heap, so the same code decides in firmware, in a bare loader and on the host.
//!
//! | module | what it does |
//! |---|---|
//! | [`fdt`] | reads flattened device trees, and writes one anew with what a boot adds |
//! | [`smbios`] | what a machine says of itself |
//! | [`chid`] | ids of kinds of machines, made from that |
//! | [`image`] | reads the header of a kernel, and says where it may stand |

#![no_std]
#![forbid(unsafe_code)]

pub mod chid;
pub mod fdt;
pub mod image;
pub mod smbios;

#[cfg(test)]
extern crate std;
