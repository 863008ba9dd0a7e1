//! Reading and checking a partition table.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use gpt_disk_types::Guid;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot_loader::gpt;
use uuid::Uuid;

use super::{Partition, Table, TableError};
use crate::file::FileDevice;
use crate::{file, open};

impl Table {
    /// Reads the partition table of a disk or of the image of one.
    ///
    /// `logical_block` is the sector size; `None` asks a block device, and tries both sizes on a
    /// regular file.
    ///
    /// # Errors
    /// [`TableError`], which names the path.
    pub fn read(path: impl AsRef<Path>, logical_block: Option<u32>) -> Result<Self, TableError> {
        let path = path.as_ref();
        let opened = open::disk(path, OpenOptions::new().read(true));
        let (file, _) = opened.map_err(|source| TableError::System {
            path: path.to_path_buf(),
            action: "open",
            source,
        })?;
        read_file(&file, path, logical_block)
    }

    fn new(path: &Path, logical_block_bytes: u32, found: gpt::Table) -> Self {
        let uuid = |guid: Guid| Uuid::from_bytes_le(guid.to_bytes());
        let partition = |found: &gpt::Partition| Partition {
            index: found.index,
            name: found.name.clone(),
            type_guid: uuid(found.kind),
            part_guid: uuid(found.guid),
            start_bytes: found.start_bytes,
            len_bytes: found.len_bytes,
        };
        Self {
            path: path.to_path_buf(),
            disk_guid: uuid(found.disk_guid),
            logical_block_bytes,
            is_backup: found.is_backup,
            partitions: found.partitions.iter().map(partition).collect(),
            notes: found.notes.clone(),
            found,
        }
    }
}

/// As [`Table::read`], of a file that is open.
pub(crate) fn read_file(
    mut file: &File,
    path: &Path,
    logical_block: Option<u32>,
) -> Result<Table, TableError> {
    let failed =
        |action| move |source| TableError::System { path: path.to_path_buf(), action, source };
    let kind = file.metadata().map_err(failed("examine"))?.file_type();
    let disk_bytes = file.seek(SeekFrom::End(0)).map_err(failed("find the size of"))?;
    let sizes = sizes_of(file, path, kind.is_block_device(), logical_block)?;
    let mut tables: Vec<Table> = Vec::new();
    let mut why = Vec::new();
    for size in sizes {
        let mut blocks = Blocks::new(file, *size, disk_bytes);
        match gpt::read(&mut blocks) {
            Ok(found) => tables.push(Table::new(path, *size, found)),
            // The other size is looked at as well.
            Err(gpt::TableError::OtherSectors { .. }) if sizes.len() > 1 => {}
            Err(error) => {
                let is_backup_sound = matches!(error, gpt::TableError::Partition { .. })
                    && is_backup_sound(&mut blocks);
                let way_out = if is_backup_sound { FROM_BACKUP } else { way_out(&error) };
                why.push(match sizes.len() {
                    1 => format!("{error}{way_out}"),
                    _ => format!("for sectors of {size} bytes: {error}{way_out}"),
                });
            }
        }
    }
    // All primaries before any backup: at the end of an image that was grown or reused lies what
    // an earlier table left there.
    if tables.iter().any(|table| !table.is_backup) {
        tables.retain(|table| !table.is_backup);
    }
    match tables.len() {
        0 => Err(TableError::NoTable { path: path.to_path_buf(), why: why.join("; ") }),
        1 => Ok(tables.remove(0)),
        _ => Err(TableError::TwoTables { path: path.to_path_buf() }),
    }
}

/// What can be done about a primary table whose partitions cannot be.
const FROM_BACKUP: &str = "; the backup of the table is whole, and its partitions can be: \
                           `stillboot disk repair --from backup` restores it";

/// Whether the backup is whole and what it says can be, while the primary is whole and cannot.
fn is_backup_sound(device: &mut Blocks<'_>) -> bool {
    let Some(last) = gpt::last_block(device) else { return false };
    let Ok(label) = gpt::Label::read(device) else { return false };
    let header = gpt::read_header(device, 1).ok();
    let block = device.geometry().logical_block_bytes;
    gpt::Copy::backup(device, header.as_ref(), &label, last)
        .is_ok_and(|backup| backup.table(block, true).is_ok())
}

/// What can be done about a table that does not count.
pub(super) const fn way_out(error: &gpt::TableError) -> &'static str {
    match error {
        gpt::TableError::Unprotected => "; `stillboot disk repair` writes that",
        gpt::TableError::Partition { .. } => {
            "; the table is whole, and its partitions cannot be: correct them with a partitioning \
             tool"
        }
        gpt::TableError::Damaged { .. } => {
            "; neither copy of the table is whole, so it cannot be restored: write it again with a \
             partitioning tool, with the partitions at the same places"
        }
        gpt::TableError::Device(_)
        | gpt::TableError::NoTable
        | gpt::TableError::DosLabel
        | gpt::TableError::OtherSectors { .. } => "",
    }
}

/// The sizes of sectors that the table of an open disk may count in.
pub(super) fn sizes(device: &FileDevice) -> Result<&'static [u32], TableError> {
    sizes_of(device.file(), device.path(), !device.is_regular(), None)
}

fn sizes_of(
    file: &File,
    path: &Path,
    is_block: bool,
    logical_block: Option<u32>,
) -> Result<&'static [u32], TableError> {
    let known = match logical_block {
        None if is_block => {
            Some(rustix::fs::ioctl_blksszget(file).map_err(|error| TableError::System {
                path: path.to_path_buf(),
                action: "ask for the logical block of",
                source: error.into(),
            })?)
        }
        given => given,
    };
    match known {
        Some(512) => Ok(&[512]),
        Some(4096) => Ok(&[4096]),
        Some(asked) => Err(TableError::LogicalBlock { asked }),
        None => Ok(&[512, 4096]),
    }
}

/// A file as a device that is only read, without a lock.
pub(super) struct Blocks<'a> {
    file: &'a File,
    geometry: Geometry,
}

impl<'a> Blocks<'a> {
    pub(super) const fn new(file: &'a File, block: u32, bytes: u64) -> Self {
        Self { file, geometry: Geometry::disk(block, bytes - bytes % block as u64) }
    }
}

impl BlockDevice for Blocks<'_> {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), DeviceError> {
        self.geometry.check_read(offset, into.len() as u64)?;
        self.file.read_exact_at(into, offset).map_err(|error| file::device_error(&error))
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), DeviceError> {
        Err(DeviceError::ReadOnly)
    }

    fn erase(&mut self, _: u64, _: u64) -> Result<(), DeviceError> {
        Err(DeviceError::ReadOnly)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
}
