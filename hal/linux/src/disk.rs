//! A GPT disk with a boot record and slots, found by partition names.
//!
//! [`stillboot_gpt::plan`] says which partition is what; boot loaders ask it too.
//!
//! Whole disks are opened, once each, so that one lock covers all of a disk.

use std::io;
use std::path::{Path, PathBuf};

use stillboot::device::{BlockDevice, DeviceError, Geometry, Partition};
use stillboot::format::{Slot, names};
use stillboot::layout::LayoutError;
use stillboot_gpt::plan::HEAD_LEN;
pub use stillboot_gpt::plan::{Plan, RECORD_DISTANCE, RECORD_LEN_MIN};
use stillboot_gpt::plan::{PlanError, Source};
use uuid::Uuid;

use crate::file::{FileDevice, OpenError, OpenOptions};
use crate::guid;
use crate::table::{self, PartitionSpec, Table, TableError};

/// Why a disk cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its partition table cannot be read, or lacks a partition.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The boot record, or every slot, is missing or cannot be used.
    #[error(
        "{}: {why}; there is {}",
        path.display(),
        [&present[..], warnings].concat().join(", ")
    )]
    Plan {
        /// The disk.
        path: PathBuf,
        /// What is missing.
        why: String,
        /// Which partitions there are on each disk.
        present: Vec<String>,
        /// Warnings: partitions that are missing may be in the other copy of the table.
        warnings: Vec<String>,
    },
    /// The primary table is damaged, and it was not asked for writing by the backup.
    #[error(
        "the primary partition table of {} is damaged, and its backup is not used for writing \
         unless asked",
        path.display()
    )]
    BackupTable {
        /// The disk.
        path: PathBuf,
    },
    /// A partition cannot be used as a device.
    #[error("the partition cannot be used: {0}")]
    Partition(#[from] DeviceError),
    /// The slots do not make a layout.
    #[error("the partitions of the disk cannot be used: {0}")]
    Layout(#[from] LayoutError),
}

/// What is done with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// It is read without a lock: another process may be changing it.
    Look,
    /// It is read.
    Read,
    /// It is written.
    Write,
    /// It is written, even where only the backup of its partition table says where.
    WriteByBackup,
}

/// Open disks: the devices, and which part of them is what.
#[derive(Debug)]
#[non_exhaustive]
pub struct Disk {
    /// The disks in use, whole, in the plan's order.
    pub devices: Vec<FileDevice>,
    /// Which part of them is what.
    pub plan: Plan,
    /// Warnings: a backup table that was used, a slot that was left out.
    pub warnings: Vec<String>,
}

impl Disk {
    /// Opens and locks the disk, or image of one, at `path`.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        Self::open_all(&[path], if read_only { Access::Read } else { Access::Write })
    }

    /// Opens disks, or images of them, and locks them unless they are only looked at. The boot
    /// record is looked for on the first one first; the others serve what the disk with the record
    /// lacks.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open_all(paths: &[impl AsRef<Path>], access: Access) -> Result<Self, DiskError> {
        let mut warnings = Vec::new();
        let mut opened = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            let path = path.as_ref();
            let (mut device, table) = match open_whole(path, access) {
                // As in a loader: a fault of another disk does not exclude this one.
                Err(DiskError::Table(error @ TableError::NoTable { .. })) if number > 0 => {
                    warnings.push(format!("{error}: the disk is left out"));
                    continue;
                }
                opened => opened?,
            };
            let conflict = if table.is_backup { None } else { table::conflict(&mut device) };
            warnings.extend(conflict.map(|differs| {
                format!(
                    "{}: the primary partition table is used, and the backup, which is whole too, \
                     is another one: {differs}; `stillboot disk repair --from primary` or `--from \
                     backup` makes both the one that is right",
                    path.display()
                )
            }));
            let named = |note: &String| format!("{}: {note}", path.display());
            warnings.extend(table.notes.iter().map(named));
            if table.is_backup {
                warnings.push(format!(
                    "{}: the primary partition table is damaged, its backup is used; {}",
                    path.display(),
                    table::outlook(&device)
                ));
            } else if let Some(fault) = table::other_fault(&mut device) {
                warnings.push(format!(
                    "{}: the backup of the partition table is damaged: {fault}; {}",
                    path.display(),
                    table::outlook(&device)
                ));
            }
            opened.push((device, table));
        }
        let sources: Vec<_> = opened
            .iter()
            .enumerate()
            .map(|(number, (device, table))| {
                Source::new(device.geometry(), &table.found).with_own(number == 0)
            })
            .collect();
        let plan = Plan::new(&sources, &[]).map_err(|error: PlanError| DiskError::Plan {
            path: paths.first().map(|path| path.as_ref().to_path_buf()).unwrap_or_default(),
            why: error.to_string(),
            present: opened.iter().map(|(_, table)| table.describe()).collect(),
            warnings: warnings.clone(),
        })?;
        warnings.extend(plan.notes.iter().cloned());
        let mut opened: Vec<_> = opened.into_iter().map(|(device, _)| Some(device)).collect();
        let devices = plan.disks.iter().filter_map(|disk| opened.get_mut(*disk)?.take()).collect();
        Ok(Self { devices, plan, warnings })
    }
}

