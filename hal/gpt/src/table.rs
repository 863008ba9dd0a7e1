//! Reads a GUID partition table from any block device, and trusts nothing in it.
//!
//! Boot loaders and the running system read by these rules, so that they never see two different
//! disks:
//!
//! - A table counts only under a protective MBR, as the kernel and the firmware have it.
//! - The primary table counts if both its checksums are right and it says itself where it lies.
//! - Only where it is damaged the backup counts, by the same rules: the one that the primary's
//!   header names if that header is sound, else the one in the last block. A backup that an MBR
//!   with partitions of its own contradicts is an older use of the disk.
//! - Partitions of ours are in the space for partitions and share no block with any other.
//!   Otherwise the disk is refused: an update of one would destroy the other. A partition that is
//!   not ours may be odd; it is skipped and noted.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use gpt_disk_types::{GptHeader, GptPartitionEntry, Guid, MasterBootRecord};
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot::format::names;

/// GPT type of the partition with the copies of the boot record.
pub const RECORD_KIND: Guid = Guid::parse_or_panic(names::RECORD_TYPE);
/// GPT type of an update slot.
pub const SLOT_KIND: Guid = Guid::parse_or_panic(names::SLOT_TYPE);
/// GPT type of the recovery slot.
pub const RECOVERY_KIND: Guid = Guid::parse_or_panic(names::RECOVERY_TYPE);

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Why there is no telling what is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A partition of ours cannot be.
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

impl core::fmt::Display for Odd {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoLength => f.write_str("ends before it starts"),
            Self::Outside => f.write_str("is not in the space for partitions"),
            Self::Overlaps(other) => write!(f, "overlaps partition {other}"),
        }
    }
}

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

/// Eight times what every tool writes.
const ENTRIES_MAX: u32 = 1024;
/// Length of an entry.
pub const ENTRY_BYTES: u32 = 128;
/// Length of a header.
pub const HEADER_BYTES: usize = 92;

/// Reads the table of `device`.
///
/// # Errors
/// [`TableError`].
pub fn read(device: &mut dyn BlockDevice) -> Result<Table, TableError> {
    let Geometry { logical_block_bytes: block, .. } = device.geometry();
    let Some(last) = last_block(device) else { return Err(TableError::NoTable) };
    let label = Label::read(device).map_err(TableError::Device)?;
    let header = read_header(device, 1);
    if !label.is_protective() {
        return Err(match header {
            Ok(_) if label.has_partitions() => TableError::DosLabel,
            Ok(_) => TableError::Unprotected,
            Err(_) => other_sectors(device).unwrap_or(TableError::NoTable),
        });
    }
    let (fault, header) = match header {
        Err(fault) => (fault, None),
        Ok(header) => match read_entries(device, &header) {
            Ok(entries) => return Copy { header, entries }.table(block, false),
            Err(fault) => (fault, Some(header)),
        },
    };
    match Copy::backup(device, header.as_ref(), &label, last) {
        Ok(backup) => backup.table(block, true),
        Err(backup) => Err(other_sectors(device).unwrap_or(match (fault, backup) {
            (Fault::Missing, Fault::Missing) => TableError::NoTable,
            (primary, backup) => TableError::Damaged { primary, backup },
        })),
    }
}

/// The number of the last block, if there is room for a table.
#[must_use]
pub fn last_block(device: &dyn BlockDevice) -> Option<u64> {
    let Geometry { logical_block_bytes: block, capacity_bytes, .. } = device.geometry();
    let blocks = capacity_bytes / u64::from(block.max(1));
    ((block as usize) >= LABEL_BYTES && blocks >= 3).then(|| blocks - 1)
}

/// One of the two tables, with both checksums right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its header.
    pub header: GptHeader,
    /// Its entries, as they are on the disk.
    pub entries: Vec<u8>,
}

