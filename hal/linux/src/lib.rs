//! stillboot on Linux: files and disks as [`BlockDevice`](stillboot::device::BlockDevice)s,
//! partition tables, and the proof of how this system was booted.
//!
//! Nothing here decides anything: the core does, on what this crate reads for it.

#![forbid(unsafe_code)]

pub mod disk;
pub mod file;
pub mod guid;
pub mod live;
pub mod new_file;
pub mod open;
pub mod proof;
pub mod table;

pub use uuid;

pub use file::{FileDevice, OpenError, OpenOptions};
