//! What a boot loader with disks needs beside the core, whatever started it: firmware, or nothing.
//!
//! | module | what it does |
//! |---|---|
//! | [`bundle`] | verifies a bundle that is in memory as a whole |
//! | [`pe`] | finds a section of an image that runs |
//! | [`command_line`] | appends the proof to the verified command line |
//! | [`floor`] | the bytes of the variable that keeps a floor |
//! | [`counted`] | a store of the floor that is bound to a counter |
//! | [`measure`] | says what a power-on measures into a TPM |
//! | [`refusal`] | says whether what was not started is to blame for it |
//! | [`startable`] | says what a slot must hold to be started |
//! | [`report`] | puts what a power-on found into words |
//!
//! It allocates a little: text and command lines. Nothing here calls firmware or touches a
//! machine, and all of it is tested on the host.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `defmt` | `defmt::Format` on errors and on the small values in them |
//!
//! # Types of other crates
//!
//! The types of the core, [`stillboot`], are public here, and with `defmt` the traits of that crate.
//! `object` is used inside only.
//!
//! # Example
//!
//! ```
//! use stillboot::format::{BootProof, Slot};
//! use stillboot_boot_support::command_line::{self, CommandLineError, command_line};
//!
//! # let proof = BootProof {
//! #     slot: Slot::A,
//! #     digest: [0x42; 32],
//! #     attempt: 1,
//! #     nonce: 7,
//! #     keyset_version: 1,
//! #     record_version: 1,
//! #     manifest_schema: 1,
//! # };
//! // The verified command line goes to the kernel with the proof of this power-on behind it.
//! let line = command_line(b"root=/dev/sda2 quiet\n", Some(&proof))?;
//! assert!(line.starts_with(b"root=/dev/sda2 quiet stillboot.proof="));
//! // Here the kernel would read the proof as a part of the quoted text.
//! assert_eq!(command_line::check(b"init=\"/bin/sh"), Err(CommandLineError::OpenQuote));
//! # Ok::<(), CommandLineError>(())
//! ```

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod bundle;
pub mod command_line;
pub mod counted;
pub mod floor;
pub mod measure;
pub mod pe;
pub mod refusal;
pub mod report;
pub mod startable;

#[cfg(test)]
extern crate std;