impl Copy {
    /// Reads the table whose header is in block `lba`.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(device: &mut dyn BlockDevice, lba: u64) -> Result<Self, Fault> {
        let header = read_header(device, lba)?;
        let entries = read_entries(device, &header)?;
        Ok(Self { header, entries })
    }

    /// Reads the primary table of a disk that was larger when it was partitioned. Loaders do not
    /// use it; it may be restored.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read_of_larger(device: &mut dyn BlockDevice) -> Result<Self, Fault> {
        let header = read_header_alone(device, 1)?;
        let entries = read_entries(device, &header)?;
        Ok(Self { header, entries })
    }

    /// The backup of a table that is damaged: the one that `header`, its own, names if that is
    /// sound; else the one in block `last`, or in the last one that the MBR covers.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn backup(
        device: &mut dyn BlockDevice,
        header: Option<&GptHeader>,
        label: &Label,
        last: u64,
    ) -> Result<Self, Fault> {
        // On a disk that has grown it is where the disk ended when it was partitioned.
        let places = [
            header.map(|header| header.alternate_lba.to_u64()),
            Some(last),
            label.end().filter(|end| *end < last),
        ];
        let mut found = Err(Fault::Missing);
        for lba in places.into_iter().flatten() {
            let backup = Self::read(device, lba).and_then(|backup| match header {
                Some(header) if { header.disk_guid } != { backup.header.disk_guid } => {
                    Err(Fault::OtherDisk)
                }
                _ if label.contradicts(&backup) => Err(Fault::Contradicted),
                _ => Ok(backup),
            });
            // What is wrong with the first place tells most.
            match backup {
                Ok(_) => return backup,
                Err(Fault::Missing) => {}
                Err(_) if found == Err(Fault::Missing) => found = backup,
                Err(_) => {}
            }
        }
        found
    }

    /// What it says, in a disk with blocks of that many bytes.
    ///
    /// # Errors
    /// [`TableError::Partition`].
    pub fn table(&self, block: u32, is_backup: bool) -> Result<Table, TableError> {
        let header = &self.header;
        let space = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
        let entries: Vec<_> = self.entries().collect();
        let mut table =
            Table { is_backup, disk_guid: { header.disk_guid }, partitions: vec![], notes: vec![] };
        for (at, entry) in entries.iter().enumerate() {
            // What is ours shares no block with anything, whatever else is wrong with the other.
            let others = entries.iter().enumerate().filter(|(other, _)| *other != at);
            let shared = others.map(|(_, other)| other).find(|other| entry.overlaps(other));
            let odd = match shared {
                _ if entry.last < entry.first => Odd::NoLength,
                _ if entry.first < space.0 || entry.last > space.1 => Odd::Outside,
                Some(other) => Odd::Overlaps(other.index),
                None => {
                    table.partitions.push(entry.partition(block));
                    continue;
                }
            };
            let (index, name) = (entry.index, &entry.name);
            if entry.is_ours {
                return Err(TableError::Partition { index, why: odd });
            }
            table.notes.push(format!("partition {index} `{name}` passed over: it {odd}"));
        }
        Ok(table)
    }

    /// The first and the last block that partitions have, of those in the space for them.
    #[must_use]
    pub fn used(&self) -> Option<(u64, u64)> {
        let space = self.header.first_usable_lba.to_u64()..=self.header.last_usable_lba.to_u64();
        self.entries()
            .filter(|entry| entry.first <= entry.last)
            .filter(|entry| space.contains(&entry.first) && space.contains(&entry.last))
            .map(|entry| (entry.first, entry.last))
            .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    /// The first partition that `other` has otherwise: its position, and what it is in each.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<(u32, [String; 2])> {
        let entry = |copy: &Self, at: usize| -> Option<GptPartitionEntry> {
            let bytes = copy.entries.chunks_exact(ENTRY_BYTES as usize).nth(at)?;
            let entry: GptPartitionEntry = bytemuck::pod_read_unaligned(bytes);
            entry.is_used().then_some(entry)
        };
        let most = self.entries.len().max(other.entries.len()) / ENTRY_BYTES as usize;
        (0..most).find(|at| entry(self, *at) != entry(other, *at)).map(|at| {
            let words = [self, other].map(|copy| {
                entry(copy, at).map_or_else(
                    || "unused".into(),
                    |entry| {
                        let name = text(&{ entry.name }.0);
                        let (first, last) =
                            (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
                        format!("`{name}` in blocks {first} to {last}")
                    },
                )
            });
            (at as u32 + 1, words)
        })
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        (1..).zip(self.entries.chunks_exact(ENTRY_BYTES as usize)).filter_map(|(index, bytes)| {
            let entry = bytemuck::from_bytes::<GptPartitionEntry>(bytes);
            entry.is_used().then(|| {
                let name = text(&{ entry.name }.0);
                let kind = entry.partition_type_guid.0;
                Entry {
                    index,
                    is_ours: name.starts_with(names::PARTITION_PREFIX)
                        || [RECORD_KIND, SLOT_KIND, RECOVERY_KIND].contains(&kind),
                    name,
                    kind,
                    guid: { entry.unique_partition_guid },
                    first: entry.starting_lba.to_u64(),
                    last: entry.ending_lba.to_u64(),
                }
            })
        })
    }
}