/// The devices as the core takes them.
pub fn lent<D: BlockDevice>(devices: &mut [D]) -> Vec<&mut dyn BlockDevice> {
    devices.iter_mut().map(|device| device as &mut dyn BlockDevice).collect()
}

/// What the system said to the last request that failed on one of these, and which one that is.
#[must_use]
pub fn last_error(devices: &[FileDevice]) -> Option<(&Path, &io::Error)> {
    devices.iter().find_map(|device| Some((device.path(), device.last_error()?)))
}

/// Opens a disk, and reads the table from what was opened: the name may get another meaning.
fn open_whole(path: &Path, access: Access) -> Result<(FileDevice, Table), DiskError> {
    let options = OpenOptions::new().with_read_only(access == Access::Read);
    let mut device = match access {
        Access::Look => FileDevice::look(path, None)?,
        _ => FileDevice::open(path, options)?,
    };
    let table = table::read_file(device.file(), path, None)?;
    if table.is_backup && access == Access::Write {
        return Err(DiskError::BackupTable { path: path.to_path_buf() });
    }
    device.set_logical_block(table.logical_block_bytes);
    Ok((device, table))
}

/// How a partition is named.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// By its name in the partition table.
    Name(String),
    /// By its own GUID (`PARTUUID`).
    PartUuid(Uuid),
}

/// Opens one partition of the disk, or image of one, at `path` as a device of its own. The lock is
/// that of the whole disk.
///
/// # Errors
/// [`DiskError`]: also for a partition that is there twice, or not aligned to 4096 bytes.
pub fn open_partition(
    path: &Path,
    selector: &Selector,
    read_only: bool,
) -> Result<Partition<FileDevice>, DiskError> {
    let access = if read_only { Access::Read } else { Access::Write };
    let (device, table) = open_whole(path, access)?;
    let found = match selector {
        Selector::Name(name) => table.find_name(name)?,
        Selector::PartUuid(guid) => table.find_part_guid(*guid)?,
    };
    let len = found.len_bytes / 4096 * 4096;
    Ok(Partition::new(device, found.start_bytes, len)?)
}

/// What a new disk holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recipe {
    /// 512 or 4096.
    pub logical_block: u32,
    /// How many update slots, 2 or 3 (1 for a device that only ever boots).
    pub slots: u8,
    /// Size of each update slot in bytes.
    pub slot_bytes: u64,
    /// Size of a further region of each update slot for its root file system, if there is one.
    pub rootfs_bytes: Option<u64>,
    /// Size of the recovery slot in bytes, if there is one.
    pub recovery_bytes: Option<u64>,
    /// GUID of the disk; random if `None`. Those of the partitions follow from it.
    pub guid: Option<Uuid>,
}

impl Recipe {
    /// A disk with blocks of 512 bytes, so many update slots of this size, and no recovery slot.
    #[must_use]
    pub const fn new(slots: u8, slot_bytes: u64) -> Self {
        Self {
            logical_block: 512,
            slots,
            slot_bytes,
            rootfs_bytes: None,
            recovery_bytes: None,
            guid: None,
        }
    }

