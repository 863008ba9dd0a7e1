//! Reading and checking a partition table.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use gpt_disk_types::Guid;
use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot_gpt as gpt;
use uuid::Uuid;

use super::repair::{self, Refusal};
use super::{Choice, Partition, Table, TableError};
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
    file: &File,
    path: &Path,
    logical_block: Option<u32>,
) -> Result<Table, TableError> {
    let (disk_bytes, sizes) = extent(file, path, logical_block)?;
    let (found, errors) = look(file, disk_bytes, sizes);
    let mut tables: Vec<_> =
        found.into_iter().map(|(size, found)| Table::new(path, size, found)).collect();
    // All primaries before any backup: at the end of an image that was grown or reused lies what
    // an earlier table left there.
    if tables.iter().any(|table| !table.is_backup) {
        tables.retain(|table| !table.is_backup);
    }
    match tables.len() {
        0 => {
            let why = match repair::plan(file, disk_bytes, sizes, Choice::default()) {
                Ok(plan) => plan.promise(&words(&errors)),
                Err(Refusal::Undecided(why)) => why,
                Err(Refusal::Absent | Refusal::TwoTables) => dead_end(&errors),
            };
            Err(TableError::NoTable { path: path.to_path_buf(), why })
        }
        1 => Ok(tables.remove(0)),
        _ => Err(TableError::TwoTables { path: path.to_path_buf() }),
    }
}

/// What is found with each size of sectors.
type Looked = (Vec<(u32, gpt::Table)>, Vec<(u32, gpt::TableError)>);

/// Looks for a table with each of these sizes of sectors.
pub(super) fn look(file: &dyn FileExt, disk_bytes: u64, sizes: &[u32]) -> Looked {
    let (mut tables, mut errors) = (Vec::new(), Vec::new());
    for size in sizes {
        match gpt::read(&mut Blocks::new(file, *size, disk_bytes)) {
            Ok(found) => tables.push((*size, found)),
            // The other size is looked at as well.
            Err(gpt::TableError::OtherSectors { .. }) if sizes.len() > 1 => {}
            Err(error) => errors.push((*size, error)),
        }
    }
    (tables, errors)
}

/// Why there is no table, where a repair does not know either.
pub(super) fn dead_end(errors: &[(u32, gpt::TableError)]) -> String {
    let is_lost = |(_, error): &(u32, gpt::TableError)| {
        matches!(error, gpt::TableError::Damaged { .. } | gpt::TableError::Unprotected)
    };
    let words = words(errors);
    if errors.iter().any(is_lost) {
        format!(
            "{words}; neither copy of the table is whole, so it cannot be restored: write it again \
             with a partitioning tool, with the partitions at the same places"
        )
    } else {
        words
    }
}

fn words(errors: &[(u32, gpt::TableError)]) -> String {
    // That nothing is there with the other size is no news.
    let is_some = |(_, error): &&(u32, gpt::TableError)| *error != gpt::TableError::NoTable;
    let some: Vec<_> = errors.iter().filter(is_some).collect();
    match &some[..] {
        [] => gpt::TableError::NoTable.to_string(),
        [(_, first), others @ ..] if others.iter().all(|(_, other)| other == first) => {
            first.to_string()
        }
        several => {
            let one = |(size, error): &&(u32, gpt::TableError)| {
                format!("for sectors of {size} bytes: {error}")
            };
            several.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The length of a disk that is open, and the sizes of sectors that its table may count in.
pub(super) fn extent(
    mut file: &File,
    path: &Path,
    logical_block: Option<u32>,
) -> Result<(u64, &'static [u32]), TableError> {
    let failed =
        |action| move |source| TableError::System { path: path.to_path_buf(), action, source };
    let is_block = file.metadata().map_err(failed("examine"))?.file_type().is_block_device();
    let known = match logical_block {
        None if is_block => Some(
            rustix::fs::ioctl_blksszget(file)
                .map_err(|error| failed("ask for the logical block of")(error.into()))?,
        ),
        given => given,
    };
    let sizes: &[u32] = match known {
        Some(512) => &[512],
        Some(4096) => &[4096],
        Some(asked) => return Err(TableError::LogicalBlock { asked }),
        None => &[512, 4096],
    };
    let bytes = file.seek(SeekFrom::End(0)).map_err(failed("find the size of"))?;
    // Three blocks: less is a slip, such as the name of another file, and no damage.
    if bytes < 3 * u64::from(sizes[0]) {
        return Err(TableError::NoDisk { path: path.to_path_buf(), bytes });
    }
    Ok((bytes, sizes))
}

/// A file as a device that is only read, without a lock.
pub(super) struct Blocks<'a> {
    file: &'a dyn FileExt,
    geometry: Geometry,
}

impl<'a> Blocks<'a> {
    pub(super) const fn new(file: &'a dyn FileExt, block: u32, bytes: u64) -> Self {
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