/// A partition, in blocks, that may be odd.
struct Entry {
    index: u32,
    is_ours: bool,
    name: String,
    kind: Guid,
    guid: Guid,
    first: u64,
    last: u64,
}

impl Entry {
    fn overlaps(&self, other: &Self) -> bool {
        let (from, to) = (self.first.max(other.first), self.last.min(other.last));
        self.first <= self.last && other.first <= other.last && from <= to
    }

    /// For one that is in the space for partitions: then nothing overflows.
    fn partition(&self, block: u32) -> Partition {
        Partition {
            index: self.index,
            name: self.name.clone(),
            kind: self.kind,
            guid: self.guid,
            start_bytes: self.first * u64::from(block),
            len_bytes: (self.last - self.first + 1) * u64::from(block),
        }
    }
}

/// What the first sector says of partitions.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    record: MasterBootRecord,
}

const LABEL_BYTES: usize = 512;
const PROTECTIVE: u8 = 0xee;

impl Label {
    /// Reads it.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn read(device: &mut dyn BlockDevice) -> Result<Self, DeviceError> {
        let mut bytes = vec![0; device.geometry().logical_block_bytes as usize];
        device.read(0, &mut bytes)?;
        Ok(Self::new(&bytes))
    }

    /// From the first block of a disk.
    ///
    /// # Panics
    /// If it is shorter than 512 bytes.
    #[must_use]
    pub fn new(block: &[u8]) -> Self {
        Self { record: bytemuck::pod_read_unaligned(&block[..LABEL_BYTES]) }
    }

    /// The last block that the protective partition covers.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        let at = self.record.partitions.iter().find(|at| at.os_indicator == PROTECTIVE)?;
        (u64::from(at.starting_lba.to_u32()) + u64::from(at.size_in_lba.to_u32())).checked_sub(1)
    }

    fn is_signed(&self) -> bool {
        self.record.signature == [0x55, 0xaa]
    }

    /// Whether it says that a GUID partition table follows: by the rule of the kernel, one partition
    /// of that type that starts in block 1, whatever else there is.
    #[must_use]
    pub fn is_protective(&self) -> bool {
        let protects = |at: &gpt_disk_types::MbrPartitionRecord| {
            at.os_indicator == PROTECTIVE && at.starting_lba.to_u32() == 1
        };
        self.is_signed() && self.record.partitions.iter().any(protects)
    }

    /// Whether it has partitions of its own.
    #[must_use]
    pub fn has_partitions(&self) -> bool {
        self.partitions().next().is_some()
    }

    /// Whether it begins as file systems and their boot code do, with a jump: a disk that was
    /// formatted as a whole.
    #[must_use]
    pub fn is_file_system(&self) -> bool {
        self.is_signed() && matches!(self.record.boot_strap_code, [0xeb, _, 0x90, ..] | [0xe9, ..])
    }

    /// Its own partitions: first block and length.
    fn partitions(&self) -> impl Iterator<Item = (u64, u64)> {
        let is_signed = self.is_signed();
        self.record
            .partitions
            .iter()
            .filter(move |at| is_signed && ![0, PROTECTIVE].contains(&at.os_indicator))
            .map(|at| (at.starting_lba.to_u32().into(), at.size_in_lba.to_u32().into()))
    }

    /// Whether it has a partition that `copy` has not. A hybrid MBR repeats partitions of the
    /// table; one that was written later knows nothing of them.
    #[must_use]
    pub fn contradicts(&self, copy: &Copy) -> bool {
        self.partitions().any(|(start, len)| {
            !copy.entries().any(|entry| {
                entry.first == start && entry.last.checked_sub(start).map(|n| n + 1) == Some(len)
            })
        })
    }
}

