//! stillboot on Linux: files and disks as [`BlockDevice`](stillboot::device::BlockDevice)s,
//! partition tables, keys, bundles, and the proof of how this system was booted.
//!
//! Nothing here decides anything: the core does, on what this crate reads for it.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod disk;
pub mod file;
pub mod guid;
pub mod keys;
pub mod live;
pub mod new_file;
pub mod open;
pub mod pe;
pub mod proof;
pub mod settings;
pub mod statement;
pub mod table;

pub use uuid;

pub use file::{FileDevice, OpenError, OpenOptions};
