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
