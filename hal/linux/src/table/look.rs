//! Looks for partition tables in a file, with each size of sectors that it may have.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;

use stillboot::device::{BlockDevice, DeviceError, Geometry};
use stillboot_gpt as gpt;

use super::TableError;
use crate::file;

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

pub(super) fn words(errors: &[(u32, gpt::TableError)]) -> String {
    // That there is no table with the other size is not reported.
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
    // A file of less than three blocks is not a damaged disk, but probably the wrong file.
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
