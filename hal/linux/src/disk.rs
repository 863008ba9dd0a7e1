//! A GPT disk with a boot record and slots, found by partition names.
//!
//! | partition | holds |
//! |---|---|
//! | `stillboot-record` | both copies of the boot record, half of the partition apart |
//! | `stillboot-a`, `-b`, `-c`, `-recovery` | the slots |
//! | `stillboot-a-rootfs`, ... | a further region of a slot, for components of that role |
//!
//! The whole disk is opened once, so that one lock covers all of it.

use std::path::Path;

use stillboot::device::{BlockDevice as _, DeviceError, Geometry, Partition};
use stillboot::format::{Role, Slot};
use stillboot::layout::{Layout, LayoutError, Region, SlotLayout, SlotRegion};
use uuid::Uuid;

use crate::file::{FileDevice, OpenError, OpenOptions};
use crate::guid;
use crate::table::{self, PartitionSpec, Table, TableError};

/// Least distance of the two copies of the record, in bytes: managed flash may lose whole pages of
/// its own around a write that the power cut short.
pub const RECORD_DISTANCE: u64 = 1 << 20;

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
    /// The partition of the boot record is too small.
    #[error(
        "partition {} has {found} bytes: the two copies of the boot record need {needed}",
        guid::RECORD_NAME
    )]
    Record {
        /// What is needed.
        needed: u64,
        /// What there is.
        found: u64,
    },
    /// There is no slot.
    #[error("there is no slot on the disk: expected partitions named stillboot-a and stillboot-b")]
    NoSlots,
    /// A partition cannot be used as a device.
    #[error("the partition cannot be used: {0}")]
    Partition(#[from] DeviceError),
    /// The slots do not make a layout.
    #[error("the partitions of the disk cannot be used: {0}")]
    Layout(LayoutError),
}

/// Which part of a disk is what.
#[derive(Clone, Debug)]
pub struct Plan {
    geometries: [Geometry; 1],
    record: [Region; 2],
    slots: Vec<(Slot, Vec<SlotRegion>)>,
}

impl Plan {
    /// The slots, to make a [`layout`](Self::layout) from.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotLayout<'_>> {
        self.slots.iter().map(|(slot, regions)| SlotLayout { slot: *slot, regions }).collect()
    }

    /// The layout, checked.
    ///
    /// # Errors
    /// [`DiskError::Layout`].
    pub fn layout<'a>(&'a self, slots: &'a [SlotLayout<'a>]) -> Result<Layout<'a>, DiskError> {
        Layout::new(&self.geometries, self.record, slots).map_err(DiskError::Layout)
    }
}

/// An open disk: the device, and which part of it is what.
#[derive(Debug)]
pub struct Disk {
    /// The whole disk.
    pub device: FileDevice,
    /// Which part of it is what.
    pub plan: Plan,
}

impl Disk {
    /// Opens and locks the disk, or image of one, at `path`.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        let table = Table::read(path, None)?;
        let options = OpenOptions { read_only, logical_block: Some(table.logical_block_bytes) };
        let device = FileDevice::open(path, options)?;
        let plan = plan(&table, device.geometry())?;
        Ok(Self { device, plan })
    }
}

impl Disk {
    /// Opens the disk, or image of one, at `path` for reading, without a lock: another process may
    /// be changing what is read.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn look(path: &Path) -> Result<Self, DiskError> {
        let table = Table::read(path, None)?;
        let device = FileDevice::look(path, Some(table.logical_block_bytes))?;
        let plan = plan(&table, device.geometry())?;
        Ok(Self { device, plan })
    }
}

fn plan(table: &Table, geometry: Geometry) -> Result<Plan, DiskError> {
    let region = |partition: &table::Partition| Region {
        device: 0,
        offset: partition.start_bytes,
        // The tail that is no whole erase block is never used.
        len: partition.len_bytes / 4096 * 4096,
    };
    let home = region(table.find_name(guid::RECORD_NAME)?);
    if home.len < 2 * RECORD_DISTANCE {
        return Err(DiskError::Record { needed: 2 * RECORD_DISTANCE, found: home.len });
    }
    let half = home.len / 2 / 4096 * 4096;
    let record =
        [Region { len: half, ..home }, Region { offset: home.offset + half, len: half, ..home }];
    let mut slots = Vec::new();
    for slot in Slot::ALL {
        let name = slot_partition(slot);
        let Ok(first) = table.find_name(&name) else {
            // Absent is fine, two of the same name are not: nobody can tell which one is meant.
            if table.partitions.iter().any(|partition| partition.name == name) {
                table.find_name(&name)?;
            }
            continue;
        };
        let mut regions = vec![SlotRegion { region: region(first), roles: &[] }];
        for roles in SINGLE_ROLES {
            let name = format!("{name}-{}", roles[0]);
            if table.partitions.iter().any(|partition| partition.name == name) {
                regions.push(SlotRegion { region: region(table.find_name(&name)?), roles });
            }
        }
        slots.push((slot, regions));
    }
    if slots.is_empty() {
        return Err(DiskError::NoSlots);
    }
    Ok(Plan { geometries: [geometry], record, slots })
}

/// One-element lists that live as long as the program, for regions of one role each.
const SINGLE_ROLES: [&[Role]; 8] = [
    &[Role::Kernel],
    &[Role::Initramfs],
    &[Role::Cmdline],
    &[Role::Dtbs],
    &[Role::Uki],
    &[Role::Rootfs],
    &[Role::Image],
    &[Role::Data],
];

/// The name of the partition that holds `slot`.
#[must_use]
pub fn slot_partition(slot: Slot) -> String {
    format!("stillboot-{}", slot.name())
}

/// How a partition is named.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    let table = Table::read(path, None)?;
    let found = match selector {
        Selector::Name(name) => table.find_name(name)?,
        Selector::PartUuid(guid) => table.find_part_guid(*guid)?,
    };
    let options = OpenOptions { read_only, logical_block: Some(table.logical_block_bytes) };
    let device = FileDevice::open(path, options)?;
    let len = found.len_bytes / 4096 * 4096;
    Ok(Partition::new(device, found.start_bytes, len)?)
}

/// What a new disk holds.
#[derive(Clone, Debug)]
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

/// Creates the image of a new disk at `path`, sparse, with an empty boot record.
///
/// # Errors
/// [`DiskError`]; an existing file is never overwritten.
pub fn create(path: &Path, recipe: &Recipe) -> Result<Table, DiskError> {
    let disk_guid = recipe.guid.unwrap_or_else(Uuid::new_v4);
    let spec = |name: &str, type_guid, size_bytes| PartitionSpec {
        name: name.to_owned(),
        type_guid,
        size_bytes,
        part_guid: Some(Uuid::new_v5(&disk_guid, name.as_bytes())),
    };
    let mut specs = vec![spec(guid::RECORD_NAME, guid::RECORD, 2 * RECORD_DISTANCE)];
    for slot in Slot::ALL.into_iter().take(usize::from(recipe.slots.min(3))) {
        let name = slot_partition(slot);
        specs.push(spec(&name, guid::SLOT, recipe.slot_bytes));
        if let Some(bytes) = recipe.rootfs_bytes {
            specs.push(spec(&format!("{name}-rootfs"), guid::SLOT, bytes));
        }
    }
    if let Some(bytes) = recipe.recovery_bytes {
        specs.push(spec(&slot_partition(Slot::Recovery), guid::RECOVERY, bytes));
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
            let recipe = Recipe {
                logical_block,
                slots: 2,
                slot_bytes: 4 << 20,
                rootfs_bytes: None,
                recovery_bytes: Some(1 << 20),
                guid: None,
            };
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
