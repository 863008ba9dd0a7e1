//! GUID partition tables, and what stillboot makes of them.
//!
//! | module | what it does |
//! |---|---|
//! | `read` | says which table of a disk counts |
//! | `copy` | finds one of the two tables and checks its partitions |
//! | `header` | reads the header and the entries of a table |
//! | `label` | reads the MBR |
//! | `table` | is the result, and what can be wrong |
//! | [`plan`] | says which partition of which disk is what |
//!
//! The crate itself exports all of them but [`plan`].
//!
//! Boot loaders and the tool on Linux call this crate, so that they see the same disks. It writes
//! nothing. It allocates: a table has as many partitions as its header says.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `defmt` | `defmt::Format` on errors and on the small values in them |
//!
//! # Types of other crates
//!
//! The types of the core, [`stillboot`], are public here, and those of [`gpt_disk_types`], which is
//! exported again: `Guid` and `GptHeader`. With `defmt` so are the traits of that crate. `bytemuck`
//! is used inside only.
//!
//! # Example
//!
//! ```
//! use stillboot::device::BlockDevice as _;
//! use stillboot::format::Slot;
//! use stillboot_gpt::plan::{Plan, Source};
//! # use stillboot_linux::disk::{Recipe, create};
//! # use stillboot_linux::{FileDevice, OpenOptions};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("disk.img");
//! # create(&path, &Recipe::new(2, 4 << 20))?;
//!
//! // `device` is the disk that the loader came from, with two slots.
//! # let mut device = FileDevice::open(&path, OpenOptions::new())?;
//! let table = stillboot_gpt::read(&mut device)?;
//! let own = Source::new(device.geometry(), &table).with_own(true);
//! let plan = Plan::new(&[own], &[])?;
//! let slots = plan.slots();
//! let layout = plan.layout(&slots)?;
//! assert!(layout.slots().iter().map(|slot| slot.slot).eq([Slot::A, Slot::B]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;

mod copy;
mod header;
mod label;
pub mod plan;
mod read;
mod table;

pub use gpt_disk_types;

pub use copy::Copy;
pub use header::{ENTRY_BYTES, HEADER_BYTES, entries_sum, header_sum, last_block, read_header};
pub use label::Label;
pub use read::read;
pub use table::{Fault, Odd, Partition, RECORD_KIND, RECOVERY_KIND, SLOT_KIND, Table, TableError};

#[cfg(test)]
extern crate std;