    /// The same with blocks of another [size](Self::logical_block).
    #[must_use]
    pub const fn with_logical_block(mut self, logical_block: u32) -> Self {
        self.logical_block = logical_block;
        self
    }

    /// The same with a further region of each slot for the [root file system](Self::rootfs_bytes).
    #[must_use]
    pub const fn with_rootfs_bytes(mut self, rootfs_bytes: Option<u64>) -> Self {
        self.rootfs_bytes = rootfs_bytes;
        self
    }

    /// The same with a [recovery slot](Self::recovery_bytes).
    #[must_use]
    pub const fn with_recovery_bytes(mut self, recovery_bytes: Option<u64>) -> Self {
        self.recovery_bytes = recovery_bytes;
        self
    }

    /// The same with a [GUID](Self::guid) that is given.
    #[must_use]
    pub const fn with_guid(mut self, guid: Option<Uuid>) -> Self {
        self.guid = guid;
        self
    }
}

/// What a slot of a disk has to have at least, in bytes: its head, one block of a component, and one
/// of its index.
#[must_use]
pub fn slot_bytes_min() -> u64 {
    HEAD_LEN + 2 * u64::from(Geometry::disk(512, 0).erase_block_bytes)
}

/// Creates the image of a new disk at `path`, sparse, with an empty boot record.
///
/// # Errors
/// [`DiskError`]; an existing file is never overwritten.
pub fn create(path: &Path, recipe: &Recipe) -> Result<Table, DiskError> {
    let disk_guid = recipe.guid.unwrap_or_else(Uuid::new_v4);
    let spec = |name: &str, type_guid, size_bytes| {
        let part_guid = Uuid::new_v5(&disk_guid, name.as_bytes());
        PartitionSpec::new(name, type_guid, size_bytes).with_part_guid(Some(part_guid))
    };
    let mut specs = vec![spec(names::RECORD_PARTITION, guid::RECORD, RECORD_LEN_MIN)];
    for slot in Slot::ALL.into_iter().take(usize::from(recipe.slots.min(3))) {
        let name = names::slot_partition(slot);
        specs.push(spec(name, guid::SLOT, recipe.slot_bytes));
        if let Some(bytes) = recipe.rootfs_bytes {
            specs.push(spec(&format!("{name}-rootfs"), guid::SLOT, bytes));
        }
    }
    if let Some(bytes) = recipe.recovery_bytes {
        specs.push(spec(names::slot_partition(Slot::Recovery), guid::RECOVERY, bytes));
    }
    let mib = 1 << 20;
    let data: u64 = specs.iter().map(|spec| spec.size_bytes.next_multiple_of(mib)).sum();
    // One MiB before the first partition and one after the last hold both partition tables.
    let size = data + 2 * mib;
    Ok(table::create(path, size, recipe.logical_block, &specs, Some(disk_guid))?)
}

#[cfg(test)]
mod tests {
    use stillboot::device::{BlockDevice as _, conformance};

    use super::*;

    #[test]
    fn partitions_open_by_name_and_by_partuuid_and_obey_the_contract() {
        for logical_block in [512, 4096] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("disk.img");
            let recipe = Recipe::new(2, 4 << 20)
                .with_logical_block(logical_block)
                .with_recovery_bytes(Some(1 << 20));
            let table = create(&path, &recipe).unwrap();
            let b = table.find_name("stillboot-b").unwrap().part_guid;
            for selector in [Selector::Name("stillboot-b".into()), Selector::PartUuid(b)] {
                let mut device = open_partition(&path, &selector, false).unwrap();
                assert_eq!(device.geometry().capacity_bytes, 4 << 20);
                assert_eq!(device.geometry().logical_block_bytes, logical_block);
                conformance::check(&mut device, &mut vec![0; 64 << 10]).unwrap();
            }
            // The neighbours are as they were made.
            let mut a = open_partition(&path, &Selector::Name("stillboot-a".into()), true).unwrap();
            let mut bytes = vec![1; 4096];
            a.read((4 << 20) - 4096, &mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0));
            let missing = Selector::Name("stillboot-c".into());
            assert!(open_partition(&path, &missing, false).is_err());
        }
    }
}
