//! stillboot on Linux: files and disks as [`BlockDevice`](stillboot::device::BlockDevice)s,
//! partition tables, and the proof of how this system was booted.
//!
//! Nothing here decides anything: the core does, on what this crate reads for it.
//!
//! # Types of other crates
//!
//! The types of the core, [`stillboot`], and of [`stillboot_gpt`] are public here, and [`uuid::Uuid`],
//! whose crate is exported again. `gpt`, `rustix` and `tempfile` are used inside only.
//!
//! # Example
//!
//! ```
//! use stillboot::format::Slot;
//! use stillboot_linux::disk::{Disk, Recipe, create};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("disk.img");
//! create(&path, &Recipe::new(2, 4 << 20).with_recovery_bytes(Some(1 << 20)))?;
//!
//! // Opens and locks it, and says which partition is what.
//! let disk = Disk::open(&path, true)?;
//! let slots = disk.plan.slots();
//! assert!(slots.iter().map(|slot| slot.slot).eq([Slot::A, Slot::B, Slot::Recovery]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod disk;
pub mod file;
pub mod guid;
pub mod live;
pub mod new_file;
pub mod open;
pub mod proof;
pub mod table;
pub mod write_behind;

pub use uuid;

pub use file::{FileDevice, OpenError, OpenOptions};
pub use write_behind::WriteBehind;
