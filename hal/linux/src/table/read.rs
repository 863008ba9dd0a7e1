//! Reads the partition table of a disk, or says what a repair would do.

use std::fs::{File, OpenOptions};
use std::path::Path;

use gpt_disk_types::Guid;
use stillboot_gpt as gpt;
use uuid::Uuid;

use super::look::{dead_end, extent, look, words};
use super::repair::{self, RepairRefusal};
use super::{Partition, RepairOptions, Table, TableError};
use crate::open;

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
    file: &File,
    path: &Path,
    logical_block: Option<u32>,
) -> Result<Table, TableError> {
    let (disk_bytes, sizes) = extent(file, path, logical_block)?;
    let (found, errors) = look(file, disk_bytes, sizes);
    let mut tables: Vec<_> =
        found.into_iter().map(|(size, found)| Table::new(path, size, found)).collect();
    // All primaries are tried before any backup: an image that was grown or reused may have an old
    // backup at its end.
    if tables.iter().any(|table| !table.is_backup) {
        tables.retain(|table| !table.is_backup);
    }
    match tables.len() {
        0 => {
            let why = match repair::plan(file, disk_bytes, sizes, RepairOptions::default()) {
                Ok(plan) => plan.promise(&words(&errors)),
                Err(RepairRefusal::Undecided(why)) => why,
                Err(RepairRefusal::Absent | RepairRefusal::TwoTables) => dead_end(&errors),
            };
            Err(TableError::NoTable { path: path.to_path_buf(), why })
        }
        1 => Ok(tables.remove(0)),
        _ => Err(TableError::TwoTables { path: path.to_path_buf() }),
    }
}
