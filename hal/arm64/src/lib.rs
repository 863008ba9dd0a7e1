//! stillboot on arm64: device trees and the hand-over to a kernel.
//!
//! | module | what it does |
//! |---|---|
//! | [`handoff`] | places a kernel in memory and starts it, without EFI |

#![no_std]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod handoff;

#[cfg(test)]
extern crate std;
