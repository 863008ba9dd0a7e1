//! What a partition table is, and what can be wrong with one.

use alloc::string::String;
use alloc::vec::Vec;

use gpt_disk_types::Guid;
use stillboot::device::DeviceError;
use stillboot::format::names;

/// GPT type of the partition with the copies of the boot record.
pub const RECORD_KIND: Guid = Guid::parse_or_panic(names::RECORD_TYPE);
/// GPT type of an update slot.
pub const SLOT_KIND: Guid = Guid::parse_or_panic(names::SLOT_TYPE);
/// GPT type of the recovery slot.
pub const RECOVERY_KIND: Guid = Guid::parse_or_panic(names::RECOVERY_TYPE);

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Position in the table, from 1.
    pub index: u32,
    /// Name.
    pub name: String,
    /// What kind of partition it is.
    pub kind: Guid,
    /// Which one it is: PARTUUID.
    pub guid: Guid,
    /// First byte on the disk.
    pub start_bytes: u64,
    /// Length.
    pub len_bytes: u64,
}

/// A partition table that was read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// Whether the primary table was damaged and this is the backup.
    pub is_backup: bool,
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// The partitions in use that are sound.
    pub partitions: Vec<Partition>,
    /// The partitions that were skipped, and why.
    pub notes: Vec<String>,
}

/// Why it is not known what is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TableError {
    /// The first sector cannot be read, which says whether a table counts.
    Device(DeviceError),
    /// There is no table.
    NoTable,
    /// There is a table, and no protective MBR before it.
    Unprotected,
    /// There is a table, and an MBR with partitions of its own before it: the disk was partitioned
    /// again since.
    DosLabel,
    /// The table counts in other sectors than those of the disk.
    OtherSectors {
        /// What the table counts in, in bytes.
        table: u32,
        /// What the disk has.
        disk: u32,
    },
    /// A partition of ours is not possible as it is.
    Partition {
        /// Its position in the table, from 1.
        index: u32,
        /// What is wrong with it.
        why: Odd,
    },
    /// Both tables are damaged.
    Damaged {
        /// What is wrong with the primary.
        primary: Fault,
        /// What is wrong with the backup.
        backup: Fault,
    },
}

/// What is wrong with a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Odd {
    /// It ends before it starts.
    NoLength,
    /// It is not in the space for partitions.
    Outside,
    /// It shares blocks with the partition at this position.
    Overlaps(u32),
}

/// What is wrong with one of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Fault {
    /// It cannot be read.
    Device(DeviceError),
    /// It is not there: the signature is missing.
    Missing,
    /// The header is not right.
    Header(&'static str),
    /// The entries are not right.
    Entries(&'static str),
    /// It is of another disk than the header of the primary, which is sound.
    OtherDisk,
    /// An MBR has partitions that it has not.
    Contradicted,
}

impl core::fmt::Display for TableError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(error) => write!(
                f,
                "its first sector, where the protective MBR should be, cannot be read: {error}"
            ),
            Self::NoTable => f.write_str("no partition table"),
            Self::Unprotected => {
                f.write_str("its partition table does not count: no protective MBR is before it")
            }
            Self::DosLabel => f.write_str(
                "its partition table does not count: a DOS partition table is before it",
            ),
            Self::OtherSectors { table, disk } => write!(
                f,
                "its partition table counts in sectors of {table} bytes, the disk has {disk}: it \
                 was written on another kind of disk"
            ),
            Self::Partition { index, why } => write!(f, "partition {index} {why}"),
            Self::Damaged { primary, backup } => {
                write!(f, "no partition table is whole: primary: {primary}; backup: {backup}")
            }
        }
    }
}

impl core::error::Error for TableError {}

impl core::fmt::Display for Odd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoLength => f.write_str("ends before it starts"),
            Self::Outside => f.write_str("is not in the space for partitions"),
            Self::Overlaps(other) => write!(f, "overlaps partition {other}"),
        }
    }
}

impl core::error::Error for Odd {}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(error) => write!(f, "it cannot be read: {error}"),
            Self::Missing => f.write_str("it is not there"),
            Self::Header(why) => write!(f, "its header is wrong: {why}"),
            Self::Entries(why) => write!(f, "its entries are wrong: {why}"),
            Self::OtherDisk => f.write_str("it has another disk's GUID than the primary"),
            Self::Contradicted => {
                f.write_str("the MBR has a partition that it has not, so it is an older one")
            }
        }
    }
}

impl core::error::Error for Fault {}
