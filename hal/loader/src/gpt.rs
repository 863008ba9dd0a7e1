//! Reads a GUID partition table from any block device, and trusts nothing in it.
//!
//! The rules are those of `stillboot-linux`, so that the loader and the running system never see
//! two different disks: the primary table counts only if both its checksums are right, it says
//! itself where it lies, and its partitions are on the disk and do not overlap; else the backup
//! counts by the same rules.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use gpt_disk_types::{GptHeader, GptPartitionEntry, Guid};
use stillboot::device::{BlockDevice, DeviceError, Geometry};

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Name.
    pub name: String,
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
    /// Whether the primary table was bad and this is the backup.
    pub is_backup: bool,
    /// The partitions in use.
    pub partitions: Vec<Partition>,
}

/// Why there is no telling what is on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The disk cannot be read.
    Device(DeviceError),
    /// There is no table: the signature is missing.
    NoTable,
    /// The header is not right.
    Header(&'static str),
    /// The entries are not right.
    Entries(&'static str),
}

impl core::fmt::Display for TableError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Device(error) => write!(f, "the partition table cannot be read: {error}"),
            Self::NoTable => f.write_str("no partition table"),
            Self::Header(why) => write!(f, "the header of the partition table is wrong: {why}"),
            Self::Entries(why) => write!(f, "the partition table is wrong: {why}"),
        }
    }
}

/// Eight times what every tool writes.
const ENTRIES_MAX: u32 = 1024;
const ENTRY_BYTES: u32 = 128;
const HEADER_BYTES: usize = 92;

/// Reads the primary table of `device`, or else the backup.
///
/// # Errors
/// [`TableError`] of the primary table, if the backup is no better.
pub fn read(device: &mut dyn BlockDevice) -> Result<Table, TableError> {
    let Geometry { logical_block_bytes: block, capacity_bytes, .. } = device.geometry();
    let blocks = capacity_bytes / u64::from(block.max(1));
    if (block as usize) < HEADER_BYTES || blocks < 3 {
        return Err(TableError::NoTable);
    }
    read_at(device, 1, blocks, false)
        .or_else(|primary| read_at(device, blocks - 1, blocks, true).map_err(|_| primary))
}

fn read_at(
    device: &mut dyn BlockDevice,
    lba: u64,
    blocks: u64,
    is_backup: bool,
) -> Result<Table, TableError> {
    let block = device.geometry().logical_block_bytes;
    let mut bytes = vec![0; block as usize];
    device.read(lba * u64::from(block), &mut bytes).map_err(TableError::Device)?;
    let header = *bytemuck::from_bytes::<GptHeader>(&bytes[..HEADER_BYTES]);
    // The checksum counts its own field as zeros.
    bytes[16..20].fill(0);
    let sum = crate::crc32(&bytes[..HEADER_BYTES]);
    check_header(&header, sum, lba, blocks)?;

    let count = header.number_of_partition_entries.to_u32();
    let len = (count * ENTRY_BYTES) as usize;
    let mut bytes = vec![0; len.next_multiple_of(block as usize)];
    let start = header.partition_entry_lba.to_u64();
    if start + (bytes.len() / block as usize) as u64 > blocks {
        return Err(TableError::Header("its entries leave the disk"));
    }
    device.read(start * u64::from(block), &mut bytes).map_err(TableError::Device)?;
    let bytes = &bytes[..len];
    if crate::crc32(bytes) != header.partition_entry_array_crc32.0.to_u32() {
        return Err(TableError::Entries("the checksum does not match"));
    }

    let (first, last) = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
    let mut partitions = Vec::new();
    for entry in bytes.chunks_exact(ENTRY_BYTES as usize) {
        let entry = bytemuck::from_bytes::<GptPartitionEntry>(entry);
        if !entry.is_used() {
            continue;
        }
        let (start, end) = (entry.starting_lba.to_u64(), entry.ending_lba.to_u64());
        if start < first || end < start || end > last {
            return Err(TableError::Entries("a partition is not in the space for partitions"));
        }
        partitions.push(Partition {
            name: text(&{ entry.name }.0),
            guid: { entry.unique_partition_guid },
            // Cannot overflow: the last block is on the disk.
            start_bytes: start * u64::from(block),
            len_bytes: (end - start + 1) * u64::from(block),
        });
    }
    check_overlap(&partitions)?;
    Ok(Table { is_backup, partitions })
}

/// A name as Linux and its tools read it: UTF-16 up to the first zero. Pairs of surrogates are one
/// character; both sides have to call a partition the same.
fn text(name: &[u8; 72]) -> String {
    let units = name.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn check_header(header: &GptHeader, sum: u32, lba: u64, blocks: u64) -> Result<(), TableError> {
    let wrong = |why| Err(TableError::Header(why));
    if !header.is_signature_valid() {
        return Err(TableError::NoTable);
    }
    if header.header_size.to_u32() as usize != HEADER_BYTES {
        return wrong("its length is not 92 bytes");
    }
    if header.header_crc32.0.to_u32() != sum {
        return wrong("the checksum does not match");
    }
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
    if start < 1 || start >= blocks {
        return wrong("its entries are not on the disk");
    }
    let (first, last) = (header.first_usable_lba.to_u64(), header.last_usable_lba.to_u64());
    if first < 2 || first > last || last >= blocks {
        return wrong("its space for partitions is not on the disk");
    }
    Ok(())
}

/// An update into one of two partitions that overlap would destroy the other.
fn check_overlap(partitions: &[Partition]) -> Result<(), TableError> {
    for (at, one) in partitions.iter().enumerate() {
        let overlaps = |other: &Partition| {
            one.start_bytes < other.start_bytes + other.len_bytes
                && other.start_bytes < one.start_bytes + one.len_bytes
        };
        if partitions[..at].iter().any(overlaps) {
            return Err(TableError::Entries("two partitions overlap"));
        }
    }
    Ok(())
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
            let sum = crate::crc32(&bytes[..HEADER_BYTES]);
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
