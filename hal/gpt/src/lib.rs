//! GUID partition tables, and what stillboot makes of them.
//!
//! | module | what it does |
//! |---|---|
//! | the crate itself | reads and checks a partition table |
//! | [`plan`] | says which partition of which disk is what |
//!
//! Boot loaders and the tool on Linux call this crate, so that they see the same disks. It writes
//! nothing. It allocates: a table has as many partitions as its header says.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod plan;
mod table;

pub use table::{
    Copy, ENTRY_BYTES, Fault, HEADER_BYTES, Label, Odd, Partition, RECORD_KIND, RECOVERY_KIND,
    SLOT_KIND, Table, TableError, entries_sum, header_sum, last_block, read, read_header,
};

#[cfg(test)]
extern crate std;