/// The error for a table that counts in sectors of the other size.
fn other_sectors(device: &mut dyn BlockDevice) -> Option<TableError> {
    let disk = device.geometry().logical_block_bytes;
    let table = if disk == 512 { 4096 } else { 512 };
    let start = u64::from(table / disk * disk);
    let mut bytes = vec![0; disk as usize];
    device.read(start, &mut bytes).ok()?;
    let at = table as usize - start as usize;
    let header = sound_header(&bytes[at..][..HEADER_BYTES]).ok()?;
    (header.my_lba.to_u64() == 1).then_some(TableError::OtherSectors { table, disk })
}

/// The header in these bytes, if its checksum is right.
fn sound_header(bytes: &[u8]) -> Result<GptHeader, Fault> {
    let header: GptHeader = bytemuck::pod_read_unaligned(bytes);
    if !header.is_signature_valid() {
        return Err(Fault::Missing);
    }
    if header.header_size.to_u32() as usize != HEADER_BYTES {
        return Err(Fault::Header("its length is not 92 bytes"));
    }
    if header.header_crc32.0.to_u32() != header_sum(&header) {
        return Err(Fault::Header("the checksum does not match"));
    }
    Ok(header)
}

/// The checksum of a header, which counts its own field as zeros.
#[must_use]
pub fn header_sum(header: &GptHeader) -> u32 {
    let mut header = *header;
    header.header_crc32 = gpt_disk_types::Crc32::default();
    stillboot::format::crc32(bytemuck::bytes_of(&header))
}

/// The checksum of entries.
#[must_use]
pub fn entries_sum(entries: &[u8]) -> u32 {
    stillboot::format::crc32(entries)
}

/// The header in block `lba`, if it is sound; nothing is said of its entries.
///
/// # Errors
/// [`Fault`].
pub fn read_header(device: &mut dyn BlockDevice, lba: u64) -> Result<GptHeader, Fault> {
    let header = read_header_alone(device, lba)?;
    match last_block(device) {
        Some(last) if header.last_usable_lba.to_u64() <= last => Ok(header),
        _ => Err(Fault::Header("its space for partitions is not on the disk")),
    }
}

/// As [`read_header`]; its space for partitions may end beyond the disk.
fn read_header_alone(device: &mut dyn BlockDevice, lba: u64) -> Result<GptHeader, Fault> {
    let wrong = |why| Err(Fault::Header(why));
    let block = device.geometry().logical_block_bytes;
    let Some(last) = last_block(device).filter(|last| lba <= *last) else {
        return wrong("it is not on the disk");
    };
    let mut bytes = vec![0; block as usize];
    device.read(lba * u64::from(block), &mut bytes).map_err(Fault::Device)?;
    let header = sound_header(&bytes[..HEADER_BYTES])?;
    if header.my_lba.to_u64() != lba {
        return wrong("it says that it lies elsewhere");
    }
    if header.size_of_partition_entry.to_u32() != ENTRY_BYTES {
        return wrong("its entries have not 128 bytes");
    }
    if header.number_of_partition_entries.to_u32() > ENTRIES_MAX {
        return wrong("it has more than 1024 entries");
    }
    let start = header.partition_entry_lba.to_u64();
    let blocks = entries_len(&header).div_ceil(block as usize) as u64;
    if start < 1 || start > last || blocks > last + 1 - start {
        return wrong("its entries are not on the disk");
    }
    let (first, end) = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
    if first < 2 || first > end {
        return wrong("its space for partitions is not on the disk");
    }
    Ok(header)
}

