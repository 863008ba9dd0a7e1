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

use alloc::vec;

use stillboot::device::{BlockDevice, Geometry};

use crate::copy::Copy;
use crate::header::{HEADER_BYTES, last_block, read_entries, read_header, sound_header};
use crate::label::Label;
use crate::table::{Fault, Table, TableError};

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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use stillboot_linux::disk::{self, Recipe};
    use stillboot_linux::file::{FileDevice, OpenOptions};
    use stillboot_linux::table::Table as LinuxTable;

    use super::*;

    fn disk(folder: &Path, logical_block: u32) -> (PathBuf, LinuxTable) {
        let path = folder.join("disk.img");
        let recipe = Recipe::new(2, 4 << 20)
            .with_logical_block(logical_block)
            .with_rootfs_bytes(Some(1 << 20))
            .with_recovery_bytes(Some(2 << 20));
        let table = disk::create(&path, &recipe).unwrap();
        (path, table)
    }

    fn open(path: &Path, logical_block: u32) -> FileDevice {
        let options = OpenOptions::new().with_logical_block(Some(logical_block));
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
