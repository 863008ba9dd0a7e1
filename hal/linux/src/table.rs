//! GUID partition tables: read one, find a partition in it, create a disk image with one.
//!
//! What counts as a table is said in [`stillboot_gpt`], which boot loaders read by too.

mod create;
mod look;
mod read;
mod repair;

use std::io;
use std::path::PathBuf;

use stillboot_gpt as gpt;
use uuid::Uuid;

pub use create::{ALIGNMENT_BYTES, PartitionSpec, create};
pub(crate) use read::read_file;
pub use repair::{RepairOptions, Source, conflict, other_fault, outlook, repair};

/// A partition table that was read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    path: PathBuf,
    /// As boot loaders see it.
    pub(crate) found: gpt::Table,
    /// GUID of the disk.
    pub disk_guid: Uuid,
    /// The sector size that the table counts in: 512 or 4096.
    pub logical_block_bytes: u32,
    /// Whether the primary table was damaged and this is the backup: worth a warning.
    pub is_backup: bool,
    /// The partitions in use that are sound, by index.
    pub partitions: Vec<Partition>,
    /// The entries that were skipped, and why.
    pub notes: Vec<String>,
}

/// A partition of a [`Table`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Position in the table, from 1: the number in `sda1`.
    pub index: u32,
    /// Name.
    pub name: String,
    /// What kind of partition it is.
    pub type_guid: Uuid,
    /// Which one it is: PARTUUID.
    pub part_guid: Uuid,
    /// First byte on the disk.
    pub start_bytes: u64,
    /// Length.
    pub len_bytes: u64,
}

impl Table {
    /// The one partition of this name.
    ///
    /// # Errors
    /// [`TableError::NotFound`], [`TableError::Ambiguous`].
    pub fn find_name(&self, name: &str) -> Result<&Partition, TableError> {
        self.find(|partition| partition.name == name, || format!("name `{name}`"))
    }

    /// The one partition with this PARTUUID.
    ///
    /// # Errors
    /// As [`find_name`](Self::find_name).
    pub fn find_part_guid(&self, guid: Uuid) -> Result<&Partition, TableError> {
        self.find(|partition| partition.part_guid == guid, || format!("PARTUUID {guid}"))
    }

    /// Two that fit are as bad as none: a disk that was cloned onto another one, or a name given
    /// twice. Taking the first could install over the wrong one.
    fn find(
        &self,
        fits: impl Fn(&Partition) -> bool,
        wanted: impl Fn() -> String,
    ) -> Result<&Partition, TableError> {
        let mut all = self.partitions.iter().filter(|partition| fits(partition));
        match (all.next(), all.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(TableError::NotFound {
                path: self.path.clone(),
                wanted: wanted(),
                present: self.describe(),
            }),
            (Some(first), Some(second)) => Err(TableError::Ambiguous {
                path: self.path.clone(),
                wanted: wanted(),
                first: first.index,
                second: second.index,
            }),
        }
    }

    /// Its partitions, in words.
    pub(crate) fn describe(&self) -> String {
        if self.partitions.is_empty() {
            return "no partition".to_owned();
        }
        let one = |p: &Partition| format!("{} `{}` {}", p.index, p.name, p.part_guid);
        self.partitions.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Why a partition table could not be read or made, or a partition not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// The disk.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No table counts.
    #[error("{} has no valid GUID partition table: {why}", path.display())]
    NoTable {
        /// The disk.
        path: PathBuf,
        /// What is wrong with what there is.
        why: String,
    },
    /// It is too short for a table of any kind.
    #[error("{}: expected a disk or the image of one, found {bytes} bytes", path.display())]
    NoDisk {
        /// What was given.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// A table that could be restored would be written over what is in use, or what was written
    /// cannot be read.
    #[error("{}: {why}", path.display())]
    NotRestored {
        /// The disk.
        path: PathBuf,
        /// What is in the way.
        why: String,
    },
    /// There is a table for both sector sizes, left behind by an earlier use of the disk.
    #[error(
        "{} has partition tables for sectors of 512 and of 4096 bytes: say which one counts",
        path.display()
    )]
    TwoTables {
        /// The disk.
        path: PathBuf,
    },
    /// No partition fits.
    #[error("{} has no partition with {wanted}: it has {present}", path.display())]
    NotFound {
        /// The disk.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// Which partitions there are.
        present: String,
    },
    /// More than one partition fits.
    #[error("{} has {wanted} twice: partitions {first} and {second}", path.display())]
    Ambiguous {
        /// The disk.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
        /// Index of the first that fits.
        first: u32,
        /// Index of the second.
        second: u32,
    },
    /// The sector size is neither 512 nor 4096.
    #[error("partition tables have sectors of 512 or 4096 bytes, not {asked}")]
    LogicalBlock {
        /// What was asked for.
        asked: u32,
    },
    /// The disk that was asked for cannot be made.
    #[error("cannot create {}: {why}", path.display())]
    Layout {
        /// The disk.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}

#[cfg(test)]
mod tests;