fn read_entries(device: &mut dyn BlockDevice, header: &GptHeader) -> Result<Vec<u8>, Fault> {
    let block = device.geometry().logical_block_bytes;
    let len = entries_len(header);
    let mut bytes = vec![0; len.next_multiple_of(block as usize)];
    let start = header.partition_entry_lba.to_u64();
    device.read(start * u64::from(block), &mut bytes).map_err(Fault::Device)?;
    bytes.truncate(len);
    if entries_sum(&bytes) != header.partition_entry_array_crc32.0.to_u32() {
        return Err(Fault::Entries("the checksum does not match"));
    }
    Ok(bytes)
}

fn entries_len(header: &GptHeader) -> usize {
    (header.number_of_partition_entries.to_u32() * ENTRY_BYTES) as usize
}

/// A name as Linux and its tools read it: UTF-16 up to the first zero. Pairs of surrogates are one
/// character; both sides have to call a partition the same.
fn text(name: &[u8; 72]) -> String {
    let units = name.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use stillboot_linux::disk::{self, Recipe};
    use stillboot_linux::file::{FileDevice, OpenOptions};
    use stillboot_linux::table::Table as LinuxTable;

    use super::*;

    fn disk(folder: &Path, logical_block: u32) -> (PathBuf, LinuxTable) {
        let path = folder.join("disk.img");
        let recipe = Recipe {
            logical_block,
            slots: 2,
            slot_bytes: 4 << 20,
            rootfs_bytes: Some(1 << 20),
            recovery_bytes: Some(2 << 20),
            guid: None,
        };
        let table = disk::create(&path, &recipe).unwrap();
        (path, table)
    }

    fn open(path: &Path, logical_block: u32) -> FileDevice {
        let options = OpenOptions { read_only: false, logical_block: Some(logical_block) };
        FileDevice::open(path, options).unwrap()
    }

    fn assert_same(found: &Table, expected: &LinuxTable) {
        assert_eq!(found.partitions.len(), expected.partitions.len());
        for (one, other) in found.partitions.iter().zip(&expected.partitions) {
            assert_eq!(one.name, other.name);
            assert_eq!(one.guid.to_bytes(), other.part_guid.to_bytes_le());
            assert_eq!((one.start_bytes, one.len_bytes), (other.start_bytes, other.len_bytes));
        }
    }

    #[test]
    fn sees_what_linux_sees_and_falls_back_to_the_backup() {
        for block in [512, 4096] {
            let folder = tempfile::tempdir().unwrap();
            let (path, expected) = disk(folder.path(), block);
            let mut device = open(&path, block);
            let table = read(&mut device).unwrap();
            assert!(!table.is_backup);
            assert_same(&table, &expected);

            // One bit of an entry's name, so that only the checksum tells.
            let mut bytes = vec![0; block as usize];
            device.read(2 * u64::from(block), &mut bytes).unwrap();
            bytes[56] ^= 1;
            device.write(2 * u64::from(block), &bytes).unwrap();
            let table = read(&mut device).unwrap();
            assert!(table.is_backup);
            assert_same(&table, &expected);
        }
    }

    #[test]
    fn a_flipped_bit_in_a_header_never_passes_and_no_bytes_panic() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = disk(folder.path(), 512);
        let mut device = open(&path, 512);
        let mut sound = vec![0; 512];
        device.read(512, &mut sound).unwrap();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            device.write(512, &bytes).unwrap();
            assert!(read(&mut device).unwrap().is_backup, "bit {bit}");
        }
        // The same with the checksum made right again: refused by rule or read, never a panic.
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes[16..20].fill(0);
            let sum = stillboot::format::crc32(&bytes[..HEADER_BYTES]);
            bytes[16..20].copy_from_slice(&sum.to_le_bytes());
            device.write(512, &bytes).unwrap();
            let _ = read(&mut device);
        }
    }

    #[test]
    fn a_disk_without_a_table_is_told_from_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blank");
        std::fs::write(&path, vec![0; 1 << 20]).unwrap();
        assert_eq!(read(&mut open(&path, 512)), Err(TableError::NoTable));
    }
}
